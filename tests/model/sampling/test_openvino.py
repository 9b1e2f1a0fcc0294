"""Sampling by OpenVINO: torch's pictures without torch, from a cache that is proven before it is trusted."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gen.core.errors import EnvironmentLacks, GenError
from gen.core.noise import standard_normal
from gen.core.radiograph import Radiograph, write_png
from gen.language.tokens import token_encoder
from gen.model.folder import model_hash
from gen.model.parts import load_tokenizer
from gen.model.sampling import conversion, openvino_backend
from gen.model.sampling.conversion import fault_of
from gen.model.sampling.job import Job, run_job
from gen.model.sampling.pipeline import Pipeline, load_pipeline, sample, sample_each

pytest.importorskip("openvino")
pytestmark = pytest.mark.openvino

PROMPTS = ["63 year old female. AP view.", "5 year old male. PA view.", "No finding."]
SEEDS = [11, 2**64 - 1, 0]
AGREES_DB = 50  # of torch and OpenVINO, both in float32, at least


@pytest.fixture(scope="module")
def pipeline(toy_model: Path) -> Pipeline:
    return load_pipeline(toy_model, dtype="float32", device="cpu", backend="openvino")


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(
    "settings",
    [
        {"guidance": 1.0},
        {"guidance": 3.0, "negative": "pneumonia"},
        {"guidance": 3.0, "guidance_interval": (0.3, 6.0)},
        {"guidance": 2.0, "size": 48},
        {"guidance": 2.0, "steps": 7},
    ],
    ids=str,
)
def test_pictures_are_torchs(toy_model: Path, pipeline: Pipeline, settings: dict[str, object]) -> None:
    theirs = load_pipeline(toy_model, device="cpu", dtype="float32")
    steps: list[int] = []
    found = [i.pixels for i in sample(pipeline, PROMPTS, SEEDS, on_step=steps.append, **{"steps": 4, **settings})]
    wanted = [image.pixels for image in sample(theirs, PROMPTS, SEEDS, **{"steps": 4, **settings})]
    error = np.square(np.subtract(found, wanted)).mean()
    assert -10 * np.log10(error) > AGREES_DB
    assert sum(steps) == len(PROMPTS) * int(settings.get("steps", 4))


def test_a_decoder_that_draws_gets_torchs_noise(toy_model: Path, pipeline: Pipeline) -> None:
    theirs = load_pipeline(toy_model, device="cpu", dtype="float32")
    told = {"capabilities": {"decoder_noise": [0.0, 1.0, 0.0, 2.0]}}
    found, wanted, without = (
        [image.pixels for image in sample(each, PROMPTS, SEEDS, steps=4)]
        for each in (dataclasses.replace(pipeline, **told), dataclasses.replace(theirs, **told), theirs)
    )
    assert -10 * np.log10(np.square(np.subtract(found, wanted)).mean()) > AGREES_DB
    assert -10 * np.log10(np.square(np.subtract(found, without)).mean()) < AGREES_DB


def test_timesteps_that_are_no_whole_numbers_reach_the_network(
    toy_model: Path, fresh_cache: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(toy_model, tmp_path / "euler")
    config = model / "scheduler" / "scheduler_config.json"
    told = {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "linspace"}
    config.write_text(json.dumps({**json.loads(config.read_text()), **told}))
    found, wanted = (
        next(sample(load_pipeline(model, device="cpu", dtype="float32", backend=backend), PROMPTS[:1], [7], steps=7))
        for backend in ("openvino", "torch")
    )
    assert -10 * np.log10(np.square(found.pixels - wanted.pixels).mean()) > 80  # whole timesteps lose more


def test_an_image_does_not_depend_on_its_company(pipeline: Pipeline) -> None:
    together = [image.pixels for image in sample(pipeline, PROMPTS, SEEDS, steps=3)]
    alone = [next(sample(pipeline, [p], [s], steps=3)).pixels for p, s in zip(PROMPTS, SEEDS, strict=True)]
    np.testing.assert_array_equal(together, alone)


def test_the_number_of_images_at_a_time_changes_no_pixel(toy_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {}
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        several = load_pipeline(toy_model, device="cpu", dtype="float32", backend="openvino")
        assert several.rows == int(threads)
        steps: list[int] = []
        made[threads] = [i.pixels for i in sample(several, PROMPTS, SEEDS, steps=3, guidance=2.0, on_step=steps.append)]
        assert sum(steps) == 3 * len(PROMPTS)
    np.testing.assert_array_equal(made["1"], made["3"])


def test_provenance_names_what_ran(pipeline: Pipeline) -> None:
    [image] = sample(pipeline, PROMPTS[:1], SEEDS[:1], steps=2)
    assert image.provenance["network"].startswith("cpu float32 openvino")
    assert "openvino 20" in image.provenance["software"]
    assert image.provenance["sampler"] == "DDIMScheduler"


@given(text=st.text(max_size=400))
def test_texts_are_numbered_as_by_transformers(toy_model: Path, text: str) -> None:
    tokenizer = load_tokenizer(toy_model / "tokenizer")
    ids = tokenizer(text, padding="max_length", truncation=True, max_length=77).input_ids
    assert token_encoder(toy_model / "tokenizer")(text) == ids


def test_once_converted_a_model_samples_without_torch(pipeline: Pipeline, toy_model: Path, tmp_path: Path) -> None:
    list(sample(pipeline, PROMPTS[:1], SEEDS[:1], steps=3))  # now the solver of three steps is in the cache as well
    code = (
        "import sys; from pathlib import Path; from gen.model.sampling.job import Job, run_job; "
        f"run_job(Job(text='No finding.', steps=3, device='cpu', model=Path({str(toy_model)!r})), "
        f"Path({str(tmp_path / 'out')!r}), on_image=lambda *_: None); "
        "loaded = {name for name, module in sys.modules.items() if module is not None}; "
        "print(sorted({'torch', 'diffusers', 'transformers', 'openvino_telemetry'} & loaded))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert ended.stdout.strip() == "[]"
    assert len(list((tmp_path / "out" / "images").glob("*.png"))) == 1


def test_a_damaged_cache_is_made_again_and_other_weights_get_their_own(
    toy_model: Path, fresh_cache: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(toy_model, tmp_path / "other")
    config = other / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "beta_end": 0.013}))
    load_pipeline(other, backend="openvino", device="cpu")
    [weights] = fresh_cache.rglob("unet.bin")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-8] + bytes(8))
    said: list[str] = []
    load_pipeline(other, backend="openvino", device="cpu", log=said.append)
    assert weights.read_bytes() == whole
    assert "converting" in said[0]
    [cache] = (fresh_cache / "cxr-gen" / "openvino").glob("[!.]*")
    assert cache.name.partition("-")[0] == model_hash(other) != model_hash(toy_model)


def test_what_differs_from_torch_is_never_trusted(
    toy_model: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(conversion.TOLERANCES, "float32", 0.0)
    with pytest.raises(GenError, match="differs from torch's"):
        load_pipeline(toy_model, backend="openvino", device="cpu")
    assert not list((fresh_cache / "cxr-gen" / "openvino").glob("[!.]*"))


def test_pictures_in_bfloat16_do_not_depend_on_whether_float32_ran_before(
    toy_model: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def picture(dtype: str) -> np.ndarray:
        loaded = load_pipeline(toy_model, backend="openvino", device="cpu", dtype=dtype)
        assert loaded.network == f"cpu {dtype} openvino"
        return next(sample(loaded, PROMPTS[:1], SEEDS[:1], steps=2)).pixels

    picture("float32")
    after = [picture("bfloat16") for _ in range(2)]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    np.testing.assert_array_equal(after, [picture("bfloat16")] * 2)


def test_bfloat16_that_fails_its_trial_gives_the_pictures_of_float32_and_says_so(
    toy_model: Path, pipeline: Pipeline, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(conversion.TOLERANCES, "bfloat16", 0.0)
    said: list[str] = []
    tried = load_pipeline(toy_model, backend="openvino", device="cpu", dtype="bfloat16", log=said.append)
    assert any("the U-Net runs in float32: in bfloat16 on this CPU it differs from torch's" in line for line in said)
    found, wanted = (next(sample(each, PROMPTS[:1], SEEDS[:1], steps=2)) for each in (tried, pipeline))
    assert found.provenance["network"] == wanted.provenance["network"]
    np.testing.assert_array_equal(found.pixels, wanted.pixels)
    monkeypatch.setattr(conversion, "fault_of", lambda *_: pytest.fail("the trial is held once"))
    assert load_pipeline(toy_model, backend="openvino", device="cpu", dtype="bfloat16").network == tried.network


@pytest.mark.parametrize("rows", [1, 2])
def test_a_fault_in_either_shape_that_is_run_is_noticed(
    toy_model: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    converted = conversion.convert(toy_model)
    faults = {rows: "it is wrong"}
    monkeypatch.setattr(conversion, "fault_of", lambda found, wanted, _: faults.get(len(wanted)))
    assert converted.safe_precision("bfloat16") == "float32"


@given(
    outputs=arrays(np.float32, (3, 4), elements=st.floats(-2, 2, width=32)),
    tolerance=st.floats(0.01, 0.5),
    share=st.floats(0, 2),
    data=st.data(),
)
def test_outputs_pass_where_they_are_equal_and_near_enough_to_torchs(
    outputs: np.ndarray, tolerance: float, share: float, data: st.DataObject
) -> None:
    assume(np.abs(outputs).max() > 0.1)
    assume(abs(share - 1) > 0.01)
    found = (outputs.astype(np.float64) * (1 + share * tolerance)).astype(np.float32)
    assert (fault_of([found] * 4, outputs, tolerance) is None) == (share < 1)
    odd = found.copy()
    odd.flat[data.draw(st.integers(0, odd.size - 1))] += 1
    others = data.draw(st.permutations([found, found, found, odd]))
    assert fault_of(others, found, tolerance) == "it makes of one input another output each time"
    assert fault_of([np.full_like(found, np.nan)] * 2, outputs, tolerance) is not None


def test_an_image_that_fails_leaves_the_others_of_its_batch_alone(
    toy_model: Path, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = next(i for i, seed in enumerate(SEEDS) if seed == 0)

    def noise(shape: tuple[int, ...], seed: int) -> np.ndarray:
        if seed == SEEDS[broken]:
            raise RuntimeError("no memory for this one")
        return standard_normal(shape, seed)

    wanted = [image.pixels for image in sample(pipeline, PROMPTS, SEEDS, steps=2)]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(openvino_backend, "standard_normal", noise)
    several = load_pipeline(toy_model, device="cpu", dtype="float32", backend="openvino")
    for i, image in enumerate(sample_each(several, PROMPTS, SEEDS, steps=2)):
        if i == broken:
            assert isinstance(image, GenError)
            assert "RuntimeError: no memory for this one" in str(image)
        else:
            assert isinstance(image, Radiograph)
            np.testing.assert_array_equal(image.pixels, wanted[i])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"device": "cuda"}, "the device is cuda"),
        ({"device": "cpu", "attention": "sdpa"}, "attention sdpa is torch's"),
        ({"device": "cpu", "dtype": "float16"}, "dtype float16"),
    ],
)
def test_what_it_cannot_do_is_named_or_left_to_torch(toy_model: Path, options: dict[str, str], reason: str) -> None:
    with pytest.raises(EnvironmentLacks, match=reason):
        load_pipeline(toy_model, backend="openvino", **options)
    if options["device"] == "cpu" and "dtype" not in options:
        assert load_pipeline(toy_model, backend="auto", **options).software.startswith("torch")


def test_a_scheduler_without_a_table_is_torchs(toy_model: Path, tmp_path: Path) -> None:
    other = shutil.copytree(toy_model, tmp_path / "other")
    config = other / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "_class_name": "DDPMScheduler"}))
    assert load_pipeline(other, backend="auto", device="cpu", dtype="float32").software.startswith("torch")
    with pytest.raises(EnvironmentLacks, match="the scheduler DDPMScheduler is left to torch"):
        load_pipeline(other, backend="openvino", device="cpu")


def test_from_images_and_where_they_are_held_pictures_are_torchs(toy_model: Path, pipeline: Pipeline) -> None:
    theirs = load_pipeline(toy_model, device="cpu", dtype="float32")
    random = np.random.default_rng(0)
    shapes = [(32, 32), (40, 24), (70, 70)]
    images = [Radiograph(random.random(shape, np.float32)) for shape in shapes]
    masks = [random.random(shape) < 0.01 for shape in shapes]
    for settings in (
        {"strength": 0.5},
        {"strength": 1.0, "size": 48},
        {"strength": 0.75, "held": masks, "held_strength": 0.25},
        {"strength": 0.5, "held": masks, "held_strength": 0.0},
    ):
        how: dict[str, Any] = {"init": images, "steps": 8, "guidance": 2.0, "guidance_interval": (0.3, 6.0), **settings}
        found, wanted = (list(sample(each, PROMPTS, SEEDS, **how)) for each in (pipeline, theirs))
        error = np.square([a.pixels - b.pixels for a, b in zip(found, wanted, strict=True)]).mean()
        assert -10 * np.log10(error) > AGREES_DB, settings
        for key in ("sigma", "init_sha256", "strength"):
            assert [each.provenance[key] for each in found] == [each.provenance[key] for each in wanted]


def test_the_same_prompt_and_seed_from_two_images_are_two_pictures(
    toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    several = load_pipeline(toy_model, device="cpu", dtype="float32", backend="openvino")
    images = [Radiograph(np.random.default_rng(k).random((32, 32), np.float32)) for k in (0, 1)]
    how: dict[str, Any] = {"steps": 4, "strength": 0.5}
    together = [each.pixels for each in sample(several, PROMPTS[:1] * 2, SEEDS[:1] * 2, init=images, **how)]
    alone = [next(sample(several, PROMPTS[:1], SEEDS[:1], init=[image], **how)).pixels for image in images]
    np.testing.assert_array_equal(together, alone)
    assert not np.array_equal(*together)


def test_the_encoder_is_converted_when_an_image_is_started_from_and_then_proven_as_well(
    toy_model: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    loaded = load_pipeline(toy_model, backend="openvino", device="cpu", dtype="float32", log=said.append)
    [image] = sample(loaded, PROMPTS[:1], SEEDS[:1], steps=2)
    assert not list(fresh_cache.rglob("encoder.*"))
    monkeypatch.setitem(conversion.TOLERANCES, "float32", 0.0)
    with pytest.raises(GenError, match=r"encoder\.xml by OpenVINO: it differs from torch's"):
        list(sample(loaded, PROMPTS[:1], SEEDS[:1], init=[image], steps=2))
    assert not list(fresh_cache.rglob("encoder.*"))
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(fresh_cache))
    list(sample(loaded, PROMPTS[:1], SEEDS[:1], init=[image], steps=2))
    assert list(fresh_cache.rglob("encoder.xml"))
    assert any("converting the encoder" in line for line in said)
    said.clear()
    again = load_pipeline(toy_model, backend="openvino", device="cpu", dtype="float32", log=said.append)
    list(sample(again, PROMPTS[:1], SEEDS[:1], init=[image], steps=2))
    assert said == []


def test_an_init_job_runs_without_torch_once_its_encoder_is_converted(toy_model: Path, tmp_path: Path) -> None:
    first, image = tmp_path / "first", tmp_path / "image.png"
    write_png(image, Radiograph(np.random.default_rng(0).random((40, 32), np.float32)))
    job = Job(text="No finding.", init=image, strength=0.5, steps=4, device="cpu", model=toy_model, backend="openvino")
    run_job(job, first, on_image=lambda *_: None)
    code = (
        "import sys; from pathlib import Path; from gen.model.sampling.job import Job, run_job; "
        f"run_job(Job(text='No finding.', init=Path({str(image)!r}), strength=0.5, steps=4, device='cpu', "
        f"model=Path({str(toy_model)!r})), Path({str(tmp_path / 'again')!r}), on_image=lambda *_: None); "
        "print(sorted({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert ended.stdout.strip() == "[]"
    made, again = (list((each / "images").glob("*.png")) for each in (first, tmp_path / "again"))
    assert [path.name for path in made] == [path.name for path in again]
    assert made[0].read_bytes() == again[0].read_bytes()
