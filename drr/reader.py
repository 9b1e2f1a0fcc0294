"""CT files and label maps -> Volume and Labels in canonical order, exactly; what is not CT in HU is refused.

Formats: NIfTI, NRRD, MetaImage and DICOM; all of them in DICOM's patient space (LPS).
"""

from __future__ import annotations

import locale
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from drr.ct import series
from drr.ct.hu import require_hu, whole_numbers
from drr.ct.itk_files import read_itk
from drr.ct.names import read_names
from drr.ct.nifti import read_nifti
from drr.ct.scan import Scan, require_grid
from drr.ct.series import read_series
from drr.ct.slices import START_BYTES, is_dicom
from drr.ct.volume import AIR_HU, Labels, Volume
from gen.core.errors import BadInput, GenError

_FORMATS = {
    ".nii": "NIfTI",
    ".nii.gz": "NIfTI",
    ".nrrd": "NRRD",
    ".nhdr": "NRRD",
    ".mha": "MetaImage",
    ".mhd": "MetaImage",
}
_MAX_CLIP_HU, _CLIPPED = 2000, 0.002  # scanners stop at 3071; a share of voxels at one lower maximum is a cut
_SAME_GRID = 0.1  # of a voxel, at the corners


def read_volume(path: str | Path) -> Volume:
    """Read a CT: a NIfTI, NRRD or MetaImage file, a folder with one DICOM series, or a multi-frame DICOM file.

    Axes are permuted and flipped to point to left, posterior and superior, without interpolation; what remains of an
    oblique rotation stays in ``direction``. Floats are rounded, and everything below -1000 HU becomes -1000; ``facts``
    have the share that was padding (NaN, or below -1100), ``clipped_at_hu`` where the top of the range was cut off, and
    ``remarks``, sentences that the user should read. Raises BadInput, naming the file, for what is not a 3-D CT in HU,
    and EnvironmentLacks for a DICOM compression without decoder.
    """
    path = Path(path)
    with _naming(path):
        source, _owner = (read_series(path), None) if path.is_dir() else _read_file(path)
        scan = _canonical(source)
        require_grid(scan.values.shape[::-1], scan.spacing_mm[::-1])
        hu, remarks = whole_numbers(scan.values)
        padding = require_hu(hu)
        np.maximum(hu, AIR_HU, out=hu)
        facts = scan.facts | ({"padding_fraction": round(padding, 4)} if padding else {})
        if remarks:
            facts["remarks"] = [*facts.get("remarks", ()), *remarks]
        top = int(hu.max())
        if top < _MAX_CLIP_HU and sum(np.count_nonzero(plane == top) for plane in hu) > _CLIPPED * hu.size:
            facts["clipped_at_hu"] = top
        return Volume(hu, scan.spacing_mm, scan.direction, _point(scan.origin_mm), name=_stem(path), facts=facts)


def read_patient(path: str | Path) -> dict[str, Any]:
    """What the headers of a CT tell of the patient, "sex" and "age" in whole years, without reading a voxel.

    Files of other formats than DICOM tell nothing. BadInput for what is not there, and for a folder without one series.
    """
    path = Path(path)
    with _naming(path):
        if path.is_dir():
            return series.read_patient(path)
        with path.open("rb") as stream:
            if is_dicom(stream.read(START_BYTES)):
                return series.read_patient(path)
        return {}


def read_labels(path: str | Path, volume: Volume, names: str | Path | None = None) -> Labels:
    """Read a label map that lies on the grid of ``volume``; its ids become uint8 or uint16.

    ``names`` is a CSV file with a column of ids and one of names, or JSON, ``{"1": "liver"}`` or ``{"liver": 1}``;
    without it, a sibling ``<stem>.labels.csv``, and without that "label 1" and so on. Only ids that occur get a name.
    Raises BadInput where the grids differ, where a value is no id, and where the table lacks ids that occur.
    """
    path = Path(path)
    with _naming(path):
        source, _owner = _read_file(path)
        scan = _canonical(source)
        _require_same_grid(scan, volume)
        low, high = scan.values.min(), scan.values.max()
        if not 0 <= low <= high <= np.iinfo(np.uint16).max:  # also refuses NaN
            raise BadInput(f"a label map holds ids from 0 to 65535, and this file {low:g} to {high:g}")
        ids = scan.values.astype(np.uint8 if high < 256 else np.uint16, order="C")
        if scan.values.dtype.kind == "f" and not np.array_equal(ids, scan.values):
            raise BadInput("a label map holds whole numbers, and this file has fractions", hint="is it a CT?")
    found: set[int] = set().union(*(np.flatnonzero(np.bincount(plane.ravel())).tolist() for plane in ids))
    present = sorted(found - {0})
    sibling = path.with_name(f"{_stem(path)}.labels.csv")
    table = Path(names) if names is not None else sibling if sibling.is_file() else None
    if table is None:
        return Labels(ids, {number: f"label {number}" for number in present})
    with _naming(table):
        named = read_names(table)
        if unknown := [number for number in present if number not in named]:
            listed = ", ".join(map(str, unknown[:20])) + (" ..." if len(unknown) > 20 else "")
            raise BadInput(f"no name for {listed}, which {path.name} holds", hint="add them to the table")
    return Labels(ids, {number: named[number] for number in present})


