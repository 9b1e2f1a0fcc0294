"""Whatever the order, names and compression of its files, a series is one volume in the patient, or one clear line."""

from __future__ import annotations

import locale
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    MediaStorageDirectoryStorage,
    RLELossless,
)

from drr.ct.volume import Volume
from drr.reader import read_volume
from gen.core.errors import BadInput, EnvironmentLacks

ROWS, COLUMNS, SLICES = 40, 48, 12
SPACING_MM = (1.5, 2.0)  # between rows, between columns
STEP_MM = 2.5
CORNER_MM = np.array((-30.0, -180.0, -400.0))
HEAD_FIRST = np.eye(3)  # along a row, down a column, normal
UID = "1.2.826.0.1.3680043.8.498.1"


def anatomy(seed: int = 0) -> np.ndarray:
    """int16 HU (z, y, x): soft tissue, every voxel of its own, in air."""
    rng = np.random.default_rng(seed)
    hu = rng.integers(0, 90, (SLICES, ROWS, COLUMNS)).astype(np.int16)
    hu[:, :9] = rng.integers(-1000, -900, (SLICES, 9, COLUMNS))
    hu[0, -1, -1] = 1500  # a speck of bone, so that nothing looks cut off at the top
    return hu


def write_slice(path: Path, stored: np.ndarray, **elements: Any) -> Dataset:
    """One CT slice, int16 and without rescale unless ``elements``, which are added or replaced, say otherwise."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[path.name])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    header.SOPClassUID, header.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    header.Modality, header.ImageType, header.SeriesInstanceUID = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], UID
    header.PatientName, header.PatientID = "Somebody", "12345"
    header.Rows, header.Columns = stored.shape
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, 16, 15
    header.PixelRepresentation = int(stored.dtype.kind == "i")
    header.PixelSpacing = list(SPACING_MM)
    header.PixelData = stored.tobytes()
    for name, value in elements.items():
        setattr(header, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(path, enforce_file_format=True)
    return header


def write_series(
    folder: Path,
    hu: np.ndarray,
    axes: np.ndarray = HEAD_FIRST,
    step: np.ndarray | None = None,
    **elements: Any,
) -> Path:
    """A series whose file names say nothing of its order; ``axes`` (3, 3) in rows, ``step`` from slice to slice."""
    step = STEP_MM * axes[2] if step is None else step
    for index, plane in enumerate(hu):
        number = (7 * index) % SLICES
        write_slice(
            folder / f"{number:03}.dcm",
            plane,
            **{
                "ImagePositionPatient": (CORNER_MM + index * step).tolist(),
                "ImageOrientationPatient": axes[:2].ravel().tolist(),
                "InstanceNumber": number,
                **elements,
            },
        )
    return folder


def edit(path: Path, **elements: Any) -> None:
    header = pydicom.dcmread(path)
    for name, value in elements.items():
        if value is None:
            delattr(header, name)
        else:
            setattr(header, name, value)
    header.save_as(path)


def assert_is(volume: Volume, hu: np.ndarray) -> None:
    """``volume`` is ``hu`` where write_series put it by default."""
    np.testing.assert_array_equal(volume.hu, hu)
    assert volume.hu.flags.c_contiguous
    np.testing.assert_allclose(volume.spacing_mm, (STEP_MM, *SPACING_MM))
    np.testing.assert_allclose(volume.to_mm(np.zeros(3)), CORNER_MM)
    np.testing.assert_allclose(volume.direction, np.eye(3), atol=1e-9)


def test_a_series_is_ordered_by_position(tmp_path: Path) -> None:
    assert_is(read_volume(write_series(tmp_path / "ct", anatomy())), anatomy())


def test_files_may_lie_in_sub_folders_without_suffix_beside_other_things(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "ct", anatomy())
    for number, path in enumerate(sorted(folder.iterdir())):
        target = folder / f"part{number % 3}" / f"IM{number}"
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
    (folder / "notes.txt").write_text("not an image")
    directory = write_slice(folder / "DICOMDIR", anatomy()[0])
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.save_as(folder / "DICOMDIR")
    assert_is(read_volume(folder), anatomy())


@pytest.mark.parametrize("axes", [np.diag([-1.0, -1, 1]), np.diag([-1.0, 1, -1]), np.eye(3)[[1, 2, 0]]])
def test_prone_feet_first_and_sagittal_series_lie_where_their_headers_say(tmp_path: Path, axes: np.ndarray) -> None:
    hu = anatomy()
    volume = read_volume(write_series(tmp_path / "ct", hu, axes, PatientPosition="FFS"))
    index = np.argwhere(np.ones_like(hu))  # slice, row, column
    points = CORNER_MM + (index * (STEP_MM, *SPACING_MM)) @ axes[[2, 1, 0]]
    found = np.rint(volume.to_index(points)).astype(int)
    np.testing.assert_array_equal(volume.hu[tuple(found.T)], hu.ravel())
    np.testing.assert_allclose(volume.to_mm(found), points, atol=1e-6)
    np.testing.assert_allclose(volume.direction, np.eye(3), atol=1e-9)
    assert volume.facts["feet_first"] is True


def test_each_slice_has_its_own_rescale(tmp_path: Path) -> None:
    folder = tmp_path / "ct"
    for index, plane in enumerate(anatomy()):
        slope, intercept = (1, 2, 0.5)[index % 3], -1024 - index
        write_slice(
            folder / f"{index}",
            np.rint((plane - intercept) / slope).astype(np.uint16),
            ImagePositionPatient=(CORNER_MM + index * STEP_MM * HEAD_FIRST[2]).tolist(),
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            RescaleSlope=str(slope),
            RescaleIntercept=str(intercept),
        )
    off = read_volume(folder).hu - anatomy().clip(-1000)
    assert np.abs(off).max() == 1  # of the slope of 2
    assert not off[0::3].any()
    assert not off[2::3].any()


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compression_changes_nothing(tmp_path: Path, syntax: str) -> None:
    folder = write_series(tmp_path / "ct", anatomy())
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        header.compress(syntax, generate_instance_uid=False)
        header.save_as(path)
    assert_is(read_volume(folder), anatomy())


def test_lossless_jpeg_needs_no_further_package_and_leaves_the_locale_alone(tmp_path: Path) -> None:
    language = locale.setlocale(locale.LC_ALL)
    for index, plane in enumerate(anatomy()):
        image = sitk.GetImageFromArray(plane[None])
        image.SetSpacing((*SPACING_MM[::-1], STEP_MM))
        elements = {"0008|0060": "CT", "0020|000e": UID, "0020|0037": r"1\0\0\0\1\0"}
        elements["0020|0032"] = "\\".join(map(str, CORNER_MM + index * STEP_MM * HEAD_FIRST[2]))
        for tag, value in elements.items():
            image.SetMetaData(tag, value)
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.KeepOriginalImageUIDOn()
        writer.SetUseCompression(True)
        writer.SetCompressor("JPEG")
        writer.SetFileName(str(tmp_path / f"{index}.dcm"))
        writer.Execute(image)
    locale.setlocale(locale.LC_ALL, language)  # which GDCM's writer changes, too
    assert pydicom.dcmread(tmp_path / "0.dcm").file_meta.TransferSyntaxUID == JPEGLosslessSV1
    assert_is(read_volume(tmp_path), anatomy())
    assert locale.setlocale(locale.LC_ALL) == language


def test_a_compression_without_decoder_is_what_the_environment_lacks(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "ct", anatomy())
    header = pydicom.dcmread(folder / "003.dcm")
    header.compress(RLELossless, generate_instance_uid=False)
    header.file_meta.TransferSyntaxUID = HTJ2KLossless
    header.save_as(folder / "003.dcm")
    with pytest.raises(EnvironmentLacks, match=r"ct: 003\.dcm: no decoder for High-Throughput"):
        read_volume(folder)


@pytest.mark.parametrize("stored", [-2000, -3024, 32000])
def test_padding_is_air_and_its_share_a_fact(tmp_path: Path, stored: int) -> None:
    hu = anatomy()
    hu[:, :2] = stored
    volume = read_volume(write_series(tmp_path / "ct", hu, PixelPaddingValue=stored))
    assert (volume.hu[:, :2] == -1000).all()
    np.testing.assert_array_equal(volume.hu[:, 2:], hu[:, 2:])
    assert volume.facts["padding_fraction"] == pytest.approx(2 / ROWS, abs=1e-4)


def test_only_sex_age_and_position_of_the_patient_are_kept(tmp_path: Path) -> None:
    elements = {"PatientSex": "F", "PatientAge": "018M", "PatientPosition": "HFS", "PatientBirthDate": "20010101"}
    facts = read_volume(write_series(tmp_path / "ct", anatomy(), **elements)).facts
    assert facts == {"format": "DICOM", "sex": "F", "age": 1, "patient_position": "HFS", "feet_first": False}


@pytest.mark.parametrize("degrees", [-17.0, 12.0])
def test_gantry_tilt_leaves_the_anatomy_where_it_was(tmp_path: Path, degrees: float) -> None:
    """A scene that is linear in space is kept exactly by linear resampling, so position errors would show as HU."""
    slope, at = np.array((0.4, 0.7, -0.3)), np.array((-10, -165, -390))

    def scene(points: np.ndarray) -> np.ndarray:
        return np.asarray((points - at) @ slope * 4)

    angle = np.deg2rad(degrees)
    axes = np.array([(1, 0, 0), (0, np.cos(angle), np.sin(angle)), (0, -np.sin(angle), np.cos(angle))])
    step = np.array((0, 0, STEP_MM))  # the table moves along the patient, whatever the gantry does
    index = np.argwhere(np.ones((SLICES, ROWS, COLUMNS)))
    points = CORNER_MM + index[:, :1] * step + (index[:, 1:] * SPACING_MM) @ axes[[1, 0]]
    hu = np.rint(scene(points)).reshape(SLICES, ROWS, COLUMNS).astype(np.int16)
    hu[:, :, :3] = -1000  # air, so that it is a CT
    volume = read_volume(write_series(tmp_path / "ct", hu, axes, step))
    assert volume.facts["gantry_tilt_deg"] == pytest.approx(abs(degrees), abs=0.01)
    np.testing.assert_allclose(volume.direction.T @ volume.direction, np.eye(3), atol=1e-9)
    found = np.argwhere(volume.hu > -500)
    assert len(found) >= SLICES * (ROWS - 1) * (COLUMNS - 3)
    points = volume.to_mm(found)
    off = volume.hu[tuple(found.T)] - scene(points)
    down = (points - CORNER_MM) @ axes[1] - (points - CORNER_MM) @ axes[2] * np.tan(angle)  # mm below the first row
    inside = (down >= 0) & (down <= (ROWS - 1) * SPACING_MM[0])
    assert np.abs(off[inside]).max() <= 1.01  # rounded on the way in and on the way out
    assert abs(off[inside].mean()) < 0.1
    assert inside.mean() > 0.9


def test_a_repeated_slice_is_dropped_and_said(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "ct", anatomy())
    shutil.copy(folder / "004.dcm", folder / "copy of 004.dcm")
    volume = read_volume(folder)
    assert_is(volume, anatomy())
    assert volume.facts["duplicates_dropped"] == 1


def test_localizers_short_series_and_other_modalities_beside_the_ct_are_left_out_and_said(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "ct", anatomy())
    place = {"ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}
    write_slice(folder / "scout", np.zeros((9, 9), np.int16), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], **place)
    write_slice(folder / "bolus", np.zeros((9, 9), np.int16), SeriesInstanceUID=f"{UID}.7", **place)
    write_slice(folder / "pet", np.zeros((9, 9), np.int16), SeriesInstanceUID=f"{UID}.8", Modality="PT", **place)
    volume = read_volume(folder)
    assert_is(volume, anatomy())
    assert volume.facts["localizers_dropped"] == volume.facts["short_series_dropped"] == 1
    assert volume.facts["left_out_files"] == {"PT": 1}


def second_series(folder: Path) -> None:
    write_series(folder / "b", anatomy(1), SeriesInstanceUID=f"{UID}.2", SeriesDescription="LUNG 1.0")


def second_phase(folder: Path) -> None:
    write_series(folder / "b", anatomy(1), AcquisitionNumber=2)


def interleaved(folder: Path) -> None:
    write_series(folder / "b", anatomy(1), AcquisitionNumber=2)
    for path in (folder / "b").iterdir():
        position = pydicom.dcmread(path).ImagePositionPatient
        edit(path, ImagePositionPatient=[position[0], position[1], position[2] + 0.7])


def truncated(folder: Path) -> None:
    data = (folder / "005.dcm").read_bytes()
    (folder / "005.dcm").write_bytes(data[: len(data) - ROWS * COLUMNS])


def cut_header(folder: Path) -> None:
    (folder / "005.dcm").write_bytes((folder / "005.dcm").read_bytes()[:200])


def shifted(folder: Path) -> None:
    edit(folder / "011.dcm", ImagePositionPatient=[-22, -180, -400 + 5 * STEP_MM])  # 7 * 5 % 12 = 11


def colour(folder: Path) -> None:
    edit(folder / "005.dcm", SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)


def each(**elements: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for path in folder.iterdir():
            edit(path, **elements)

    return spoil


def one(**elements: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "005.dcm", **elements)


def remove(*numbers: int) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for index in numbers:
            (folder / f"{7 * index % SLICES:03}.dcm").unlink()

    return spoil


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (second_series, rf"2 series: {UID} \(no description, 12 files\); {UID}\.2 \(LUNG 1\.0, 12 files\)"),
        (second_phase, r"lie at the same position with different pixels; two acquisitions or phases"),
        (interleaved, r"not evenly spaced: 0\.7 to 1\.8 mm, and the acquisition numbers are 2, None"),
        (
            remove(3),
            r"1 of 12 slices are missing, most of them between 002\.dcm and 004\.dcm \(5 mm apart, others 2\.5",
        ),
        (remove(3, 4, 8), r"3 of 12 slices are missing"),
        (remove(*range(1, SLICES)), r"1 file at one position are no volume"),
        (one(ImagePositionPatient=[-30, -180, -378.8]), r"not evenly spaced"),
        (shifted, r"011\.dcm: the slice lies 8\.0 mm beside the stack"),
        (one(ImagePositionPatient=None), r"005\.dcm: ImagePositionPatient is missing or not 3 numbers"),
        (one(ImageOrientationPatient=[0, 1, 0, 1, 0, 0]), r"slices differ in orientation: 000\.dcm has"),
        (each(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), r"no pair of unit vectors"),
        (one(PixelSpacing=[1.5, 2.1]), r"slices differ in pixel spacing"),
        (each(PixelSpacing=[0, 2]), r"PixelSpacing \[0\.0, 2\.0\] mm is not positive"),
        (each(PixelSpacing=[-1, 2]), r"is not positive"),
        (one(Rows=10, PixelData=bytes(10 * COLUMNS * 2)), r"slices differ in size: .* \(40, 48\), .* \(10, 48\)"),
        (each(Modality="MR"), r"not CT: the folder holds 12 files of MR"),
        (each(ImageType=["DERIVED", "SECONDARY", "LOCALIZER"]), r"localizers \(scouts\) only"),
        (one(NumberOfFrames=2), r"005\.dcm: a multi-frame file"),
        (colour, r"005\.dcm: a colour image"),
        (truncated, r"005\.dcm: its pixels cannot be read"),
        (cut_header, r"005\.dcm: a DICOM file without Modality; it may be truncated"),
    ],
)
def test_what_is_not_one_stack_is_refused_by_name(tmp_path: Path, spoil: Callable[[Path], None], reason: str) -> None:
    folder = write_series(tmp_path / "ct", anatomy())
    spoil(folder)
    with pytest.raises(BadInput, match=reason) as error:
        read_volume(folder)
    assert str(error.value).startswith(f"{folder}: ")
    assert "\n" not in str(error.value)


def test_a_folder_without_dicom_is_refused(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing")
    with pytest.raises(BadInput, match="holds no DICOM image"):
        read_volume(tmp_path)
