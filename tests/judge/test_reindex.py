"""`gen train reference`: the same judge with another generator's index, which finds that generator's images."""

from __future__ import annotations

import csv
import shutil
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from gen.core.errors import BadInput
from gen.core.files import verify_folder
from gen.core.manifest import read_manifest
from gen.data.loader import to_pixels_u8
from gen.data.split import patient_of, split_rows
from gen.images.reader import read_radiograph
from gen.judge.cli import train_reference
from gen.judge.familiar import fit_familiar, soundness_of
from gen.judge.judge import Judge, load_judge
from gen.judge.plugins import open_judge
from gen.judge.reindex import reindex


def halved(data: Path, folder: Path) -> Path:
    """A data set of every other row of ``data``."""
    shutil.copytree(data, folder)
    with (data / "metadata.csv").open(newline="") as stream:
        header, *rows = csv.reader(stream)
    write_table(folder, [header, *rows[::2]])
    return folder


def write_table(folder: Path, rows: list[list[str]]) -> None:
    with (folder / "metadata.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)


def table(folder: Path) -> list[list[str]]:
    with (folder / "metadata.csv").open(newline="") as stream:
        return list(csv.reader(stream))


def test_it_is_the_same_judge_and_finds_the_images_of_the_other_generator(
    toy_judge: Path, toy_data: Path, tmp_path: Path
) -> None:
    data, out = halved(toy_data, tmp_path / "data"), tmp_path / "mine"
    arguments = [str(data), "--out", str(out), "--judge", str(toy_judge), "--device", "cpu"]
    said = CliRunner().invoke(train_reference, arguments, catch_exceptions=False)
    assert said.stdout == f"{out}\n"
    assert verify_folder(out) == []

    before, after = load_judge(toy_judge, device="cpu"), open_judge(str(out), device="cpu")
    splits = split_rows(read_manifest(data))
    assert after.fingerprint == before.fingerprint  # the weights are, so figures of one are figures of the other
    assert isinstance(after, Judge)
    reference = after.reference
    assert reference is not None
    assert reference.key == before.fingerprint
    assert len(reference.codes) == len(splits["train"])
    assert len(reference.held_out) == len(splits["validation"]) + len(splits["test"])
    images = [read_radiograph(row.file).pixels for row in splits["train"]]
    distances, places = reference.nearest(after.read(images).embedding)
    np.testing.assert_array_equal(places, np.arange(len(images)))
    assert distances.max() < 1e-3
    assert f"{len(splits['train'])} training images" in said.stderr
    assert "too few to hold false alarms at 1%" in said.stderr

    held_out = [to_pixels_u8(read_radiograph(row.file).pixels, after.size) for row in splits["validation"]]
    patients = [patient_of(row) for row in splits["validation"]]
    expected = fit_familiar(after.read(held_out), soundness_of(held_out), patients, reference)
    assert after.familiar is not None
    assert astuple(after.familiar) == pytest.approx(astuple(expected), abs=1e-5)

    own = after.figures
    assert {**own, "copies": None} == {**before.figures, "copies": None}
    assert own["copies"]["held_out"] == len(reference.held_out)
    card = (out / "README.md").read_text()
    assert card.startswith((toy_judge / "README.md").read_text())
    assert f"a row for each of {len(splits['train'])} training images" in card


def test_an_indexed_image_under_another_name_is_no_other(toy_judge: Path, toy_data: Path, tmp_path: Path) -> None:
    shutil.copytree(toy_data, tmp_path / "data")
    splits = split_rows(read_manifest(tmp_path / "data"))
    shutil.copyfile(splits["train"][3].file, splits["test"][2].file)
    judge, left_out = reindex(tmp_path / "data", tmp_path / "out", toy_judge, device="cpu")
    assert left_out == 1
    assert judge.reference is not None
    assert len(judge.reference.held_out) == len(splits["validation"]) + len(splits["test"]) - 1
    before, _ = reindex(toy_data, tmp_path / "before", toy_judge, device="cpu")
    assert before.reference is not None
    assert judge.reference.threshold() >= before.reference.threshold()  # and does not drag the threshold to 0


@pytest.mark.parametrize(
    "case", ["no table", "nobody held out", "may not learn", "broken image", "in use", "no judge", "all the same"]
)
def test_what_gives_no_index_is_refused_in_one_line_and_nothing_is_left(
    case: str, toy_judge: Path, toy_data: Path, tmp_path: Path
) -> None:
    data, out, judge = tmp_path / "data", tmp_path / "out", toy_judge
    shutil.copytree(toy_data, data)
    header, *rows = table(data)
    splits = split_rows(read_manifest(data))
    if case == "no table":
        (data / "metadata.csv").unlink()
        words = "metadata.csv"
    elif case == "nobody held out":
        train = {row.patient_id for row in splits["train"]}
        write_table(data, [header, *(row for row in rows if row[header.index("patient_id")] in train)])
        words = "no row to validate on"
    elif case == "may not learn":
        column = header.index("weights_may_learn")
        write_table(data, [header, *([*row[:column], "no", *row[column + 1 :]] for row in rows)])
        words = "no row to learn from"
    elif case == "broken image":
        splits["test"][1].file.write_bytes(b"broken")
        words = splits["test"][1].file.name
    elif case == "in use":
        (out / "kept").mkdir(parents=True)
        words = "exists already"
    elif case == "no judge":
        judge = data
        words = "is no judge"
    else:
        for row in (*splits["validation"], *splits["test"]):
            shutil.copyfile(splits["train"][0].file, row.file)
        words = "nothing to measure by"
    with pytest.raises(BadInput, match=words) as refused:
        reindex(data, out, judge, device="cpu")
    assert "\n" not in str(refused.value)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == (["data", "out"] if case == "in use" else ["data"])
