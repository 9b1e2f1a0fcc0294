"""Whatever the file's depth, polarity and tables, the pixels are the same anatomy, bone bright, or one clear line."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from gen.core.errors import BadInput, EnvironmentLacks
from gen.core.radiograph import SPACING, Radiograph, png_bytes, write_png
from gen.images.reader import read_image, read_radiograph

DEPTHS = (8, 10, 12, 16)
LUTS = ("none", "window", "window exact", "sigmoid", "VOI LUT", "rescale", "rescale down", "modality LUT", "all")


def anatomy(bits: int) -> np.ndarray:
    """Stored MONOCHROME2 values (24, 20): air dark on the left, bone bright on the right, greys between."""
    ramp = np.linspace(0, 2**bits - 1, 24 * 20).round().reshape(20, 24).T
    return ramp.astype(np.uint8 if bits == 8 else np.uint16)


def lut_item(table: np.ndarray, first: int, bits: int) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(table) % 2**16, first, bits])
    item.add_new("LUTData", "OW", table.astype("<u2").tobytes())
    return item


def dicom(path: Path, stored: np.ndarray, bits: int, **elements: Any) -> Path:
    """A small computed radiograph with ``elements`` added or replaced."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=["a test"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Modality = "CR"
    dataset.Rows, dataset.Columns = stored.shape[:2]
    dataset.SamplesPerPixel = 1 if stored.ndim == 2 else 3
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = stored.dtype.itemsize * 8, bits, bits - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.PhotometricInterpretation = "MONOCHROME2"
    if dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration = 0
    dataset.PixelData = stored.tobytes()
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def tables(lut: str, bits: int, *, inverted: bool) -> tuple[dict[str, Any], Callable[[np.ndarray], np.ndarray]]:
    """The elements for ``lut``, and in closed form what they show of stored MONOCHROME2 values, in [0, 1].

    The MONOCHROME1 twin stores top - x, so its tables are the mirror images of the other's.
    """
    top = 2**bits - 1
    width, center = top * 0.5, top * 0.55
    curve = (np.linspace(0, 1, top + 1) ** 2 * 255).round()  # 8 bits out of any depth
    bend = (np.linspace(0, 1, top + 1) ** 0.5 * 4095).round()

    def mirror(value: float, *, shift: float = 0) -> float:
        return top - value + shift if inverted else value

    def reverse(table: np.ndarray, out: int) -> np.ndarray:
        return out - table[::-1] if inverted else table

    def ramp(x: np.ndarray) -> np.ndarray:
        return np.clip((x - (center - 0.5)) / (width - 1) + 0.5, 0, 1)

    window = {"WindowCenter": mirror(center, shift=1), "WindowWidth": width}
    return {
        "none": ({}, lambda x: x / top),
        "window": (window, ramp),
        "window exact": (
            {"WindowCenter": [mirror(center), 1], "WindowWidth": [width, 1], "VOILUTFunction": "LINEAR_EXACT"},
            lambda x: np.clip((x - center) / width + 0.5, 0, 1),
        ),
        "sigmoid": (
            {"WindowCenter": mirror(center), "WindowWidth": width, "VOILUTFunction": "SIGMOID"},
            lambda x: 1 / (1 + np.exp(-4 * (x - center) / width)),
        ),
        "VOI LUT": ({"VOILUTSequence": [lut_item(reverse(curve, 255), 0, 8)]}, lambda x: curve[x] / 255),
        "rescale": ({"RescaleSlope": 2.5, "RescaleIntercept": -1024}, lambda x: x / top),
        "rescale down": ({"RescaleSlope": -1, "RescaleIntercept": top}, lambda x: 1 - x / top),
        "modality LUT": ({"ModalityLUTSequence": [lut_item(reverse(bend, 4095), 0, 12)]}, lambda x: bend[x] / 4095),
        "all": (
            {
                "RescaleSlope": 2,
                "RescaleIntercept": -100,
                "WindowCenter": 2 * mirror(center, shift=0) - 100 + 0.5,
                "WindowWidth": 2 * width + 1,
            },
            lambda x: np.clip((x - center) / width + 0.5, 0, 1),
        ),
    }[lut]


