"""A folder of DICOM files -> one evenly spaced stack of HU slices in the patient; anything else is refused by name.

Headers are read with pydicom, pixels with SimpleITK's GDCM, which decodes every usual compression and applies each
slice's own rescale. Slices are ordered by position (DICOM PS3.3 C.7.6.2.1.1), never by name or number.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom import uid
from pydicom.filereader import read_file_meta_info

from drr.ct.volume import AIR_HU
from gen.core.errors import BadInput, EnvironmentLacks, GenError

MAX_VOXELS = 2**30  # 2 GB of int16: four times a 512 x 512 x 1000 series
MIN_SIDE = 8  # voxels along each axis, and slices of a series that counts beside another
_MAX_FILES = 20_000  # so that a home folder named by mistake is refused soon
_SAME_PLACE_MM = 0.01
_UNEVEN = 0.2  # of the step: positions are often rounded to 0.1 mm
_MAX_TILT_DEG = 40.0  # gantries tilt by 30 degrees at most
_INT16 = np.iinfo(np.int16)
_DECODED = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.RLELossless,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
)
# Neither names, ids nor dates are ever read.
_TAGS = [
    "Modality",
    "ImageType",
    "SeriesInstanceUID",
    "SeriesDescription",
    "AcquisitionNumber",
    "NumberOfFrames",
    "SpecificCharacterSet",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "RescaleSlope",
    "RescaleIntercept",
    "PixelPaddingValue",
    "PixelRepresentation",
    "PatientPosition",
    "PatientSex",
    "PatientAge",
]


@dataclass(frozen=True, eq=False)
class Scan:
    """Voxels (z, y, x) of any number type, with axes in any order: ``spacing_mm`` (z, y, x), the rest as in Volume."""

    values: np.ndarray
    spacing_mm: tuple[float, float, float]
    direction: np.ndarray
    origin_mm: np.ndarray
    facts: dict[str, Any]


def read_series(folder: Path) -> Scan:
    """The one CT series in ``folder`` and its sub-folders, duplicates dropped: int16 HU, float32 where tilt was undone.

    Localizers, what is not CT and series of fewer than ``MIN_SIDE`` slices beside a longer one are left out, and
    ``facts`` say so. Raises BadInput for everything that does not make one stack of evenly spaced slices, and
    EnvironmentLacks for a compression that GDCM does not decode.
    """
    facts: dict[str, Any] = {"format": "DICOM"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on single elements
        slices = _choose(_headers(folder), facts)
        axes, spacing = _shared_geometry(slices)
        facts |= _patient(slices[0])
        positions = np.array([_numbers(each, "ImagePositionPatient", 3) for each in slices])
    order = np.argsort(positions @ axes[2], kind="stable")
    slices, positions = [slices[index] for index in order], positions[order]
    repeats = np.diff(positions @ axes[2], prepend=-np.inf) < _SAME_PLACE_MM
    if (kept := int((~repeats).sum())) < 2:
        raise BadInput(f"{_files(len(slices))} at one position are no volume", hint="name the folder of a whole series")
    _require_size(slices[0], kept)
    step = _step(slices, positions, repeats, axes, spacing)
    values = _decode(slices, repeats, positions)
    if repeats.any():
        facts["duplicates_dropped"] = int(repeats.sum())
    return _upright(values, spacing, axes, step, positions[0], facts)


def read_patient(folder: Path) -> dict[str, Any]:
    """Sex, age in whole years and position of the patient of the one CT series in ``folder``, as far as headers tell.

    BadInput where `read_series` would not find one series.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _patient(_choose(_headers(folder), {})[0])


# Which files


def _headers(folder: Path) -> list[pydicom.Dataset]:
    found = []
    for path in _dicom_files(folder):
        name = path.relative_to(folder).as_posix()
        try:
            meta = read_file_meta_info(path)
            if meta.get("MediaStorageSOPClassUID") == uid.MediaStorageDirectoryStorage:
                continue
            syntax = uid.UID(meta.get("TransferSyntaxUID") or "")
            if syntax == uid.DeflatedExplicitVRLittleEndian:  # pydicom would inflate it without a limit
                raise EnvironmentLacks(
                    f"{name}: no decoder for {syntax.name}", hint="decompress it first, with dcmconv"
                )
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
            str(header)  # decodes every element, so that a broken one is named here
            if not header.get("Modality"):
                raise BadInput(f"{name}: a DICOM file without Modality", hint="it may be truncated")
        except GenError:
            raise
        except Exception as error:  # pydicom raises whatever it meets in broken bytes
            raise BadInput(f"{name}: cannot be read as DICOM ({error or type(error).__name__})") from error
        header.filename, header.folder = path, folder
        found.append(header)
    if not found:
        hint = "name a folder with the files of one CT series, or a NIfTI, NRRD or MHA file itself"
        raise BadInput("the folder holds no DICOM image", hint=hint)
    return found


