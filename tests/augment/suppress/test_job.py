"""`gen suppress` on files: every format and depth, whole results only, originals untouched, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner
from PIL import Image
from pydicom.uid import generate_uid

from augment.suppress.cli import suppress
from augment.suppress.job import MARK, find_images
from gen.core.dicom import dicom_bytes
from gen.core.errors import BadInput, GenError
from gen.core.files import sha256_file
from gen.core.radiograph import Radiograph, write_png
from gen.images.reader import read_radiograph
from tests.augment.suppress.conftest import drawn_image
from tests.dciodvfy import dicom_errors

SPACING = (0.4, 0.4)


def call(*arguments: object, code: int = 0) -> str:
    """Stdout and stderr of the command, and its error."""
    result = CliRunner().invoke(suppress, list(map(str, arguments)))
    error = result.exception if isinstance(result.exception, GenError) else None
    assert (error.exit_code if error else result.exit_code) == code, (result.output, result.exception)
    return f"{result.output}{error or ''}"


def run(folder: Path, *arguments: object, code: int = 0) -> str:
    """`call` with the toy network; the checks by the anatomy network are left out."""
    return call(*arguments, "--model", folder, "--no-check", code=code)


def write_dicom(path: Path, bits: int = 12, photometric: str = "MONOCHROME2") -> None:
    image = Radiograph(drawn_image((150, 170)), SPACING, {"synthetic": "yes"})
    path.write_bytes(
        dicom_bytes(image, bits=bits, photometric=photometric, patient={"id": "nobody", "sex": "F"}, attributes={})
    )


def write_digital(path: Path, photometric: str = "MONOCHROME1") -> None:
    """A Digital X-Ray image as a detector writes it, as far as this test needs: its header need not be complete."""
    write_dicom(path, 14, photometric)
    data = pydicom.dcmread(path)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    data.Modality, data.PresentationIntentType, data.SeriesInstanceUID = "DX", "FOR PRESENTATION", generate_uid()
    data.PatientName, data.StudyDate = "Somebody^Else", "20200101"
    data.ImageType = ["ORIGINAL", "PRIMARY", ""]
    data.PresentationLUTShape = "INVERSE" if photometric == "MONOCHROME1" else "IDENTITY"
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = "0", "1", "US"
    data.PixelIntensityRelationship, data.PixelIntensityRelationshipSign = "LIN", -1
    data.VOILUTFunction = "LINEAR"
    for keyword in ("ConversionType", "SyntheticData"):
        delattr(data, keyword)
    data.save_as(path)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_png_keeps_depth_spacing_and_provenance_and_its_parts_add_up(
    toy_suppressor_folder: Path, tmp_path: Path, bits: Any
) -> None:
    source = tmp_path / "a.png"
    write_png(source, Radiograph(drawn_image((150, 170)), SPACING, {"origin": "here"}), bits)
    before = sha256_file(source)
    run(toy_suppressor_folder, source, "--out", tmp_path / "out", "--bone")
    image, soft, bone = (read_radiograph(path) for path in (source, *(tmp_path / "out").glob("*/a.png")))
    assert sha256_file(source) == before
    assert np.abs(image.pixels - soft.pixels - bone.pixels).max() <= 1.01 / (2**bits - 1)
    for part in (soft, bone):
        assert part.spacing_mm == SPACING
        assert part.provenance["origin"] == "here"
        assert part.provenance["source_sha256"] == before
        assert part.provenance[MARK] == "estimated"
    with Image.open(tmp_path / "out/soft/a.png") as written:
        assert written.mode.startswith("I" if bits == 16 else "L")


def test_a_jpeg_and_a_folder_in_a_folder(toy_suppressor_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in/deep").mkdir(parents=True)
    Image.fromarray((drawn_image((150, 170)) * 255).astype(np.uint8)).save(tmp_path / "in/deep/b.jpg")
    write_png(tmp_path / "in/a.png", Radiograph(drawn_image((150, 170))))
    run(toy_suppressor_folder, tmp_path / "in", "--out", tmp_path / "out")
    made = sorted(path.relative_to(tmp_path / "out/soft").as_posix() for path in (tmp_path / "out/soft").rglob("*.png"))
    assert made == ["a.png", "deep/b.png"]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_derived_dicom_is_valid_and_references_its_source(
    toy_suppressor_folder: Path, tmp_path: Path, bits: int, photometric: str
) -> None:
    write_dicom(tmp_path / "a.dcm", bits, photometric)
    run(toy_suppressor_folder, tmp_path / "a.dcm", "--out", tmp_path / "out", "--format", "dicom", "--bone")
    source = pydicom.dcmread(tmp_path / "a.dcm")
    parts = [pydicom.dcmread(tmp_path / f"out/{part}/a.dcm") for part in ("soft", "bone")]
    for part in parts:
        [reference] = part.SourceImageSequence
        assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert part.StudyInstanceUID == source.StudyInstanceUID
        assert part.SeriesInstanceUID != source.SeriesInstanceUID
        assert (part.PatientID, part.BitsStored, part.PhotometricInterpretation) == ("nobody", bits, "MONOCHROME2")
        assert part.ImageType[0] == "DERIVED"
    assert len({str(each.SOPInstanceUID) for each in (source, *parts)}) == 3
    image, soft, bone = (
        read_radiograph(tmp_path / name).pixels for name in ("a.dcm", "out/soft/a.dcm", "out/bone/a.dcm")
    )
    assert np.abs(image - soft - bone).max() <= 2.01 / (2**bits - 1)  # the window of DICOM rounds once more
    for part in ("soft", "bone"):
        assert dicom_errors(tmp_path / f"out/{part}/a.dcm") == []


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_of_a_digital_radiograph_the_validator_finds_no_error_that_the_source_has_not(
    toy_suppressor_folder: Path, tmp_path: Path, photometric: str
) -> None:
    write_digital(tmp_path / "a.dcm", photometric)
    run(toy_suppressor_folder, tmp_path / "a.dcm", "--out", tmp_path / "out", "--format", "dicom")
    made = tmp_path / "out/soft/a.dcm"
    assert pydicom.dcmread(made).PatientName == "Somebody^Else"
    image, soft = (read_radiograph(path).pixels for path in (tmp_path / "a.dcm", made))
    assert np.corrcoef(image.ravel(), soft.ravel())[0, 1] > 0.5  # the polarity is the same
    before = set(dicom_errors(tmp_path / "a.dcm", "DXImageForPresentation"))
    assert set(dicom_errors(made, "DXImageForPresentation")) <= before


def test_nothing_that_belongs_to_the_pixels_of_the_source_outlives_them(
    toy_suppressor_folder: Path, tmp_path: Path
) -> None:
    write_dicom(tmp_path / "a.dcm", 8)
    data = pydicom.dcmread(tmp_path / "a.dcm")
    for group in (0x6000, 0x6002, 0x601E):
        data.add_new((group, 0x0010), "US", data.Rows)
        data.add_new((group, 0x0011), "US", data.Columns)
        data.add_new((group, 0x0040), "CS", "G")
        data.add_new((group, 0x0050), "SS", [1, 1])
        data.add_new((group, 0x0100), "US", 1)
        data.add_new((group, 0x0102), "US", 0)
        data.add_new((group, 0x3000), "OW", b"\xff" * (-(-data.Rows * data.Columns // 16) * 2))
    data.PhotometricInterpretation = "PALETTE COLOR"
    for colour in ("Red", "Green", "Blue"):
        data.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [256, 0, 16])
        data.add_new(f"{colour}PaletteColorLookupTableData", "OW", (np.arange(256, dtype="<u2") * 257).tobytes())
    data.save_as(tmp_path / "a.dcm")
    run(toy_suppressor_folder, tmp_path / "a.dcm", "--out", tmp_path / "out", "--format", "dicom")
    made = pydicom.dcmread(tmp_path / "out/soft/a.dcm")
    assert not [element for element in made if element.tag.group & 0xFF00 == 0x6000]
    assert not [element for element in made if "Palette" in element.keyword]
    assert made.PhotometricInterpretation == "MONOCHROME2"
    assert dicom_errors(tmp_path / "out/soft/a.dcm") == []


def test_pixels_that_were_made_square_say_their_own_size(toy_suppressor_folder: Path, tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm")
    data = pydicom.dcmread(tmp_path / "a.dcm")
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        setattr(data, keyword, [0.4, 0.2])
    data.save_as(tmp_path / "a.dcm")
    run(toy_suppressor_folder, tmp_path / "a.dcm", "--out", tmp_path / "out", "--format", "dicom")
    image, soft = (read_radiograph(path) for path in (tmp_path / "a.dcm", tmp_path / "out/soft/a.dcm"))
    assert soft.pixels.shape == image.pixels.shape == (300, 170)
    assert soft.spacing_mm == image.spacing_mm == (0.2, 0.2)


def test_the_same_command_goes_on_and_another_one_is_refused(toy_suppressor_folder: Path, tmp_path: Path) -> None:
    for name in "ab":
        write_png(tmp_path / f"in-{name}.png", Radiograph(drawn_image((150, 170))))
    inputs = [tmp_path / "in-a.png", tmp_path / "in-b.png", "--out", tmp_path / "out"]
    run(toy_suppressor_folder, inputs[0], *inputs[2:])
    first = tmp_path / "out/soft/in-a.png"
    time = first.stat().st_mtime_ns
    assert str(first) not in run(toy_suppressor_folder, *inputs).splitlines()
    assert first.stat().st_mtime_ns == time
    (tmp_path / "out/soft/in-b.png").write_bytes(b"torn")
    assert str(tmp_path / "out/soft/in-b.png") in run(toy_suppressor_folder, *inputs).splitlines()
    assert "strength" in run(toy_suppressor_folder, *inputs, "--strength", "0.5", code=2)


def test_a_broken_file_is_listed_and_the_others_are_made(toy_suppressor_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_png(tmp_path / "in/a.png", Radiograph(drawn_image((150, 170))))
    write_png(tmp_path / "in/small.png", Radiograph(drawn_image((64, 64))))
    (tmp_path / "in/broken.png").write_bytes((tmp_path / "in/a.png").read_bytes()[:2000])
    Image.fromarray(np.zeros((150, 150, 3), np.uint8) + np.array([200, 0, 0], np.uint8)).save(tmp_path / "in/red.png")
    write_dicom(tmp_path / "in/frames.dcm")
    data = pydicom.dcmread(tmp_path / "in/frames.dcm")
    data.NumberOfFrames = 2
    data.save_as(tmp_path / "in/frames.dcm")
    del data.NumberOfFrames, data.PixelData
    data.save_as(tmp_path / "in/hollow.dcm")
    del data.Rows
    data.save_as(tmp_path / "in/empty.dcm")
    said = run(toy_suppressor_folder, tmp_path / "in", "--out", tmp_path / "out", code=1)
    assert [path.name for path in (tmp_path / "out/soft").iterdir()] == ["a.png"]
    reasons = {"small": "too few", "broken": "", "red": "colour", "frames": "frames", "hollow": "without pixels"}
    for name, why in {**reasons, "empty": "without an image"}.items():
        assert any(name in line and why in line for line in said.splitlines() if line.startswith("failed: ")), name
    assert sum(line.startswith("failed: ") for line in said.splitlines()) == 6


def test_what_is_no_chest_is_refused_unless_nobody_asks(toy_suppressor_folder: Path, tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", Radiograph(drawn_image((150, 400))))
    arguments = [tmp_path / "a.png", "--out", tmp_path / "out", "--model", toy_suppressor_folder]
    said = call(*arguments, code=1)
    assert "several panels" in said
    assert "--no-check" in said
    assert not (tmp_path / "out/soft").exists()
    call(*arguments[:2], tmp_path / "other", *arguments[3:], "--no-check")
    assert (tmp_path / "other/soft/a.png").exists()


def test_what_was_suppressed_before_is_refused(toy_suppressor_folder: Path, tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", Radiograph(drawn_image((150, 170))))
    run(toy_suppressor_folder, tmp_path / "a.png", "--out", tmp_path / "out")
    said = run(toy_suppressor_folder, tmp_path / "out/soft/a.png", "--out", tmp_path / "again", code=1)
    assert "suppressed before" in said
    write_dicom(tmp_path / "b.dcm")
    run(toy_suppressor_folder, tmp_path / "b.dcm", "--out", tmp_path / "dicom", "--format", "dicom")
    said = run(toy_suppressor_folder, tmp_path / "dicom/soft/b.dcm", "--out", tmp_path / "once-more", code=1)
    assert "suppressed before" in said


def test_results_never_fall_among_the_originals(toy_suppressor_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write_png(tmp_path / "out/a.png", Radiograph(drawn_image((150, 170))))
    before = sha256_file(tmp_path / "out/a.png")
    run(toy_suppressor_folder, tmp_path / "out/a.png", "--out", tmp_path / "out", code=2)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]
    assert sha256_file(tmp_path / "out/a.png") == before


def test_a_picture_of_a_real_patient_makes_no_dicom(toy_suppressor_folder: Path, tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", Radiograph(drawn_image((150, 170))))
    arguments = [tmp_path / "a.png", "--out", tmp_path / "out", "--format", "dicom"]
    assert "real patient" in run(toy_suppressor_folder, *arguments, code=1)
    write_png(tmp_path / "b.png", Radiograph(drawn_image((150, 170)), None, {"synthetic": "yes"}))
    run(toy_suppressor_folder, tmp_path / "b.png", *arguments[1:])
    assert dicom_errors(tmp_path / "out/soft/b.dcm") == []


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    for suffix in ("png", "jpg"):
        (tmp_path / f"a.{suffix}").write_bytes(b"")
    with pytest.raises(BadInput, match="both become a"):
        find_images([tmp_path])
    assert find_images([tmp_path / "a.png", tmp_path / "a.png"]) == {"a": tmp_path / "a.png"}


def test_of_a_data_set_only_the_images_that_it_lists_are_taken(tmp_path: Path) -> None:
    listed = ["train/images/a.png", "test/images/b.png"]
    for name in (*listed, "train/masks/a/heart.png", "train/contact-sheet.png", "train/dicom/a.dcm"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_png(tmp_path / name, Radiograph(drawn_image((20, 30))))
    for split, image in (("train", "a"), ("test", "b")):
        (tmp_path / split / "metadata.csv").write_text(f"file_name\nimages/{image}.png\n")
    assert find_images([tmp_path]) == {name.removesuffix(".png"): tmp_path / name for name in listed}
    assert find_images([tmp_path / "train/masks"]) == {"a/heart": tmp_path / "train/masks/a/heart.png"}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "no image"),
        (["a.png"], "--out is missing"),
        (["missing.png", "--out", "out"], "no such file"),
        (["a.png", "--evaluate", "pairs"], "--evaluate takes no images"),
    ],
)
def test_what_is_missing_is_named(arguments: list[str], why: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert why in call(*arguments, code=2)
    assert not list(tmp_path.iterdir())


def test_json_tells_each_file(toy_suppressor_folder: Path, tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", Radiograph(drawn_image((150, 170))))
    said = run(toy_suppressor_folder, tmp_path / "a.png", "--out", tmp_path / "out", "--json", "--quiet")
    line = json.loads(said)
    assert line["files"] == {"soft/a.png": sha256_file(tmp_path / "out/soft/a.png")}
