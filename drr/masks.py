"""Where parts of a volume fall on the detector: 3-D masks and label maps as 2-D masks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from drr.geometry import Geometry
from drr.projector import Stack, prepare, project
from drr.volume import Volume

LEAST_PATH_MM = 1.0  # a thinner rim is what interpolation smears around a structure


def mask_stack(mask: np.ndarray, volume: Volume) -> Stack:
    """bool (z, y, x) on the grid of ``volume`` as a stack whose projection is the path inside the mask in mm."""
    return prepare(mask * np.int16(1000), volume.spacing_mm, volume.direction, volume.origin_mm)


def label_stacks(volume: Volume) -> dict[str, Stack]:
    """A stack of each structure in the labels of ``volume``, by name; none where it has no labels."""
    if volume.labels is None:
        return {}
    numbers = np.flatnonzero(np.bincount(volume.labels.ids.ravel()))
    return {
        volume.labels.names.get(int(number), f"label {number}"): mask_stack(volume.labels.ids == number, volume)
        for number in numbers
        if number
    }


def project_masks(stacks: Mapping[str, Stack], geometry: Geometry) -> dict[str, np.ndarray]:
    """bool (H, W) of each stack: where a ray runs at least `LEAST_PATH_MM` inside; what no ray meets is left out."""
    masks = {name: project([stack], geometry)[0] >= LEAST_PATH_MM for name, stack in stacks.items()}
    return {name: mask for name, mask in masks.items() if mask.any()}
