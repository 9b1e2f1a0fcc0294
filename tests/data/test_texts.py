"""Captions of a split: true to the labels, varied by seed, left out as often as asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen.core.errors import BadInput
from gen.core.manifest import Row
from gen.data.texts import Texts, texts_of
from gen.language.prompt import read_prompt
from gen.language.render import render
from gen.language.study import Finding, Study

ROWS = [
    Row(
        file=Path("/a.png"),
        file_name="a.png",
        age=63,
        sex="F",
        view="AP Supine",
        findings=("Pneumonia",),
        absent=("Nodule",),
        prompt="as it stands",
    ),
    Row(file=Path("/b.png"), file_name="b.png", sex="M", findings=("No Finding",), prompt="the second"),
]
STUDY = Study(
    age=63,
    sex="F",
    view="AP",
    position="supine",
    findings={"Pneumonia": Finding(), "Nodule": Finding("absent")},
)


def texts(source: str = "study", caption: float = 0.0, fact: float = 0.0) -> Texts:
    return texts_of(ROWS, source, caption, fact)


@given(st.integers(0, 2**64 - 1))
def test_without_dropout_a_caption_says_the_whole_study(seed: int) -> None:
    assert read_prompt(texts().draw(0, seed)).study == STUDY


@given(st.integers(0, 2**64 - 1))
def test_with_dropout_it_says_part_of_it_and_nothing_else(seed: int) -> None:
    study = read_prompt(texts(fact=0.3).draw(0, seed) or "Patient.").study
    assert study.age in (63, None)
    assert study.sex in ("F", None)
    assert (study.view, study.position) in (("AP", "supine"), (None, None))
    assert dict(study.findings) in (dict(STUDY.findings), {})


def test_facts_and_captions_are_left_out_as_often_as_asked() -> None:
    drawn = [texts(caption=0.2).draw(0, seed) for seed in range(2000)]
    assert drawn.count("") == pytest.approx(400, abs=80)
    studies = [read_prompt(texts(fact=0.2).draw(0, seed) or "Patient.").study for seed in range(1000)]
    for missing in ("age", "sex", "view"):
        assert sum(getattr(study, missing) is None for study in studies) == pytest.approx(200, abs=60)
    assert sum(not study.findings for study in studies) == pytest.approx(200, abs=60)


def test_wording_varies_with_the_seed_and_only_with_it() -> None:
    assert len({texts().draw(0, seed) for seed in range(200)}) > 40
    assert texts().draw(0, 7) == texts().draw(0, 7)


def test_fixed_captions_never_change_and_are_complete() -> None:
    assert texts(caption=1.0, fact=1.0).fixed() == texts().fixed()
    assert read_prompt(texts().fixed()[0]).study == STUDY


def test_prompts_stand_as_they_are_but_for_dropout() -> None:
    assert texts("prompt", fact=1.0).draw(0, 3) == "as it stands"
    assert texts("prompt").fixed() == ["as it stands", "the second"]
    assert texts("prompt", caption=1.0).draw(0, 3) == ""


def test_an_unknown_source_and_rows_without_a_prompt_are_refused() -> None:
    with pytest.raises(BadInput, match="captions is 'report'; use study or prompt"):
        texts_of(ROWS, "report", 0, 0)
    silent = [*ROWS, Row(file=Path("/c.png"), file_name="c.png")]
    with pytest.raises(BadInput, match=r"captions=prompt, and 1 rows have no prompt, the first of them c\.png"):
        texts_of(silent, "prompt", 0, 0)
    assert len(texts_of(silent, "study", 0, 0).fixed()) == 3


def test_a_fixed_caption_is_the_canonical_prompt() -> None:
    assert texts().fixed() == [render(study) for study in texts().studies]


def test_what_a_model_is_shown_is_what_its_captions_say() -> None:
    assert texts().shown() == ([STUDY, texts().studies[1]], 0)
    reports = [replace(ROWS[0], prompt="Right pleural effusion."), replace(ROWS[1], prompt="zzz")]
    studies, unread = texts_of(reports, "prompt", 0, 0).shown()
    assert [list(study.findings) for study in studies] == [["Pleural Effusion"]]
    assert unread == 1


def test_words_on_the_look_follow_a_caption_each_left_out_as_often_as_asked() -> None:
    row = replace(ROWS[0], source="toy", extra={"sharpness": "high", "contrast": "low"})
    looks = texts_of([row], "study", 0.0, 0.0)
    assert looks.fixed()[0].endswith("Source toy, high sharpness, low contrast.")
    assert looks.styles() == [("source toy", "high sharpness", "low contrast")]
    drawn = [looks.draw(0, seed).lower() for seed in range(1000)]
    for words in looks.style(0):
        assert sum(words in text for text in drawn) == pytest.approx(700, abs=60)
    assert read_prompt(looks.draw(0, 3).partition(" Source")[0]).study == STUDY
    # Where nothing was measured, nothing is said.
    assert texts().styles() == [(), ()]
