"""Reads a radiograph from a DICOM file, as the file says it is to be shown; section numbers are of part 3.

Stored values pass the modality LUT or rescale, then the first VOI LUT or window. Without one, values of more than eight
bits are shown over their own range (`own_range`, the padding left out), others over that of their bits. MONOCHROME1 is
inverted last; padding is black whatever the polarity. Pixels that are not square are resampled to square ones.
"""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from gen.core.errors import BadInput, EnvironmentLacks, Remark
from gen.core.radiograph import GREY_RANGE, Radiograph
from gen.images.greys import over, own_range
from gen.images.pixels import MAX_PIXELS, decode_with_gdcm, grey_of_rgb, require_size, to_square_pixels

SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")  # the first that is there counts
_SQUARE = 0.01  # by which the sides of a pixel may differ in words only: tags are rounded
_LARGEST_MM = 2000  # a side of a radiograph; a long-leg film has 1,300
_MOST_MAGNIFIED = 2.0  # between the spacing at the detector and in the patient
_SYNTAXES_OF_GDCM = ("JPEG Extended", "JPEG Lossless", "JPEG-LS")  # that pydicom decodes by packages we do not need
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def read_dicom(path: Path) -> Radiograph:
    """Read the one image in ``path``. BadInput, which does not name the file, for what is not one grey image;
    EnvironmentLacks for a compression that nothing here decodes; a `Remark` for spacings that contradict each other, or
    that no radiograph has."""
    import pydicom
    from pydicom.pixels import apply_color_lut

    _refuse_bomb(path)
    header = pydicom.dcmread(path, stop_before_pixels=True)
    if "Rows" not in header or "Columns" not in header:
        raise BadInput("a DICOM file without an image")
    if (header.get("NumberOfFrames") or 1) > 1:
        raise BadInput(f"a DICOM file of {header.NumberOfFrames} frames, and a radiograph has one")
    require_size(header.Columns, header.Rows)
    _require_decoder(header.file_meta.TransferSyntaxUID)
    dataset = pydicom.dcmread(path)
    if not any(keyword in dataset for keyword in _PIXELS):
        raise BadInput("a DICOM file without pixels", hint="copy it again from where it came")
    spacing, aspect = _pixel_sides(dataset, path)
    _remark_orientation(dataset, path)
    _remark_polarity(dataset, path)
    kind, syntax = dataset.PhotometricInterpretation, dataset.file_meta.TransferSyntaxUID
    if kind in ("MONOCHROME1", "MONOCHROME2"):
        pixels, grey_range = _shown(_stored(dataset), dataset)
    elif kind == "PALETTE COLOR":
        pixels, grey_range = grey_of_rgb(apply_color_lut(_stored(dataset), dataset)), "its palette"
    elif dataset.get("SamplesPerPixel") == 3 and dataset.BitsAllocated == 8:
        pixels, grey_range = grey_of_rgb(_stored(dataset)), "of its bits, 0 to 255"
    else:
        raise BadInput(f"photometric interpretation {kind} is not greyscale")
    provenance = {"format": "DICOM", "photometric": kind, "transfer_syntax": syntax.name, GREY_RANGE: grey_range}
    if dataset.get("SyntheticData") == "YES":
        provenance["synthetic"] = "yes"
    if abs(aspect - 1) > _SQUARE:
        pixels = to_square_pixels(pixels, aspect)
        provenance["resampled"] = f"to square pixels, from {aspect:.3g} times as high as wide"
        spacing = spacing and (min(spacing), min(spacing))
    return Radiograph(pixels, spacing, provenance)


def _is_of_gdcm(syntax: Any) -> bool:
    return any(syntax.name.startswith(name) for name in _SYNTAXES_OF_GDCM)


def _require_decoder(syntax: Any) -> None:
    from pydicom.pixels import get_decoder

    try:
        available = _is_of_gdcm(syntax) or get_decoder(syntax).is_available
    except NotImplementedError:  # pydicom does not know the syntax at all
        available = False
    if not available:
        hint = "decompress it first, with gdcmconv --raw or dcmdjpeg"
        raise EnvironmentLacks(f"no decoder for {syntax.name} is installed", hint=hint)


