"""The prepared volume: int16 numbers in packed tiles that leave out the air, and sums of neighbouring slabs of them.

A tile is 8 rows of a run of columns in one slab; a run ends where the next 16 columns hold nothing above zero. What no
tile holds takes no memory and no time, and that is exact because air is 0. Which axes of the volume are rows, slabs and
columns depends on the view (`AXES`); what a view wants in another order or summed is derived once and kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock

import numpy as np

ROWS, CHUNK = 8, 16  # of a tile; _stack.c and numba_stack.py count on them
_CHUNK_BYTES = np.dtype((np.void, 2 * CHUNK))  # a chunk as one item, which numpy copies at once
GROUPS = (8, 4, 2, 1)  # how many slabs may be summed

# Slabs across axis x, y or z (0, 1, 2): which axes of an array (z, y, x) are rows, slabs and columns. The columns are
# the axis along which memory runs, or would after one transposition.
AXES = {0: (0, 2, 1), 1: (0, 1, 2), 2: (1, 0, 2)}


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, eq=False)
class Tiles:
    """Packed tiles of an array of ``shape`` (rows, slabs, columns) whose slabs are then summed in groups of ``group``.

    Block b is rows 8b to 8b + 7; its tiles are ``runs[first[b] : first[b + 1]]``, int32 (n, 4): slab, first column, end
    column, and how far apart the rows of the tile lie in ``values`` int16 (m,), where they begin at ``offset``, int64.
    """

    values: np.ndarray
    runs: np.ndarray
    offset: np.ndarray
    first: np.ndarray
    shape: tuple[int, int, int]
    group: int

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.values.nbytes + self.runs.nbytes + self.offset.nbytes + self.first.nbytes

    @property
    def sizes(self) -> np.ndarray:
        """How many columns the tiles of each block have: int64 (blocks,)."""
        return np.diff(np.concatenate([[0], np.cumsum(self.runs[:, 2] - self.runs[:, 1])])[self.first])

    def block(self, block: int) -> np.ndarray:
        """Rows 8 ``block`` to 8 ``block`` + 7 (fewer at the end) of the summed array again: (rows, groups, columns)."""
        rows, slabs, columns = self.shape
        groups, chunks = -(-slabs // self.group), -(-columns // CHUNK)
        whole = np.zeros((ROWS, groups, chunks * CHUNK), np.int16)
        begin, end = self.first[block : block + 2]
        if begin < end:
            slab, start, stop, _ = self.runs[begin:end].T
            edges = np.zeros((groups, chunks + 1), np.int8)
            edges[slab, start // CHUNK] = 1
            edges[slab, stop // CHUNK] = -1
            used = np.cumsum(edges[:, :-1], axis=1, dtype=np.int8) > 0
            by_slab = whole.view(_CHUNK_BYTES).swapaxes(0, 1)
            at, size = self.offset[begin], ROWS * CHUNK * np.count_nonzero(used)
            by_slab[np.broadcast_to(used[:, None], by_slab.shape)] = self.values[at : at + size].view(_CHUNK_BYTES)
        return whole[: rows - block * ROWS, :, :columns]

    def unpack(self) -> np.ndarray:
        """The summed array again: int16 (rows, groups, columns)."""
        return np.concatenate([self.block(block) for block in range(len(self.first) - 1)])


def pack(shape: tuple[int, int, int], sums: Callable[[int], np.ndarray], group: int = 1) -> Tiles:
    """Tiles of an int16 array of ``shape`` (rows, slabs, columns), with every ``group`` slabs summed.

    ``sums(b)`` gives rows 8 b to 8 b + 7, or fewer at the end, of the summed array in any strides.
    """
    with ThreadPoolExecutor(processors()) as pool:
        packed = list(pool.map(lambda b: _pack_block(sums(b)), range(-(-shape[0] // ROWS))))
    values, runs, offsets = zip(*packed, strict=True)
    begin = np.cumsum([0, *map(len, values)])
    offset = np.concatenate([at + first for at, first in zip(offsets, begin, strict=False)])
    first = np.cumsum([0, *map(len, runs)])
    return Tiles(np.concatenate(values), np.concatenate(runs), offset, first, shape, group)


def _sum_slabs(block: np.ndarray, group: int) -> np.ndarray:
    """Every ``group`` slabs of (rows, slabs, columns) summed, fewer at the end."""
    sums = block[:, ::group].copy(order="K")  # as it lies in memory: a transposition is cheaper after the sum
    for first in range(1, group):
        piece = block[:, first::group]
        sums[:, : piece.shape[1]] += piece
    return sums


def _pack_block(block: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The values, runs and offsets of one block (rows, groups, columns)."""
    rows, groups, columns = block.shape
    chunks = -(-columns // CHUNK)
    sums = np.ascontiguousarray(block)
    if (rows, columns) != (ROWS, chunks * CHUNK):
        sums = np.pad(sums, ((0, ROWS - rows), (0, 0), (0, chunks * CHUNK - columns)))
    used = np.bitwise_or.reduce(sums, axis=0).reshape(groups, chunks, CHUNK).any(axis=2)
    by_slab = sums.view(_CHUNK_BYTES).swapaxes(0, 1)
    values = by_slab[np.broadcast_to(used[:, None], by_slab.shape)].view(np.int16)

    fenced = np.pad(used, ((0, 0), (1, 1)))
    slab, start = np.nonzero(fenced[:, 1:-1] & ~fenced[:, :-2])
    stop = np.nonzero(fenced[:, 1:-1] & ~fenced[:, 2:])[1] + 1
    stride = used.sum(axis=1)  # the tiles of a slab share their rows
    before = np.cumsum(stop - start) - (stop - start)  # chunks in a row, up to the tile
    slab_before = (np.cumsum(stride) - stride)[slab]
    offset = (slab_before * ROWS + before - slab_before) * CHUNK
    runs = np.stack([slab, start * CHUNK, stop * CHUNK, stride[slab] * CHUNK], axis=1).astype(np.int32)
    return values, runs, offset


@dataclass(frozen=True, eq=False)
class Grid:
    """Where an array (z, y, x) stands in the patient; the fields are those of `drr.ct.volume.Volume`."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    direction: np.ndarray
    origin_mm: tuple[float, float, float]

    def to_mm(self, points: np.ndarray) -> np.ndarray:
        """Points (n, 3) in index coordinates x, y, z -> patient coordinates."""
        return (points * self.spacing_mm[::-1]) @ self.direction.T + self.origin_mm

    def matches(self, other: Grid) -> bool:
        """Whether both are the same grid."""
        return (
            self.shape == other.shape
            and np.allclose(self.spacing_mm, other.spacing_mm, rtol=1e-6)
            and np.allclose(self.direction, other.direction, atol=1e-6)
            and np.allclose(self.origin_mm, other.origin_mm, atol=1e-4)
        )


@dataclass(frozen=True, eq=False)
class Stack:
    """Numbers (z, y, x) prepared for projection by `drr.projector.prepare`; ``peak`` is the largest of them.

    ``base`` holds them exactly, slabs across y. ``sums`` keeps what views asked for since, at most 1.25 times the size
    of ``base`` and the oldest dropped first, so that a stack never takes more than 2.25 times its packed size.
    """

    grid: Grid
    base: Tiles
    peak: int
    sums: dict[tuple[int, int], Tiles] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock, repr=False)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.base.nbytes + sum(tiles.nbytes for tiles in self.sums.values())

    def numbers(self) -> np.ndarray:
        """The numbers as they were given: int16 (z, y, x)."""
        return self.base.unpack()

    def group(self, most: int) -> int:
        """The largest group of at most ``most`` slabs whose sum fits int16."""
        return next(group for group in GROUPS if group <= most and (group == 1 or group * self.peak <= 32767))

    def tiles(self, axis: int, group: int) -> Tiles:
        """The tiles for slabs across ``axis`` (0 x, 1 y, 2 z) in groups of ``group``."""
        if (axis, group) == (1, 1):
            return self.base
        with self.lock:
            if (axis, group) not in self.sums:
                tiles = self._pack(axis, group)
                while self.sums and tiles.nbytes + self.nbytes > 2.25 * self.base.nbytes:
                    self.sums.pop(next(iter(self.sums)))
                self.sums[axis, group] = tiles
            return self.sums[axis, group]

    def _pack(self, axis: int, group: int) -> Tiles:
        order = AXES[axis]
        # The blocks of the base are rows of z; across z slabs the rows are others, and all of it is unpacked.
        whole = self.numbers().transpose(order) if axis == 2 else None

        def sums(b: int) -> np.ndarray:
            block = self.base.block(b).transpose(order) if whole is None else whole[b * ROWS : (b + 1) * ROWS]
            return _sum_slabs(block, group)

        rows, slabs, columns = (self.grid.shape[i] for i in order)
        return pack((rows, slabs, columns), sums, group)

    def ends(self) -> np.ndarray:
        """Points (n, 3) in index coordinates x, y, z, two for each tile of the base: they bound what is not air."""
        slab, start, stop, _ = self.base.runs.T
        # In from the ends by half a chunk and from the first and last row to the middle: the mean of what a tile may
        # leave empty, so that air in it does not count as the patient.
        x = np.concatenate([start + CHUNK / 2, stop - CHUNK / 2])
        row = np.repeat(np.arange(len(self.base.first) - 1), np.diff(self.base.first)) * ROWS + (ROWS - 1) / 2
        return np.stack([x, np.tile(slab, 2), np.tile(np.minimum(row, self.grid.shape[0] - 1), 2)], axis=-1)

    @cached_property
    def corners(self) -> np.ndarray:
        """The corners of the box about `ends`: (8, 3), or (0, 3) where all is air."""
        ends = self.ends()
        if not len(ends):
            return ends
        box = np.stack([ends.min(axis=0), ends.max(axis=0)], axis=1)
        return np.stack(np.meshgrid(*box), axis=-1).reshape(-1, 3)