@pytest.mark.parametrize("lut", LUTS)
@pytest.mark.parametrize("bits", DEPTHS)
def test_dicom_shows_the_same_anatomy_at_any_depth_polarity_and_table(tmp_path: Path, bits: int, lut: str) -> None:
    stored = anatomy(bits)
    elements, shown = tables(lut, bits, inverted=False)
    twin_elements, _ = tables(lut, bits, inverted=True)
    plain = read_radiograph(dicom(tmp_path / "2", stored, bits, **elements))
    twin_stored = (2**bits - 1 - stored).astype(stored.dtype)
    twin = read_radiograph(
        dicom(tmp_path / "1", twin_stored, bits, PhotometricInterpretation="MONOCHROME1", **twin_elements)
    )
    expected = shown(stored.astype(int))
    assert np.abs(plain.pixels - expected).max() < 1e-5
    if lut != "rescale down":  # that one turns dark into bright by itself: a MONOCHROME2 file that shows a negative
        assert plain.pixels[:, -1].mean() > 0.8 > 0.2 > plain.pixels[:, 0].mean()
    assert np.abs(twin.pixels - plain.pixels).max() < 1e-5
    assert plain.pixels.dtype == np.float32


def test_signed_dicom_is_read_over_its_stored_range(tmp_path: Path) -> None:
    stored = (anatomy(12).astype(np.int16) - 2048).astype(np.int16)
    assert np.abs(read_radiograph(dicom(tmp_path / "a", stored, 12)).pixels - anatomy(12) / 4095).max() < 1e-6


def test_a_lut_that_starts_above_zero_holds_its_ends(tmp_path: Path) -> None:
    table = np.array([0, 100, 200, 255])
    stored = np.arange(16, dtype=np.uint16).reshape(4, 4)
    for data in (lut_item(table, 5, 8), lut_item(table, 5, 8)):
        packed = data.LUTData[::2]
        for content in (data.LUTData, packed):  # one entry to a word, or two
            data.LUTData = content
            read = read_radiograph(dicom(tmp_path / "a", stored, 12, VOILUTSequence=[data]))
            expected = [0] * 6 + [100, 200] + [255] * 8
            assert (read.pixels.ravel() * 255).round().tolist() == expected


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize("bits", [8, 12])
def test_compressed_dicom_is_the_uncompressed_one(tmp_path: Path, syntax: pydicom.uid.UID, bits: int) -> None:
    plain = dicom(tmp_path / "plain", anatomy(bits).repeat(4, 0).repeat(4, 1), bits)
    dataset = pydicom.dcmread(plain)
    dataset.compress(syntax)
    dataset.save_as(tmp_path / "compressed")
    assert np.array_equal(read_radiograph(tmp_path / "compressed").pixels, read_radiograph(plain).pixels)
    assert "transfer_syntax" in read_radiograph(tmp_path / "compressed").provenance


def test_a_missing_decoder_is_the_environments_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = pydicom.dcmread(dicom(tmp_path / "plain", anatomy(8), 8))
    dataset.compress(RLELossless)
    dataset.save_as(tmp_path / "compressed")
    decoder = pydicom.pixels.get_decoder(RLELossless)
    monkeypatch.setattr(decoder, "_available", {})
    with pytest.raises(EnvironmentLacks, match=r"compressed: no decoder for RLE Lossless is installed; decompress"):
        read_radiograph(tmp_path / "compressed")


def test_dicom_tells_spacing_and_that_it_is_synthetic_and_nothing_about_the_patient(tmp_path: Path) -> None:
    elements = {"ImagerPixelSpacing": [0.2, 0.2], "SyntheticData": "YES", "PatientName": "Doe^Jane", "PatientID": "42"}
    read = read_radiograph(dicom(tmp_path / "a", anatomy(8), 8, **elements))
    assert read.spacing_mm == (0.2, 0.2)
    assert read.provenance["synthetic"] == "yes"
    assert not any("Doe" in value or value == "42" for value in read.provenance.values())


def test_dicom_that_is_no_single_grey_image_is_refused(tmp_path: Path) -> None:
    grey, colour = anatomy(8), np.zeros((8, 8, 3), np.uint8)
    colour[..., 0] = np.arange(8)[:, None] * 30
    cases = {
        "frames": {"NumberOfFrames": 2, "PixelData": grey.tobytes() * 2},
        "megapixels": {"Rows": 60000, "Columns": 60000},
        "no pixels": {"Rows": 0},
        "not greyscale": {"PhotometricInterpretation": "HSV"},
        "Palette": {"PhotometricInterpretation": "PALETTE COLOR"},
        "no window": {"WindowCenter": 5, "WindowWidth": 0},
        "WindowWidth is nan": {"WindowCenter": 5, "WindowWidth": float("nan")},
        "WindowCenter inf": {"WindowCenter": float("inf"), "WindowWidth": 9},
        "RescaleSlope is nan": {"RescaleSlope": float("nan"), "RescaleIntercept": 0},
        "FANCY": {"WindowCenter": 5, "WindowWidth": 9, "VOILUTFunction": "FANCY"},
        "cannot be read": {"PixelData": grey.tobytes()[:-50]},
    }
    for reason, elements in cases.items():
        path = dicom(tmp_path / "bad", grey, 8, **elements)
        with pytest.raises(BadInput, match=reason) as caught:
            read_radiograph(path)
        assert str(caught.value).startswith(str(path))
    with pytest.raises(BadInput, match="colour"):
        read_radiograph(dicom(tmp_path / "bad", colour, 8, PhotometricInterpretation="RGB"))
    dataset = pydicom.dcmread(dicom(tmp_path / "bad", grey, 8))
    del dataset.PixelData, dataset.Rows
    dataset.save_as(tmp_path / "report")
    with pytest.raises(BadInput, match="without an image"):
        read_radiograph(tmp_path / "report")