# Files


def _read_file(path: Path) -> tuple[Scan, object]:
    """The voxels of a file, and what must live as long as they."""
    with path.open("rb") as stream:
        start = stream.read(START_BYTES)
    if not start:
        raise BadInput("the file is empty")
    suffix = next((end for end in _FORMATS if path.name.lower().endswith(end)), None)
    if suffix is None and is_dicom(start):
        return read_series(path), None
    if suffix is None:
        hint = f"files are {', '.join(_FORMATS)}, or DICOM; a series is given as its folder"
        raise BadInput("not a format that CTs and label maps are read from", hint=hint)
    if _FORMATS[suffix] == "NIfTI":
        return read_nifti(path), None
    return read_itk(path, _FORMATS[suffix])


# Order of the axes


def _canonical(scan: Scan) -> Scan:
    """The same voxels at the same points with index axes x, y, z nearest to left, posterior, superior; a view."""
    toward = np.abs(scan.direction)
    order = list(max(permutations(range(3)), key=lambda axes: sum(toward[row, axis] for row, axis in enumerate(axes))))
    direction = scan.direction[:, order]
    signs = np.where(np.diag(direction) < 0, -1, 1)
    values = scan.values.transpose([2 - axis for axis in reversed(order)])  # arrays are (z, y, x)
    depth, height, width = (scan.spacing_mm[2 - axis] for axis in reversed(order))
    last_mm = (np.array(values.shape) - 1)[::-1] * (width, height, depth)
    origin = scan.origin_mm + direction @ np.where(signs < 0, last_mm, 0)
    flipped = values[tuple(slice(None, None, int(sign)) for sign in signs[::-1])]
    return Scan(flipped, (depth, height, width), direction * signs, origin, scan.facts)


def _require_same_grid(scan: Scan, volume: Volume) -> None:
    if scan.values.shape != volume.hu.shape:
        ours, theirs = (" x ".join(map(str, shape[::-1])) for shape in (scan.values.shape, volume.hu.shape))
        hint = "resample it onto the CT, nearest neighbour"
        raise BadInput(f"a label map of {ours} voxels does not fit {volume.name} of {theirs} voxels", hint=hint)
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(volume.hu.shape) - 1)
    there = (corners * scan.spacing_mm)[:, ::-1] @ scan.direction.T + scan.origin_mm
    off = np.abs(there - volume.to_mm(corners)).max()
    if off > _SAME_GRID * min(volume.spacing_mm):
        ours, theirs = _placed(scan.spacing_mm, scan.origin_mm), _placed(volume.spacing_mm, volume.origin_mm)
        raise BadInput(f"a label map {ours} lies up to {off:.3g} mm off {volume.name} {theirs}, so it is of another CT")


def _placed(spacing_mm: tuple[float, ...], origin_mm: Sequence[float] | np.ndarray) -> str:
    steps, start = " x ".join(f"{step:.4g}" for step in spacing_mm[::-1]), ", ".join(f"{x:.4g}" for x in origin_mm)
    return f"({steps} mm from {start})"


# Paths


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let every error of the block name ``path``, ITK print no warnings beside it, and leave the locale as it was.

    (GDCM sets it to "C" for a JPEG, after which text without a stated encoding would be ASCII in the whole program.)
    """
    shown, language = sitk.ProcessObject.GetGlobalWarningDisplay(), locale.setlocale(locale.LC_ALL)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    except GenError as error:
        raise type(error)(f"{path}: {error.message}", hint=error.hint) from error
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}") from error
    except RuntimeError as error:  # of ITK: a page of C++, of which the last line says why
        reason = str(error).strip().rpartition("\n")[2].rpartition("ITK ERROR:")[2]
        reason = reason.rpartition("): ")[2].strip(" .").replace(str(path), "it") or "no reason given"
        raise BadInput(f"{path}: cannot be read ({reason})", hint="the file may be truncated or damaged") from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
        locale.setlocale(locale.LC_ALL, language)


def _stem(path: Path) -> str:
    name = path.resolve().name
    return next((name[: -len(end)] for end in _FORMATS if name.lower().endswith(end)), name)


def _point(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = values.tolist()
    return x, y, z
