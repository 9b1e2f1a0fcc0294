"""An enlarged heart: the heart stretched from side to side at the cost of the lungs, up to a cardiothoracic ratio.

The ratio is Danzer's (Am. J. Med. Sci. 157, 513, 1919): the farthest that the heart reaches to the right and to the
left, over the greatest inner width of the chest. It is measured on the frontal silhouette of what lies between the
lungs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
from scipy import ndimage

from drr.ct.volume import AIR_HU, Labels, Volume
from drr.insert.thorax import Box, between_lungs, box_corners
from gen.core.errors import BadInput

# Above 0.5 a heart counts as large; these are what is called mild, moderate and severe in reports.
_RATIO = {"mild": (0.54, 0.56), "moderate": (0.585, 0.61), "severe": (0.635, 0.66)}
_COARSE_MM = 3.0
_SILHOUETTE_MM = 40.0  # of tissue between the lungs that a frontal view shows as heart; hilar vessels have less
_ABOVE_DOME_MM = 10.0  # where a dome no longer counts as heart
_STEEPEST = 2.8349  # the greatest rise of 16 w^2 (1 - w)^2 with w = v^1.5, so that the map stays one-to-one


@dataclass(frozen=True, eq=False)
class Heart:
    """Where the heart is, in fractional indices of the volume: ``top`` and ``floor`` along z, ``front`` and ``back``
    along y, ``middle``, and the inner chest walls ``right`` and ``left`` along x; ``ratio`` is the cardiothoracic."""

    floor: float
    top: float
    front: float
    back: float
    middle: float
    right: float
    left: float
    ratio: float

    def weights(self, planes: np.ndarray, rows: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
        """How far planes and rows take part, (z, y, 1): 1 at the base, less towards the great vessels,
        0 at the sternum and the spine."""
        dz, dy, _ = spacing_mm
        z_mm, y_mm = planes * dz, rows * dy
        z = _rise(z_mm, self.floor * dz - 50, 40) * (
            1 - _rise(z_mm, self.floor * dz + 10, (self.top - self.floor) * dz + 30)
        )
        y = _rise(y_mm, self.front * dy, 20) * (1 - _rise(y_mm, self.back * dy - 15, 30))
        weights: np.ndarray = (z[:, None] * y[None, :])[:, :, None]
        return weights.astype(np.float32)

    def stretch(self, columns: np.ndarray) -> np.ndarray:
        """The shape of the shift along x: 0 with slope 0 at the middle and the walls, 1 and -1 at 0.63 of the
        way to the left and the right wall: the heart grows slowly and the lung beside it is pressed together."""
        beside = np.where(columns > self.middle, self.left - self.middle, self.middle - self.right)
        v = np.clip(abs(columns - self.middle) / beside, 0, 1)
        w = v**1.5
        shape: np.ndarray = np.sign(columns - self.middle) * 16 * w**2 * (1 - w) ** 2
        return shape.astype(np.float32)

    def sources(self, columns: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """The columns that voxels come from, (z, y, x), for shifts (z, y, 1) in columns: two steps, each one-to-one."""
        halfway = columns - shift * self.stretch(columns)
        came_from: np.ndarray = halfway - shift * self.stretch(halfway)
        return came_from


def cardiomegaly(
    volume: Volume, body: np.ndarray, lungs: np.ndarray, severity: str, rng: np.random.Generator
) -> tuple[Volume, np.ndarray, dict[str, Any]]:
    """Enlarge the heart: the new volume (its labels too), the mask of the heart, and facts, the ratio before and after.

    Voxels move along x only, so that the map is one-to-one where its slope along x is positive, and it is limited to
    that. BadInput where a lung is missing, or the heart is as large as that or cannot be made so.
    """
    coarse, every, steps_mm = _coarse(volume, lungs)
    heart = _on_grid(volume.name, coarse, steps_mm)
    wanted = float(rng.uniform(*_RATIO[severity]))
    if heart.ratio > wanted - 0.02:
        raise BadInput(
            f"{volume.name}: the cardiothoracic ratio is {heart.ratio:.2f} as it is, and {severity} means {wanted:.2f}",
            hint="ask for a more severe one or take another CT",
        )
    weights = heart.weights(np.arange(coarse.shape[0]), np.arange(coarse.shape[1]), steps_mm)
    columns = np.arange(coarse.shape[2], dtype=np.float32)
    tissue = (between_lungs(coarse) & (coarse == 0)).astype(np.float32)
    most = 0.95 * min(heart.left - heart.middle, heart.middle - heart.right) / _STEEPEST
    low, high = 0.0, most
    for _ in range(12):
        shift = (low + high) / 2
        moved = _lerp_rows(tissue, heart.sources(columns, shift * weights))
        ratio = _ratio(moved, heart, steps_mm)
        low, high = (shift, high) if ratio < wanted else (low, shift)
    if ratio < wanted - 0.02:
        raise BadInput(f"{volume.name}: the heart cannot be stretched to a cardiothoracic ratio of {wanted:.2f}")
    changed, mask, box = _apply(volume, lungs, _finer(heart, every), shift * every[2])
    facts = {
        "cardiothoracic_ratio": round(ratio, 3),
        "cardiothoracic_ratio_before": round(heart.ratio, 3),
        "moved_box": box_corners(box),
    }
    return changed, mask & body, facts


def find_heart(volume: Volume, lungs: np.ndarray) -> Heart:
    """The heart between the lungs, to about 3 mm; BadInput where it is not outlined by air."""
    coarse, every, steps_mm = _coarse(volume, lungs)
    return _finer(_on_grid(volume.name, coarse, steps_mm), every)


def _coarse(volume: Volume, lungs: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int], tuple[float, float, float]]:
    """Every so many voxels of ``lungs``, how many, and their spacing."""
    z, y, x = (max(1, round(_COARSE_MM / step)) for step in volume.spacing_mm)
    dz, dy, dx = volume.spacing_mm
    return lungs[::z, ::y, ::x], (z, y, x), (z * dz, y * dy, x * dx)


def _finer(heart: Heart, every: tuple[int, int, int]) -> Heart:
    z, y, x = every
    return Heart(
        floor=heart.floor * z,
        top=heart.top * z,
        front=heart.front * y,
        back=heart.back * y,
        middle=heart.middle * x,
        right=heart.right * x,
        left=heart.left * x,
        ratio=heart.ratio,
    )


def _on_grid(name: str, lungs: np.ndarray, spacing_mm: tuple[float, float, float]) -> Heart:
    counts = [int((lungs == side).sum()) for side in (1, 2)]
    if min(counts) < 0.15 * max(counts):
        raise BadInput(f"{name}: the heart is not outlined by air on both sides", hint="take a CT with two lungs")
    air = lungs > 0
    heights = np.flatnonzero(air.any(axis=(1, 2)))
    floor = max(_dome(lungs == side) for side in (1, 2)) + _ABOVE_DOME_MM / spacing_mm[0]
    top = heights[0] + 0.5 * (heights[-1] - heights[0])  # below the hila
    planes = slice(int(floor), int(top) + 1)
    if planes.stop - planes.start < 3:
        raise BadInput(f"{name}: no room for a heart between diaphragm and carina")
    rows = np.flatnonzero(air[planes].any(axis=(0, 2)))
    columns = np.flatnonzero(air.any(axis=(0, 1)))
    # The vertebral bodies begin at some six tenths of the depth of the chest.
    front, back = float(rows[0]), float(rows[0] + 0.6 * (rows[-1] - rows[0]))
    inner = [np.flatnonzero((lungs[planes] == side).any(axis=(0, 1))) for side in (1, 2)]
    middle = float(inner[0][-1] + inner[1][0]) / 2
    heart = Heart(float(floor), float(top), front, back, middle, float(columns[0]), float(columns[-1]), 0.0)
    tissue = (between_lungs(lungs) & ~air).astype(np.float32)
    right, left = _borders(tissue, heart, spacing_mm)
    heart = replace(heart, middle=(right + left) / 2)
    return replace(heart, ratio=_ratio(tissue, heart, spacing_mm))


def _dome(lung: np.ndarray) -> float:
    """The plane of the diaphragm's dome: the lowest air above the middle of the lung's footprint."""
    footprint = lung.any(axis=0)
    depth = ndimage.distance_transform_edt(footprint)
    lowest = np.argmax(lung, axis=0)
    return float(np.median(lowest[depth > 0.6 * depth.max()]))


def _ratio(tissue: np.ndarray, heart: Heart, spacing_mm: tuple[float, float, float]) -> float:
    right, left = _borders(tissue, heart, spacing_mm)
    return float(left - right) / (heart.left - heart.right + 1)


def _borders(tissue: np.ndarray, heart: Heart, spacing_mm: tuple[float, float, float]) -> tuple[float, float]:
    """Where the frontal silhouette of the heart reaches farthest to the right and to the left, in columns."""
    depth_mm = tissue[ceil(heart.floor) : int(heart.top) + 1].sum(axis=1) * spacing_mm[1]
    start = round(heart.middle)
    reached = []
    for half in (depth_mm[:, start::-1], depth_mm[:, start:]):
        farthest = 0.0
        for row in half:
            beyond = np.flatnonzero(row < _SILHOUETTE_MM)
            if beyond.size and beyond[0] > 0:
                k = int(beyond[0])
                farthest = max(farthest, k - 1 + (row[k - 1] - _SILHOUETTE_MM) / (row[k - 1] - row[k]))
        reached.append(farthest)
    return start - reached[0], start + reached[1]


def _apply(volume: Volume, lungs: np.ndarray, heart: Heart, shift: float) -> tuple[Volume, np.ndarray, Box]:
    """Move the voxels: ``shift`` is the greatest, in columns."""
    depth, height, width = volume.hu.shape
    weights = heart.weights(np.arange(depth), np.arange(height), volume.spacing_mm)
    used = [np.flatnonzero((weights[:, :, 0] > 1e-3).any(axis=1 - axis)) for axis in (0, 1)]
    columns = slice(max(int(heart.right), 0), min(int(heart.left) + 2, width))
    box = (slice(int(used[0][0]), int(used[0][-1]) + 1), slice(int(used[1][0]), int(used[1][-1]) + 1), columns)
    across = np.arange(columns.start, columns.stop, dtype=np.float32)
    source = heart.sources(across, shift * weights[box[:2]]) - columns.start
    hu = volume.hu.copy()
    moved = _lerp_rows(hu[box].astype(np.float32), source)
    # A lung that is pressed together keeps its mass.
    slope = np.gradient(source, axis=2)
    moved = np.where(moved < -300, (moved - AIR_HU) * np.clip(slope, 0.5, 2.0) + AIR_HU, moved)
    hu[box] = np.rint(moved).astype(np.int16)
    nearest = np.clip(np.rint(source), 0, source.shape[2] - 1).astype(int)
    labels, mask = volume.labels, np.zeros(hu.shape, bool)
    planes = np.arange(depth)[:, None, None]
    within = (between_lungs(lungs) & (lungs == 0))[box] & (weights[box[:2]] > 0.5)
    within &= (planes[box[0]] > heart.floor) & (planes[box[0]] < heart.top)
    if labels is not None:
        ids = labels.ids.copy()
        named = [number for number, name in labels.names.items() if name.startswith("heart")]
        if np.isin(ids[box], named).any():
            within = np.isin(ids[box], named)
        ids[box] = np.take_along_axis(ids[box], nearest, axis=2)
        labels = Labels(ids, labels.names)
    mask[box] = np.take_along_axis(within, nearest, axis=2)
    return replace(volume, hu=hu, labels=labels), mask, box


def _lerp_rows(values: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Linear interpolation along x at ``source`` (z, y, x)."""
    source = np.clip(source, 0, values.shape[2] - 1)
    before = np.minimum(source.astype(np.int32), values.shape[2] - 2)
    share = (source - before).astype(np.float32)
    left = np.take_along_axis(values, before, axis=2)
    return left + share * (np.take_along_axis(values, before + 1, axis=2) - left)


def _rise(values: np.ndarray, start: float, width: float) -> np.ndarray:
    """0 below ``start`` to 1 above ``start + width``, without a kink."""
    t = np.clip((values - start) / width, 0, 1)
    eased: np.ndarray = t * t * (3 - 2 * t)
    return eased
