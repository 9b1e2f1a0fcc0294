"""How real images fare at the gates: who passes by thresholds from other patients' images, and what gets through.

In every share each patient weighs 1, as in the thresholds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

from augment.dataset.gates.calibration import Limits, RealImage, cross_fitted
from augment.dataset.gates.scores import opposite_of, rounded
from gen.statistics.groups import ALL, by_size, crossed
from gen.statistics.intervals import Figure, patient_share

Fit = Callable[[Sequence[RealImage]], Mapping[str, Limits]]  # limits of all groups, whatever their size
Passed = Mapping[str, bool]  # by kind of gate, whether an image passes


def rates(images: Sequence[RealImage], limits: Mapping[str, Limits], least_images: int, fit: Fit) -> dict[str, Any]:
    """For JSON: "kinds", what each kind's ``limits`` are and who passes them, and "joint", who passes all, by group.

    "passed" is the share of real images that pass, and "others" that of images of the opposite kind (without the
    finding, of the other sex or view) which pass for it: what the gate does not stop.
    """
    passed = outcomes(images, limits, fit)
    kinds = {
        kind: {
            "groups": {
                key: {
                    "threshold": limit.threshold,
                    "images": limit.images,
                    "patients": limit.patients,
                    "passed": share_of(images, passed, key, partial(at, kind)).as_dict(),
                    "others": _others(images, each, kind, key).as_dict(),
                }
                for key, limit in each.groups.items()
            },
            "pooled": dict(each.pooled),
        }
        for kind, each in limits.items()
    }
    large = large_groups(images, least_images)
    return {
        "kinds": kinds,
        "joint": {key: share_of(images, passed, key, all_of_its_own).as_dict() for key in large},
    }


def outcomes(images: Sequence[RealImage], limits: Mapping[str, Limits], fit: Fit) -> list[dict[str, bool]]:
    """By image, what it passes by the limits that ``fit`` makes of other patients' images, for the groups of
    ``limits``.

    The limit for copies stays as it is: it came with the judge, whose held-out images may be these.
    """

    def of_others(chosen: Sequence[RealImage]) -> dict[str, Limits]:
        fitted = fit(chosen)
        kept = {}
        for kind, each in limits.items():
            if kind in fitted:
                groups = {key: limit for key, limit in fitted[kind].groups.items() if key in each.groups}
                kept[kind] = Limits(groups, {})
            elif kind == "copy":
                kept[kind] = each
        return kept

    passed: list[dict[str, bool]] = [{} for _ in images]
    for place, hits in cross_fitted(images, of_others):
        passed[place] = hits
    return passed


def share_of(
    images: Sequence[RealImage], passed: Sequence[Passed], key: str, holds: Callable[[Passed], bool | None]
) -> Figure:
    """The share of the images of group ``key`` of whose ``passed`` gates ``holds`` is true; None does not count."""
    members = [(holds(hits), image.patient) for image, hits in zip(images, passed, strict=True) if key in _keys(image)]
    counted = [(hit, patient) for hit, patient in members if hit is not None]
    return patient_share([hit for hit, _ in counted], [patient for _, patient in counted])


def large_groups(images: Sequence[RealImage], least_images: int) -> list[str]:
    """The groups of at least ``least_images`` images, and "all", the widest first."""
    sizes = Counter(key for image in images for key in _keys(image))
    return [key for key in sorted(sizes, key=by_size) if key == ALL or sizes[key] >= least_images]


def at(kind: str, passed: Passed) -> bool | None:
    """Whether an image passes the gate of ``kind``; None where it is no image of it."""
    return passed.get(kind)


def all_of_its_own(passed: Passed) -> bool | None:
    """Whether an image passes all that a prompt of its labels is held to, which seldom says what is absent."""
    own = [hit for kind, hit in passed.items() if not kind.startswith("finding: no ")]
    return all(own) if own else None


def _others(images: Sequence[RealImage], limits: Limits, kind: str, key: str) -> Figure:
    opposite = opposite_of(kind)
    members = [image for image in images if opposite in image.scores and key in _keys(image)]
    hits = [rounded(1 - image.scores[opposite]) >= limits.threshold(image.attributes) for image in members]
    return patient_share(hits, [image.patient for image in members])


def _keys(image: RealImage) -> frozenset[str]:
    return _keys_of(tuple(image.attributes.items()))


@cache
def _keys_of(attributes: tuple[tuple[str, str], ...]) -> frozenset[str]:
    return frozenset(crossed(dict(attributes)))