def _dicom_files(folder: Path) -> Iterator[Path]:
    for count, path in enumerate(sorted(path for path in folder.rglob("*") if path.is_file())):
        if count == _MAX_FILES:
            raise BadInput(f"the folder holds more than {_MAX_FILES} files", hint="name the folder of one series")
        with path.open("rb") as stream:
            if stream.read(132)[128:] == b"DICM":
                yield path


def _choose(headers: list[pydicom.Dataset], facts: dict[str, Any]) -> list[pydicom.Dataset]:
    """The slices of the one CT series among ``headers``; what was left out goes to ``facts``."""
    kinds = Counter(str(each.Modality) for each in headers)
    slices = [each for each in headers if each.Modality == "CT"]
    if not slices:
        held = ", ".join(f"{_files(count)} of {kind}" for kind, count in kinds.items())
        raise BadInput(f"not CT: the folder holds {held}")
    if others := {kind: count for kind, count in kinds.items() if kind != "CT"}:
        facts["left_out_files"] = others
    images = [each for each in slices if "LOCALIZER" not in (each.get("ImageType") or ())]
    if not images:
        raise BadInput("the folder holds localizers (scouts) only", hint="name the folder of the CT series itself")
    if len(images) < len(slices):
        facts["localizers_dropped"] = len(slices) - len(images)
    series: dict[str, list[pydicom.Dataset]] = defaultdict(list)
    for each in images:
        series[str(each.get("SeriesInstanceUID"))].append(each)
    long = [members for members in series.values() if len(members) >= MIN_SIDE]
    if len(series) == 1:
        return images
    if len(long) != 1:
        listed = "; ".join(
            f"{number} ({members[0].get('SeriesDescription') or 'no description'}, {_files(len(members))})"
            for number, members in series.items()
        )
        raise BadInput(f"the folder holds {len(series)} series: {listed}", hint="put one series in a folder of its own")
    facts["short_series_dropped"] = len(series) - 1
    return long[0]


# Where the slices lie


def _shared_geometry(slices: Sequence[pydicom.Dataset]) -> tuple[np.ndarray, tuple[float, float]]:
    """Orthonormal axes (3, 3), in rows: along a row, down a column, normal; and the spacing (row, column) in mm."""
    first: tuple[Any, ...] = ()
    for each in slices:
        if (each.get("NumberOfFrames") or 1) > 1:
            hint = "convert it to NIfTI first, for example with dcm2niix"
            raise BadInput(f"{_name(each)}: a multi-frame file, and only one slice per file is read", hint=hint)
        if (each.get("SamplesPerPixel") or 1) != 1:
            raise BadInput(f"{_name(each)}: a colour image is not a CT slice")
        if (syntax := each.file_meta.TransferSyntaxUID) not in _DECODED:
            raise EnvironmentLacks(f"{_name(each)}: no decoder for {syntax.name}", hint="decompress the series first")
        orientation, spacing = _numbers(each, "ImageOrientationPatient", 6), _numbers(each, "PixelSpacing", 2)
        if spacing.min() <= 0:
            raise BadInput(f"{_name(each)}: PixelSpacing {spacing.tolist()} mm is not positive")
        size = (int(each.get("Rows") or 0), int(each.get("Columns") or 0))
        first = first or (size, spacing, orientation)
        if size != first[0]:
            raise BadInput(f"slices differ in size: {_name(slices[0])} is {first[0]}, {_name(each)} is {size}")
        if not np.allclose(spacing, first[1], rtol=1e-3, atol=0):
            values = f"{_name(slices[0])} has {first[1].tolist()} mm, {_name(each)} {spacing.tolist()} mm"
            raise BadInput(f"slices differ in pixel spacing: {values}")
        if not np.allclose(orientation, first[2], atol=1e-3):
            values = f"{_name(slices[0])} has {first[2].tolist()}, {_name(each)} {orientation.tolist()}"
            raise BadInput(f"slices differ in orientation: {values}")
    row, column = first[2].reshape(2, 3)
    if not np.allclose((row @ row, column @ column, row @ column), (1, 1, 0), atol=1e-3):
        raise BadInput(f"{_name(slices[0])}: ImageOrientationPatient {first[2].tolist()} is no pair of unit vectors")
    row = row / np.linalg.norm(row)
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    return np.array((row, np.cross(normal, row), normal)), (float(first[1][0]), float(first[1][1]))


