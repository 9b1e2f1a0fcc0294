"""Where parts of a volume fall on the detector: 3-D masks and label maps as 2-D masks."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import numpy as np
from scipy import ndimage

from drr.backends.plan import OutOfView
from drr.backends.tiles import Stack
from drr.ct.volume import Volume
from drr.geometry import Geometry
from drr.projector import prepare, project

LEAST_PATH_MM = 1.0  # a thinner rim is what interpolation smears around a structure


def mask_stack(mask: np.ndarray, volume: Volume, corner: tuple[int, ...] = (0, 0, 0)) -> Stack:
    """bool (z, y, x) as a stack whose projection is the path inside the mask in mm.

    The mask stands on the grid of ``volume``, its first voxel at the index ``corner`` there.
    """
    x, y, z = volume.to_mm(np.array(corner)).tolist()
    return prepare(mask * np.int16(1000), volume.spacing_mm, volume.direction, (x, y, z))


def label_stacks(volume: Volume) -> dict[str, Stack]:
    """A stack of each structure in the labels of ``volume``, by name; none where it has no labels."""
    if volume.labels is None:
        return {}
    ids, names = volume.labels.ids, volume.labels.names
    return {
        names.get(number, f"label {number}"): mask_stack(ids[box] == number, volume, tuple(side.start for side in box))
        for number, box in enumerate(ndimage.find_objects(ids), start=1)
        if box is not None
    }


def project_masks(stacks: Mapping[str, Stack], geometry: Geometry, threads: int | None = None) -> dict[str, np.ndarray]:
    """bool (H, W) of each stack: where a ray runs at least `LEAST_PATH_MM` inside; what no ray meets is left out."""
    masks: dict[str, np.ndarray] = {}
    for name, stack in stacks.items():
        with suppress(OutOfView):
            mask = project([stack], geometry, threads=threads)[0] >= LEAST_PATH_MM
            if mask.any():
                masks[name] = mask
    return masks
