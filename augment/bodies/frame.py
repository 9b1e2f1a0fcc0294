"""A projection in the frame and the exposure that a model paints in, with its masks and what bone adds to it.

The frame follows from the lungs, whose place is known, so it does not move with what is put into them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from drr.projection import Projection
from gen.anatomy.frame import lung_pose
from gen.anatomy.network import ORGANS
from gen.core.errors import BadInput
from gen.core.radiograph import pad_to_square, resize
from gen.data.clean import fill_outside, normalise_exposure
from gen.data.frame import to_canonical


@dataclass(frozen=True, eq=False)
class Framed:
    """``image``, and what bone adds to its grey levels, float32 (S, S); bool (S, S) masks by structure, and ``held``,
    all that was put in."""

    image: np.ndarray
    bone: np.ndarray
    masks: Mapping[str, np.ndarray]
    held: np.ndarray


def framed(projection: Projection, organs: np.ndarray, size: int, *, canonical: bool) -> Framed:
    """``projection``, which has its twins, with ``organs`` bool (10, H, W), in pictures of ``size`` pixels a side.

    ``canonical``: as `gen data prepare` has radiographs; else the square around the projection, in its own exposure.
    BadInput where a lung is out of view.
    """
    assert projection.soft is not None
    masks = {name: mask for name, mask in zip(ORGANS, organs, strict=True) if mask.any()} | dict(projection.masks)
    if not canonical:
        image, soft = (resize(pad_to_square(pixels), size) for pixels in (projection.image, projection.soft))
        moved = {name: resize(pad_to_square(mask.astype(np.float32)), size) for name, mask in masks.items()}
        return _with_masks(image, soft, moved, projection.masks)
    pose = canonical_pose(organs, frontal=projection.view.name != "lateral")
    image, inside = to_canonical(projection.image, pose, size)
    soft, _ = to_canonical(projection.soft, pose, size)
    moved = {name: to_canonical(mask.astype(np.float32), pose, size)[0] * inside for name, mask in masks.items()}
    image, soft = (
        fill_outside(normalise_exposure(pixels, inside, like=image).clip(0, 1), inside) for pixels in (image, soft)
    )
    return _with_masks(image, soft, moved, projection.masks)


def canonical_pose(organs: np.ndarray, *, frontal: bool) -> np.ndarray:
    """The pose (5,) of `gen.data.frame` of a projection whose ``organs`` are bool (10, H, W); BadInput without lungs.

    A lateral view is not turned by its spine, which is bent there.
    """
    seen = organs.copy()
    if not frontal:
        seen[ORGANS.index("spine")] = False
    pose = lung_pose(seen)
    if pose is None:
        raise BadInput("a lung is out of view", hint="try another seed")
    return pose


def _with_masks(
    image: np.ndarray, soft: np.ndarray, moved: Mapping[str, np.ndarray], inserted: Collection[str]
) -> Framed:
    masks = {name: mask >= 0.5 for name, mask in moved.items()}
    held = np.any([masks[name] for name in inserted], axis=0) if inserted else np.zeros(image.shape, bool)
    return Framed(image, image - soft, {name: mask for name, mask in masks.items() if mask.any()}, held)