def _stored(dataset: Any) -> np.ndarray:
    """The stored values (H, W), or (H, W, 3): of the bits of a pixel only those that belong to it."""
    syntax = dataset.file_meta.TransferSyntaxUID
    bits, low = dataset.BitsStored, dataset.get("HighBit", dataset.BitsStored - 1) + 1 - dataset.BitsStored
    if low:  # only old files may (PS3.5 8.1.1): the value sits higher in its word, above an overlay or nothing
        named = f"HighBit is {dataset.HighBit} with {bits} BitsStored of {dataset.BitsAllocated}"
        if low < 0 or bits + low > dataset.BitsAllocated:
            raise BadInput(f"{named}, which fit no pixel")
        if syntax.is_encapsulated and not syntax.name.startswith("RLE"):
            raise BadInput(f"{named} in {syntax.name}", hint="decompress it first, with dcmdjpeg or gdcmconv --raw")
        dataset.BitsStored = bits + low
    values = decode_with_gdcm(dataset) if _is_of_gdcm(syntax) else dataset.pixel_array
    dataset.BitsStored = bits
    return np.asarray(values >> low if low else values)


def _shown(stored: np.ndarray, dataset: Any) -> tuple[np.ndarray, str]:
    """Stored values (H, W) as shown, float32 in [0, 1], bone bright; and in words which values are black and white."""
    padding = _padding(stored, dataset)
    if padding.all():
        raise BadInput("every pixel is padding, so there is nothing to see")
    values, low, high, display = _modality(stored.astype(np.float64), dataset)
    if dataset.get("VOILUTSequence"):
        values, low, high = _look_up(values, dataset.VOILUTSequence[0], dataset)
        said = "its VOI LUT"
    elif dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
        center, width = (float(np.ravel(value)[0]) for value in (dataset.WindowCenter, dataset.WindowWidth))
        values = _window(values, center, width, dataset.get("VOILUTFunction") or "LINEAR")
        low, high, said = 0, 1, f"its window, center {center:g}, width {width:g}"
    elif display:
        said = f"of its bits, {low:g} to {high:g}"
    else:
        low, high = own_range(values[~padding])
        said = f"its own, {low:g} to {high:g}"
    pixels = over(values, low, high)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        # On the displayed range: a LUT changes the range, so 2**bits - 1 would be the wrong number to subtract from.
        pixels = 1 - pixels
    pixels[padding] = 0
    return pixels, f"{said}; {padding.mean():.1%} padding" if padding.any() else said


def _padding(stored: np.ndarray, dataset: Any) -> np.ndarray:
    """Which stored values (H, W) are no image: PixelPaddingValue, or all from it to PixelPaddingRangeLimit."""
    first = dataset.get("PixelPaddingValue")
    if first is None:
        return np.zeros(stored.shape, bool)
    last = dataset.get("PixelPaddingRangeLimit")
    ends = [_as_stored(int(value), dataset) for value in (first, first if last is None else last)]
    return np.asarray((stored >= min(ends)) & (stored <= max(ends)))


def _as_stored(value: int, dataset: Any) -> int:
    """``value`` with the bits and the sign of a pixel: as -1 some files have 65535, and the other way round."""
    bits, sign = dataset.BitsStored, dataset.PixelRepresentation
    value %= 2**bits
    return value - 2**bits if sign and value >= 2 ** (bits - 1) else value


