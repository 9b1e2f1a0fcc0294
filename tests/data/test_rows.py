"""A manifest row gives its Study, and a Study the columns of a row."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given

from gen.core.errors import BadInput
from gen.core.manifest import Row
from gen.data.rows import labels_of, study_of
from gen.language.study import Finding, Study

from ..language.strategies import studies


def row(**columns):
    """A manifest row with these columns, the others empty as the reader leaves them."""
    empty = {"file_name": "a.png", "study": "", "age": None, "sex": "", "race": "", "view": "", "notes": ""}
    return SimpleNamespace(**({**empty, "findings": (), "absent": (), "uncertain": ()} | columns))


@given(studies())
def test_the_columns_of_a_study_read_back_to_it_with_and_without_the_json(study):
    row = Row(file=Path("/a.png"), **labels_of(study))
    assert study_of(row) == study
    plain = {name: Finding(finding.state) for name, finding in study.findings.items()}
    said = dataclasses.replace(study, findings=plain, devices=(), position=None, age_group=None)
    assert study_of(dataclasses.replace(row, study="")) == said


def test_a_row_is_read_column_by_column():
    study = study_of(
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
    assert study_of(row(age=age)) == Study(age=years)


def test_notes_make_a_child_only_where_no_age_is_given():
    assert study_of(row(notes="Paediatric patient (1 to 5 years).")) == Study(age_group="child")
    assert study_of(row(notes="Pediatric ward.", age=40.0)) == Study(age=40)
    assert study_of(row(notes="Cardiothoracic ratio 0.54.")) == Study()


@given(studies())
def test_the_study_column_is_the_authority(study):
    assert study_of(row(study=json.dumps(study.to_json_dict()), sex="M", findings=("Mass",))) == study


@pytest.mark.parametrize(
    "columns",
    [
        {"study": "{"},
        {"study": '{"sex": "X"}'},
        {"findings": ("Efusion",)},
        {"findings": ("No Finding", "Mass")},
        {"findings": ("Mass",), "absent": ("Mass",)},
        {"uncertain": ("Effusion",), "absent": ("Pleural Effusion",)},
        {"uncertain": ("Mass",), "findings": ("mass",)},
        {"view": "oblique"},
        {"age": 150.0},
    ],
)
def test_a_row_that_makes_no_study_is_refused_by_its_file(columns):
    with pytest.raises(BadInput, match=r"^a\.png: "):
        study_of(row(**columns))
