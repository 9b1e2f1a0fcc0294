"""Model and projector behind one face: an image is the same in any company, and a broken one breaks no other."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from augment.dataset.config import DatasetConfig, Projections
from augment.dataset.shards.records import DRR, MODEL, PlanRow
from augment.dataset.sources import (
    Outcome,
    Picture,
    Sources,
    capabilities_of,
    framing_of,
    inputs_of,
    open_source,
    prompt_warnings,
    weights_may_learn,
)
from gen.core.errors import BadInput, GenError
from gen.core.files import read_json, write_json
from gen.core.radiograph import Radiograph
from gen.judge.framings import AS_IT_IS, PREPARED, VARIED
from gen.language.render import render
from gen.language.study import Finding, Study
from gen.model.capabilities import CAPABILITIES
from gen.model.folder import model_hash
from gen.model.sampling.pipeline import load_pipeline, sample
from gen.model.sampling.variation import vary

SIZE = 32
SEEDS = [11, 2**64 - 1, 0, 7, 12]


@pytest.fixture(autouse=True)
def _threads_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, str(before))
    yield
    torch.set_num_threads(before)


def config(model: Path, **changes: Any) -> DatasetConfig:
    settled = {"out": "out", "images": 1, "steps": 2, "threads": 1, "device": "cpu", "dtype": "float32"}
    return DatasetConfig(**{**settled, "model": str(model), **changes})


def row(number: int, source: str = MODEL) -> PlanRow:
    finding = ("No Finding", "Edema", "Nodule", "Cardiomegaly", "Pleural Effusion")[number % 5]
    study = Study(age=30 + number, sex="F", view="PA", findings={finding: Finding()})
    return PlanRow(number, "", study, render(study), source, 0, f"{number:016x}")


ROWS = [row(number) for number in range(5)]


def wide(sources: Sources, rows: int) -> Sources:
    """The same with so many rows in a batch, as on a GPU."""
    pipeline = replace(sources.pipeline, rows=rows, text_states={})
    sources.__dict__["pipeline"] = pipeline
    return sources


def pixels(outcome: Outcome) -> bytes:
    assert not isinstance(outcome, GenError), outcome
    return outcome[0].pixels.tobytes()


def levels(outcome: Outcome) -> bytes:
    assert not isinstance(outcome, GenError), outcome
    return np.rint(outcome[0].pixels * 255).astype(np.uint8).tobytes()


@pytest.mark.parametrize("batch", [1, 2, 4, 8])
def test_an_image_is_the_same_in_any_company(toy_model: Path, batch: int) -> None:
    sources = wide(open_source(config(toy_model)), batch)
    together = [levels(each) for each in sources.make(ROWS, SEEDS)]
    assert len(set(together)) == 5
    for order in ([4, 2, 0, 1, 3], [3], [1, 4]):
        again = sources.make([ROWS[k] for k in order], [SEEDS[k] for k in order])
        assert [levels(each) for each in again] == [together[k] for k in order]


def test_the_images_are_those_of_the_sampler(toy_model: Path) -> None:
    images = open_source(config(toy_model, guidance=2.0)).make(ROWS, SEEDS)
    pipeline = load_pipeline(toy_model, device="cpu", dtype="float32")
    plain = sample(pipeline, [each.prompt for each in ROWS], SEEDS, steps=2, guidance=2.0)
    for ours, theirs in zip(images, plain, strict=True):
        assert pixels(ours) == theirs.pixels.tobytes()
        assert not isinstance(ours, GenError)
        assert dict(ours[0].provenance) == dict(theirs.provenance)


def test_of_a_model_that_paints_all_chests_alike_pose_and_exposure_are_drawn(toy_model: Path, tmp_path: Path) -> None:
    alike = tmp_path / "alike"
    shutil.copytree(toy_model, alike)
    told = read_json(toy_model / CAPABILITIES)
    write_json(alike / CAPABILITIES, {**told, "canonical_frame": True})

    def made(folder: Path, **changes: Any) -> Picture:
        [outcome] = open_source(config(folder, **changes)).make(ROWS[:1], SEEDS[:1])
        assert not isinstance(outcome, GenError)
        return outcome

    plain, kept, drawn = made(toy_model), made(alike, vary=False), made(alike)
    assert "pose" not in plain.image.provenance
    assert np.array_equal(kept.image.pixels, plain.image.pixels)
    assert kept.painted is plain.painted is None
    assert np.array_equal(drawn.image.pixels, vary(plain.image, SEEDS[0]).pixels)
    assert drawn.painted is not None
    assert np.array_equal(drawn.painted, plain.image.pixels)
    assert model_hash(alike) != model_hash(toy_model)
    # So the gates, too, know in which framing of real images theirs are to be judged.
    framings = [framing_of(config(toy_model)), framing_of(config(alike, vary=False)), framing_of(config(alike))]
    assert framings == [AS_IT_IS, PREPARED, VARIED]


@pytest.mark.openvino
def test_openvino_makes_the_images_where_it_is_installed(toy_model: Path) -> None:
    [outcome] = open_source(config(toy_model)).make(ROWS[:1], SEEDS[:1])
    assert not isinstance(outcome, GenError)
    told = outcome[0].provenance["network"]
    assert told == inputs_of(config(toy_model))["network"] == "cpu float32 openvino"
    assert "torch" not in inputs_of(config(toy_model, backend="openvino"))["network"]


def test_an_image_that_comes_out_broken_takes_no_other_of_its_batch_with_it(toy_model: Path) -> None:
    sources = wide(open_source(config(toy_model)), 4)
    whole = [levels(each) for each in sources.make(ROWS, SEEDS)]
    sources.pipeline.text_states[ROWS[1].prompt] = torch.full_like(sources.pipeline.text_states[ROWS[1].prompt], np.nan)
    outcomes = list(sources.make(ROWS, SEEDS))
    assert isinstance(outcomes[1], GenError)
    assert "came out not finite" in str(outcomes[1])
    assert [levels(outcomes[k]) for k in (0, 2, 3, 4)] == [whole[k] for k in (0, 2, 3, 4)]


class Tokenizer:
    """The model's own, but for one text, at which ``error`` comes ``times`` times: memory may run out at any step."""

    def __init__(self, own: Any, text: str, error: BaseException, times: int) -> None:
        self.own, self.text, self.error, self.times = own, text, error, times
        self.model_max_length = own.model_max_length

    def __call__(self, text: str, **options: Any) -> Any:
        if text == self.text and self.times:
            self.times -= 1
            raise self.error
        return self.own(text, **options)


