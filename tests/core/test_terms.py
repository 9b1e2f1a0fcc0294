"""The standard terms: complete, and without duplicates."""

from __future__ import annotations

import pytest

from gen.core import terms
from gen.core.errors import BadInput


def test_findings_hold_both_lists_once():
    assert len(terms.CHEXPERT_14) == len(terms.NIH_14) == 14
    assert len(set(terms.FINDINGS)) == len(terms.FINDINGS)
    assert set(terms.FINDINGS) == {*terms.CHEXPERT_14, *terms.NIH_14, *terms.FURTHER}


def test_every_mapping_ends_in_standard_names():
    assert set(terms.STANDARD_NAMES.values()) <= set(terms.FINDINGS)
    assert not set(terms.STANDARD_NAMES) & set(terms.FINDINGS)


@pytest.mark.parametrize(("name", "term"), [*((name, name) for name in terms.FINDINGS), *terms.STANDARD_NAMES.items()])
def test_a_name_is_known_in_any_letter_case_and_with_any_spaces(name: str, term: str):
    for spelling in (name, name.lower(), name.upper(), name.replace(" ", "_"), f" {name.replace(' ', '  ')} "):
        assert terms.standard_name(spelling) == term


def test_what_is_no_finding_has_no_standard_name():
    assert [terms.standard_name(name) for name in ("", "xylophone", "Edema;Nodule", "Edema|Nodule")] == [None] * 4


@pytest.mark.parametrize("name", terms.FINDINGS)
def test_a_slip_of_spelling_is_guessed(name):
    slip = name[:2] + name[3:]
    assert terms.did_you_mean(slip.lower(), terms.FINDINGS) == name


def test_nothing_near_means_no_guess():
    assert terms.did_you_mean("xylophone", terms.FINDINGS) is None


@pytest.mark.parametrize("name", terms.FINDINGS)
def test_a_choice_is_let_through_and_a_slip_is_refused_with_it(name):
    terms.require_choice("finding", name, terms.FINDINGS)
    slip = name[:2] + name[3:]
    with pytest.raises(BadInput) as refusal:
        terms.require_choice("finding", slip, terms.FINDINGS)
    assert str(refusal.value) == f"unknown finding {slip!r}; did you mean {name!r}?"


def test_where_nothing_is_near_the_hint_is_what_there_is():
    assert terms.suggestion("xylophone", terms.VIEWS) == "use PA, AP, lateral"
    assert terms.suggestion("xylophone", terms.VIEWS, "look it up") == "look it up"
    assert terms.suggestion("latral", terms.VIEWS, "look it up") == "did you mean 'lateral'?"
    assert terms.suggestion("PA", ()) is None
