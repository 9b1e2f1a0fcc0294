"""Figures with 95 % intervals: a value, its interval and its N, and the ways to such intervals, all of them by patient.

``units`` names the patient that each item belongs to: what is left out or drawn anew for an interval is always a whole
patient, never one of several images. A synthetic image is a unit of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

CONFIDENCE = 0.95
GROUPS = 20  # of patients, that a jackknife leaves out one after the other

Statistic = Callable[..., Any]  # of one array of indices for each sample, to a number or an array of numbers


@dataclass(frozen=True)
class Figure:
    """``value`` with its interval from ``low`` to ``high`` (all NaN where it cannot be had), of ``n`` items."""

    value: float
    low: float
    high: float
    n: int

    def text(self, digits: int = 3) -> str:
        """Format it as "0.812 [0.774, 0.846]", or "n/a"."""
        if math.isnan(self.value):
            return "n/a"
        value, low, high = (f"{number:.{digits}f}" for number in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"

    @property
    def triple(self) -> tuple[float, float, float]:
        """Value, low and high."""
        return self.value, self.low, self.high

    def as_dict(self) -> dict[str, float | int | None]:
        """For JSON, which has no NaN and no infinity: they become None."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        return {**{key: number if math.isfinite(number) else None for key, number in numbers.items()}, "n": self.n}


def unknown(n: int = 0) -> Figure:
    """The figure of what cannot be measured."""
    return Figure(math.nan, math.nan, math.nan, n)


def proportion(hits: int, n: int) -> Figure:
    """``hits`` of ``n`` independent items, with Wilson's score interval (1927): right near 0 and 1 too."""
    from scipy.stats import binomtest

    if n == 0:
        return unknown()
    rate, interval = hits / n, binomtest(hits, n).proportion_ci(CONFIDENCE, "wilson")
    return Figure(rate, min(rate, float(interval.low)), max(rate, float(interval.high)), n)


def share(flags: Sequence[bool] | np.ndarray, units: Sequence[str]) -> Figure:
    """The share of true ``flags`` (N,), with Wilson's interval for as many independent items as `effective_units`."""
    if not len(flags):
        return unknown()
    return _with_units(float(np.mean(flags)), int(effective_units(units)), len(flags))


def patient_share(flags: Sequence[bool] | np.ndarray, patients: Sequence[str]) -> Figure:
    """The share of true ``flags`` (N,) where each patient weighs 1, with Wilson's interval; its n counts patients."""
    if not len(flags):
        return unknown()
    _, place, images = np.unique(np.asarray(patients), return_inverse=True, return_counts=True)
    rate = float(np.sum(np.asarray(flags) / images[place])) / len(images)
    return _with_units(rate, len(images), len(images))


def mean_of(values: Sequence[float] | np.ndarray, units: Sequence[str]) -> Figure:
    """The mean of ``values`` (N,), with the t interval of the jackknife that leaves out each unit in turn.

    Its degrees of freedom are `effective_units` less one: where a few units have most of the items, they alone count.
    """
    values = np.asarray(values, np.float64)
    if not len(values):
        return unknown()
    value = float(values.mean())
    _, place, sizes = np.unique(np.asarray(units), return_inverse=True, return_counts=True)
    count = len(sizes)
    if count < 2:
        return Figure(value, math.nan, math.nan, len(values))
    shifts = np.bincount(place, values - value) / (len(values) - sizes)  # of the mean without the unit
    error = math.sqrt((count - 1) / count * float(np.square(shifts).sum()))
    return with_error(value, error, len(values), max(1.0, effective_units(units) - 1))


def mean_of_means(values: Sequence[float] | np.ndarray, units: Sequence[str]) -> Figure:
    """The mean over units of the mean of each, with a t interval: one with many items weighs no more than another."""
    values = np.asarray(values, np.float64)
    means = [float(values[members].mean()) for members in members_of(units)]
    return replace(mean_of(means, [str(k) for k in range(len(means))]), n=len(values))


def bootstrap(units: Sequence[str], statistic: Statistic, draws: int = 1000, seed: int = 0) -> Figure:
    """``statistic`` (of an array of indices), with the percentile interval of ``draws`` in which units are drawn anew.

    For statistics that duplicates do not bias, such as an AUROC; a Fréchet or nearest-neighbour distance they do bias,
    and `jackknife` serves. A draw without a value (NaN: only one class was drawn) does not count.
    """
    replicates = drawn(units, statistic, draws, seed)
    return figure_of(replicates if len(set(units)) > 1 else replicates[:1], len(units))


