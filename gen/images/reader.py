"""Reads a radiograph from a PNG, a JPEG or a DICOM file: the one way in for the images that people have."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import IO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile

from gen.core.errors import BadInput, GenError, Remark
from gen.core.radiograph import FULL_RANGE, GREY_RANGE, SPACING, Radiograph
from gen.images.dicom import read_dicom
from gen.images.greys import over, own_range, remarks
from gen.images.pixels import grey_of_rgb, require_size

_ON_THEIR_SIDE = (5, 6, 7, 8)  # EXIF orientations whose rows are the columns of the picture
DISPLAY = 2  # raised where a file is shown otherwise than before: a part of the key of every cache of pixels


def read_radiograph(path: str | Path) -> Radiograph:
    """Read a PNG (8 or 16 bit), a JPEG or a DICOM file, told apart by content.

    DICOM is shown as `gen.images.dicom` says, a PNG or JPEG as `read_image` does. An image whose greys are odd (nearly
    black, nearly white, flat, clipped) is read all the same, with a `Remark` that names it. Raises BadInput, naming the
    file, for whatever is not one greyscale image of at most ``MAX_PIXELS`` in which something can be seen;
    EnvironmentLacks where no decoder for it is installed.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            start = stream.read(132)
        if not start:
            raise BadInput("the file is empty", hint="copy it again from where it came")
        radiograph = read_dicom(path) if start[128:] == b"DICM" else read_image(path)
        if radiograph.pixels.min() == radiograph.pixels.max():
            raise BadInput("every pixel has the same value, so there is nothing to see")
    except GenError as error:
        raise type(error)(f"{path}: {error.message}", hint=error.hint) from error
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # decoders raise whatever they like on broken bytes
        raise BadInput(f"{path}: cannot be read as an image ({error or type(error).__name__})") from error
    for remark in remarks(radiograph.pixels):
        warnings.warn(f"{path} {remark}", Remark, stacklevel=1)  # from one place, so that each is said once
    return radiograph


def read_image(file: Path | IO[bytes]) -> Radiograph:
    """A PNG or JPEG file; here errors are as they come and do not name the file.

    Eight bits stay as they are, to the bit. A 16-bit PNG is shown over its own range (`own_range`), for nothing in it
    says how many of its bits are used; one that we wrote says so, and stays as it is too.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
            image = Image.open(file, formats=("PNG", "JPEG"))
    except UnidentifiedImageError as error:
        raise BadInput("not a PNG, JPEG or DICOM file", hint="DICOM needs its 'DICM' preamble") from error
    with image:
        require_size(*image.size)
        if getattr(image, "is_animated", False):
            raise BadInput("an animation is not a radiograph")
        if image.mode in ("RGB", "RGBA") and any(";16" in str(tile) for tile in image.tile):
            hint = "save it as 16-bit greyscale"  # Pillow would drop the lower eight bits
            raise BadInput("a colour PNG of 16 bits a channel", hint=hint)
        upright = ImageOps.exif_transpose(image)
        turned = image.getexif().get(ExifTags.Base.Orientation) in _ON_THEIR_SIDE
        provenance = {key: str(text) for key, text in image.text.items()} if isinstance(image, PngImageFile) else {}
        deep = image.mode.startswith("I")  # a 16-bit PNG
        pixels = _of_16_bits(np.asarray(upright), provenance) if deep else _grey(upright)
    spacing = [float(side) for side in provenance.pop(SPACING, "").split()]
    if turned:
        spacing.reverse()
    return Radiograph(pixels, (spacing[0], spacing[1]) if spacing else None, provenance)


def _of_16_bits(values: np.ndarray, provenance: dict[str, str]) -> np.ndarray:
    """Values (H, W) of a 16-bit PNG as float32 in [0, 1]; ``provenance`` tells, and is told, over which range."""
    if GREY_RANGE in provenance:
        if provenance[GREY_RANGE] == FULL_RANGE:
            del provenance[GREY_RANGE]
        return values.astype(np.float32) / np.float32(65535)
    low, high = own_range(values)
    provenance[GREY_RANGE] = f"its own, {low:g} to {high:g}"
    return over(values, low, high)


def _grey(image: Image.Image) -> np.ndarray:
    """A Pillow image as float32 (H, W) in [0, 1]; refuses what would need a guess about colour or transparency."""
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode in ("LA", "RGBA"):
        if np.asarray(image.getchannel("A")).min() < 255:
            raise BadInput("the image is partly transparent", hint="flatten it to greyscale first")
        image = image.convert(image.mode.removesuffix("A"))
    if image.mode == "RGB":
        return grey_of_rgb(np.asarray(image))
    if image.mode == "L":
        return np.asarray(image, np.float32) / np.float32(255)
    raise BadInput(f"the image has mode {image.mode}, not greyscale", hint="convert it to 8 or 16 bit greyscale first")
