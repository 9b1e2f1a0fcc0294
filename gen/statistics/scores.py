"""Scores of probabilities: AUROC, Brier score and calibration error of arrays in which NaN is an unknown label."""

from __future__ import annotations

import numpy as np

_TOGETHER = 256  # draws, whose arrays stay in the processor's cache


def auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve of ``scores`` (N,) for ``labels`` (N,) of 0 and 1; NaN without both of them.

    The chance that a positive outranks a negative, ties counting half (Hanley and McNeil 1982). By ranks, since a
    report draws patients anew some 20,000 times, and `sklearn.metrics.roc_auc_score` (the same number, by test) takes
    twenty times as long to check its arguments as this does to rank them.
    """
    from scipy.stats import rankdata

    known = ~np.isnan(labels)
    scores, positive = scores[known], labels[known] == 1
    count, others = int(positive.sum()), int((~positive).sum())
    if not count or not others:
        return float("nan")
    ranks = rankdata(scores)[positive].sum()
    return float((ranks - count * (count + 1) / 2) / (count * others))


def auroc_of_draws(scores: np.ndarray, labels: np.ndarray, times: np.ndarray) -> np.ndarray:
    """`auroc` of D samples in which item n is ``times[:, n]`` times: (D,) of scores (N,), labels (N,) and times (D, N).

    The same numbers as of each sample on its own, some twenty times sooner: the scores are sorted once.
    """
    known = ~np.isnan(labels)
    _, place = np.unique(scores[known], return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    positive = (labels[known] == 1)[order]
    found = np.full(len(times), np.nan)
    if not positive.any() or positive.all():
        return found
    for first in range(0, len(times), _TOGETHER):
        drawn = times[first : first + _TOGETHER][:, known][:, order].astype(np.float64)
        ones = np.add.reduceat(drawn * positive, starts, axis=1)
        others = np.add.reduceat(drawn * ~positive, starts, axis=1)
        wins = (ones * (np.cumsum(others, axis=1) - others / 2)).sum(1)
        pairs = ones.sum(1) * others.sum(1)
        found[first : first + _TOGETHER] = np.divide(wins, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
    return found


def mean_auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    """The mean of the AUROCs of the columns of (N, F) arrays that have one; NaN where none has."""
    each = np.array([auroc(scores[:, j], labels[:, j]) for j in range(scores.shape[1])])
    known = each[~np.isnan(each)]
    return float(known.mean()) if len(known) else float("nan")


def brier(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared difference of ``probabilities`` and ``labels``, of equal shape; NaN where no label is known."""
    known = ~np.isnan(labels)
    return float(np.square(probabilities[known] - labels[known]).mean()) if known.any() else float("nan")


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error over ``bins`` bins of equal count (Nixon et al. 2019); NaN where no label is known.

    A perfectly calibrated probability scores above 0 in a finite sample: each bin's mean has its own noise.
    """
    known = ~np.isnan(labels)
    if not known.any():
        return float("nan")
    order = np.argsort(probabilities[known], kind="stable")
    parts = zip(
        np.array_split(probabilities[known][order], bins), np.array_split(labels[known][order], bins), strict=True
    )
    return float(sum(len(p) * abs(p.mean() - y.mean()) for p, y in parts if len(p)) / known.sum())
