"""The words of a verdict follow from the figures beside them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from augment.classify.verdict import verdict

DIFFERENCE = {"arm": "more", "against": "real", "amount": "100 %", "p": 0.5, "p_holm": 0.5}


def results(change: dict[str, float | None], starts: int = 1, gap: float = 0.2) -> dict[str, Any]:
    gaps = {"age": {"change": change, "gap": {"value": gap, "low": 0.1, "high": 0.3}, "worst": "age=80+"}}
    test = {
        "patients": 12,
        "differences": [{**DIFFERENCE, "difference": {"value": 0.01, "low": -0.1, "high": 0.1}}],
        "fairness": {"underdiagnosis": {"more": {"gaps": gaps}}},
    }
    said = {"question": "more", "baseline": "real", "asked": "More", "images": 64, "amounts": ["100 %"]}
    return {**said, "tests": {"test": test}, "controls": {}, "starts": dict.fromkeys(range(starts), "hash")}


@given(ends=st.tuples(st.floats(-1, 1), st.floats(-1, 1)).map(sorted))
def test_a_gap_grew_or_shrank_only_where_its_interval_says_so(ends: list[float]) -> None:
    low, high = ends
    line = verdict(results({"value": (low + high) / 2, "low": low, "high": high}))[-1]
    assert line.startswith(
        "Fairness, underdiagnosis: by age the rates differ by up to 0.20 [0.10, 0.30] (the highest: 80+)"
    )
    assert ("it grew" in line) == (low > 0)
    assert ("it shrank" in line) == (high < 0)
    assert ("not seen to change" in line) == (low <= 0 <= high)


def test_a_gap_without_an_interval_is_not_judged_and_one_start_is_no_starts() -> None:
    lines = verdict(results({"value": 0.1, "low": None, "high": None}))
    assert lines[-1].endswith("not seen to change.")
    assert "12 test patients, 1 start)" in lines[0]
    assert "3 starts)" in verdict(results({"value": 0.1, "low": None, "high": None}, starts=3))[0]


def test_where_all_groups_have_one_rate_none_is_called_the_highest() -> None:
    change = {"value": 0.0, "low": -0.1, "high": 0.1}
    assert "the highest" in verdict(results(change))[-1]
    assert "the highest" not in verdict(results(change, gap=0.0))[-1]
