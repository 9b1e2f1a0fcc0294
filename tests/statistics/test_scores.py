"""Scores are scikit-learn's, and leave unknown labels out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score

from gen.statistics.intervals import drawn, times_drawn
from gen.statistics.scores import auroc, auroc_of_draws, brier, calibration_error, mean_auroc

# Few distinct scores, so that there are ties; at least one of each class.
CASES = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40).filter(
    lambda pairs: len({label for _, label in pairs}) == 2
)


def arrays(pairs: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = zip(*pairs, strict=True)
    return np.array(scores) / 5, np.array(labels, float)


@given(CASES)
@settings(max_examples=60)
def test_auroc_and_brier_are_scikit_learns(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = arrays(pairs)
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert brier(scores, labels) == pytest.approx(brier_score_loss(labels, scores), abs=1e-12)


@given(CASES, st.lists(st.integers(0, 3), min_size=40, max_size=40), st.integers(1, 300))
@settings(max_examples=60)
def test_the_samples_that_are_scored_together_score_what_each_does(
    pairs: list[tuple[int, bool]], owners: list[int], draws: int
) -> None:
    scores, labels = arrays(pairs)
    scores, labels = np.append(scores, 0.5), np.append(labels, np.nan)  # one more, whose label is unknown
    units = [str(owner) for owner in [*owners, 0][: len(scores)]]
    together = auroc_of_draws(scores, labels, times_drawn(units, draws, seed=3))
    alone = drawn(units, lambda i: auroc(scores[i], labels[i]), draws, seed=3)
    np.testing.assert_allclose(together, alone, atol=1e-12)


@given(CASES, st.floats(0.2, 5))
@settings(max_examples=30)
def test_unknown_labels_and_a_temperature_leave_auroc_alone(pairs: list[tuple[int, bool]], temperature: float) -> None:
    scores, labels = arrays(pairs)
    more = np.append(scores, [0.0, 1.0]), np.append(labels, [np.nan, np.nan])
    assert auroc(np.tanh(more[0] / temperature), more[1]) == pytest.approx(auroc(scores, labels), abs=1e-12)


def test_calibration_error_is_near_zero_for_true_probabilities_and_the_shift_for_shifted_ones() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.2, 0.7, 20_000)
    labels = (rng.random(20_000) < p).astype(float)
    assert calibration_error(p, labels) < 0.02
    assert calibration_error(p + 0.2, labels) == pytest.approx(0.2, abs=0.02)


def test_what_cannot_be_said_is_nan() -> None:
    ones, unknown = np.ones(3), np.full(3, np.nan)
    assert np.isnan(
        [auroc(ones, ones), auroc(ones, unknown), brier(ones, unknown), calibration_error(ones, unknown)]
    ).all()
    assert np.isnan(mean_auroc(np.ones((3, 2)), np.ones((3, 2))))


def test_the_mean_auroc_is_over_the_columns_that_have_one() -> None:
    scores, labels = np.array([[0.1, 0.2], [0.9, 0.3]]), np.array([[0.0, 1.0], [1.0, 1.0]])
    assert mean_auroc(scores, labels) == 1