def drawn(units: Sequence[str], statistic: Statistic, draws: int = 1000, seed: int = 0) -> np.ndarray:
    """``statistic`` of all items, and then of ``draws`` in which whole units are drawn anew: float64 (1 + draws, ...).

    What a statistic returns as one array is drawn together, so that differences within it are paired.
    """
    members = members_of(units)
    generator = np.random.default_rng(seed)
    found = [np.asarray(statistic(np.arange(len(units))), np.float64)]
    for _ in range(draws if members else 0):
        chosen = generator.integers(len(members), size=len(members))
        found.append(np.asarray(statistic(np.concatenate([members[i] for i in chosen])), np.float64))
    return np.stack(found)


def times_drawn(units: Sequence[str], draws: int = 1000, seed: int = 0) -> np.ndarray:
    """How often each item is in the samples of `drawn`: float32 (1 + draws, N), of which the first row is 1.

    For statistics that take weights: all samples are then scored in a few operations on arrays.
    """
    members = members_of(units)
    place = np.empty(len(units), int)
    for k, indices in enumerate(members):
        place[indices] = k
    generator = np.random.default_rng(seed)
    times = np.ones((1 + draws if members else 1, len(units)), np.float32)
    for row in times[1:]:
        row[:] = np.bincount(generator.integers(len(members), size=len(members)), minlength=len(members))[place]
    return times


def figure_of(replicates: np.ndarray, n: int) -> Figure:
    """The first of ``replicates`` (1 + draws,), as of `drawn`, with the percentile interval of the others.

    The interval is unknown where half of the draws have no value.
    """
    value, others = float(replicates[0]), replicates[1:]
    known = others[~np.isnan(others)]
    if math.isnan(value) or not len(known) or len(known) < len(others) / 2:
        return Figure(value, math.nan, math.nan, n)
    low, high = np.percentile(known, (50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)))
    return Figure(value, float(low), float(high), n)


def jackknife(
    statistic: Statistic, *samples: Sequence[str], groups: int = GROUPS, seed: int = 0
) -> tuple[np.ndarray, int]:
    """Standard errors of ``statistic`` (as it returns them: a number or an array) and their degrees of freedom.

    ``samples`` are the units of each of the independent samples; ``statistic`` takes an array of kept indices for each.
    The units of a sample fall at random into ``groups`` of equal size, which are left out in turn (the delete-a-group
    jackknife; Shao and Wu 1989); the samples' variances add up. Nothing is drawn twice, so a distance that depends on
    N or on nearest neighbours is not biased by duplicates, as a bootstrap's is.
    """
    generator = np.random.default_rng(seed)
    whole = [np.arange(len(units)) for units in samples]
    variance: Any = 0.0
    fewest = groups
    for number, units in enumerate(samples):
        members = members_of(units)
        parts = min(groups, len(members))
        if parts < 2:
            return np.full(np.shape(statistic(*whole)), np.nan), 1
        fewest = min(fewest, parts)
        group_of = generator.permutation(len(members)) % parts
        replicates = []
        for part in range(parts):
            kept = [member for member, group in zip(members, group_of, strict=True) if group != part]
            without = [*whole[:number], np.sort(np.concatenate(kept)), *whole[number + 1 :]]
            replicates.append(np.asarray(statistic(*without), np.float64))
        variance = variance + (parts - 1) * np.var(np.stack(replicates), axis=0)
    return np.sqrt(variance), fewest - 1


def with_error(value: float, error: float, n: int, freedom: float) -> Figure:
    """``value`` with the t interval of its standard ``error`` that has ``freedom`` degrees of freedom."""
    from scipy.stats import t

    half = float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    return Figure(value, value - half, value + half, n)


def effective_units(units: Sequence[str]) -> float:
    """The number of units of equal size whose mean varies as much as that of ``units``, where the items of each agree.

    From 1, where one unit has nearly all items, to the number of ``units``, where all have as many (Kish 1965).
    """
    sizes = np.unique(np.asarray(units), return_counts=True)[1]
    return float(sizes.sum() ** 2 / np.square(sizes).sum())


def members_of(units: Sequence[str]) -> list[np.ndarray]:
    """The indices of each unit, units in the order of their first item."""
    members: dict[str, list[int]] = {}
    for index, unit in enumerate(units):
        members.setdefault(unit, []).append(index)
    return [np.asarray(indices) for indices in members.values()]


def _with_units(rate: float, units: int, n: int) -> Figure:
    interval = proportion(round(rate * units), units)
    return Figure(rate, min(rate, interval.low), max(rate, interval.high), n)
