"""Hypothesis strategies: every valid Study."""

from __future__ import annotations

from hypothesis import strategies as st

from gen.core import terms
from gen.language.study import COMPATIBLE_WITH_NORMAL, MIDLINE, Finding, Study


def maybe(values):
    return st.none() | st.sampled_from(values)


@st.composite
def findings(draw, name: str) -> Finding:
    if name == "No Finding":
        return Finding(draw(st.sampled_from(("present", "absent"))))
    state = draw(st.sampled_from(terms.STATES))
    placed = name not in MIDLINE
    return Finding(
        state,
        side=draw(maybe(terms.SIDES)) if placed else None,
        zone=draw(maybe(terms.ZONES)) if placed else None,
        severity=draw(maybe(terms.SEVERITIES)) if state != "absent" and name != "Support Devices" else None,
    )


@st.composite
def studies(draw) -> Study:
    names = draw(st.lists(st.sampled_from(terms.FINDINGS), unique=True, max_size=6))
    found = {name: draw(findings(name)) for name in names}
    others = [n for n, f in found.items() if f.state != "absent" and n not in COMPATIBLE_WITH_NORMAL]
    if others and found.get("No Finding") == Finding("present"):
        del found["No Finding"]
    blocked = found.get("Support Devices", Finding()).state != "present"
    devices = () if blocked else tuple(draw(st.lists(st.sampled_from(terms.DEVICES), unique=True, max_size=3)))
    age = draw(st.none() | st.integers(0, terms.OLDEST_YEARS))
    return Study(
        age=age,
        age_group=draw(maybe(terms.AGE_GROUPS)) if age is None else None,
        sex=draw(maybe(terms.SEXES)),
        race=draw(maybe(terms.RACES)),
        view=draw(maybe(terms.VIEWS)),
        position=draw(maybe(terms.POSITIONS)),
        findings=found,
        devices=devices,
    )
