"""A radiograph as a DICOM file: Digital X-Ray Image Storage - For Presentation, marked as synthetic."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from drr.geometry import View, place
from gen.core.errors import BadInput
from gen.core.files import write_bytes
from gen.core.radiograph import Radiograph

PHOTOMETRIC = ("MONOCHROME2", "MONOCHROME1")


def write_dicom(
    path: str | Path,
    radiograph: Radiograph,
    view: View,
    *,
    photometric: str = "MONOCHROME2",
    bits: int = 12,
    patient: Mapping[str, Any],
    exposure: Mapping[str, float],
) -> None:
    """Write the projection ``radiograph`` atomically, with the geometry of ``view``; see `dicom_bytes`.

    ``exposure``: DICOM keywords of numbers, such as KVP.
    """
    attributes = {
        "ManufacturerModelName": "drr",
        "PatientOrientation": _orientation(view),
        "PositionerPrimaryAngle": f"{view.primary_deg:.4g}",
        "PositionerSecondaryAngle": f"{view.secondary_deg:.4g}",
        "DistanceSourceToDetector": f"{view.sdd_mm:.6g}",
        "DistanceSourceToPatient": f"{view.sod_mm:.6g}",
        **{keyword: f"{value:.6g}" for keyword, value in exposure.items()},
        "DerivationDescription": "projection of a CT",
    }
    if view.name in ("PA", "AP", "lateral"):
        attributes["ViewPosition"] = "LL" if view.name == "lateral" else view.name
    data = dicom_bytes(
        radiograph, photometric=photometric, bits=bits, patient=patient, attributes=attributes, origin=view
    )
    write_bytes(path, data)


def dicom_bytes(
    radiograph: Radiograph,
    *,
    photometric: str = "MONOCHROME2",
    bits: int = 12,
    patient: Mapping[str, Any],
    attributes: Mapping[str, Any],
    origin: object = None,
) -> bytes:
    """``radiograph`` as a DICOM file; ``bits`` 8 to 16 a pixel, MONOCHROME1 stores bone dark and is shown inverted.

    ``patient``: ``id``, and ``sex`` and ``age`` where known. ``attributes``: what is known of how the image came to be,
    by DICOM keyword; of an image that is no projection no angle and no distance. Every UID is a hash of the image and
    of ``origin``, so that the same image is the same file.
    """
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

    if photometric not in PHOTOMETRIC or not 8 <= bits <= 16:
        raise BadInput(f"no DICOM with {bits} bits in {photometric}", hint=f"8 to 16 bits, {' or '.join(PHOTOMETRIC)}")
    top = 2**bits - 1
    levels = np.rint(radiograph.pixels * np.float32(top)).astype(np.uint8 if bits == 8 else np.uint16)
    if photometric == "MONOCHROME1":
        levels = top - levels
    provenance = sorted(radiograph.provenance.items())
    digest = hashlib.sha256(repr((origin, photometric, bits, provenance)).encode() + levels.tobytes()).hexdigest()

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[digest, "instance"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SpecificCharacterSet = "ISO_IR 192"
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID = generate_uid(entropy_srcs=[digest, "study"])
    data.SeriesInstanceUID = generate_uid(entropy_srcs=[digest, "series"])
    data.Modality, data.PresentationIntentType = "DX", "FOR PRESENTATION"
    data.ImageType = ["DERIVED", "PRIMARY", ""]
    data.SyntheticData = "YES"
    data.PatientID = data.PatientName = str(patient["id"])
    data.PatientBirthDate = data.StudyDate = data.StudyTime = data.ReferringPhysicianName = ""
    data.StudyID = data.AccessionNumber = ""
    data.ImageLaterality = "U"
    data.PatientSex = str(patient.get("sex") or "")
    if patient.get("age") is not None:
        data.PatientAge = f"{int(patient['age']):03d}Y"
    data.SeriesNumber = data.InstanceNumber = 1
    data.Manufacturer, data.SoftwareVersions, data.BodyPartExamined = "cxr-gen", version("cxr-gen"), "CHEST"
    for keyword, value in attributes.items():
        setattr(data, keyword, value)
    if radiograph.spacing_mm is not None:
        data.ImagerPixelSpacing = [f"{side:.8g}" for side in radiograph.spacing_mm]
    data.BurnedInAnnotation, data.LossyImageCompression, data.PixelIntensityRelationship = "NO", "00", "LOG"
    # -1: the higher the value, the fewer X-rays came through (PS3.3 C.8.11.3.1.2).
    data.PixelIntensityRelationshipSign = -1 if photometric == "MONOCHROME2" else 1
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = "0", "1", "US"
    data.PresentationLUTShape = "IDENTITY" if photometric == "MONOCHROME2" else "INVERSE"
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, photometric
    data.Rows, data.Columns = levels.shape
    data.BitsAllocated, data.BitsStored, data.HighBit = (8 if bits == 8 else 16), bits, bits - 1
    data.PixelRepresentation = 0
    data.WindowCenter, data.WindowWidth = f"{(top + 1) / 2:g}", str(top + 1)
    data.ImageComments = "synthetic"
    data.PixelData = levels.tobytes() + b"\0" * (levels.nbytes % 2)
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, data, enforce_file_format=True)
    return stream.getvalue()


def _orientation(view: View) -> list[str]:
    """Where the rows and the columns of the film run to, as letters (PS3.3 C.7.6.1.1.1): left and foot in a PA."""
    geometry = place(view, np.zeros(3), 2)
    directions = []
    for step in (geometry.column_mm, geometry.row_mm):
        axis = int(abs(step).argmax())
        directions.append(("RL", "AP", "FH")[axis][int(step[axis] > 0)])
    return directions
