"""Fine models of thin things: a disc or a ring swept along a course, and a plate, as `Part`s."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.interpolate import make_interp_spline
from scipy.spatial import cKDTree

from drr.ct.volume import Volume
from drr.insert.request import Part

_VOXEL_MM = 0.5
_STEP_MM = 0.25
_PIECE_MM = 30.0  # of a course in one box: a long box about a bent line is mostly empty
_MOST = 32767


def smooth_course(points_mm: Sequence[np.ndarray]) -> np.ndarray:
    """A spline through points (x, y, z), sampled every quarter of a millimetre of its length: float64 (N, 3)."""
    points = np.asarray(points_mm, np.float64)
    lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    spline = make_interp_spline(lengths, points, k=min(3, len(points) - 1))
    dense = spline(np.linspace(0, lengths[-1], int(lengths[-1] / _STEP_MM) * 4 + 2))
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(dense, axis=0), axis=1))])
    even = np.linspace(0, along[-1], max(int(along[-1] / _STEP_MM), 1) + 1)
    return np.stack([np.interp(even, along, dense[:, axis]) for axis in range(3)], axis=1)


def inside(volume: Volume, course_mm: np.ndarray) -> np.ndarray:
    """The longest run of a course that lies within the grid of ``volume``; may be empty."""
    index = volume.to_index(course_mm)
    within = ((index >= 0) & (index <= np.array(volume.hu.shape) - 1)).all(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], within, [0]])))
    runs = edges.reshape(-1, 2)
    if not len(runs):
        return course_mm[:0]
    start, stop = runs[np.argmax(runs[:, 1] - runs[:, 0])]
    return course_mm[start:stop]


def beside(course_mm: np.ndarray, offset_mm: float, towards: np.ndarray) -> np.ndarray:
    """A course that runs along another at a constant distance, on the side that ``towards`` (3,) points to."""
    tangent = np.gradient(course_mm, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    aside = towards - (tangent @ towards)[:, None] * tangent
    return course_mm + offset_mm * aside / np.maximum(np.linalg.norm(aside, axis=1, keepdims=True), 1e-6)


def sweep(course_mm: np.ndarray, radius_mm: float, number: float, material: str, *, bore_mm: float = 0.0) -> list[Part]:
    """A rod of ``radius_mm`` along a course, or a tube with a bore of radius ``bore_mm``, cut off square at its ends.

    The parts share one lattice, so that no voxel is counted twice. Edges are spread over a voxel, and the radius is
    corrected for what that adds to the cross-section.
    """
    tree = cKDTree(course_mm)
    ends = course_mm[[0, -1]]
    outwards = np.stack([course_mm[0] - course_mm[1], course_mm[-1] - course_mm[-2]])
    per_piece = round(_PIECE_MM / _STEP_MM)
    reach_mm = radius_mm + _VOXEL_MM
    parts = []
    for start in range(0, len(course_mm), per_piece):
        piece = course_mm[start : start + per_piece]
        grid, low = _lattice(piece.min(axis=0) - reach_mm, piece.max(axis=0) + reach_mm)
        distance_mm, nearest = tree.query(grid.reshape(-1, 3), distance_upper_bound=reach_mm)
        own = (nearest >= start) & (nearest < min(start + per_piece, len(course_mm)))
        for which, at in ((0, 0), (1, len(course_mm) - 1)):
            beyond = (grid.reshape(-1, 3) - ends[which]) @ outwards[which] > 0
            own &= ~((nearest == at) & beyond)
        covered = _disc(distance_mm, radius_mm) - (_disc(distance_mm, bore_mm) if bore_mm else 0)
        numbers = np.where(own, covered * number, 0)
        if numbers.any():
            parts.append(_part(numbers.reshape(grid.shape[:3]), low, material))
    return parts


def plate(
    centre_mm: np.ndarray, axes: np.ndarray, size_mm: Sequence[float], corner_mm: float, number: float, material: str
) -> Part:
    """A plate with round corners: the columns of ``axes`` (3, 3) are its directions, ``size_mm`` its size along them,
    the last being its thickness."""
    half = np.asarray(size_mm) / 2
    reach = abs(axes) @ half + _VOXEL_MM
    grid, low = _lattice(centre_mm - reach, centre_mm + reach)
    away_mm = abs((grid - centre_mm) @ axes)
    beyond = away_mm[..., :2] - (half[:2] - corner_mm)
    outline_mm = np.linalg.norm(np.maximum(beyond, 0), axis=-1) + np.minimum(beyond.max(axis=-1), 0) - corner_mm
    signed_mm = np.maximum(outline_mm, away_mm[..., 2] - half[2])
    return _part(np.clip(0.5 - signed_mm / _VOXEL_MM, 0, 1) * number, low, material)


def parts_mask(parts: Sequence[Part], volume: Volume) -> np.ndarray:
    """The voxels of ``volume`` that parts touch: bool (z, y, x)."""
    mask = np.zeros(volume.hu.shape, bool)
    for part in parts:
        points = np.argwhere(part.numbers > 0)[:, ::-1] * _VOXEL_MM + np.asarray(part.origin_mm)
        index = np.rint(volume.to_index(points)).astype(int)
        index = index[((index >= 0) & (index < mask.shape)).all(axis=1)]
        mask[tuple(index.T)] = True
    return mask


def _disc(distance_mm: np.ndarray, radius_mm: float) -> np.ndarray:
    # A ramp one voxel wide adds pi voxel^2 / 12 to the area of a disc.
    equal_mm = np.sqrt(max(radius_mm**2 - _VOXEL_MM**2 / 12, 0.0))
    covered: np.ndarray = np.clip(0.5 + (equal_mm - distance_mm) / _VOXEL_MM, 0, 1)
    return covered


def _lattice(low_mm: np.ndarray, high_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (z, y, x, 3) of the common lattice between two corners, and the first of them."""
    first, last = np.floor(low_mm / _VOXEL_MM), np.ceil(high_mm / _VOXEL_MM)
    x, y, z = (np.arange(a, b + 1) * _VOXEL_MM for a, b in zip(first, last, strict=True))
    zz, yy, xx = np.meshgrid(z, y, x, indexing="ij")
    return np.stack([xx, yy, zz], axis=-1), first * _VOXEL_MM


def _part(numbers: np.ndarray, low_mm: np.ndarray, material: str) -> Part:
    step = _VOXEL_MM
    origin_mm = (float(low_mm[0]), float(low_mm[1]), float(low_mm[2]))
    whole = np.rint(np.clip(numbers, 0, _MOST)).astype(np.int16)
    return Part(whole, (step, step, step), np.eye(3), origin_mm, material)
