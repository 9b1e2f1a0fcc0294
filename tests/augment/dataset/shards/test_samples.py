"""What a shard is: bytes that its images decide, samples that lose nothing, and what other readers make of them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from whole_set import levels, made_of, make, new_set, other

from augment.dataset.shards.folder import (
    commit,
    committed,
    entries,
    entry_of,
    read_shard,
    tar_name,
)
from augment.dataset.shards.records import record_of
from augment.dataset.shards.samples import COLUMNS, require_twin_names, sample_of, shard_bytes
from gen.core.errors import BadInput, GenError
from gen.core.radiograph import write_png
from gen.language.study import Finding, Study


@settings(max_examples=20)
@given(order=st.permutations(range(6)), twins=st.sampled_from([(), ("soft",), ("bone", "soft")]))
def test_the_bytes_of_a_shard_are_a_function_of_its_images(order: list[int], twins: tuple[str, ...]) -> None:
    made = made_of(0, twins)
    plain, records = shard_bytes(made)
    assert (plain, records) == shard_bytes([made[k] for k in order])
    assert shard_bytes(other(made))[0] != plain
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        members = list(tar)
    assert {(m.mtime, m.uid, m.gid, m.mode, m.uname, m.gname) for m in members} == {(0, 0, 0, 0o644, "", "")}
    extensions = ["png", *(f"{twin}.png" for twin in twins), "json"]
    assert [m.name for m in members] == [f"{record['id']}.{ext}" for record in records for ext in extensions]
    assert [record["number"] for record in records] == list(range(6))


def test_an_image_in_a_shard_is_the_file_that_write_png_writes(tmp_path: Path) -> None:
    out = make(tmp_path / "set")
    for (_, members), made in zip(read_shard(out, entry_of(out, 0)), made_of(0), strict=True):
        write_png(tmp_path / "a.png", made.image)
        assert members["png"] == (tmp_path / "a.png").read_bytes()


def test_samples_of_one_shard_have_the_same_twins_and_ids_of_their_own() -> None:
    made = made_of(0)
    with pytest.raises(GenError, match="twins"):
        shard_bytes([*made_of(0, ["soft"])[:3], *made[3:]])
    with pytest.raises(GenError, match="one id"):
        shard_bytes([*made, made[0]])


@pytest.mark.parametrize("name", ["a.b", "Soft", "soft tissue", "../up", "", "png", "images", "sex"])
def test_a_twin_whose_name_would_not_be_one_extension_folder_and_column_is_refused(name: str) -> None:
    require_twin_names(["soft", "bone_2"])
    with pytest.raises(BadInput, match="a twin cannot be called"):
        require_twin_names([name])


def test_a_sample_is_flat_and_loses_nothing_of_its_record() -> None:
    for made in made_of(1):
        record = record_of(made, "f" * 64)
        sample = sample_of(record)
        assert list(sample) == list(COLUMNS)
        assert {type(value) for value in sample.values()} <= {int, str}
        kept = {key: sample[key] if key in ("id", "cell", "source", "prompt", "sha256") else None for key in record}
        kept = {key: json.loads(str(sample[key])) if value is None else value for key, value in kept.items()}
        assert kept == json.loads(json.dumps(record))


# Others read it


def samples_of(out: Path) -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
    for entry in entries(out):
        for record, members in read_shard(out, entry):
            yield record["id"], levels(members["png"]), sample_of(record)


def test_webdataset_reads_the_same_images_and_json(tmp_path: Path) -> None:
    out = make(tmp_path / "set", twins=["soft"])
    shards = [str(out / tar_name(shard)) for shard in sorted(committed(out))]
    read = list(webdataset.WebDataset(shards, shardshuffle=False).decode("l8"))
    wanted = list(samples_of(out))
    assert len(read) == len(wanted) == 14
    for sample, (key, image, row) in zip(read, wanted, strict=True):
        assert sample["__key__"] == key
        assert np.array_equal(sample["png"], image)
        assert sample["soft.png"].shape == image.shape
        assert sample["json"] == row


def test_load_dataset_reads_the_same_though_what_is_nested_first_appears_late(tmp_path: Path) -> None:
    out = new_set(tmp_path / "set")
    plain = [replace(each, rejected=(), verdict=None) for each in made_of(0)]
    rare = Study(age=50, sex="F", view="PA", findings={"Hernia": Finding(severity="mild"), "Mass": Finding("absent")})
    late = [replace(each, seed=2**64 - 1, row=replace(each.row, study=rare)) for each in made_of(1)]
    late = [replace(each, rejected=({"id": each.row.id, "error": "flat"},)) for each in late]
    commit(out, 0, plain)
    commit(out, 1, late)
    tars = [str(out / tar_name(shard)) for shard in (0, 1)]
    read = datasets.load_dataset("webdataset", data_files=tars, split="train", cache_dir=str(tmp_path / "cache"))
    for sample, (key, image, row) in zip(read, samples_of(out), strict=True):
        assert sample["__key__"] == key
        assert np.array_equal(np.asarray(sample["png"]), image)
        assert sample["json"] == row
    assert read[-1]["json"]["findings"] == "Hernia"
    assert json.loads(read[-1]["json"]["study"])["findings"]["Hernia"]["severity"] == "mild"


def test_an_image_of_a_shard_opens_without_us(tmp_path: Path) -> None:
    out = make(tmp_path / "set")
    with tarfile.open(out / tar_name(0)) as tar:
        member = next(m for m in tar if m.name.endswith(".png"))
        stream = tar.extractfile(member)
        assert stream is not None
        with Image.open(stream) as image:
            assert (image.mode, image.text["synthetic"]) == ("L", "yes")
