"""Two spellings, one grammar; what is not known, not possible or said twice is refused with a suggestion."""

from __future__ import annotations

import numpy as np
import pytest

from drr.insert.request import KINDS, LesionRequest, insertable, kind_of, parse_lesion, resolve
from gen.core.errors import BadInput
from gen.core.terms import DEVICES, FINDINGS, SEVERITIES, SIDES, ZONES


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("effusion right moderate", LesionRequest("Pleural Effusion", side="right", severity="moderate")),
        ("large left pneumothorax", LesionRequest("Pneumothorax", side="left", severity="severe")),
        ("nodule right upper", LesionRequest("Nodule", side="right", zone="upper")),
        ("central line right", LesionRequest("Support Devices", "central venous catheter", side="right")),
        ("retained needle", LesionRequest("Retained Foreign Object", "needle")),
        ("Left-sided pneumothorax, severe", LesionRequest("Pneumothorax", side="left", severity="severe")),
        ("right upper lobe consolidation", LesionRequest("Consolidation", side="right", zone="upper")),
        ("both effusion supine", LesionRequest("Pleural Effusion", side="bilateral", position="supine")),
        ("Nodule/Mass", LesionRequest("Nodule")),
        ("pulmonary oedema", LesionRequest("Edema")),
    ],
)
def test_loose_words_are_read(text: str, expected: LesionRequest) -> None:
    assert parse_lesion(text) == expected


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.device or kind.finding)
def test_the_colon_spelling_and_loose_words_in_any_order_say_the_same(kind) -> None:
    name = kind.device or kind.finding
    qualities = [choices[-1] for choices in (kind.sides, kind.severities, kind.zones) if choices]
    request = parse_lesion(f"{name}:{','.join(qualities)}")
    assert request == parse_lesion(" ".join([*reversed(qualities), name.upper()]))
    assert (request.finding, request.device) == (kind.finding, kind.device)
    assert [value for value in (request.side, request.severity, request.zone) if value] == qualities


def test_an_unknown_word_is_named_with_a_suggestion_and_what_can_be_put_in() -> None:
    with pytest.raises(BadInput, match=r"'efusion'.*did you mean 'effusion'.*Pneumothorax.*pacemaker"):
        parse_lesion("efusion right")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("left right nodule", "both left and right"),
        ("mild large mass", "both mild and severe"),
        ("nodule mass", "both Nodule and Mass"),
        ("right upper", "names no finding"),
        ("", "names no finding"),
        ("ett left", "cannot be left"),
        ("edema right", "cannot be right"),
        ("cardiomegaly lower", "cannot be lower"),
        ("bilateral pacemaker", "cannot be bilateral"),
        ("severe chest tube", "cannot be severe"),
        ("hernia", "Hernia cannot be put into a CT"),
        ("nasogastric tube", "nasogastric tube cannot be put into a CT"),
        ("effusion:absent", "is absent, and a CT can only be given what is present"),
        ("Pneumothorax:uncertain", "is uncertain, and a CT can only be given what is present"),
    ],
)
def test_contradictions_and_impossible_wishes_are_refused(text: str, match: str) -> None:
    with pytest.raises(BadInput, match=match):
        parse_lesion(text)


def test_every_standard_term_is_understood_even_when_it_cannot_be_put_in() -> None:
    for name in (*FINDINGS, *DEVICES):
        try:
            request = parse_lesion(name)
        except BadInput as error:
            assert "cannot be put into a CT" in str(error)
        else:
            assert (request.device or request.finding) in insertable()


def test_what_is_left_open_is_drawn_from_the_generator_and_what_is_said_stays() -> None:
    request = parse_lesion("nodule left")
    drawn = {resolve(request, np.random.default_rng(seed)) for seed in range(60)}
    assert {each.side for each in drawn} == {"left"}
    assert {each.severity for each in drawn} == set(SEVERITIES)
    assert {each.zone for each in drawn} == set(ZONES)
    assert resolve(request, np.random.default_rng(3)) == resolve(request, np.random.default_rng(3))


def test_both_sides_are_only_drawn_where_there_is_no_other_choice() -> None:
    sides = {resolve(LesionRequest("Nodule"), np.random.default_rng(seed)).side for seed in range(40)}
    assert sides == set(SIDES) - {"bilateral"}
    assert resolve(LesionRequest("Edema"), np.random.default_rng(0)).side == "bilateral"
    assert resolve(LesionRequest("Cardiomegaly"), np.random.default_rng(0)).side is None


def test_a_request_that_was_not_parsed_is_checked_when_it_is_used() -> None:
    with pytest.raises(BadInput, match="Emphysema cannot be put into a CT"):
        kind_of(LesionRequest("Emphysema"))