@pytest.mark.parametrize(
    ("orientation", "odd"),
    [
        (["L", "F"], False),
        (["L", "FA"], False),
        (["A", "F"], False),  # a lateral view
        (["R", "F"], True),
        (["L", "H"], True),
        (["F", "L"], True),
        ("", False),
    ],
)
def test_a_picture_that_its_file_calls_mirrored_or_turned_is_named(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, orientation: list[str], odd: bool
) -> None:
    path = dicom(tmp_path / "a.dcm", anatomy(8), 8, PatientOrientation=orientation)
    read_radiograph(path)
    said = [str(each.message) for each in recwarn if "PatientOrientation" in str(each.message)]
    assert [line.startswith(f"{path}: PatientOrientation") for line in said] == [True] * odd


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("shape", ["IDENTITY", "INVERSE", None])
def test_a_polarity_that_contradicts_itself_is_named(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, kind: str, shape: str | None
) -> None:
    tags = {"PhotometricInterpretation": kind} | ({} if shape is None else {"PresentationLUTShape": shape})
    shown = read_radiograph(dicom(tmp_path / "a.dcm", anatomy(8), 8, **tags)).pixels
    plain = read_radiograph(dicom(tmp_path / "b.dcm", anatomy(8), 8, PhotometricInterpretation=kind)).pixels
    assert np.array_equal(shown, plain)
    fits = shape in (None, "INVERSE" if kind == "MONOCHROME1" else "IDENTITY")
    assert any("contradicting polarity" in str(each.message) for each in recwarn) is not fits


def test_a_deflated_dicom_is_read_and_a_deflated_bomb_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = pydicom.dcmread(dicom(tmp_path / "plain", anatomy(8), 8))
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "deflated", enforce_file_format=True)
    assert np.array_equal(read_radiograph(tmp_path / "deflated").pixels, read_radiograph(tmp_path / "plain").pixels)
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    whole = (tmp_path / "deflated").read_bytes()
    start = 144 + struct.unpack("<I", whole[140:144])[0]
    zeros = b"".join(deflater.compress(bytes(1_000_000)) for _ in range(300)) + deflater.flush()
    (tmp_path / "bomb").write_bytes(whole[:start] + zeros)
    monkeypatch.setattr(zlib, "decompress", None)  # pydicom's unbounded way must not even be reached
    with pytest.raises(BadInput, match="deflated content is larger"):
        read_radiograph(tmp_path / "bomb")


@settings(max_examples=50)
@given(bits=st.sampled_from([8, 16]), data=st.data())
def test_png_round_trip_is_exact(tmp_path_factory: pytest.TempPathFactory, bits: int, data: st.DataObject) -> None:
    dtype = np.uint8 if bits == 8 else np.uint16
    shape = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)
    levels = data.draw(hnp.arrays(dtype, shape, elements=st.integers(0, 2**bits - 1)).filter(lambda a: np.ptp(a) > 0))
    text = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
    provenance = {"synthetic": "yes", "prompt": data.draw(text), "seed": "18446744073709551615"}
    side = st.floats(0.01, 5)
    spacing = data.draw(st.none() | st.tuples(side, side))
    path = tmp_path_factory.mktemp("png") / "a.png"
    pixels = levels.astype(np.float32) / np.float32(2**bits - 1)
    write_png(path, Radiograph(pixels, spacing, provenance), bits)
    read = read_radiograph(path)
    assert np.array_equal(np.rint(read.pixels * (2**bits - 1)), levels)
    assert np.array_equal(read.pixels, pixels)
    assert path.read_bytes() == png_bytes(Radiograph(pixels, spacing, provenance), bits)
    in_memory = read_image(io.BytesIO(path.read_bytes()))
    assert np.array_equal(in_memory.pixels, pixels)
    assert (in_memory.spacing_mm, in_memory.provenance) == (spacing, provenance)
    assert (read.spacing_mm, read.provenance) == (spacing, provenance)
    with Image.open(path) as image:
        assert image.mode == ("L" if bits == 8 else "I;16")
        if spacing is not None:  # pHYs counts whole pixels per metre, and 1 of them is 0.0254 to the inch
            assert image.info["dpi"] == pytest.approx((25.4 / spacing[1], 25.4 / spacing[0]), abs=0.0254)