def test_a_bad_moment_of_the_machine_costs_no_row_a_try_and_a_lasting_fault_stops_the_work(toy_model: Path) -> None:
    sources = wide(open_source(config(toy_model)), 2)
    whole = [levels(each) for each in sources.make(ROWS, SEEDS)]
    error = RuntimeError("CUDA out of memory.\n  Tried to allocate 2 GiB")
    own = sources.pipeline

    def failing(times: int) -> None:
        broken = Tokenizer(own.tokenizer, ROWS[2].prompt, error, times)
        sources.__dict__["pipeline"] = replace(own, tokenizer=broken, text_states={})

    failing(1)
    assert [levels(each) for each in sources.make(ROWS, SEEDS)] == whole
    failing(9)
    outcomes = sources.make(ROWS, SEEDS)
    assert [levels(next(outcomes)) for _ in range(2)] == whole[:2]
    words = (
        rf"seed {SEEDS[2]} .* failed: RuntimeError: CUDA out of memory\. Tried to allocate 2 GiB.*run the same command"
    )
    with pytest.raises(GenError, match=words):
        next(outcomes)
    failing(9)
    with pytest.raises(RuntimeError, match="CUDA out of memory"):  # who samples without us sees it as it is
        list(sample(sources.pipeline, [each.prompt for each in ROWS], SEEDS, steps=2))


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_who_stops_the_program_stops_it(toy_model: Path, stop: type[BaseException]) -> None:
    sources = open_source(config(toy_model))
    broken = Tokenizer(sources.pipeline.tokenizer, ROWS[1].prompt, stop(), 1)
    sources.__dict__["pipeline"] = replace(sources.pipeline, tokenizer=broken, text_states={})
    outcomes = sources.make(ROWS, SEEDS)
    pixels(next(outcomes))
    with pytest.raises(stop):
        next(outcomes)


