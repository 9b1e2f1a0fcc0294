"""A folder of DICOM files -> one evenly spaced stack of HU slices in the patient; anything else is refused by name.

Slices are ordered by position (DICOM PS3.3 C.7.6.2.1.1), never by name or number. A series from which something was
left out is never taken for a whole one: what was left out is a remark, and the distance that results is held against
what the headers say.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk

from drr.ct.scan import MAX_VOXELS, MIN_SIDE, Scan
from drr.ct.slices import Slice, count_of, read_headers, read_hu_ahead, slices_of
from drr.ct.volume import AIR_HU
from gen.core.errors import BadInput

_SAME_PLACE_MM = 0.01
_UNEVEN = 0.2  # of the step: positions are often rounded to 0.1 mm
_SAME_DISTANCE = 0.1  # of it, between the positions and what a header says
_MAX_TILT_DEG = 40.0  # gantries tilt by 30 degrees at most
_NAMED = 3  # files in a remark
_NO_SLICES = {".txt", ".md", ".csv", ".tsv", ".json", ".xml", ".html", ".htm", ".pdf", ".png", ".jpg", ".jpeg", ".log"}


def read_series(place: Path) -> Scan:
    """The one CT series in a folder and its sub-folders, or the frames of one file: int16 HU, float32 where tilted.

    Localizers, what is not CT and series of fewer than ``MIN_SIDE`` slices beside a longer one are left out, repeats of
    a slice too, and ``facts`` say so, in ``remarks`` what the user should read. Raises BadInput for everything that
    does not make one stack of evenly spaced slices, and EnvironmentLacks for a compression without decoder.
    """
    facts: dict[str, Any] = {"format": "DICOM"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on single elements
        headers = _choose(place, facts)
        slices = _one_stack([each for header in headers for each in slices_of(header)], facts)
        axes, spacing = _shared_geometry(slices)
        facts |= _patient(headers[0])
        positions = np.array([each.numbers("ImagePositionPatient", 3) for each in slices])
        order = np.argsort(positions @ axes[2], kind="stable")
        slices, positions = [slices[index] for index in order], positions[order]
        repeats = np.diff(positions @ axes[2], prepend=-np.inf) < _SAME_PLACE_MM
        if (kept := int((~repeats).sum())) < 2:
            raise _no_volume(place, headers, slices)
        _require_size(slices[0], kept)
        step = _step(slices, positions, repeats, axes, spacing)
        remarks = _left_out(facts) + _compare_distance(step, axes[2], slices)
        values = _decode(slices, repeats, positions)
    if repeats.any():
        facts["duplicates_dropped"] = int(repeats.sum())
    if remarks:
        facts["remarks"] = remarks
    return _upright(values, spacing, axes, step, positions[0], facts)


def read_patient(place: Path) -> dict[str, Any]:
    """Sex, age in whole years and position of the patient of the one CT series in ``place``, as far as headers tell.

    BadInput where `read_series` would not find one series.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _patient(_choose(place, {})[0])


# Which files


def _choose(place: Path, facts: dict[str, Any]) -> list[pydicom.Dataset]:
    """The headers of the one CT series in ``place``; what was left out goes to ``facts``."""
    headers, others = read_headers(place)
    if others:
        facts["other_files"] = others
    kinds = Counter(str(each.Modality) for each in headers)
    found = [each for each in headers if each.Modality == "CT"]
    if not found:
        held = ", ".join(f"{_files(count)} of {kind}" for kind, count in kinds.items())
        raise BadInput(f"not CT: {'the folder' if place.is_dir() else 'it'} holds {held}")
    if left := {kind: count for kind, count in kinds.items() if kind != "CT"}:
        facts["left_out_files"] = left
    images = [each for each in found if "LOCALIZER" not in (each.get("ImageType") or ())]
    if not images:
        raise BadInput("the folder holds localizers (scouts) only", hint="name the folder of the CT series itself")
    if len(images) < len(found):
        facts["localizers_dropped"] = len(found) - len(images)
    series: dict[str, list[pydicom.Dataset]] = defaultdict(list)
    for each in images:
        series[str(each.get("SeriesInstanceUID"))].append(each)
    if len(series) == 1:
        return images
    long = [members for members in series.values() if sum(map(count_of, members)) >= MIN_SIDE]
    if len(long) != 1:
        listed = "; ".join(
            f"{number} ({members[0].get('SeriesDescription') or 'no description'}, {_files(len(members))})"
            for number, members in series.items()
        )
        raise BadInput(f"the folder holds {len(series)} series: {listed}", hint="put one series in a folder of its own")
    facts["short_series_dropped"] = len(series) - 1
    facts["short_series_files"] = len(images) - len(long[0])
    return long[0]


