"""A manifest is read as it was written, by us and by Hugging Face, and a bad one is named by line and column."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gen.core.errors import BadInput
from gen.core.manifest import COLUMNS, Row, read_manifest, scan_manifest, split_of, write_manifest
from gen.core.radiograph import Radiograph, write_png

TERMS = ("Edema", "Pneumonia", "Pleural Effusion", "COVID-19")


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, Radiograph(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)))
    return path


def table(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metadata.csv").write_text(text, encoding="utf-8")
    return folder


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0")).map(str.strip)
NAMES = st.lists(st.sampled_from(TERMS), unique=True, max_size=3).map(tuple)
FIELDS = st.fixed_dictionaries(
    {
        "patient_id": CELL,
        "source": st.sampled_from(["", "None", "NA", "nan", "nih"]),
        "licence": CELL,
        "weights_may_learn": st.booleans(),
        "age": st.none() | st.floats(0, 120),
        "sex": st.sampled_from(["", "M", "F"]),
        "race": CELL,
        "view": st.sampled_from(["", "PA", "AP", "lateral", "AP Supine"]),
        "findings": NAMES,
        "absent": NAMES,
        "uncertain": NAMES,
        "prompt": CELL,
        "seed": st.none() | st.integers(0, 2**64 - 1),
        "width": st.none() | st.integers(1, 9000),
        "height": st.none() | st.integers(1, 9000),
        "sha256": CELL,
        "study": st.sampled_from(["", '{"age": 3, "findings": {}}']),
        "notes": CELL,
        "extra": st.fixed_dictionaries({"citation_key": CELL}),
    }
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=st.lists(FIELDS, min_size=1, max_size=4), splits=st.none() | st.lists(st.sampled_from(["train", "test"])))
def test_rows_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, fields: list[dict[str, object]], splits: list[str] | None
) -> None:
    folder = tmp_path_factory.mktemp("set").resolve()
    rows = []
    for k, values in enumerate(fields):
        split = (splits or ["train"])[k % len(splits or ["train"])] if splits is not None else None
        file = folder / (split or "") / "images" / f'{k}, "ü".png'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        rows.append(Row(file=file, file_name=f"images/{file.name}", split=split, **values))
    write_manifest(folder, rows)
    manifest = read_manifest(folder)
    assert manifest.folder == folder
    assert manifest.rows == tuple(sorted(rows, key=lambda row: ("train", "test", None).index(row.split)))


def test_a_plain_table_of_others_is_read_with_its_further_columns(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    table(tmp_path, "\ufefffile_name,citation_key,view,age,findings\r\na.png,None,AP Supine,63,Edema; Pneumonia ;\r\n")
    (row,) = read_manifest(tmp_path).rows
    assert (row.view, row.age, row.findings, row.weights_may_learn) == (
        "AP Supine",
        63.0,
        ("Edema", "Pneumonia"),
        False,
    )
    assert row.extra == {"citation_key": "None"}
    assert row.file == (tmp_path / "a.png").resolve()


def test_hugging_face_reads_every_split_with_its_own_rows(tmp_path: Path) -> None:
    from datasets import load_dataset

    # Cells that are blank in one split only are what makes load_dataset refuse a folder.
    filled = Row(
        file=Path(), patient_id="p", age=63, sex="F", view="PA", findings=("Edema",), prompt="Edema.", notes="x"
    )
    rows = []
    for split, names in {"train": "abc", "validation": "d", "test": "ef"}.items():
        for name in names:
            file = image(tmp_path / "set" / split / "images" / f"{name}.png")
            here = filled if split == "train" else Row(file=file, age=5.5 if name == "e" else None)
            if name == "f":
                here = dataclasses.replace(filled, age=None, absent=("Pneumothorax",), extra={"site": "Ü"})
            rows.append(dataclasses.replace(here, file=file, split=split, seed=7, width=8, height=8))
    write_manifest(tmp_path / "set", rows)
    loaded = load_dataset("imagefolder", data_dir=str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(loaded[split]) for split in loaded} == {"train": 3, "validation": 1, "test": 2}
    assert set(COLUMNS) - {"file_name"} | {"image", "site"} == set(loaded["train"].column_names)
    assert loaded["train"][0]["image"].size == (8, 8)
    assert loaded["train"]["findings"][:] == ["Edema"] * 3
    assert loaded["test"]["absent"][1] == "Pneumothorax"
    assert [row.age for row in read_manifest(tmp_path / "set").rows] == [63, 63, 63, None, 5.5, None]
    assert read_manifest(tmp_path / "set").rows[3].prompt == ""


@pytest.mark.parametrize(
    ("header", "cells", "culprit"),
    [
        ("file_name,age", "a.png,old", "age 'old' is not an age of 0 to 120 years"),
        ("file_name,age", "a.png,412", "age '412' is not"),
        ("file_name,age", "a.png,nan", "age 'nan' is not"),
        ("file_name,sex", "a.png,Female", "sex 'Female' is not one of M, F"),
        ("file_name,view", "a.png,ap", "view 'ap' is not one of PA, AP, lateral, AP Supine"),
        ("file_name,width", "a.png,wide", "width 'wide' is not a whole number"),
        ("file_name,seed", "a.png,1.5", "seed '1.5' is not a whole number"),
        ("file_name,weights_may_learn", "a.png,perhaps", "weights_may_learn 'perhaps' is not yes or no"),
        ("file_name", "b.png", "'b.png': no such file"),
        ("file_name", "images", "'images': no such file"),
        ("file_name,sex", ",M", "'' is not a path inside the folder"),
        ("file_name", "../a.png", "'../a.png' is not a path inside"),
        ("file_name", "images/../a.png", "is not a path inside"),
        ("file_name", "/etc/hostname", "'/etc/hostname' is not a path inside"),
        ("file_name", "link.png", "'link.png' is not a path inside"),
        ("file_name", "a.png\na.png", "line 3: file_name 'a.png' stands on line 2 too"),
        ("file_name,sex", "a.png,M,F", "more or fewer cells"),
        ("file_name,sex", "a.png", "more or fewer cells"),
    ],
)
def test_a_bad_row_is_named_with_its_line_and_column(tmp_path: Path, header: str, cells: str, culprit: str) -> None:
    folder = table(tmp_path / "set", f"{header}\n{cells}\n")
    image(folder / "a.png")
    (folder / "images").mkdir()
    (folder / "link.png").symlink_to(image(tmp_path / "outside.png"))
    with pytest.raises(BadInput) as caught:
        read_manifest(folder)
    assert culprit in str(caught.value)
    assert "metadata.csv line " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_many_bad_rows_are_counted_and_five_named(tmp_path: Path) -> None:
    image(tmp_path / "good.png")
    table(tmp_path, "file_name\ngood.png\n" + "".join(f"{k}.png\n" for k in range(12)))
    with pytest.raises(BadInput, match=r"12 problem.*line 3.*line 7.*and 7 more") as caught:
        read_manifest(tmp_path)
    assert "line 8" not in str(caught.value)
    manifest, problems = scan_manifest(tmp_path)
    assert (len(manifest.rows), len(problems)) == (1, 12)


@pytest.mark.parametrize(
    ("content", "culprit"),
    [
        (b"name,age\na.png,3\n", "no column file_name"),
        (b"file_name,age,age\na.png,3,4\n", "a column twice"),
        (b"", "no column file_name"),
        (b"file_name\n\xff\xfe.png\n", "UTF-8"),
        (b'file_name,notes\na.png,"open\n', "not a readable CSV"),
        (b"file_name,notes\na.png," + b"x" * 200_000 + b"\n", "not a readable CSV"),
    ],
)
def test_a_table_that_cannot_be_read_is_named(tmp_path: Path, content: bytes, culprit: str) -> None:
    image(tmp_path / "a.png")
    (tmp_path / "metadata.csv").write_bytes(content)
    with pytest.raises(BadInput, match=culprit) as caught:
        read_manifest(tmp_path)
    assert str(tmp_path / "metadata.csv") in str(caught.value)


def test_a_folder_without_a_table_or_with_two_kinds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"holds no metadata\.csv; a data set is"):
        read_manifest(tmp_path)
    table(tmp_path, "file_name\n")
    table(tmp_path / "test", "file_name\n")
    with pytest.raises(BadInput, match=r"holds metadata\.csv and test/metadata\.csv too"):
        read_manifest(tmp_path)


def test_a_manifest_lists_only_files_that_exist_inside_its_folder(tmp_path: Path) -> None:
    outside = image(tmp_path / "outside.png")
    for row in (Row(file=outside), Row(file=tmp_path / "set" / "absent.png"), Row(file=outside, split="train")):
        with pytest.raises(BadInput, match="is not a file inside"):
            write_manifest(tmp_path / "set", [row])
    inside = image(tmp_path / "set" / "train" / "a.png")
    with pytest.raises(BadInput, match="splits are"):
        write_manifest(tmp_path / "set", [Row(file=inside, split="train"), Row(file=inside)])
    assert not list(tmp_path.rglob("metadata.csv"))


def test_the_split_of_a_patient_never_moves() -> None:
    # The places are SHA-256's: .022, .086, .182, .219, .242, .864.
    known = {"x9": "test", "nih-1": "test", "c": "validation", "patient 7": "train", "b": "train", "nih-2": "train"}
    assert {patient: split_of(patient) for patient in known} == known
    assert split_of("c", validation=0.05) == "train"
    assert split_of("c", test=0.2) == "test"


@given(st.text(), st.floats(0, 0.4), st.floats(0, 0.4), st.floats(0, 0.2))
def test_a_larger_test_band_only_adds_patients_to_it(patient: str, validation: float, test: float, more: float) -> None:
    if split_of(patient, validation=validation, test=test) == "test":
        assert split_of(patient, validation=validation, test=test + more) == "test"


def test_the_splits_have_their_shares() -> None:
    splits = [split_of(str(k)) for k in range(5000)]
    assert abs(splits.count("test") - 500) < 4 * 21  # four standard deviations of a binomial
    assert abs(splits.count("validation") - 500) < 4 * 21
