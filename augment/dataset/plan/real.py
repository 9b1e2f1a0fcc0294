"""A real data set counted in the cells of a plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from augment.dataset.config import band
from gen.core.errors import BadInput
from gen.core.manifest import read_manifest
from gen.core.terms import FINDINGS
from gen.data.rows import study_of

NORMAL = "No Finding"

Values = Mapping[str, tuple[str, ...]]  # by attribute
Further = tuple[str, ...]  # findings that stand beside the one of a cell, in the order of the standard terms
Sets = Mapping[str, Mapping[Further, float]]  # by finding of the cell: the shares of what stands beside it


@dataclass(frozen=True)
class RealSet:
    """The images of a real data set that the plan's attributes are known of and whose values are among the plan's.

    ``counts`` by cell. An image with several findings of the plan counts once, for the one that is rarest in the whole
    real set (equally rare: the first of the standard terms; "No Finding" last of all), so that rare findings are not
    swallowed by common ones. ``together``: by that finding, how many images have what else beside it.
    """

    counts: np.ndarray
    together: Sets
    note: str  # how many images count, and why the others do not


def read_real(folder: str, values: Values) -> RealSet:
    """Count the images of ``folder``. BadInput where it cannot be read or no image of it counts."""
    studies = [study_of(row) for row in read_manifest(folder).rows]
    shown = [[name for name, finding in study.findings.items() if finding.state == "present"] for study in studies]
    often = Counter(name for names in shown for name in names)
    rarest = sorted(values.get("finding", ()), key=lambda name: (name == NORMAL, often[name], FINDINGS.index(name)))
    counts = np.zeros([len(each) for each in values.values()], np.int64)
    together: dict[str, Counter[Further]] = {main: Counter() for main in values.get("finding", ("",))}
    unknown, outside = Counter[str](), Counter[str]()
    for study, names in zip(studies, shown, strict=True):
        known: dict[str, Any] = {name: getattr(study, name) for name in ("sex", "age", "race", "view")}
        known["finding"] = next((name for name in rarest if name in names), "") if names else None
        if lacking := next((name for name in values if known[name] is None), None):
            unknown[lacking] += 1
            continue
        place = {name: _place(name, known[name], values[name]) for name in values}
        if other := next((name for name, index in place.items() if index is None), None):
            outside[other] += 1
            continue
        counts[tuple(place.values())] += 1
        main = known["finding"] if "finding" in values else ""
        further = () if main in ("", NORMAL) else tuple(name for name in names if name not in (main, NORMAL))
        together[main][further] += 1
    parts = [f"{n} of unknown {name}" for name, n in unknown.items()]
    parts += [f"{n} of another {name}" for name, n in outside.items()]
    note = f"{folder}: {counts.sum()} of {len(studies)} images count" + (f" ({', '.join(parts)})" if parts else "")
    if not counts.any():
        raise BadInput(f"target.real {note}", hint="plan over attributes and values that the real set has")
    return RealSet(counts, together, note)


def _place(name: str, value: Any, values: tuple[str, ...]) -> int | None:
    """The number of the value of the plan that an image's value is, or None."""
    if name == "age":
        return next((k for k, text in enumerate(values) if band(text)[0] <= value <= band(text)[1]), None)
    return values.index(value) if value in values else None
