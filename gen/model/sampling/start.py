"""What sampling starts from, as the network gets it: squares of pixels, and the latents that are held."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gen.core.radiograph import Radiograph, pad_to_square, resize


def squares_of(images: Sequence[Radiograph], side: int) -> np.ndarray:
    """float32 (N, 1, side, side) in [-1, 1]: ``images``, padded to squares and scaled."""
    return np.stack([resize(pad_to_square(image.pixels), side) for image in images])[:, None] * 2 - 1


def cells_of(held: Sequence[np.ndarray], side: int) -> np.ndarray:
    """bool (N, 1, side, side): the latents under any pixel of ``held``, masks bool (H, W) of images that are padded."""
    return np.stack([_any_by_row(_any_by_row(pad_to_square(mask), side).T, side).T for mask in held])[:, None]


def _any_by_row(mask: np.ndarray, rows: int) -> np.ndarray:
    """Whether anything is true of the rows of ``mask`` (H, W) that touch each of as many ``rows``, (rows, W)."""
    height = len(mask)
    return np.stack([mask[k * height // rows : -(-(k + 1) * height // rows)].any(0) for k in range(rows)])
