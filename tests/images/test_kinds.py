"""One chest in many forms of image file: each shows the pixels that it ought to, or is one line that says why not."""

from __future__ import annotations

import locale
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset

from gen.core.errors import BadInput, EnvironmentLacks, Remark
from gen.core.radiograph import Radiograph, png_bytes
from gen.data.cli import check_folder
from gen.evaluate.images import odd_greys, read_images
from gen.images.dicom import SPACINGS
from gen.images.reader import read_radiograph
from gen.judge.cli import describe

SIDE = 64
ROW, COLUMN = np.mgrid[:SIDE, :SIDE]
# 12 bits of a detector: 300 to 3900, so that it is neither empty at an end nor uses 16 bits.
VALUES = (300 + 3600 * (0.5 + 0.5 * np.sin(ROW / 9) * np.cos(COLUMN / 7))).round().astype(np.uint16)
VALUES[0, 0], VALUES[-1, -1] = 300, 3900
OWN = (VALUES - 300) / 3600.0
EIGHT = (VALUES >> 4).astype(np.uint8)
BACKGROUND = ROW < 8  # rows that a collimator or a stitching program filled


def dicom(path: Path, stored: np.ndarray, *, syntax: str = uid.ExplicitVRLittleEndian, **elements: Any) -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = uid.UID(syntax)
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = uid.ComputedRadiographyImageStorage, "1.2.3"
    big = syntax == uid.ExplicitVRBigEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128, is_little_endian=not big)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    data.Rows, data.Columns = stored.shape[:2]
    data.SamplesPerPixel = 3 if stored.ndim == 3 else 1
    if stored.ndim == 3:
        data.PlanarConfiguration = 0
    data.PhotometricInterpretation = "RGB" if stored.ndim == 3 else "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8 * stored.dtype.itemsize
    data.PixelRepresentation = int(stored.dtype.kind == "i")
    data.PixelData = stored.astype(stored.dtype.newbyteorder(">" if big else "<")).tobytes()
    data["PixelData"].VR = "OB" if stored.dtype.itemsize == 1 else "OW"
    for name, value in elements.items():
        setattr(data, name, value)
    data.HighBit = elements.get("HighBit", data.BitsStored - 1)
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path


def compressed(path: Path, syntax: str, stored: np.ndarray = VALUES, **elements: Any) -> Path:
    data = pydicom.dcmread(dicom(path, stored, **{"BitsStored": 12, **elements}))
    data.compress(syntax)
    data.save_as(path)
    return path


def jpeg_lossless(path: Path, stored: np.ndarray, **elements: Any) -> Path:
    """By GDCM, in its default JPEG lossless (1.2.840.10008.1.2.4.70), with the pixel elements that ``elements`` say."""
    image, writer = sitk.GetImageFromArray(stored), sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG")
    writer.SetFileName(str(path.with_suffix(".dcm")))
    before = locale.setlocale(locale.LC_ALL)
    writer.Execute(image)
    locale.setlocale(locale.LC_ALL, before)
    data = pydicom.dcmread(path.with_suffix(".dcm"))
    assert data.file_meta.TransferSyntaxUID == uid.JPEGLosslessSV1
    for name in ("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept", "PixelSpacing"):
        if name in data:
            delattr(data, name)
    for name, value in elements.items():
        setattr(data, name, value)
    data.save_as(path)
    return path


def lut(table: np.ndarray, bits: int, first: int = 0) -> Dataset:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [len(table) % 2**16, first, bits], table.astype("<u2").tobytes()
    for name in ("LUTDescriptor", "LUTData"):
        item[name].VR = "US" if name == "LUTDescriptor" else "OW"
    return item