def test_every_level_of_a_16_bit_png_survives(tmp_path: Path) -> None:
    levels = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    write_png(tmp_path / "a.png", Radiograph((levels / 65535).astype(np.float32)), 16)
    assert np.array_equal(np.rint(read_radiograph(tmp_path / "a.png").pixels * 65535), levels)


GREY = (np.arange(64).reshape(8, 8) * 4).astype(np.uint8)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_grey_stored_in_other_modes_is_the_same_grey(tmp_path: Path, mode: str) -> None:
    Image.fromarray(GREY).convert(mode).save(tmp_path / "a.png")
    assert np.array_equal(read_radiograph(tmp_path / "a.png").pixels, GREY.astype(np.float32) / np.float32(255))


def test_a_jpeg_is_turned_by_its_orientation_and_grey_in_colour_mode_is_taken(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(0, 240, 5, dtype=np.uint8), (16, 1))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(ramp).convert("RGB").save(tmp_path / "a.jpg", quality=95, exif=exif)
    assert np.abs(read_radiograph(tmp_path / "a.jpg").pixels - ramp.T / 255).max() < 0.02


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_spacing_turns_with_the_picture(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    info = PngInfo()
    info.add_text(SPACING, "0.2 0.1")
    Image.fromarray(anatomy(8)).save(tmp_path / "a.png", exif=exif, pnginfo=info)
    read = read_radiograph(tmp_path / "a.png")
    size_mm = {(24, 20): (0.2, 0.1), (20, 24): (0.1, 0.2)}  # of the picture stays the same
    assert read.spacing_mm == size_mm[read.pixels.shape]
    assert (read.pixels.shape == (20, 24)) == (orientation > 4)


def bad_files(folder: Path) -> dict[str, tuple[str, bytes]]:
    """Name -> (what the message says, bytes)."""
    photo = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    Image.fromarray(photo).save(folder / "_.jpg", quality=90)
    Image.fromarray(GREY).save(folder / "_.png")
    jpeg, png = (folder / "_.jpg").read_bytes(), (folder / "_.png").read_bytes()

    def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
        image.save(folder / f"_.{kind}", **options)
        return (folder / f"_.{kind}").read_bytes()

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    def png_of(width: int, height: int) -> bytes:
        header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
        return (
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", header)
            + chunk(b"IDAT", zlib.compress(b"\0" * 100))
            + chunk(b"IEND", b"")
        )

    clear = Image.fromarray(np.dstack([GREY, GREY]), "LA")
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    return {
        "truncated.jpg": ("truncated", saved(Image.fromarray(photo).convert("L"), "jpg")[:-200]),
        "cut.png": ("", png[: len(png) // 2]),
        "text.png": ("not a PNG, JPEG or DICOM", b"a text file, whatever its name says\n" * 20),
        "empty.png": ("the file is empty", b""),
        "photo.jpg": ("colour", jpeg),
        "bomb.png": ("exceeds limit", png_of(60_000, 60_000)),
        "warned.png": ("megapixels", png_of(10_000, 9_500)),
        "no-width.png": ("", png_of(0, 8)),
        "black.png": ("same value", saved(Image.new("L", (8, 8), 0), "png")),
        "clear.png": ("transparent", saved(clear, "png")),
        "cmyk.jpg": ("CMYK", saved(Image.fromarray(photo).convert("CMYK"), "jpg")),
        "bits.png": ("mode 1", saved(Image.fromarray(GREY).convert("1"), "png")),
        "moving.png": ("animation", saved(frames[0], "png", save_all=True, append_images=frames[1:])),
        "other.png": ("not a PNG, JPEG or DICOM", saved(Image.fromarray(GREY), "tiff")),
        "half.dcm": ("", b"\0" * 128 + b"DICM" + b"\x02\0\0\0UL"),
    }


def test_each_bad_file_is_one_line_that_names_it(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    for name, (reason, content) in bad_files(tmp_path).items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadInput) as caught:
            read_radiograph(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
        assert reason in str(caught.value), name
        assert "\n" not in str(caught.value)
    for path in (tmp_path / "missing.png", tmp_path):
        with pytest.raises(BadInput, match=str(path)):
            read_radiograph(path)
    assert not [warning for warning in recwarn if "bomb" in str(warning.message).lower()]