def test_rows_of_both_sources_come_in_their_order_and_as_if_alone(toy_model: Path, chest_files: Path) -> None:
    cts = [str(chest_files / "chest.nii.gz")]
    sources = open_source(config(toy_model, size=SIZE, projections=Projections("share", 0.5, cts)))
    bare = Study(view="AP", findings={"Edema": Finding()})
    projected = [PlanRow(k, "", bare, render(bare), DRR, 0, f"{k:016x}") for k in (5, 6)]
    rows = [projected[0], ROWS[0], ROWS[1], projected[1], ROWS[2]]
    outcomes = list(sources.make(rows, SEEDS))
    for planned, seed, outcome in zip(rows, SEEDS, outcomes, strict=True):
        [alone] = sources.make([planned], [seed])
        assert pixels(alone) == pixels(outcome)
        assert not isinstance(outcome, GenError)
        assert outcome[0].provenance["prompt"] == planned.prompt
        assert ("model_hash" in outcome[0].provenance) == (planned.source == MODEL)
        assert outcome[0].pixels.shape == (SIZE, SIZE)


def fresh(code: str, *arguments: object) -> str:
    """What a fresh process prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_projections_and_a_plan_load_neither_torch_nor_a_model(toy_model: Path, chest_files: Path) -> None:
    code = (
        "import sys\n"
        "from augment.dataset.config import DatasetConfig, Projections\n"
        "from augment.dataset.shards.records import DRR, PlanRow\n"
        "from augment.dataset.projected import projectable\n"
        "from augment.dataset.sources import capabilities_of, open_source\n"
        "from gen.language.study import Finding, Study\n"
        "cts = [sys.argv[2]]\n"
        "config = DatasetConfig('out', 1, model=sys.argv[1], size=32, projections=Projections('share', 1.0, cts))\n"
        "assert capabilities_of(config)['canonical_language']\n"
        "projectable(DatasetConfig('out', 1))\n"
        "assert not {'numba', 'scipy', 'SimpleITK', 'torch'} & set(sys.modules)\n"
        "row = PlanRow(0, '', Study(findings={'Edema': Finding()}), '', DRR, 0, '0')\n"
        "[(image, *_)] = open_source(config).make([row], [0])\n"
        "print(sorted({'torch', 'diffusers', 'transformers'} & set(sys.modules)))\n"
    )
    assert fresh(code, toy_model, chest_files / "chest.nii.gz") == "[]\n"


def test_the_threads_are_the_configs_whatever_the_machine_has(toy_model: Path) -> None:
    for threads in (1, 2):
        [outcome] = open_source(config(toy_model, threads=threads)).make(ROWS[:1], SEEDS[:1])
        assert not isinstance(outcome, GenError)
        told = outcome[0].provenance["network"]
        assert (
            told == inputs_of(config(toy_model, threads=threads))["network"] == f"cpu float32 sdpa, {threads} threads"
        )


def test_identity_is_that_of_the_loaded_model_and_changes_with_all_that_decides_an_image(
    toy_model: Path, tmp_path: Path
) -> None:
    base = inputs_of(config(toy_model))
    [outcome] = open_source(config(toy_model)).make(ROWS[:1], SEEDS[:1])
    assert not isinstance(outcome, GenError)
    for key in ("model", "model_hash", "sampler", "steps", "guidance", "network"):
        assert base[key] == outcome[0].provenance[key]
    assert inputs_of(config(toy_model, out="elsewhere", images=7, seed=3, shard_size=5)) == base
    ct = tmp_path / "ct.nii"
    ct.write_bytes(b"one")
    projections = {"projections": Projections("share", 0.5, [str(ct)])}
    others = [
        inputs_of(config(toy_model, **changes))
        for changes in ({"steps": 3}, {"guidance": 3.0}, {"threads": 2}, {"dtype": "bfloat16"}, projections)
    ]
    ct.write_bytes(b"two")
    others.append(inputs_of(config(toy_model, **projections)))
    copy = shutil.copytree(toy_model, tmp_path / "toy")
    file = copy / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["conv_out.bias"] += 1
    save_file(tensors, file, {"format": "pt"})
    others.append(inputs_of(config(copy)))
    assert base not in others
    assert len({json.dumps(each) for each in others}) == len(others)
    assert not any(str(tmp_path) in json.dumps(each) for each in others), "a folder's place is nobody's business"


def test_what_the_model_cannot_make_is_refused_before_it_is_loaded(toy_model: Path, tmp_path: Path) -> None:
    for size in (30, 8, 0):
        with pytest.raises(BadInput, match=f"size {size} is not possible with this model; use a multiple of 4 pixels"):
            capabilities_of(config(toy_model, size=size))
    with pytest.raises(BadInput, match="steps is 1001; use 1 to 1000"):
        capabilities_of(config(toy_model, steps=1001))
    with pytest.raises(BadInput, match="is not a folder"):
        capabilities_of(config(tmp_path / "gone"))
    with pytest.raises(BadInput, match=r"holds no model_index\.json"):
        capabilities_of(config(tmp_path))
    assert capabilities_of(config(toy_model, size=48)) is not None
    # Where all that can be is projected, the size is the projector's matter.
    assert capabilities_of(config(toy_model, size=30, projections=Projections("share", 1.0))) is not None


def test_a_distilled_model_makes_a_data_set_only_as_it_was_taught(toy_model: Path, tmp_path: Path) -> None:
    student = shutil.copytree(toy_model, tmp_path / "student")
    told = json.loads((student / "capabilities.json").read_text())
    told |= {"steps": 4, "guidance": 1.0, "distilled": {"teacher": "toy"}}
    (student / "capabilities.json").write_text(json.dumps(told))
    for how in ({"steps": 4, "guidance": 1.0}, {"steps": None, "guidance": None}):
        assert capabilities_of(config(student, **how)) == told
    assert inputs_of(config(student, steps=None, guidance=None)).items() >= {"steps": "4", "guidance": "1"}.items()
    for changes in ({"steps": 20}, {"guidance": 2.0}, {"steps": 3, "guidance": 1.0}):
        with pytest.raises(BadInput, match="was distilled to others; leave both out"):
            capabilities_of(config(student, **changes))
    assert capabilities_of(config(student, projections=Projections("share", 1.0))) == told


def test_weights_may_learn_from_what_is_known_to_allow_it(toy_model: Path) -> None:
    said = read_learn(toy_model)
    assert weights_may_learn(config(toy_model)) == {MODEL: said, DRR: True}
    assert weights_may_learn(config(toy_model, projections=Projections("share", 1.0, ["a.nii"])))[DRR] is False


def read_learn(model: Path) -> bool:
    return bool(json.loads((model / "capabilities.json").read_text()).get("weights_may_learn"))


# Prompts


def test_only_a_prompt_that_is_cut_off_is_warned_of(toy_model: Path, tmp_path: Path) -> None:
    long = " ".join(f"Moderate right {name}." for name in ("pleural effusion", "pneumothorax", "consolidation") * 10)
    assert prompt_warnings(config(toy_model), [each.prompt for each in ROWS]) == []
    [line] = prompt_warnings(config(toy_model), [ROWS[0].prompt, long, long])
    assert "the model reads 77; cut off: " in line
    [line] = prompt_warnings(config(toy_model, size=48), [ROWS[0].prompt])
    assert line == "the model was trained at 32 pixels; at 48 its images are worse"
    copy = shutil.copytree(toy_model, tmp_path / "silent")
    (copy / "capabilities.json").unlink()
    [line] = prompt_warnings(config(copy), [ROWS[0].prompt])
    assert line == "silent does not say that it learnt prompts in these words"


def test_a_tokenizer_that_has_no_words_is_refused(toy_model: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(toy_model, tmp_path / "mute")
    file = copy / "tokenizer" / "tokenizer.json"
    held = json.loads(file.read_text(encoding="utf-8"))
    held["model"] |= {"merges": [], "vocab": {key: k for key, k in held["model"]["vocab"].items() if key[:2] == "<|"}}
    held["model"]["unk_token"] = None
    file.write_text(json.dumps(held), encoding="utf-8")
    with pytest.raises(BadInput, match=r"mute: its tokenizer has no token for 30, AP, female"):
        prompt_warnings(config(copy), ["30 year old female. AP view."])


# Twins


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that offers twins, as another distribution would."""
    (tmp_path / "twins_of_ours.py").write_text(
        "from dataclasses import replace\n"
        "def negative(image):\n    return replace(image, pixels=1 - image.pixels)\n"
        "def smaller(image):\n    return replace(image, pixels=image.pixels[1:])\n"
        "def broken(image):\n    raise ValueError('no\\nidea')\n"
    )
    facts = tmp_path / "twins_of_ours-1.5.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: twins-of-ours\nVersion: 1.5\n")
    points = "".join(f"{name} = twins_of_ours:{name}\n" for name in ("negative", "smaller", "broken"))
    (facts / "entry_points.txt").write_text(f"[cxr_gen.twins]\n{points}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "twins_of_ours", raising=False)


def made(model: Path, rows: Sequence[PlanRow], *twins: str, **changes: Any) -> list[Outcome]:
    return list(open_source(config(model, twins=list(twins), **changes)).make(rows, SEEDS[: len(rows)]))


@pytest.mark.usefixtures("installed")
def test_a_twin_is_what_its_function_makes_of_the_image(toy_model: Path) -> None:
    for outcome in made(toy_model, ROWS[:2], "negative"):
        assert not isinstance(outcome, GenError)
        image, twins, _ = outcome
        assert isinstance(twins["negative"], Radiograph)
        assert np.array_equal(twins["negative"].pixels, 1 - image.pixels)
    assert inputs_of(config(toy_model, twins=["negative"]))["twin negative"] == (
        "twins_of_ours:negative of twins-of-ours 1.5"
    )


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "reason"), [("smaller", r"has the shape \(31, 32\)"), ("broken", "ValueError: no idea")]
)
def test_a_twin_that_cannot_be_is_an_error_of_its_row(toy_model: Path, name: str, reason: str) -> None:
    outcomes = made(toy_model, ROWS[:2], name)
    for number, outcome in enumerate(outcomes):
        assert isinstance(outcome, GenError)
        assert str(outcome).startswith(f"row {number}: its twin {name!r} ")
        with pytest.raises(GenError, match=reason):
            raise outcome


