"""The comparison: equal starts, one line for what cannot be compared, resumption, and a report of the same numbers."""

from __future__ import annotations

import functools
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from augment.classify import compare as module
from augment.classify.arms import CompareConfig, cells_of, check_arms, stages_of
from augment.classify.compare import Compared, compare, require_equal_starts
from augment.classify.config import ClassifierConfig
from augment.classify.figures import figures
from augment.classify.network import make_classifier
from augment.classify.probes import PROBES, have_devices, probes_of, source_labels, source_scores
from augment.classify.report import results_of, to_html
from gen.anatomy.network import ORGANS
from gen.cli import main
from gen.core.config import load_config
from gen.core.errors import BadInput, GenError
from gen.core.manifest import Row, read_manifest, write_manifest
from tests.augment.classify.conftest import make_synthetic

CONFIG = Path(__file__).parents[3] / "configs" / "classify_compare_toy.yaml"
Load = Callable[..., CompareConfig]


@pytest.fixture(scope="session")
def keys(real: Path, synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    cache = tmp_path_factory.mktemp("cache")
    return [f"data={real}", f"sets.synthetic={synthetic}", f"cache={cache}", "device=cpu", "dtype=float32"]


@pytest.fixture(scope="session")
def load(keys: list[str]) -> Load:
    return lambda out, *overrides: load_config(CompareConfig, CONFIG, [f"out={out}", *keys, *overrides])


@pytest.fixture(scope="session")
def compared(load: Load, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """The toy comparison, stopped in its third training and taken up again."""
    config = load(tmp_path_factory.mktemp("runs") / "compare")
    whole, calls = module.train_classifier, []

    def stop_at_the_third(*arguments: Any) -> Path:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "train_classifier", stop_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            compare(config)
        rows = (Path(config.out) / "table.csv").read_text().splitlines()
        assert len(rows) == 3  # the header, and what has ended
        calls.clear()
        patch.setattr(module, "train_classifier", lambda *arguments: (calls.append(arguments), whole(*arguments))[1])
        found = compare(config)
        trained = {Path(stage.config.out) for cell in cells_of(config) for stage in stages_of(cell, config, ())}
        assert len(calls) == len(trained) - 2
        calls.clear()
        compare(config)
        assert calls == []
    return found


def test_every_arm_starts_from_the_same_weights_and_sees_as_many_images(compared: Compared) -> None:
    facts = [outcome.facts for outcome in compared.outcomes]
    assert len({(each["seed"], each["start"]) for each in facts}) == len({each["start"] for each in facts}) == 2
    assert {each["images"] for each in facts} == {64}
    require_equal_starts(compared.outcomes)
    compared.outcomes[-1].facts["start"] = "another"  # type: ignore[index]  # a dict
    with pytest.raises(GenError, match="they cannot be compared"):
        require_equal_starts(compared.outcomes)
    compared.outcomes[-1].facts["start"] = facts[-2]["start"]  # type: ignore[index]  # a dict


def test_figures_are_scikit_learns(compared: Compared, real: Path) -> None:
    rows = compared.tests["test"]
    truth = np.array([row.findings == ("Pneumonia",) for row in rows])
    j = compared.findings.index("Pneumonia")
    found = figures(compared)["tests"]["test"]
    for arm in compared.config.arms:
        own = [
            outcome.predictions["test"]
            for outcome in compared.outcomes
            if outcome.cell.arm == arm and outcome.cell.amount in ("100 %", "none")
        ]
        area = np.mean([roc_auc_score(truth, each[:, j]) for each in own])
        precision = np.mean([average_precision_score(truth, each[:, j]) for each in own])
        assert found["by_finding"][arm]["Pneumonia"]["auroc"].value == pytest.approx(area)
        assert found["beside"][arm]["auprc_by_finding"]["Pneumonia"].value == pytest.approx(precision)
        both = np.mean([[roc_auc_score(truth ^ (k != j), each[:, k]) for k in (0, 1)] for each in own])
        amount = next(iter(found["auroc"][arm]))
        assert found["auroc"][arm][amount].value == pytest.approx(both)
        assert found["beside"][arm]["brier"].value == pytest.approx(
            np.mean([np.square(each[:, [j, 1 - j]] - np.stack([truth, ~truth], 1)).mean() for each in own]), abs=1e-6
        )
    assert found["prevalence"]["Pneumonia"] == {"present": int(truth.sum()), "known": len(rows)}


def test_the_report_says_what_its_numbers_say(compared: Compared) -> None:
    results = results_of(compared, {"command": "gen classify compare <toy>"})
    json.dumps(results, allow_nan=False)
    page = to_html(results)
    assert "http" not in page.replace("http://www.w3.org", "").replace("https://www.w3.org", "")
    assert "&lt;toy&gt;" in page
    assert results["verdict"][0] in page.replace("&#x27;", "'").replace("&gt;", ">").replace("&lt;", "<")
    first = next(one for one in results["tests"]["test"]["differences"] if one["arm"] == "pretrained")
    assert f"{first['difference']['value']:+.3f}"[:5] in results["verdict"][0]
    assert re.search("it helped|it harmed|we cannot tell", results["verdict"][0])
    assert set(results["controls"]) == {"shuffled"}
    assert "With 50 draws no p of 5 comparisons can fall below 0.05 after Holm: take draws=201 or more." in page
    assert "can fall below" not in to_html({**results, "draws": 201})
    assert all(start in page for start in results["starts"].values())
    assert results["sets"]["synthetic"]["images"] == len(read_manifest(compared.config.sets["synthetic"]).rows)


def test_the_command_writes_the_report_and_is_done_at_once_when_all_is_there(
    compared: Compared, keys: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(compared.config.out)
    with pytest.raises(SystemExit) as end:
        main(["classify", "compare", str(CONFIG), f"out={out}", *keys])
    assert not end.value.code
    assert capsys.readouterr().out.split() == [str(out / "report.html"), str(out / "report.json")]
    assert json.loads((out / "report.json").read_text())["verdict"][0].startswith("Pretraining on ")


@pytest.mark.parametrize("name", ["classify_compare", "classify_experiment", "classify_imbalance"])
def test_the_recipe_can_be_read_and_costs_what_it_says(name: str) -> None:
    config = load_config(CompareConfig, CONFIG.with_name(f"{name}.yaml"))
    check_arms(config)
    cells = cells_of(config)
    runs = {stage.config.out: stage.config.images for cell in cells for stage in stages_of(cell, config, ("Edema",))}
    said = (CONFIG.parent / f"{name}.yaml").read_text(encoding="utf-8")
    assert f"{len(cells)} trainings" in said
    assert f"{sum(runs.values()) / 1e6:.2f} million images" in said
    weights = make_classifier(config.backbone, ("Edema",), config.size).network.parameters()
    assert f"{sum(one.numel() for one in weights) / 1e6:.1f} M weights" in said
    assert load_config(ClassifierConfig, CONFIG.with_name("classify.yaml")).size == config.size
    toy = load_config(CompareConfig, CONFIG.with_name(f"{name}_toy.yaml"))
    assert toy.question == config.question
    assert name == "classify_compare" or (toy.arms, toy.accept) == (config.arms, config.accept)


def test_probes_hide_what_they_say_and_nothing_else(compared: Compared) -> None:
    class Halves:
        """The organs are the upper half."""

        def probabilities(self, images: np.ndarray) -> np.ndarray:
            found = np.zeros((len(images), len(ORGANS), *images.shape[1:]), np.float32)
            found[:, ORGANS.index("heart"), : images.shape[1] // 2] = 0.9
            found[:, ORGANS.index("body")] = 0.9  # which is no organ
            return found

    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)
    anatomy: Any = Halves()
    hidden, left = probes_of(pixels, anatomy).values()
    mean = np.rint(pixels.mean((1, 2), keepdims=True))
    assert (hidden[:, :4] == mean).all()
    assert (left[:, 4:] == mean).all()
    np.testing.assert_array_equal(hidden[:, 4:], pixels[:, 4:])
    np.testing.assert_array_equal(left[:, :4], pixels[:, :4])
    found = figures(compared)
    assert found["probes"]["real"]["test"] == found["tests"]["test"]["auroc"]["real"]["100 %"]
    assert set(found["probes"]["real"]) == {"test", *PROBES}  # source b has too few patients


def test_a_source_is_told_from_an_embedding_that_knows_it_and_by_other_patients() -> None:
    generator = np.random.default_rng(0)
    rows = [
        Row(
            file=Path(f"/{k}.png"),
            file_name=f"{k}.png",
            source=["a", "b", "rare"][min(k // 40, 2)],
            patient_id=str(k // 2),
        )
        for k in range(84)
    ]
    labels = source_labels(rows)
    assert labels.shape == (84, 2)
    assert np.isnan(labels).all(1).tolist() == [row.source == "rare" for row in rows]
    assert source_labels(rows[:40]).shape == (40, 0)
    noise = generator.standard_normal((84, 6))
    knowing = noise + 3 * np.nan_to_num(labels)[:, :1]
    # What tells patients and not sources: a score that learnt from a patient's other image would be right.
    patients = generator.standard_normal((42, 6))[np.arange(84) // 2]
    for embedding, low, high in ((knowing, 0.95, 1.0), (noise, 0.3, 0.7), (patients, 0.25, 0.75)):
        scores = source_scores(embedding, rows)
        assert np.isnan(scores).tolist() == np.isnan(labels).tolist()
        assert low <= roc_auc_score(labels[:80, 0], scores[:80, 0]) <= high


def test_devices_are_named_by_labels() -> None:
    row = Row(file=Path("/x.png"), findings=("Support Devices", "Edema"))
    assert have_devices([row, Row(file=row.file), Row(file=row.file, absent=("Support Devices",))]).tolist() == [
        True,
        False,
        False,
    ]


@pytest.fixture(scope="session")
def experiment_keys(
    real: Path, synthetic: Path, keys: list[str], tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """Overrides of classify_experiment_toy: folders as the commands that its big twin names leave them."""
    folder = tmp_path_factory.mktemp("sets")
    bodies = make_synthetic(folder / "projections")  # each body a source of its own, and a finding less
    made = [
        replace(row, source=f"synthetic:drr:{k}", patient_id=f"phantom-{k}", findings=findings)
        for k, row in enumerate(read_manifest(bodies).rows)
        for findings in [tuple("Consolidation" if name == "Pneumonia" else name for name in row.findings)]
    ]
    write_manifest(bodies, made)
    for row in read_manifest(real).rows:
        file = folder / "suppressed" / "soft" / row.file_name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.open(row.file).point(lambda level: level * 0.9).save(file)
    named = {"sets.synthetic": synthetic, "sets.projections": bodies}
    named |= {
        "sets.anatomy": make_synthetic(folder / "anatomy", 16),
        "real_sets.suppressed": folder / "suppressed/soft",
    }
    return [*(key for key in keys if not key.startswith("sets.")), *(f"{key}={path}" for key, path in named.items())]


def test_the_whole_experiment_runs_in_pieces_to_its_report(
    experiment_keys: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = {key.split("=")[0]: Path(key.split("=")[1]) for key in experiment_keys if "sets." in key}
    keys = [f"out={tmp_path / 'run'}", *experiment_keys, *(f"{name}={tmp_path / name / 'soft'}" for name in sets)]
    load = functools.partial(load_config, CompareConfig, CONFIG.with_name("classify_experiment_toy.yaml"))
    with pytest.raises(BadInput, match=r"soft, the set synthetic of mixed, .*shuffled, is no folder; .*only=\[ARM,"):
        compare(load(keys))
    assert not (tmp_path / "run").exists()

    # The arms that need no set, before the sets are there
    first = compare(load([*keys, "only=[augmented,real]"]))
    results = results_of(first, {})
    assert list(results["arms"]) == ["real", "augmented"]
    assert results["verdict"][0].startswith("The arm augmented changed macro AUROC")
    assert results["notes"][-1] == (
        "not in this report: mixed, synthetic, pretrained, projections, anatomy, suppressed, shuffled"
    )
    before = {outcome.cell: (outcome.facts["fingerprint"], outcome.facts["start"]) for outcome in first.outcomes}

    # All arms: what is done is not done again
    for name, folder in sets.items():
        shutil.copytree(folder, tmp_path / name / "soft", copy_function=shutil.copy2)
    train, trained = module.train_classifier, []
    monkeypatch.setattr(
        module, "train_classifier", lambda config, *more: (trained.append(Path(config.out)), train(config, *more))[1]
    )
    second = compare(load(keys))
    assert len(trained) == 17
    assert not {name for path in trained for name in path.parts} & {"real", "augmented"}
    after = {outcome.cell: (outcome.facts["fingerprint"], outcome.facts["start"]) for outcome in second.outcomes}
    assert before.items() <= after.items()
    assert len({start for _, start in after.values()}) == 1
    results = results_of(second, {})
    assert len(results["arms"]) == 9
    accepted = [line for line in results["notes"] if line.startswith("arm projections")]
    assert accepted == [  # once, and not for each of its trainings
        "arm projections: accepted: the training set has only one class for Pneumonia (0 with, 12 without)"
    ]
    assert results["sets"]["suppressed"] == results["sets"]["real, train"]
    assert "The rarest findings" in to_html(results)

    # A set that has changed since is nothing to the arms that do not need it
    made = tmp_path / "sets.synthetic" / "soft"
    write_manifest(made, list(read_manifest(made).rows)[2:])
    compare(load([*keys, "only=[real,augmented,anatomy]"]))
    with pytest.raises(BadInput, match=r"arm mixed, .* was started with other images than its sets hold now"):
        compare(load(keys))


def test_ways_against_imbalance_are_compared_on_rare_findings(keys: list[str], synthetic: Path, tmp_path: Path) -> None:
    overrides = [*(key for key in keys if not key.startswith("sets.")), f"sets.top_up={synthetic}"]
    config = load_config(
        CompareConfig, CONFIG.with_name("classify_imbalance_toy.yaml"), [f"out={tmp_path / 'run'}", *overrides]
    )
    results = results_of(compare(config), {})
    assert {name: of["balance"] for name, of in results["arms"].items()} == {
        "real": "none",
        "weights": "weights",
        "sampler": "sampler",
        "mix": "mix",
        "top_up": "none",
    }
    scores = [results["tests"]["test"]["by_finding"][arm]["Pneumonia"]["auroc"]["value"] for arm in results["arms"]]
    assert len(set(scores)) > 1
    section = to_html(results).split("The rarest findings")[1].split("</table>")[0]
    assert all(f"<td>{arm}</td>" in section for arm in results["arms"])


def test_arms_share_a_pretraining_that_has_no_real_images_and_split_the_budget(load: Load, tmp_path: Path) -> None:
    config = load(tmp_path / "run", "arms.augmented.pretrain_on=[real]", "few_shots=[3]", "pretrain_share=0.25")
    cells = cells_of(config)
    assert len(cells) == 2 * (4 * 3 + 1)  # seeds, arms at three amounts, and one that has no real images
    stages = {cell: stages_of(cell, config, ("Edema",)) for cell in cells}
    once = cells_of(load(tmp_path / "run", "arms.shuffled.once=true"))
    assert {cell.amount for cell in once if cell.arm == "shuffled"} == {"100 %"}
    first = {arm: {stages[cell][0].config.out for cell in cells if cell.arm == arm} for arm in config.arms}
    assert {arm: len(each) for arm, each in first.items()} == {
        "real": 6,
        "pretrained": 2,
        "shuffled": 2,
        "synthetic": 2,
        "augmented": 6,
    }
    assert all(sum(stage.config.images for stage in each) == config.images for each in stages.values())
    assert {each[0].config.images for each in stages.values() if len(each) == 2} == {16}
    for cell, each in stages.items():
        assert each[0].config.seed == each[-1].config.seed == cell.seed
        assert each[0].config.shuffle_labels == (cell.arm == "shuffled")
        assert not (cell.arm == "shuffled" and each[1].config.shuffle_labels)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("question=pretraned", "question is 'pretraned', which is no arm; did you mean 'pretrained'"),
        ("baseline=pretrained", "baseline and question are both"),
        ("baseline=synthetic", "baseline 'synthetic' is needed at every amount of real images"),
        ("arms.real.once=true", "baseline 'real' is needed at every amount"),
        ("arms.real.learn_from=[synthetc]", "arm real: there is no set 'synthetc'; did you mean 'synthetic'"),
        ("arms.real.learn_from=[]", "arm real has nothing in learn_from"),
        ("arms.real.shuffle_labels=true", "arm real shuffles the labels of synthetic images, and has none"),
        ("arms.real.balance=some", "unknown balance of arm real 'some'"),
        ("only=[real,pretraned]", "only names 'pretraned', which is no arm; did you mean 'pretrained'"),
        ("only=[synthetic,pretrained]", r"only is \[synthetic, pretrained\]; name the baseline real"),
        ("only=[real,pretrained]", "only is given and findings is empty"),
        ("fractions=[0.0]", r"fractions is \[0.0\]"),
        ("seeds=[1,1]", r"seeds is \[1, 1\]"),
        ("synthetic=[x]", "are said by arms"),
        ("originals=false", "are said by arms"),
        ("real_sets.synthetic=x", "two sets are called 'synthetic'"),
        ("real_sets.real=x", "two sets are called 'real'"),
        ("real_sets.soft={real}/images", "holds none of the 32 training images"),
        ("tests.other={split}", r"the test set other: .* has train/ and no test/; .* tests.other=.*/train"),
        ("fractions=[0.01]", r"arm real, 1 %, seed 0: the training set has only one class for"),
        ("findings=[Edema]", "has no finding with it and without it, so nothing can be scored"),
        ("tests.other={real}", "of the test set other are also learnt from"),
        ("sets.synthetic={real}", r"24 patient\(s\) of the test images are also learnt from"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_written(
    override: str, message: str, load: Load, real: Path, synthetic: Path, tmp_path: Path
) -> None:
    split = tmp_path / "split"
    shutil.copytree(synthetic, split / "train")
    with pytest.raises(BadInput, match=message):
        compare(load(tmp_path / "run", override.format(real=real, split=split)))
    assert not (tmp_path / "run").exists()