def _step(
    slices: Sequence[pydicom.Dataset],
    positions: np.ndarray,
    repeats: np.ndarray,
    axes: np.ndarray,
    spacing: tuple[float, float],
) -> np.ndarray:
    """The vector (3,) in mm from each slice to the next; refuses a stack that a constant one does not explain."""
    places, names = positions[~repeats], [_name(each) for each, again in zip(slices, repeats, strict=True) if not again]
    step = (places[-1] - places[0]) / (len(places) - 1)
    # In the axes of the slices: columns 0 and 1 within their plane, column 2 along the normal.
    off = (places - places[0] - np.arange(len(places))[:, None] * step) @ axes.T
    if np.abs(off[:, 2]).max() > _UNEVEN * (step @ axes[2]):
        raise _uneven(np.diff(places @ axes[2]), names, slices)
    if np.abs(off[:, :2]).max() > max(spacing):
        worst = int(np.abs(off[:, :2]).max(axis=1).argmax())
        raise BadInput(f"{names[worst]}: the slice lies {np.abs(off[worst, :2]).max():.1f} mm beside the stack")
    return step


def _uneven(gaps: np.ndarray, names: Sequence[str], slices: Sequence[pydicom.Dataset]) -> BadInput:
    usual, widest = float(np.median(gaps)), int(gaps.argmax())
    steps = gaps / usual
    if np.abs(steps - np.rint(steps)).max() < _UNEVEN:
        missing = int((np.rint(steps) - 1).sum())
        where = f"between {names[widest]} and {names[widest + 1]} ({gaps[widest]:g} mm apart, others {usual:g} mm)"
        return BadInput(f"{missing} of {len(names) + missing} slices are missing, most of them {where}")
    acquisitions = sorted({str(each.get("AcquisitionNumber")) for each in slices})
    hint = "keep the files of one acquisition in the folder" if len(acquisitions) > 1 else None
    found = f", and the acquisition numbers are {', '.join(acquisitions)}" if hint else ""
    return BadInput(f"the slices are not evenly spaced: {gaps.min():.3g} to {gaps.max():.3g} mm{found}", hint=hint)


def _upright(
    values: np.ndarray,
    spacing: tuple[float, float],
    axes: np.ndarray,
    step: np.ndarray,
    origin: np.ndarray,
    facts: dict[str, Any],
) -> Scan:
    """The stack with its slices square to the stacking direction: resampled where the gantry was tilted."""
    across = axes @ step  # how far the next slice lies along a row, down a column and along the normal
    depth, height, width = values.shape
    drift = across[:2] * (depth - 1)
    distance = float(across[2])
    if np.abs(drift).max() <= min(spacing) / 2:
        return Scan(values, (distance, *spacing), axes.T, origin, facts)
    tilt = math.degrees(math.atan2(float(np.hypot(*across[:2])), distance))
    if tilt > _MAX_TILT_DEG:
        raise BadInput(f"the slices are stacked at {tilt:.0f} degrees to their normal, and no gantry tilts so far")
    pitch = np.array((spacing[1], spacing[0]))  # along a row, down a column
    before = np.floor(np.minimum(drift, 0) / pitch)
    more = np.ceil(np.abs(drift) / pitch)
    size = [int(width + more[0]), int(height + more[1]), depth]
    if math.prod(size) > MAX_VOXELS:
        raise BadInput(f"undoing the gantry tilt of {tilt:.1f} degrees needs {math.prod(size):.2g} voxels")
    skewed = sitk.GetImageFromArray(values)
    skewed.SetSpacing([*pitch.tolist(), float(np.linalg.norm(step))])
    skewed.SetOrigin(origin.tolist())
    skewed.SetDirection(np.column_stack((axes[0], axes[1], step / np.linalg.norm(step))).ravel().tolist())
    upright_origin = origin + (before * pitch) @ axes[:2]
    upright = sitk.Resample(
        skewed,
        size,
        sitk.Transform(),
        sitk.sitkLinear,
        upright_origin.tolist(),
        [*pitch.tolist(), distance],
        axes.T.ravel().tolist(),
        AIR_HU,
        sitk.sitkFloat32,  # to integers ITK would truncate
    )
    facts["gantry_tilt_deg"] = round(tilt, 2)
    return Scan(sitk.GetArrayFromImage(upright), (distance, *spacing), axes.T, upright_origin, facts)


