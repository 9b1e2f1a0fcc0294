"""Labels of an image: targets and masks for the judge's heads, so that a missing label is never a negative.

A finding is present or absent where the row's Study says so; absent also where the image has "No Finding", and where
its source is known to name all that it has (NIH ChestX-ray14). Whatever else is not named is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gen.core.errors import BadInput
from gen.core.terms import ADULT_FROM_YEARS, FINDINGS, NIH_14, suggestion
from gen.data.rows import study_of

if TYPE_CHECKING:
    from gen.core.manifest import Row
    from gen.language.study import Study

# A label of the patient, not of the image: it neither makes an image abnormal nor is ruled out by a normal one.
OF_THE_PATIENT = frozenset({"COVID-19"})
NAMED_BY_COMPLETE = ("No Finding", *NIH_14)


@dataclass(frozen=True)
class Targets:
    """Row i is image i. ``binary`` float32 (N, findings + 3) is 1, 0, or NaN where unknown: findings, then female, AP,
    child; ``age`` float32 (N,) in years, or NaN."""

    binary: np.ndarray
    age: np.ndarray


def finding_states(row: Row, complete: Sequence[str]) -> dict[str, bool]:
    """Finding -> present or not, for each that is known of ``row``; an uncertain one is unknown.

    ``complete`` are the sources whose rows name every finding of NIH_14 that the image has.
    """
    study = study_of(row)
    said = {name: finding.state for name, finding in study.findings.items()}
    states = {name: state == "present" for name, state in said.items() if state != "uncertain"}
    present = [name for name, known in states.items() if known]
    if "No Finding" in present:
        ruled_out: tuple[str, ...] = tuple(
            name for name in FINDINGS if name not in OF_THE_PATIENT | {"Support Devices"}
        )
    elif row.source in complete and said:
        ruled_out = NAMED_BY_COMPLETE
    else:
        ruled_out = ("No Finding",) if set(present) - OF_THE_PATIENT - {"Support Devices"} else ()
    return {name: False for name in ruled_out if name not in said} | states


def judged_findings(rows: Sequence[Row], complete: Sequence[str], least: int) -> list[str]:
    """The findings with at least ``least`` images that have it and as many without it, all in one source.

    The condition on the source is what keeps a head from learning the look of a hospital: COVID-19 against no COVID-19
    would be Hannover against Bethesda.
    """
    counts: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        for name, present in finding_states(row, complete).items():
            counts.setdefault((name, row.source), [0, 0])[present] += 1
    enough = {name for (name, _), both in counts.items() if min(both) >= least}
    return [name for name in FINDINGS if name in enough]


def without_sources(splits: Mapping[str, Sequence[Row]], sources: Sequence[str]) -> dict[str, list[Row]]:
    """``splits`` without the rows of ``sources``; BadInput for a source that is not there, or where nothing is left."""
    known = sorted({row.source for rows in splits.values() for row in rows})
    for source in sources:
        if source not in known:
            raise BadInput(f"no row is of the source {source!r}", hint=suggestion(source, known))
    kept = {split: [row for row in rows if row.source not in sources] for split, rows in splits.items()}
    for split in ("train", "validation"):
        if not kept[split]:
            raise BadInput(f"no row for {split} is left without {', '.join(sources)}")
    return kept


def targets_of(rows: Sequence[Row], findings: Sequence[str], complete: Sequence[str]) -> Targets:
    """The targets of ``rows`` for the heads ``findings``. BadInput, naming the file, for a row without a Study."""
    binary = np.full((len(rows), len(findings) + 3), np.nan, np.float32)
    age = np.full(len(rows), np.nan, np.float32)
    for i, row in enumerate(rows):
        study = study_of(row)
        states = finding_states(row, complete)
        for j, name in enumerate(findings):
            if name in states:
                binary[i, j] = states[name]
        if study.sex is not None:
            binary[i, -3] = study.sex == "F"
        if study.view in ("PA", "AP"):
            binary[i, -2] = study.view == "AP"
        if (child := _is_child(study)) is not None:
            binary[i, -1] = child
        if row.age is not None:
            age[i] = row.age
    return Targets(binary, age)


def _is_child(study: Study) -> bool | None:
    if study.age is not None:
        return study.age < ADULT_FROM_YEARS
    return None if study.age_group is None else study.age_group == "child"
