"""The slices of DICOM files: one of a plain file, many of a multi-frame file, each with its own place and rescale.

Headers are read with pydicom. The pixels of plain files come through SimpleITK's GDCM, which decodes every usual
compression; of multi-frame files GDCM knows one rescale only, so their frames come through pydicom. What a frame says
stands in functional groups, its own or shared (DICOM PS3.3 C.7.6.16).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom import uid
from pydicom.datadict import dictionary_has_tag
from pydicom.filereader import read_file_meta_info
from pydicom.pixels import get_decoder, iter_pixels
from pydicom.valuerep import VR

from gen.core.errors import BadInput, EnvironmentLacks, GenError

START_BYTES = 1024  # of a file, by which `is_dicom` knows it
_MAX_FILES = 20_000  # so that a home folder named by mistake is refused soon
_DICOM_SUFFIXES = (".dcm", ".dicom", ".dic", ".ima")
_INT16 = np.iinfo(np.int16)
_DECODED = (  # by GDCM
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
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "SpecificCharacterSet",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
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
_GROUP_OF = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "SpacingBetweenSlices": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "StackID": "FrameContentSequence",
    "FrameType": "CTImageFrameTypeSequence",
}


@dataclass(frozen=True, eq=False)
class Slice:
    """A slice of ``header``'s file: ``frame`` counts from 0, and is None in a plain file. Refers to it as ``name``."""

    header: pydicom.Dataset
    frame: int | None

    @property
    def name(self) -> str:
        file = name_of(self.header)
        return file if self.frame is None else f"{file}, frame {self.frame + 1}"

    @property
    def size(self) -> tuple[int, int]:
        return int(self.header.get("Rows") or 0), int(self.header.get("Columns") or 0)

    def value(self, keyword: str) -> Any:
        """What the slice says under ``keyword``: in its own functional groups, the shared ones, or the header."""
        if self.frame is not None and keyword in _GROUP_OF:
            own, shared = (
                self.header.PerFrameFunctionalGroupsSequence,
                self.header.get("SharedFunctionalGroupsSequence"),
            )
            for groups in (own[self.frame], *(shared or ())[:1]):
                group = groups.get(_GROUP_OF[keyword])
                if group and group[0].get(keyword) is not None:
                    return group[0].get(keyword)
        return self.header.get(keyword)

    def numbers(self, keyword: str, count: int) -> np.ndarray:
        """The ``count`` numbers under ``keyword``; BadInput where they are no such."""
        try:
            values = np.array([float(value) for value in self.value(keyword)])
        except (TypeError, ValueError):
            values = np.empty(0)
        if values.shape != (count,) or not np.isfinite(values).all():
            raise BadInput(f"{self.name}: {keyword} is missing or not {count} numbers")
        return values

    def length_mm(self, keyword: str) -> float | None:
        """A length that may be missing; one that is no positive number is."""
        try:
            length = abs(float(self.value(keyword)))  # some writers give a distance the sign of its direction
        except (TypeError, ValueError):
            return None
        return length if np.isfinite(length) and length > 0 else None


def is_dicom(start: bytes) -> bool:
    """Whether a file with these first bytes is DICOM: by its mark, or without preamble by its first data element."""
    if start[128:132] == b"DICM":
        return True
    group, element = int.from_bytes(start[:2], "little"), int.from_bytes(start[2:4], "little")
    if group not in (2, 8) or not dictionary_has_tag((group << 16) + element):
        return False
    return start[4:6] in _VRS or int.from_bytes(start[4:8], "little") < START_BYTES


_VRS = {str(kind.value).encode() for kind in VR}


def read_headers(place: Path) -> tuple[list[pydicom.Dataset], list[str]]:
    """The headers of all DICOM files of a folder, or of one file, and the names of files that are no DICOM.

    BadInput names a file that is none though its suffix says so, and one that is broken; EnvironmentLacks one that is
    compressed as a whole.
    """
    headers, others = [], []
    folder = place if place.is_dir() else place.parent
    paths = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
    if len(paths) > _MAX_FILES:
        raise BadInput(f"the folder holds more than {_MAX_FILES} files", hint="name the folder of one series")
    for path in paths:
        name = path.relative_to(folder).as_posix()
        if path.name.startswith("."):  # of file managers
            continue
        try:
            with path.open("rb") as stream:
                start = stream.read(START_BYTES)
        except OSError as error:
            raise BadInput(f"{name}: {error.strerror or error}", hint="make the file readable, or move it") from error
        if is_dicom(start):
            header = _read_header(path, name, start)
            if header is not None:
                header.filename, header.folder = path, folder
                headers.append(header)
        elif path.suffix.lower() in _DICOM_SUFFIXES:
            what = "it is empty" if not start else "it is truncated or damaged"
            raise BadInput(f"{name}: {what}, and no DICOM as its name says", hint="copy it again, or remove it")
        else:
            others.append(name)
    if not headers:
        hint = "name a folder with the files of one CT series, or a NIfTI, NRRD or MHA file itself"
        raise BadInput("the folder holds no DICOM image", hint=hint)
    return headers, others


