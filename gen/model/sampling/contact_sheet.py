"""Contact sheets: several radiographs in one grey picture, each with a line of words under it."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from gen.core.files import atomic_file
from gen.core.radiograph import Radiograph

_MARGIN, _LINE = 6, 14


def write_contact_sheet(
    path: str | Path, radiographs: Sequence[Radiograph], captions: Sequence[str], columns: int = 0
) -> None:
    """Write ``radiographs`` in rows of ``columns`` (0: nearly square) with their captions as one PNG, atomically."""
    columns = columns or math.ceil(math.sqrt(len(radiographs)))
    side = max(max(radiograph.pixels.shape) for radiograph in radiographs)
    font = ImageFont.load_default(12)  # in 11 the spaces are lost
    wrapped = [textwrap.wrap(caption, max(16, side // 7)) for caption in captions]
    words = _LINE * max((len(lines) for lines in wrapped), default=0) + _MARGIN
    rows = math.ceil(len(radiographs) / columns)
    size = columns * (side + _MARGIN) + _MARGIN, rows * (side + words + _MARGIN) + _MARGIN
    contact_sheet = Image.new("L", size, 255)
    draw = ImageDraw.Draw(contact_sheet)
    for k, (radiograph, lines) in enumerate(zip(radiographs, wrapped, strict=True)):
        x = _MARGIN + k % columns * (side + _MARGIN)
        y = _MARGIN + k // columns * (side + words + _MARGIN)
        contact_sheet.paste(Image.fromarray(np.rint(radiograph.pixels * 255).astype(np.uint8)), (x, y))
        draw.multiline_text((x, y + side + 2), "\n".join(lines), fill=0, font=font, spacing=2)
    text = PngInfo()
    synthetic = [radiograph.provenance.get("synthetic") == "yes" for radiograph in radiographs]
    text.add_text("synthetic", "yes" if all(synthetic) else "in part" if any(synthetic) else "no")
    with atomic_file(path) as stream:
        contact_sheet.save(stream, format="PNG", pnginfo=text)
