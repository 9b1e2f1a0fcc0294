"""Whole data sets, small and made by hand, in every format; and what is in a folder."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from toy_set import CELLS, toy_config, toy_made, toy_quota

from augment.dataset import finish as job
from augment.dataset.config import Gates
from augment.dataset.shards.folder import commit, config_of, create, summary
from augment.dataset.shards.records import Made
from gen.core.config import to_dict
from gen.core.files import write_json
from gen.core.radiograph import Radiograph

ROWS, SHARD_SIZE = 14, 6


def marker(out: Path, **changes: Any) -> dict[str, Any]:
    config = toy_config(out, ROWS, **{"shard_size": SHARD_SIZE, "gates": Gates(names=[])} | changes)
    return {
        "config": to_dict(config),
        "plan": "p" * 16,
        "rows": ROWS,
        "shard_size": SHARD_SIZE,
        "cells": toy_quota(ROWS),
        "inputs": {"model": "toy"},
    }


def rows_of(shard: int) -> range:
    return range(shard * SHARD_SIZE, min((shard + 1) * SHARD_SIZE, ROWS))


def made_of(shard: int, twins: Sequence[str] = (), *, without: Sequence[int] = ()) -> list[Made]:
    """The finished images of a shard but those of some rows; the same at each call."""
    return [
        toy_made(number, CELLS[number % len(CELLS)], 3, twins) for number in rows_of(shard) if number not in without
    ]


def make(out: Path, *, formats: Sequence[str] = (), twins: Sequence[str] = (), missing: Sequence[int] = ()) -> Path:
    """A finished data set of three shards in ``out``."""
    create(out, marker(out, formats=list(formats), twins=list(twins)))
    for shard in range(3):
        lost = [{"number": n, "cell": CELLS[n % len(CELLS)], "rejected": []} for n in rows_of(shard) if n in missing]
        commit(out, shard, made_of(shard, twins, without=missing), lost)
    finish(out)
    return out


def finish(out: Path) -> None:
    """All that is made of the shards; and _SUCCESS, though a row be missing."""
    job.finish(out, config_of(out), None, {}, "2026-01-01")
    write_json(out / "_SUCCESS", summary(out))


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but those of run/, by name."""
    names = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in names.items() if not name.startswith("run/")}


def levels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image)


def new_set(out: Path) -> Path:
    create(out, marker(out))
    return out


def other(made: list[Made]) -> list[Made]:
    """The same rows, as a machine with other last bits would have made them."""
    return [replace(each, image=Radiograph(1 - each.image.pixels, None, each.image.provenance)) for each in made]
