"""Every format shows the pixels and labels of the shards, to readers that are not ours, and survives what they do."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pydicom
import pytest
from whole_set import content, levels, made_of, make, marker

from augment.dataset.config import FORMATS
from augment.dataset.shards.folder import commit, create, entries, entry_of, read_shard, tar_name
from augment.dataset.shards.formats import LICENCE, export, files_of, finish_format
from augment.dataset.shards.records import DRR, MODEL, Entry
from augment.dataset.shards.samples import sample_of
from gen.core.errors import BadInput, GenError
from gen.core.manifest import read_manifest
from gen.core.radiograph import Radiograph
from gen.images.reader import read_radiograph
from tests.dciodvfy import dicom_errors

IMAGES = 14


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("sets") / "whole", formats=FORMATS, twins=["soft"])


def pictures(out: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The levels of each image and of its twin, by id, as the tars have them."""
    samples = (sample for entry in entries(out) for sample in read_shard(out, entry))
    return {record["id"]: (levels(members["png"]), levels(members["soft.png"])) for record, members in samples}


def records(out: Path) -> dict[str, dict[str, object]]:
    return {record["id"]: dict(record) for entry in entries(out) for record in entry.records}


def test_load_dataset_reads_the_imagefolder(whole: Path, tmp_path: Path) -> None:
    read = datasets.load_dataset(str(whole / "imagefolder"), split="train", cache_dir=str(tmp_path))
    wanted, rows = pictures(whole), records(whole)
    assert len(read) == IMAGES
    for row in read:
        key = row["patient_id"].removeprefix("synthetic-")
        image, twin = wanted.pop(key)
        assert np.array_equal(np.asarray(row["image"]), image)
        assert np.array_equal(np.asarray(row["soft"]), twin)
        sample = sample_of(rows[key])
        same = ("sex", "view", "findings", "prompt", "sha256", "study", "age", "number", "cell", "width")
        assert {column: row[column] for column in same} == {column: sample[column] for column in same}
        assert row["source"] == "synthetic:toy:0000000000000000"
    assert not wanted


def test_the_imagefolder_is_a_manifest_of_ours(whole: Path) -> None:
    rows = read_manifest(whole / "imagefolder").rows
    assert len(rows) == IMAGES
    assert {row.weights_may_learn for row in rows} == {True}  # as from what the bundled model learnt
    assert [row.sha256 for row in rows] == [record["sha256"] for record in records(whole).values()]


@pytest.mark.parametrize("by_name", [False, True])
def test_load_dataset_reads_the_parquet_files(whole: Path, tmp_path: Path, by_name: bool) -> None:
    files = sorted(map(str, (whole / "parquet").iterdir()))
    assert [Path(file).name for file in files] == [f"shard-{k:06d}.parquet" for k in range(3)]
    where = {"path": str(whole / "parquet")} if by_name else {"path": "parquet", "data_files": files}
    read = datasets.load_dataset(**where, split="train", cache_dir=str(tmp_path))
    assert len(read) == IMAGES
    for row, (key, (image, twin)), record in zip(read, pictures(whole).items(), records(whole).values(), strict=True):
        assert row["id"] == key
        assert np.array_equal(np.asarray(row.pop("image")), image)
        assert np.array_equal(np.asarray(row.pop("soft")), twin)
        assert row == sample_of(record)


@pytest.mark.parametrize("fmt", FORMATS)
def test_of_a_shard_without_images_there_is_nothing(tmp_path: Path, fmt: str) -> None:
    create(tmp_path, marker(tmp_path))
    entry = commit(tmp_path, 0, [], [{"number": 0, "cell": "x", "rejected": []}])
    assert list(read_shard(tmp_path, entry)) == list(files_of(tmp_path, entry, fmt)) == []


GEOMETRY = (
    *("PositionerPrimaryAngle", "PositionerSecondaryAngle", "DistanceSourceToDetector", "DistanceSourceToPatient"),
    *("ImagerPixelSpacing", "PixelSpacing", "KVP"),
)


def test_dicom_shows_the_same_levels_and_says_what_is_known_and_nothing_else(whole: Path) -> None:
    for (key, (image, twin)), record in zip(pictures(whole).items(), records(whole).values(), strict=True):
        for suffix, wanted in (("", image), (".soft", twin)):
            path = whole / "dicom" / key[:2] / f"{key}{suffix}.dcm"
            data = pydicom.dcmread(path)
            assert np.array_equal(data.pixel_array, wanted)
            assert np.array_equal(np.rint(read_radiograph(path).pixels * 255), wanted)
            study = record["study"]
            assert isinstance(study, dict)
            assert (data.Modality, data.SyntheticData, data.PatientSex) == ("OT", "YES", study["sex"])
            assert (int(data.PatientAge[:3]), data.ViewPosition) == (study["age"], study["view"])
            assert data.PatientID == f"synthetic-{key}"
            assert not [keyword for keyword in GEOMETRY if keyword in data]
    uids = {pydicom.dcmread(path).SOPInstanceUID for path in (whole / "dicom").rglob("*.dcm")}
    assert len(uids) == 2 * IMAGES


