"""What every reader of CT files gives, and what they all ask of a grid before they read its voxels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gen.core.errors import BadInput

MAX_VOXELS = 2**30  # 2 GB of int16: four times a 512 x 512 x 1000 series
LARGEST_MM = 3000.0  # along an axis: a whole body and its table
COARSEST_MM = 30.0  # of a voxel; thick slices have 10
MIN_SIDE = 8  # voxels along each axis, and slices of a series that counts beside another
MAX_BYTES = 2**32  # of voxels as they are on disk, and again as they are read: MAX_VOXELS of float32
_MAX_SHEAR = 1e-3  # the cosine between two axes, and what their lengths are off 1: 0.06 degrees, 0.4 mm in 400 mm


@dataclass(frozen=True, eq=False)
class Scan:
    """Voxels (z, y, x) of any number type, with axes in any order: ``spacing_mm`` (z, y, x), the rest as in Volume.

    ``facts["remarks"]``, where there are any, are sentences that the user should read.
    """

    values: np.ndarray
    spacing_mm: tuple[float, float, float]
    direction: np.ndarray
    origin_mm: np.ndarray
    facts: dict[str, Any]


def nearest_rotation(axes: np.ndarray, whose: str) -> np.ndarray:
    """The orthogonal matrix (3, 3) nearest to ``axes``, unit vectors in columns that were written with few digits.

    By the polar decomposition (orthogonal Procrustes), so a mirrored grid stays mirrored. BadInput for a sheared grid,
    whose axes are more than 0.06 degrees off right angles.
    """
    error = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if not round(error, 4) <= _MAX_SHEAR:
        off, most = (math.degrees(math.asin(min(value, 1))) for value in (error, _MAX_SHEAR))
        raise BadInput(
            f"{whose} are not at right angles (a sheared grid: {off:.2g} degrees off, and {most:.1g} may be rounding)",
            hint="resample it to an orthogonal grid",
        )
    if error <= 1e-6:
        return axes
    left, _, right = np.linalg.svd(axes)
    return np.asarray(left @ right)


def require_grid(size: tuple[int, ...], spacing_mm: tuple[float, ...], voxel_bytes: int = 2) -> None:
    """Refuse what no chest CT can be, from the size and spacing (x, y, z) of a header alone."""
    shape, steps = " x ".join(map(str, size)), " x ".join(f"{step:g}" for step in spacing_mm)
    if min(size) == 1:
        raise BadInput(f"{shape} voxels are one slice and no volume")
    if min(size) < MIN_SIDE:
        raise BadInput(f"{shape} voxels are too few: each axis needs {MIN_SIDE}")
    if math.prod(size) > MAX_VOXELS:
        raise BadInput(f"{shape} voxels are more than the limit of {MAX_VOXELS}", hint="crop or resample it first")
    if not all(math.isfinite(step) and step > 0 for step in spacing_mm):
        raise BadInput(f"the spacing of {steps} mm is not positive")
    extent = max(n * step for n, step in zip(size, spacing_mm, strict=True))
    if not (10 <= extent <= LARGEST_MM and max(spacing_mm) <= COARSEST_MM):
        hint = "is the spacing in metres or micrometres? write it in mm"
        raise BadInput(f"{shape} voxels of {steps} mm make a volume of {extent:.3g} mm", hint=hint)
    if (needed := math.prod(size) * voxel_bytes) > MAX_BYTES:
        hint = "save it as int16, or crop or resample it first"
        raise BadInput(f"{shape} voxels take {needed} bytes, and the limit is {MAX_BYTES}", hint=hint)


def axis_codes(axes: np.ndarray) -> str:
    """Where index axes x, y, z point in the patient, as in "LPS"; ``axes`` (3, 3) has them as columns, in LPS."""
    codes = ("RL", "AP", "IS")
    nearest = np.abs(axes).argmax(axis=0)
    return "".join(codes[row][int(axes[row, column] > 0)] for column, row in enumerate(nearest))
