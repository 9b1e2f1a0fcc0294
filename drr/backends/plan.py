"""One view of one grid, ready to compute: everything that the stack projectors and the oracle share.

In index coordinates a ray from the source s is fixed by its slopes against the slabs, a = dc/|dn| and b = dr/|dn| for
columns c, rows r and slabs n, and it crosses slab k at

    c = s_c + a q_k,    r = s_r + b q_k,    q_k = |k - s_n|                                                       (1)

whatever the detector. Hence a regular grid of slopes, a *virtual detector* parallel to the slabs, makes every view
separable; a last resampling from slopes to pixels, a homography, serves turned, tilted and rolled detectors. Joseph's
line integral (IEEE Trans Med Imaging 1982;1:192) is then, for bilinear slabs f_k that are zero outside,

    sum_k f_k(c, r) * sqrt(h_n^2 + (h_c a)^2 + (h_r b)^2)                                                        (2)

with the spacings h in mm. Slabs are summed in groups of G, unshifted: inside a group a ray moves by at most
G/2 * max(|a|, |b|) voxels from the group's middle, which `SHIFT` bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from drr.backends.tiles import AXES, GROUPS, ROWS, Grid, Stack
from drr.geometry import Geometry
from gen.core.errors import BadInput

# Voxels. A shift of 0.25 at the edge of a group blurs far less than the interpolation itself, whose variance is 1/6.
SHIFT = 0.25
_SAME = 1e-4  # pixels: a detector this close to parallel is parallel
_DENSER = 1.5  # virtual nodes per pixel where they are resampled: the cubic costs 5 % of accuracy at 1, here under 1 %
_MARGIN = 3  # nodes about the shadow of the grid, so that cubic taps outside the virtual detector are of zeros


@dataclass(frozen=True, eq=False)
class ProjectionPlan:
    """A view. ``axis`` (0 x, 1 y, 2 z) is across the slabs; triples are (columns, rows, slabs) in index coordinates.

    ``rays`` (3, 3) float64: pixel (i, j) lies at ``source + rays @ (1, i, j)``. Virtual node (j, i) has slopes
    ``first + (i, j) * step``, (columns, rows); there are ``nodes`` (rows, columns) of them. ``homography`` (3, 3) takes
    (1, i, j) of a pixel to its node (column, row, 1) times a factor. ``parallel``: each pixel is a node.
    """

    axis: int
    group: int
    source: np.ndarray
    rays: np.ndarray
    spacing_mm: np.ndarray
    first: np.ndarray
    step: np.ndarray
    nodes: tuple[int, int]
    homography: np.ndarray
    parallel: bool

    @property
    def path_mm(self) -> np.ndarray:
        """(2) as float64 (5,): h_n, then h_c a and h_r b as first value and step; in mm times 1000 numbers of water."""
        across = np.stack([self.spacing_mm[:2] * self.first, self.spacing_mm[:2] * self.step], axis=1)
        return np.concatenate([self.spacing_mm[2:], across.ravel()]) / 1000

    def distances(self, slabs: int, group: int) -> np.ndarray:
        """q of (1) for the middle of each group of ``slabs`` slabs: float64 (groups,); behind the source negative."""
        begin = np.arange(0, slabs, group)
        return np.sign(self.rays[2, 0]) * ((begin + np.minimum(begin + group, slabs) - 1) / 2 - self.source[2])

    def crossings(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the virtual nodes cross slabs at ``q``: columns and rows as (first, step), float64 (groups, 2) each."""
        columns, rows = (np.stack([self.source[i] + self.first[i] * q, self.step[i] * q], axis=1) for i in range(2))
        return columns, rows