def _one_stack(slices: Sequence[Slice], facts: dict[str, Any]) -> list[Slice]:
    """``slices`` without the localizers among the frames; BadInput where the frames are of several stacks."""
    images = [each for each in slices if "LOCALIZER" not in (each.value("FrameType") or ())]
    if len(images) < len(slices):
        facts["localizers_dropped"] = facts.get("localizers_dropped", 0) + len(slices) - len(images)
    stacks = Counter(str(each.value("StackID")) for each in images if each.frame is not None)
    if not images or len(stacks) > 1:
        held = ", ".join(f"{name} ({count} frames)" for name, count in stacks.items()) or "localizers (scouts) only"
        hint = "write each into a file of its own" if images else "name the file of the CT itself"
        raise BadInput(f"the multi-frame file holds {len(stacks)} stacks: {held}" if images else held, hint=hint)
    return images


def _left_out(facts: dict[str, Any]) -> list[str]:
    """What was left out though it may have been a part of the series, as a remark. Localizers never are."""
    unread = [name for name in facts.get("other_files", ()) if Path(name).suffix.lower() not in _NO_SLICES]
    parts = [f"{_files(count)} of {kind}" for kind, count in facts.get("left_out_files", {}).items()]
    if count := facts.get("short_series_files", 0):
        parts.append(f"{_files(count)} of other, short series")
    if unread:
        names = ", ".join(unread[:_NAMED]) + (" ..." if len(unread) > _NAMED else "")
        parts.append(f"{_files(len(unread))} not in DICOM ({names})")
    return [f"left out of the series: {', '.join(parts)}"] if parts else []


def _no_volume(place: Path, headers: Sequence[pydicom.Dataset], slices: Sequence[Slice]) -> BadInput:
    if not place.is_dir() and len(slices) == 1:
        return BadInput("a single DICOM file of one slice", hint="name the folder that holds the files of the series")
    held = _files(len(headers)) if len(headers) == len(slices) else f"{len(slices)} frames"
    return BadInput(f"{held} at one position are no volume", hint="name the folder of a whole series")


# Where the slices lie


def _shared_geometry(slices: Sequence[Slice]) -> tuple[np.ndarray, tuple[float, float]]:
    """Orthonormal axes (3, 3), in rows: along a row, down a column, normal; and the spacing (row, column) in mm."""
    first: tuple[Any, ...] = ()
    for each in slices:
        orientation, spacing = each.numbers("ImageOrientationPatient", 6), each.numbers("PixelSpacing", 2)
        if spacing.min() <= 0:
            raise BadInput(f"{each.name}: PixelSpacing {spacing.tolist()} mm is not positive")
        first = first or (each.size, spacing, orientation)
        if each.size != first[0]:
            raise BadInput(f"slices differ in size: {slices[0].name} is {first[0]}, {each.name} is {each.size}")
        if not np.allclose(spacing, first[1], rtol=1e-3, atol=0):
            values = f"{slices[0].name} has {first[1].tolist()} mm, {each.name} {spacing.tolist()} mm"
            raise BadInput(f"slices differ in pixel spacing: {values}")
        if not np.allclose(orientation, first[2], atol=1e-3):
            values = f"{slices[0].name} has {first[2].tolist()}, {each.name} {orientation.tolist()}"
            raise BadInput(f"slices differ in orientation: {values}")
    row, column = first[2].reshape(2, 3)
    if not np.allclose((row @ row, column @ column, row @ column), (1, 1, 0), atol=1e-3):
        raise BadInput(f"{slices[0].name}: ImageOrientationPatient {first[2].tolist()} is no pair of unit vectors")
    row = row / np.linalg.norm(row)
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    return np.array((row, np.cross(normal, row), normal)), (float(first[1][0]), float(first[1][1]))


