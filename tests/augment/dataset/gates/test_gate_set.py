"""The gates: a verdict is a function of the image and its row alone, and who says nothing cannot be a gate."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from augment.dataset.config import USUAL_GATES, Gates
from augment.dataset.gates.calibration import Limit, Limits, RealImage, passes
from augment.dataset.gates.gate_set import (
    ENOUGH,
    OF_PROJECTIONS,
    GateSet,
    _images_with,
    gate_set_of,
    open_gate_set,
)
from augment.dataset.gates.scores import gate_of, opposite_of, read_table, write_table
from augment.dataset.shards.records import ANATOMY, DRR, MODEL
from gen.core.errors import BadInput
from gen.judge.framings import AS_IT_IS, FRAMINGS, PREPARED, VARIED
from gen.judge.network import QUALITIES
from gen.judge.readings import AnyJudge
from gen.judge.reference import Reference, copy_threshold
from gen.language.study import Finding, Study
from gen.statistics.groups import ALL, crossed
from gen.statistics.intervals import patient_share
from tests.anatomy.drawn import Drawn, DrawnAnatomy, film
from tests.augment.dataset.gates.toy_gates import PATIENTS, TOY, PixelJudge, Truth, picture, plan_row, study_of


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
