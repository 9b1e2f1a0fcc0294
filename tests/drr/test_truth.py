"""The labels of a projection are a Study that gen reads, and say no more than is known."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drr.geometry import VIEWS, parse_view
from drr.insert.request import KINDS, Kind
from drr.truth import study_of
from gen.language.study import Study


def label(kind: Kind, side: str | None, severity: str | None, zone: str | None) -> dict[str, Any]:
    return {
        "finding": kind.finding,
        "device": kind.device,
        "side": side if kind.sides else None,
        "severity": severity if kind.severities else None,
        "zone": zone if kind.zones else None,
        "volume_ml": 12.5,
    }


labels = st.builds(
    label,
    st.sampled_from(KINDS),
    st.sampled_from(["left", "right", "bilateral"]),
    st.sampled_from(["mild", "moderate", "severe"]),
    st.sampled_from(["upper", "middle", "lower"]),
)


@given(st.lists(labels, max_size=5), st.sampled_from([*VIEWS.values(), parse_view("30/10")]), st.booleans())
def test_whatever_is_inserted_makes_a_study_that_gen_reads(
    found: list[dict[str, Any]], view: Any, healthy: bool
) -> None:
    written = study_of({"sex": "F", "age": 63}, view, found, healthy=healthy)
    study = Study.from_json_dict(written)
    assert study.to_json_dict() == written
    assert [*written["findings"]] == [*study.findings]
    assert set(study.findings) >= {each["finding"] for each in found}
    assert ("No Finding" in study.findings) == (healthy and {each["finding"] for each in found} <= {"Support Devices"})
    assert set(study.devices) == {each["device"] for each in found if each["finding"] == "Support Devices"}


def test_of_a_real_patient_nothing_is_said_but_what_was_inserted() -> None:
    study = Study.from_json_dict(study_of({}, VIEWS["lateral"], [], healthy=False))
    assert study == Study(view="lateral")


def test_one_finding_on_both_sides_is_bilateral_and_keeps_what_both_share() -> None:
    effusion = next(kind for kind in KINDS if kind.finding == "Pleural Effusion")
    found = [label(effusion, side, severity, None) for side, severity in (("left", "mild"), ("right", "severe"))]
    study = study_of({}, VIEWS["PA"], found, healthy=True)
    assert study["findings"] == {
        "Pleural Effusion": {"state": "present", "side": "bilateral", "severity": None, "zone": None}
    }


@pytest.mark.parametrize(
    ("name", "view", "position"), [("PA", "PA", None), ("AP", "AP", "supine"), ("LAO", None, None)]
)
def test_the_view_is_a_standard_one_or_left_open(name: str, view: str | None, position: str | None) -> None:
    study = study_of({}, VIEWS[name], [], healthy=False)
    assert (study["view"], study["position"]) == (view, position)