def palette(red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> dict[str, Any]:
    elements: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, table in (("Red", red), ("Green", green), ("Blue", blue)):
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [len(table), 0, 16]
        elements[f"{name}PaletteColorLookupTableData"] = table.astype("<u2").tobytes()
    return elements


def png(path: Path, values: np.ndarray) -> Path:
    Image.fromarray(values).save(path, format="PNG")
    return path


def with_background(value: int, dtype: type = np.uint16) -> np.ndarray:
    stored = VALUES.astype(dtype)
    stored[BACKGROUND] = value
    return stored


def black_behind(shown: np.ndarray) -> np.ndarray:
    return np.where(BACKGROUND, 0, shown)


WINDOWED = np.clip((VALUES.astype(float) - 1999.5) / 1999 + 0.5, 0, 1)
WINDOW = {"WindowCenter": 2000, "WindowWidth": 2000}
BEHIND = OWN[~BACKGROUND]
OWN_BEHIND = (OWN - BEHIND.min()) / (BEHIND.max() - BEHIND.min())
HOT = VALUES.copy()
HOT[10, 10:15] = 65535
DEAD = VALUES.copy()
DEAD[10, 10:15] = 0
SHIFTED = (VALUES.astype(np.uint16) << 4).astype(np.uint16)
GREY16 = (np.arange(256) * 257).astype(np.uint16)
Maker = Callable[[Path], Path]
KINDS: dict[str, tuple[Maker, np.ndarray]] = {
    # No word on how to show it: the values' own range
    "PNG, 12 in 16 bits": (lambda p: png(p, VALUES), OWN),
    "PNG, 14 in 16 bits, offset": (lambda p: png(p, (VALUES * 2 + 5000).astype(np.uint16)), OWN),
    "PNG, 16 bits of ours": (lambda p: write(p, png_bytes(Radiograph((OWN / 2).astype(np.float32)), 16)), OWN / 2),
    "PNG, 8 bits, dim": (lambda p: png(p, EIGHT // 2), (EIGHT // 2) / 255),
    "PNG, 8 bits": (lambda p: png(p, EIGHT), EIGHT / 255),
    "DICOM, 16 bits": (lambda p: dicom(p, VALUES), OWN),
    "DICOM, 12 bits": (lambda p: dicom(p, VALUES, BitsStored=12), OWN),
    "DICOM, 8 bits": (lambda p: dicom(p, EIGHT), EIGHT / 255),
    "DICOM, 8 bits, dim": (lambda p: dicom(p, EIGHT // 2), (EIGHT // 2) / 255),
    "DICOM, 8 bits, inverted": (lambda p: dicom(p, 255 - EIGHT, PhotometricInterpretation="MONOCHROME1"), EIGHT / 255),
    "inverted": (lambda p: dicom(p, 4095 - VALUES, BitsStored=12, PhotometricInterpretation="MONOCHROME1"), OWN),
    "range tags": (lambda p: dicom(p, VALUES, SmallestImagePixelValue=0, LargestImagePixelValue=65535), OWN),
    "empty window": (lambda p: dicom(p, VALUES, WindowCenter=None, WindowWidth=None), OWN),
    "signed": (lambda p: dicom(p, VALUES.astype(np.int16) - 2048, BitsStored=12), OWN),
    "rescaled": (lambda p: dicom(p, VALUES, RescaleSlope="0.5", RescaleIntercept="-1024"), OWN),
    "32 bits": (lambda p: dicom(p, VALUES.astype(np.uint32)), OWN),
    "big endian": (lambda p: dicom(p, VALUES, syntax=uid.ExplicitVRBigEndian), OWN),
    "implicit": (lambda p: dicom(p, VALUES, syntax=uid.ImplicitVRLittleEndian), OWN),
    "deflated": (lambda p: dicom(p, VALUES, syntax=uid.DeflatedExplicitVRLittleEndian), OWN),
    # It says how
    "window": (lambda p: dicom(p, VALUES, **WINDOW), WINDOWED),
    "window, inverted": (
        lambda p: dicom(p, VALUES, PhotometricInterpretation="MONOCHROME1", **WINDOW),
        1 - WINDOWED,
    ),
    "window of width 1": (lambda p: dicom(p, VALUES, WindowCenter=2000, WindowWidth=1), VALUES > 1999.5),
    "VOI LUT": (lambda p: dicom(p, VALUES, VOILUTSequence=[lut(np.arange(4096) // 16, 8)]), VALUES // 16 / 255),
    "modality LUT": (lambda p: dicom(p, VALUES, ModalityLUTSequence=[lut(np.arange(4096) // 2, 12)]), None),
    # Padding: black, and out of the range
    "padding": (lambda p: dicom(p, with_background(65535), PixelPaddingValue=65535), black_behind(OWN_BEHIND)),
    "padding of 0": (lambda p: dicom(p, with_background(0), PixelPaddingValue=0), black_behind(OWN_BEHIND)),
    "padding, inverted": (
        lambda p: dicom(
            p, with_background(0), PixelPaddingValue=0, BitsStored=12, PhotometricInterpretation="MONOCHROME1"
        ),
        black_behind(1 - OWN_BEHIND),
    ),
    "padding, window, inverted": (
        lambda p: dicom(p, with_background(0), PixelPaddingValue=0, PhotometricInterpretation="MONOCHROME1", **WINDOW),
        black_behind(1 - WINDOWED),
    ),
    "padding range": (
        lambda p: dicom(p, with_background(60000), PixelPaddingValue=65535, PixelPaddingRangeLimit=50000),
        black_behind(OWN_BEHIND),
    ),
    "padding, signed": (
        lambda p: dicom(p, with_background(-2000, np.int16), PixelPaddingValue=-2000),
        black_behind(OWN_BEHIND),
    ),
    # Where the bits are
    "high bit 15 of 12": (lambda p: dicom(p, SHIFTED, BitsStored=12, HighBit=15), OWN),
    "high bit 15 of 12, signed": (
        lambda p: dicom(p, ((VALUES.astype(np.int16) - 2048) << 4).astype(np.int16), BitsStored=12, HighBit=15),
        OWN,
    ),
    "high bit 15, overlay below": (lambda p: dicom(p, SHIFTED | np.uint16(1), BitsStored=12, HighBit=15), OWN),
    "overlay in bit 15": (lambda p: dicom(p, VALUES | overlay(15), BitsStored=12), OWN),
    "overlay in bits 12 and 13": (lambda p: dicom(p, VALUES | overlay(12) | overlay(13), BitsStored=12), OWN),
    "overlay, signed": (
        lambda p: dicom(p, bits_12(VALUES.astype(np.int16) - 2048) | overlay(15).astype(np.int16), BitsStored=12),
        OWN,
    ),
    # Colour that is grey
    "RGB": (lambda p: dicom(p, np.stack([EIGHT] * 3, -1)), EIGHT / 255),
    "palette": (lambda p: dicom(p, EIGHT, **palette(GREY16, GREY16, GREY16)), EIGHT / 255),
    # Compressed
    "RLE": (lambda p: compressed(p, uid.RLELossless), OWN),
    "JPEG 2000": (lambda p: compressed(p, uid.JPEG2000Lossless), OWN),
    "JPEG lossless": (lambda p: jpeg_lossless(p, VALUES), OWN),
    "JPEG lossless, signed": (lambda p: jpeg_lossless(p, VALUES.astype(np.int16) - 2048), OWN),
    "JPEG lossless, 8 bits": (lambda p: jpeg_lossless(p, EIGHT), EIGHT / 255),
    "JPEG lossless, rescaled": (lambda p: jpeg_lossless(p, VALUES, RescaleSlope="3", RescaleIntercept="-7"), OWN),
    "JPEG lossless, window": (lambda p: jpeg_lossless(p, VALUES, **WINDOW), WINDOWED),
    "JPEG lossless, inverted": (
        lambda p: jpeg_lossless(p, VALUES, PhotometricInterpretation="MONOCHROME1"),
        1 - OWN,
    ),
}
KINDS["modality LUT"] = (KINDS["modality LUT"][0], (VALUES // 2 - 150) / 1800)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def overlay(bit: int) -> np.ndarray:
    return np.where((ROW + COLUMN) % 5 == 0, np.uint16(1 << bit), np.uint16(0)).astype(np.uint16)


def bits_12(values: np.ndarray) -> np.ndarray:
    return (values.astype(np.int32) & 0xFFF).astype(np.int16)


@pytest.mark.filterwarnings("ignore::gen.core.errors.Remark")
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_shows_the_same_chest(tmp_path: Path, kind: str) -> None:
    make, expected = KINDS[kind]
    read = read_radiograph(make(tmp_path / "a"))
    assert read.pixels.shape == expected.shape
    assert np.abs(read.pixels - expected).max() < 1e-4
    if not kind.startswith("PNG, 8") and kind != "PNG, 16 bits of ours":
        assert read.provenance["grey_range"]


@pytest.mark.parametrize("stored", [HOT, DEAD])
@pytest.mark.parametrize("form", ["png", "dcm"])
def test_a_few_outliers_do_not_decide_the_range(tmp_path: Path, stored: np.ndarray, form: str) -> None:
    read = read_radiograph(png(tmp_path / "a", stored) if form == "png" else dicom(tmp_path / "a", stored))
    chest = (stored == VALUES) & (VALUES > 500) & (VALUES < 3700)
    slope = np.polyfit(OWN[chest], read.pixels[chest], 1)[0]
    assert slope > 0.6  # the chest has most of the range, and keeps its order
    assert np.corrcoef(OWN[chest], read.pixels[chest])[0, 1] > 0.999


@pytest.mark.parametrize(
    "elements",
    [
        {"PixelSpacing": [0.4, 0.2]},
        {"ImagerPixelSpacing": [0.4, 0.2]},
        {"NominalScannedPixelSpacing": [0.4, 0.2]},
        {"PixelAspectRatio": [2, 1]},
        {"PixelSpacing": [0, 0], "PixelAspectRatio": [2, 1]},
    ],
)
def test_pixels_that_are_not_square_become_square(tmp_path: Path, elements: dict[str, list[float]]) -> None:
    disc = ((ROW - 31.5) ** 2 + (COLUMN - 31.5) ** 2 < 24**2).astype(np.uint16) * 3000 + 500
    tall = dicom(tmp_path / "tall", disc[::2], **elements)  # every second row: pixels twice as high as wide
    read = read_radiograph(tall)
    assert read.pixels.shape == (SIDE, SIDE)
    inside = np.argwhere(read.pixels > 0.5)
    high, wide = np.ptp(inside, axis=0) + 1
    assert abs(high - wide) <= 2
    assert read.spacing_mm == (None if "PixelAspectRatio" in elements else (0.2, 0.2))
    wider = {name: value[::-1] for name, value in elements.items()}
    turned = read_radiograph(dicom(tmp_path / "wide", disc[:, ::2], **wider))
    assert np.abs(turned.pixels - read.pixels.T).max() < 1e-5


def test_spacings_that_agree_within_their_digits_leave_the_pixels_alone(tmp_path: Path) -> None:
    read = read_radiograph(dicom(tmp_path / "a", VALUES, PixelSpacing=[0.143, 0.1425]))
    assert np.abs(read.pixels - OWN).max() < 1e-6
    assert read.spacing_mm == (0.143, 0.1425)


@given(spacing=st.floats(0.05, 1e5), keyword=st.sampled_from(SPACINGS))
def test_a_spacing_that_no_radiograph_has_is_named_and_left_out(
    tmp_path_factory: pytest.TempPathFactory, spacing: float, keyword: str
) -> None:
    side = float(f"{spacing:.6g}")
    file = dicom(tmp_path_factory.mktemp("spacing") / "a", VALUES, **{keyword: [side, side]})
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        read = read_radiograph(file)
    named = [str(each.message) for each in said if f"{keyword} of" in str(each.message)]
    if side * max(VALUES.shape) > 2000:
        assert read.spacing_mm is None
        assert len(named) == 1
        assert str(file) in named[0]
    else:
        assert (read.spacing_mm, named) == ((side, side), [])


def test_spacings_that_contradict_each_other_are_named(tmp_path: Path) -> None:
    shapes = {"PixelSpacing": [0.2, 0.2], "ImagerPixelSpacing": [0.4, 0.2]}
    with pytest.raises(BadInput, match=r"PixelSpacing is 0\.2 x 0\.2 and ImagerPixelSpacing 0\.4 x 0\.2"):
        read_radiograph(dicom(tmp_path / "a", VALUES, **shapes))
    sizes = {"PixelSpacing": [0.14, 0.14], "ImagerPixelSpacing": [1.4, 1.4]}
    with pytest.warns(Remark, match="a: contradicting sizes"):
        assert read_radiograph(dicom(tmp_path / "a", VALUES, **sizes)).spacing_mm == (0.14, 0.14)
    magnified = {"PixelSpacing": [0.14, 0.14], "ImagerPixelSpacing": [0.16, 0.16]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_radiograph(dicom(tmp_path / "a", VALUES, **magnified))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: dicom(p, VALUES, WindowCenter=5, WindowWidth=0), "WindowWidth is 0"),
        (lambda p: dicom(p, VALUES, WindowCenter=5, WindowWidth=-4), "WindowWidth is -4"),
        (lambda p: dicom(p, VALUES, RescaleSlope="0", RescaleIntercept="5"), "RescaleSlope is 0"),
        (lambda p: dicom(p, VALUES, PixelPaddingValue=0, PixelPaddingRangeLimit=65535), "every pixel is padding"),
        (lambda p: dicom(p, VALUES, BitsStored=12, HighBit=7), "HighBit is 7"),
        (lambda p: compressed(p, uid.JPEG2000Lossless, NumberOfFrames=1), ""),
        (lambda p: dicom(p, np.stack([VALUES] * 2), Rows=SIDE, Columns=SIDE, NumberOfFrames=2), "2 frames"),
        (lambda p: dicom(p, EIGHT, **palette(GREY16, GREY16[::-1], GREY16)), "colour"),
        (lambda p: jpeg_lossless(p, VALUES, BitsStored=12, HighBit=15), "HighBit is 15"),
    ],
)
def test_what_cannot_be_shown_is_one_line(tmp_path: Path, make: Maker, reason: str) -> None:
    path = make(tmp_path / "a")
    if not reason:  # one frame, and said so, is an image like any other
        assert np.abs(read_radiograph(path).pixels - OWN).max() < 1e-4
        return
    with pytest.raises(BadInput, match=reason) as caught:
        read_radiograph(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_an_unknown_compression_is_the_environments_lack(tmp_path: Path) -> None:
    written = compressed(tmp_path / "a", uid.RLELossless).read_bytes()
    (tmp_path / "a").write_bytes(written.replace(b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.9\0"))
    with pytest.raises(EnvironmentLacks, match="no decoder for"):
        read_radiograph(tmp_path / "a")


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (EIGHT // 8, "nearly black"),
        (255 - EIGHT // 8, "nearly white"),
        (EIGHT // 8 + 100, "hardly any contrast"),
        (np.maximum(EIGHT, 128) * np.uint8(1) | np.where(EIGHT > 120, 255, 0).astype(np.uint8), "clipped"),
    ],
)
def test_odd_greys_are_remarked_by_name_and_left_as_they_are(tmp_path: Path, values: np.ndarray, word: str) -> None:
    path = png(tmp_path / "odd.png", values)
    with pytest.warns(Remark, match=rf"odd\.png .*{word}"):
        read = read_radiograph(path)
    assert np.array_equal(np.rint(read.pixels * 255), values)


def test_decoding_leaves_the_locale_as_it_was(tmp_path: Path) -> None:
    path = jpeg_lossless(tmp_path / "a", VALUES)
    before = locale.setlocale(locale.LC_ALL)
    locale.setlocale(locale.LC_ALL, "C.UTF-8")
    try:
        read_radiograph(path)
        assert locale.setlocale(locale.LC_ALL).startswith("C.UTF-8")
    finally:
        locale.setlocale(locale.LC_ALL, before)


def test_one_unreadable_file_does_not_hide_those_after_it(tmp_path: Path) -> None:
    good, bad = jpeg_lossless(tmp_path / "good", VALUES), write(tmp_path / "bad", b"no image")
    ended = CliRunner().invoke(describe, [str(good), str(bad), str(good), "--quiet", "--device", "cpu"])
    assert ended.exit_code == 1
    assert ended.stdout.count(f"{good}: ") == 2
    assert str(bad) in ended.stderr
    assert "1 of 3 images could not be read" in str(ended.exception)


def test_checking_and_evaluating_name_odd_images_each_time(tmp_path: Path) -> None:
    png(tmp_path / "good.png", EIGHT)
    png(tmp_path / "dark.png", EIGHT // 8)
    (tmp_path / "metadata.csv").write_text("file_name\ngood.png\ndark.png\n")
    report = check_folder(tmp_path)
    assert report.problems == ()
    assert [line for line in report.remarks if "dark.png is nearly black" in line] == list(report.remarks) != []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Remark)
        for _ in range(2):  # the second time from the cache
            [line] = odd_greys(read_images(tmp_path, 64, cache=tmp_path / "cache"), "real")
            assert "1 of 2 real images are odd: dark.png is nearly black" in line