def _step(
    slices: Sequence[Slice],
    positions: np.ndarray,
    repeats: np.ndarray,
    axes: np.ndarray,
    spacing: tuple[float, float],
) -> np.ndarray:
    """The vector (3,) in mm from each slice to the next; refuses a stack that a constant one does not explain."""
    places, names = positions[~repeats], [each.name for each, again in zip(slices, repeats, strict=True) if not again]
    step = (places[-1] - places[0]) / (len(places) - 1)
    # In the axes of the slices: columns 0 and 1 within their plane, column 2 along the normal.
    off = (places - places[0] - np.arange(len(places))[:, None] * step) @ axes.T
    if np.abs(off[:, 2]).max() > _UNEVEN * (step @ axes[2]):
        raise _uneven(np.diff(places @ axes[2]), names, slices)
    if np.abs(off[:, :2]).max() > max(spacing):
        worst = int(np.abs(off[:, :2]).max(axis=1).argmax())
        raise BadInput(f"{names[worst]}: the slice lies {np.abs(off[worst, :2]).max():.1f} mm beside the stack")
    return step


def _uneven(gaps: np.ndarray, names: Sequence[str], slices: Sequence[Slice]) -> BadInput:
    usual, widest = float(np.median(gaps)), int(gaps.argmax())
    steps = gaps / usual
    if np.abs(steps - np.rint(steps)).max() < _UNEVEN:
        missing = int((np.rint(steps) - 1).sum())
        where = f"between {names[widest]} and {names[widest + 1]} ({gaps[widest]:g} mm apart, others {usual:g} mm)"
        return BadInput(f"{missing} of {len(names) + missing} slices are missing, most of them {where}")
    acquisitions = sorted({str(each.header.get("AcquisitionNumber")) for each in slices})
    hint = "keep the files of one acquisition in the folder" if len(acquisitions) > 1 else None
    found = f", and the acquisition numbers are {', '.join(acquisitions)}" if hint else ""
    return BadInput(f"the slices are not evenly spaced: {gaps.min():.3g} to {gaps.max():.3g} mm{found}", hint=hint)


def _compare_distance(step: np.ndarray, normal: np.ndarray, slices: Sequence[Slice]) -> list[str]:
    """Hold the distance of the slices against SpacingBetweenSlices and SliceThickness, where they are given.

    BadInput where a multiple of it says that slices are missing throughout; other contradictions are remarks.
    """
    distance = float(step @ normal)

    def stated(keyword: str) -> float | None:
        lengths = [length for each in slices if (length := each.length_mm(keyword)) is not None]
        return median(lengths) if lengths else None

    def agrees(length: float) -> bool:  # a tilted gantry's is told along the table or along the normal
        return any(abs(each / length - 1) <= _SAME_DISTANCE for each in (distance, float(np.linalg.norm(step))))

    between, thickness = stated("SpacingBetweenSlices"), stated("SliceThickness")
    places = f"the slices lie {distance:.4g} mm apart"
    for keyword, length in (("SpacingBetweenSlices", between), ("SliceThickness", None if between else thickness)):
        times = round(distance / length) if length else 0
        if length and times >= 2 and abs(distance / length - times) <= _SAME_DISTANCE * times:
            hint = f"give all files of the series; if it is whole, correct {keyword}"
            part = "every second slice is" if times == 2 else f"{times - 1} of {times} slices are"
            raise BadInput(f"{places}, and {keyword} is {length:g} mm, so {part} missing", hint=hint)
    remarks = []
    if between and not agrees(between):
        remarks.append(f"{places}, and SpacingBetweenSlices is {between:g} mm: the positions are used")
    if thickness and distance > thickness * (1 + _SAME_DISTANCE):
        remarks.append(f"{places} and are {thickness:g} mm thick: what lies in the gaps is interpolated")
    return remarks


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


def _decode(slices: Sequence[Slice], repeats: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """int16 HU (z, y, x) of the slices that are no repeats, once it is sure that the repeats are such."""
    values = np.empty((int((~repeats).sum()), *slices[0].size), np.int16)
    place, kept = -1, 0
    for index, hu in enumerate(read_hu_ahead(slices)):
        if not repeats[index]:
            place, kept = place + 1, index
            values[place] = hu
        elif np.abs(positions[index] - positions[kept]).max() > 1 or not np.array_equal(values[place], hu):
            names = f"{slices[kept].name} and {slices[index].name}"
            hint = "two acquisitions or phases are mixed; keep the files of one in the folder"
            raise BadInput(f"{names} lie at the same position with different pixels", hint=hint)
    return values


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


def _require_size(one: Slice, depth: int) -> None:
    rows, columns = one.size
    if rows * columns * depth > MAX_VOXELS:
        raise BadInput(f"{columns} x {rows} x {depth} voxels are more than the limit of {MAX_VOXELS}")


def _files(count: int) -> str:
    return f"{count} file" if count == 1 else f"{count} files"
