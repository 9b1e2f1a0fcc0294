"""The nouns that the rooms of the data set job share: a row of the plan, what was made of it, and a committed shard."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gen.core.radiograph import Radiograph
from gen.language.study import Study

MODEL, DRR, ANATOMY = "model", "drr", "anatomy"  # the sources; the last paints projections by the model
PROJECTED = (DRR, ANATOMY)


@dataclass(frozen=True)
class PlanRow:
    """One image to be made. ``number`` is its place in the plan, from 0; ``cell`` the key of its stratum, such as
    "sex=F|age=40-59|view=PA|finding=Pneumonia"; ``substitute`` 0 is the planned row, k its k-th substitute, which has
    the same number and cell, and another study within it. ``id`` is a hash of all of them (`row_id`)."""

    number: int
    cell: str
    study: Study
    prompt: str
    source: str
    substitute: int
    id: str


def row_id(seed: int, number: int, cell: str, study: Study, prompt: str, source: str, substitute: int) -> str:
    """16 hexadecimal digits of the SHA-256 of what a row is; ``seed`` is the data set's."""
    facts = [seed, number, cell, study.to_json_dict(), prompt, source, substitute]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Verdict:
    """What the gates say of one image: score and threshold by gate, and the names of the gates that it failed.

    A gate may look at several things, such as "finding: Pneumonia"; a score passes at or above its threshold.
    ``nearest`` is the distance (1 - cosine) to the nearest training image, None where nobody looked.
    """

    scores: Mapping[str, float]
    thresholds: Mapping[str, float]
    failed: tuple[str, ...]
    nearest: float | None = None


@dataclass(frozen=True)
class Made:
    """A finished image of a row: ``attempt`` counts its seeds from 0; ``rejected`` are the tries before it, one mapping
    each ("id", "attempt", "failed", or "error")."""

    row: PlanRow
    attempt: int
    seed: int
    image: Radiograph
    twins: Mapping[str, Radiograph]
    verdict: Verdict | None
    rejected: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Entry:
    """A committed shard, as its manifest entry has it. ``records`` (see `record_of`) are in the order of the tar;
    ``missing`` are rows that could not be filled, as {"number", "cell", "rejected": [...]}."""

    shard: int
    file: str  # relative to the data set's folder
    sha256: str
    bytes: int
    records: tuple[Mapping[str, Any], ...]
    missing: tuple[Mapping[str, Any], ...] = field(default=())


def planned_study(record: Mapping[str, Any]) -> Study:
    """The Study that the plan asked for; "study" of a record is what the image shows, as far as anybody knows."""
    return Study.from_json_dict(record["planned"] or record["study"])


def record_of(made: Made, png_sha256: str) -> dict[str, Any]:
    """The provenance of an image: what its JSON says in the shard, and a row of the index."""
    row, verdict = made.row, made.verdict
    planned = row.study.to_json_dict()
    # A projection knows more than was planned: which side was drawn, and of a CT the patient's own age.
    drawn = made.image.provenance.get("study")
    shown = json.loads(drawn) if drawn else planned
    height, width = made.image.pixels.shape
    return {
        "id": row.id,
        "number": row.number,
        "cell": row.cell,
        "source": row.source,
        "prompt": row.prompt,
        "study": shown,
        "planned": None if shown == planned else planned,
        "seed": made.seed,
        "attempt": made.attempt,
        "substitute": row.substitute,
        "width": width,
        "height": height,
        "sha256": png_sha256,
        "provenance": dict(made.image.provenance),
        "scores": {} if verdict is None else dict(verdict.scores),
        "thresholds": {} if verdict is None else dict(verdict.thresholds),
        "nearest": None if verdict is None else verdict.nearest,
        "rejected": [dict(each) for each in made.rejected],
    }
