"""Who is on the radiograph and how it was taken: ages, sex, race, view and position out of the items of a text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gen.core.errors import BadInput
from gen.core.terms import ADULT_FROM_YEARS, OLDEST_YEARS
from gen.language.words import Item

YEARS = frozenset({"year", "years", "yo", "yr", "yrs", "y"})
# Units that count as an age only with "old" or "of age" behind them: a follow-up is in 6 weeks, too.
PARTS_OF_A_YEAR = {"month": 12, "mo": 12, "mth": 12, "week": 52, "wk": 52, "day": 365, "hour": 8766}
NOT_AN_AGE = frozenset({"ago", "prior", "earlier", "later", "before", "after", "history", "follow", "previously"})
BEFORE_AN_AGE = frozenset({"age", "aged"})
SEX_KINDS = frozenset({"sex", "child sex"})
ABOUT_THE_PATIENT = SEX_KINDS | {"race", "age group", "newborn", "age"}
ABOUT_THE_IMAGE = frozenset({"view", "position", "portable"})
AFTER_A_BARE_AGE = ABOUT_THE_IMAGE | {"race", "comma", "slash", "turn", "locative", "colon", "and"}


@dataclass(frozen=True)
class Patient:
    """The fields of a Study that are not findings or devices, and warnings about them."""

    fields: dict[str, Any]
    warnings: tuple[str, ...]


def settle(items: Sequence[Item]) -> list[Item]:
    """The sentence with its ages and a bare "lateral" recognised: items that only their neighbours explain."""
    settled: list[Item] = []
    i = 0
    while i < len(items):
        item, end, age = items[i], i + 1, None
        if item.kind == "number":
            age, end = _age_at(items, i)
        if age is not None:
            settled.append(Item("age", age, " ".join(x.text for x in items[i:end])))
        elif item.text == "lateral" and _stands_alone(items, i):
            settled.append(replace(item, kind="view", value="lateral"))
        elif item.kind == "number":
            settled.append(replace(item, kind="unknown"))
            end = i + 1
        else:
            settled.append(item)
        i = end
    return settled


def read_patient(items: Iterable[Item]) -> Patient:
    """Age, age group, sex, race, view and position. Raises BadInput where two of a kind or an age are impossible."""
    items = list(items)
    warnings: list[str] = []
    values = {kind: [x.value for x in items if x.kind == kind] for kind in ("age", "race", "view", "position")}
    age = _only_one("ages", values["age"] + [0 for x in items if x.kind == "newborn"], "")
    sex = _only_one("sexes", [x.value for x in items if x.kind in SEX_KINDS], "; an image shows one patient")
    race = _only_one("races", values["race"], "; a prompt takes one")
    views = values["view"]
    if "lateral" in views and (len(set(views)) > 1 or any(x.text == "frontal" for x in items)):
        # A report of two images: the prompt is of one.
        views = [v for v in views if v != "lateral"]
        warnings.append("'lateral' is left out: one image has one view, and a frontal one is named too")
    view = _only_one("views", views, "; one image has one view, so ask for each by itself")
    position = _only_one("positions", values["position"], "")
    groups = [x.value for x in items if x.kind == "age group"] + ["child" for x in items if x.kind == "child sex"]
    group = _only_one("age groups", groups, "")
    if age is not None:
        if not 0 <= age <= OLDEST_YEARS:
            raise BadInput(f"an age of {age} years is implausible", hint=f"ages run from 0 to {OLDEST_YEARS} years")
        if group is not None and (group == "child") != (age < ADULT_FROM_YEARS):
            raise BadInput(f"{age} years old and {group!r} contradict each other", hint="leave one of them out")
        group = None
    if any(x.kind == "portable" for x in items):
        if view in (None, "AP"):
            view = "AP"  # a portable frontal film is taken from the front
        else:
            warnings.append(f"'portable' is left out: the view is {view}")
    fields = {"age": age, "age_group": group, "sex": sex, "race": race, "view": view, "position": position}
    return Patient(fields, tuple(warnings))


def _age_at(items: Sequence[Item], i: int) -> tuple[int | None, int]:
    """(age in whole years, index after it) when the number at `i` is an age, else (None, i + 1)."""
    number = items[i].value

    def text(j: int) -> str:
        return items[j].text if 0 <= j < len(items) else ""

    def kind(j: int) -> str:
        return items[j].kind if 0 <= j < len(items) else "end"

    end = i + 2
    said_old = True
    if text(end) in ("old", "o"):
        end += 1
    elif text(end) == "of" and text(end + 1) == "age":
        end += 2
    elif text(end) == "of age":
        end += 1
    else:
        said_old = False
    unit = text(i + 1)
    if unit in YEARS and text(end) not in NOT_AN_AGE:
        return int(number // 1), end
    if said_old and unit.rstrip("s") in PARTS_OF_A_YEAR:
        return int(number // PARTS_OF_A_YEAR[unit.rstrip("s")]), end
    before = i - 1
    while text(before) in (":", "is", "of", "="):
        before -= 1
    if text(before) in BEFORE_AN_AGE:
        return int(number // 1), i + 1
    after = i + 1
    while kind(after) in ("slash", "race"):
        after += 1
    if kind(after) in SEX_KINDS:
        return int(number // 1), i + 1
    before = i - 1
    while kind(before) in ("slash", "comma") or text(before) == "–":
        before -= 1
    if kind(before) in SEX_KINDS and kind(i + 1) in AFTER_A_BARE_AGE | {"end"}:
        return int(number // 1), i + 1
    return None, i + 1


def _stands_alone(items: Sequence[Item], i: int) -> bool:
    """Whether the word at `i` has no neighbour that it could describe, so that it can only be the view."""
    alone = ABOUT_THE_PATIENT | ABOUT_THE_IMAGE | {"comma", "and", "slash", "number", "turn"}
    headed = i > 1 and items[i - 1].kind == "colon" and items[i - 2].kind not in ("finding", "device")
    return (i == 0 or headed or items[i - 1].kind in alone) and (i + 1 == len(items) or items[i + 1].kind in alone)


def _only_one(what: str, values: list[Any], why: str) -> Any:
    different = list(dict.fromkeys(values))
    if len(different) > 1:
        raise BadInput(f"two {what} are given: {different[0]} and {different[1]}{why}")
    return different[0] if different else None
