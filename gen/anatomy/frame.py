"""The canonical frame from the lungs: the nearly isotropic affine that brings them to a standard box, and back.

A pose is that of `gen.data.frame`: five numbers that `to_canonical` and `matrices` take. There it comes from the look
of the image, here from the outline of the lungs, which tone, letters and borders do not move.
"""

from __future__ import annotations

import math

import numpy as np

from gen.anatomy.measure import LEAST_SHARE, measure, pieces
from gen.anatomy.network import ORGANS
from gen.data.frame import LIMITS, ZOOM, matrices

# The lungs in the canonical picture, whose sides are 2: width and height, and the middle's place below the centre. They
# are the medians of 64 radiographs of adults that were prepared in the frame of the package (`gen.data.frame`).
BOX = (1.76, 1.66)
DOWN = -0.025


def lung_pose(masks: np.ndarray) -> np.ndarray | None:
    """The pose (5,) float32 that brings the lungs of ``masks``, bool (10, H, W), to the standard box.

    None without both lungs. Of a chest of other proportions the box has the same area: the anisotropy stays within
    the LIMITS of a pose. The turn is that of the spine, 0 where it cannot be seen.
    """
    _, height, width = masks.shape
    lungs = np.zeros((height, width), bool)
    for side in ("right lung", "left lung"):
        mask = masks[ORGANS.index(side)]
        if mask.mean() < LEAST_SHARE:
            return None
        lungs |= np.any(pieces(mask), axis=0)
    tilt = measure(masks).tilt_degrees
    turn = 0.0 if math.isnan(tilt) else float(np.clip(math.radians(tilt), -LIMITS[4], LIMITS[4]))
    rows, columns = np.nonzero(lungs)
    half = max(height, width) / 2
    # In the coordinates of a pose: half sides of the square around the image, from its centre.
    x, y = (columns + 0.5 - width / 2) / half, (rows + 0.5 - height / 2) / half
    cos, sin = math.cos(turn), math.sin(turn)
    along, down = x * cos + y * sin, y * cos - x * sin  # turned upright
    ends = [(float(axis.min()) - 0.5 / half, float(axis.max()) + 0.5 / half) for axis in (along, down)]
    wide, high = ((last - first) / size for (first, last), size in zip(ends, BOX, strict=True))
    scale = math.log(wide * high) / 2
    stretch = float(np.clip(math.log(wide / high) / 2, -LIMITS[1], LIMITS[1]))
    middle = [(first + last) / 2 for first, last in ends]
    middle[1] -= DOWN * math.exp(scale - stretch)
    place = middle[0] * cos - middle[1] * sin, middle[0] * sin + middle[1] * cos
    return np.array([scale - ZOOM, stretch, *place, turn], np.float32)


def from_canonical(canonical: np.ndarray, pose: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A canonical picture (S, S) in the place that ``pose`` took it from: float32 of ``shape`` (H, W), 0 outside it."""
    import torch
    from torch.nn import functional

    height, width = shape
    side = max(shape)
    whole = np.eye(3)
    whole[:2] = matrices(torch.from_numpy(pose[None] + np.array([ZOOM, 0, 0, 0, 0], np.float32)))[0].numpy()
    back = torch.from_numpy(np.linalg.inv(whole)[:2].astype(np.float32))
    grid = functional.affine_grid(back[None], [1, 1, side, side], align_corners=False)
    source = torch.from_numpy(np.ascontiguousarray(canonical, np.float32))[None, None]
    moved = functional.grid_sample(source, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    top, left = (side - height) // 2, (side - width) // 2
    return np.asarray(moved[0, 0, top : top + height, left : left + width].numpy())
