"""What a CT must be searched for and the phantom says by itself: its body, its lungs, and that it holds no contrast."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from drr.ct.body import SKIN_HU
from drr.ct.tissue import CARTILAGE_HU, SOFT_NUMBER, Shares
from drr.ct.volume import Labels, Volume


def is_phantom(volume: Volume) -> bool:
    """Whether ``volume`` is a phantom that still has its labels."""
    return volume.labels is not None and bool(volume.facts.get("phantom"))


def known_body(volume: Volume, labels: Labels) -> np.ndarray:
    """Tissue, and what is labelled in it (lungs, airways, gas), as bool (z, y, x): nothing else is in the scan."""
    return (volume.hu > SKIN_HU) | (labels.ids > 0)


def known_lungs(labels: Labels) -> np.ndarray:
    """The labelled lungs with the vessels in them, uint8 (z, y, x): 1 the patient's right, 2 the left, 0 elsewhere."""
    sides = np.zeros(max(labels.names, default=0) + 1, np.uint8)
    for number, name in labels.names.items():
        sides[number] = {"lung_right": 1, "lung_left": 2}.get(name, 0)
    return sides[labels.ids]


def known_shares(volume: Volume, body: np.ndarray) -> Shares:
    """The shares of a patient without contrast medium and metal, as `drr.ct.tissue.separate` has them.

    All that is brighter than cartilage is bone, with its rims: a voxel beside it may be less than half bone.
    """
    total = np.maximum(volume.hu + np.int16(1000), np.int16(0)) * body
    bright = ndimage.binary_dilation(total > 1000 + CARTILAGE_HU)
    bone = np.maximum(total - np.int16(SOFT_NUMBER), np.int16(0)) * bright
    nothing = np.zeros_like(total)
    return Shares(total, bone, nothing, nothing)
