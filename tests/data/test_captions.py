"""A caption says its Study, whole, in whatever words; a manifest row gives its Study."""

from __future__ import annotations

import json
import random
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gen.core.errors import BadInput
from gen.data.captions import study_from_row, write_caption
from gen.language.prompt import read_prompt, render
from gen.language.study import Finding, Study

from ..language.strategies import studies

SICK = Study(63, None, "F", None, "AP", None, {"Edema": Finding(), "Pneumothorax": Finding("absent")})


def row(**columns):
    """A manifest row with these columns, the others empty as the reader leaves them."""
    empty = {"file_name": "a.png", "study": "", "age": None, "sex": "", "race": "", "view": "", "notes": ""}
    return SimpleNamespace(**({**empty, "findings": (), "absent": (), "uncertain": ()} | columns))


@given(studies(), st.integers(0, 2**32))
@example(Study(), 0)
def test_a_caption_reads_back_to_its_study(study, seed):
    reading = read_prompt(write_caption(study, random.Random(seed)))
    assert reading.study == study
    # The wording raises no doubt; only the facts themselves may ("no lung opacity" beside a consolidation).
    assert all("a kind of it" in warning for warning in reading.warnings)


@given(studies(), st.integers(0, 2**32))
def test_the_same_draw_gives_the_same_caption(study, seed):
    assert write_caption(study, random.Random(seed)) == write_caption(study, random.Random(seed))


def test_captions_vary_and_a_quarter_is_canonical():
    rng = random.Random(0)
    captions = [write_caption(SICK, rng) for _ in range(2000)]
    assert 0.2 < captions.count(render(SICK)) / len(captions) < 0.3
    assert len(set(captions)) > 1000


def test_a_row_is_read_column_by_column():
    study = study_from_row(
        row(
            age=63.7,
            sex="F",
            view="AP Supine",
            findings=("Edema", "Effusion"),
            absent=("Pneumothorax",),
            uncertain=("Mass",),
        )
    )
    assert study == Study(
        age=63,
        sex="F",
        view="AP",
        position="supine",
        findings={
            "Edema": Finding(),
            "Pleural Effusion": Finding(),
            "Pneumothorax": Finding("absent"),
            "Mass": Finding("uncertain"),
        },
    )


@pytest.mark.parametrize(("age", "years"), [(0.4, 0), (1.0, 1), (17.9, 17), (103.0, 103)])
def test_an_age_is_cut_to_whole_years(age, years):
    assert study_from_row(row(age=age)) == Study(age=years)


def test_notes_make_a_child_only_where_no_age_is_given():
    assert study_from_row(row(notes="Paediatric patient (1 to 5 years).")) == Study(age_group="child")
    assert study_from_row(row(notes="Pediatric ward.", age=40.0)) == Study(age=40)
    assert study_from_row(row(notes="Cardiothoracic ratio 0.54.")) == Study()


@given(studies())
def test_the_study_column_is_the_authority(study):
    assert study_from_row(row(study=json.dumps(study.to_json_dict()), sex="M", findings=("Mass",))) == study


@pytest.mark.parametrize(
    "columns",
    [
        {"study": "{"},
        {"study": '{"sex": "X"}'},
        {"findings": ("Efusion",)},
        {"findings": ("No Finding", "Mass")},
        {"view": "oblique"},
        {"age": 150.0},
    ],
)
def test_a_row_that_makes_no_study_is_refused_by_its_file(columns):
    with pytest.raises(BadInput, match=r"^a\.png: "):
        study_from_row(row(**columns))
