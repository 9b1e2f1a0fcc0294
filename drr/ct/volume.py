"""A CT in memory: Hounsfield units on a grid that stands somewhere in the patient.

Patient coordinates are DICOM's, in mm: +x to the patient's left, +y to the back, +z to the head (LPS). Arrays are
(z, y, x), and so is ``spacing_mm``; points in space are (x, y, z).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gen.core.errors import GenError

AIR_HU = -1000


@dataclass(frozen=True, eq=False)
class Labels:
    """A label map on the grid of a volume: ``ids`` unsigned (z, y, x), 0 is nothing; ``names`` by id."""

    ids: np.ndarray
    names: Mapping[int, str]


@dataclass(frozen=True, eq=False)
class Volume:
    """int16 HU (z, y, x), air -1000. Index axes x, y, z point within 45 degrees of left, posterior and superior.

    ``direction`` (3, 3) float64 has their unit vectors as columns x, y, z, orthonormal; ``origin_mm`` (x, y, z) is the
    centre of voxel [0, 0, 0]; ``spacing_mm`` is (z, y, x). ``facts`` are what the reader noticed, for provenance.
    """

    hu: np.ndarray
    spacing_mm: tuple[float, float, float]
    direction: np.ndarray = field(default_factory=lambda: np.eye(3))
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    labels: Labels | None = None
    name: str = "volume"
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Whole numbers are lengths too, but what is computed from them in integers overflows or is cut.
        object.__setattr__(self, "spacing_mm", tuple(float(step) for step in self.spacing_mm))
        object.__setattr__(self, "origin_mm", tuple(float(x) for x in self.origin_mm))
        object.__setattr__(self, "direction", np.asarray(self.direction, np.float64))
        if self.hu.ndim != 3 or self.hu.dtype != np.int16:
            raise GenError(f"a volume is int16 (z, y, x), not {self.hu.dtype} {self.hu.shape}")
        if min(self.spacing_mm) <= 0:
            raise GenError(f"the spacing of a volume is positive, not {self.spacing_mm} mm")
        if not np.allclose(self.direction.T @ self.direction, np.eye(3), atol=1e-4):
            raise GenError("the axes of a volume are orthonormal")
        if self.labels is not None and self.labels.ids.shape != self.hu.shape:
            raise GenError(f"labels of shape {self.labels.ids.shape} on a volume of shape {self.hu.shape}")

    @property
    def size_mm(self) -> tuple[float, float, float]:
        """The extent of the grid (z, y, x), voxels and not centres."""
        depth, height, width = (n * step for n, step in zip(self.hu.shape, self.spacing_mm, strict=True))
        return depth, height, width

    def to_mm(self, index: np.ndarray) -> np.ndarray:
        """Indices (..., 3) in order z, y, x -> points (..., 3) in patient coordinates x, y, z."""
        local = (np.asarray(index, np.float64) * self.spacing_mm)[..., ::-1]
        return local @ self.direction.T + self.origin_mm

    def to_index(self, points_mm: np.ndarray) -> np.ndarray:
        """Points (..., 3) in patient coordinates x, y, z -> fractional indices (..., 3) in order z, y, x."""
        local = (np.asarray(points_mm, np.float64) - self.origin_mm) @ self.direction
        return local[..., ::-1] / self.spacing_mm
