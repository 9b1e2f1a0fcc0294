"""Measurements on organ masks: pure functions, and a table of what each number means, its unit and its source.

Everything is relative to the chest itself, so that scale and place of the picture do not matter: lengths in widths of
the thorax, areas in its square. What cannot be measured is NaN. Right and left are the patient's: the right lung is at
the left of the picture.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from gen.anatomy.network import ORGANS

EVEN = 0.5  # the probability from which a pixel belongs to an organ
LEAST_SHARE = 5e-4  # of the picture: a smaller patch is no organ
LEAST_PART = 0.1  # of the largest piece of an organ: a smaller one is no lung and no heart
CORNER = 0.15  # of a lung's height: the radius around the costophrenic tip in which its angle is taken
RIB_COUNTS = (6.0, 14.0)  # ribs above the diaphragm that are looked for
OCTAVE = 0.75  # of the highest peak: a shorter lag that reaches it is the period
LINES = (0.4, 0.5, 0.6)  # across a lung, down which ribs are looked for
LEAST_PERIODICITY = 0.15  # autocorrelation of the rib mask at its period; below it there is no period


def _number(unit: str, definition: str, source: str = "") -> Any:
    return dataclasses.field(metadata={"unit": unit, "definition": definition, "source": source})


@dataclass(frozen=True)
class Measurements:
    """The measurements of one chest; `table` says what each of them is. NaN: it cannot be measured."""

    cardiothoracic_ratio: float = _number(
        "ratio",
        "widest heart, from its right to its left border, over the widest inner thorax, between the outer borders of "
        "the lungs in one row",
        "Danzer 1919, Am J Med Sci 157:513",
    )
    right_lung_area: float = _number("thoracic widths squared", "area of the right lung above the diaphragm")
    left_lung_area: float = _number("thoracic widths squared", "area of the left lung above the diaphragm")
    lung_symmetry: float = _number("ratio", "smaller over larger lung area")
    right_lung_aspect: float = _number("ratio", "height over width of the right lung above the diaphragm")
    left_lung_aspect: float = _number("ratio", "height over width of the left lung above the diaphragm")
    right_lung_height: float = _number("thoracic widths", "height of the right lung above the diaphragm")
    left_lung_height: float = _number("thoracic widths", "height of the left lung above the diaphragm")
    right_costophrenic_degrees: float = _number(
        "degrees",
        "angle of the right lung at its lower outer tip, from the share of a disc around the tip that lung fills",
        "Manay et al. 2006, IEEE TPAMI 28:1602, area invariant",
    )
    left_costophrenic_degrees: float = _number(
        "degrees",
        "angle of the left lung at its lower outer tip, from the share of a disc around the tip that lung fills",
        "Manay et al. 2006, IEEE TPAMI 28:1602, area invariant",
    )
    mediastinal_ratio: float = _number(
        "ratio",
        "widest mediastinum above the heart, in the second fifth of the lungs' height, over the widest inner thorax",
        "Seltzer et al. 1981, AJR 137:1011",
    )
    rotation: float = _number(
        "thoracic widths",
        "offset of the middle between the clavicles' medial ends from the spine's mid-line; positive: towards the "
        "patient's left, as when the front of the chest is turned there",
        "European Commission 1996, EUR 16260 EN: medial ends at equal distances from the spine",
    )
    ribs: float = _number(
        "count",
        "ribs above the diaphragm: height of the right lung over the period of the ribs down the middle of both lungs",
        "European Commission 1996, EUR 16260 EN: ribs above the diaphragm",
    )
    tilt_degrees: float = _number("degrees", "the spine against the vertical; positive: its top leans to the right")
    share_in_frame: float = _number(
        "share", "part of a lung's outline that is not an edge of the picture, of the lung that has less of it"
    )
    lungs: float = _number("count", "connected lungs: pieces of at least a tenth of the largest")
    hearts: float = _number("count", "connected hearts: pieces of at least a tenth of the largest")


NAMES = tuple(field.name for field in dataclasses.fields(Measurements))
SHAPES = tuple(name for name in NAMES if name not in ("lungs", "hearts"))
"""The measurements that vary from one sound chest to the next."""


def table() -> list[tuple[str, str, str, str]]:
    """Name, unit, definition and source of each measurement."""
    fields = dataclasses.fields(Measurements)
    return [(field.name, *(field.metadata[key] for key in ("unit", "definition", "source"))) for field in fields]


def measure(maps: np.ndarray) -> Measurements:
    """Measure the chest in ``maps`` (10, H, W) in the order of ORGANS: masks, or probabilities that become masks at
    EVEN."""
    masks = maps if maps.dtype == bool else maps >= EVEN
    organs = {name: mask if mask.mean() >= LEAST_SHARE else np.zeros_like(mask) for name, mask in _named(masks)}
    whole = [pieces(organs[f"{side} lung"]) for side in ("right", "left")]
    heart = pieces(organs["heart"])
    right, left = (np.any(parts, axis=0) if parts else np.zeros(masks.shape[1:], bool) for parts in whole)
    aerated = [lung & ~organs["abdomen"] for lung in (right, left)]
    thorax = thoracic_width(right, left)
    areas = [np.divide(lung.sum(), thorax**2) if lung.any() else math.nan for lung in aerated]
    heights, aspects = zip(*(_height_and_aspect(lung) for lung in aerated), strict=True)
    slope, offset = _spine_line(organs["spine"], right | left)
    corners = [costophrenic_degrees(lung, outward) for lung, outward in zip(aerated, (-1, 1), strict=True)]
    return Measurements(
        cardiothoracic_ratio=_ratio(_width(heart[0]) if heart else math.nan, thorax),
        right_lung_area=float(areas[0]),
        left_lung_area=float(areas[1]),
        lung_symmetry=_ratio(min(areas), max(areas)),
        right_lung_aspect=aspects[0],
        left_lung_aspect=aspects[1],
        right_lung_height=_ratio(heights[0], thorax),
        left_lung_height=_ratio(heights[1], thorax),
        right_costophrenic_degrees=corners[0],
        left_costophrenic_degrees=corners[1],
        mediastinal_ratio=_ratio(_mediastinal_width(organs["mediastinum"], right | left, heart), thorax),
        rotation=_ratio(_clavicle_offset(organs["right clavicle"], organs["left clavicle"], slope, offset), thorax),
        ribs=rib_count(maps[ORGANS.index("ribs")].astype(np.float64), *aerated),
        tilt_degrees=-math.degrees(math.atan(slope)),
        share_in_frame=min(_share_in_frame(right), _share_in_frame(left)),
        lungs=float(_count([*whole[0], *whole[1]])),
        hearts=float(len(heart)),
    )


def pieces(mask: np.ndarray) -> list[np.ndarray]:
    """The connected pieces of ``mask`` (H, W), the largest first, without those under LEAST_PART of it."""
    labels, count = ndimage.label(mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    order = [number for number in np.argsort(-sizes, kind="stable") if sizes[number] >= LEAST_PART * sizes.max()]
    return [labels == number + 1 for number in order]


def thoracic_width(right: np.ndarray, left: np.ndarray) -> float:
    """Pixels between the outer borders of the lungs in the row where they are farthest apart; NaN without both."""
    rows = right.any(1) & left.any(1)
    if not rows.any():
        return math.nan
    first = right[rows].argmax(1)
    last = left.shape[1] - 1 - left[rows][:, ::-1].argmax(1)
    return float((last - first).max() + 1)


def costophrenic_degrees(lung: np.ndarray, outward: int) -> float:
    """The angle of ``lung`` (H, W) at its lower outer tip; ``outward`` is -1 where that is to the left, 1 to the right.

    A wedge of the angle a fills the share a / 360 of a disc around its tip. NaN where the picture cuts the disc's lung.
    """
    if not lung.any():
        return math.nan
    rows, columns = np.nonzero(lung)
    tip = int(np.argmax(2 * rows + outward * columns))  # the tip lies farthest along any direction between its sides
    y, x = int(rows[tip]), int(columns[tip])
    radius = CORNER * (np.ptp(rows) + 1)
    if radius < 3 or y >= lung.shape[0] - 1 or not 0 < x < lung.shape[1] - 1:
        return math.nan
    near = np.square(rows - y) + np.square(columns - x) <= radius**2
    return float(360 * near.sum() / (math.pi * radius**2))


def rib_count(ribs: np.ndarray, right: np.ndarray, left: np.ndarray) -> float:
    """Ribs above the diaphragm: the height of the lung ``right`` over the period of ``ribs`` down both lungs, all
    (H, W); ``ribs`` may be probabilities, whose waves are there where a mask has gaps.

    The period is the lag of the highest autocorrelation, averaged over lines near the middle of each lung, between
    those of RIB_COUNTS, or the first that is nearly as high, for twice a period is one as well; NaN where none stands
    out.
    """
    height = len(np.flatnonzero(right.any(1)))
    waves = [wave for lung in (right, left) for part in LINES if len(wave := _along(ribs, lung, part)) >= height / 2]
    if height < 5 * RIB_COUNTS[1] or not waves:  # a rib and its gap are five pixels at the least
        return math.nan
    most, least = (int(height / count) for count in RIB_COUNTS)
    similar = np.zeros(most + 3)
    for wave in waves:
        correlation = np.correlate(wave, wave, "full")[len(wave) - 1 :][: len(similar)]
        similar[: len(correlation)] += correlation / max(float(np.square(wave).sum()), 1e-9) / len(waves)
    peaks = [k for k in range(max(least, 1), most + 1) if similar[k - 1] <= similar[k] > similar[k + 1]]
    highest = max((similar[k] for k in peaks), default=0.0)
    if highest < LEAST_PERIODICITY:
        return math.nan
    lag = next(k for k in peaks if similar[k] >= OCTAVE * highest)
    before, at, after = similar[lag - 1 : lag + 2]
    return float(height / (lag + (before - after) / (2 * (before - 2 * at + after))))  # the parabola's top


def _along(ribs: np.ndarray, lung: np.ndarray, part: float) -> np.ndarray:
    """The ribs down ``lung``, ``part`` of the way across it, as waves around their local mean."""
    rows = np.flatnonzero(lung.any(1))
    if not len(rows):
        return np.empty(0)
    inside = lung[rows]
    first, last = inside.argmax(1), inside.shape[1] - 1 - inside[:, ::-1].argmax(1)
    line = ndimage.gaussian_filter1d(first + part * (last - first), len(rows) / 50)
    half = max(1, round(len(rows) / 80))
    around = np.rint(line).astype(int)[:, None] + np.arange(-half, half + 1)
    profile = ribs[rows[:, None], np.clip(around, 0, ribs.shape[1] - 1)].mean(1)
    return np.asarray(profile - ndimage.gaussian_filter1d(profile, len(rows) / 8))


def _named(masks: np.ndarray) -> list[tuple[str, np.ndarray]]:
    if masks.ndim != 3 or len(masks) != len(ORGANS) or masks.dtype != bool:
        raise ValueError(f"masks are bool ({len(ORGANS)}, H, W), not {masks.dtype} {masks.shape}")
    return list(zip(ORGANS, masks, strict=True))


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else math.nan


def _width(mask: np.ndarray) -> float:
    return float(np.ptp(np.flatnonzero(mask.any(0))) + 1)


def _height_and_aspect(lung: np.ndarray) -> tuple[float, float]:
    if not lung.any():
        return math.nan, math.nan
    height = float(np.ptp(np.flatnonzero(lung.any(1))) + 1)
    return height, height / _width(lung)


def _count(parts: list[np.ndarray]) -> int:
    sizes = [int(part.sum()) for part in parts]
    return sum(size >= LEAST_PART * max(sizes) for size in sizes)


def _spine_line(spine: np.ndarray, lungs: np.ndarray) -> tuple[float, float]:
    """Slope and offset of the spine's mid-line, column = slope x row + offset, beside the lungs; NaN without it."""
    rows = np.flatnonzero(spine.any(1) & lungs.any(1))
    if len(rows) < max(8, 0.3 * lungs.any(1).sum()):
        return math.nan, math.nan
    middle = (spine[rows] * np.arange(spine.shape[1])).sum(1) / spine[rows].sum(1)
    slope, offset = np.polyfit(rows, middle, 1)
    return float(slope), float(offset)


