"""An image of a data set made again from its record, to show that the record is true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from augment.dataset.shards.folder import MARKER, config_of, entries, read_marker, read_shard
from augment.dataset.shards.records import MODEL, PlanRow, planned_study, row_id
from augment.dataset.shards.samples import radiograph_of
from augment.dataset.sources import open_source
from gen.core.errors import BadInput, GenError
from gen.core.files import write_bytes
from gen.core.noise import NOISE_VERSION
from gen.core.radiograph import Radiograph, png_bytes


@dataclass(frozen=True)
class Again:
    """Where the image was written, and what tells it from the one in the data set: by its record, as by its pixels.

    Both are empty where it is the ``same_file``, byte for byte. Other software may make the same pixels.
    """

    file: Path
    same_file: bool
    of_record: tuple[str, ...]
    of_pixels: str


def replay_row(folder: Path, row: str, out: Path, *, device: str = "auto") -> Again:
    """Make image ``row`` (an id, or a number) of the data set in ``folder`` again, as a PNG in ``out``.

    BadInput for a folder that is no data set, a row that it does not have, and a record that was changed; GenError
    where the image cannot be made.
    """
    if (out / MARKER).exists():
        raise BadInput(f"{out} is a data set, and gets no other files", hint="choose another folder for --out")
    config = replace(config_of(folder), device=device)
    record, stored = find(folder, row)
    if record["source"] == MODEL and read_marker(folder).get("noise") != NOISE_VERSION:
        raise BadInput(
            f"{folder} was made by another version of cxr-gen, whose seeds mean other images",
            hint="it cannot be replayed; `gen dataset verify` checks it",
        )
    planned = row_of(record, config.seed)
    [outcome] = open_source(config).make([planned], [int(record["seed"])])
    if isinstance(outcome, GenError):
        raise outcome
    image = outcome.image
    made = png_bytes(image)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot use {out} as a folder: {error.strerror}", hint="choose another for --out") from error
    file = out / f"{planned.id}.png"
    write_bytes(file, made)
    before, after = record["provenance"], image.provenance
    changes = tuple(
        f"{key} {before.get(key, '(none)')!r} -> {after.get(key, '(none)')!r}"
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    )
    return Again(file, made == stored, changes, _pixels_apart(image, stored))


def find(folder: Path, row: str) -> tuple[Mapping[str, Any], bytes]:
    """The record of ``row`` and the PNG that the data set has of it."""
    for entry in entries(folder):
        for record in entry.records:
            if row in (record["id"], str(record["number"])):
                for found, files in read_shard(folder, entry):
                    if found["id"] == record["id"]:
                        return found, files["png"]
    raise BadInput(f"{folder} has no row {row!r}", hint="give an id, or a number, of index.parquet")


def row_of(record: Mapping[str, Any], seed: int) -> PlanRow:
    """The plan's row that ``record`` is of; BadInput where its id is not the hash of what it says."""
    study = planned_study(record)
    what = (record["number"], record["cell"], study, record["prompt"], record["source"], record["substitute"])
    if row_id(seed, *what) != record["id"]:
        raise BadInput(f"the record of {record['id']} was changed: its id is not the hash of what it says")
    return PlanRow(*what, id=record["id"])


def _pixels_apart(image: Radiograph, stored: bytes) -> str:
    """How the pixels of the new image differ from the stored ones, in words; "" where none does."""
    old = radiograph_of(stored).pixels
    if old.shape != image.pixels.shape:
        return f"{old.shape} -> {image.pixels.shape} pixels"
    apart = np.abs(np.rint(old * 255) - np.rint(image.pixels * 255))
    many = np.count_nonzero(apart)
    return f"{many} of {apart.size} pixels, by up to {apart.max():.0f} of 255 levels" if many else ""
