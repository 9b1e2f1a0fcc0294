"""``gen data check`` names every culprit once, counts what is sound, and exits 2 where there is one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click.testing
import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless

from gen.core.errors import BadInput
from gen.core.files import sha256_file
from gen.core.manifest import Row, write_manifest
from gen.core.radiograph import Radiograph, write_png
from gen.core.terms import FINDINGS, STANDARD_NAMES
from gen.data.cli import check_folder, data
from gen.data.rows import study_of
from gen.language.study import Finding, Study


def row(file: Path, **fields: object) -> Row:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_png(file, Radiograph(np.random.default_rng(list(file.stem.encode())).random((6, 8), np.float32)))
    split = file.parent.parent.name
    known = {
        "split": split,
        "sha256": sha256_file(file),
        "width": 8,
        "height": 6,
        "source": "toy",
        "patient_id": file.stem,
    }
    return Row(file=file, **(known | fields))


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    return [
        row(
            tmp_path / "train" / "images" / "a.png", age=63, sex="F", view="AP Supine", findings=("Edema", "Pneumonia")
        ),
        row(tmp_path / "train" / "images" / "b.png", age=5, sex="M", view="PA", findings=("No Finding",)),
        row(
            tmp_path / "test" / "images" / "c.png", absent=("Edema",), uncertain=("Pneumonia",), weights_may_learn=True
        ),
    ]


def run(*arguments: str) -> click.testing.Result:
    return click.testing.CliRunner().invoke(data, ["check", *arguments])


def test_a_sound_folder_is_counted(tmp_path: Path, rows: list[Row]) -> None:
    write_manifest(tmp_path, rows)
    result = run(str(tmp_path), "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "folder": str(tmp_path),
        "images": 3,
        "patients": 3,
        "counts": {
            "findings present": {"No Finding": 1, "Edema": 1, "Pneumonia": 1},
            "findings absent": {"Edema": 1},
            "findings uncertain": {"Pneumonia": 1},
            "sex": {"M": 1, "F": 1, "unknown": 1},
            "age": {"0-17": 1, "60-79": 1, "unknown": 1},
            "view": {"PA": 1, "AP Supine": 1, "unknown": 1},
            "split": {"train": 2, "test": 1},
            "source": {"toy": 3},
            "weights_may_learn": {"yes": 1, "no": 2},
        },
        "problems": [],
        "remarks": [],
    }
    text = run(str(tmp_path))
    assert text.stdout.startswith(f"3 images of 3 patients in {tmp_path}\n")
    assert text.stderr == ""


def test_each_culprit_is_one_line_and_the_end_is_bad_input(tmp_path: Path, rows: list[Row]) -> None:
    a, b, c = rows
    again = row(tmp_path / "test" / "images" / "a2.png", patient_id="a", findings=("Edemma",), width=9)
    blank = row(tmp_path / "test" / "images" / "d.png", patient_id="", findings=("Edema",), absent=("Edema",))
    normal = row(tmp_path / "test" / "images" / "e.png", findings=("No Finding", "Edema"))
    study = row(tmp_path / "test" / "images" / "f.png", study="{age: 3}")
    cut = row(tmp_path / "test" / "images" / "g.png")
    write_manifest(tmp_path, [dataclasses.replace(b, sha256="0" * 64), a, c, again, blank, normal, study, cut])
    cut.file.write_bytes(cut.file.read_bytes()[:60])
    with (tmp_path / "train" / "metadata.csv").open("a") as stream:
        stream.write("images/missing.png" + "," * 18 + "\n")
    report = check_folder(tmp_path)
    expected = [
        "train/metadata.csv line 4: file_name 'images/missing.png': no such file",
        "train/images/b.png: its SHA-256 differs",
        "test/images/a2.png: label 'Edemma' is not a standard term; did you mean 'Edema'?",
        "test/images/a2.png: the table says 9 x 6 pixels, and the image has 8 x 6",
        "test/images/d.png: its labels say that Edema is absent and present",
        "test/images/e.png: No Finding contradicts Edema",
        "test/images/f.png: column study is not JSON",
        "test/images/g.png: ",
        "test/images/d.png: patient_id is blank",
        "patient 'a' is in train and test",
    ]
    assert len(report.problems) == len(expected)
    for problem, start in zip(report.problems, expected, strict=True):
        assert start in problem
        assert "\n" not in problem
    assert report.images == 8

    result = run(str(tmp_path))
    assert isinstance(result.exception, BadInput)
    assert result.exception.exit_code == 2
    assert "10 problem(s)" in str(result.exception)
    assert result.stderr.splitlines() == list(report.problems)
    as_json = run(str(tmp_path), "--json")
    assert json.loads(as_json.stdout)["problems"] == list(report.problems)


def test_a_folder_without_a_table_and_no_folder_are_bad_input(tmp_path: Path) -> None:
    assert isinstance(run(str(tmp_path)).exception, BadInput)
    assert run(str(tmp_path / "nowhere")).exit_code == 2


def test_a_study_that_contradicts_the_columns_is_named_and_one_that_says_more_is_not(tmp_path: Path) -> None:
    where = tmp_path / "train" / "images"
    study = Study(age=63, sex="F", view="AP", findings={"Edema": Finding("present", "left", "mild")})
    text = json.dumps(study.to_json_dict())
    more = row(where / "more.png", study=text, age=63.7, findings=("Edema",))
    less = row(where / "less.png", study=text, age=64, sex="M", view="PA", absent=("Edema",), findings=("Nodule",))
    write_manifest(tmp_path, [more, less])
    assert [problem.rpartition(": ")[2] for problem in check_folder(tmp_path).problems] == [
        "age is 63 in it and 64 in them",
        "sex is F in it and M in them",
        "view is AP in it and PA in them",
        "Edema is present in it and absent in them",
        "Nodule is not named in it and present in them",
    ]


def test_one_image_under_two_patients_is_named_and_under_one_is_not(tmp_path: Path) -> None:
    where = tmp_path / "train" / "images"
    first, again, other = row(where / "a.png"), row(where / "b.png"), row(where / "c.png")
    for copy in (again, other):
        copy.file.write_bytes(first.file.read_bytes())
    same = [dataclasses.replace(each, sha256=first.sha256) for each in (first, again, other)]
    write_manifest(tmp_path, [same[0], dataclasses.replace(same[1], patient_id="a"), same[2]])
    [problem] = check_folder(tmp_path).problems
    assert problem.startswith("2 patients have the same image")
    assert problem.endswith(": images/a.png, images/c.png")


def test_a_missing_decoder_is_one_line_and_the_other_images_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = row(tmp_path / "train" / "images" / "a.png"), row(tmp_path / "train" / "images" / "b.png")
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = RLELossless
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = 6, 8
    dataset.save_as(first.file, enforce_file_format=True)
    monkeypatch.setattr(pydicom.pixels.get_decoder(RLELossless), "_available", {})
    write_manifest(tmp_path, [first, dataclasses.replace(second, width=9)])
    problems = check_folder(tmp_path).problems
    assert len(problems) == 2
    assert "a.png: no decoder for RLE Lossless is installed" in problems[0]
    assert "b.png: the table says 9 x 6" in problems[1]


def spelt(tmp_path: Path, **labels: tuple[str, ...]) -> tuple[dict[str, dict[str, int]], list[str]]:
    """The counts of a set with one image that has these labels, and its problems without the file's name."""
    write_manifest(tmp_path, [row(tmp_path / "train" / "images" / "a.png", **labels)])
    report = check_folder(tmp_path)
    return report.counts, [problem.partition(": ")[2] for problem in report.problems]