def _clavicle_offset(right: np.ndarray, left: np.ndarray, slope: float, offset: float) -> float:
    """How far right of the spine's mid-line the middle between the medial ends of the clavicles is, in pixels."""
    if not (right.any() and left.any()):
        return math.nan
    distances = []
    for clavicle, side in ((pieces(right)[0], -1), (pieces(left)[0], 1)):
        rows, columns = np.nonzero(clavicle)
        end = int(np.argmin(side * columns))
        distances.append(columns[end] - (slope * rows[end] + offset))
    return float(sum(distances) / 2)


def _mediastinal_width(mediastinum: np.ndarray, lungs: np.ndarray, heart: list[np.ndarray]) -> float:
    rows = np.flatnonzero(lungs.any(1))
    if not len(rows) or not heart:
        return math.nan
    top, height = rows[0], len(rows)
    last = min(top + 0.4 * height, np.flatnonzero(heart[0].any(1))[0])
    widths = mediastinum[int(top + 0.2 * height) : int(last)].sum(1)
    return float(widths.max()) if len(widths) and widths.any() else math.nan


def _share_in_frame(lung: np.ndarray) -> float:
    if not lung.any():
        return math.nan
    cut = lung[0].sum() + lung[-1].sum() + lung[:, 0].sum() + lung[:, -1].sum()
    free = (lung[1:] != lung[:-1]).sum() + (lung[:, 1:] != lung[:, :-1]).sum()
    return float(free / (free + cut))
