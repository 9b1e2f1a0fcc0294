"""Which part of the detector sees only what was scanned: a ray that leaves the body through a face of the scan is cut.

The scan ends inside the patient at the neck and the belly, and often at the shoulders. Past such a face the projection
would fade or stop at an edge that no anatomy has, so the view is cropped before it, as a collimator would.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from drr.ct.volume import Volume
from drr.geometry import Geometry
from gen.core.errors import BadInput

# A face counts where the rays run along it, within 30 degrees. Where they pass through it, as sideways through a cut
# shoulder, tissue is missing along the whole ray: the image is too dark there, but nothing has an edge.
_ALONG = 0.5
_COARSE = 96  # the lines between rows and columns that are tested, either way
_LEAST_MM = 100.0  # a smaller picture shows no chest


def scanned_part(
    geometry: Geometry, volume: Volume, box: tuple[Sequence[int], Sequence[int]], cut: Collection[str], name: str
) -> Geometry:
    """``geometry`` cropped to the largest middle part whose rays stay within the scan while they are in the body.

    ``box``: the first and last index (z, y, x) of the body; ``cut``: the sides among "left", "right", "front" and
    "back" at which the scan ends inside the body (head and foot always do). BadInput where too little is left.
    """
    low, high = (np.asarray(corner, np.float64)[::-1] * volume.spacing_mm[::-1] for corner in box)  # x, y, z
    source = (geometry.source_mm - volume.origin_mm) @ volume.direction
    rows, columns = (np.linspace(-0.5, n - 0.5, _COARSE) for n in geometry.shape)
    pixels = (
        geometry.corner_mm + (rows[:, None] * geometry.row_mm)[:, None] + (columns[:, None] * geometry.column_mm)[None]
    )
    rays = (pixels - volume.origin_mm) @ volume.direction - source  # (rows, columns, 3), local x, y, z
    central = rays.mean(axis=(0, 1)) / np.linalg.norm(rays.mean(axis=(0, 1)))
    down, across = (step @ volume.direction for step in (geometry.row_mm, geometry.column_mm))
    faces = {"left": (0, high), "right": (0, low), "front": (1, low), "back": (1, high)}
    keep = np.ones(len(rows), bool), np.ones(len(columns), bool)
    for axis, corner in [(2, low), (2, high), *(faces[side] for side in cut)]:
        if abs(central[axis]) > _ALONG:
            continue
        enters, leaves = _within(source, rays, low, high, axis)
        places = source[axis] + np.stack([enters, leaves]) * rays[..., axis]
        beyond = (places > corner[axis]) if corner is high else (places < corner[axis])
        outside = beyond.any(axis=0) & (enters < leaves)
        along_rows = abs(down[axis]) > abs(across[axis])
        keep[0 if along_rows else 1][:] &= ~outside.any(axis=1 if along_rows else 0)
    parts = [_middle_run(kept, n) for kept, n in zip(keep, geometry.shape, strict=True)]
    sizes_mm = [(part.stop - part.start) * pitch for part, pitch in zip(parts, geometry.pitch_mm, strict=True)]
    if min(sizes_mm) < _LEAST_MM:
        raise BadInput(
            f"{volume.name}: view {name} shows {sizes_mm[0]:.0f} x {sizes_mm[1]:.0f} mm of what was scanned, "
            "too little for a chest",
            hint="choose a view nearer to PA, AP or lateral, or a CT with a wider field",
        )
    return geometry.crop(*parts)


def _within(
    source: np.ndarray, rays: np.ndarray, low: np.ndarray, high: np.ndarray, left_out: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where rays enter and leave the body's box, as fractions of their length; the ``left_out`` axis has no walls."""
    enters, leaves = np.zeros(rays.shape[:2]), np.ones(rays.shape[:2])
    for axis in {0, 1} - {left_out}:
        with np.errstate(divide="ignore", invalid="ignore"):
            walls = np.stack([low[axis] - source[axis], high[axis] - source[axis]])[:, None, None] / rays[..., axis]
        enters = np.fmax(enters, walls.min(axis=0))
        leaves = np.fmin(leaves, walls.max(axis=0))
    return enters, leaves


def _middle_run(kept: np.ndarray, pixels: int) -> slice:
    """The unbroken run of ``kept`` lines that is nearest to the middle, as a slice of whole pixels."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], kept.astype(np.int8), [0]]))).reshape(-1, 2)
    if not len(edges):
        return slice(0, 0)
    start, stop = min(edges, key=lambda run: max(run[0] - len(kept) / 2, len(kept) / 2 - run[1], 0))
    step = pixels / (len(kept) - 1)
    return slice(int(np.ceil(start * step)), int(np.floor((stop - 1) * step)))
