"""Scores against scikit-learn and brute force, temperatures against the one that made the data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, f1_score, roc_auc_score

from gen.evaluate.figures import bootstrap
from gen.judge.scores import auroc, best_f1_threshold, brier, calibration_error, fit_temperature, interval, sigmoid

# Few distinct scores, so that there are ties; at least one of each class.
CASES = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40).filter(
    lambda pairs: len({label for _, label in pairs}) == 2
)


def arrays(pairs: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = zip(*pairs, strict=True)
    return np.array(scores) / 5, np.array(labels, float)


@given(CASES)
@settings(max_examples=60, deadline=None)
def test_auroc_and_brier_are_scikit_learns(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = arrays(pairs)
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert brier(scores, labels) == pytest.approx(brier_score_loss(labels, scores), abs=1e-12)


@given(CASES, st.floats(0.2, 5))
@settings(max_examples=30, deadline=None)
def test_unknown_labels_and_a_temperature_leave_auroc_alone(pairs: list[tuple[int, bool]], temperature: float) -> None:
    scores, labels = arrays(pairs)
    more = np.append(scores, [0.0, 1.0]), np.append(labels, [np.nan, np.nan])
    assert auroc(sigmoid(more[0] / temperature), more[1]) == pytest.approx(auroc(scores, labels), abs=1e-12)


@given(CASES)
@settings(max_examples=60, deadline=None)
def test_no_threshold_has_a_higher_f1(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = arrays(pairs)
    threshold = best_f1_threshold(scores, labels)
    assert threshold is not None
    every = [f1_score(labels, scores >= each) for each in np.unique(scores)]
    assert f1_score(labels, scores >= threshold) == pytest.approx(max(every), abs=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_overstated_logits_is_found_again(temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=20_000) * 2
    labels = (rng.random(20_000) < sigmoid(logits)).astype(float)
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.06)


def test_calibration_error_is_near_zero_for_true_probabilities_and_the_shift_for_shifted_ones() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.2, 0.7, 20_000)
    labels = (rng.random(20_000) < p).astype(float)
    assert calibration_error(p, labels) < 0.02
    assert calibration_error(p + 0.2, labels) == pytest.approx(0.2, abs=0.02)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Patients of one to four films that share a level: the mean of films is 0 in truth."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(150):
        films = rng.integers(1, 5, 40)
        patients = np.repeat(np.arange(40), films)
        values = np.repeat(rng.normal(size=40), films) + 0.3 * rng.normal(size=len(patients))
        _, low, high = interval([str(p) for p in patients], lambda i, v=values: float(v[i].mean()), draws=200)
        held += low <= 0 <= high
    assert 0.86 <= held / 150 <= 0.99


def test_the_interval_is_that_of_the_bootstrap_of_the_reports() -> None:
    """A copy of `gen.evaluate.figures.bootstrap`, which gen.judge does not import: it must stay equal."""
    rng = np.random.default_rng(4)
    patients, values = [str(i // 2) for i in range(40)], rng.normal(size=40)

    def statistic(i: np.ndarray) -> float:
        return float(np.median(values[i]))

    figure = bootstrap(patients, statistic, draws=50)
    assert interval(patients, statistic, draws=50) == (figure.value, figure.low, figure.high)


def test_of_one_patient_there_is_no_interval() -> None:
    value, low, high = interval(["p", "p"], lambda i: float(i.mean()))
    assert value == 0.5
    assert np.isnan([low, high]).all()


def test_what_cannot_be_said_is_nan() -> None:
    ones, unknown = np.ones(3), np.full(3, np.nan)
    assert np.isnan(
        [auroc(ones, ones), auroc(ones, unknown), brier(ones, unknown), calibration_error(ones, unknown)]
    ).all()
    assert fit_temperature(ones, ones) == 1
    assert best_f1_threshold(ones, np.zeros(3)) is None
