"""One chest in the forms in which CTs come: `gen drr` makes the same radiograph of it, or says in one line why not."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner, Result
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from drr.cli import drr
from drr.ct.volume import Volume
from drr.reader import read_volume
from gen.core.errors import GenError
from gen.core.manifest import read_manifest
from gen.images.reader import read_radiograph

Make = Callable[[Path, Volume], Path]
LPS = np.array((-1.0, -1, 1))


def project(ct: Path, out: Path) -> Result:
    return CliRunner().invoke(drr, ["--size", "96", str(ct), "--out", str(out)])


@pytest.fixture(scope="module")
def radiograph(chest: Volume, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    folder = tmp_path_factory.mktemp("plain")
    result = project(nifti()(folder, chest), folder / "out")
    assert result.exit_code == 0, result.output
    assert "warning" not in result.stderr
    return read_radiograph(folder / "out" / "images" / "ct-PA-0000.png").pixels


# NIfTI, field by field


def affine(chest: Volume) -> np.ndarray:
    """In RAS, (3, 4)."""
    return np.column_stack((np.diag(LPS * chest.spacing_mm[::-1]), LPS * chest.origin_mm))


def turned(matrix: np.ndarray, degrees: float) -> np.ndarray:
    """About the long axis of the patient."""
    angle = np.deg2rad(degrees)
    turn = np.array(((np.cos(angle), -np.sin(angle), 0), (np.sin(angle), np.cos(angle), 0), (0, 0, 1)))
    return np.asarray(turn @ matrix)


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """b, c, d of a turn about z: those of these tests are such, and half a turn where both axes are reversed."""
    angle = np.arctan2(rotation[1, 0], rotation[0, 0])
    return np.array((0, 0, np.sin(angle / 2))) * np.sign(np.cos(angle / 2) or 1)


def nifti(
    sform: Callable[[np.ndarray], np.ndarray] | None = lambda matrix: matrix,
    qform: Callable[[np.ndarray], np.ndarray] | None = None,
    values: Callable[[np.ndarray], np.ndarray] = lambda hu: hu,
    order: str = "<",
    flip: bool = False,
    unit: float = 1.0,
    rescale: tuple[float, float] = (0, 0),
) -> Make:
    """``values`` are what is stored; ``flip``: the x axis runs to the other side, so that the grid is left-handed."""

    def make(folder: Path, chest: Volume) -> Path:
        stored, matrix = values(chest.hu), affine(chest)
        if flip:
            stored = stored[..., ::-1]
            matrix[:, 3] += matrix[:, 0] * (stored.shape[2] - 1)
            matrix[:, 0] *= -1
        header = bytearray(352)

        def put(offset: int, kind: str, *numbers: float) -> None:
            data = np.array(numbers, order + kind).tobytes()
            header[offset : offset + len(data)] = data

        code = {"i2": 4, "f4": 16, "f8": 64, "u2": 512, "i8": 1024}[stored.dtype.str[1:]]
        put(0, "i4", 348)
        put(40, "i2", 3, *stored.shape[::-1], 1, 1, 1, 1)
        put(70, "i2", code, 8 * stored.itemsize)
        put(76, "f4", -1 if flip else 1, *(np.array(chest.spacing_mm[::-1]) / unit))
        put(108, "f4", 352, *rescale)
        put(123, "u1", 1 if unit == 1000 else 2)
        put(252, "i2", int(qform is not None), int(sform is not None) * 2)
        if qform is not None:
            placed = qform(matrix)
            rotation = placed[:, :3] / np.linalg.norm(placed[:, :3], axis=0)
            put(256, "f4", *quaternion(rotation), *(placed[:, 3] / unit))
        if sform is not None:
            put(280, "f4", *(sform(matrix) / unit).ravel())
        header[344:348] = b"n+1\0"
        path = folder / "ct.nii"
        path.write_bytes(bytes(header) + stored.astype(order + stored.dtype.str[1:]).tobytes())
        return path

    return make


def same(matrix: np.ndarray) -> np.ndarray:
    return matrix


def sheared(cosine: float, row: int = 1, column: int = 2) -> Callable[[np.ndarray], np.ndarray]:
    def change(matrix: np.ndarray) -> np.ndarray:
        matrix = matrix.copy()
        matrix[row, column] += cosine * np.linalg.norm(matrix[:, column])
        return matrix

    return change


def shifted(mm: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda matrix: matrix + np.array(((0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, mm)))


def mirrored(matrix: np.ndarray) -> np.ndarray:
    return np.asarray(matrix * np.array(((-1,), (1,), (1,))))


def at(value: float, *place: int | slice) -> Callable[[np.ndarray], np.ndarray]:
    def change(hu: np.ndarray) -> np.ndarray:
        values = hu.astype(np.float32)
        values[place] = value
        return values

    return change


def nan_around(hu: np.ndarray) -> np.ndarray:
    """Air outside of the circle that a scanner reconstructs."""
    y, x = np.ogrid[-1 : 1 : hu.shape[1] * 1j, -1 : 1 : hu.shape[2] * 1j]
    return np.where((x * x + y * y > 1) & (hu == hu.min()), np.float32(np.nan), hu)


EVERY = slice(None)
EDGE = (EVERY, EVERY, slice(0, 2))  # of the grid, outside of the body


# DICOM, plain and multi-frame


def item(**elements: Any) -> Dataset:
    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def blank(path: Path, storage: str, stored: np.ndarray, **elements: Any) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = storage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[str(path)])
    header = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    header.SOPClassUID, header.SOPInstanceUID = storage, meta.MediaStorageSOPInstanceUID
    header.Modality, header.ImageType, header.SeriesInstanceUID = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], "1.2.3.4"
    header.Rows, header.Columns = stored.shape[-2:]
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 0
    header.PixelData = stored.astype("<u2").tobytes()
    for name, value in elements.items():
        setattr(header, name, value)
    return header


def rescaled(hu: np.ndarray, intercept: float = -1024) -> np.ndarray:
    return np.asarray(hu.astype(np.int32) - int(intercept))


def position(chest: Volume, index: int) -> list[float]:
    return [chest.origin_mm[0], chest.origin_mm[1], chest.origin_mm[2] + index * chest.spacing_mm[0]]


def series(change: Callable[[Path], None] = lambda folder: None, every: int = 1, **elements: Any) -> Make:
    """A folder of plain slices, of which every ``every``-th is written; then ``change`` has the folder."""

    def make(folder: Path, chest: Volume) -> Path:
        ct = folder / "ct"
        ct.mkdir()
        for index in range(0, len(chest.hu), every):
            place = {"ImagePositionPatient": position(chest, index), "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
            place |= {"PixelSpacing": list(chest.spacing_mm[1:]), "SliceThickness": chest.spacing_mm[0]}
            said = place | {"RescaleIntercept": -1024, "RescaleSlope": 1} | elements
            path = ct / f"{index:03}.dcm"
            blank(path, CTImageStorage, rescaled(chest.hu[index]), **said).save_as(path, enforce_file_format=True)
        change(ct)
        return ct

    return make


def without_preamble(step: int = 1, meta: bool = True) -> Callable[[Path], None]:
    def change(ct: Path) -> None:
        for path in sorted(ct.glob("*.dcm"))[::step]:
            header = pydicom.dcmread(path)
            if meta:
                path.write_bytes(path.read_bytes()[132:])
            else:
                header.preamble, header.file_meta = None, FileMetaDataset()
                header.save_as(path, enforce_file_format=False, implicit_vr=True, little_endian=True)

    return change


def copied(ct: Path) -> None:
    shutil.copy(ct / "020.dcm", ct / "copy.dcm")


def beside(**elements: Any) -> Callable[[Path], None]:
    """One more file, made of one of the series."""

    def change(ct: Path) -> None:
        header = pydicom.dcmread(ct / "020.dcm")
        for name, value in elements.items():
            setattr(header, name, value)
        header.save_as(ct / "more.dcm")

    return change


def content(name: str, data: bytes) -> Callable[[Path], None]:
    def change(ct: Path) -> None:
        (ct / name).write_bytes(data)

    return change


def cut(ct: Path) -> None:
    (ct / "030.dcm").write_bytes((ct / "030.dcm").read_bytes()[:100])


def enhanced(
    order: Callable[[int], Sequence[int]] = range,
    files: int = 1,
    shared: bool = True,
    intercepts: Sequence[float] = (-1024,),
    stacks: int = 1,
    syntax: str | None = None,
    change: Callable[[Path], None] = lambda path: None,
    alone: bool = False,
    **elements: Any,
) -> Make:
    """Multi-frame files: frames in any ``order``, and what frames share in the shared groups or in each frame's."""

    def make(folder: Path, chest: Volume) -> Path:
        ct = folder / "ct"
        ct.mkdir()
        for number, part in enumerate(np.array_split(np.array(order(len(chest.hu))), files)):
            measures = item(PixelSpacing=list(chest.spacing_mm[1:]), SliceThickness=chest.spacing_mm[0])
            axes = item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
            common = {"PixelMeasuresSequence": [measures], "PlaneOrientationSequence": [axes]}
            frames, stored = [], []
            for index in part.tolist():
                intercept = intercepts[index % len(intercepts)]
                transform = item(RescaleIntercept=intercept, RescaleSlope=1, RescaleType="HU")
                groups = {
                    "PlanePositionSequence": [item(ImagePositionPatient=position(chest, index))],
                    "PixelValueTransformationSequence": [transform],
                    "FrameContentSequence": [item(StackID=str(index * stacks // len(chest.hu) + 1))],
                }
                frames.append(item(**groups, **({} if shared else common)))
                stored.append(rescaled(chest.hu[index], intercept))
            path = ct / f"ct{number or ''}.dcm"
            header = blank(path, EnhancedCTImageStorage, np.stack(stored), NumberOfFrames=len(part))
            header.SharedFunctionalGroupsSequence = [item(**(common if shared else {}))]
            header.PerFrameFunctionalGroupsSequence = frames
            for name, value in elements.items():
                setattr(header, name, value)
            if syntax is not None:
                header.compress(syntax, generate_instance_uid=False)
            header.save_as(path, enforce_file_format=True)
            change(path)
        return ct / "ct.dcm" if alone else ct

    return make


def headless(path: Path) -> None:
    path.write_bytes(path.read_bytes()[132:])


def shuffled(count: int) -> Sequence[int]:
    return np.random.default_rng(0).permutation(count).tolist()


def without_groups(path: Path) -> None:
    header = pydicom.dcmread(path)
    del header.PerFrameFunctionalGroupsSequence
    header.save_as(path)


def fewer_groups(path: Path) -> None:
    header = pydicom.dcmread(path)
    header.PerFrameFunctionalGroupsSequence = header.PerFrameFunctionalGroupsSequence[:-1]
    header.save_as(path)


def twice(count: int) -> Sequence[int]:
    return [*range(count), *range(count)]


# The theorem: the same radiograph, and a warning where one is due

SAME: dict[str, tuple[Make, str]] = {
    "sform alone": (nifti(), ""),
    "qform alone": (nifti(None, same), ""),
    "sform and qform": (nifti(same, same), ""),
    "sform off by 1e-4": (nifti(sheared(1e-4)), ""),
    "sform off by 5e-4 in the plane": (nifti(sheared(5e-4, 0, 1)), ""),
    "sform off by 1e-3": (nifti(sheared(1e-3)), ""),
    "sform and qform apart by rounding": (nifti(same, shifted(0.01)), ""),
    "left-handed": (nifti(flip=True), ""),
    "left-handed, off by 3e-4": (nifti(sheared(3e-4), flip=True), ""),
    "in metres": (nifti(unit=1000), ""),
    "big-endian": (nifti(order=">"), ""),
    "64-bit integers": (nifti(values=lambda hu: hu.astype(np.int64)), ""),
    "unsigned with a rescale": (nifti(values=lambda hu: (hu + 1024).astype(np.uint16), rescale=(1, -1024)), ""),
    "qform shifted by 8 mm": (nifti(same, shifted(8)), "8.0 mm and 0.0 degrees apart: the sform is used"),
    "qform turned by 2 degrees": (nifti(same, lambda m: turned(m, 2)), "2.0 degrees apart: the sform is used"),
    "NaN around the scan": (nifti(values=nan_around), "are NaN, at the border of the scan"),
    "a plain series": (series(), ""),
    "no preamble": (series(without_preamble()), ""),
    "every second file without preamble": (series(without_preamble(2)), ""),
    "every third file without preamble and meta information": (series(without_preamble(3, meta=False)), ""),
    "a file twice": (series(copied), ""),
    "a localizer": (series(beside(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])), ""),
    "a list beside the series": (series(content("notes.txt", b"nothing")), ""),
    "a file that is no DICOM": (series(content("IM0999", b"\0" * 300)), "1 file not in DICOM (IM0999)"),
    "a PET image": (series(beside(Modality="PT", SeriesInstanceUID="1.2.3.5")), "1 file of PT"),
    "a short series": (series(beside(SeriesInstanceUID="1.2.3.5")), "1 file of other, short series"),
    "SpacingBetweenSlices that agrees": (series(SpacingBetweenSlices=-6.0), ""),
    "SpacingBetweenSlices that does not": (series(SpacingBetweenSlices=4.0), "SpacingBetweenSlices is 4 mm: the pos"),
    "thin slices": (series(SliceThickness=4.0), "6 mm apart and are 4 mm thick"),
    "multi-frame": (enhanced(), ""),
    "multi-frame, the file itself": (enhanced(alone=True), ""),
    "multi-frame, out of order": (enhanced(shuffled), ""),
    "multi-frame, nothing shared": (enhanced(shuffled, shared=False), ""),
    "multi-frame, a rescale for each frame": (enhanced(intercepts=(-1024, -1000, -2000)), ""),
    "multi-frame in three files": (enhanced(shuffled, files=3), ""),
    "multi-frame, RLE": (enhanced(syntax=RLELossless), ""),
    "multi-frame, JPEG 2000, out of order": (enhanced(shuffled, syntax=JPEG2000Lossless), ""),
    "multi-frame without preamble": (enhanced(change=headless), ""),
    "multi-frame, each frame twice": (enhanced(twice), ""),
}


@pytest.mark.parametrize("form", SAME)
def test_the_radiograph_does_not_depend_on_the_form(
    form: str, chest: Volume, radiograph: np.ndarray, tmp_path: Path
) -> None:
    make, remark = SAME[form]
    ct = make(tmp_path, chest)
    result = project(ct, tmp_path / "out")
    assert result.exit_code == 0, result.output
    [row] = read_manifest(tmp_path / "out").rows
    found = read_radiograph(row.file).pixels
    if "off by" in form:  # the nearest rotation turns the patient by less than 0.06 degrees
        assert found.shape == radiograph.shape
        assert np.abs(found - radiograph).mean() < 0.01
    elif form == "in metres":  # whose single-precision sizes are rounded elsewhere: now and then one level of 255
        np.testing.assert_allclose(found, radiograph, atol=1.01 / 255)
        assert (found != radiograph).mean() < 0.001
    else:
        np.testing.assert_array_equal(found, radiograph)
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == bool(remark)
    assert all(remark in line and line.removeprefix("warning: ct: ") in row.notes for line in warnings)


REFUSED: dict[str, tuple[Make, str]] = {
    "left for right in the sform": (
        nifti(mirrored, same),
        "one is the mirror image of the other (sform RPS, qform LPS)",
    ),
    "back for front": (nifti(same, lambda m: turned(m, 180)), "turned by 180 degrees"),
    "qform turned by 20 degrees": (nifti(same, lambda m: turned(m, 20)), "turned by 20 degrees"),
    "sheared by 5e-3": (nifti(sheared(5e-3)), "the axes of its sform are not at right angles"),
    "sheared against its qform": (nifti(sheared(0.1), same), "sform, unlike those of its qform, are not at right"),
    "NaN inside": (nifti(values=at(np.nan, 30, 40, 50)), "NaN inside the scan (1 place(s))"),
    "infinite": (nifti(values=at(np.inf, *EDGE)), "infinite values"),
    "NaN alone": (nifti(values=at(np.nan, ...)), "every voxel is NaN"),
    "every second slice": (
        series(every=2),
        "12 mm apart, and SliceThickness is 6 mm, so every second slice is missing",
    ),
    "every third slice": (series(every=3, SpacingBetweenSlices=6.0), "SpacingBetweenSlices is 6 mm, so 2 of 3 slices"),
    "one slice missing": (series(lambda ct: (ct / "030.dcm").unlink()), "1 of 58 slices are missing"),
    "an empty file": (series(content("058.dcm", b"")), "058.dcm: it is empty, and no DICOM as its name says"),
    "a file cut in its header": (series(cut), "030.dcm: it is truncated or damaged"),
    "another image at one place": (
        series(beside(PixelData=bytes(75 * 114 * 2))),
        "at the same position with different",
    ),
    "two stacks": (enhanced(stacks=2), "holds 2 stacks: 1 (29 frames), 2 (29 frames)"),
    "frames that are described in part": (enhanced(change=fewer_groups), "58 frames that describes 57 of them"),
    "frames without a place": (enhanced(change=without_groups), "ct.dcm: a multi-frame file that does not say where"),
    "frames of half a scan": (enhanced(lambda count: range(0, count, 2)), "so every second slice is missing"),
    "frames in colour": (enhanced(SamplesPerPixel=3), "a colour image"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_what_cannot_be_trusted_is_refused_in_one_line(form: str, chest: Volume, tmp_path: Path) -> None:
    make, reason = REFUSED[form]
    ct = make(tmp_path, chest)
    error = project(ct, tmp_path / "out").exception
    assert isinstance(error, GenError)
    assert error.exit_code == 2
    assert str(error).startswith(f"{ct}: ")
    assert reason in str(error)
    assert "\n" not in str(error)
    assert not list(tmp_path.rglob("*.png"))


def test_an_oblique_sform_of_two_decimals_is_read_by_the_nearest_rotation(chest: Volume, tmp_path: Path) -> None:
    volume = read_volume(nifti(lambda matrix: np.round(turned(matrix, 7), 2))(tmp_path, chest))
    np.testing.assert_array_equal(volume.hu, chest.hu)
    np.testing.assert_allclose(volume.direction.T @ volume.direction, np.eye(3), atol=1e-12)
    corner = np.array(chest.hu.shape) - 1
    true = turned(affine(chest), 7) @ np.array((*(corner[::-1]), 1)) * LPS
    assert np.abs(volume.to_mm(corner) - true).max() < 1
