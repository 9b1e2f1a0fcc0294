"""The anatomy of the images, measured on organ masks: are they whole chests, and shaped as real ones are?

Contrast and texture do not enter, which distances in an extractor reward. What a network that learnt from projections
outlines is measured by `gen.anatomy.measure`; real images are measured by the same, and stand beside.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gen.anatomy.measure import Measurements
from gen.anatomy.reading import read_anatomy
from gen.data.rows import study_of
from gen.evaluate.fidelity import frechet_distance, halves
from gen.evaluate.images import ImageSet
from gen.evaluate.privacy import OnProgress
from gen.statistics.intervals import Figure, jackknife, mean_of, share, unknown, with_error

if TYPE_CHECKING:
    from gen.anatomy.folder import Anatomy

RATIO = (0.3, 0.7)  # cardiothoracic ratios of a living patient
RANGED = ("lung_symmetry", "ribs")  # inside the central 95 % of real images
# The shape of a chest, without what depends on the picture's frame.
SHAPE = (
    *("cardiothoracic_ratio", "right_lung_area", "left_lung_area", "right_lung_aspect", "left_lung_aspect"),
    *("right_lung_height", "left_lung_height", "mediastinal_ratio", "rotation", "tilt_degrees", "ribs"),
)
PART = 256  # images that are in memory at once
FEWEST = 32  # whole chests in a half of each set, for a distance between them


@dataclass(frozen=True)
class Chests:
    """Shares of a set's frontal images. ``accepted``: one upright frontal chest, clearly outlined; ``whole``: that with
    two lungs, one heart, a ratio in RATIO, and lung symmetry and rib count as 95 % of real images have them."""

    accepted: Figure
    two_lungs: Figure
    one_heart: Figure
    ratio: Figure
    lung_symmetry: Figure
    ribs: Figure
    whole: Figure


@dataclass(frozen=True)
class AnatomyFigures:
    """``synthetic`` beside ``real``; ``distance`` is the Frechet distance over SHAPE in standard deviations of the real
    images, ``floor`` that of one half of the real ones from the other, both at ``n`` images a side.

    ``ranges`` are the central 95 % of the real images; ``means`` of each measurement of both sets; ``refused`` counts
    the reasons why synthetic images were not accepted.
    """

    network: str
    synthetic: Chests
    real: Chests
    distance: Figure
    floor: Figure
    n: int
    ranges: Mapping[str, tuple[float, float]]
    means: Mapping[str, Mapping[str, Figure]]
    refused: Mapping[str, int]


@dataclass(frozen=True)
class Measured:
    """The measurements of N images by name, float64 (N,), their ``units``, and why each was refused ("": not)."""

    values: Mapping[str, np.ndarray]
    units: tuple[str, ...]
    refused: tuple[str, ...]


def anatomy_figures(anatomy: Anatomy, real: ImageSet, synthetic: ImageSet, on_progress: OnProgress) -> AnatomyFigures:
    """Measure the frontal images of both sets with ``anatomy``."""
    sides = []
    for what, images in (("real", real), ("synthetic", synthetic)):
        frontal = [k for k, row in enumerate(images.rows) if study_of(row).view != "lateral"]
        done = on_progress(f"measuring {what} chests", len(frontal))
        parts = (images.pixels_u8[frontal[start : start + PART]] for start in range(0, len(frontal), PART))
        seen = [(each.measurements, each.refused) for part in parts for each in read_anatomy(anatomy, part, done)]
        sides.append(measured_of(seen, [images.units[k] for k in frontal]))
    return compare_anatomy(sides[0], sides[1], f"{anatomy.name} ({anatomy.fingerprint})")


def measured_of(seen: Sequence[tuple[Measurements, str]], units: Sequence[str]) -> Measured:
    """What was ``seen`` in images, measurements and why each was refused, with the patient of each."""
    names = [field.name for field in dataclasses.fields(Measurements)]
    values = {name: np.array([getattr(each, name) for each, _ in seen], np.float64) for name in names}
    return Measured(values, tuple(units), tuple(refused for _, refused in seen))


def compare_anatomy(real: Measured, synthetic: Measured, network: str) -> AnatomyFigures:
    """The figures of two measured sets.

    As in `fidelity`, real patients fall into halves A and B and the synthetic ones into S and T. Ranges come from A for
    B and T, and from B for A and S, so that no real image is inside a range that it made.
    """
    (a, b), (s, t) = halves(real.units), halves(synthetic.units)
    within = {side: {name: np.zeros(len(of.units), bool) for name in RANGED} for side, of in _sides(real, synthetic)}
    for fitted, of_real, of_synthetic in ((a, b, t), (b, a, s)):
        for name in RANGED:
            low, high = range_of(real.values[name][fitted])
            for side, of, places in (("real", real, of_real), ("synthetic", synthetic, of_synthetic)):
                values = of.values[name][places]
                within[side][name][places] = (values >= low) & (values <= high)
    distance, n = _distances(real, synthetic, (a, b), (s, t))
    reasons = [_kind_of(reason) for reason in synthetic.refused if reason]
    return AnatomyFigures(
        network=network,
        synthetic=_chests(synthetic, within["synthetic"]),
        real=_chests(real, within["real"]),
        distance=distance[0],
        floor=distance[1],
        n=n,
        ranges={name: range_of(real.values[name]) for name in RANGED},
        means={
            name: {side: _mean(of.values[name], of.units) for side, of in _sides(real, synthetic)}
            for name in real.values
        },
        refused={reason: reasons.count(reason) for reason in sorted(set(reasons))},
    )


def range_of(values: np.ndarray) -> tuple[float, float]:
    """The central 95 % of ``values`` (N,), NaN left out; NaN where nothing is left."""
    known = values[~np.isnan(values)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.quantile(known, (0.025, 0.975))
    return float(low), float(high)


def _sides(real: Measured, synthetic: Measured) -> tuple[tuple[str, Measured], ...]:
    return ("synthetic", synthetic), ("real", real)


def _chests(of: Measured, within: Mapping[str, np.ndarray]) -> Chests:
    ratio = of.values["cardiothoracic_ratio"]
    flags = {
        "accepted": np.array([not reason for reason in of.refused], bool),
        "two_lungs": of.values["lungs"] == 2,
        "one_heart": of.values["hearts"] == 1,
        "ratio": (ratio >= RATIO[0]) & (ratio <= RATIO[1]),
        **within,
    }
    whole = np.logical_and.reduce(list(flags.values()))
    return Chests(**{name: share(each, of.units) for name, each in {**flags, "whole": whole}.items()})


def _distances(
    real: Measured, synthetic: Measured, of_real: Sequence[np.ndarray], of_synthetic: Sequence[np.ndarray]
) -> tuple[tuple[Figure, Figure], int]:
    """The Frechet distance of the synthetic chests and its floor, and the images a side; only accepted chests of which
    all of SHAPE is known have a place in it."""
    x, y = (np.stack([of.values[name] for name in SHAPE], axis=1) for of in (real, synthetic))
    accepted = [np.array([not reason for reason in of.refused], bool) for of in (real, synthetic)]
    known = [~np.isnan(values).any(1) & fine for values, fine in zip((x, y), accepted, strict=True)]
    halved = [part[known[0][part]] for part in of_real], [part[known[1][part]] for part in of_synthetic]
    n = min(len(part) for parts in halved for part in parts)
    if n < FEWEST:
        return (unknown(n), unknown(n)), n
    (a, b), (s, t) = ([part[:n] for part in parts] for parts in halved)
    middle, spread = x[known[0]].mean(0), np.maximum(x[known[0]].std(0), 1e-9)
    x, y = (x - middle) / spread, (y - middle) / spread
    units = [np.asarray(of.units) for of in (real, synthetic)]

    def figure(pairs: Sequence[tuple[np.ndarray, np.ndarray]], other: np.ndarray, of_other: np.ndarray) -> Figure:
        values, variances, freedoms = [], [], []
        for first, second in pairs:
            p, q = x[first], other[second]
            values.append(frechet_distance(p, q))
            error, freedom = jackknife(
                lambda i, j, p=p, q=q: frechet_distance(p[i], q[j]), list(units[0][first]), list(of_other[second])
            )
            variances.append(float(error) ** 2)
            freedoms.append(freedom)
        return with_error(float(np.mean(values)), math.sqrt(sum(variances)) / len(pairs), n, min(freedoms))

    return (figure([(a, s), (b, t)], y, units[1]), figure([(a, b)], x, units[0])), n


def _mean(values: np.ndarray, units: Sequence[str]) -> Figure:
    known = ~np.isnan(values)
    return mean_of(values[known], [unit for unit, each in zip(units, known, strict=True) if each])


def _kind_of(reason: str) -> str:
    """A reason without its numbers, so that equal ones can be counted."""
    return " ".join(word for word in reason.partition(" (")[0].split() if not any(map(str.isdigit, word)))
