"""What a data set is asked to be, checked and in one fixed order: cells, margins, further findings, the real set.

The order of the values in a config never matters: sexes, races, views and findings stand in the order of the standard
terms, ages from young to old.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from augment.dataset.config import (
    CO_OCCURRENCES,
    KINDS,
    PROJECTED,
    DatasetConfig,
    Target,
    attributes_of,
    band,
)
from augment.dataset.plan.real import NORMAL, Further, RealSet, Sets, Values, read_real
from gen.core.errors import BadInput
from gen.core.terms import FINDINGS, RACES, SEXES, VIEWS, require_choice, standard_name
from gen.language.study import Finding, Study

ORDER = {"sex": SEXES, "race": RACES, "view": VIEWS, "finding": FINDINGS}
SUMS_TO_1 = 1e-5  # how near shares must come to a sum of 1: "0.33333" is a third
_RENAMED = {"topped up": "top_up", "where needed": "when_needed"}  # words of older configs


@dataclass(frozen=True, eq=False)
class ResolvedTarget:
    """What the target of a config comes to, checked and in its fixed order.

    ``values`` by attribute; ``margins`` are the shares of `Target.margins` by the number of the attribute, as
    `quotas.fitted` takes them; ``sets`` has the shares of what stands beside each finding; ``real`` counts the real
    set, None where the plan needs none. ``warnings`` say what a user should know of it.
    """

    values: Values
    margins: Mapping[int, np.ndarray]
    sets: Sets
    real: RealSet | None
    warnings: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(each) for each in self.values.values())

    @cached_property
    def cells(self) -> list[dict[str, str]]:
        """The product of ``values``, the last attribute running fastest, as in a table of ``shape``."""
        return [dict(zip(self.values, chosen, strict=True)) for chosen in itertools.product(*self.values.values())]


def resolve(config: DatasetConfig) -> ResolvedTarget:
    """Check the target of ``config`` and read the real set that it needs.

    Raises BadInput, one line, for a number or a word that a plan cannot follow, and for a real set that does not serve.
    """
    _check_config(config)
    target = config.target
    values = _values_of(target)
    warnings: tuple[str, ...] = ()
    real = None
    if target.real and (_needs_real(target) or target.kind == "margins"):
        real = read_real(target.real, values)
        warnings = (real.note,)
    elif target.real:
        warnings = (f"target.real {target.real} is not read: nothing in the plan needs it",)
    return ResolvedTarget(values, _margins_of(target, values), _sets_of(target, values, real), real, warnings)


def _check_config(config: DatasetConfig) -> None:
    """BadInput for a number or a word of the config that the plan cannot follow."""
    target, projections = config.target, config.projections
    if config.images < 1:
        raise BadInput(f"images is {config.images}", hint="ask for 1 or more")
    _check_word("target.kind", target.kind, KINDS)
    _check_word("target.co_occurrence", target.co_occurrence, CO_OCCURRENCES)
    _check_word("projections.use", projections.use, PROJECTED)
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
    if _needs_real(target) and not target.real:
        what = f"kind {target.kind!r}" if target.kind in ("matched", "top_up") else "co_occurrence 'real'"
        raise BadInput(f"target.{what} needs a real data set", hint="name its folder in target.real")


def _needs_real(target: Target) -> bool:
    return target.kind in ("matched", "top_up") or target.co_occurrence == "real"


def _values_of(target: Target) -> dict[str, tuple[str, ...]]:
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


def _margins_of(target: Target, values: Values) -> dict[int, np.ndarray]:
    """The shares of ``target.margins`` by the number of the attribute, as `quotas.fitted` takes them."""
    margins = {}
    for name, shares in target.margins.items():
        require_choice("attribute in target.margins", name, values)
        for value in shares:
            require_choice(f"value in target.margins.{name}", value, values[name])
        if lacking := [value for value in values[name] if value not in shares]:
            raise BadInput(
                f"target.margins.{name} has no share for {lacking[0]!r}, which target.{name} names",
                hint="give it one, 0 if need be, or leave the value out",
            )
        _check_shares(f"target.margins.{name}", shares)
        row = np.array([shares[value] for value in values[name]])
        margins[list(values).index(name)] = row / row.sum()
    return margins


def _sets_of(target: Target, values: Values, real: RealSet | None) -> Sets:
    """By finding of a cell, the shares of what stands beside it."""
    if target.co_occurrence == "alone":
        return _alone(values)
    if "finding" not in values:
        raise BadInput(
            f"target.co_occurrence is {target.co_occurrence!r} and target.finding is empty",
            hint="name findings, or use co_occurrence='alone'",
        )
    if target.co_occurrence == "stated":
        return _stated(target, values)
    assert real is not None, "_check_config wants a real set"
    if lacking := [main for main, images in real.together.items() if not images]:
        raise BadInput(
            f"target.real {target.real}: no image counts for {lacking[0]!r}, so what stands beside it is unknown",
            hint="leave the finding out, or use co_occurrence='stated'",
        )
    return real.together


def _alone(values: Values) -> dict[str, dict[Further, float]]:
    """Nothing beside any finding of the plan."""
    return {finding: {(): 1.0} for finding in values.get("finding", ("",))}


def _stated(target: Target, values: Values) -> dict[str, dict[Further, float]]:
    """What ``target.together`` says stands beside each finding, checked; nothing beside one that it does not name."""
    sets = _alone(values)
    for main, shares in target.together.items():
        where = f"target.together.{main}"
        require_choice("finding in target.together", main, values.get("finding", ()))
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


def _check_word(what: str, value: str, choices: Collection[str]) -> None:
    """As `require_choice`, and for a word of older configs BadInput that says the new one."""
    if _RENAMED.get(value) in choices:
        raise BadInput(f"unknown {what} {value!r}", hint=f"write {_RENAMED[value]!r}, as it is called now")
    require_choice(what, value, choices)


def _check_value(name: str, value: str, where: str | None = None) -> None:
    """BadInput, saying ``where``, unless ``value`` is a standard term of the attribute."""
    if name == "age":
        band(value)
    elif name == "finding" and standard_name(value) not in (None, value):
        raise BadInput(
            f"{where or 'target.finding'}: unknown finding {value!r}", hint=f"write {standard_name(value)!r}"
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