# Pixels


def _decode(slices: Sequence[pydicom.Dataset], repeats: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """int16 HU (z, y, x) of the slices that are no repeats, once it is sure that the repeats are such."""
    values = np.empty((int((~repeats).sum()), slices[0].Rows, slices[0].Columns), np.int16)
    place, kept = -1, 0
    with ThreadPoolExecutor(4) as pool:
        for index, hu in enumerate(pool.map(_slice_hu, slices)):
            if not repeats[index]:
                place, kept = place + 1, index
                values[place] = hu
            elif np.abs(positions[index] - positions[kept]).max() > 1 or not np.array_equal(values[place], hu):
                pool.shutdown(cancel_futures=True)
                names = f"{_name(slices[kept])} and {_name(slices[index])}"
                hint = "two acquisitions or phases are mixed; keep the files of one in the folder"
                raise BadInput(f"{names} lie at the same position with different pixels", hint=hint)
    return values


def _slice_hu(header: pydicom.Dataset) -> np.ndarray:
    """int16 HU (Rows, Columns); a padding value above the CT range becomes the lowest number, which is padding too."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(header.filename))
    try:
        values = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise BadInput(f"{_name(header)}: its pixels cannot be read, so it is truncated or damaged") from error
    values = values.reshape(values.shape[-2:]) if values.size == header.Rows * header.Columns else values
    if values.shape != (header.Rows, header.Columns):
        raise BadInput(f"{_name(header)}: holds pixels {values.shape}, its header says {header.Rows, header.Columns}")
    hu = np.rint(values).clip(_INT16.min, _INT16.max).astype(np.int16)
    if isinstance(stored := header.get("PixelPaddingValue"), int):
        slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
        padding = stored * float(1 if slope is None else slope) + float(intercept or 0)
        if padding > 4096:  # padding that claims to be water or tissue is a known mistake of some writers: let it be
            hu[values == padding] = _INT16.min
    return hu


# Header elements


def _patient(header: pydicom.Dataset) -> dict[str, Any]:
    """What of the patient is of use: sex, age in whole years and position on the table."""
    facts: dict[str, Any] = {}
    if (sex := header.get("PatientSex")) in ("M", "F"):
        facts["sex"] = sex
    age = str(header.get("PatientAge") or "")
    if age[:-1].isdigit() and age[-1] in "YMWD":
        facts["age"] = int(int(age[:-1]) / {"Y": 1, "M": 12, "W": 52.18, "D": 365.25}[age[-1]])
    if position := header.get("PatientPosition"):
        facts |= {"patient_position": str(position), "feet_first": str(position).startswith("FF")}
    return facts


def _numbers(header: pydicom.Dataset, keyword: str, count: int) -> np.ndarray:
    try:
        values = np.array([float(value) for value in header[keyword].value])
    except (KeyError, TypeError, ValueError):
        values = np.empty(0)
    if values.shape != (count,) or not np.isfinite(values).all():
        raise BadInput(f"{_name(header)}: {keyword} is missing or not {count} numbers")
    return values


def _require_size(header: pydicom.Dataset, depth: int) -> None:
    if header.Rows * header.Columns * depth > MAX_VOXELS:
        raise BadInput(f"{header.Columns} x {header.Rows} x {depth} voxels are more than the limit of {MAX_VOXELS}")


def _name(header: pydicom.Dataset) -> str:
    return Path(header.filename).relative_to(header.folder).as_posix()


def _files(count: int) -> str:
    return f"{count} file" if count == 1 else f"{count} files"
