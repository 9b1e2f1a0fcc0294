"""From what was typed to what a model gets."""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen.core.errors import BadInput
from gen.core.terms import FINDINGS, SEVERITIES, SIDES, STATES
from gen.language.render import render
from gen.language.study import Finding, Study
from gen.model.sampling.requests import Request, flags_to_study, parse_finding, read_request

KNOWN = {"canonical_language": True}


def ask(text: str, *, capabilities: dict | None = KNOWN, raw: bool = False, **flags: object) -> Request:
    given = {"view": None, "age": None, "sex": None, "race": None, "findings": ()} | flags
    study = flags_to_study(**given)
    return read_request(
        text, study, capabilities=capabilities, count_tokens=lambda text: len(text.split()), limit=20, raw=raw
    )


def refused(text: str, **options: object) -> str:
    with pytest.raises(BadInput) as refusal:
        ask(text, **options)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_a_model_of_the_canonical_language_gets_the_canonical_prompt() -> None:
    request = ask("63 yo F, AP, moderate right effusion")
    assert request.prompt == "63 year old female. AP view. Moderate right pleural effusion."
    assert request.study == Study(
        age=63, sex="F", view="AP", findings={"Pleural Effusion": Finding("present", "right", "moderate")}
    )


def test_any_other_model_gets_the_text_as_typed_with_the_flags_after_it() -> None:
    for capabilities in (None, {}, {"canonical_language": False}):
        request = ask(" eff. on the right? ", capabilities=capabilities, view="PA", findings=["Cardiomegaly"])
        assert request.prompt == "eff. on the right? PA view. Cardiomegaly."
        assert request.warnings == ()
    assert ask("a cat", raw=True) == Request("a cat", None, ())
    assert ask("a cat", capabilities=None, view="PA") == Request("a cat PA view.", None, ())


def test_a_text_that_goes_as_typed_is_read_for_labels_and_contradictions_all_the_same() -> None:
    for options in ({"capabilities": None}, {"capabilities": {}}, {"raw": True}):
        request = ask("63 yo F, mod. right effusion!", view="AP", **options)
        assert request.prompt == "63 yo F, mod. right effusion! AP view."
        assert request.study is not None
        assert (request.study.age, request.study.view) == (63, "AP")
        assert request.study.findings["Pleural Effusion"].side == "right"
        assert "--age 40 contradicts the prompt, which says 63" in refused("63 yo F", age=40, **options)
    assert ask("", capabilities=None, view="AP").study == Study(view="AP")


def test_what_a_model_says_that_it_was_never_shown_is_warned_of_whatever_its_language() -> None:
    shown = {"canonical_language": False, "findings": {"Pneumonia": 3}}
    [warning] = ask("hernia", capabilities=shown).warnings
    assert warning == "the model was never shown the finding 'Hernia': it will have no reliable effect"
    assert ask("a cat with a hernia of sorts, sat on mats", capabilities=None).warnings == ()


def test_flags_alone_make_a_prompt_and_the_same_as_the_text_would() -> None:
    by_flags = ask("", age=63, sex="F", view="AP", findings=["Pleural Effusion:right,moderate"])
    assert by_flags.study == ask("63 year old female. AP view. Moderate right pleural effusion.").study


def test_flags_add_to_the_text_and_may_repeat_it() -> None:
    request = ask("63 year old female. Pleural effusion.", age=63, view="PA", findings=["Pleural Effusion:right"])
    assert request.prompt == "63 year old female. PA view. Right pleural effusion."
    assert ask("Child.", age=7).prompt == ask("7 year old.").prompt


@pytest.mark.parametrize(
    ("text", "flags", "culprit"),
    [
        ("63 year old female.", {"age": 40}, "--age 40 contradicts the prompt, which says 63"),
        ("63 year old male.", {"sex": "F"}, "--sex F contradicts the prompt, which says M"),
        ("AP view.", {"view": "lateral"}, "--view lateral contradicts the prompt, which says AP"),
        ("Child.", {"age": 40}, "--age 40 contradicts the prompt, which says child"),
        ("Adult.", {"age": 4}, "--age 4 contradicts the prompt, which says adult"),
        ("Asian female.", {"race": "White"}, "--race White contradicts the prompt, which says Asian"),
        (
            "Right pleural effusion.",
            {"findings": ["Pleural Effusion:left"]},
            "--finding Pleural Effusion: present, left contradicts the prompt, which says present, right",
        ),
        (
            "No pneumothorax.",
            {"findings": ["Pneumothorax"]},
            "--finding Pneumothorax: present contradicts the prompt, which says absent",
        ),
    ],
)
def test_a_flag_that_contradicts_the_prompt_is_named(text: str, flags: dict, culprit: str) -> None:
    assert culprit in refused(text, **flags)