@pytest.mark.parametrize(("name", "term"), [*STANDARD_NAMES.items(), *((name.lower(), name) for name in FINDINGS)])
def test_every_name_that_a_row_may_have_is_accepted_and_counted_as_its_standard_term(
    tmp_path: Path, name: str, term: str
) -> None:
    counts, problems = spelt(tmp_path, findings=(name,))
    assert problems == []
    assert counts["findings present"] == {term: 1}
    assert list(study_of(row(tmp_path / "train" / "images" / "a.png", findings=(name,))).findings) == [term]


def test_labels_of_three_vocabularies_are_one_and_what_they_say_twice_is_named(tmp_path: Path) -> None:
    mixed = ("Pleural Effusion", "Pleural_Thickening", "Nodule/Mass", "infiltrates")  # CheXpert, NIH, VinDr, PadChest
    counts, problems = spelt(tmp_path, findings=mixed)
    assert problems == []
    assert list(counts["findings present"]) == ["Lung Lesion", "Pleural Effusion", "Infiltration", "Pleural Thickening"]
    counts, problems = spelt(tmp_path, findings=("Effusion", "Pleural effusion"), absent=("Edema",))
    assert problems == ["label 'Pleural Effusion' is given more than once, also as 'Effusion' and 'Pleural effusion'"]
    assert counts["findings present"] == {"Pleural Effusion": 1}


def test_labels_with_another_mark_between_them_say_which_one_to_write(tmp_path: Path) -> None:
    _, problems = spelt(tmp_path, findings=("Atelectasis|Infiltration",), absent=("Edema|Wheeze",))
    assert problems == [
        "label 'Atelectasis|Infiltration' is not a standard term; write ';' between labels",
        "label 'Edema|Wheeze' is not a standard term",
    ]
