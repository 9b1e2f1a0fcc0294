"""The lexicon: every term can be written and read, and what it names are standard terms."""

from __future__ import annotations

import pytest

from gen.core.terms import DEVICES, FINDINGS, RACES, SIDES, VIEWS, ZONES
from gen.language import findings as lexicon
from gen.language.prompt import read_prompt
from gen.language.study import MIDLINE, Finding, Study

EVERY_NOUN = [
    (name, noun)
    for table in (lexicon.NOUNS, lexicon.SYNONYMS)
    for name, nouns in table.items()
    for noun in nouns.split("|")
]
EVERY_DEVICE = [
    (device, noun)
    for table in (lexicon.DEVICE_NOUNS, lexicon.DEVICE_SYNONYMS)
    for device, nouns in table.items()
    for noun in nouns.split("|")
]


def test_the_tables_cover_exactly_the_standard_terms():
    assert set(lexicon.NOUNS) == set(FINDINGS) - {"No Finding"}
    assert set(lexicon.SYNONYMS) <= set(FINDINGS)
    assert set(lexicon.DEVICE_NOUNS) == set(DEVICES)
    assert set(lexicon.RACE_WORDS) == set(RACES)
    assert set(lexicon.VIEW_WORDS) == set(VIEWS)
    assert {side for side, _ in lexicon.PLACES} == {None, *SIDES}
    assert {zone for _, zone in lexicon.PLACES} == {None, *ZONES}
    assert {name for rows in lexicon.READINGS.values() for name, _ in rows} <= set(FINDINGS)


@pytest.mark.parametrize(("name", "noun"), EVERY_NOUN)
def test_every_word_for_a_finding_reads_as_it_and_nothing_else(name, noun):
    for text, state in ((noun, "present"), (f"No {noun}.", "absent"), (f"{noun.upper()}?", "uncertain")):
        assert read_prompt(text).study == Study(findings={name: Finding(state)}), text


@pytest.mark.parametrize(("device", "noun"), EVERY_DEVICE)
def test_every_word_for_a_device_reads_as_it_and_nothing_else(device, noun):
    assert read_prompt(f"{noun} in place.").study == Study(devices=(device,))


@pytest.mark.parametrize(("place", "words"), lexicon.PLACES.items())
def test_every_word_for_a_place_places_a_finding(place, words):
    for word in words.split("|"):
        assert read_prompt(f"{word} consolidation").study.findings["Consolidation"] == Finding(
            side=place[0], zone=place[1]
        )


@pytest.mark.parametrize(("severity", "words"), lexicon.SEVERITY_WORDS.items())
def test_every_word_for_a_severity_grades_a_finding(severity, words):
    for word in words.split("|"):
        assert read_prompt(f"{word} pneumothorax").study.findings["Pneumothorax"] == Finding(severity=severity)


def test_the_kinds_are_a_forest_of_standard_findings():
    assert {*lexicon.PARENTS, *lexicon.PARENTS.values(), *MIDLINE} <= set(FINDINGS)
    for name in lexicon.PARENTS:
        chain = [name]
        while chain[-1] in lexicon.PARENTS:
            chain.append(lexicon.PARENTS[chain[-1]])
            assert len(set(chain)) == len(chain)
