"""CT files and label maps -> Volume and Labels in canonical order, exactly; what is not CT in HU is refused.

Formats: NIfTI, NRRD and MetaImage through SimpleITK, which gives DICOM's patient space (LPS), and DICOM series.
"""

from __future__ import annotations

import gzip
import locale
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedIOBase
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from drr.ct import series
from drr.ct.names import read_names
from drr.ct.series import MAX_VOXELS, MIN_SIDE, Scan, read_series
from drr.ct.volume import AIR_HU, Labels, Volume
from gen.core.errors import BadInput, GenError

_FORMATS = {
    ".nii": ("NIfTI", "NiftiImageIO"),
    ".nii.gz": ("NIfTI", "NiftiImageIO"),
    ".nrrd": ("NRRD", "NrrdImageIO"),
    ".nhdr": ("NRRD", "NrrdImageIO"),
    ".mha": ("MetaImage", "MetaImageIO"),
    ".mhd": ("MetaImage", "MetaImageIO"),
}
_MAX_BYTES = 2**32  # of voxels as they are on disk, and again as ITK gives them: MAX_VOXELS of float32
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)
_INT16 = np.iinfo(np.int16)
_PADDING_HU = -1100  # below it no scanner measures anything: noise of air stays above
_AIR_AND_LUNG_HU, _SOFT_HU = (-1100, -600), (-200, 200)  # fat at -100 to enhanced tissue
_MIN_SHARE = 0.02  # of the voxels, of each; real chests have 0.4 to 0.8 and 0.2 to 0.5, a baby in a wide field less
_MAX_AIR_MODE_HU = -750  # lungs alone, where the field ends inside the body, peak near -850
_MAX_CLIP_HU, _CLIPPED = 2000, 0.002  # scanners stop at 3071; a share of voxels at one lower maximum is a cut
_SAMPLE = 2_000_000  # voxels are enough for a histogram
_SAME_GRID = 0.1  # of a voxel, at the corners


def read_volume(path: str | Path) -> Volume:
    """Read a CT: a NIfTI, NRRD or MetaImage file, or a folder with one DICOM series.

    Axes are permuted and flipped to point to left, posterior and superior, without interpolation; what remains of an
    oblique rotation stays in ``direction``. Floats are rounded, and everything below -1000 HU becomes -1000; ``facts``
    have the share that was padding (below -1100) and ``clipped_at_hu`` where the top of the range was cut off. Raises
    BadInput, naming the file, for what is not a 3-D CT in HU, and EnvironmentLacks for a DICOM compression without
    decoder.
    """
    path = Path(path)
    with _naming(path):
        if path.is_dir():
            scan = _canonical(read_series(path))
            _require_grid(scan.values.shape[::-1], scan.spacing_mm[::-1])
        else:
            image, facts = _read_file(path)  # the image must live as long as the view of its voxels
            scan = _canonical(_view(image, facts))
        hu = _whole_numbers(scan.values)
        padding = _require_hu(hu)
        np.maximum(hu, AIR_HU, out=hu)
        facts = scan.facts | ({"padding_fraction": round(padding, 4)} if padding else {})
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
        path.stat()
        return {}


def read_labels(path: str | Path, volume: Volume, names: str | Path | None = None) -> Labels:
    """Read a label map that lies on the grid of ``volume``; its ids become uint8 or uint16.

    ``names`` is a CSV file with a column of ids and one of names, or JSON, ``{"1": "liver"}`` or ``{"liver": 1}``;
    without it, a sibling ``<stem>.labels.csv``, and without that "label 1" and so on. Only ids that occur get a name.
    Raises BadInput where the grids differ, where a value is no id, and where the table lacks ids that occur.
    """
    path = Path(path)
    with _naming(path):
        image, facts = _read_file(path)
        scan = _canonical(_view(image, facts))
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


