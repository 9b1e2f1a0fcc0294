"""What a data set is asked to be, checked and in one fixed order: cells, further findings, and the real set's table.

The order of the values in a config never matters: sexes, races, views and findings stand in the order of the standard
terms, ages from young to old.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from augment.dataset.config import CO_OCCURRENCES, KINDS, PROJECTED, DatasetConfig, Target, attributes_of
from gen.core.errors import BadInput
from gen.core.manifest import read_manifest
from gen.core.terms import FINDINGS, OLDEST_YEARS, RACES, SEXES, STANDARD_NAMES, VIEWS, did_you_mean
from gen.data.rows import study_of
from gen.language.study import Finding, Study

NORMAL = "No Finding"
ORDER = {"sex": SEXES, "race": RACES, "view": VIEWS, "finding": FINDINGS}
SUMS_TO_1 = 1e-5  # how near shares must come to a sum of 1: "0.33333" is a third

Values = Mapping[str, tuple[str, ...]]  # by attribute
Further = tuple[str, ...]  # findings that stand beside the one of a cell, in the order of the standard terms
Sets = Mapping[str, Mapping[Further, float]]  # by finding of the cell: the shares of what stands beside it


def check_config(config: DatasetConfig) -> None:
    """BadInput for a number or a word of the config that the plan cannot follow."""
    target, projections = config.target, config.projections
    if config.images < 1:
        raise BadInput(f"images is {config.images}", hint="ask for 1 or more")
    one_of("target.kind", target.kind, KINDS)
    one_of("target.co_occurrence", target.co_occurrence, CO_OCCURRENCES)
    one_of("projections.use", projections.use, PROJECTED)
    if not 0 <= projections.share <= 1:
        raise BadInput(f"projections.share is {projections.share}", hint="it lies between 0 and 1")
    if (projections.use == "share") != (projections.share > 0):
        raise BadInput(
            f"projections.share is {projections.share} and projections.use is {projections.use!r}",
            hint="a share above 0 and use='share' go together",
        )
    if bool(target.margins) != (target.kind == "margins"):
        raise BadInput(
            f"target.kind is {target.kind!r} and target.margins {'has' if target.margins else 'has no'} shares",
            hint="margins and kind='margins' go together",
        )
    if bool(target.together) != (target.co_occurrence == "stated"):
        raise BadInput(
            f"target.co_occurrence is {target.co_occurrence!r} and target.together"
            f" {'has' if target.together else 'has no'} shares",
            hint="together and co_occurrence='stated' go together",
        )
    if needs_real(target) and not target.real:
        what = f"kind {target.kind!r}" if target.kind in ("matched", "topped up") else "co_occurrence 'real'"
        raise BadInput(f"target.{what} needs a real data set", hint="name its folder in target.real")


def needs_real(target: Target) -> bool:
    return target.kind in ("matched", "topped up") or target.co_occurrence == "real"


def values_of(target: Target) -> dict[str, tuple[str, ...]]:
    """The values of each attribute of the plan, checked, in their fixed order. BadInput names what is wrong."""
    attributes = attributes_of(target)
    if not attributes:
        raise BadInput(
            "target has no value of any attribute, so there is nothing to plan", hint="give some sex or view"
        )
    for name, values in attributes.items():
        for value in values:
            _check_value(name, value)
        if twice := next((value for value in values if values.count(value) > 1), None):
            raise BadInput(f"target.{name} has {twice!r} twice", hint="name it once")
    ordered = {
        name: tuple(sorted(values, key=band if name == "age" else ORDER[name].index))
        for name, values in attributes.items()
    }
    ages = ordered.get("age", ())
    for younger, older in itertools.pairwise(ages):
        if band(older)[0] <= band(younger)[1]:
            raise BadInput(f"target.age: {younger} and {older} overlap", hint="both ends belong to a band")
    return ordered


def band(text: str) -> tuple[int, int]:
    """ "40-59" as its first and last whole year. BadInput for what is no band within 0 to 120 years."""
    if not (ends := re.fullmatch(r"(\d{1,3})-(\d{1,3})", text)):
        raise BadInput(f"target.age {text!r} is no band of ages", hint="write both ends in whole years, like 40-59")
    low, high = int(ends[1]), int(ends[2])
    if not low <= high <= OLDEST_YEARS:
        raise BadInput(f"target.age {text!r} is no band of ages", hint=f"low to high, from 0 to {OLDEST_YEARS} years")
    return low, high


def margins_of(target: Target, values: Values) -> dict[int, np.ndarray]:
    """The shares of ``target.margins`` by the number of the attribute, as `quotas.fitted` takes them."""
    margins = {}
    for name, shares in target.margins.items():
        one_of("attribute in target.margins", name, values)
        for value in shares:
            one_of(f"value in target.margins.{name}", value, values[name])
        if lacking := [value for value in values[name] if value not in shares]:
            raise BadInput(
                f"target.margins.{name} has no share for {lacking[0]!r}, which target.{name} names",
                hint="give it one, 0 if need be, or leave the value out",
            )
        _check_shares(f"target.margins.{name}", shares)
        row = np.array([shares[value] for value in values[name]])
        margins[list(values).index(name)] = row / row.sum()
    return margins


def alone(values: Values) -> dict[str, dict[Further, float]]:
    """Nothing beside any finding of the plan."""
    return {finding: {(): 1.0} for finding in values.get("finding", ("",))}


def stated(target: Target, values: Values) -> dict[str, dict[Further, float]]:
    """What ``target.together`` says stands beside each finding, checked; nothing beside one that it does not name."""
    sets = alone(values)
    for main, shares in target.together.items():
        where = f"target.together.{main}"
        one_of("finding in target.together", main, values.get("finding", ()))
        _check_shares(where, shares)
        sets[main] = {}
        for text, share in shares.items():
            further = tuple(filter(None, map(str.strip, text.split(";"))))
            for name in further:
                _check_value("finding", name, where)
            if main in further or len(set(further)) < len(further):
                raise BadInput(f"{where}: {text!r} names a finding twice, with {main!r}", hint="name each once")
            if further and NORMAL in (main, *further):
                raise BadInput(f"{where}: {text!r} stands beside {main}", hint=f"{NORMAL!r} stands alone")
            ordered = tuple(sorted(further, key=FINDINGS.index))
            sets[main][ordered] = sets[main].get(ordered, 0.0) + share
    return sets


@dataclass(frozen=True)
class RealSet:
    """The films of a real data set that the plan's attributes are known of and whose values are among the plan's.

    ``counts`` by cell. A film with several findings of the plan counts once, for the one that is rarest in the whole
    real set (equally rare: the first of the standard terms; "No Finding" last of all), so that rare findings are not
    swallowed by common ones. ``together``: by that finding, how many films have what else beside it.
    """

    counts: np.ndarray
    together: Sets
    note: str  # how many films count, and why the others do not


def read_real(folder: str, values: Values) -> RealSet:
    """Count the films of ``folder``. BadInput where it cannot be read or no film of it counts."""
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
    note = f"{folder}: {counts.sum()} of {len(studies)} films count" + (f" ({', '.join(parts)})" if parts else "")
    if not counts.any():
        raise BadInput(f"target.real {note}", hint="plan over attributes and values that the real set has")
    return RealSet(counts, together, note)


def one_of(what: str, value: str, choices: Iterable[str]) -> None:
    """BadInput, with the nearest choice, for a value that is none of ``choices``."""
    choices = tuple(choices)
    if value not in choices:
        near = did_you_mean(value, choices)
        hint = f"did you mean {near!r}?" if near else f"it is one of {', '.join(choices)}" if choices else None
        raise BadInput(f"unknown {what}: {value!r}", hint=hint)


def _check_value(name: str, value: str, where: str | None = None) -> None:
    """BadInput, saying ``where``, unless ``value`` is a standard term of the attribute."""
    if name == "age":
        band(value)
    elif name == "finding" and value in STANDARD_NAMES:
        raise BadInput(
            f"{where or 'target.finding'}: unknown finding {value!r}", hint=f"write {STANDARD_NAMES[value]!r}"
        )
    else:
        study: dict[str, Any] = {"findings": {value: Finding()}} if name == "finding" else {name: value}
        try:
            Study(**study)
        except BadInput as error:
            raise BadInput(f"{where or f'target.{name}'}: {error.message}", hint=error.hint) from error


def _check_shares(where: str, shares: Mapping[str, float]) -> None:
    for value, share in shares.items():
        if not 0 <= share < math.inf:
            raise BadInput(f"{where}: the share of {value!r} is {share}", hint="a share lies between 0 and 1")
    if abs(sum(shares.values()) - 1) > SUMS_TO_1:
        raise BadInput(f"{where}: the shares sum to {sum(shares.values()):.6g}", hint="they should sum to 1")


def _place(name: str, value: Any, values: tuple[str, ...]) -> int | None:
    """The number of the value of the plan that a film's value is, or None."""
    if name == "age":
        return next((k for k, text in enumerate(values) if band(text)[0] <= value <= band(text)[1]), None)
    return values.index(value) if value in values else None


__all__ = [
    "NORMAL",
    "RealSet",
    "alone",
    "band",
    "check_config",
    "margins_of",
    "needs_real",
    "one_of",
    "read_real",
    "stated",
    "values_of",
]
