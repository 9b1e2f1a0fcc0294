"""Groups of patients and views: one table of age bands, one grammar of keys, so that tables can be laid side by side.

A key is "all", or attributes with their values: "sex=F", "age=40-59|view=PA".
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gen.language.study import Study

ALL = "all"
ATTRIBUTES = ("sex", "age", "race", "view")  # in the order of a key
# By the first whole year of each. Fixed: a group means the same whatever a plan asks for.
AGE_BANDS = {"0-17": 0, "18-39": 18, "40-59": 40, "60-79": 60, "80+": 80}


def age_band(years: float) -> str:
    """The band of AGE_BANDS that an age of ``years``, 0 or more, falls into."""
    return next(name for name, first in reversed(AGE_BANDS.items()) if years >= first)


def attributes_of(study: Study) -> dict[str, str]:
    """The known ones of ATTRIBUTES, the age as a band; a child of unknown age is in the youngest."""
    band = age_band(study.age) if study.age is not None else age_band(0) if study.is_child else None
    known = {"sex": study.sex, "age": band, "race": study.race, "view": study.view}
    return {name: value for name, value in known.items() if value is not None}


def key_of(attributes: Mapping[str, str]) -> str:
    """The key of those who have all of ``attributes``, in their order."""
    return "|".join(f"{name}={value}" for name, value in attributes.items()) or ALL


def values_of(key: str) -> dict[str, str]:
    """The attributes of a key: {"sex": "F", "view": "PA"} of "sex=F|view=PA", none of "all"."""
    return {} if key == ALL else dict(part.split("=", 1) for part in key.split("|"))


def groups_of(study: Study) -> tuple[str, ...]:
    """The keys of the groups of one attribute that a study is in, after "all"."""
    return (ALL, *(key_of({name: value}) for name, value in attributes_of(study).items()))


def findings_of(study: Study) -> tuple[str, ...]:
    """The keys of the groups of one present finding that a study is in: "finding=Edema"."""
    present = (name for name, finding in study.findings.items() if finding.state == "present")
    return tuple(key_of({"finding": name}) for name in present)


def crossed(attributes: Mapping[str, str]) -> list[str]:
    """The keys of all groups of any number of ``attributes`` of ATTRIBUTES, from "all" to the smallest."""
    known = [name for name in ATTRIBUTES if name in attributes]
    return [
        key_of({name: attributes[name] for name in chosen})
        for count in range(len(known) + 1)
        for chosen in combinations(known, count)
    ]


def by_size(key: str) -> tuple[bool, int, str]:
    """Sort keys: "all", then those of one attribute, of two, and so on, each by name."""
    return key != ALL, key.count("|"), key
