"""The gates: a verdict is a function of the image and its row alone, and who says nothing cannot be a gate."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augment.dataset.config import USUAL_GATES, Gates
from augment.dataset.gates.calibration import Limit, Limits, RealImage, passes
from augment.dataset.gates.gate_set import (
    ENOUGH,
    OF_PROJECTIONS,
    GateSet,
    _images_with,
    check_gates,
    gate_set_of,
    open_gate_set,
    warnings_of_gates,
)
from augment.dataset.gates.scores import TABLES, gate_of, measure, opposite_of, read_table, unlearnt, write_table
from augment.dataset.shards.records import ANATOMY, DRR, MODEL, PlanRow
from gen.core.bundled import bundled_model
from gen.core.errors import BadInput
from gen.core.manifest import Row, write_manifest
from gen.core.radiograph import Radiograph, write_png
from gen.judge.framings import AS_IT_IS, FRAMINGS, PREPARED, VARIED
from gen.judge.judge import load_judge
from gen.judge.network import QUALITIES
from gen.judge.readings import AnyJudge, Readings, batches
from gen.judge.reference import REFERENCE, Reference, copy_threshold, index_of, write_reference
from gen.language.study import Finding, Study
from gen.statistics.groups import ALL, crossed
from gen.statistics.intervals import patient_share
from tests.anatomy.drawn import Drawn, DrawnAnatomy, film

NAMES = ("Cardiomegaly", "Pneumonia")
PATIENTS = 80
TOY = Gates(least_images=30, pass_rate=0.9)


@dataclass(frozen=True)
class PixelJudge(AnyJudge):
    """It reads what it sees off the first pixels of an image, in steps of 1/255; the rest is the embedding."""

    name: str = "pixels"
    fingerprint: str = "0123456789abcdef"
    findings: tuple[str, ...] = NAMES
    reference: Reference | None = None

    def read(
        self, pixels: np.ndarray | Sequence[np.ndarray], *, on_images: Callable[[int], object] = lambda count: None
    ) -> Readings:
        seen = np.concatenate(list(batches(pixels, 8))).reshape(len(pixels), -1).astype(np.float32) / 255
        rest = seen[:, 8:] - 0.5
        return Readings(
            names=NAMES,
            findings=seen[:, :2],
            embedding=rest / np.linalg.norm(rest, axis=1, keepdims=True),
            female=seen[:, 2],
            ap=seen[:, 3],
            child=(seen[:, 4] < 0.18).astype(np.float32),
            age=seen[:, 4] * 100,
            qualities=QUALITIES,
            quality=seen[:, 5:8],
            artefact=np.full(len(seen), np.nan, np.float32),
        )


@dataclass(frozen=True)
class Truth:
    """Real radiographs that the judge sees with some doubt: more about women than about men."""

    folder: Path
    rows: list[Row] = field(default_factory=list)


def picture(seed: int, study: Study, doubt: float = 0.0) -> np.ndarray:
    """uint8 (8, 8): what `PixelJudge` reads as ``study``, but for up to ``doubt`` in each number."""
    generator = np.random.default_rng(seed)
    found = [study.findings.get(name, Finding("absent")).state == "present" for name in NAMES]
    said = [*found, study.sex == "F", study.view == "AP"]
    off = generator.random(8) * doubt
    numbers = [abs(value - shift) for value, shift in zip(map(float, said), off, strict=False)]
    numbers += [(study.age or 50) / 100 + off[4] / 3, *(1 - off[5:])]
    rest = generator.random(56)
    return np.rint(np.clip([*numbers, *rest], 0, 1) * 255).astype(np.uint8).reshape(8, 8)


def study_of(k: int) -> Study:
    findings = {NAMES[k % 2]: Finding(), NAMES[1 - k % 2]: Finding("absent")}
    return Study(age=20 + 7 * (k % 8), sex="FM"[k // 2 % 2], view=("PA", "AP")[k // 4 % 2], findings=findings)


def plan_row(study: Study, source: str = MODEL) -> PlanRow:
    return PlanRow(0, "cell", study, "", source, 0, "id")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    folder = tmp_path_factory.mktemp("real")
    truth = Truth(folder)
    for k in range(2 * PATIENTS):
        study = study_of(k)
        file = folder / f"{k}.png"
        write_png(file, Radiograph(picture(k, study, 0.9 if study.sex == "F" else 0.6) / np.float32(255), None, {}))
        row = Row(file=file, file_name=file.name, patient_id=f"patient {k % PATIENTS}", sha256=f"{k:064x}")
        truth.rows.append(replace(row, study=json.dumps(study.to_json_dict())))
    write_manifest(folder, truth.rows)
    return truth


@pytest.fixture(scope="module")
def images(real: Truth) -> list[RealImage]:
    return measure(PixelJudge(), real.rows)


@pytest.fixture(scope="module")
def indexed() -> Reference:
    """An index of 50 images of other people, measured by 300 more."""
    generator = np.random.default_rng(1)
    rows = [Row(file=Path(f"{k}.png"), file_name=f"{k}.png", patient_id=f"known {k}") for k in range(50)]
    return index_of(generator.random((50, 56)) - 0.5, rows, generator.random((300, 56)) - 0.5, "0123456789abcdef")


@pytest.fixture(scope="module")
def gate_set(images: list[RealImage], indexed: Reference) -> GateSet:
    return gate_set_of(PixelJudge(reference=indexed), TOY, images, "toy images")


@pytest.fixture(scope="module")
def bundled() -> GateSet:
    found = open_gate_set(Gates(), device="cpu")
    assert found is not None
    return found


def test_real_images_of_every_listed_group_pass_at_the_stated_rate(gate_set: GateSet, real: Truth) -> None:
    rows = [plan_row(study_of(k)) for k in range(2 * PATIENTS)]
    pictures = [picture(k, study_of(k), (0.6, 0.9)[study_of(k).sex == "F"]) for k in range(len(rows))]
    verdicts = list(map(gate_set.check, pictures, rows))
    kinds = {"finding: Pneumonia", "finding: no Pneumonia", "sex: F", "sex: M", "age", "view: PA"}
    assert set(gate_set.limits) >= kinds
    for kind, limits in gate_set.limits.items():
        for key in limits.groups if kind != "copy" else ():
            name = kind if gate_of(kind) in ("finding", "quality") else gate_of(kind)
            members = [
                (name not in verdict.failed, image.patient)
                for image, verdict in zip(gate_set.images, verdicts, strict=True)
                if kind in image.scores and key in crossed(image.attributes)
            ]
            assert patient_share(*map(list, zip(*members, strict=True))).value >= 0.9
    assert any(verdict.failed for verdict in verdicts)


def test_an_image_that_is_checked_has_the_scores_that_it_was_measured_with(
    gate_set: GateSet, images: list[RealImage]
) -> None:
    for k in (0, 5, 10):
        pixels = picture(k, study_of(k), (0.6, 0.9)[study_of(k).sex == "F"])
        verdict = gate_set.check(pixels, plan_row(study_of(k)))
        assert set(verdict.scores.values()) == set(images[k].scores.values()) | {round(verdict.nearest or 0, 4)}
        as_float = gate_set.check(pixels / np.float32(255), plan_row(study_of(k)))
        assert as_float == verdict


def test_a_verdict_does_not_depend_on_what_was_checked_before(bundled: GateSet) -> None:
    generator = np.random.default_rng(0)
    images = [generator.random((64, 64)).astype(np.float32) for _ in range(3)]
    rows = [plan_row(study_of(k)) for k in range(3)]
    verdicts = list(map(bundled.check, images, rows))
    assert list(map(bundled.check, images[::-1], rows[::-1])) == verdicts[::-1]
    assert all("quality: anatomy" in verdict.failed for verdict in verdicts)


def test_what_fails_is_what_lies_below_its_threshold_and_a_score_at_it_passes(gate_set: GateSet) -> None:
    study = study_of(0)
    limit = gate_set.limits["age"].threshold({"sex": "F", "age": "18-39", "view": "PA"})
    verdict = gate_set.check(picture(3, study, 1.0), plan_row(study))
    assert set(verdict.failed) == {name for name, score in verdict.scores.items() if score < verdict.thresholds[name]}
    assert verdict.thresholds["age"] == limit
    assert set(verdict.thresholds) == set(verdict.scores)
    for above, failed in ((0, False), (1e-4, True)):
        one = Limits({ALL: Limit(verdict.scores["age"] + above, 1, 1)}, {})
        there = replace(gate_set, limits={**gate_set.limits, "age": one})
        assert ("age" in there.check(picture(3, study, 1.0), plan_row(study)).failed) == failed


def test_an_image_of_something_else_fails_at_the_gate_of_that(gate_set: GateSet) -> None:
    shown = Study(age=34, sex="F", view="PA", findings={"Pneumonia": Finding(), "Cardiomegaly": Finding("absent")})
    image = picture(0, shown)
    asked = {
        "sex": replace(shown, sex="M"),
        "view": replace(shown, view="AP"),
        "age": replace(shown, age=90),
        "finding: no Pneumonia": replace(shown, findings={"Pneumonia": Finding("absent")}),
        "finding: Cardiomegaly": replace(shown, findings={"Cardiomegaly": Finding()}),
    }
    assert gate_set.check(image, plan_row(shown)).failed == ()
    for name, study in asked.items():
        assert gate_set.check(image, plan_row(study)).failed == (name,)


def test_what_is_not_said_or_not_sure_is_not_judged(gate_set: GateSet) -> None:
    doubtful = Study(findings={"Pneumonia": Finding("uncertain"), "COVID-19": Finding()})
    verdict = gate_set.check(picture(0, doubtful), plan_row(doubtful))
    assert {gate_of(name) for name in verdict.scores} == {"quality", "copy"}


def test_a_projection_stands_before_the_gates_of_what_its_labels_do_not_say(gate_set: GateSet) -> None:
    study, black = study_of(0), np.zeros((8, 8), np.uint8)
    for source, kinds in OF_PROJECTIONS.items():
        verdict = gate_set.check(black, plan_row(study, source))
        assert {gate_of(name) for name in verdict.scores} == set(kinds) & set(USUAL_GATES)
        assert set(verdict.failed) >= {f"quality: {name}" for name in QUALITIES}
        assert (verdict.nearest is None) == (source == DRR), "the projector learnt from no image that it could copy"


def test_a_view_that_no_real_image_has_is_not_judged_by_images_of_another(gate_set: GateSet) -> None:
    for source, kinds in ((MODEL, {"copy"}), (ANATOMY, {"copy"}), (DRR, set())):
        verdict = gate_set.check(np.zeros((8, 8), np.uint8), plan_row(replace(study_of(0), view="lateral"), source))
        assert set(verdict.scores) == kinds
    assert "lateral" in str([kind for kind in gate_set.without if kind.startswith("view")])


def test_a_copy_is_caught_and_the_threshold_is_the_one_of_the_evaluation(gate_set: GateSet, indexed: Reference) -> None:
    distances = np.array([round(float(distance), 4) for distance in indexed.held_out])
    assert gate_set.limits["copy"].threshold({}) == copy_threshold(distances, 0.01)[0]
    stranger = picture(0, study_of(0))
    copied = stranger.copy().reshape(-1)
    copied[8:] = np.rint((indexed.codes[7] / 127 / 2.1 + 0.5) * 255)
    verdicts = [gate_set.check(image, plan_row(study_of(0))) for image in (stranger, copied.reshape(8, 8))]
    # Pose and exposure that are drawn afterwards hide no copy.
    assert gate_set.check(stranger, plan_row(study_of(0)), copied.reshape(8, 8)).failed == verdicts[1].failed
    assert "copy" not in verdicts[0].failed
    assert verdicts[1].failed == ("copy",)
    assert verdicts[1].nearest is not None
    assert verdicts[1].nearest < 0.01


def test_a_score_that_is_no_number_fails(gate_set: GateSet, indexed: Reference) -> None:
    broken = PixelJudge(reference=replace(indexed, codes=np.full((1, 56), np.nan)))
    verdict = replace(gate_set, judge=broken).check(picture(0, study_of(0)), plan_row(study_of(0)))
    assert "copy" in verdict.failed


@pytest.mark.parametrize("bad", [np.full((8, 8), np.nan, np.float32), np.full((8, 8), 2.0), np.zeros((3, 8, 8))])
def test_what_is_no_image_is_refused(gate_set: GateSet, bad: np.ndarray) -> None:
    with pytest.raises(BadInput):
        gate_set.check(bad, plan_row(Study()))


def test_no_more_is_asked_than_that_the_judge_thinks_it_more_likely_right(
    images: list[RealImage], gate_set: GateSet
) -> None:
    sure = [
        replace(image, scores={kind: min(1.0, 0.9 + score) for kind, score in image.scores.items()}) for image in images
    ]
    limits = gate_set_of(PixelJudge(), Gates(names=["sex", "quality"], least_images=30), sure, "").limits
    assert {limit.threshold for each in limits.values() for limit in each.groups.values()} == {ENOUGH}


def test_few_images_turn_a_gate_off_and_say_so(images: list[RealImage]) -> None:
    few = [image for image in images if int(image.patient) <= 19]
    gate_set = gate_set_of(PixelJudge(), Gates(names=["sex", "finding"]), few, "few images")
    assert gate_set.limits == {}
    assert {"sex: F", "sex: M", "finding: Pneumonia", "finding: COVID-19"} <= set(gate_set.without)
    assert "patient(s)" in gate_set.without["sex: F"]
    verdict = gate_set.check(picture(0, study_of(0)), plan_row(study_of(0)))
    assert (verdict.scores, verdict.failed) == ({}, ())


def test_the_identity_is_of_what_decides_and_of_nothing_else(
    images: list[RealImage], gate_set: GateSet, indexed: Reference
) -> None:
    def fingerprint(gates: Gates, judge: AnyJudge = gate_set.judge) -> str:
        return gate_set_of(judge, gates, images, "elsewhere").fingerprint

    assert fingerprint(TOY) == gate_set.fingerprint
    assert fingerprint(replace(TOY, names=list(USUAL_GATES[::-1]), attempts=9)) == gate_set.fingerprint
    others = [
        fingerprint(replace(TOY, pass_rate=0.8)),
        fingerprint(replace(TOY, names=["sex"])),
        fingerprint(replace(TOY, copy_false_alarms=0.1)),
        fingerprint(TOY, PixelJudge(fingerprint="another", reference=indexed)),
    ]
    assert len({gate_set.fingerprint, *others}) == 5


def test_the_description_is_json_and_owns_up_to_what_the_gates_let_through(gate_set: GateSet) -> None:
    facts = json.loads(json.dumps(gate_set.describe(), allow_nan=False))
    assert facts["real"] == {"source": "toy images", "images": 2 * PATIENTS, "patients": PATIENTS, "framing": ""}
    assert facts["joint"]["all"]["n"] == PATIENTS
    for kind, each in facts["kinds"].items():
        assert set(each["groups"]) == set(gate_set.limits[kind].groups)
        has_opposite = any(opposite_of(kind) in image.scores for image in gate_set.images)
        assert (each["groups"]["all"]["others"]["value"] is not None) == has_opposite
    # Women are seen worse: what passes for one of them is more of the men than the other way round.
    stopped = {sex: 1 - facts["kinds"][f"sex: {sex}"]["groups"]["all"]["others"]["value"] for sex in "FM"}
    assert stopped["F"] < stopped["M"]


def test_a_table_reads_back_and_names_nobody(images: list[RealImage], tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    framed = [replace(image, framing=("", *FRAMINGS)[k % 4]) for k, image in enumerate(images)]
    write_table(path, framed, "a test")
    assert read_table(path) == framed
    assert "patient " not in path.read_text().replace("patient,", "")
    path.write_text("# a test\npatient,group sex,age\n1,F,old\n")
    with pytest.raises(BadInput, match="no table"):
        read_table(path)


def test_images_that_the_judge_learnt_from_are_left_out(real: Truth) -> None:
    known = real.rows[:40]  # 40 patients, who have one more image each
    generator = np.random.default_rng(0)
    index = index_of(generator.random((40, 56)), known, generator.random((9, 56)), PixelJudge.fingerprint)
    left = unlearnt(PixelJudge(reference=index), real.rows)
    assert {row.patient_id for row in left} == {f"patient {k}" for k in range(40, PATIENTS)}
    renamed = [replace(row, patient_id=f"other {row.patient_id}") for row in real.rows]
    assert len(unlearnt(PixelJudge(reference=index), renamed)) == len(real.rows) - 40  # the image itself is known, too
    assert unlearnt(PixelJudge(), real.rows) == real.rows


def test_the_bundled_judge_brings_its_own_images(bundled: GateSet) -> None:
    judge = load_judge(device="cpu")
    assert [path.stem for path in TABLES.glob("*.csv")] == [judge.fingerprint]
    assert judge.reference is not None
    # Copies are looked for in images as the model paints them, so what is as it is has no distance.
    framed = {framing: _images_with(judge, framing)[0] for framing in FRAMINGS}
    near = {
        framing: [each.scores["copy"] for each in some if "copy" in each.scores] for framing, some in framed.items()
    }
    assert near[AS_IT_IS] == []
    for framing in (PREPARED, VARIED):
        np.testing.assert_allclose(sorted(near[framing]), judge.reference.held_out, atol=1e-3)
    known = {kind.partition(": ")[2] for kind in (*bundled.limits, *bundled.without) if kind.startswith("finding: ")}
    assert set(judge.findings) <= known
    numbers = [int(image.patient) for some in framed.values() for image in some]
    assert sorted(set(numbers)) == list(range(1, max(numbers) + 1))
    told = (TABLES / "README.md").read_text()
    assert told.count(f"{len(framed[AS_IT_IS])} real chest images of {max(numbers)} patients") == 1
    assert told.count(f"the {len(framed[VARIED])} that") == 1


@pytest.mark.parametrize("framing", FRAMINGS)
def test_the_stated_rate_holds_in_the_framing_that_is_judged_and_each_film_counts_once(framing: str) -> None:
    gate_set = open_gate_set(Gates(), framing=framing, device="cpu")
    assert gate_set is not None
    assert {image.framing for image in gate_set.images} == {framing}
    films = Counter(image.patient for image in gate_set.images)
    as_they_are = Counter(image.patient for image in _images_with(gate_set.judge, AS_IT_IS)[0])
    assert all(count <= as_they_are[patient] for patient, count in films.items())
    for kind, limits in gate_set.limits.items():
        for key, limit in limits.groups.items() if kind != "copy" else ():
            members = [each for each in gate_set.images if kind in each.scores and key in crossed(each.attributes)]
            hits = [passes(each, gate_set.limits)[kind] for each in members]
            assert patient_share(hits, [each.patient for each in members]).value >= 0.95
            assert key == ALL or limit.images == len(members) >= 50


def test_thresholds_of_another_framing_would_refuse_more_than_is_stated() -> None:
    """Why they come from one framing: real images of it do not reach those of another at the rate."""
    gates = Gates(names=["sex"])
    own, other = (open_gate_set(gates, framing=framing, device="cpu") for framing in (VARIED, PREPARED))
    assert own is not None
    assert other is not None
    women = [image for image in own.images if "sex: F" in image.scores]
    patients = [image.patient for image in women]
    shares = [patient_share([passes(i, each.limits)["sex: F"] for i in women], patients) for each in (own, other)]
    assert shares[0].value >= 0.95 > shares[1].value
    assert own.fingerprint != other.fingerprint


def test_distances_to_the_index_of_another_generator_are_not_taken_over(indexed: Reference) -> None:
    judge = load_judge(device="cpu")
    own, other = judge, replace(judge, reference=indexed)
    kinds = [{kind for image in _images_with(each, VARIED)[0] for kind in image.scores} for each in (own, other)]
    assert kinds[0] - kinds[1] == {"copy"}


def test_copies_are_looked_for_in_the_index_of_the_model_where_it_has_one(indexed: Reference, tmp_path: Path) -> None:
    judge = load_judge(device="cpu")
    width = judge.network.shape.embedding
    generator = np.random.default_rng(2)
    rows = [Row(file=Path(f"{k}.png"), file_name=f"{k}.png", patient_id=f"known {k}") for k in range(40)]
    own = index_of(generator.random((40, width)) - 0.5, rows, generator.random((300, width)) - 0.5, judge.fingerprint)
    models = {"own": own, "another": indexed, "none": None}
    for name, reference in models.items():
        (tmp_path / name).mkdir()
        if reference is not None:
            write_reference(tmp_path / name / REFERENCE, reference)
    gates = Gates(names=["copy"])
    found = {name: open_gate_set(gates, str(tmp_path / name), device="cpu") for name in models}
    # Each was opened with a judge: the type checker does not know it.
    sizes = {name: len(each.judge.reference.codes) for name, each in found.items()}  # type: ignore[union-attr]
    assert judge.reference is not None
    assert sizes == {"own": 40, "another": len(judge.reference.codes), "none": len(judge.reference.codes)}
    told = {name: warnings_of_gates(gates, str(tmp_path / name)) for name in models}
    assert told["own"] == []
    assert all("gen train reference" in told[name][0] for name in ("another", "none"))
    assert warnings_of_gates(gates, None) == warnings_of_gates(gates, str(bundled_model())) == []
    assert warnings_of_gates(Gates(names=["copy"], judge="mine"), str(tmp_path / "none")) == []
    assert warnings_of_gates(Gates(names=["sex"]), str(tmp_path / "none")) == []


def test_real_images_of_the_users_are_judged_at_the_start(real: Truth, bundled: GateSet, tmp_path: Path) -> None:
    found = open_gate_set(Gates(names=["quality", "sex"], real=str(real.folder), least_images=30), device="cpu")
    assert found is not None
    assert len(found.images) == 2 * PATIENTS
    assert found.source == f"{2 * PATIENTS} images of {real.folder.name}"  # a card is published: no path
    assert found.fingerprint != bundled.fingerprint
    assert set(found.limits) == {"sex: F", "sex: M", *(f"quality: {name}" for name in QUALITIES)}


def test_images_of_the_users_are_judged_once_where_a_table_is_kept(
    real: Truth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gates = Gates(names=["quality", "sex"], real=str(real.folder), least_images=30)
    first = open_gate_set(gates, device="cpu", table=tmp_path / "gates.csv")
    monkeypatch.setattr("augment.dataset.gates.gate_set.measure", lambda *those: pytest.fail("they were judged again"))
    again = open_gate_set(gates, device="cpu", table=tmp_path / "gates.csv")
    assert first is not None
    assert again is not None
    assert (first.limits, first.fingerprint, first.source) == (again.limits, again.fingerprint, again.source)


def test_without_names_there_is_no_panel() -> None:
    assert open_gate_set(Gates(names=[])) is None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"names": ["qualty"]}, r"unknown gates\.names 'qualty'; did you mean 'quality'"),
        ({"pass_rate": 1.0}, r"gates\.pass_rate is 1"),
        ({"pass_rate": math.nan}, r"gates\.pass_rate"),
        ({"copy_false_alarms": 0.0}, r"gates\.copy_false_alarms"),
        ({"least_images": 0}, r"gates\.least_images is 0; it is 1 or more"),
        ({"attempts": 0}, r"gates\.attempts"),
        ({"substitutes": -1}, r"gates\.substitutes"),
    ],
)
def test_settings_that_cannot_be_are_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        check_gates(replace(Gates(), **wrong))


def test_a_judge_that_says_little_is_told_what_to_leave_out(tmp_path: Path, real: Truth) -> None:
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    labels = dict(enumerate(["Pneumonia", "Effusion"]))
    config = ResNetConfig(
        num_channels=1,
        embedding_size=4,
        hidden_sizes=[4, 8],
        depths=[1, 1],
        layer_type="basic",
        id2label=labels,
        label2id={name: k for k, name in labels.items()},
        problem_type="multi_label_classification",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ResNetForImageClassification(config).save_pretrained(tmp_path)
    with pytest.raises(
        BadInput, match=r"nothing to say of sex, age, view, quality, copy.*reference index.*leave that out"
    ):
        open_gate_set(Gates(judge=str(tmp_path)), device="cpu")
    with pytest.raises(BadInput, match=r"no measurements of real images.*gates\.real"):
        open_gate_set(Gates(names=["finding"], judge=str(tmp_path)), device="cpu")
    gate_set = open_gate_set(Gates(names=["finding"], judge=str(tmp_path), real=str(real.folder)), device="cpu")
    assert gate_set is not None
    assert set(gate_set.limits) == {"finding: Pneumonia", "finding: no Pneumonia"}
    assert gate_set.without["finding: Pleural Effusion"] == "there is no real image of it"
    assert gate_set.without["finding: Cardiomegaly"] == "the judge does not know it"


@pytest.mark.parametrize(("unclear", "refused"), [(50, True), (3, False)])
def test_the_anatomy_gate_asks_for_one_whole_chest_where_real_images_are_such(unclear: int, refused: bool) -> None:
    """One in ``unclear`` of the real ones shows none: with a third of them the gate would be unfair, and is open."""
    real = [RealImage(f"patient {k}", {"view": "PA"}, {"anatomy": 0.9 if k % unclear else 0.0}) for k in range(240)]
    gates, anatomy = replace(TOY, names=["anatomy"]), DrawnAnatomy(Drawn())
    gate_set = gate_set_of(PixelJudge(), gates, real, "toy", anatomy)  # type: ignore[arg-type]  # a stand-in
    chest, wall = film(Drawn().masks(64)), np.full((64, 64), 0.3, np.float32)
    for source in (MODEL, DRR):
        row = plan_row(Study(view="PA"), source)
        assert gate_set.check(chest, row).failed == ()
        assert gate_set.check(wall, row).failed == (("anatomy",) if refused else ())
    assert gate_set.fingerprint != gate_set_of(PixelJudge(), gates, real, "toy").fingerprint


def test_another_network_does_not_go_with_the_table_of_this_one() -> None:
    judge = load_judge(device="cpu")
    with pytest.raises(BadInput, match=r"anatomy network drawn .*gates\.real"):
        _images_with(judge, VARIED, DrawnAnatomy(Drawn()))  # type: ignore[arg-type]  # a stand-in