def _modality(values: np.ndarray, dataset: Any) -> tuple[np.ndarray, float, float, bool]:
    """Values after the modality LUT or rescale (C.11.1), the range of their bits, and whether that is a display's."""
    sign, bits = dataset.PixelRepresentation, dataset.BitsStored
    low, high = -sign * 2 ** (bits - 1), 2 ** (bits - sign) - 1
    if dataset.get("ModalityLUTSequence"):
        values, low, high = _look_up(values, dataset.ModalityLUTSequence[0], dataset)
        return values, low, high, high <= 255
    if dataset.get("RescaleSlope") is not None and dataset.get("RescaleIntercept") is not None:
        slope, intercept = float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
        if slope == 0:
            raise BadInput("RescaleSlope is 0, which makes all values one")
        if not math.isfinite(slope + intercept):
            raise BadInput(f"RescaleSlope is {slope:g} and RescaleIntercept {intercept:g}")
        values = values * slope + intercept
        low, high = sorted((low * slope + intercept, high * slope + intercept))
    return values, low, high, bits <= 8


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
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise BadInput(f"no window: VOILUTFunction {function!r} is not of the standard")
    if not (math.isfinite(center) and (width >= 1 if function == "LINEAR" else width > 0) and math.isfinite(width)):
        hint = "remove WindowCenter and WindowWidth, and the values are shown over their own range"
        raise BadInput(f"no window: WindowWidth is {width:g}, WindowCenter {center:g}", hint=hint)
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if width == 0:
        return (values > center).astype(np.float64)
    scaled = (values - center) / width
    return np.asarray(1 / (1 + np.exp(-4 * scaled))) if function == "SIGMOID" else scaled + 0.5


def _pixel_sides(dataset: Any, path: Path) -> tuple[tuple[float, float] | None, float]:
    """The spacing in mm (row, column), or None, and how many times as high as wide a pixel is.

    BadInput where two elements give pixels of another shape; a Remark where they give another size, and for a size that
    no radiograph has, which is left out.
    """
    told = {}
    for keyword in (*SPACINGS, "PixelAspectRatio"):
        sides = [float(value) for value in np.ravel(dataset.get(keyword) or [])]
        if len(sides) == 2 and min(sides) > 0:  # zeros, which some exports have, say nothing
            told[keyword] = (sides[0], sides[1])
    if not told:
        return None, 1.0
    first, *others = told
    for other in others:
        (high, wide), (other_high, other_wide) = told[first], told[other]
        if not 1 / (1 + _SQUARE) < (high / wide) / (other_high / other_wide) < 1 + _SQUARE:
            said = f"{first} is {high:g} x {wide:g} and {other} {other_high:g} x {other_wide:g}"
            raise BadInput(f"contradicting shapes of a pixel: {said}", hint="correct or remove the wrong one")
        if other in SPACINGS and not 1 / _MOST_MAGNIFIED < high / other_high < _MOST_MAGNIFIED:
            said = f"{first} is {high:g} mm and {other} {other_high:g} mm; the first is taken"
            warnings.warn(f"{path}: contradicting sizes of a pixel: {said}", Remark, stacklevel=1)
    high, wide = told[first]
    if first not in SPACINGS:
        return None, high / wide
    if (extent := max(high * dataset.Rows, wide * dataset.Columns)) > _LARGEST_MM:
        said = f"{first} of {high:g} x {wide:g} mm makes an image of {extent:.4g} mm: it is left out"
        warnings.warn(f"{path}: {said}", Remark, stacklevel=1)
        return None, high / wide
    return (high, wide), high / wide


def _remark_orientation(dataset: Any, path: Path) -> None:
    """A Remark where the file says that its picture is mirrored or turned (C.7.6.1.1.1): it is shown as it is stored.

    A frontal film hangs with its rows to the patient's left and its columns to the feet.
    """
    toward = [str(axis)[:1] for axis in np.ravel(dataset.get("PatientOrientation") or [])]
    if len(toward) == 2 and (toward[0] in ("R", "H", "F") or toward[1] in ("H", "L", "R")):
        said = "rows to {} and columns to {}".format(*np.ravel(dataset.PatientOrientation))
        why = f"PatientOrientation has its {said} of the patient: mirrored or turned, and shown as it is stored"
        warnings.warn(f"{path}: {why}", Remark, stacklevel=1)


def _remark_polarity(dataset: Any, path: Path) -> None:
    """A Remark where PresentationLUTShape (C.11.6) asks for the opposite of the photometric interpretation."""
    pair = dataset.PhotometricInterpretation, dataset.get("PresentationLUTShape")
    if pair in (("MONOCHROME2", "INVERSE"), ("MONOCHROME1", "IDENTITY")):
        said = "PhotometricInterpretation {} and PresentationLUTShape {}".format(*pair)
        warnings.warn(f"{path}: contradicting polarity: {said}; the first is taken", Remark, stacklevel=1)


_DEFLATED = "1.2.840.10008.1.2.1.99"


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