def _read_header(path: Path, name: str, start: bytes) -> pydicom.Dataset | None:
    """The header of an image; None for a DICOMDIR."""
    whole = start[128:132] == b"DICM"
    try:
        if whole:
            meta = read_file_meta_info(path)
            if meta.get("MediaStorageSOPClassUID") == uid.MediaStorageDirectoryStorage:
                return None
            deflated = meta.get("TransferSyntaxUID") == uid.DeflatedExplicitVRLittleEndian
        else:
            deflated = uid.DeflatedExplicitVRLittleEndian.encode() in start
        if deflated:  # pydicom would inflate it without a limit
            syntax = uid.DeflatedExplicitVRLittleEndian.name
            raise EnvironmentLacks(f"{name}: no decoder for {syntax}", hint="decompress it first, with dcmconv")
        # `is_dicom` looked at the first element of a file without preamble, so that force takes nothing else.
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS), force=not whole)
        str(header)  # decodes every element, so that a broken one is named here
    except GenError:
        raise
    except Exception as error:  # pydicom raises whatever it meets in broken bytes
        raise BadInput(f"{name}: cannot be read as DICOM ({error or type(error).__name__})") from error
    if not header.get("Modality"):
        raise BadInput(f"{name}: a DICOM file without Modality", hint="it may be truncated")
    return header


def count_of(header: pydicom.Dataset) -> int:
    """How many slices its file holds."""
    return int(header.get("NumberOfFrames") or 1)


def slices_of(header: pydicom.Dataset) -> list[Slice]:
    """The slices of a file in its own order; BadInput for what is no grey image, or does not tell its frames apart."""
    name, count = name_of(header), count_of(header)
    if (header.get("SamplesPerPixel") or 1) != 1:
        raise BadInput(f"{name}: a colour image is not a CT slice")
    groups = header.get("PerFrameFunctionalGroupsSequence")
    if groups is None and count == 1:
        _require_decoder(header, name, (_syntax(header) or uid.ImplicitVRLittleEndian) in _DECODED)
        return [Slice(header, None)]
    if groups is None:
        hint = "convert it to NIfTI with the tool of its vendor"
        raise BadInput(f"{name}: a multi-frame file that does not say where its {count} frames lie", hint=hint)
    if len(groups) != count:
        raise BadInput(f"{name}: a multi-frame file of {count} frames that describes {len(groups)} of them")
    syntax = _syntax(header)
    _require_decoder(header, name, syntax is None or get_decoder(syntax).is_available)
    return [Slice(header, frame) for frame in range(count)]


def _syntax(header: pydicom.Dataset) -> uid.UID | None:
    """None where the file begins without its meta information, which only uncompressed files can."""
    found: uid.UID | None = header.file_meta.get("TransferSyntaxUID")
    return found


def _require_decoder(header: pydicom.Dataset, name: str, found: bool) -> None:
    syntax = _syntax(header)
    if not found and syntax is not None:
        frames = " in a multi-frame file" if count_of(header) > 1 else ""
        raise EnvironmentLacks(f"{name}: no decoder for {syntax.name}{frames}", hint="decompress the series first")


def read_hu(slices: Sequence[Slice]) -> Iterator[np.ndarray]:
    """int16 HU (Rows, Columns) of each slice, one after the other; a padding value above the CT range is the lowest."""
    for (_, framed), run in groupby(slices, lambda each: (str(each.header.filename), each.frame is not None)):
        if framed:
            yield from _read_frames(list(run))
        else:
            yield _read_plain(next(run))


def read_hu_ahead(slices: Sequence[Slice]) -> Iterator[np.ndarray]:
    """`read_hu`, with some files read at once."""
    if any(each.frame is not None for each in slices):
        yield from read_hu(slices)
        return
    with ThreadPoolExecutor(4) as pool:
        try:
            yield from pool.map(_read_plain, slices)
        finally:
            pool.shutdown(cancel_futures=True)


def _read_plain(one: Slice) -> np.ndarray:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(one.header.filename))
    try:
        values = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise BadInput(f"{one.name}: its pixels cannot be read, so it is truncated or damaged") from error
    values = values.reshape(values.shape[-2:]) if values.size == one.size[0] * one.size[1] else values
    if values.shape != one.size:
        raise BadInput(f"{one.name}: holds pixels {values.shape}, its header says {one.size}")
    return _whole(values, one)


def _read_frames(frames: Sequence[Slice]) -> Iterator[np.ndarray]:
    """Frames of one file."""
    header = frames[0].header
    source: Any = header.filename
    try:
        with source.open("rb") as stream:
            if stream.read(132)[128:] != b"DICM":
                source = pydicom.dcmread(source, force=True)
                source.file_meta.TransferSyntaxUID = _syntax(header) or (
                    uid.ImplicitVRLittleEndian if header.original_encoding[0] else uid.ExplicitVRLittleEndian
                )
        stored = iter_pixels(source, indices=[each.frame for each in frames], raw=True)
        for each, values in zip(frames, stored, strict=True):
            slope, intercept = _rescale(each)
            yield _whole(values * slope + intercept, each)
    except GenError:
        raise
    except Exception as error:  # pydicom raises whatever it meets in broken bytes
        name = name_of(header)
        raise BadInput(f"{name}: its pixels cannot be read, so it is truncated or damaged") from error


def _rescale(one: Slice) -> tuple[float, float]:
    slope, intercept = one.value("RescaleSlope"), one.value("RescaleIntercept")
    return float(1 if slope is None else slope), float(intercept or 0)


def _whole(values: np.ndarray, one: Slice) -> np.ndarray:
    hu = np.rint(values).clip(_INT16.min, _INT16.max).astype(np.int16)
    if isinstance(stored := one.header.get("PixelPaddingValue"), int):
        slope, intercept = _rescale(one)
        padding = stored * slope + intercept
        if padding > 4096:  # padding that claims to be water or tissue is a known mistake of some writers: let it be
            hu[values == padding] = _INT16.min
    return hu


def name_of(header: pydicom.Dataset) -> str:
    """The path of its file inside the folder."""
    return Path(header.filename).relative_to(header.folder).as_posix()
