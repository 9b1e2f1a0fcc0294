"""A NIfTI-1 file -> Scan: its header field by field, and its voxels as they are.

ITK is not asked here: it refuses an sform whose axes are 0.005 degrees off, takes NaN for 0, which is water, and looks
at one of sform and qform only. Source: nifti1.h (https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h).
"""

from __future__ import annotations

import gzip
import math
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np

from drr.ct.scan import Scan, axis_codes, nearest_rotation, require_grid
from gen.core.errors import BadInput

DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)
_FIELDS = {
    "size": ("i4", 0),
    "dim": ("8i2", 40),
    "datatype": ("i2", 70),
    "pixdim": ("8f4", 76),
    "vox_offset": ("f4", 108),
    "scl_slope": ("f4", 112),
    "scl_inter": ("f4", 116),
    "units": ("u1", 123),
    "qform_code": ("i2", 252),
    "sform_code": ("i2", 254),
    "quaternion": ("3f4", 256),
    "offset": ("3f4", 268),
    "sform": ("(3,4)f4", 280),
    "magic": ("S4", 344),
}
_HEADER = np.dtype(
    {
        "names": list(_FIELDS),
        "formats": [kind for kind, _ in _FIELDS.values()],
        "offsets": [place for _, place in _FIELDS.values()],
        "itemsize": 348,
    }
)
_VOXELS = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_UNIT_MM = {1: 1e3, 3: 1e-3}  # metres and micrometres; everything else is mm
_LPS = np.array((-1.0, -1, 1))  # NIfTI's patient space is RAS
_SAME_STEP = 0.01  # of the spacing, between pixdim and sform
_SAME_PLACE = 0.5  # of the smallest spacing, at the corners, between sform and qform
_MAX_TURN_DEG = 5.0  # between sform and qform: about what a patient is turned on the table


def read_nifti(path: Path) -> Scan:
    """The one volume of a NIfTI-1 file, gzip or not; voxels keep their number type unless a rescale is stated.

    Where sform and qform are both set they must agree: one that is mirrored, sheared or turned against the other is
    refused, and a shift is a remark. BadInput, without the path, for this and for what is damaged or no 3-D volume.
    """
    try:
        with _unpacked(path) as stream:
            header = _read_header(stream)
            size, spacing = _grid(header)
            direction, origin, remarks = _placement(header, size, spacing)
            values = _read_voxels(stream, header, size)
    except DAMAGED as error:
        raise BadInput("truncated or damaged: it cannot be unpacked to the end") from error
    facts: dict[str, Any] = {"format": "NIfTI"} | ({"remarks": remarks} if remarks else {})
    x, y, z = spacing
    return Scan(values, (z, y, x), direction, origin, facts)


def _unpacked(path: Path) -> BufferedIOBase:
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return gzip.GzipFile(path) if packed else path.open("rb")


def _read_header(stream: BufferedIOBase) -> np.void:
    start = stream.read(_HEADER.itemsize)
    if start[4:8] in (b"n+2\0", b"ni2\0"):
        raise BadInput("a NIfTI-2 file, and only NIfTI-1 is read", hint="save it as NIfTI-1, NRRD or MetaImage")
    if len(start) < _HEADER.itemsize:
        raise BadInput(f"truncated: it has {len(start)} bytes of a header of {_HEADER.itemsize}")
    for kind in (_HEADER.newbyteorder("<"), _HEADER.newbyteorder(">")):
        header = np.frombuffer(start, kind)[0]
        if header["size"] == _HEADER.itemsize:
            break
    else:
        raise BadInput("cannot be read (it does not begin with the header of a NIfTI file)")
    if header["magic"] == b"ni1":
        hint = "save it as one .nii or .nii.gz file"
        raise BadInput("the header of a pair of files (.hdr and .img), and only single files are read", hint=hint)
    if header["magic"] != b"n+1":
        raise BadInput("cannot be read (an Analyze header, or a damaged one of NIfTI)", hint="save it as NIfTI-1")
    return header


def _grid(header: np.void) -> tuple[tuple[int, int, int], np.ndarray]:
    """The number of voxels along x, y, z and their spacing (3,) in mm; an axis of one beside these is no axis."""
    if int(header["datatype"]) not in _VOXELS:
        known = ", ".join(map(str, _VOXELS))
        raise BadInput(f"voxels of datatype {header['datatype']}, and a CT has one real number in each ({known})")
    dim = header["dim"].tolist()
    if not 1 <= dim[0] <= 7:
        raise BadInput(f"cannot be read ({dim[0]} dimensions)", hint="the file may be damaged")
    sizes = dim[1 : dim[0] + 1]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if len(sizes) > 3:
        raise BadInput(f"{len(sizes)} dimensions {tuple(sizes)}", hint="save one 3-D volume of it")
    if len(sizes) < 3:
        raise BadInput(f"one slice of {tuple(sizes)} pixels is no volume")
    unit = _UNIT_MM.get(int(header["units"]) & 7, 1.0)
    spacing = header["pixdim"][1:4].astype(np.float64) * unit
    kind = np.dtype(_VOXELS[int(header["datatype"])])
    require_grid(tuple(sizes), tuple(spacing.tolist()), kind.itemsize)
    x, y, z = sizes
    return (x, y, z), spacing


# Where the voxels lie


