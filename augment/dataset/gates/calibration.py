"""Thresholds that a real film of the same kind passes at a stated rate in every subgroup, not only on the whole.

A judge that is worse at one group would reject its images more often, and the set would no longer be balanced. So each
group of enough films gets a threshold of its own, and an image the most lenient one of the groups that it is in. Pure
arithmetic on scores, which are higher for better and pass at or above a threshold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gen.core.run import derived_seed
from gen.statistics.groups import ALL, by_size, crossed

FEWEST_PATIENTS = 20  # below, no threshold is worth its name, whatever the rate
_TINY = 1e-9  # so that 0.95 x 100 is 95


@dataclass(frozen=True)
class Film:
    """A real film: whose it is, what is known of it by attribute ("sex", "age" as a band, "race", "view"), and its
    score at each kind of gate that it is a film of, such as "finding: Pneumonia"."""

    patient: str
    attributes: Mapping[str, str]
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Limit:
    """The threshold that ``films`` of so many ``patients`` (None: not known) gave."""

    threshold: float
    films: int
    patients: int | None


@dataclass(frozen=True)
class Limits:
    """The thresholds of one kind. ``groups`` are keyed as "all", "sex=F" or "sex=F|age=40-59|view=PA"; ``pooled`` has
    the number of films of each group that is too small for a threshold, and has those of the groups around it."""

    groups: Mapping[str, Limit]
    pooled: Mapping[str, int]

    def threshold(self, attributes: Mapping[str, str]) -> float:
        """What an image with ``attributes`` must reach: the lowest of the thresholds of its groups."""
        return min(self.groups[key].threshold for key in crossed(attributes) if key in self.groups)


def calibrate(
    films: Sequence[Film], pass_rate: float, least_films: int, least_patients: int
) -> tuple[dict[str, Limits], dict[str, str]]:
    """The limits of each kind that ``films`` have scores of, and for the kinds that get none, why.

    Every group that is listed passes at ``pass_rate`` or more: an image's threshold is at most its group's own, and
    that one has the rate (`conformal`). A group is listed from ``least_films`` films of ``least_patients`` patients on,
    and all films together from `fewest_patients` on. One with the films of a wider group and no others would repeat it,
    and is not listed.
    """
    kinds: dict[str, list[Film]] = {}
    for film in films:
        for kind in film.scores:
            kinds.setdefault(kind, []).append(film)
    limits, without = {}, {}
    for kind, members in kinds.items():
        groups: dict[str, list[int]] = {}
        for place, film in enumerate(members):
            for key in crossed(film.attributes):
                groups.setdefault(key, []).append(place)
        listed: dict[str, Limit] = {}
        pooled: dict[str, int] = {}
        seen: set[tuple[int, ...]] = set()
        for key in sorted(groups, key=by_size):
            places = groups[key]
            if tuple(places) in seen:
                continue
            seen.add(tuple(places))
            units = [members[place].patient for place in places]
            threshold = conformal([members[place].scores[kind] for place in places], units, pass_rate)
            large = len(places) >= least_films and len(set(units)) >= least_patients
            if not math.isnan(threshold) and (key == ALL or large):
                listed[key] = Limit(threshold, len(places), len(set(units)))
            else:
                pooled[key] = len(places)
        if ALL in listed:
            limits[kind] = Limits(listed, pooled)
        else:
            patients = len({film.patient for film in members})
            needed = fewest_patients(pass_rate)
            without[kind] = f"there are real films of {patients} patient(s), and a threshold takes {needed}"
    return limits, without


def fewest_patients(pass_rate: float) -> int:
    """From how many patients on `conformal` has a threshold: one in n + 1 falls below the lowest of n."""
    return max(FEWEST_PATIENTS, math.ceil(1 / (1 - pass_rate) - _TINY) - 1)


def own_patients(pass_rate: float) -> int:
    """From how many patients on a group is worth a threshold of its own: that is then not its lowest film's, of which
    one odd film would make a gate that lets everything pass."""
    return max(FEWEST_PATIENTS, math.ceil(2 / (1 - pass_rate) - _TINY) - 1)


def conformal(scores: Sequence[float], patients: Sequence[str], pass_rate: float) -> float:
    """The highest threshold that a film of a new patient reaches with a probability of at least ``pass_rate``.

    Films of one patient are alike, so the patients count and not the films: each has the weight 1, shared by his films,
    and no film is thrown away. With n patients the films at and above the threshold must weigh ``pass_rate`` x (n + 1),
    which holds for patients of any distribution (Lee, Barber and Willett 2023, arXiv:2306.06342); with one film each it
    is the rule of `gen.judge.reference.calibrate`. NaN where there are too few patients for it (`fewest_patients`).
    """
    values = np.asarray(scores, np.float64)
    _, place, films = np.unique(np.asarray(patients), return_inverse=True, return_counts=True)
    if len(films) < fewest_patients(pass_rate):
        return math.nan
    order = np.argsort(-values, kind="stable")
    weight = np.cumsum(1 / films[place[order]])
    needed = min(pass_rate * (len(films) + 1) - _TINY, weight[-1])
    return float(values[order][np.searchsorted(weight, needed)])


def passes(film: Film, limits: Mapping[str, Limits]) -> dict[str, bool]:
    """By kind that has limits, whether ``film`` passes."""
    return {
        kind: score >= limits[kind].threshold(film.attributes) for kind, score in film.scores.items() if kind in limits
    }


def cross_fitted(
    films: Sequence[Film], fit: Callable[[Sequence[Film]], Mapping[str, Limits]], folds: int = 5
) -> Iterator[tuple[int, dict[str, bool]]]:
    """The place of each film, and what `passes` says of it by the limits that ``fit`` makes of other patients' films.

    The patients fall into ``folds`` by a hash of their names.
    """
    fold_of = [derived_seed(0, film.patient) % folds for film in films]
    for fold in range(folds):
        limits = fit([film for film, its in zip(films, fold_of, strict=True) if its != fold])
        for place, film in enumerate(films):
            if fold_of[place] == fold:
                yield place, passes(film, limits)
