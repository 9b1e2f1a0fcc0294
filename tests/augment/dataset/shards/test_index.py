"""The index says what the shards say, in the same bytes each time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pyarrow import parquet
from toy_set import toy_set

from augment.dataset.shards import index
from augment.dataset.shards.counts import Entries
from augment.dataset.shards.index import COLUMNS, INDEX, score_columns, shape_of_index, write_index
from augment.dataset.shards.records import Entry
from gen.core.errors import BadInput, GenError
from gen.language.study import Study


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[Entry, ...]]:
    out = tmp_path_factory.mktemp("index") / "toy"
    return out, toy_set(out, missing=(4, 17))


def test_a_row_is_its_record(toy: tuple[Path, tuple[Entry, ...]]) -> None:
    out, entries = toy
    write_index(out, entries)
    rows = parquet.read_table(out / INDEX).to_pylist()
    records = [(record, entry) for entry in entries for record in entry.records]
    assert len(rows) == len(records) == 28
    assert max(row["seed"] for row in rows) > 2**63  # no sign bit was lost
    scores = score_columns(entries)
    for row, (record, entry) in zip(rows, records, strict=True):
        for name in set(row) & set(record) - {"study", "rejected", "model"}:
            assert row[name] == record[name], name
        assert (row["shard"], row["file"]) == (entry.shard, entry.file)
        study = Study.from_json_dict(json.loads(row["study"]))
        assert study == Study.from_json_dict(record["study"])
        assert (row["age"], row["sex"], row["race"], row["view"]) == (study.age, study.sex, study.race, study.view)
        for state, column in (("present", "findings"), ("absent", "absent"), ("uncertain", "uncertain")):
            assert row[column] == [name for name, finding in study.findings.items() if finding.state == state]
        assert {column: record[kind].get(name) for column, (kind, name) in scores.items()} == {
            column: row[column] for column in scores
        }
        assert (row["steps"], row["guidance"]) == (20, 1.5)
        assert row["rejected"] == len(record["rejected"])


def test_columns_are_the_stated_ones_and_two_for_each_score(toy: tuple[Path, tuple[Entry, ...]]) -> None:
    out, entries = toy
    write_index(out, entries)
    scores = {"finding_no_finding", "finding_cardiomegaly", "finding_pleural_effusion", "sex", "quality_sharpness"}
    rows, columns = shape_of_index(out)
    assert rows == 28
    assert columns[: len(COLUMNS)] == [name for name, _, _ in COLUMNS]
    assert set(columns[len(COLUMNS) :]) == {f"{kind}_{name}" for kind in ("score", "threshold") for name in scores}


def test_the_bytes_are_a_function_of_the_shards(toy: tuple[Path, tuple[Entry, ...]]) -> None:
    out, entries = toy
    first = write_index(out, entries).read_bytes()
    assert write_index(out, Entries(out)).read_bytes() == first
    assert write_index(out, entries[:-1]).read_bytes() != first


def test_rows_in_several_groups_are_the_same_rows(
    toy: tuple[Path, tuple[Entry, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, entries = toy
    write_index(out, entries)
    whole = parquet.read_table(out / INDEX)
    monkeypatch.setattr(index, "ROW_GROUP", 5)
    write_index(out, entries)
    assert parquet.read_table(out / INDEX).equals(whole)


def test_a_set_without_images_has_an_index_without_rows(toy: tuple[Path, tuple[Entry, ...]], tmp_path: Path) -> None:
    write_index(tmp_path, [replace(toy[1][0], records=())])
    assert shape_of_index(tmp_path)[0] == 0


def test_entries_that_end_are_refused(toy: tuple[Path, tuple[Entry, ...]], tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="once only"):
        write_index(tmp_path, iter(toy[1]))
    assert not (tmp_path / INDEX).exists()


def test_scores_that_would_share_a_column_are_refused(toy: tuple[Path, tuple[Entry, ...]], tmp_path: Path) -> None:
    record = dict(toy[1][0].records[0]) | {"scores": {"quality: a b": 1.0, "quality: a-b": 1.0}}
    with pytest.raises(GenError, match="one column"):
        write_index(tmp_path, [replace(toy[1][0], records=(record,))])


@pytest.mark.parametrize("kept", [0, 3, 200, -1])
def test_a_cut_index_is_one_line_that_names_it(toy: tuple[Path, tuple[Entry, ...]], tmp_path: Path, kept: int) -> None:
    path = write_index(tmp_path, toy[1])
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(BadInput, match=INDEX) as caught:
        shape_of_index(tmp_path)
    assert "\n" not in str(caught.value)


def test_no_index_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="once it is finished"):
        shape_of_index(tmp_path)
