"""The config of a data set: `gen dataset make CONFIG`. Everything that decides its images, and how they are stored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from gen.core.errors import BadInput
from gen.core.terms import OLDEST_YEARS

KINDS = ("balanced", "matched", "top_up", "margins")
CO_OCCURRENCES = ("alone", "real", "stated")
PROJECTED = ("never", "when_needed", "share")
GATES = ("finding", "sex", "age", "view", "quality", "copy", "anatomy")
USUAL_GATES = GATES[:6]  # "anatomy" outlines the organs of each image, and asks whether they are one whole chest
FORMATS = ("imagefolder", "parquet", "dicom")  # besides the WebDataset shards, which there always are


@dataclass(frozen=True)
class Target:
    """Which joint distribution of sex, age, race, view and finding the images shall have.

    ``kind``: "balanced" (every cell alike), "matched" (as the real set has them), "top_up" (so that the real set and
    the images together are balanced), "margins" (given shares of single attributes, fitted to the real set's joint
    distribution, or without one to independence).
    """

    kind: str = "balanced"
    # The values that the plan is over. An attribute without values is in no prompt and in no quota.
    sex: list[str] = field(default_factory=lambda: ["F", "M"])
    age: list[str] = field(default_factory=lambda: ["18-39", "40-59", "60-79"])  # whole years, both ends included
    race: list[str] = field(default_factory=list)
    view: list[str] = field(default_factory=lambda: ["PA", "AP"])
    finding: list[str] = field(default_factory=lambda: ["No Finding", "Pneumonia", "Atelectasis", "Pleural Effusion"])
    # A real data set (a folder with metadata.csv): for "matched" and "top_up", and co-occurrence "real".
    real: str | None = None
    # For "margins": shares by attribute and value, e.g. {sex: {F: 0.5, M: 0.5}}; what is not named is left free.
    margins: dict[str, dict[str, float]] = field(default_factory=dict)
    # Which further findings stand beside the one of the cell: none ("alone"), those that do in the real set ("real"),
    # or the shares of ``together`` ("stated"), e.g. {Pneumonia: {"": 0.7, "Pleural Effusion;Atelectasis": 0.3}}.
    co_occurrence: str = "alone"
    together: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Gates:
    """What an image must pass. One that does not is made anew from another seed, up to ``attempts`` times in all, and
    then as another row of the same cell, up to ``substitutes`` times; what is still not there is listed as missing."""

    names: list[str] = field(default_factory=lambda: list(USUAL_GATES))  # of GATES; empty: none
    pass_rate: float = 0.95  # of real radiographs of the same kind, at each gate, in every subgroup
    least_images: int = 50  # real images of a subgroup that gets thresholds of its own; smaller ones are pooled
    copy_false_alarms: float = 0.01  # share of other patients' real images that would count as copies
    judge: str = ""  # as of `gen describe --judge`; "" is the bundled one
    real: str | None = None  # a real data set to calibrate with; None: what was measured for the bundled judge
    attempts: int = 4
    substitutes: int = 7  # may be raised when the job is run again: filled rows stay, missing ones are tried further


@dataclass(frozen=True)
class Projections:
    """Radiographs by projection (`gen drr`) instead of by the model: "never", "when_needed" (in the cells that the
    model cannot make), or in a ``share`` of every cell that both can make, and where needed."""

    use: str = "never"
    share: float = 0.0
    cts: list[str] = field(default_factory=list)  # files or DICOM folders; empty: the phantom
    licence: str = ""  # of the CTs, for the records
    weights_may_learn: bool = False  # whether the licence of the CTs lets weights learn from them
    # How far the model goes from a projection that it starts from (`gen sample --anatomy`); 0: it stays a projection.
    strength: float = 0.0


@dataclass(frozen=True)
class DatasetConfig:
    """`gen dataset make`."""

    out: str
    images: int
    target: Target = field(default_factory=Target)
    gates: Gates = field(default_factory=Gates)
    projections: Projections = field(default_factory=Projections)
    model: str | None = None  # a model's folder; None: the bundled one
    steps: int | None = None  # None: those of the model, likewise of ``guidance``
    guidance: float | None = None
    size: int | None = None  # pixels a side; None: the model's
    vary: bool = True  # draw pose and exposure of each image, where the model paints all alike (`sampling.variation`)
    shard_size: int = 100  # rows; what a kill can lose. A GPU, whose batches the last retries do not fill, wants 1000
    formats: list[str] = field(default_factory=list)  # of FORMATS, besides WebDataset
    # Further images of each row, by name, from functions of the entry-point group `cxr_gen.twins`.
    twins: list[str] = field(default_factory=list)
    # CPU threads of each worker: part of what decides the last bit of an image, so that it never follows the machine.
    threads: int = 2
    device: str = "auto"
    dtype: str = "auto"
    backend: str = "auto"  # or torch, openvino: as of `gen sample`
    seed: int = 0


def attributes_of(target: Target) -> Mapping[str, tuple[str, ...]]:
    """The values by attribute, of the attributes that the plan is over, in the order of a cell's key."""
    named = {name: tuple(getattr(target, name)) for name in ("sex", "age", "race", "view", "finding")}
    return {name: values for name, values in named.items() if values}


def band(text: str) -> tuple[int, int]:
    """ "40-59" as its first and last whole year. BadInput for what is no band within 0 to 120 years."""
    if not (ends := re.fullmatch(r"(\d{1,3})-(\d{1,3})", text)):
        raise BadInput(f"target.age {text!r} is no band of ages", hint="write both ends in whole years, like 40-59")
    low, high = int(ends[1]), int(ends[2])
    if not low <= high <= OLDEST_YEARS:
        raise BadInput(f"target.age {text!r} is no band of ages", hint=f"low to high, from 0 to {OLDEST_YEARS} years")
    return low, high
