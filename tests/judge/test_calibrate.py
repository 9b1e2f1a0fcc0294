"""Temperatures are the ones that made the data, thresholds the best by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from gen.judge.calibrate import best_f1_threshold, fit_temperature, sigmoid

# Few distinct probabilities, so that there are ties.
CASES = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40)


@given(CASES)
@example([(0, False), (0, False), (0, True), (1, False), (1, False), (1, True), (1, True), (1, True)])  # a rounded tie
@settings(max_examples=60)
def test_no_threshold_has_a_higher_f1_and_none_as_good_is_higher(pairs: list[tuple[int, bool]]) -> None:
    probabilities, labels = (np.array(column, float) for column in zip(*pairs, strict=True))
    threshold = best_f1_threshold(probabilities, labels)
    if not labels.any():
        assert threshold is None
        return
    f1 = {each: f1_score(labels, probabilities >= each) for each in np.unique(probabilities)}
    assert threshold == max(each for each in f1 if f1[each] == pytest.approx(max(f1.values()), abs=1e-12))
    unknown = np.append(probabilities, 9.0), np.append(labels, np.nan)
    assert best_f1_threshold(*unknown) == threshold


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_overstated_logits_is_found_again(temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=20_000) * 2
    labels = (rng.random(20_000) < sigmoid(logits)).astype(float)
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.06)


def test_one_class_alone_has_the_temperature_one() -> None:
    assert fit_temperature(np.ones(3), np.ones(3)) == 1