def test_the_twins_of_a_projection_are_its_own(toy_model: Path, chest_files: Path) -> None:
    bare = Study(findings={"Edema": Finding()})
    rows = [PlanRow(0, "", bare, "", DRR, 0, "0"), ROWS[1]]
    projections = Projections("share", 1.0, [str(chest_files / "chest.nii.gz")])
    projected, modelled = made(toy_model, rows, "bone", "soft", size=SIZE, projections=projections)
    assert not isinstance(projected, GenError)
    image, twins, _ = projected
    assert [*twins] == ["bone", "soft"]
    assert twins["soft"].provenance["shows"] == "soft"
    assert not np.array_equal(twins["soft"].pixels, image.pixels)
    assert isinstance(modelled, GenError), "a model's image has none, and is better missing than without"
    for projections in (Projections(), Projections("share", 0.5)):
        with pytest.raises(
            BadInput, match="nothing installed makes 'bone' of an image of the model; installed: organs, soft"
        ):
            open_source(config(toy_model, twins=["bone"], projections=projections))


@pytest.mark.usefixtures("installed")
def test_unknown_twins_are_refused_with_what_there_is(toy_model: Path) -> None:
    listed = "installed: broken, negative, organs, smaller, soft; projections have soft and bone"
    with pytest.raises(BadInput, match=f"twins: nothing installed makes 'bonless' of an image; {listed}"):
        open_source(config(toy_model, twins=["bonless"]))
    for twins, reason in ((["negative", "negative"], "names one twice"), (["../x"], "a twin cannot be called")):
        with pytest.raises(BadInput, match=reason):
            inputs_of(config(toy_model, twins=twins))