def plan_projection(grid: Grid, geometry: Geometry) -> ProjectionPlan:
    """The plan of a view; it depends on the grid and never on the numbers, so that shares of one CT add up exactly."""
    spacing = np.array(grid.spacing_mm[::-1], np.float64)
    to_index = (grid.direction / spacing).T  # a vector in mm -> in index coordinates x, y, z
    source = to_index @ (geometry.source_mm - np.asarray(grid.origin_mm))
    pixel = np.stack([geometry.corner_mm - geometry.source_mm, geometry.row_mm, geometry.column_mm], axis=1)
    rays = to_index @ pixel
    middle = np.array([1, *((n - 1) / 2 for n in geometry.shape)])
    axis = int(np.abs(rays @ middle).argmax())  # as in Joseph, so that the central ray meets the most slabs
    order = [2 - i for i in (AXES[axis][2], AXES[axis][0], AXES[axis][1])]  # columns, rows, slabs
    source, rays, spacing = source[order], rays[order], spacing[order]
    size = np.array(grid.shape[::-1])[order]

    last_row, last_column = geometry.shape[0] - 1, geometry.shape[1] - 1
    corners = np.array([(1, i, j) for i in (0, last_row) for j in (0, last_column)] + [tuple(middle)], np.float64)
    sign = np.sign(rays[2] @ middle)
    depth = sign * corners @ rays[2]
    if depth.min() < 0.05 * np.abs(corners @ rays.T * spacing).max() / spacing[2]:
        raise BadInput(
            "the view's rays diverge too widely for one projection",
            hint="a smaller detector, or farther from the source",
        )
    across = rays * np.array([[1], [1], [sign]])
    slopes = corners @ across[:2].T / depth[:, None]
    # d(slope)/d(i, j) at the corners: the step of the nodes follows the pixels where they lie densest.
    change = (across[None, :2, 1:] - slopes[:, :, None] * across[2, 1:]) / depth[:, None, None]
    step = np.linalg.norm(change, axis=2).min(axis=0)
    low, high = slopes.min(axis=0), slopes.max(axis=0)

    pixels = np.array([last_column, last_row])
    drift = np.abs(across[[0, 1], [1, 2]]) / depth[-1] / step * pixels[::-1]
    parallel = bool(np.ptp(depth) * pixels.max() < _SAME * depth[-1] and drift.max() < _SAME)

    if not parallel:
        step /= _DENSER

    # Only nodes in the shadow of the grid, on the lattice that starts at the detector's edge.
    q = sign * (np.array([0, size[2] - 1]) - source[2])
    if q.max() <= 0:
        raise _outside()
    q = np.maximum(q, min(1.0, q.max()))
    edges = (np.stack([np.full(2, -1.0), size[:2]])[:, None] - source[:2]) / q[:, None]  # (low/high, near/far, 2)
    begin = np.ceil((edges.min(axis=(0, 1)) - low) / step) - _MARGIN
    end = np.floor((edges.max(axis=(0, 1)) - low) / step) + _MARGIN
    spare = 0 if parallel else _MARGIN
    begin, end = np.maximum(begin, -spare), np.minimum(end, np.ceil((high - low) / step - _SAME) + spare)
    if (end < begin).any() or (edges.min(axis=(0, 1)) > high).any() or (edges.max(axis=(0, 1)) < low).any():
        raise _outside()
    first = low + begin * step
    nodes = (end - begin).astype(int) + 1
    homography = np.stack([*((across[:2] - first[:, None] * across[2]) / step[:, None]), across[2]])

    inside = np.abs(np.stack([np.maximum(low, edges.min(axis=(0, 1))), np.minimum(high, edges.max(axis=(0, 1)))]))
    group = next(g for g in GROUPS if g == 1 or g / 2 * inside.max() <= SHIFT)
    shape = int(nodes[1]), int(nodes[0])
    return ProjectionPlan(axis, group, source, rays, spacing, first, step, shape, homography, parallel)


class OutOfView(BadInput):
    """No ray of the view meets the volume."""


def _outside() -> BadInput:
    return OutOfView("the view lies outside the volume: no ray meets it", hint="aim source and detector at the patient")


def check_between(stack: Stack, geometry: Geometry) -> None:
    """BadInput where what is not air does not lie wholly between the source and the plane of the detector."""
    normal = geometry.normal
    per_index = normal @ (stack.grid.direction * stack.grid.spacing_mm[::-1])
    origin = normal @ (np.asarray(stack.grid.origin_mm) - geometry.source_mm)
    # The box first, which is quick and mostly enough; then tile by tile, for an oblique box has empty corners.
    for points in (lambda: stack.corners, stack.ends):
        depths = points() @ per_index + origin
        if not len(depths) or (depths.min() > 0 and depths.max() < geometry.sdd_mm):
            return
    what = "source" if depths.min() <= 0 else "detector"
    raise BadInput(
        f"the {what} of the view lies inside the volume: the patient takes {depths.min():.0f} to {depths.max():.0f} mm "
        f"from the source, the detector is at {geometry.sdd_mm:.0f} mm",
        hint="move it away, or crop the volume",
    )


def balanced(sizes: np.ndarray, parts: int) -> list[tuple[int, int]]:
    """Contiguous ranges of blocks of rows with about the same sum of ``sizes``, ``parts`` of them or fewer."""
    ends = np.searchsorted(np.cumsum(sizes), sizes.sum() * np.arange(1, parts) / parts) + 1
    bounds = np.unique([0, *ends.clip(0, len(sizes)), len(sizes)])
    return [(int(a), int(b)) for a, b in pairwise(bounds)] if sizes.any() else []


def reached(rows: np.ndarray, blocks: tuple[int, int], nodes: int) -> tuple[int, int]:
    """The rows of nodes, first and end, that tiles of the blocks can touch; ``rows`` is (groups, 2), first and step."""
    bounds = np.array([blocks[0] * ROWS - 1, blocks[1] * ROWS])
    at = (bounds[:, None] - rows[:, 0]) / rows[:, 1]
    return int(np.clip(np.floor(at.min()), 0, nodes)), int(np.clip(np.ceil(at.max()) + 1, 0, nodes))
