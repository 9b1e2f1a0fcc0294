"""Smooth random warps of a body: another patient of the same make, whose labels move with the tissue."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage
from scipy.interpolate import BSpline

from drr.ct.volume import Labels, Volume

KNOTS_MM = 90.0  # between control points
SPREAD_MM = 10.0  # standard deviation of a control point
STEEPEST = 0.4  # of the displacement, mm a mm: below 1 no two points of the body meet
_DEGREE = 3
_PLANES = 16  # that are moved at a time, for memory


def warped(volume: Volume, rng: np.random.Generator) -> Volume:
    """``volume`` moved by a smooth random field that is one-to-one; HU stay as they are, ids are those of the nearest.

    The field is a cubic B-spline (Rueckert et al. 1999, IEEE TMI 18:712) that is nowhere steeper than STEEPEST.
    """
    bases = [_basis(count, step) for count, step in zip(volume.hu.shape, volume.spacing_mm, strict=True)]
    control = draw_control(tuple(basis.shape[1] for basis in bases), rng)
    hu = np.empty_like(volume.hu)
    ids = None if volume.labels is None else np.empty_like(volume.labels.ids)
    for start in range(0, len(hu), _PLANES):
        part = slice(start, min(start + _PLANES, len(hu)))
        places = sources(control, [bases[0][part], *bases[1:]], volume.spacing_mm, start)
        hu[part] = ndimage.map_coordinates(volume.hu, places, order=1, mode="nearest")
        if ids is not None and volume.labels is not None:
            ids[part] = ndimage.map_coordinates(volume.labels.ids, places, order=0, mode="nearest")
    labels = None if ids is None or volume.labels is None else Labels(ids, volume.labels.names)
    return replace(volume, hu=hu, labels=labels)


def draw_control(counts: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Control points in mm, float64 (3, *counts): displacements along z, y and x, within STEEPEST."""
    control = rng.normal(0, SPREAD_MM, (3, *counts))
    # A slope of a B-spline lies between those of its control polygon.
    slopes = sum(abs(np.diff(control, axis=axis)).max(axis=(1, 2, 3)) for axis in (1, 2, 3)) / KNOTS_MM
    return np.asarray(control / max(1.0, float(np.max(slopes)) / STEEPEST))


def sources(
    control: np.ndarray, bases: list[np.ndarray], spacing_mm: tuple[float, float, float], start: int = 0
) -> np.ndarray:
    """Where voxels come from: fractional indices float32 (3, z, y, x) of the planes from ``start``, one a row of the
    first of ``bases``."""
    moved = np.einsum("cijk,zi->czjk", control, bases[0])
    moved = np.einsum("czjk,yj->czyk", moved, bases[1])
    field_mm = np.einsum("czyk,xk->czyx", moved, bases[2], optimize=True)
    shape = field_mm.shape[1:]
    grid = np.indices(shape, np.float32)
    grid[0] += start
    return np.asarray(grid + field_mm / np.array(spacing_mm)[:, None, None, None], np.float32)


def _basis(count: int, step_mm: float) -> np.ndarray:
    """The weights of control points along an axis of ``count`` voxels: float64 (count, points)."""
    places = np.arange(count) * step_mm
    intervals = int(places[-1] // KNOTS_MM) + 1
    knots = KNOTS_MM * np.arange(-_DEGREE, intervals + _DEGREE + 1)
    return np.asarray(BSpline.design_matrix(places, knots, _DEGREE).toarray())
