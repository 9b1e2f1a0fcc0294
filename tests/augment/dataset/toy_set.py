"""A small data set folder by hand: rows over a few cells, grey images, scores, refusals and missing rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augment.dataset.config import DatasetConfig, Target
from augment.dataset.shards.folder import commit, create
from augment.dataset.shards.records import MODEL, Entry, Made, PlanRow, Verdict, row_id
from gen.core.radiograph import Radiograph
from gen.core.run import derived_seed
from gen.language.study import Finding, Study

FINDINGS = ("No Finding", "Cardiomegaly", "Pleural Effusion")
CELLS = tuple(
    f"sex={sex}|age=40-59|view={view}|finding={finding}"
    for sex in ("F", "M")
    for view in ("PA", "AP")
    for finding in FINDINGS
)
SIZE = 16  # pixels a side
GATES = ("finding", "sex", "quality")


def toy_config(out: Path, rows: int = 30, **changes: Any) -> DatasetConfig:
    """A config with the cells of the toy."""
    target = Target(age=["40-59"], finding=list(FINDINGS))
    return DatasetConfig(**{"out": str(out), "images": rows, "target": target, "shard_size": 10, "seed": 3} | changes)


def toy_quota(rows: int = 30, cells: Sequence[str] = CELLS) -> dict[str, int]:
    """Rows by cell, in the plan's order."""
    found = Counter(cells[number % len(cells)] for number in range(rows))
    return {cell: found[cell] for cell in cells}


def toy_set(
    out: Path,
    rows: int = 30,
    *,
    missing: Sequence[int] = (),
    cells: Sequence[str] = CELLS,
    shard_size: int = 10,
    seed: int = 3,
    twins: Sequence[str] = (),
) -> tuple[Entry, ...]:
    """Write ``rows`` rows but those in ``missing`` as shards under ``out``, and return their entries."""
    create(out, {"rows": rows, "cells": toy_quota(rows, cells)})
    entries = []
    for shard, start in enumerate(range(0, rows, shard_size)):
        made, lost = [], []
        for number in range(start, min(start + shard_size, rows)):
            one = toy_made(number, cells[number % len(cells)], seed, twins)
            if number in missing:
                lost.append({"number": number, "cell": one.row.cell, "rejected": [*one.rejected, _refusal(one, 3)]})
            else:
                made.append(one)
        entries.append(commit(out, shard, made, lost))
    return tuple(entries)


def toy_made(number: int, cell: str, seed: int = 3, twins: Sequence[str] = ()) -> Made:
    """A finished image of row ``number``, a function of its arguments; some were refused or broken before."""
    rng = np.random.default_rng([seed, number])
    values = dict(part.split("=") for part in cell.split("|"))
    name = values["finding"]
    findings = {name: Finding()} | ({} if name == "No Finding" else {"Pneumothorax": Finding("absent")})
    low, high = map(int, values["age"].split("-"))
    study = Study(age=int(rng.integers(low, high + 1)), sex=values["sex"], view=values["view"], findings=findings)
    prompt = f"{study.age} year old, {values['sex']}. {values['view']} view. {name}."
    row = PlanRow(number, cell, study, prompt, MODEL, 0, row_id(seed, number, cell, study, prompt, MODEL, 0))
    facts = {"synthetic": "yes", "prompt": prompt, "model": "toy", "model_hash": "0" * 16, "sampler": "DDIMScheduler"}
    facts |= {"steps": "20", "guidance": "1.5", "network": "cpu float32", "software": "cxr-gen 0.1.0"}
    scores = {f"finding: {name}": rng.random(), "sex": rng.random(), "quality: sharpness": rng.random()}
    # Women's rows are refused more often, so that a plot of the set shows something.
    refused = int(rng.geometric(0.5 if values["sex"] == "F" else 0.8)) - 1
    images = [Radiograph(rng.random((SIZE, SIZE), np.float32), None, facts) for _ in range(1 + len(twins))]
    made = Made(
        row,
        attempt=refused,
        seed=derived_seed(seed, row.id, refused),
        image=images[0],
        twins=dict(zip(twins, images[1:], strict=True)),
        verdict=Verdict(scores, dict.fromkeys(scores, 0.0), (), float(rng.random())),
    )
    rejected = tuple(_refusal(made, k) for k in range(refused))
    return Made(**vars(made) | {"rejected": rejected})


def _refusal(made: Made, attempt: int) -> dict[str, Any]:
    """Each failed another gate, one of them two of its parts; every seventh came out broken."""
    k = made.row.number + attempt
    failed = ["finding: Edema", "finding: Mass", GATES[k % 3]]
    what: Mapping[str, Any] = {"failed": failed, "scores": dict.fromkeys((*failed, "copy"), 0.25)}
    if k % 7 == 0:
        what = {"error": "the image came out flat"}
    return {"id": made.row.id, "substitute": 0, "attempt": attempt, **what}
