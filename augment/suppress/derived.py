"""A DICOM object derived from another one: the same patient and study, new pixels, and a reference to its source."""

from __future__ import annotations

import hashlib
import io
from importlib.metadata import version
from pathlib import Path

import numpy as np

from gen.core.dicom import dicom_bytes
from gen.core.errors import BadInput
from gen.core.radiograph import Radiograph
from gen.images.dicom import SPACINGS

# What spoke of the stored values of the source, which are new and shown as they are; or vouched for what they were.
_COLOURS = ("Red", "Green", "Blue")
_OF_THE_PIXELS = (
    "ModalityLUTSequence",
    "VOILUTSequence",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "WindowCenterWidthExplanation",
    "VOILUTFunction",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "PixelAspectRatio",
    "IconImageSequence",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
    "PlanarConfiguration",
    "ColorSpace",
    "ICCProfile",
    "PixelPresentation",
    *(f"{colour}PaletteColorLookupTable{part}" for colour in _COLOURS for part in ("Descriptor", "Data")),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in _COLOURS),
    "PaletteColorLookupTableUID",
    "DigitalSignaturesSequence",
    "MACParametersSequence",
    "DataSetTrailingPadding",
)
# Groups of planes that lie over the pixels of the source, some in their unused bits: curves (retired) and overlays
# (PS3.5 7.6). They are not drawn into the new pixels either, which show what the network made and nothing else.
_PLANES = (*range(0x5000, 0x5100, 2), *range(0x6000, 0x6100, 2))
_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"  # Digital X-Ray Image Storage, and the same for processing
_DIGITAL = (_FOR_PRESENTATION, f"{_FOR_PRESENTATION}.1")
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def derived_dicom(path: Path, image: Radiograph, bits: int, what: str) -> bytes:
    """``image`` as a DICOM object derived from the file ``path``; ``what`` says how, and is its series description.

    Everything about patient, study and acquisition is the source's. The pixels are MONOCHROME2 of ``bits`` (8 to 16),
    uncompressed, as displayed: no table or window stands between them and the screen, and no overlay of the source is
    kept. The UIDs are hashes of the content, so that the same source and network give the same file.
    """
    import pydicom
    from pydicom.dataset import Dataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    data = pydicom.dcmread(path, stop_before_pixels=True)
    top = 2**bits - 1
    levels = np.rint(image.pixels * np.float32(top)).astype(np.uint8 if bits == 8 else np.uint16)
    digest = hashlib.sha256(f"{data.SOPInstanceUID} {bits} {what}".encode() + levels.tobytes()).hexdigest()

    source = Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    purpose = Dataset()  # PS3.16 CID 7202
    purpose.CodeValue, purpose.CodingSchemeDesignator = "121322", "DCM"
    purpose.CodeMeaning = "Source image for image processing operation"
    source.PurposeOfReferenceCodeSequence = [purpose]
    data.SourceImageSequence = [source]
    data.ImageType = ["DERIVED", "PRIMARY", *list(data.get("ImageType", []))[2:]]
    if data.SOPClassUID == _SECONDARY_CAPTURE:
        data.ImageType = ["DERIVED", "SECONDARY"]
    data.SOPInstanceUID = generate_uid(entropy_srcs=[digest, "instance"])
    data.SeriesInstanceUID = generate_uid(entropy_srcs=[str(data.get("SeriesInstanceUID")), what])
    data.DerivationDescription = data.SeriesDescription = what
    data.SoftwareVersions = f"cxr-gen {version('cxr-gen')}"
    data.BurnedInAnnotation = data.get("BurnedInAnnotation") or "NO"
    for keyword in _OF_THE_PIXELS:
        if keyword in data:
            delattr(data, keyword)
    for element in [element for element in data if element.tag.group in _PLANES]:
        del data[element.tag]
    data.LossyImageCompression = data.get("LossyImageCompression") or "00"
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    if image.spacing_mm is not None and levels.shape != (data.Rows, data.Columns):  # square pixels of the shorter side
        for keyword in SPACINGS:
            if len(sides := data.get(keyword) or []) == 2:
                setattr(data, keyword, [min(sides)] * 2)
    data.Rows, data.Columns = levels.shape
    data.BitsAllocated, data.BitsStored, data.HighBit = (8 if bits == 8 else 16), bits, bits - 1
    if data.SOPClassUID in _DIGITAL:
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = _FOR_PRESENTATION
        data.PresentationLUTShape = "IDENTITY"
        data.PresentationIntentType = "FOR PRESENTATION"
        data.PixelIntensityRelationship, data.PixelIntensityRelationshipSign = "LOG", 1
        # Required there, and changing nothing
        data.RescaleIntercept, data.RescaleSlope, data.RescaleType = "0", "1", "US"
    data.WindowCenter, data.WindowWidth = f"{(top + 1) / 2:g}", str(top + 1)
    data.PixelData = levels.tobytes() + b"\0" * (levels.nbytes % 2)
    data["PixelData"].VR = "OB" if bits == 8 else "OW"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, data, enforce_file_format=True)
    return stream.getvalue()


def secondary_capture(image: Radiograph, bits: int, name: str, what: str) -> bytes:
    """``image`` of a synthetic source as a secondary capture; ``name`` stands for the patient.

    Raises BadInput where the source does not say that it is synthetic: of a real patient a picture file knows nothing,
    and a DICOM object without them would be filed as nobody's.
    """
    if image.provenance.get("synthetic") != "yes":
        raise BadInput("no DICOM can be derived from a picture file of a real patient", hint="use --format png")
    return dicom_bytes(image, bits=bits, patient={"id": name}, attributes={"DerivationDescription": what})