def test_a_validator_finds_no_error_in_what_was_generated(whole: Path) -> None:
    first = sorted((whole / "dicom").rglob("*.dcm"))[:4]  # images, each beside its twin
    assert {len(path.suffixes) for path in first} == {1, 2}
    assert [line for path in first for line in dicom_errors(path)] == []


def lateral_and_projection(out: Path) -> Entry:
    """A shard in ``out`` of an image of no known side and of a projection, which has a spacing and somebody's CT."""
    create(out, marker(out))
    model, drr = made_of(0)[:2]
    lateral = replace(model, row=replace(model.row, study=replace(model.row.study, view="lateral")))
    facts = {"synthetic": "yes", "patient": "ct-7", "licence": "CC BY 4.0"}
    row = replace(drr.row, source=DRR)
    projection = replace(drr, row=row, image=Radiograph(drr.image.pixels, (0.4, 0.3), facts))
    return commit(out, 0, [lateral, projection])


def test_of_a_projection_the_patient_and_the_spacing_are_kept_and_of_a_lateral_no_side_is_invented(
    tmp_path: Path,
) -> None:
    entry = lateral_and_projection(tmp_path)
    for fmt in FORMATS:
        export(tmp_path, entry, fmt)
    finish_format(tmp_path, "imagefolder", [entry], weights_may_learn={MODEL: False, DRR: True})
    first, second = (
        pydicom.dcmread(tmp_path / "dicom" / record["id"][:2] / f"{record['id']}.dcm") for record in entry.records
    )
    assert "ViewPosition" not in first
    assert not first.PatientOrientation
    assert (list(second.ImagerPixelSpacing), second.PatientID) == ([0.4, 0.3], "ct-7")
    assert (first.DerivationDescription, second.DerivationDescription) == (
        "made from text by a generative model",
        "projection of a CT",
    )
    rows = read_manifest(tmp_path / "imagefolder").rows
    assert [row.source for row in rows] == ["synthetic:toy:0000000000000000", "synthetic:drr:ct-7"]
    assert rows[1].patient_id == "ct-7"
    assert [(row.licence, row.weights_may_learn) for row in rows] == [(LICENCE, False), ("CC BY 4.0", True)]


def test_a_validator_finds_no_error_in_a_lateral_or_a_projection(tmp_path: Path) -> None:
    export(tmp_path, lateral_and_projection(tmp_path), "dicom")
    first, second = (tmp_path / "dicom").rglob("*.dcm")
    assert dicom_errors(first) == dicom_errors(second) == []


@pytest.mark.parametrize("fmt", FORMATS)
def test_an_export_is_a_function_of_its_shard_and_mends_what_was_damaged(whole: Path, tmp_path: Path, fmt: str) -> None:
    entry = entry_of(whole, 0)
    files = dict(files_of(whole, entry, fmt))
    assert files == dict(files_of(whole, entry, fmt))
    stored = {name: (whole / fmt / name).read_bytes() for name in files}
    assert stored == files
    copy = make(tmp_path / "copy", twins=["soft"])
    for _ in range(2):
        export(copy, entry, fmt)
        times = {path: path.stat().st_mtime_ns for path in (copy / fmt).rglob("*.*")}
    export(copy, entry, fmt)
    assert {path: path.stat().st_mtime_ns for path in (copy / fmt).rglob("*.*")} == times
    first = copy / fmt / next(iter(files))
    first.write_bytes(first.read_bytes()[:-1])
    export(copy, entry, fmt)
    assert content(copy / fmt) == files


@pytest.mark.parametrize("fmt", FORMATS)
def test_after_a_fault_in_an_export_the_same_call_completes_it(whole: Path, tmp_path: Path, fmt: str) -> None:
    entry: Entry = entry_of(whole, 2)
    wanted = dict(files_of(whole, entry, fmt))
    copy = make(tmp_path / "copy", twins=["soft"])
    for operation in ("open", "fsync", "replace", "mkdir"):
        real, calls = getattr(os, operation), 0

        def fails(*args: object, **options: object) -> object:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*args, **options)  # noqa: B023 -- called before the next operation's turn

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, operation, fails)
            try:
                export(copy, entry, fmt)
            except GenError as error:
                assert "No space left" in str(error)
                assert str(copy / fmt) in str(error)
        there = content(copy / fmt) if (copy / fmt).exists() else {}
        assert there.items() <= wanted.items()
    export(copy, entry, fmt)
    assert content(copy / fmt) == wanted


def test_a_damaged_shard_is_not_spread(tmp_path: Path) -> None:
    out = make(tmp_path / "set")
    data = bytearray((out / tar_name(0)).read_bytes())
    data[700] ^= 1
    (out / tar_name(0)).write_bytes(data)
    for fmt in FORMATS:
        with pytest.raises(GenError, match=r"shard-000000\.tar: damaged"):
            export(out, entry_of(out, 0), fmt)
        assert not [path for path in (out / fmt).rglob("*") if path.is_file()]
    with pytest.raises(BadInput, match="unknown format 'tfrecord'"):
        export(out, entry_of(out, 1), "tfrecord")