def _read_file(path: Path) -> tuple[sitk.Image, dict[str, Any]]:
    """A 3-D scalar image with a stated orientation; its header is judged before any voxel is read."""
    with path.open("rb") as stream:
        start = stream.read(132)
    if start[128:] == b"DICM":
        raise BadInput("a single DICOM file", hint="name the folder that holds the files of the series")
    if not start:
        raise BadInput("the file is empty")
    suffix = next((end for end in _FORMATS if path.name.lower().endswith(end)), None)
    if suffix is None:
        hint = f"files are {', '.join(_FORMATS)}; DICOM is given as the folder of a series"
        raise BadInput("not a format that CTs and label maps are read from", hint=hint)
    name, reader_name = _FORMATS[suffix]
    if name == "NIfTI":
        _require_nifti_1(path)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(reader_name)
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    if (channels := reader.GetNumberOfComponents()) != 1:
        raise BadInput(f"{channels} channels per voxel, and a CT has one")
    if reader.GetDimension() == 2:
        raise BadInput(f"one slice of {reader.GetSize()} pixels is no volume")
    if reader.GetDimension() != 3:
        raise BadInput(f"{reader.GetDimension()} dimensions {reader.GetSize()}", hint="save one 3-D volume of it")
    _require_grid(reader.GetSize(), reader.GetSpacing())
    header = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
    voxel_bytes = sitk.Image([1, 1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()
    needed = math.prod(reader.GetSize()) * voxel_bytes
    on_disk = math.prod(reader.GetSize()) * int(header.get("bitpix", 0)) // 8  # NIfTI alone converts as it reads
    if max(needed, on_disk) > _MAX_BYTES:
        shape = " x ".join(map(str, reader.GetSize()))
        hint = "save it as int16, or crop or resample it first"
        raise BadInput(f"{shape} voxels take {max(needed, on_disk)} bytes, and the limit is {_MAX_BYTES}", hint=hint)
    unstated = {
        "NIfTI": header.get("qform_code", "0") == header.get("sform_code", "0") == "0",
        "NRRD": "NRRD_space" not in header,
    }
    if unstated.get(name):
        hint = "write it again with its orientation (qform or sform of NIfTI, space of NRRD)"
        raise BadInput("the file does not say how it lies in the patient, so left and right are unknown", hint=hint)
    if name == "NIfTI":
        _require_whole_nifti(path, header)
    elif name == "NRRD":
        _require_whole_nrrd(path, needed)
    else:
        _require_whole_meta(path, needed)
    return reader.Execute(), {"format": name}


def _unpacked(path: Path) -> BufferedIOBase:
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return gzip.GzipFile(path) if packed else path.open("rb")


def _require_bytes(stream: BufferedIOBase, needed: int, number: str | None = None, header: int = 0) -> bytes:
    """Read on to the end, where gzip has its checksum, or past ``needed`` bytes; returns the beginning.

    After ``header`` bytes, numbers of the floating type ``number`` must be finite.
    """
    start, found = b"", 0
    try:
        while found <= needed and (chunk := stream.read(2**20)):
            if number is not None:
                values = chunk[max(header - found, 0) : len(chunk) // 8 * 8]
                if not np.isfinite(np.frombuffer(values, number)).all():
                    raise BadInput("the file holds NaN or infinite values", hint="replace them, for air by -1000")
            start, found = start or chunk, found + len(chunk)
    except _DAMAGED as error:
        raise BadInput("truncated or damaged: it cannot be unpacked to the end") from error
    if found < needed:
        raise BadInput(f"truncated: it has {found} of {needed} bytes")
    return start


def _require_nifti_1(path: Path) -> None:
    with suppress(*_DAMAGED), _unpacked(path) as stream:  # what is damaged is said later
        if stream.read(8)[4:] in (b"n+2\0", b"ni2\0"):
            raise BadInput("a NIfTI-2 file, and only NIfTI-1 is read", hint="save it as NIfTI-1, NRRD or MetaImage")


def _require_whole_nifti(path: Path, header: dict[str, str]) -> None:
    """Refuse what ITK lets pass: missing voxels and NaN (read as zeros), a zero spacing (as 1 mm), two spacings."""
    voxels = math.prod(int(header[f"dim[{axis}]"]) for axis in range(1, 8))
    offset = int(float(header["vox_offset"]))
    with _unpacked(path) as stream:
        order = "<" if stream.read(4) == (348).to_bytes(4, "little") else ">"
    floating = {16: f"{order}f4", 64: f"{order}f8"}.get(int(header["datatype"]))
    with _unpacked(path) as stream:
        needed = offset + voxels * int(header["bitpix"]) // 8
        start = _require_bytes(stream, needed, floating if offset % 8 == 0 else None, offset)
    pixdim = np.frombuffer(start, f"{order}f4", 3, 80)
    if not (np.isfinite(pixdim).all() and (pixdim > 0).all()):
        raise BadInput(f"the spacing of {' x '.join(f'{step:g}' for step in pixdim)} mm is not positive")
    affine = np.array([[float(value) for value in header[f"srow_{axis}"].split()[:3]] for axis in "xyz"])
    if header["sform_code"] != "0" and not np.allclose(np.linalg.norm(affine, axis=0), pixdim, rtol=0.01):
        steps = " x ".join(f"{step:g}" for step in np.linalg.norm(affine, axis=0))
        raise BadInput(f"its pixdim says {' x '.join(f'{step:g}' for step in pixdim)} mm and its sform {steps} mm")


def _require_whole_nrrd(path: Path, needed: int) -> None:
    """Refuse a damaged gzip NRRD before its voxels get memory: ITK does not look at the checksum."""
    with path.open("rb") as stream:
        fields: dict[bytes, bytes] = {}
        while line := stream.readline(4096).strip():  # an empty line, or the end of a detached header, ends it
            key, _, value = line.partition(b":")
            fields[key.lower().replace(b" ", b"")] = value.strip()
        if fields.get(b"encoding", b"").lower() not in (b"gzip", b"gz"):
            return  # ITK counts plain voxels itself
        where = fields.get(b"datafile")
        if where is None:
            _require_bytes(gzip.GzipFile(fileobj=stream), needed)
            return
    if not (path.parent / os.fsdecode(where)).is_file():  # a list or a pattern: ITK asked for a single file itself
        raise BadInput("its compressed voxels are in several files", hint="save it as one file")
    with gzip.GzipFile(path.parent / os.fsdecode(where)) as voxels:
        _require_bytes(voxels, needed)


def _require_whole_meta(path: Path, needed: int) -> None:
    """Refuse a damaged compressed MetaImage, of which ITK gives what it has and random memory for the rest."""
    with path.open("rb") as stream:
        fields: dict[bytes, bytes] = {}
        while b"ElementDataFile" not in fields and (line := stream.readline(4096)):
            key, _, value = line.partition(b"=")
            fields[key.strip()] = value.strip()
        if fields.get(b"CompressedData", b"").lower() != b"true":
            return  # ITK counts plain voxels itself
        where = os.fsdecode(fields[b"ElementDataFile"])
        if where.upper() != "LOCAL" and not (path.parent / where).is_file():
            raise BadInput(f"its voxels are to be in {where}, which is not beside it")
        with stream if where.upper() == "LOCAL" else (path.parent / where).open("rb") as packed:
            inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)  # zlib's or gzip's header, both with a checksum
            found = 0
            try:
                while found <= needed and not inflater.eof and (chunk := packed.read(2**16)):
                    found += len(inflater.decompress(chunk))
            except zlib.error as error:
                raise BadInput(f"truncated or damaged ({error})") from error
    if found <= needed and not inflater.eof:
        raise BadInput("truncated: its compressed voxels do not come to an end")
    if found < needed:
        raise BadInput(f"truncated: its voxels are {found} of {needed} bytes")


def _view(image: sitk.Image, facts: dict[str, Any]) -> Scan:
    """The image without a copy of its voxels."""
    direction = np.reshape(image.GetDirection(), (3, 3))
    error = np.abs(direction.T @ direction - np.eye(3)).max()
    if error > 1e-3:
        raise BadInput("its axes are not at right angles (a sheared grid)", hint="resample it to an orthogonal grid")
    if error > 1e-6:  # written with few digits: the nearest rotation, by polar decomposition
        left, _, right = np.linalg.svd(direction)
        direction = left @ right
    x, y, z = image.GetSpacing()
    return Scan(sitk.GetArrayViewFromImage(image), (z, y, x), direction, np.array(image.GetOrigin()), facts)


def _require_grid(size: tuple[int, ...], spacing_mm: tuple[float, ...]) -> None:
    """Refuse what no chest CT can be, from the size and spacing (x, y, z) of a header alone."""
    shape, steps = " x ".join(map(str, size)), " x ".join(f"{step:g}" for step in spacing_mm)
    if min(size) == 1:
        raise BadInput(f"{shape} voxels are one slice and no volume")
    if min(size) < MIN_SIDE:
        raise BadInput(f"{shape} voxels are too few: each axis needs {MIN_SIDE}")
    if math.prod(size) > MAX_VOXELS:
        raise BadInput(f"{shape} voxels are more than the limit of {MAX_VOXELS}", hint="crop or resample it first")
    if not all(math.isfinite(step) and step > 0 for step in spacing_mm):
        raise BadInput(f"the spacing of {steps} mm is not positive")
    extent = max(n * step for n, step in zip(size, spacing_mm, strict=True))
    if not 10 <= extent <= 10_000:
        hint = "is the spacing in metres or micrometres? write it in mm"
        raise BadInput(f"{shape} voxels of {steps} mm make a volume of {extent:.3g} mm", hint=hint)


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


# Values


def _whole_numbers(values: np.ndarray) -> np.ndarray:
    """int16 (z, y, x), contiguous and ours to write; a copy only where ``values`` are not so already."""
    if values.dtype == np.int16:
        return np.require(values, requirements=["C", "W"])
    low, high = float(values.min()), float(values.max())
    if not math.isfinite(low + high):  # NaN spreads through min and max
        raise BadInput("the file holds NaN or infinite values", hint="replace them, for air by -1000")
    if values.dtype.kind == "f" and high - low <= 10:
        raise BadInput(f"values from {low:g} to {high:g} are normalised, not HU", hint="give the CT as it was in HU")
    whole = np.empty(values.shape, np.int16)
    for plane, source in zip(whole, values, strict=True):  # by plane, so that no second volume is made
        plane[...] = np.rint(source).clip(_INT16.min, _INT16.max)
    return whole


def _require_hu(hu: np.ndarray) -> float:
    """Refuse values that are not HU, with what they look like; returns the share of padding.

    HU are known by their two modes: air or lung near -1000, and soft tissue near 0 to 100.
    """
    stride = max(1, round((hu.size / _SAMPLE) ** (1 / 3)))
    sample = hu[::stride, ::stride, ::stride].ravel()
    counts = np.bincount(sample - np.int32(_INT16.min), minlength=2**16) / sample.size
    if _looks_like_hu(counts, 0):
        return float(counts[: _PADDING_HU - _INT16.min].sum())
    low, high = int(hu.min()), int(hu.max())
    if low == high:
        raise BadInput(f"every voxel is {low}, so there is nothing to see")
    modes = " and ".join(map(str, _modes(counts)))
    found = f"values run from {low} to {high}, most often near {modes}"
    wanted = "not HU, which have air near -1000 and soft tissue near 50"
    if low >= 0 and high <= 255:
        hint = "a label map is given as such, beside its CT; of a CT that was saved as grey the HU are lost"
        raise BadInput(f"{found}: grey levels, a mask or a label map, {wanted}", hint=hint)
    for shift in (-1024, -1000, 1024):
        if _looks_like_hu(counts, shift):
            cause = "the rescale intercept is missing" if shift < 0 else "the rescale intercept was applied twice"
            raise BadInput(f"{found}: {wanted}; {cause}", hint=f"add {shift} to every voxel, if that is so")
    cause = "MR or PET, perhaps, or a CT cut to a window" if low > _AIR_AND_LUNG_HU[1] else "or no chest is in them"
    raise BadInput(f"{found}: {wanted} ({cause})", hint="give the CT itself, in HU")


def _looks_like_hu(counts: np.ndarray, shift: int) -> bool:
    """Whether values with these shares (by value from -32768) would be HU once ``shift`` were added to them."""

    def between(low: int, high: int) -> np.ndarray:
        return counts[low - shift - _INT16.min : high - shift - _INT16.min]

    def mode(low: int, high: int) -> int:
        return int(np.convolve(between(low, high), np.ones(32), "valid").argmax()) + low + 16

    shares = between(*_AIR_AND_LUNG_HU).sum(), between(*_SOFT_HU).sum()
    in_place = mode(*_AIR_AND_LUNG_HU) <= _MAX_AIR_MODE_HU and _SOFT_HU[0] <= mode(-500, 500) <= _SOFT_HU[1]
    return bool(in_place and min(shares) >= _MIN_SHARE)


def _modes(counts: np.ndarray) -> list[int]:
    """The most common value and the most common one at least 300 from it, where there is one; smallest first."""
    first = int(counts.argmax())
    far = counts.copy()
    far[max(first - 300, 0) : first + 300] = 0
    modes = [first, int(far.argmax())] if far.any() else [first]
    return sorted(mode + _INT16.min for mode in modes)


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
