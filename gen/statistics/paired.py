"""Tests of differences that were drawn together, as of `gen.statistics.intervals.drawn`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def p_value(replicates: np.ndarray) -> float:
    """Two-sided p of the null that the difference is 0, from ``replicates`` (1 + draws,): its value, then its draws.

    Twice the share of draws on the lesser side of 0, the value itself counting as one (Davison and Hinkley 1997,
    section 4.2.3): it is never 0, and is in accord with the percentile interval. NaN where the value is.
    """
    known = replicates[~np.isnan(replicates)]
    if np.isnan(replicates[0]):
        return float("nan")
    below, above = (known[1:] <= 0).sum(), (known[1:] >= 0).sum()
    return float(min(1.0, 2 * (1 + min(below, above)) / len(known)))


def holm(p_values: Sequence[float]) -> list[float]:
    """``p_values`` adjusted for their number (Holm 1979): an adjusted one below 0.05 holds beside all others.

    NaN is no test, and stays.
    """
    p = np.asarray(p_values, np.float64)
    order = [i for i in np.argsort(p, kind="stable") if not np.isnan(p[i])]
    adjusted, highest = p.copy(), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p[i]))
        adjusted[i] = highest
    return [float(value) for value in adjusted]
