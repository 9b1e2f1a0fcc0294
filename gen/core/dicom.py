"""A radiograph as a DICOM file: Secondary Capture Image Storage, marked as synthetic.

A Digital X-Ray (DX) image is an examination by a detector and a positioner. Nobody was exposed for a synthetic image,
and for many not even the way it hangs is known, which DX requires. So generated images and projections alike are
secondary captures with the conversion type SYN, of modality OT: nothing has to be invented, and no archive files them
as an examination. What is known of a projection (angles, distances, tube voltage, the pitch of the detector) stands
under its usual tags, which makes the file one of a Standard Extended SOP Class (PS3.2).
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np

from gen.core.errors import BadInput
from gen.core.radiograph import Radiograph

PHOTOMETRIC = ("MONOCHROME2", "MONOCHROME1")
_LONGEST = 64  # characters of a value of VR LO


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
    by DICOM keyword; of an image that is no projection no angle and no distance. Every UID is a hash of the image, of
    all that is said of it and of ``origin``, so that the same image is the same file and another has another UID.
    Raises BadInput for bits or a photometric interpretation that do not exist.
    """
    import pydicom
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid
    from pydicom.valuerep import format_number_as_ds

    if photometric not in PHOTOMETRIC or not 8 <= bits <= 16:
        raise BadInput(f"no DICOM with {bits} bits in {photometric}", hint=f"8 to 16 bits, {' or '.join(PHOTOMETRIC)}")
    top = 2**bits - 1
    levels = np.rint(radiograph.pixels * np.float32(top)).astype(np.uint8 if bits == 8 else np.uint16)
    if photometric == "MONOCHROME1":
        levels = top - levels
    who, spacing = [patient.get(key) for key in ("id", "sex", "age")], radiograph.spacing_mm
    provenance, known = sorted(radiograph.provenance.items()), sorted(attributes.items())
    facts = repr((origin, photometric, bits, levels.shape, spacing, who, known, provenance))
    digest = hashlib.sha256(facts.encode() + levels.tobytes()).hexdigest()

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[digest, "instance"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SpecificCharacterSet = "ISO_IR 192"
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID = generate_uid(entropy_srcs=[digest, "study"])
    data.SeriesInstanceUID = generate_uid(entropy_srcs=[digest, "series"])
    data.Modality, data.ConversionType, data.SyntheticData = "OT", "SYN", "YES"
    data.ImageType = ["DERIVED", "SECONDARY"]
    data.PatientName, data.PatientID = "Synthetic^Patient", _identifier(str(patient["id"]))
    data.PatientBirthDate = data.StudyDate = data.StudyTime = data.ReferringPhysicianName = ""
    data.StudyID = data.AccessionNumber = data.PatientOrientation = ""
    data.PatientSex = str(patient.get("sex") or "")
    if patient.get("age") is not None:
        data.PatientAge = f"{int(patient['age']):03d}Y"
    data.SeriesNumber = data.InstanceNumber = 1
    data.Manufacturer, data.SoftwareVersions, data.BodyPartExamined = "cxr-gen", version("cxr-gen"), "CHEST"
    data.ImageLaterality = "U"
    chest = Dataset()
    chest.CodeValue, chest.CodingSchemeDesignator, chest.CodeMeaning = "51185008", "SCT", "Chest"  # PS3.16 CID 4031
    data.AnatomicRegionSequence = [chest]
    for keyword, value in attributes.items():
        setattr(data, keyword, value)
    if spacing is not None:
        data.ImagerPixelSpacing = [format_number_as_ds(float(side)) for side in spacing]
    data.BurnedInAnnotation, data.LossyImageCompression = "NO", "00"
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


def _identifier(text: str) -> str:
    """``text`` where every reader takes it as a PatientID; else what is left of it, and a digest: no two become one."""
    plain = re.sub(r"[^ -\[\]-~]", "_", text.strip())  # ASCII that can be printed, and no backslash
    if plain == text and len(text) <= _LONGEST:
        return text
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    return f"{plain[: _LONGEST - 17]}-{digest[:16]}"
