"""A radiograph as soft tissue and bone. In its own grey levels, the two add up to the image.

Log exposure is the shown grey level, up to a monotone curve that nobody tells: the network has been shown many such
curves, and says what bone adds to the grey level that is shown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from PIL import Image

from augment.suppress.folder import Suppressor, load_suppressor
from gen.core.errors import BadInput
from gen.core.radiograph import Radiograph

LEAST_SIDE = 128  # pixels: below that a rib is two pixels wide


@dataclass(frozen=True, eq=False)
class Separated:
    """``soft`` and ``bone`` float32 (H, W) in [0, 1]; their sum is the image, to a rounding of float32."""

    soft: np.ndarray
    bone: np.ndarray


def separate(suppressor: Suppressor, pixels: np.ndarray, strength: float = 1.0) -> Separated:
    """The soft tissue and the bone in ``pixels`` float32 (H, W) in [0, 1], bone bright.

    The network works on an image whose shorter side is ``suppressor.side``; the bone that it finds is brought back to
    the size of ``pixels``, whose own detail stays in the soft image. ``strength`` in [0, 1] is the share of the bone
    that is taken away. Raises BadInput for another range or type, fewer than 128 pixels a side and another strength.
    """
    if pixels.ndim != 2 or pixels.dtype != np.float32:
        raise BadInput(f"an image is float32 (H, W), not {pixels.dtype} {pixels.shape}")
    if not 0 <= float(pixels.min(initial=0)) <= float(pixels.max(initial=0)) <= 1:
        raise BadInput(f"grey levels lie in [0, 1], and these in [{pixels.min():g}, {pixels.max():g}]")
    if min(pixels.shape) < LEAST_SIDE:
        raise BadInput(
            f"{pixels.shape[1]} x {pixels.shape[0]} pixels are too few to tell ribs",
            hint=f"at least {LEAST_SIDE} a side",
        )
    if not 0 <= strength <= 1:
        raise BadInput(f"a strength of {strength:g}", hint="0 takes nothing away, 1 all of the bone")
    bone = found_bone(suppressor, pixels)
    # Bone adds, and never more than there is
    taken = np.clip(np.float32(strength) * bone, 0, pixels)
    return Separated(pixels - taken, taken)


def found_bone(suppressor: Suppressor, pixels: np.ndarray) -> np.ndarray:
    """What ``suppressor`` says that bone adds to ``pixels``, float32 of their shape, as it says it."""
    scale = suppressor.side / min(pixels.shape)
    working = tuple(round(n * scale) for n in pixels.shape)
    return _resized(suppressor.find_bone(_resized(pixels, working).clip(0, 1)), pixels.shape)


def suppress_bone(pixels: np.ndarray, strength: float = 1.0) -> Separated:
    """`separate` by the network that travels with the package."""
    return separate(_bundled(), pixels, strength)


def twin_without_bone(image: Radiograph) -> Radiograph:
    """A bone-free twin of any radiograph for a data set (`cxr_gen.twins`), marked as estimated: a projection has a true
    one."""
    suppressor = _bundled()
    told = {"bone_suppressed": "estimated", "bone_suppression": suppressor.digest}
    return replace(
        image, pixels=separate(suppressor, image.pixels).soft, provenance={**image.provenance, **told, "shows": "soft"}
    )


@cache
def _bundled() -> Suppressor:
    return load_suppressor()


def _resized(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """float32 of another shape (H, W), by Pillow's bicubic filter, which averages where it reduces."""
    if pixels.shape == shape:
        return pixels
    image = Image.fromarray(np.ascontiguousarray(pixels, np.float32))
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))
