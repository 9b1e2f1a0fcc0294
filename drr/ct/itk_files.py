"""An NRRD or MetaImage file -> Scan, through ITK; damage and an unstated orientation, which it passes, are refused."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from io import BufferedIOBase
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from drr.ct.nifti import DAMAGED
from drr.ct.scan import Scan, nearest_rotation, require_grid
from gen.core.errors import BadInput

_READERS = {"NRRD": "NrrdImageIO", "MetaImage": "MetaImageIO"}


def read_itk(path: Path, name: str) -> tuple[Scan, sitk.Image]:
    """A 3-D scalar image of format ``name`` with a stated orientation; its header is judged before any voxel is read.

    The voxels of the scan are a view of the image, which must live as long. BadInput, without the path, for the rest.
    """
    reader = sitk.ImageFileReader()
    reader.SetImageIO(_READERS[name])
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    if (channels := reader.GetNumberOfComponents()) != 1:
        raise BadInput(f"{channels} channels per voxel, and a CT has one")
    if reader.GetDimension() == 2:
        raise BadInput(f"one slice of {reader.GetSize()} pixels is no volume")
    if reader.GetDimension() != 3:
        raise BadInput(f"{reader.GetDimension()} dimensions {reader.GetSize()}", hint="save one 3-D volume of it")
    voxel_bytes = sitk.Image([1, 1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()
    require_grid(reader.GetSize(), reader.GetSpacing(), voxel_bytes)
    if name == "NRRD" and not reader.HasMetaDataKey("NRRD_space"):
        hint = "write it again with its orientation (the field space)"
        raise BadInput("the file does not say how it lies in the patient, so left and right are unknown", hint=hint)
    check = _require_whole_nrrd if name == "NRRD" else _require_whole_meta
    check(path, math.prod(reader.GetSize()) * voxel_bytes)
    image = reader.Execute()
    direction = nearest_rotation(np.reshape(image.GetDirection(), (3, 3)), "its axes")
    x, y, z = image.GetSpacing()
    values = sitk.GetArrayViewFromImage(image)
    return Scan(values, (z, y, x), direction, np.array(image.GetOrigin()), {"format": name}), image


def _require_bytes(stream: BufferedIOBase, needed: int) -> None:
    """Read on to the end, where gzip has its checksum, or past ``needed`` bytes."""
    found = 0
    try:
        while found <= needed and (chunk := stream.read(2**20)):
            found += len(chunk)
    except DAMAGED as error:
        raise BadInput("truncated or damaged: it cannot be unpacked to the end") from error
    if found < needed:
        raise BadInput(f"truncated: it has {found} of {needed} bytes")


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
