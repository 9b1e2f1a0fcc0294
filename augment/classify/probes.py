"""Probes for shortcuts: test images whose lungs, heart and mediastinum are blanked, and such with nothing else left.

A classifier that still tells findings where no organ is to be seen reads markers, devices or the look of a source.
"""

from __future__ import annotations

import numpy as np

from gen.anatomy.folder import Anatomy, load_anatomy
from gen.anatomy.network import ORGANS

SEEN = ("right lung", "left lung", "heart", "mediastinum")  # where the findings are
PROBES = ("organs blanked", "all else blanked")
_BLOCK = 32  # images in memory as floats


def probes_of(pixels_u8: np.ndarray, anatomy: Anatomy | None = None) -> dict[str, np.ndarray]:
    """uint8 ``pixels_u8`` (N, S, S) as PROBES have them, by name; what is blanked has the mean of the image.

    ``anatomy`` finds the organs; None: the bundled network.
    """
    network = anatomy or load_anatomy()
    columns = [ORGANS.index(organ) for organ in SEEN]
    made = {name: np.array(pixels_u8) for name in PROBES}
    for start in range(0, len(pixels_u8), _BLOCK):
        part = np.asarray(pixels_u8[start : start + _BLOCK])
        organs = (network.probabilities(part.astype(np.float32) / 255)[:, columns] >= 0.5).any(1)
        mean = np.broadcast_to(np.rint(part.mean((1, 2), keepdims=True)), part.shape).astype(np.uint8)
        for name, hidden in zip(PROBES, (organs, ~organs), strict=True):
            made[name][start : start + _BLOCK] = np.where(hidden, mean, part)
    return made
