"""Thresholds that a real image of the same kind passes at a stated rate in every subgroup, not only on the whole.

A judge that is worse at one group would reject its images more often, and the set would no longer be balanced. So each
group of enough images gets a threshold of its own, and an image the most lenient one of the groups that it is in. Pure
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
class RealImage:
    """A real image: whose it is, what is known of it by attribute ("sex", "age" as a band, "race", "view"), and its
    score at each kind of gate that it is an image of, such as "finding: Pneumonia". ``framing`` is the one of
    `gen.judge.framings.FRAMINGS` that it was judged in; "" is not known."""

    patient: str
    attributes: Mapping[str, str]
    scores: Mapping[str, float]
    framing: str = ""


@dataclass(frozen=True)
class Limit:
    """The threshold that ``images`` of so many ``patients`` (None: not known) gave."""

    threshold: float
    images: int
    patients: int | None


@dataclass(frozen=True)
class Limits:
    """The thresholds of one kind. ``groups`` are keyed as "all", "sex=F" or "sex=F|age=40-59|view=PA"; ``pooled`` has
    the number of images of each group that is too small for a threshold, and has those of the groups around it."""

    groups: Mapping[str, Limit]
    pooled: Mapping[str, int]

    def threshold(self, attributes: Mapping[str, str]) -> float:
        """What an image with ``attributes`` must reach: the lowest of the thresholds of its groups."""
        return min(self.groups[key].threshold for key in crossed(attributes) if key in self.groups)


def limits_by_group(
    images: Sequence[RealImage], pass_rate: float, least_images: int, least_patients: int
) -> tuple[dict[str, Limits], dict[str, str]]:
    """The limits of each kind that ``images`` have scores of, and for the kinds that get none, why.

    Every group that is listed passes at ``pass_rate`` or more: an image's threshold is at most its group's own, and
    that one has the rate (`conformal`). A group is listed from ``least_images`` images of ``least_patients`` patients
    on, and all images together from `fewest_patients` on. One with the images of a wider group and no others would
    repeat it, and is not listed.
    """
    kinds: dict[str, list[RealImage]] = {}
    for image in images:
        for kind in image.scores:
            kinds.setdefault(kind, []).append(image)
    limits, without = {}, {}
    for kind, members in kinds.items():
        groups: dict[str, list[int]] = {}
        for place, image in enumerate(members):
            for key in crossed(image.attributes):
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
            large = len(places) >= least_images and len(set(units)) >= least_patients
            if not math.isnan(threshold) and (key == ALL or large):
                listed[key] = Limit(threshold, len(places), len(set(units)))
            else:
                pooled[key] = len(places)
        if ALL in listed:
            limits[kind] = Limits(listed, pooled)
        else:
            patients = len({image.patient for image in members})
            needed = fewest_patients(pass_rate)
            without[kind] = f"there are real images of {patients} patient(s), and a threshold takes {needed}"
    return limits, without


def fewest_patients(pass_rate: float) -> int:
    """From how many patients on `conformal` has a threshold: one in n + 1 falls below the lowest of n."""
    return max(FEWEST_PATIENTS, math.ceil(1 / (1 - pass_rate) - _TINY) - 1)


def own_patients(pass_rate: float) -> int:
    """From how many patients on a group is worth a threshold of its own: that is then not its lowest image's, of which
    one odd image would make a gate that lets everything pass."""
    return max(FEWEST_PATIENTS, math.ceil(2 / (1 - pass_rate) - _TINY) - 1)


def conformal(scores: Sequence[float], patients: Sequence[str], pass_rate: float) -> float:
    """The highest threshold that an image of a new patient reaches with a probability of at least ``pass_rate``.

    Images of one patient are alike, so the patients count and not the images: each has the weight 1, shared by his
    images, and no image is thrown away. With n patients the images at and above the threshold must weigh ``pass_rate``
    x (n + 1), which holds for patients of any distribution (Lee, Barber and Willett 2023, arXiv:2306.06342); with one
    image each it is the rule of `gen.judge.reference.copy_threshold`. NaN where there are too few patients for it
    (`fewest_patients`).
    """
    values = np.asarray(scores, np.float64)
    _, place, images = np.unique(np.asarray(patients), return_inverse=True, return_counts=True)
    if len(images) < fewest_patients(pass_rate):
        return math.nan
    order = np.argsort(-values, kind="stable")
    weight = np.cumsum(1 / images[place[order]])
    needed = min(pass_rate * (len(images) + 1) - _TINY, weight[-1])
    return float(values[order][np.searchsorted(weight, needed)])


def passes(image: RealImage, limits: Mapping[str, Limits]) -> dict[str, bool]:
    """By kind that has limits, whether ``image`` passes."""
    return {
        kind: score >= limits[kind].threshold(image.attributes)
        for kind, score in image.scores.items()
        if kind in limits
    }


def cross_fitted(
    images: Sequence[RealImage], fit: Callable[[Sequence[RealImage]], Mapping[str, Limits]], folds: int = 5
) -> Iterator[tuple[int, dict[str, bool]]]:
    """The place of each image, and what `passes` says of it by the limits that ``fit`` makes of other patients' images.

    The patients fall into ``folds`` by a hash of their names.
    """
    fold_of = [derived_seed(0, image.patient) % folds for image in images]
    for fold in range(folds):
        limits = fit([image for image, its in zip(images, fold_of, strict=True) if its != fold])
        for place, image in enumerate(images):
            if fold_of[place] == fold:
                yield place, passes(image, limits)
