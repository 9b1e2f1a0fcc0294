"""A data set that is whole has no problems, and there is no harm to a byte, a file or a count that is not found."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from whole_set import ROWS, finish, made_of, make, marker

from augment.dataset.config import FORMATS
from augment.dataset.shards.folder import commit, create, entries, entry_path, summary, tar_name
from augment.dataset.shards.records import Made, row_id
from augment.dataset.verify import verify_dataset
from gen.core.files import sha256_file, write_json
from gen.core.radiograph import Radiograph


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("sets") / "whole", formats=FORMATS, twins=["soft"])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("sets") / "plain", formats=["imagefolder"])


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def test_a_whole_data_set_has_no_problems(whole: Path, copy: Path) -> None:
    assert verify_dataset(whole) == []
    assert verify_dataset(copy, quick=True) == []
    shutil.rmtree(copy / "run")
    (copy / "data/.nfs000012").touch()
    (copy / "notes.txt").touch()
    assert verify_dataset(copy) == []


def test_a_finished_set_of_an_older_version_is_still_whole(copy: Path) -> None:
    data = json.loads((copy / "dataset.json").read_bytes())
    del data["noise"]
    data["config"]["target"]["kind"], data["config"]["projections"]["use"] = "topped up", "where needed"
    data["config"]["gates"]["least_films"] = data["config"]["gates"].pop("least_images")
    write_json(copy / "dataset.json", data)
    write_json(copy / "_SUCCESS", summary(copy))
    assert verify_dataset(copy) == []


def test_missing_rows_are_no_damage_but_the_set_is_not_finished(tmp_path: Path) -> None:
    out = make(tmp_path / "set", missing=[3, 9])
    assert verify_dataset(out) == []
    (out / "_SUCCESS").unlink()
    assert verify_dataset(out) == [f"{out}: 2 of {ROWS} rows have no image: no try of theirs passed the gates"]


def test_a_set_of_which_nothing_could_be_made_lacks_no_table(tmp_path: Path) -> None:
    assert verify_dataset(make(tmp_path / "set", missing=range(ROWS), formats=FORMATS)) == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_byte_that_changed_is_found_wherever_it_is(plain: Path, data: st.DataObject) -> None:
    names = [path for path in plain.rglob("*") if path.is_file() and path.name != "commit.lock"]
    # In tables some bytes say nothing of an image, and in _SUCCESS those between the words say nothing at all.
    # What is written for people is there or not.
    told = ("_SUCCESS", "README.md", "balance.png", "croissant.json")
    names = [path for path in names if path.suffix not in (".csv", ".parquet") and path.name not in told]
    path = data.draw(st.sampled_from(sorted(names)))
    before = path.read_bytes()
    place = data.draw(st.integers(0, len(before) - 1))
    after = bytearray(before)
    after[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(after)
    try:
        assert verify_dataset(plain) != []
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize("kind", ["dataset.json", "_SUCCESS", "index.parquet", "tar", "entry", *FORMATS, "metadata"])
@pytest.mark.parametrize("cut", [0, 0.5, None])
def test_a_file_that_is_cut_or_gone_is_named(copy: Path, kind: str, cut: float | None) -> None:
    path = {
        "tar": copy / tar_name(1),
        "entry": entry_path(copy, 1),
        "metadata": copy / "imagefolder/metadata.csv",
        **{fmt: sorted(path for path in (copy / fmt).rglob("*.*") if path.suffix != ".csv")[0] for fmt in FORMATS},
    }.get(kind, copy / kind)
    content = path.read_bytes()
    if cut is None:
        path.unlink()
    else:
        path.write_bytes(content[: int(cut * len(content))])
    problems = verify_dataset(copy)
    assert problems
    if (kind, cut) == ("entry", None):
        assert problems[0] == f"{copy}: 1 of 3 shards are not there (1)"
    elif kind == "dataset.json":
        assert len(problems) == 1
        assert "dataset.json" in problems[0]
    else:
        assert str(path) in problems[0]
    assert all("\n" not in line for line in problems)


def recommit(out: Path, shard: int, made: list[Made], **changes: Any) -> None:
    """Forge a shard, and change its first record: only the content is wrong, and the hashes are right."""
    entry_path(out, shard).unlink()
    commit(out, shard, made)
    path = entry_path(out, shard)
    data = json.loads(path.read_bytes())
    data["records"][0] |= changes
    path.write_text(json.dumps(data), encoding="utf-8")
    finish(out)


def retold(made: Made, **changes: Any) -> Made:
    """``made`` as a row of other facts, with the id that goes with them."""
    row = replace(made.row, **changes)
    return replace(made, row=replace(row, id=row_id(3, row.number, row.cell, row.study, row.prompt, row.source, 0)))


def test_forged_shards_are_found_by_what_they_say(tmp_path: Path) -> None:
    made = made_of(1)
    one, rest, verdict = made[0], made[1:], made[0].verdict
    assert verdict is not None
    low = Radiograph(one.image.pixels[:8].copy(), None, one.image.provenance)
    failing = replace(one, verdict=replace(verdict, thresholds=dict.fromkeys(verdict.scores, 2.0)))
    cases: dict[str, tuple[list[Made], dict[str, Any]]] = {
        "rows that are not there once": ([*rest, retold(made[1], prompt="twice")], {}),
        "0 images and 0 listed as missing, and its quota is 1": ([retold(one, cell=made[1].row.cell), *rest], {}),
        "stand more than once": ([replace(one, row=made_of(0)[0].row), *rest], {}),
        "not the hash of what its record says": ([replace(one, row=replace(one.row, prompt="a dog")), *rest], {}),
        "its JSON is not its record": (made, {"attempt": 77}),
        "of 16 x 16 pixels, not 16 x 9": (made, {"height": 9}),
        "is below the threshold": ([failing, *rest], {}),
        "the text in its PNG is not its provenance": (made, {"provenance": {"synthetic": "no"}}),
        "its members are png, soft.png, json, and others have json, png": (made_of(1, ["soft"]), {}),
        "soft of 16 x 8 pixels": ([replace(each, twins={"soft": low}) for each in made], {}),
        "not readable (unknown sex": (made, {"study": {**one.row.study.to_json_dict(), "sex": "X"}}),
    }
    for number, (words, (forged, changes)) in enumerate(cases.items()):
        out = make(tmp_path / str(number))
        recommit(out, 1, forged, **changes)
        problems = verify_dataset(out)
        assert any(words in line for line in problems), (words, problems)


def test_shards_beyond_the_plan_and_strangers_among_the_tars_are_found(copy: Path) -> None:
    shutil.copy(copy / tar_name(0), copy / "data/shard-000009.tar")
    (copy / "data/holiday.jpg").touch()
    (copy / "dicom/aa.dcm").touch()
    problems = verify_dataset(copy)
    assert f"{copy / 'data'}: 2 file(s) that no entry vouches for (data/holiday.jpg, data/shard-000009.tar)" in problems
    assert f"{copy / 'dicom'}: 29 files, and the shards account for 28" in problems
    data = json.loads(entry_path(copy, 0).read_bytes()) | {"shard": 9, "file": "data/shard-000009.tar"}
    write_json(entry_path(copy, 9), data)
    assert f"{copy}: shards that the plan does not have (9)" in verify_dataset(copy)


def test_tables_that_do_not_agree_with_the_shards_are_found(copy: Path) -> None:
    index = parquet.read_table(copy / "index.parquet")
    rows = index.to_pylist()
    rows[3]["sex"] = "F" if rows[3]["sex"] == "M" else "M"
    for harmed, words in (
        (pyarrow.Table.from_pylist(rows, index.schema), "row 3: sex is not that of the shard"),
        (index.slice(0, 12), "row 12: missing (and 1 more)"),
        (pyarrow.concat_tables([index, index]), "row 14: beyond the shards (and 13 more)"),
        (index.drop_columns(["nearest"]), "row 0: nearest is not that of the shard (and 13 more)"),
    ):
        parquet.write_table(harmed, copy / "index.parquet")
        assert verify_dataset(copy)[0] == f"{copy / 'index.parquet'}: {words}"
    before = (copy / "croissant.json").read_bytes()
    parquet.write_table(index, copy / "index.parquet", compression="none")  # other bytes, the same rows
    stale = f"{copy / 'croissant.json'}: not the hash of index.parquet"
    assert verify_dataset(copy) == [stale]
    told = json.loads(before)
    told["distribution"][0]["sha256"] = sha256_file(copy / "index.parquet")
    (copy / "croissant.json").write_text(json.dumps(told))
    assert verify_dataset(copy) == []
    path = copy / "imagefolder/metadata.csv"
    with path.open(encoding="utf-8", newline="") as stream:
        cells = list(csv.reader(stream))
    cells[1][cells[0].index("view")] = "lateral"
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(cells)
    assert verify_dataset(copy) == [f"{path}: row 0: view is not that of the shard"]


@pytest.mark.parametrize("name", ["README.md", "balance.png", "croissant.json"])
def test_what_is_made_of_the_shards_is_missed(copy: Path, name: str) -> None:
    (copy / name).unlink()
    assert verify_dataset(copy) == [f"{copy / name}: missing"]


def test_exports_by_other_versions_are_judged_by_what_they_show(copy: Path) -> None:
    table = copy / "parquet/shard-000000.parquet"
    parquet.write_table(parquet.read_table(table), table, compression="none")
    path = sorted((copy / "dicom").rglob("*.dcm"))[0]
    data = pydicom.dcmread(path)
    data.SoftwareVersions = "another"
    data.save_as(path)
    assert verify_dataset(copy) == []
    data.PixelData = data.PixelData[::-1]
    data.save_as(path)
    assert len(problems := verify_dataset(copy)) == 1
    assert str(path) in problems[0]
    parquet.write_table(parquet.read_table(table).slice(1), table)
    assert [str(table) in line for line in verify_dataset(copy)].count(True) == 1


def test_success_is_a_function_of_the_shards_and_differs_for_others(tmp_path: Path) -> None:
    create(tmp_path / "a", marker(tmp_path))
    told = [summary(tmp_path / "a")]
    for shard in range(3):
        commit(tmp_path / "a", shard, made_of(shard))
        told.append(summary(tmp_path / "a"))
    assert [each["images"] for each in told] == [0, 6, 12, 14]
    assert len({each["sha256"] for each in told}) == 4
    assert sum(len(entry.records) for entry in entries(tmp_path / "a")) == 14


@pytest.mark.parametrize("change", [{"format": "cxr-gen dataset 9"}, {"rows": None}, {"config": {}}, {"cells": 3}])
def test_a_marker_of_another_kind_is_one_line(copy: Path, change: dict[str, Any]) -> None:
    data = json.loads((copy / "dataset.json").read_bytes())
    write_json(copy / "dataset.json", data | change)
    assert len(verify_dataset(copy)) == 1
    assert len(verify_dataset(copy / "nowhere")) == 1


def test_quick_opens_no_tar_but_counts(copy: Path) -> None:
    tar = copy / tar_name(1)
    harmed = bytearray(tar.read_bytes())
    harmed[700] ^= 1
    tar.write_bytes(harmed)
    assert verify_dataset(copy, quick=True) == []
    assert hashlib.sha256(harmed).hexdigest() != json.loads(entry_path(copy, 1).read_bytes())["sha256"]
    tar.write_bytes(harmed[:-1])
    assert [str(tar) in line for line in verify_dataset(copy, quick=True)] == [True]
