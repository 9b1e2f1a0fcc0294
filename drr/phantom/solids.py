"""A body as a list of solids in paint order, later over earlier: voxels with soft edges, and exact line integrals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from drr.ct.volume import AIR_HU, Labels, Volume
from drr.phantom.shapes import Shape

CHUNK = 1 << 18
"""Points looked at in one go: their float32 temporaries stay in the processor's cache."""

FINE = 3.0
"""Steps of the finer grid that a thin solid's smallest radius gets (thin: less than that many voxels)."""

FINEST = 4


@dataclass(frozen=True, eq=False)
class Solid:
    """``shape`` filled with ``hu``, labelled ``name``; an empty name takes away the labels that were there."""

    name: str
    hu: float
    shape: Shape


def paint(
    solids: Sequence[Solid],
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    origin_mm: tuple[float, float, float],
) -> Volume:
    """Voxels of solids on air: a voxel's HU are mixed by the part of it that a solid fills, its label is the main one.

    The part filled is that of a plane through the surface: level / (its change over one voxel along each axis).
    """
    hu = np.full(shape, AIR_HU, np.float32)
    names = {name: number + 1 for number, name in enumerate(dict.fromkeys(s.name for s in solids if s.name))}
    ids = np.zeros(shape, np.uint8 if len(names) < 256 else np.uint16)
    for solid in solids:
        for box, filled in _filled(solid.shape, shape, spacing_mm, origin_mm):
            part = hu[box]
            part += filled * (np.float32(solid.hu) - part)
            np.copyto(ids[box], names.get(solid.name, 0), where=filled >= 0.5)
    labels = Labels(ids, {number: name for name, number in names.items()})
    return Volume(np.rint(hu).astype(np.int16), spacing_mm, origin_mm=origin_mm, labels=labels, name="solids")


def line_integrals(solids: Sequence[Solid], source_mm: np.ndarray, targets_mm: np.ndarray) -> np.ndarray:
    """Exact water-equivalent path (HU + 1000) / 1000 in mm, of lines from ``source_mm`` to ``targets_mm`` (..., 3).

    Along each ray the ends of all intervals cut it in pieces; each piece belongs to the last solid that covers it.
    """
    source, targets = np.asarray(source_mm, np.float64), np.asarray(targets_mm, np.float64)
    rays = (targets - source).reshape(-1, 3)
    found: list[list[tuple[float, float, float]]] = [[] for _ in rays]
    for solid in solids:
        parts = solid.shape.intervals(source, rays)
        for ray, number in zip(*np.nonzero(parts[..., 1] > parts[..., 0]), strict=True):
            low, high = parts[ray, number]
            found[ray].append((max(low, 0.0), min(high, 1.0), solid.hu - AIR_HU))
    path = np.array([_path(np.array(intervals)) if intervals else 0.0 for intervals in found])
    return (path * np.linalg.norm(rays, axis=-1) / -AIR_HU).reshape(targets.shape[:-1])


def _path(intervals: np.ndarray) -> float:
    """Intervals (N, 3) of low, high, number in paint order -> the sum of length times number."""
    ends = np.unique(intervals[:, :2])
    middle = (ends[1:] + ends[:-1]) / 2
    covers = (intervals[:, :1] < middle) & (middle < intervals[:, 1:2])
    last = len(intervals) - 1 - np.argmax(covers[::-1], 0)
    return float((np.diff(ends) * intervals[last, 2] * covers.any(0)).sum())


def _filled(
    solid: Shape, shape: Sequence[int], spacing_mm: Sequence[float], origin_mm: Sequence[float]
) -> Iterator[tuple[tuple[slice, slice, slice], np.ndarray]]:
    """Boxes of the grid, a few slices each, with the part of each voxel that the solid fills: float32, 0..1."""
    low, high = (np.clip(corner[::-1], -1e6, 1e6) for corner in solid.bounds_mm())
    spacing, origin = np.asarray(spacing_mm), np.asarray(origin_mm)[::-1]
    start = np.maximum(np.floor((low - origin) / spacing).astype(int), 0)
    stop = np.minimum(np.ceil((high - origin) / spacing).astype(int) + 1, shape)
    if np.any(start >= stop):
        return
    fine = [min(FINEST, max(1, ceil(FINE * step / solid.thinnest_mm))) for step in spacing]
    # Voxel centres of the finer grid, with one more point at both ends for the differences.
    z, y, x = (
        (
            origin[i]
            + spacing[i] * (start[i] + (np.arange(-1, (stop[i] - start[i]) * fine[i] + 1) + 0.5) / fine[i] - 0.5)
        )
        .astype(np.float32)
        .reshape([-1 if axis == i else 1 for axis in range(3)])
        for i in range(3)
    )
    slices = max(1, CHUNK // (x.size * y.size * fine[0]))
    for first in range(start[0], stop[0], slices):
        last = min(first + slices, stop[0])
        level = solid.level(x, y, z[(first - start[0]) * fine[0] : (last - start[0]) * fine[0] + 2])
        if level.min() > 0:
            continue
        inner = level[1:-1, 1:-1, 1:-1]
        change = np.abs(level[2:, 1:-1, 1:-1] - level[:-2, 1:-1, 1:-1])
        change += np.abs(level[1:-1, 2:, 1:-1] - level[1:-1, :-2, 1:-1])
        change += np.abs(level[1:-1, 1:-1, 2:] - level[1:-1, 1:-1, :-2])
        filled = np.minimum(np.maximum(0.5 - 2 * inner / np.maximum(change, 1e-12), 0), 1)
        if max(fine) > 1:
            size = [n // f for n, f in zip(filled.shape, fine, strict=True)]
            filled = filled.reshape(size[0], fine[0], size[1], fine[1], size[2], fine[2])
            # One axis after the other, the fast one last: a mean over three short axes at once is slow.
            filled = filled.mean(1).mean(2).mean(3)
        yield (slice(first, last), slice(start[1], stop[1]), slice(start[2], stop[2])), filled
