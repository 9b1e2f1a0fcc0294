"""The inner loops of the slice stack in numba: tiles onto the virtual detector, and from there to the pixels.

_stack.c holds the same two functions for processors with AVX2; both agree to float32 rounding. Numba compiles them in
some seconds and keeps the result where it can (`drr.backends.compiled`).
"""

from __future__ import annotations

from math import ceil, floor, sqrt
from typing import Any

import numba
import numpy as np

from drr.backends.compiled import compiled
from drr.backends.tiles import ROWS

_PAD = 4  # zeros before and after a row of a tile, so that interpolation needs no test of bounds
_OPTIONS = {"error_model": "numpy", "fastmath": {"contract", "nsz"}}


@compiled(
    "void(i2[::1], i4[:, ::1], i8[::1], i8[::1], i8, i8, i8, i8, f8[:, ::1], f8[:, ::1], i8, f4[:, ::1], i8)",
    **_OPTIONS,
)
def splat(
    values: np.ndarray,
    runs: np.ndarray,
    offset: np.ndarray,
    first: np.ndarray,
    first_block: int,
    end_block: int,
    first_group: int,
    end_group: int,
    columns: np.ndarray,
    rows: np.ndarray,
    first_node: int,
    out: np.ndarray,
    nodes: int,
) -> None:
    """Add the tiles (`drr.backends.tiles.Tiles`) of some blocks and groups, first to before end, to virtual nodes.

    ``columns`` and ``rows`` float64 (groups, 2): node i is at ``columns[k, 0] + i * columns[k, 1]`` of slab k. ``out``
    float32 (rows of nodes from ``first_node`` on, at least ``nodes`` columns).
    """
    widest = 0
    for t in range(first[first_block], first[end_block]):
        widest = max(widest, runs[t, 2] - runs[t, 1])
    tile = np.zeros((ROWS, widest + 2 * _PAD), np.float32)
    # The tile, resampled to the columns of the nodes, between two rows of zeros.
    lines = np.zeros((ROWS + 3, nodes), np.float32)
    left = np.empty(nodes, np.int32)
    weight = np.empty(nodes, np.float32)
    for block in range(first_block, end_block):
        for t in range(first[block], first[block + 1]):
            k, begin, width = runs[t, 0], runs[t, 1], runs[t, 2] - runs[t, 1]
            if k < first_group or k >= end_group:
                continue
            # The nodes whose ray passes within a voxel of the tile.
            column, per_node = columns[k, 0] - begin, columns[k, 1]
            i0 = int(max(0.0, ceil((-1 - column) / per_node)))
            i1 = int(min(float(nodes), floor((width - column) / per_node) + 1))
            row, per_row = rows[k, 0] - block * ROWS + 1 + first_node * rows[k, 1], rows[k, 1]
            j0 = int(max(0.0, ceil(-row / per_row)))
            j1 = int(min(float(len(out)), floor((ROWS + 1 - row) / per_row) + 1))
            if i0 >= i1 or j0 >= j1:
                continue
            for r in range(ROWS):
                at = offset[t] + r * runs[t, 3]
                for c in range(width):
                    tile[r, _PAD + c] = values[at + c]
                for c in range(_PAD):
                    tile[r, _PAD + width + c] = 0
            for i in range(i0, i1):
                x = column + _PAD + i * per_node
                left[i] = int(x)
                weight[i] = x - int(x)
            for r in range(ROWS):
                for i in range(i0, i1):
                    value = tile[r, left[i]]
                    lines[r + 1, i] = value + weight[i] * (tile[r, left[i] + 1] - value)
            for j in range(j0, j1):
                z = row + j * per_row
                upper = int(z)
                lower_part = np.float32(z - upper)
                upper_part = np.float32(1) - lower_part
                for i in range(i0, i1):
                    out[j, i] += upper_part * lines[upper, i] + lower_part * lines[upper + 1, i]


@numba.njit(inline="always")
def _cubic(t: Any) -> Any:
    """Keys' weights for the nodes at -1, 0, 1 and 2 of a point at ``t`` in 0..1."""
    rest = 1 - t
    return (
        -0.5 * t * rest * rest,
        1 + t * t * (1.5 * t - 2.5),
        1 + rest * rest * (1.5 * rest - 2.5),
        -0.5 * rest * t * t,
    )


@compiled("void(f4[:, ::1], i8, f8[:, ::1], f8[::1], b1, f4[:, ::1], i8, i8)", **_OPTIONS)
def warp(
    sums: np.ndarray,
    nodes: int,
    homography: np.ndarray,
    path_mm: np.ndarray,
    parallel: bool,
    out: np.ndarray,
    first_row: int,
    end_row: int,
) -> None:
    """Rows ``first_row`` to before ``end_row`` of the image ``out`` (H, W) from ``sums`` on the virtual detector.

    A pixel takes the node it falls on where ``parallel``, and otherwise Keys' cubic of the 4 x 4 nodes about it
    (IEEE Trans Acoust Speech Signal Process 1981;29:1153, a = -1/2); times the path in a slab
    (`ProjectionPlan.path_mm`).
    """
    for i in range(first_row, end_row):
        for j in range(out.shape[1]):
            depth = homography[2, 0] + i * homography[2, 1] + j * homography[2, 2]
            u = (homography[0, 0] + i * homography[0, 1] + j * homography[0, 2]) / depth
            v = (homography[1, 0] + i * homography[1, 1] + j * homography[1, 2]) / depth
            total = np.float32(0)
            if parallel:
                c, r = floor(u + 0.5), floor(v + 0.5)
                if 0 <= c < nodes and 0 <= r < len(sums):
                    total = sums[r, c]
            else:
                c, r = floor(u) - 1, floor(v) - 1
                if 0 <= c < nodes - 3 and 0 <= r < len(sums) - 3:
                    x0, x1, x2, x3 = _cubic(np.float32(u - floor(u)))
                    y0, y1, y2, y3 = _cubic(np.float32(v - floor(v)))
                    for n, y in enumerate((y0, y1, y2, y3)):
                        line = sums[r + n]
                        total += y * (x0 * line[c] + x1 * line[c + 1] + x2 * line[c + 2] + x3 * line[c + 3])
            across, along = path_mm[1] + u * path_mm[2], path_mm[3] + v * path_mm[4]
            out[i, j] = total * np.float32(sqrt(path_mm[0] ** 2 + across * across + along * along))
