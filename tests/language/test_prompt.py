"""Study -> prompt -> Study is the identity, and free text reads as a radiologist would read it."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner
from hypothesis import assume, example, given, seed, settings
from hypothesis import strategies as st

from gen.core.errors import BadInput
from gen.core.terms import FINDINGS, ZONES
from gen.language.cli import prompt as prompt_command
from gen.language.prompt import read_prompt, token_budget_warning
from gen.language.render import render
from gen.language.study import MIDLINE, Finding, Study

from .phrases import READ_AS, REFUSED, WARNS
from .report_sentences import SENTENCES
from .reports import reports
from .strategies import studies

DENIABLE = [name for name in FINDINGS if name != "No Finding"]


@given(studies())
@example(Study())
def test_reading_inverts_rendering(study):
    reading = read_prompt(render(study))
    assert reading.study == study
    assert reading.prompt == render(study)


@seed(24)
@settings(max_examples=1000)
@given(st.data())
def test_a_study_written_as_a_report_reads_back_equal(data):
    study = data.draw(studies())
    text = data.draw(reports(study))
    assert read_prompt(text).study == study, text


@given(
    st.sampled_from(sorted(set(DENIABLE) - MIDLINE - {"Support Devices"})),
    *[st.tuples(st.sampled_from((None, "left", "right")), st.sampled_from((None, *ZONES)))] * 2,
    st.sampled_from(("{}, none {}", "{}, not {}", "{} not {}", "{} but not {}", "{}. None {}.", "{}; nothing {}")),
)
def test_where_a_finding_is_not_follows_from_where_it_is_or_is_named(name, place, other, form):
    noun = render(Study(findings={name: Finding()})).rstrip(".")
    (side, zone), (no_side, no_zone) = place, other
    assume(no_side or no_zone)
    where = " ".join(filter(None, ("in the", no_side, no_zone, "zone" if no_zone else "lung")))
    text = form.format(" ".join(filter(None, (side, zone and f"{zone} zone", noun))), where)
    follows = bool((side and no_side and side != no_side) or (zone and no_zone and zone != no_zone))
    try:
        reading = read_prompt(text)
    except BadInput as error:  # all of it is denied again
        assert not follows, (text, error)
        return
    assert reading.study.findings == {name: Finding("present", side=side, zone=zone)}, text
    named = [line for line in reading.warnings if (no_side or no_zone) in line and (no_zone or no_side) in line]
    assert follows or named, (text, reading.warnings)


@given(studies(), st.randoms(use_true_random=False))
def test_the_order_of_sentences_does_not_matter(study, rng):
    parts = re.findall(r"[^.]+\.", render(study))
    rng.shuffle(parts)
    assert read_prompt(" ".join(parts)).study == study


@given(
    studies(), st.sampled_from((str.upper, str.lower, str.title)), st.sampled_from((" ", "  ", "\n", "\t", "\u00a0"))
)
def test_case_and_white_space_do_not_matter(study, letters, blank):
    assert read_prompt(letters(render(study)).replace(" ", blank)).study == study


@given(studies(), st.sampled_from((";", "!", " .", "\n\n")))
def test_the_mark_that_ends_a_sentence_does_not_matter(study, mark):
    assert read_prompt(render(study).replace(".", mark)).study == study


@given(st.lists(st.sampled_from(DENIABLE), min_size=2, max_size=6, unique=True), st.sampled_from(("or", "and", "nor")))
def test_a_denied_list_denies_every_member(names, conjunction):
    nouns = [render(Study(findings={name: Finding()})).rstrip(".") for name in names]
    for text in (f"No {', '.join(nouns[:-1])} {conjunction} {nouns[-1]}", f"No {f' {conjunction} '.join(nouns)}"):
        assert read_prompt(text).study == Study(findings={name: Finding("absent") for name in names}), text


@given(st.lists(st.sampled_from(DENIABLE), min_size=2, max_size=4, unique=True))
def test_a_turn_ends_a_denial(names):
    nouns = [render(Study(findings={name: Finding()})).rstrip(".") for name in names]
    study = read_prompt(f"No {' or '.join(nouns[:-1])}, but {nouns[-1]}").study
    assert study == Study(findings={n: Finding("absent") for n in names[:-1]} | {names[-1]: Finding()})


@given(studies(), st.text("bcdfgjkqvwxz", min_size=5, max_size=9).filter(lambda w: len(set(w)) > 3), st.data())
def test_no_word_is_dropped_in_silence(study, nonsense, data):
    words = render(study).split()
    words.insert(data.draw(st.integers(0, len(words))), nonsense)
    try:
        warnings = read_prompt(" ".join(words)).warnings
    except BadInput as error:
        # "Mass. No left pleural bbcdf abnormality." is refused for what it says besides
        warnings = (nonsense if "contradict" in str(error) else str(error),)
    assert any(nonsense in warning for warning in warnings)


@given(st.text(max_size=200))
@example("no \x00 effusion")
@example("- 5 - 6 / / ?? ? and or nor, but")
@example("left- effusion, - no 5- mass -")
@example("no no possible not without effusion ? no")
def test_any_text_is_read_or_refused_in_one_line(text):
    try:
        reading = read_prompt(text)
    except BadInput as error:
        assert "\n" not in str(error)
    else:
        assert read_prompt(reading.prompt).study == reading.study


WORDS = sorted({word for phrase in READ_AS for word in phrase.split()})


@given(st.lists(st.sampled_from(WORDS), max_size=25))
def test_any_jumble_of_known_words_is_read_or_refused(words):
    text = " ".join(words)
    try:
        reading = read_prompt(text)
    except BadInput:
        return
    assert read_prompt(reading.prompt).study == reading.study


@pytest.mark.parametrize(("text", "canonical"), READ_AS.items())
def test_phrases_read_as_meant(text, canonical):
    reading = read_prompt(text)
    assert reading.prompt == canonical
    assert read_prompt(canonical).study == reading.study


@pytest.mark.parametrize(("text", "canonical"), SENTENCES.items())
def test_sentences_of_reports_read_as_a_radiologist_means_them(text, canonical):
    assert read_prompt(text).study == read_prompt(canonical).study


@pytest.mark.parametrize(("text", "said"), WARNS.items())
def test_what_is_lost_is_named(text, said):
    assert any(said in warning for warning in read_prompt(text).warnings)


@pytest.mark.parametrize(("text", "culprit"), REFUSED.items())
def test_what_makes_no_sense_is_refused(text, culprit):
    with pytest.raises(BadInput) as caught:
        read_prompt(text)
    assert culprit in str(caught.value)
    assert "\n" not in str(caught.value)


@given(studies(), st.integers(1, 40))
def test_the_budget_warning_names_exactly_the_sentences_that_do_not_fit(study, limit):
    def count(text: str) -> int:
        return len(text.split()) + 2

    text = render(study)
    warning = token_budget_warning(text, count, limit)
    parts = re.findall(r"[^.]+\.", text)
    kept = [p for i, p in enumerate(parts) if count("".join(parts[: i + 1])) <= limit]
    assert (warning is None) == (kept == parts)
    if warning is not None:
        assert warning.endswith("cut off: " + "".join(parts[len(kept) :]).strip())


def test_the_command_prints_one_json_object_a_line():
    texts = ["63 yo F, AP, moderate R effusion, ETT", "no ptx, foo"]
    result = CliRunner().invoke(prompt_command, [*texts, "--json"])
    assert result.exit_code == 0
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Study.from_json_dict(row["study"]) for row in rows] == [read_prompt(text).study for text in texts]
    assert [row["prompt"] for row in rows] == [read_prompt(text).prompt for text in texts]
    assert all({"study", "prompt", "warnings", "tokens"} == set(row) for row in rows)
    assert "foo" in rows[1]["warnings"][0]


def test_the_command_reads_what_it_can_and_names_what_it_cannot():
    result = CliRunner().invoke(prompt_command, ["effusion", "a cat", "no mass"])
    assert result.exit_code == BadInput.exit_code
    assert "Pleural effusion." in result.stdout
    assert "No mass." in result.stdout
    assert [line for line in result.stderr.splitlines() if "a cat" in line]
    assert "cat" not in result.stdout


@pytest.mark.parametrize("text", ["no evidence of haemothorax", "left empyema", "hydrothorax?"])
def test_a_word_that_says_more_than_its_term_is_named(text: str) -> None:
    assert any("says less" in warning for warning in read_prompt(text).warnings)
