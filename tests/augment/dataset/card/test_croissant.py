"""What croissant.json says is valid, true of the folder, and enough for mlcroissant to read it offline."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet
from toy_set import toy_config, toy_set

from augment.dataset.card.croissant import CROISSANT, LISTED, write_croissant
from augment.dataset.shards.folder import read_shard
from augment.dataset.shards.index import INDEX, write_index
from augment.dataset.shards.records import Entry
from gen.core.errors import BadInput


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """mlcroissant keeps unpacked shards by file name alone, and would give one test the images of another."""
    from mlcroissant._src.operation_graph.operations import extract

    monkeypatch.setattr(extract, "EXTRACT_PATH", type(extract.EXTRACT_PATH)(tmp_path / "unpacked"))


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[Entry, ...]]:
    out = tmp_path_factory.mktemp("croissant") / "toy"
    entries = toy_set(out, missing=(4, 17), twins=("bone",))
    write_index(out, entries)
    write_croissant(out, toy_config(out), entries, date="2026-01-02")
    return out, entries


def opened(out: Path) -> Any:
    import mlcroissant

    return mlcroissant.Dataset(jsonld=str(out / CROISSANT))


def test_it_is_valid_without_a_warning(toy: tuple[Path, tuple[Entry, ...]], caplog: pytest.LogCaptureFixture) -> None:
    metadata = opened(toy[0]).metadata
    assert metadata.ctx.issues.errors == metadata.ctx.issues.warnings == set()
    assert "not standard" not in caplog.text
    assert str(metadata.date_published.date()) == "2026-01-02"
    assert metadata.data_biases
    assert metadata.data_limitations


def test_its_records_are_the_index(toy: tuple[Path, tuple[Entry, ...]], caplog: pytest.LogCaptureFixture) -> None:
    out, _ = toy
    rows = parquet.read_table(out / INDEX).to_pylist()
    records = [*opened(out).records("index")]
    assert len(records) == len(rows) == 28
    for record, row in zip(records, rows, strict=True):
        assert {key.removeprefix("index/"): _plain(value) for key, value in record.items()} == row
    assert not caplog.records


def test_its_images_are_those_of_the_shards(
    toy: tuple[Path, tuple[Entry, ...]], caplog: pytest.LogCaptureFixture
) -> None:
    out, entries = toy
    pixels = {_plain(each["images/id"]): np.asarray(each["images/image"]) for each in opened(out).records("images")}
    members = {record["id"]: files["png"] for entry in entries for record, files in read_shard(out, entry)}
    assert pixels.keys() == members.keys()  # no twin is among them
    for entry in entries:
        for record in entry.records:
            assert hashlib.sha256(members[record["id"]]).hexdigest() == record["sha256"]
            assert np.array_equal(pixels[record["id"]], _decoded(members[record["id"]]))
    assert not caplog.records


def test_every_file_has_its_hash_and_another_file_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "toy"
    entries = toy_set(out, 12)
    write_index(out, entries)
    write_croissant(out, toy_config(out), entries)
    files = [each for each in json.loads((out / CROISSANT).read_text())["distribution"] if "sha256" in each]
    assert {each["contentUrl"] for each in files} == {INDEX, *(entry.file for entry in entries)}
    for each in files:
        assert hashlib.sha256((out / each["contentUrl"]).read_bytes()).hexdigest() == each["sha256"]
    write_index(out, entries[:-1])
    with pytest.raises(Exception, match=INDEX) as caught:
        next(iter(opened(out).records("index")))
    assert "not identical" in str(caught.value.__cause__)


def test_so_many_shards_that_they_are_one_set_of_files_are_valid_too(tmp_path: Path) -> None:
    out = tmp_path / "toy"
    entries = toy_set(out)
    write_index(out, entries)
    many = [replace(entries[0], shard=k, file=f"data/shard-{k:06d}.tar") for k in range(LISTED)]
    write_croissant(out, toy_config(out), many, date="2026-01-02")
    described = opened(out)
    assert described.metadata.ctx.issues.errors == described.metadata.ctx.issues.warnings == set()
    assert {each.id for each in described.metadata.file_sets} == {"shards", "png"}
    assert len([*described.records("index")]) == 30


def test_equal_sets_have_equal_descriptions_and_no_date_unless_given(toy: tuple[Path, tuple[Entry, ...]]) -> None:
    out, entries = toy
    write_croissant(out, toy_config(out), entries)
    without = (out / CROISSANT).read_bytes()
    assert b"datePublished" not in without
    write_croissant(out, toy_config(out), entries, date="2026-01-02")
    dated = (out / CROISSANT).read_bytes()
    assert dated != without
    write_croissant(out, toy_config(out), entries, date="2026-01-02")
    assert (out / CROISSANT).read_bytes() == dated


def test_without_an_index_there_is_nothing_to_describe(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=INDEX):
        write_croissant(tmp_path, toy_config(tmp_path), [])
    assert not (tmp_path / CROISSANT).exists()


def _plain(value: Any) -> Any:
    """mlcroissant gives text as bytes."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.decode() if isinstance(value, bytes) else value


def _decoded(png: bytes) -> np.ndarray:
    import io

    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image)