def _placement(
    header: np.void, size: tuple[int, int, int], spacing: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Axes (3, 3) in columns and origin (3,) in LPS: of the sform, or else of the qform; and remarks on the two."""
    unit = _UNIT_MM.get(int(header["units"]) & 7, 1.0)
    places = {}
    if header["sform_code"] > 0:
        places["sform"] = _sform(header, spacing, unit)
    if header["qform_code"] > 0:
        places["qform"] = _qform(header, unit)
    if not places:
        hint = "write it again with its orientation (qform or sform)"
        raise BadInput("the file does not say how it lies in the patient, so left and right are unknown", hint=hint)
    remarks = _compare(*places["sform"], *places["qform"], size, spacing) if len(places) == 2 else []
    axes, origin = next(iter(places.values()))
    return axes, origin, remarks


def _sform(header: np.void, spacing: np.ndarray, unit: float) -> tuple[np.ndarray, np.ndarray]:
    matrix = header["sform"].astype(np.float64) * unit * _LPS[:, None]
    if not np.isfinite(matrix).all():
        raise BadInput("its sform holds NaN or infinite values", hint="write it again with its orientation")
    steps = np.linalg.norm(matrix[:, :3], axis=0)
    if not np.allclose(steps, spacing, rtol=_SAME_STEP, atol=0):
        one, other = (" x ".join(f"{step:.4g}" for step in each) for each in (spacing, steps))
        hint = "write the true spacing into both; an sform of an affine registration has other steps"
        raise BadInput(f"its pixdim says {one} mm and its sform {other} mm", hint=hint)
    whose = "the axes of its sform"
    if header["qform_code"] > 0:
        whose += ", unlike those of its qform,"
    return nearest_rotation(matrix[:, :3] / steps, whose), matrix[:, 3]


def _qform(header: np.void, unit: float) -> tuple[np.ndarray, np.ndarray]:
    b, c, d = header["quaternion"].astype(np.float64)
    origin = header["offset"].astype(np.float64) * unit * _LPS
    if not np.isfinite((b, c, d, *origin)).all():
        raise BadInput("its qform holds NaN or infinite values", hint="write it again with its orientation")
    a = math.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    a, b, c, d = np.array((a, b, c, d)) / math.sqrt(a * a + b * b + c * c + d * d)
    rotation = np.array(
        (
            (a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)),
            (2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)),
            (2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c),
        )
    )
    rotation[:, 2] *= -1 if header["pixdim"][0] < 0 else 1
    return rotation * _LPS[:, None], origin


def _compare(
    sform: np.ndarray,
    sform_origin: np.ndarray,
    qform: np.ndarray,
    qform_origin: np.ndarray,
    size: tuple[int, int, int],
    spacing: np.ndarray,
) -> list[str]:
    """Refuse two that do not show the same patient the same way round; remarks on two that lie apart."""
    turn = sform.T @ qform
    says = f"sform {axis_codes(sform)}, qform {axis_codes(qform)}"
    hint = "find out which is right, and write that one into both"
    if np.linalg.det(turn) < 0:
        raise BadInput(
            f"its sform and its qform contradict each other: one is the mirror image of the other ({says}),"
            " so left and right are unknown",
            hint=hint,
        )
    degrees = math.degrees(math.acos(min(max((np.trace(turn) - 1) / 2, -1), 1)))
    if degrees > _MAX_TURN_DEG:
        raise BadInput(
            f"its sform and its qform contradict each other: one is turned by {degrees:.0f} degrees"
            f" against the other ({says}), so how the patient lies is unknown",
            hint=hint,
        )
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(size) - 1) * spacing
    apart = np.linalg.norm(corners @ (sform - qform).T + sform_origin - qform_origin, axis=1).max()
    if apart <= _SAME_PLACE * spacing.min():
        return []
    return [f"its sform and its qform lie {apart:.1f} mm and {degrees:.1f} degrees apart: the sform is used"]


# Voxels


def _read_voxels(stream: BufferedIOBase, header: np.void, size: tuple[int, int, int]) -> np.ndarray:
    """Voxels (z, y, x) in the machine's byte order, rescaled; to the end of the file, where gzip has its checksum."""
    kind = np.dtype(_VOXELS[int(header["datatype"])]).newbyteorder(header.dtype["size"].byteorder)
    first = float(header["vox_offset"])
    if not 352 <= first <= 2**28:
        raise BadInput(f"cannot be read (its voxels are to begin at byte {first:g})", hint="the file may be damaged")
    offset, needed = int(first), math.prod(size) * kind.itemsize
    stream.read(offset - _HEADER.itemsize)  # extensions
    data = np.empty(needed, np.uint8)  # which takes memory only as it is filled, whatever the header claims
    found, window = 0, data.data
    while found < needed and (count := stream.readinto(window[found : found + 2**24])):
        found += count
    if found < needed:
        raise BadInput(f"truncated: it has {offset + found} of {offset + needed} bytes")
    stream.read(1)
    values = data.view(kind).reshape(size[::-1])
    values = values.astype(kind.newbyteorder("="), copy=False)
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not (math.isfinite(slope) and slope) or (slope, intercept) == (1, 0):
        return values
    if not math.isfinite(intercept):
        raise BadInput(f"its rescale intercept (scl_inter) is {intercept:g}", hint="write it again with a number there")
    scaled = values.astype(np.float32 if kind.itemsize <= 2 else np.float64)
    np.multiply(scaled, slope, out=scaled)
    return np.add(scaled, intercept, out=scaled)
