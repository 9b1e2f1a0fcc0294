"""A radiograph in memory and on disk: PNG, JPEG, DICOM in, PNG with provenance out; the one place of image I/O."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile, PngInfo

from gen.core.errors import BadInput, EnvironmentLacks, GenError
from gen.core.files import write_bytes

MAX_PIXELS = 64_000_000  # about four times the largest detector; checked before anything is decoded
_SPACING = "spacing_mm"  # pHYs counts whole pixels per metre, so the exact spacing travels as text
_GREY_TOLERANCE = 4  # levels of 255 between the channels of a grey JPEG that was stored in colour
_DEFLATED = "1.2.840.10008.1.2.1.99"


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


def read_radiograph(path: str | Path) -> Radiograph:
    """Read a PNG (8 or 16 bit), a JPEG or a DICOM file, told apart by content.

    DICOM passes the modality LUT or rescale, then the first VOI LUT or window (the full stored range where there is
    none), and MONOCHROME1 is inverted last. Raises BadInput, naming the file, for whatever is not one greyscale image
    of at most ``MAX_PIXELS`` in which something can be seen; EnvironmentLacks where the decoder is not installed.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            is_dicom = stream.read(132)[128:] == b"DICM"
        radiograph = _read_dicom(path) if is_dicom else read_image(path)
        if radiograph.pixels.min() == radiograph.pixels.max():
            raise BadInput("every pixel has the same value, so there is nothing to see")
    except GenError as error:
        raise type(error)(f"{path}: {error.message}", hint=error.hint) from error
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # decoders raise whatever they like on broken bytes
        raise BadInput(f"{path}: cannot be read as an image ({error or type(error).__name__})") from error
    return radiograph


def write_png(path: str | Path, radiograph: Radiograph, bits: Literal[8, 16] = 8) -> None:
    """Write `png_bytes` to ``path``, atomically."""
    write_bytes(path, png_bytes(radiograph, bits))


