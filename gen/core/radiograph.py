"""A radiograph in memory, and as a PNG with its provenance; `gen.images` reads the files that people have."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from gen.core.errors import GenError
from gen.core.files import write_bytes

SPACING = "spacing_mm"  # pHYs counts whole pixels per metre, so the exact spacing travels as text
GREY_RANGE = "grey_range"  # where black and white were taken from; a 16-bit PNG with it is a display already
FULL_RANGE = "0 to 65535"  # of a 16-bit PNG of ours, whose pixels were in [0, 1] already


@dataclass(frozen=True)
class Radiograph:
    """One image: ``pixels`` float32 (H, W) in [0, 1] with bone bright (MONOCHROME2); ``spacing_mm`` (row, column)."""

    pixels: np.ndarray
    spacing_mm: tuple[float, float] | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.pixels.ndim != 2 or self.pixels.dtype != np.float32 or self.pixels.size == 0:
            raise GenError(f"a radiograph is float32 (H, W), not {self.pixels.dtype} {self.pixels.shape}")
        low, high = float(self.pixels.min()), float(self.pixels.max())
        if not 0 <= low <= high <= 1:  # also refuses NaN
            raise GenError(f"the pixels of a radiograph lie in [0, 1], and these in [{low:g}, {high:g}]")


def write_png(path: str | Path, radiograph: Radiograph, bits: Literal[8, 16] = 8) -> None:
    """Write `png_bytes` to ``path``, atomically."""
    write_bytes(path, png_bytes(radiograph, bits))


def png_bytes(radiograph: Radiograph, bits: Literal[8, 16] = 8) -> bytes:
    """A greyscale PNG; provenance becomes PNG text, and the spacing pHYs (and text, exactly)."""
    levels = np.rint(radiograph.pixels * np.float32(2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)
    spacing = radiograph.spacing_mm or ()
    exact = {SPACING: " ".join(map(repr, spacing))} if spacing else {}
    shown = {GREY_RANGE: FULL_RANGE} if bits == 16 else {}
    stream, text = io.BytesIO(), PngInfo()
    for key, value in {**shown, **radiograph.provenance, **exact}.items():
        text.add_text(key, value)
    dpi = [25.4 / side for side in reversed(spacing)]  # that of the columns first
    Image.fromarray(levels).save(stream, format="PNG", pnginfo=text, dpi=dpi)
    return stream.getvalue()


def pad_to_square(pixels: np.ndarray) -> np.ndarray:
    """(H, W) -> (S, S) with S = max(H, W): black margins, the image centred; nothing of the chest is cut."""
    side = max(pixels.shape)
    return np.pad(pixels, [((side - n) // 2, (side - n + 1) // 2) for n in pixels.shape])


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """float32 (H, W) -> float32 (size, size), by Pillow's antialiased Lanczos filter, clipped to [0, 1]."""
    image = Image.fromarray(np.ascontiguousarray(pixels, np.float32))
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS)).clip(0, 1)
