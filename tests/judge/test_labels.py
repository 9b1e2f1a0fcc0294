"""What a row says of an image, and what it does not: a missing label is never a negative."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen.core.errors import BadInput
from gen.core.manifest import Row
from gen.core.terms import FINDINGS, NIH_14
from gen.judge.labels import finding_states, judged_findings, targets_of, without_sources

NIH = "nih-chestxray14"
ILLNESSES = [name for name in FINDINGS if name not in ("No Finding", "Support Devices")]


def row(source: str = "x", findings: tuple[str, ...] = (), absent: tuple[str, ...] = (), **more: object) -> Row:
    return Row(file=Path("image.png"), file_name="image.png", source=source, findings=findings, absent=absent, **more)


@given(st.sets(st.sampled_from(ILLNESSES), min_size=1, max_size=4), st.sets(st.sampled_from(ILLNESSES), max_size=4))
def test_only_what_is_said_is_known_where_a_source_is_not_complete(present: set[str], absent: set[str]) -> None:
    absent -= present
    states = finding_states(row(findings=tuple(present), absent=tuple(absent)), [NIH])
    said = dict.fromkeys(present, True) | dict.fromkeys(absent, False)
    assert {name: states[name] for name in said} == said
    assert set(states) - set(said) <= {"No Finding"}


@given(st.sets(st.sampled_from(NIH_14), min_size=1, max_size=5))
def test_a_complete_source_says_all_of_its_findings_and_nothing_beyond(present: set[str]) -> None:
    states = finding_states(row(NIH, tuple(present)), [NIH])
    assert states == {name: name in present for name in ("No Finding", *NIH_14)}
    assert finding_states(row(NIH), [NIH]) == {}  # a row without a label says nothing


def test_a_normal_image_has_none_of_the_images_findings_and_may_be_of_a_covid_patient() -> None:
    states = finding_states(row(findings=("No Finding",)), [])
    assert states.pop("No Finding")
    assert not any(states.values())
    assert "Pneumonia" in states
    assert "COVID-19" not in states
    assert finding_states(row(findings=("COVID-19",)), []) == {"COVID-19": True}


def test_uncertain_is_unknown() -> None:
    assert "Edema" not in finding_states(row(findings=("Mass",), uncertain=("Edema",)), [])


def test_a_finding_that_one_hospital_has_and_another_lacks_gets_no_head() -> None:
    """COVID-19 in one place only, and "no COVID-19" in another: a head for it would learn the places."""
    rows = [row("a", ("COVID-19",))] * 9 + [row("b", absent=("COVID-19",))] * 9
    rows += [row("b", ("Edema",))] * 5 + [row("b", absent=("Edema",))] * 5
    assert judged_findings(rows, [], 5) == ["Edema"]
    assert judged_findings(rows, [], 6) == []
    assert judged_findings([*rows, *[row("a", absent=("COVID-19",))] * 5], [], 5) == ["Edema", "COVID-19"]


def test_targets_are_one_zero_or_unknown() -> None:
    rows = [
        row(NIH, ("Mass",), sex="F", view="AP Supine", age=17.5),
        row("x", sex="M", view="PA", age=18.0),
        row("x", notes="Paediatric patient (1 to 5 years)"),
        row("x"),
    ]
    targets = targets_of(rows, ["Mass", "Edema"], [NIH])
    unknown = np.nan
    expected = [[1, 0, 1, 1, 1], [unknown, unknown, 0, 0, 0], [unknown] * 4 + [1], [unknown] * 5]
    np.testing.assert_array_equal(targets.binary, expected)
    np.testing.assert_array_equal(targets.age, [17.5, 18, unknown, unknown])


def test_a_source_that_is_left_out_is_left_out_everywhere_and_must_be_there() -> None:
    splits = {"train": [row("a"), row("b")], "validation": [row("a")], "test": [row("b")]}
    kept = without_sources(splits, ["b"])
    assert [len(rows) for rows in kept.values()] == [1, 1, 0]
    with pytest.raises(BadInput, match="no row for validation"):
        without_sources(splits, ["a"])
    with pytest.raises(BadInput, match="did you mean 'wingspan'"):
        without_sources({"train": [row("wingspan")], "validation": []}, ["wingspam"])
