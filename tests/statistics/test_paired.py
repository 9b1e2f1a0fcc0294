"""Differences of paired figures: DeLong's test as an oracle, p values of the right size, and Holm's adjustment."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from gen.statistics.intervals import bootstrap, drawn, figure_of
from gen.statistics.paired import holm, p_value
from gen.statistics.scores import auroc


def delong(first: np.ndarray, second: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Difference of two AUROCs on the same cases, and its standard error (DeLong et al. 1988, equations 4 to 7)."""
    placements = []
    for scores in (first, second):
        more = (scores[labels == 1][:, None] > scores[labels == 0]).astype(float)
        more += 0.5 * (scores[labels == 1][:, None] == scores[labels == 0])
        placements.append((more.mean(1), more.mean(0)))
    areas = [of_positive.mean() for of_positive, _ in placements]
    covariance = sum(np.cov([placement[k] for placement in placements]) / len(placements[0][k]) for k in (0, 1))
    contrast = np.array([1, -1])
    return areas[0] - areas[1], float(np.sqrt(contrast @ covariance @ contrast))


@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_the_drawn_difference_of_two_aurocs_is_delongs(shift: float) -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 300).astype(float)
    common = rng.standard_normal(300)
    first = labels * (0.7 + shift) + common + 0.7 * rng.standard_normal(300)
    second = labels * 0.7 + common + 0.7 * rng.standard_normal(300)
    found = drawn([str(i) for i in range(300)], lambda i: auroc(first[i], labels[i]) - auroc(second[i], labels[i]))
    value, error = delong(first, second, labels)
    figure = figure_of(found, 300)
    assert figure.value == pytest.approx(value, abs=1e-12)
    assert (figure.high - figure.low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.12)
    assert p_value(found) == pytest.approx(2 * norm.sf(abs(value) / error), abs=0.05)
    assert (p_value(found) < 0.05) == (not figure.low <= 0 <= figure.high)


def test_patients_are_drawn_whole() -> None:
    values = np.repeat(np.random.default_rng(0).standard_normal(40), 25)
    by_patient = figure_of(drawn([str(i // 25) for i in range(1000)], lambda i: values[i].mean()), 1000)
    by_image = figure_of(drawn([str(i) for i in range(1000)], lambda i: values[i].mean()), 1000)
    assert by_patient.high - by_patient.low > 3 * (by_image.high - by_image.low)


def test_an_array_is_drawn_as_each_of_its_numbers_would_be() -> None:
    units, values = [str(i // 2) for i in range(40)], np.random.default_rng(0).random((40, 2))
    together = drawn(units, lambda i: values[i].mean(0), draws=50)
    for column in (0, 1):
        alone = bootstrap(units, lambda i, column=column: values[i, column].mean(), draws=50)
        assert figure_of(together[:, column], 40).triple == pytest.approx(alone.triple, abs=1e-12)


def test_a_difference_that_is_always_there_has_the_least_p_and_none_has_one() -> None:
    assert p_value(np.ones(1000)) == 2 / 1000
    assert p_value(np.zeros(1000)) == 1
    assert math.isnan(p_value(np.array([np.nan, 1.0])))


def test_holm_by_hand() -> None:
    # Holm 1979: 4 x 0.01, then 3 x 0.02, 2 x 0.03 (raised to what was before), 1 x 0.5.
    assert holm([0.02, 0.5, 0.01, 0.03]) == pytest.approx([0.06, 0.5, 0.04, 0.06])
    assert holm([0.04, float("nan")])[0] == pytest.approx(0.04)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_lies_between_p_and_bonferroni(values: list[float]) -> None:
    adjusted = holm(values)
    for p, a in zip(values, adjusted, strict=True):
        assert p <= a <= min(1.0, len(values) * p) + 1e-12
    ranked = [a for _, a in sorted(zip(values, adjusted, strict=True))]
    assert ranked == sorted(ranked)
