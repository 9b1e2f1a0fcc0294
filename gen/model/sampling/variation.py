"""Pose and exposure of a sampled image drawn at random: what a model that learnt prepared images cannot vary itself.

Such a model paints every chest in one place and one exposure. A set of its images would be a row of passport
photographs, and a classifier would learn from it that films never differ in this.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from gen.core.noise import standard_normal
from gen.core.radiograph import Radiograph
from gen.core.run import derived_seed
from gen.data.clean import put_exposure

SHIFT, TURN_DEG, ZOOM = 0.02, 1.5, 0.015  # standard deviations; shift in parts of the side, zoom as a logarithm
LIMIT = 2.0  # standard deviations that a draw is cut at
# 3rd percentile, 97th, and where the median stands between them: mean and standard deviation over real training images,
# by `python -m benchmarks.generator.preparation`; their correlations, of .34 at most, are left out.
EXPOSURE = ((0.25, 0.12), (0.82, 0.09), (0.58, 0.095))


@dataclass(frozen=True)
class Variation:
    """``zoom`` at least 1, ``shift`` (right, down) in parts of the side, ``turn_deg`` clockwise; grey percentiles."""

    zoom: float
    shift: tuple[float, float]
    turn_deg: float
    low: float
    median: float
    high: float


def draw_variation(seed: int) -> Variation:
    """The variation that ``seed`` decides. The zoom is large enough that nothing from outside the image is shown."""
    right, down, turn, zoom, *grey = standard_normal((7,), derived_seed(seed, "variation")).clip(-LIMIT, LIMIT).tolist()
    shift, angle = (SHIFT * right, SHIFT * down), math.radians(TURN_DEG * turn)
    # The corner of the shown square that is farthest out, in half sides, must lie in the image.
    least = (math.cos(angle) + abs(math.sin(angle))) / (1 - 2 * max(map(abs, shift)))
    low, high, middle = (mean + spread * x for (mean, spread), x in zip(EXPOSURE, grey, strict=True))
    low, high = max(low, 0.0), min(high, 1.0)
    zoomed = least * math.exp(ZOOM * (zoom + LIMIT))
    return Variation(zoomed, shift, TURN_DEG * turn, low, low + middle * (high - low), high)


def vary(image: Radiograph, seed: int) -> Radiograph:
    """``image`` (H, W) in the pose and exposure that ``seed`` decides, which its provenance tells."""
    found = draw_variation(seed)
    pixels = put_exposure(_moved(image.pixels, found), found.low, found.median, found.high)
    told = {
        "pose": f"zoom {found.zoom:.4f}, shift {found.shift[0]:.4f} {found.shift[1]:.4f}, turn {found.turn_deg:.3f}",
        "exposure": f"{found.low:.4f} {found.median:.4f} {found.high:.4f}",
    }
    return replace(image, pixels=pixels, provenance={**image.provenance, **told})


def vary_mask(mask: np.ndarray, seed: int) -> np.ndarray:
    """``mask`` bool (H, W) in the pose of `vary` by the same ``seed``."""
    return _moved(mask.astype(np.float32), draw_variation(seed)) >= 0.5


def _moved(pixels: np.ndarray, by: Variation) -> np.ndarray:
    from scipy.ndimage import affine_transform

    angle = math.radians(by.turn_deg)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])  # rows, columns
    matrix = turn / by.zoom
    centre = (np.array(pixels.shape) - 1) / 2
    moved = np.array([by.shift[1], by.shift[0]]) * pixels.shape
    offset = centre - matrix @ (centre + moved)
    return affine_transform(pixels, matrix, offset, order=3, mode="nearest").clip(0, 1).astype(np.float32)
