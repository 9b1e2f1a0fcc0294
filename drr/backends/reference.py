"""The oracle: Joseph's projector as its equations stand, ray by ray in float64 numpy, slow and without any grouping."""

from __future__ import annotations

import numpy as np

from drr.backends.plan import ProjectionPlan
from drr.backends.tiles import AXES, Stack


def project_stack(stack: Stack, plan: ProjectionPlan, shape: tuple[int, int]) -> np.ndarray:
    """Water-equivalent mm along the ray to each pixel: float64 ``shape``."""
    slabs = np.moveaxis(stack.numbers().transpose(AXES[plan.axis]), 1, 0)  # (slabs, rows, columns)
    i, j = np.meshgrid(*(np.arange(n, dtype=np.float64) for n in shape), indexing="ij")
    ray = np.stack([np.ones(shape), i, j], axis=-1) @ plan.rays.T  # (H, W, 3): columns, rows, slabs
    total = np.zeros(shape)
    for k in np.flatnonzero(slabs.any(axis=(1, 2))):
        along = (k - plan.source[2]) / ray[..., 2]
        at = np.where(along > 0, plan.source[:2, None, None] + along * np.moveaxis(ray[..., :2], -1, 0), -1.0)
        total += _bilinear(slabs[k], at[0], at[1])
    return total * np.linalg.norm(ray * plan.spacing_mm, axis=-1) / np.abs(ray[..., 2]) / 1000


def _bilinear(image: np.ndarray, column: np.ndarray, row: np.ndarray) -> np.ndarray:
    """``image`` (rows, columns) at fractional indices, zero outside: it falls to zero within one voxel of the rim."""
    padded = np.pad(image, ((1, 2), (1, 2))).astype(np.float64)
    column, row = np.clip(column + 1, 0, image.shape[1] + 1), np.clip(row + 1, 0, image.shape[0] + 1)
    c, r = column.astype(int), row.astype(int)
    x, y = column - c, row - r
    upper = (1 - x) * padded[r, c] + x * padded[r, c + 1]
    lower = (1 - x) * padded[r + 1, c] + x * padded[r + 1, c + 1]
    return (1 - y) * upper + y * lower
