"""A Study is valid by construction and survives JSON."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen.core.errors import BadInput
from gen.core.terms import FINDINGS
from gen.language.study import Finding, Study

from .strategies import studies


@given(studies())
def test_json_round_trip(study):
    assert Study.from_json_dict(json.loads(json.dumps(study.to_json_dict()))) == study


@given(studies())
def test_a_study_can_be_sent_between_processes_and_hashed(study):
    assert pickle.loads(pickle.dumps(study)) == copy.deepcopy(study) == study
    assert hash(copy.deepcopy(study)) == hash(study)


@given(studies(), st.randoms(use_true_random=False))
def test_the_order_in_which_facts_are_given_does_not_matter(study, rng):
    names, devices = list(study.findings), list(study.devices)
    rng.shuffle(names)
    rng.shuffle(devices)
    data = study.to_json_dict() | {"findings": {n: study.to_json_dict()["findings"][n] for n in names}}
    shuffled = Study.from_json_dict(data | {"devices": devices})
    assert shuffled == study
    assert list(shuffled.findings) == [n for n in FINDINGS if n in study.findings]


def test_a_named_device_implies_support_devices():
    assert Study(devices=("pacemaker",)) == Study(devices=("pacemaker",), findings={"Support Devices": Finding()})


@pytest.mark.parametrize(
    ("fields", "culprit"),
    [
        ({"age": -1}, "-1"),
        ({"age": 121}, "121"),
        ({"age": 63.0}, "63.0"),
        ({"age": True}, "True"),
        ({"age": 5, "age_group": "child"}, "child"),
        ({"sex": "male"}, "male"),
        ({"race": "Martian"}, "Martian"),
        ({"view": "pa"}, "did you mean 'PA'"),
        ({"position": "prone"}, "prone"),
        ({"findings": {"Pleural Efusion": Finding()}}, "did you mean 'Pleural Effusion'"),
        ({"findings": {"Cardiomegaly": Finding(side="left")}}, "Cardiomegaly"),
        ({"findings": {"Support Devices": Finding(severity="mild")}}, "Support Devices"),
        ({"findings": {"No Finding": Finding("uncertain")}}, "No Finding"),
        ({"findings": {"No Finding": Finding(), "Edema": Finding()}}, "Edema"),
        ({"findings": {"No Finding": Finding(), "Edema": Finding("uncertain")}}, "Edema"),
        ({"devices": ("pacemakers",)}, "did you mean 'pacemaker'"),
        ({"devices": ("pacemaker",), "findings": {"Support Devices": Finding("absent")}}, "pacemaker"),
    ],
)
def test_what_cannot_be_is_refused_and_named(fields, culprit):
    with pytest.raises(BadInput) as caught:
        Study(**fields)
    assert culprit in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"state": "maybe"},
        {"side": "up"},
        {"severity": "small"},
        {"zone": "basal"},
        {"state": "absent", "severity": "mild"},
    ],
)
def test_a_finding_takes_only_its_terms(fields):
    with pytest.raises(BadInput):
        Finding(**fields)


@pytest.mark.parametrize(
    "data",
    [
        [],
        {"ages": 3},
        {"findings": ["Edema"]},
        {"findings": {"Edema": "present"}},
        {"findings": {"Edema": {"status": "present"}}},
        {"devices": "pacemaker"},
        {"devices": [["pacemaker"]]},
        {"sex": ["M"]},
        {"findings": {"Edema": {"side": {}}}},
    ],
)
def test_json_of_another_shape_is_refused(data):
    with pytest.raises(BadInput):
        Study.from_json_dict(data)


def test_no_finding_is_compatible_with_devices_and_with_absent_findings():
    study = Study(findings={"No Finding": Finding(), "Edema": Finding("absent")}, devices=("ECG leads",))
    assert study.findings["No Finding"].state == "present"
