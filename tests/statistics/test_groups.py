"""Groups mean one thing everywhere: every age has one band, every key reads back to what it was made of."""

from __future__ import annotations

import pytest
from hypothesis import given

from gen.language.study import Finding, Study
from gen.statistics.groups import (
    AGE_BANDS,
    ALL,
    age_band,
    attributes_of,
    by_size,
    crossed,
    findings_of,
    groups_of,
    key_of,
    values_of,
)

from ..language.strategies import studies


def test_every_age_has_the_band_that_names_it() -> None:
    for years in range(121):
        low, _, high = age_band(years).removesuffix("+").partition("-")
        assert int(low) <= years <= (int(high) if high else 120)
    assert {age_band(years) for years in range(121)} == set(AGE_BANDS)
    assert age_band(17.9) == "0-17"


@pytest.mark.parametrize(
    ("study", "band"),
    [
        (Study(age=79), "60-79"),
        (Study(age=80), "80+"),
        (Study(age_group="child"), "0-17"),
        (Study(age_group="adult"), None),
        (Study(), None),
    ],
)
def test_a_child_of_unknown_age_is_in_the_youngest_band(study: Study, band: str | None) -> None:
    assert attributes_of(study).get("age") == band


@given(studies())
def test_a_key_reads_back_to_its_values_and_every_crossing_is_listed_once(study: Study) -> None:
    attributes = attributes_of(study)
    assert values_of(key_of(attributes)) == attributes
    keys = crossed(attributes)
    assert len(set(keys)) == len(keys) == 2 ** len(attributes)
    assert sorted(keys, key=by_size)[0] == keys[0] == ALL
    assert groups_of(study) == tuple(key for key in keys if key == ALL or "|" not in key)
    assert all(values_of(key).items() <= attributes.items() for key in keys)


def test_an_image_is_in_the_groups_that_its_study_names() -> None:
    findings = {"Mass": Finding(), "Edema": Finding(), "Nodule": Finding("absent")}
    study = Study(age=64, sex="F", race="Asian", view="PA", findings=findings)
    assert groups_of(study) == (ALL, "sex=F", "age=60-79", "race=Asian", "view=PA")
    assert findings_of(study) == ("finding=Edema", "finding=Mass")
    assert groups_of(Study()) == (ALL,)