def png_bytes(radiograph: Radiograph, bits: Literal[8, 16] = 8) -> bytes:
    """A greyscale PNG; provenance becomes PNG text, and the spacing pHYs (and text, exactly)."""
    levels = np.rint(radiograph.pixels * np.float32(2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)
    spacing = radiograph.spacing_mm or ()
    exact = {_SPACING: " ".join(map(repr, spacing))} if spacing else {}
    stream, text = io.BytesIO(), PngInfo()
    for key, value in {**radiograph.provenance, **exact}.items():
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


def _require_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise BadInput(f"the image has no pixels ({width} x {height})")
    if width * height > MAX_PIXELS:
        raise BadInput(f"{width} x {height} pixels are more than the limit of {MAX_PIXELS / 1e6:.0f} megapixels")


# PNG and JPEG


def read_image(file: Path | IO[bytes]) -> Radiograph:
    """A PNG or JPEG file, as `read_radiograph` reads it; here errors are as they come and do not name the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
            image = Image.open(file, formats=("PNG", "JPEG"))
    except UnidentifiedImageError as error:
        raise BadInput("not a PNG, JPEG or DICOM file", hint="DICOM needs its 'DICM' preamble") from error
    with image:
        _require_size(*image.size)
        if getattr(image, "is_animated", False):
            raise BadInput("an animation is not a radiograph")
        pixels = _grey(ImageOps.exif_transpose(image))
        provenance = {key: str(text) for key, text in image.text.items()} if isinstance(image, PngImageFile) else {}
    spacing = [float(side) for side in provenance.pop(_SPACING, "").split()]
    return Radiograph(pixels, (spacing[0], spacing[1]) if spacing else None, provenance)


def _grey(image: Image.Image) -> np.ndarray:
    """A Pillow image as float32 (H, W) in [0, 1]; refuses what would need a guess about colour or transparency."""
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode in ("LA", "RGBA"):
        if np.asarray(image.getchannel("A")).min() < 255:
            raise BadInput("the image is partly transparent", hint="flatten it to greyscale first")
        image = image.convert(image.mode.removesuffix("A"))
    if image.mode == "RGB":
        return _grey_of_rgb(np.asarray(image))
    if image.mode == "L":
        return np.asarray(image, np.float32) / np.float32(255)
    if image.mode.startswith("I"):  # a 16-bit PNG
        return np.asarray(image, np.float32) / np.float32(65535)
    raise BadInput(f"the image has mode {image.mode}, not greyscale", hint="convert it to 8 or 16 bit greyscale first")


def _grey_of_rgb(channels: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) -> float32 (H, W) in [0, 1], where the three channels tell the same."""
    if (channels.max(axis=-1) - channels.min(axis=-1)).max() > _GREY_TOLERANCE:
        raise BadInput("a colour image is not a radiograph", hint="convert it to greyscale if it is one")
    return channels.mean(axis=-1, dtype=np.float32) / np.float32(255)


# DICOM; section numbers are of its part 3


def _read_dicom(path: Path) -> Radiograph:
    import pydicom
    from pydicom.pixels import get_decoder

    _refuse_bomb(path)
    header = pydicom.dcmread(path, stop_before_pixels=True)
    if "Rows" not in header or "Columns" not in header:
        raise BadInput("a DICOM file without an image")
    if (header.get("NumberOfFrames") or 1) > 1:
        raise BadInput(f"a DICOM file of {header.NumberOfFrames} frames, and a radiograph has one")
    _require_size(header.Columns, header.Rows)
    syntax = header.file_meta.TransferSyntaxUID
    if not get_decoder(syntax).is_available:
        raise EnvironmentLacks(f"no decoder for {syntax.name} is installed", hint="pip install 'cxr-gen[jpeg]'")
    dataset = pydicom.dcmread(path)
    kind = dataset.PhotometricInterpretation
    if kind in ("MONOCHROME1", "MONOCHROME2"):
        shown = np.clip(_displayed(dataset.pixel_array, dataset), 0, 1)
        # On the displayed range: a LUT changes the range, so 2**bits - 1 would be the wrong number to subtract from.
        pixels = (1 - shown if kind == "MONOCHROME1" else shown).astype(np.float32)
    elif dataset.get("SamplesPerPixel") == 3 and dataset.BitsAllocated == 8:
        pixels = _grey_of_rgb(dataset.pixel_array)
    else:
        raise BadInput(f"photometric interpretation {kind} is not greyscale")
    spacing = dataset.get("PixelSpacing") or dataset.get("ImagerPixelSpacing")
    provenance = {"format": "DICOM", "photometric": kind, "transfer_syntax": syntax.name}
    if dataset.get("SyntheticData") == "YES":
        provenance["synthetic"] = "yes"
    return Radiograph(pixels, (float(spacing[0]), float(spacing[1])) if spacing else None, provenance)


def _displayed(stored: np.ndarray, dataset: Any) -> np.ndarray:
    """Stored values (H, W) as displayed, in [0, 1] or beyond: modality LUT (C.11.1), then VOI LUT (C.11.2)."""
    values = stored.astype(np.float64)
    sign = dataset.PixelRepresentation
    low, high = -sign * 2 ** (dataset.BitsStored - 1), 2 ** (dataset.BitsStored - sign) - 1
    if dataset.get("ModalityLUTSequence"):
        values, low, high = _look_up(values, dataset.ModalityLUTSequence[0], dataset)
    elif dataset.get("RescaleSlope") is not None and dataset.get("RescaleIntercept") is not None:
        slope, intercept = float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
        values = values * slope + intercept
        low, high = sorted((low * slope + intercept, high * slope + intercept))
    if dataset.get("VOILUTSequence"):
        values, low, high = _look_up(values, dataset.VOILUTSequence[0], dataset)
    elif dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
        center, width = (float(np.ravel(value)[0]) for value in (dataset.WindowCenter, dataset.WindowWidth))
        return _window(values, center, width, dataset.get("VOILUTFunction") or "LINEAR")
    return (values - low) / (high - low)


def _look_up(values: np.ndarray, item: Any, dataset: Any) -> tuple[np.ndarray, int, int]:
    """Values through a LUT, and its output range. (pydicom 3.0's own wraps the index into an 8-bit VOI LUT at 256.)"""
    entries, first, bits = item.LUTDescriptor
    entries = entries or 2**16
    table = item.LUTData
    if isinstance(table, bytes):  # 8-bit entries may come two to a word
        order = "<" if dataset.original_encoding[1] else ">"
        table = np.frombuffer(table, "u1" if len(table) < 2 * entries else f"{order}u2")
    index = np.clip(np.rint(values) - first, 0, entries - 1).astype(np.int64)
    return np.asarray(table, np.float64)[index], 0, 2**bits - 1


def _window(values: np.ndarray, center: float, width: float, function: str) -> np.ndarray:
    """Values through a window to [0, 1] and beyond (C.11.2.1.2 linear, C.11.2.1.3 sigmoid and linear exact)."""
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if width <= 0 or function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise BadInput(f"no window: VOI LUT function {function} of width {width:g}")
    scaled = (values - center) / width
    return np.asarray(1 / (1 + np.exp(-4 * scaled))) if function == "SIGMOID" else scaled + 0.5


def _refuse_bomb(path: Path) -> None:
    """Inflate a deflated file up to a limit and no further, for pydicom inflates without one."""
    from pydicom.filereader import read_file_meta_info

    if read_file_meta_info(path).TransferSyntaxUID == _DEFLATED:
        data = path.read_bytes()
        start = 144 + struct.unpack("<I", data[140:144])[0]  # after the file meta, which states its length (PS3.10 7.1)
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        inflater.decompress(data[start:], 4 * MAX_PIXELS)
        if inflater.unconsumed_tail:
            raise BadInput(f"its deflated content is larger than {4 * MAX_PIXELS / 1e6:.0f} MB")
