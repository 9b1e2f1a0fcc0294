"""Where the lungs are in a real radiograph: by the anatomy network, without what heart and abdomen hide."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy import ndimage

from gen.anatomy.folder import Anatomy, load_anatomy
from gen.anatomy.network import ORGANS

_RIM = 0.01  # of the picture's side, which is left out


@cache
def _anatomy() -> Anatomy:
    return load_anatomy()


def lungs_of(image: np.ndarray) -> np.ndarray:
    """bool (H, W) of float32 (H, W) in [0, 1]."""
    masks = dict(zip(ORGANS, _anatomy().probabilities(image[None])[0] >= 0.5, strict=True))
    aerated = (masks["right lung"] | masks["left lung"]) & ~masks["heart"] & ~masks["abdomen"]
    return np.asarray(ndimage.binary_erosion(aerated, iterations=max(1, round(_RIM * min(image.shape)))))
