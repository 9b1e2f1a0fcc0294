"""Projections for a data set: which cells can be filled, and images that are decided by row, seed and config alone."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from augment.dataset.config import DatasetConfig, Projections
from augment.dataset.projected import Projected, project, project_each, projectable, study_obstacle
from augment.dataset.shards.records import DRR, PlanRow
from drr.job import digest_of
from gen.core.errors import BadInput, GenError
from gen.language.study import Finding, Study

SIZE = 64


def config(*cts: Path, use: str = "when_needed", twins: tuple[str, ...] = ()) -> DatasetConfig:
    return DatasetConfig(
        out="out",
        images=1,
        size=SIZE,
        threads=1,
        twins=list(twins),
        projections=Projections(use, cts=list(map(str, cts))),
    )


def row(finding: str = "No Finding", *, band: str = "40-59", number: int = 0, **facts: object) -> PlanRow:
    said = {"sex": "F", "age": 50, "view": "PA", "findings": {finding: Finding()}} | facts
    study = replace(Study(), **said)
    return PlanRow(
        number, f"sex={study.sex}|age={band}|finding={finding}", study, f"{finding}.", DRR, 0, f"{number:016x}"
    )


def dicom(folder: Path, image: sitk.Image, sex: str, age: int) -> Path:
    """A CT as a series of DICOM files of a patient of this sex and age."""
    folder.mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(image.GetDepth()):
        plane = image[:, :, k]
        place = "\\".join(f"{x:g}" for x in image.TransformIndexToPhysicalPoint((0, 0, k)))
        tags = {"0008|0060": "CT", "0010|0040": sex, "0010|1010": f"{age:03}Y"}
        tags |= {"0020|0032": place, "0020|0037": "1\\0\\0\\0\\1\\0"}
        tags |= {"0020|000e": f"1.2.{age}", "0008|0018": f"1.2.{age}.{k}"}
        for tag, value in tags.items():
            plane.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{k:03}.dcm"))
        writer.Execute(plane)
    return folder


@pytest.fixture(scope="module")
def woman(chest_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = sitk.ReadImage(str(chest_files / "chest.nii.gz"))
    return dicom(tmp_path_factory.mktemp("ct") / "woman", image, "F", 45)


@pytest.fixture(scope="module")
def man(chest_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = sitk.ReadImage(str(chest_files / "chest.nii.gz"))
    return dicom(tmp_path_factory.mktemp("ct") / "man", image, "M", 70)


def bits(made: Projected | GenError) -> list[bytes]:
    assert not isinstance(made, GenError), made
    image, twins, _ = made
    return [each.pixels.tobytes() for each in (image, *twins.values())]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ({"sex": "F", "age": "18-39", "view": "lateral", "finding": "No Finding"}, None),
        ({"sex": "M", "age": "80-100", "view": "AP", "finding": "Pleural Effusion"}, None),
        ({"finding": "Support Devices"}, None),
        ({}, None),
        ({"finding": "Pneumonia"}, "Pneumonia cannot be put into a CT"),
        ({"finding": "Lung Opacity"}, "Lung Opacity cannot be put into a CT"),
        ({"age": "0-17"}, "an adult of 18 to 100 years"),
        ({"age": "10-30"}, "an adult of 18 to 100 years"),
        ({"age": "90-110"}, "an adult of 18 to 100 years"),
        ({"race": "Black"}, "nobody's race"),
    ],
)
def test_what_the_phantom_cannot_be_is_said(cell: Mapping[str, str], reason: str | None) -> None:
    said = projectable(config())(cell)
    assert said is None if reason is None else reason in str(said)
    assert projectable(config(use="never"))(cell) == "projections are switched off"


def test_a_ct_serves_who_its_header_says_it_is_and_nobody_else(woman: Path, man: Path, chest_files: Path) -> None:
    nameless = chest_files / "chest.nii.gz"  # a format that tells nothing of the patient
    on_progress = projectable(config(woman, man, nameless))
    finding = {"finding": "Edema"}
    assert on_progress(finding | {"sex": "F", "age": "40-59"}) is None
    assert on_progress(finding | {"sex": "M", "age": "60-79"}) is None
    assert on_progress(finding | {"sex": "M"}) is None
    reason = on_progress(finding | {"sex": "M", "age": "40-59"})
    assert reason == "none of the 3 CT(s) is of a patient of sex M and age 40-59; both are known of 2"
    alone = projectable(config(nameless))
    assert alone(finding) is None
    assert alone(finding | {"sex": "M"}) is not None
    assert alone(finding | {"age": "18-100"}) is not None
    assert "not known" in str(alone({"finding": "No Finding"}))


def test_a_ct_that_is_not_there_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"gone\.nii: No such file"):
        projectable(config(tmp_path / "gone.nii"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="holds no DICOM image"):
        projectable(config(tmp_path / "empty"))


@pytest.mark.parametrize(
    "planned",
    [
        row(
            findings={"Pleural Effusion": Finding("present", "right"), "Cardiomegaly": Finding(severity="mild")},
            sex="M",
            age=100,
            view="AP",
        ),
        row("Support Devices", devices=("pacemaker", "chest tube"), sex=None, age=None, view="lateral"),
        row(
            "Nodule",
            findings={name: Finding() for name in ("Nodule", "Fracture", "Retained Foreign Object")}
            | {"Pneumothorax": Finding("absent")},
        ),
    ],
    ids=lambda planned: "-".join(planned.study.findings),
)
def test_the_truth_is_what_the_row_says_and_no_finding_more(planned: PlanRow) -> None:
    study = planned.study
    assert study_obstacle(study, config()) is None
    made = next(made for made in project_each([planned] * 3, [3, 4, 5], config()) if not isinstance(made, GenError))
    image, twins, truth = made
    true = Study.from_json_dict(truth["study"])
    for name in ("age", "sex", "view", "position"):
        assert getattr(study, name) in (None, getattr(true, name))
    present = {name: finding for name, finding in study.findings.items() if finding.state == "present"}
    assert set(true.findings) - {"No Finding"} == set(present) - {"No Finding"}
    for name, finding in present.items():
        for quality in ("side", "severity", "zone"):
            assert getattr(finding, quality) in (None, getattr(true.findings[name], quality))
    assert set(study.devices) <= set(true.devices)
    assert Study.from_json_dict(json.loads(image.provenance["study"])) == true
    assert image.pixels.shape == (SIZE, SIZE)
    assert image.pixels.std() > 0.1
    assert twins == {}


@pytest.mark.parametrize(
    ("study", "reason"),
    [
        (Study(findings={"Edema": Finding("uncertain")}), "not known to be uncertain"),
        (Study(findings={"Pneumonia": Finding()}), "cannot be put into a CT"),
        (Study(findings={"Pleural Effusion": Finding(zone="upper")}), "Pleural Effusion cannot be upper"),
        (Study(devices=("ICD",)), "'ICD'|ICD|icd"),
        (Study(view="AP", position="supine"), "the phantom stands"),
        (Study(age_group="child"), "an adult"),
        (Study(age=17), "an adult of 18 to 100 years"),
        (Study(race="Asian"), "nobody's race"),
    ],
)
def test_a_study_that_cannot_be_projected_says_why_and_its_row_is_an_error(study: Study, reason: str) -> None:
    assert re.search(reason, str(study_obstacle(study, config())))
    [made] = project_each([PlanRow(7, "", study, "", DRR, 0, "7")], [0], config())
    assert isinstance(made, GenError)
    assert str(made).startswith("row 7 cannot be projected: ")


def test_row_and_seed_decide_every_bit_whoever_makes_the_image(woman: Path) -> None:
    wanted = config(woman, twins=("soft", "bone"))
    rows = [row("Edema", number=0), row("Nodule", number=1, view="AP")]
    together = [bits(made) for made in project_each(rows, [5, 6], wanted)]
    assert [len(made) for made in together] == [3, 3]
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, [min(before)])  # left to itself, the projector takes a thread for each processor
        alone = [bits(project(each, seed, wanted)) for each, seed in zip(rows[::-1], [6, 5], strict=True)]
    finally:
        os.sched_setaffinity(0, before)
    assert alone[::-1] == together
    assert bits(project(rows[0], 7, wanted)) != together[0]


def test_a_phantom_is_made_again_to_the_last_bit_and_is_as_large_as_its_spacing_tells() -> None:
    wanted = config(twins=("bone",))
    image, twins, truth = project(row(), 1, wanted)
    assert bits((image, twins, truth)) == bits(project(row(), 1, wanted))
    assert [*twins] == ["bone"]
    assert twins["bone"].pixels.shape == image.pixels.shape == (SIZE, SIZE)
    longest = max(truth["geometry"]["rows"], truth["geometry"]["columns"])
    shown_mm = longest * np.linalg.norm(truth["geometry"]["column_mm"])
    assert image.spacing_mm is not None
    assert image.spacing_mm[0] * SIZE == pytest.approx(shown_mm)
    assert image.provenance["synthetic"] == "yes"
    assert (image.provenance["licence"], image.provenance["weights_may_learn"]) == ("Apache-2.0", "yes")
    assert image.provenance["prompt"] == "No Finding."


def named(ct: Path) -> str:
    """The patient of a CT file: by its content, for a name that somebody guesses could be hashed."""
    return f"ct-{digest_of(ct)[:12]}"


def test_rows_get_the_cts_of_their_patients_and_one_without_any_stops_no_other(woman: Path, man: Path) -> None:
    wanted = config(woman, man)
    rows = [
        row("Edema", number=0),
        row("Edema", number=1, sex="M", age=50),
        row("Edema", number=2, sex="M", age=61, band="60-79", view="AP"),
        row("Nodule", number=3, age=59),
    ]
    made = list(project_each(rows, [1, 2, 3, 4], wanted))
    assert isinstance(made[1], GenError)
    assert str(made[1]) == "row 1 cannot be projected: no CT is of a patient of its sex and age"
    others = [each for each in made if not isinstance(each, GenError)]
    assert [image.provenance["patient"] for image, _, _ in others] == [named(woman), named(man), named(woman)]
    assert [truth["study"]["age"] for _, _, truth in others] == [45, 70, 45]
    assert {image.provenance["weights_may_learn"] for image, _, _ in others} == {"no"}
    assert bits(project(rows[2], 3, wanted)) == bits(made[2])


def test_a_ct_that_breaks_fails_its_rows_only(woman: Path, tmp_path: Path) -> None:
    (tmp_path / "torn.nrrd").write_bytes(b"NRRD0004\n")
    bare = {"sex": None, "age": None}
    rows = [row("Edema", number=k, **bare) for k in range(3)]
    rows = [PlanRow(each.number, "", *(each.study, "", DRR, 0, each.id)) for each in rows]
    made = list(project_each(rows, [0, 1, 2], config(woman, tmp_path / "torn.nrrd")))
    broken = [each for each in made if isinstance(each, GenError)]
    assert 0 < len(broken) < 3, "seeds that draw both CTs"
    assert all("torn.nrrd" in str(each) and "\n" not in str(each) for each in broken)
