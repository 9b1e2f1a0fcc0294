"""What every format shares: the limit on size, colour that is grey, pixels that are not square, JPEGs of DICOM."""

from __future__ import annotations

import locale
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gen.core.errors import BadInput

MAX_PIXELS = 64_000_000  # about four times the largest detector; checked before anything is decoded
_GREY_TOLERANCE = 4 / 255  # of white, between the channels of a grey JPEG that was stored in colour


def require_size(width: int, height: int) -> None:
    """Raise BadInput for an image without pixels, or with more than ``MAX_PIXELS``."""
    if width < 1 or height < 1:
        raise BadInput(f"the image has no pixels ({width} x {height})")
    if width * height > MAX_PIXELS:
        raise BadInput(f"{width} x {height} pixels are more than the limit of {MAX_PIXELS / 1e6:.0f} megapixels")


def grey_of_rgb(channels: np.ndarray) -> np.ndarray:
    """uint8 or uint16 (H, W, 3) -> float32 (H, W) in [0, 1], where the three channels tell the same; else BadInput."""
    white = np.iinfo(channels.dtype).max
    if (channels.max(axis=-1) - channels.min(axis=-1)).max() > _GREY_TOLERANCE * white:
        raise BadInput("a colour image is not a radiograph", hint="convert it to greyscale if it is one")
    return channels.mean(axis=-1, dtype=np.float32) / np.float32(white)


def to_square_pixels(pixels: np.ndarray, aspect: float) -> np.ndarray:
    """float32 (H, W) with pixels ``aspect`` times as high as wide, on square ones of the shorter side."""
    height, width = pixels.shape
    height, width = (round(height * aspect), width) if aspect > 1 else (height, round(width / aspect))
    require_size(width, height)
    image = Image.fromarray(np.ascontiguousarray(pixels, np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)).clip(0, 1)


def decode_with_gdcm(dataset: Any) -> np.ndarray:
    """The stored values (H, W) of a pydicom ``dataset`` of one frame, by SimpleITK's GDCM, which knows every JPEG.

    It reads files only, and would apply the rescale. So it gets a copy of the pixels' own elements and nothing else.
    """
    import pydicom
    import SimpleITK as sitk

    copy = pydicom.dataset.FileDataset("", {}, file_meta=dataset.file_meta, preamble=b"\0" * 128)
    for keyword in (*_PIXEL_MODULE, "SOPClassUID", "SOPInstanceUID"):
        if keyword in dataset:
            setattr(copy, keyword, dataset[keyword].value)
    if copy.PhotometricInterpretation == "MONOCHROME1":  # ITK would invert it; the stored values are asked for
        copy.PhotometricInterpretation = "MONOCHROME2"
    # GDCM sets the locale of the whole process to "C".
    shown, language = sitk.ProcessObject.GetGlobalWarningDisplay(), locale.setlocale(locale.LC_ALL)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pixels.dcm"
            copy.save_as(path)
            return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path)))).squeeze(0)
    except RuntimeError as error:  # of ITK: a page of C++
        raise BadInput(f"its {dataset.file_meta.TransferSyntaxUID.name} is damaged or of an unknown kind") from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
        locale.setlocale(locale.LC_ALL, language)


_PIXEL_MODULE = (  # PS3.3 C.7.6.3
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "PixelData",
)