def test_a_finding_beside_a_normal_chest_is_a_contradiction() -> None:
    assert "Pneumothorax" in refused("Normal chest.", findings=["Pneumothorax"])


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_an_empty_prompt_is_refused(text: str) -> None:
    assert "empty" in refused(text)
    assert "empty" in refused(text, capabilities=None)
    assert "empty" in refused(text, raw=True)


@pytest.mark.parametrize(
    "text",
    ["a cat on a sofa", "Mann, 63 Jahre, Pleuraerguss rechts", "<script>alert(1)</script>", "????", "0", "\x00\x01"],
)
def test_a_prompt_about_something_else_or_in_another_language_or_of_markup_is_refused(text: str) -> None:
    assert refused(text)


@given(st.sampled_from(FINDINGS), st.sampled_from(STATES), st.sampled_from(SIDES), st.sampled_from(SEVERITIES))
def test_a_finding_is_read_in_any_case_and_order(name: str, state: str, side: str, severity: str) -> None:
    for words in (f"{state},{side},{severity}", f"{severity.upper()}, {side} ,{state}"):
        try:
            read = parse_finding(f"{name.lower()}:{words}")
        except BadInput:  # such as a severity of what is absent
            with pytest.raises(BadInput):
                render(Study(findings={name: Finding(state, side, severity)}))
        else:
            assert read == (name, Finding(state, side, severity))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Cardiomegali", "unknown finding 'Cardiomegali'; did you mean 'Cardiomegaly'?"),
        ("xyzzy", "unknown finding 'xyzzy'; use No Finding, "),
        ("", "unknown finding ''"),
        ("Nodule:rihgt", "unknown word 'rihgt' in finding 'Nodule:rihgt'; did you mean 'right'?"),
        ("Nodule:qqq", "unknown word 'qqq' in finding 'Nodule:qqq'; use present, absent"),
        ("Nodule:left,right", "finding 'Nodule:left,right' says both left and right"),
    ],
)
def test_a_misspelt_finding_is_named_with_a_suggestion(text: str, message: str) -> None:
    with pytest.raises(BadInput) as refusal:
        parse_finding(text)
    assert str(refusal.value).startswith(message)


def test_a_finding_given_twice_in_two_ways_is_refused_and_twice_in_one_way_is_not() -> None:
    assert "Nodule is given twice: present, left and present, right" in refused(
        "", findings=["Nodule:left", "Nodule:right"]
    )
    assert ask("", findings=["Nodule:left", "nodule:left"]).prompt == "Left nodule."


def test_a_prompt_over_the_budget_is_warned_of_with_what_is_cut() -> None:
    long = "63 year old. " + " ".join(
        f"No {name}." for name in FINDINGS if name not in ("No Finding", "Support Devices")
    )
    for request in (ask(long), ask(long, raw=True)):
        [warning] = [warning for warning in request.warnings if "token" in warning]
        assert request.prompt.split()[-2] in warning


def test_the_words_on_the_style_count_among_the_tokens() -> None:
    style = ["source a", "high sharpness"]
    asked = partial(read_request, "Pneumonia.", Study(), capabilities=None, style=style)
    assert asked(count_tokens=lambda text: len(text.split()), limit=5).warnings == ()
    [line] = asked(count_tokens=lambda text: len(text.split()), limit=4).warnings
    assert line.endswith("5 tokens and the model reads 4; cut off: Source a, high sharpness.")


def test_what_the_model_was_never_shown_is_warned_of() -> None:
    [warning] = ask("Hernia.", capabilities=KNOWN | {"findings": {"Pneumonia": 3}}).warnings
    assert warning == "the model was never shown the finding 'Hernia': it will have no reliable effect"


def test_an_unknown_word_is_warned_of_and_not_dropped_in_silence() -> None:
    request = ask("Pneumonia. Cardiomegali.")
    assert any("Cardiomegaly" in warning or "cardiomegaly" in warning for warning in request.warnings)


def test_requests_are_values() -> None:
    assert ask("Pneumonia.") == ask("pneumonia")
    assert len({ask("Pneumonia."), ask("pneumonia"), ask("Nodule.")}) == 2
    assert dataclasses.replace(ask("Nodule."), warnings=()).prompt == "Nodule."
