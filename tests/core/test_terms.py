"""The standard terms: complete, and without duplicates."""

from __future__ import annotations

import pytest

from gen.core import terms


def test_findings_hold_both_lists_once():
    assert len(terms.CHEXPERT_14) == len(terms.NIH_14) == 14
    assert len(set(terms.FINDINGS)) == len(terms.FINDINGS)
    assert set(terms.FINDINGS) == {*terms.CHEXPERT_14, *terms.NIH_14, *terms.FURTHER}


def test_every_mapping_ends_in_standard_names():
    assert set(terms.STANDARD_NAMES.values()) <= set(terms.FINDINGS)
    assert not set(terms.STANDARD_NAMES) & set(terms.FINDINGS)


@pytest.mark.parametrize("name", terms.FINDINGS)
def test_a_slip_of_spelling_is_guessed(name):
    slip = name[:2] + name[3:]
    assert terms.did_you_mean(slip.lower(), terms.FINDINGS) == name


def test_nothing_near_means_no_guess():
    assert terms.did_you_mean("xylophone", terms.FINDINGS) is None
