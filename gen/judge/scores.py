"""How good probabilities are: AUROC, calibration error, Brier score, temperatures; and intervals by patient.

Pure functions of arrays; nothing here knows a network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve of ``scores`` (N,) for ``labels`` (N,) of 0 and 1, NaN labels left out.

    The chance that a positive outranks a negative, ties counting half (Hanley and McNeil 1982); NaN without both.
    """
    from scipy.stats import rankdata

    known = ~np.isnan(labels)
    scores, positive = scores[known], labels[known] == 1
    count, others = int(positive.sum()), int((~positive).sum())
    if not count or not others:
        return float("nan")
    ranks = rankdata(scores)[positive].sum()
    return float((ranks - count * (count + 1) / 2) / (count * others))


def brier(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared difference of ``probabilities`` (N,) and ``labels`` (N,), NaN labels left out."""
    known = ~np.isnan(labels)
    return float(np.square(probabilities[known] - labels[known]).mean()) if known.any() else float("nan")


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error over ``bins`` bins of equal count (Nixon et al. 2019), NaN labels left out.

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


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The T of least cross-entropy of sigmoid(logits / T) (Guo et al. 2017, arXiv:1706.04599), in [0.1, 10].

    Arrays of equal shape; NaN labels are left out, and T is 1 where fewer than two classes are left.
    """
    from scipy.optimize import minimize_scalar

    known = ~np.isnan(labels)
    x, y = logits[known].astype(np.float64), labels[known]
    if len(np.unique(y)) < 2:
        return 1.0

    def loss(log_temperature: float) -> float:
        scaled = x / np.exp(log_temperature)
        return float((np.logaddexp(0, scaled) - y * scaled).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.1), np.log(10)), method="bounded").x))


def best_f1_threshold(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """The probability at and above which calling a finding present has the highest F1; None without a positive."""
    known = ~np.isnan(labels)
    order = np.argsort(-probabilities[known], kind="stable")
    p, y = probabilities[known][order], labels[known][order]
    if not y.any():
        return None
    hits = np.cumsum(y)
    f1 = 2 * hits / (np.arange(1, len(y) + 1) + y.sum())
    last = np.append(p[1:] < p[:-1], True)  # films of one probability are called together
    return float(p[np.argmax(np.where(last, f1, -1))])


def interval(
    patients: Sequence[str], statistic: Callable[[np.ndarray], float], draws: int = 1000
) -> tuple[float, float, float]:
    """``statistic`` of all rows, and its 95 % percentile interval over ``draws`` drawings of patients anew.

    ``statistic`` takes the indices of the rows to count. A draw on which it is NaN is left out. Of one patient there is
    no interval (NaN).
    """
    members: dict[str, list[int]] = {}
    for index, patient in enumerate(patients):
        members.setdefault(patient, []).append(index)
    films = [np.asarray(group) for group in members.values()]
    whole = statistic(np.arange(len(patients)))
    if len(films) < 2 or np.isnan(whole):
        return whole, float("nan"), float("nan")
    generator = np.random.default_rng(0)
    drawn = np.array(
        [
            statistic(np.concatenate([films[i] for i in generator.integers(len(films), size=len(films))]))
            for _ in range(draws)
        ]
    )
    kept = drawn[~np.isnan(drawn)]
    low, high = np.percentile(kept, (2.5, 97.5)) if len(kept) else (np.nan, np.nan)
    return whole, float(low), float(high)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-logits)), without overflow."""
    from scipy.special import expit

    return np.asarray(expit(logits))
