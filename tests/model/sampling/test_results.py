"""Finished images: no name is taken twice by different images, and the folder is a data set."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gen.core.errors import BadInput
from gen.core.files import sha256_file
from gen.core.manifest import read_manifest, write_manifest
from gen.core.radiograph import Radiograph, write_png
from gen.data.rows import study_of
from gen.language.study import Finding, Study
from gen.model.sampling.contact_sheet import write_contact_sheet
from gen.model.sampling.requests import Request
from gen.model.sampling.results import add_rows, existing_rows, result_path, result_row

STUDY = Study(
    age=63,
    sex="F",
    view="AP",
    position="supine",
    findings={"Pneumonia": Finding("present", "left"), "Nodule": Finding("absent"), "Edema": Finding("uncertain")},
)
FACTS = {"synthetic": "yes", "prompt": "a", "model": "toy", "model_hash": "0123", "steps": "20"}


def picture(level: float = 0.5, **facts: str) -> Radiograph:
    return Radiograph(np.full((8, 8), level, np.float32), None, FACTS | facts)


def finished(out: Path, image: Radiograph, request: Request, k: int = 0):
    path = result_path(out, image, 7, k)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, image)
    return result_row(path, image, request, 2**63 - 1, k)


def test_other_settings_give_another_name_and_the_same_settings_the_same(tmp_path: Path) -> None:
    names = [result_path(tmp_path, picture(**facts), 7, 3).name for facts in ({}, {}, {"steps": "30"}, {"prompt": "b"})]
    assert names[0] == names[1]
    assert len(set(names)) == 3
    assert names[0].startswith("seed-7-0003-")
    assert result_path(tmp_path, Radiograph(np.zeros((16, 16), np.float32), None, FACTS), 7, 3).name not in names


def test_the_manifest_says_what_was_asked_for_and_reads_back_to_the_same_study(tmp_path: Path) -> None:
    add_rows(tmp_path, [finished(tmp_path, picture(), Request("the prompt", STUDY, ()))])
    [row] = read_manifest(tmp_path).rows
    assert study_of(row) == STUDY
    assert (row.age, row.sex, row.view, row.prompt, row.seed) == (63, "F", "AP", "the prompt", 2**63 - 1)
    assert (row.findings, row.absent, row.uncertain) == (("Pneumonia",), ("Nodule",), ("Edema",))
    assert row.extra["k"] == "0"
    assert (row.width, row.height) == (8, 8)
    assert row.sha256 == sha256_file(row.file)
    assert row.source == "synthetic:toy:0123"


def test_a_raw_prompt_leaves_the_labels_blank(tmp_path: Path) -> None:
    row = finished(tmp_path, picture(), Request("a cat", None, ()))
    assert (row.prompt, row.study, row.age, row.sex, row.view, row.findings) == ("a cat", "", None, "", "", ())


def test_rows_are_added_and_an_image_made_again_replaces_its_row(tmp_path: Path) -> None:
    assert existing_rows(tmp_path) == ()
    add_rows(tmp_path, [])
    assert not list(tmp_path.iterdir()), "nothing made, nothing written"
    first, second = Request("first", None, ()), Request("second", STUDY, ())
    add_rows(tmp_path, [finished(tmp_path, picture(), first), finished(tmp_path, picture(), first, 1)])
    add_rows(tmp_path, [finished(tmp_path, picture(), second, 1), finished(tmp_path, picture(), second, 2)])
    assert [row.prompt for row in read_manifest(tmp_path).rows] == ["first", "second", "second"]


def test_weights_may_learn_only_where_the_model_allows_it(tmp_path: Path) -> None:
    path = finished(tmp_path, picture(), Request("a", None, ())).file
    for told, allowed in (({}, False), ({"weights_may_learn": True}, True), ({"weights_may_learn": False}, False)):
        row = result_row(path, picture(), Request("a", None, ()), 0, 0, **told)
        assert row.weights_may_learn is allowed


def test_an_image_that_was_deleted_leaves_the_manifest_and_blocks_nothing(tmp_path: Path) -> None:
    rows = [finished(tmp_path, picture(), Request(str(k), None, ()), k) for k in range(3)]
    assert add_rows(tmp_path, rows[:2]) == 2
    rows[0].file.unlink()
    assert [row.prompt for row in existing_rows(tmp_path)] == ["1"]
    assert add_rows(tmp_path, rows[2:]) == 2
    assert [row.prompt for row in read_manifest(tmp_path).rows] == ["1", "2"]


@pytest.mark.parametrize("deleted", [False, True], ids=["whole", "its image is gone"])
@pytest.mark.parametrize("split", [None, "train"])
@pytest.mark.parametrize("source", ["NIH", ""])
def test_a_real_data_set_is_not_written_into(tmp_path: Path, source: str, split: str | None, deleted: bool) -> None:
    row = finished(tmp_path / (split or ""), picture(), Request("a", None, ()))
    write_manifest(tmp_path, [dataclasses.replace(row, source=source, split=split)])
    if deleted:
        row.file.unlink()
    table = tmp_path / (split or "") / "metadata.csv"
    before = table.read_text()
    with pytest.raises(BadInput, match="is a data set with"):
        add_rows(tmp_path, [finished(tmp_path, picture(), Request("b", None, ()), 1)])
    assert table.read_text() == before


def test_a_row_that_was_spoilt_is_named_and_not_dropped(tmp_path: Path) -> None:
    add_rows(tmp_path, [finished(tmp_path, picture(), Request("a", STUDY, ()))])
    table = tmp_path / "metadata.csv"
    table.write_text(table.read_text().replace(",AP,", ",oblique,"))
    with pytest.raises(BadInput, match="view 'oblique' is not one of"):
        existing_rows(tmp_path)


def test_two_processes_that_add_to_one_folder_lose_no_row(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from gen.core.manifest import Row; from gen.model.sampling.results import add_rows\n"
        "out, name = Path(sys.argv[1]), sys.argv[2]\n"
        "for k in range(40):\n"
        "    file = out / f'{name}{k}.png'; file.write_bytes(b'')\n"
        "    add_rows(out, [Row(file=file.resolve(), source='synthetic:toy')])\n"
    )
    jobs = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in "ab"]
    assert [job.wait(timeout=120) for job in jobs] == [0, 0]
    assert {row.file.stem for row in read_manifest(tmp_path).rows} == {f"{name}{k}" for name in "ab" for k in range(40)}


def test_a_manifest_that_cannot_be_read_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("nonsense\n1\n")
    with pytest.raises(BadInput, match=r"metadata\.csv"):
        add_rows(tmp_path, [finished(tmp_path, picture(), Request("a", None, ()))])
    assert (tmp_path / "metadata.csv").read_text() == "nonsense\n1\n"


def test_a_sheet_shows_every_picture_unchanged_and_says_synthetic(tmp_path: Path) -> None:
    pictures = [picture(level) for level in (0.1, 0.3, 0.6)]
    write_contact_sheet(tmp_path / "sheet.png", pictures, ["one", "two " * 40, ""], columns=2)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.mode == "L"
        assert sheet.text["synthetic"] == "yes"
        levels = np.asarray(sheet)
    for level in (0.1, 0.3, 0.6):
        assert (levels == round(level * 255)).sum() >= 64
