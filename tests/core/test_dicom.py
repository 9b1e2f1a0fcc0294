"""A DICOM file that is written is valid and reads back as the same radiograph, in either polarity and any depth."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen.core.dicom import PHOTOMETRIC, dicom_bytes
from gen.core.errors import BadInput
from gen.core.radiograph import Radiograph
from gen.images.reader import read_radiograph
from tests.dciodvfy import dicom_errors

PIXELS = np.linspace(0, 1, 35 * 21, dtype=np.float32).reshape(35, 21)
RADIOGRAPH = Radiograph(PIXELS, (0.4, 0.4), {"synthetic": "yes"})
PATIENT = {"id": "nobody-1", "sex": "F", "age": 63}
PLAIN: dict[str, Any] = {"patient": PATIENT, "attributes": {"ViewPosition": "PA"}}
KINDS = [(photometric, bits) for photometric in PHOTOMETRIC for bits in (8, 12, 16)]


def header(content: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(content))


@given(
    st.integers(0, 2**32),
    st.sampled_from(PHOTOMETRIC),
    st.integers(8, 16),
    st.tuples(*[st.integers(2, 9)] * 2),
    st.floats(1e-3, 200),  # mm, of at most nine pixels: an image of over 2 m is read without a spacing
)
def test_what_is_written_reads_back(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    photometric: str,
    bits: int,
    shape: tuple[int, int],
    side: float,
) -> None:
    top = 2**bits - 1
    levels = np.random.default_rng(seed).integers(0, top, shape, endpoint=True)
    levels.flat[:2] = 0, top  # never one grey alone, which nothing reads
    written = Radiograph((levels / top).astype(np.float32), (side, side), {"synthetic": "yes"})
    path = tmp_path_factory.getbasetemp() / "read_back.dcm"
    path.write_bytes(dicom_bytes(written, photometric=photometric, bits=bits, **PLAIN))
    read = read_radiograph(path)
    assert np.array_equal(np.rint(read.pixels.astype(np.float64) * top), levels)
    assert read.pixels == pytest.approx(written.pixels, abs=1e-6)
    assert read.spacing_mm == pytest.approx((side, side), rel=1e-9)
    assert read.provenance["photometric"] == photometric
    assert read.provenance["synthetic"] == "yes"


@pytest.mark.parametrize(("photometric", "bits"), KINDS)
@pytest.mark.parametrize("spacing", [(0.4, 0.3), None])
@pytest.mark.parametrize("patient", [PATIENT, {"id": "p", "sex": None, "age": 0}, {"id": "a\\b\x00ü " * 20}])
def test_a_validator_finds_no_error(
    tmp_path: Path, photometric: str, bits: int, spacing: tuple[float, float] | None, patient: dict[str, Any]
) -> None:
    path = tmp_path / "a.dcm"
    radiograph = Radiograph(PIXELS, spacing, {"synthetic": "yes"})
    path.write_bytes(dicom_bytes(radiograph, photometric=photometric, bits=bits, patient=patient, attributes={}))
    assert dicom_errors(path) == []


def test_a_validator_would_find_what_is_missing(tmp_path: Path) -> None:
    data = header(dicom_bytes(RADIOGRAPH, **PLAIN))
    del data.ConversionType
    data.save_as(tmp_path / "a.dcm")
    assert "ConversionType" in "".join(dicom_errors(tmp_path / "a.dcm"))


def test_the_polarity_is_in_the_stored_values_too() -> None:
    bright, dark = (header(dicom_bytes(RADIOGRAPH, photometric=kind, **PLAIN)).pixel_array for kind in PHOTOMETRIC)
    assert np.array_equal(bright, 4095 - dark)


@pytest.mark.parametrize(
    "change",
    [
        {"origin": "row 2"},
        {"bits": 16},
        {"photometric": "MONOCHROME1"},
        {"patient": PATIENT | {"sex": "M"}},
        {"patient": PATIENT | {"id": "nobody-2"}},
        {"attributes": {"ViewPosition": "AP"}},
        {"radiograph": Radiograph(1 - PIXELS, (0.4, 0.4), {"synthetic": "yes"})},
        {"radiograph": Radiograph(PIXELS.reshape(21, 35), (0.4, 0.4), {"synthetic": "yes"})},
        {"radiograph": Radiograph(PIXELS, (0.4, 0.5), {"synthetic": "yes"})},
        {"radiograph": Radiograph(PIXELS, (0.4, 0.4), {"synthetic": "yes", "seed": "2"})},
    ],
)
def test_the_same_image_is_the_same_file_and_another_shares_no_uid(change: dict[str, Any]) -> None:
    same: dict[str, Any] = {"radiograph": RADIOGRAPH, "origin": "row 1", **PLAIN}
    once, again, other = (dicom_bytes(**options) for options in (same, same, same | change))
    assert once == again
    uids = [{data.SOPInstanceUID, data.SeriesInstanceUID, data.StudyInstanceUID} for data in map(header, (once, other))]
    assert len(uids[0] | uids[1]) == 6


def test_the_header_says_what_it_is_and_invents_nothing() -> None:
    data = header(dicom_bytes(RADIOGRAPH, **PLAIN))
    assert (data.SyntheticData, list(data.ImageType)) == ("YES", ["DERIVED", "SECONDARY"])
    assert (data.Modality, data.ConversionType, data.PatientName) == ("OT", "SYN", "Synthetic^Patient")
    assert (data.PatientID, data.PatientSex, data.PatientAge, data.ViewPosition) == ("nobody-1", "F", "063Y", "PA")
    unknown = ("Positioner", "Detector", "Distance", "Exposure", "KVP")
    assert not [keyword for keyword in data.dir() if keyword.startswith(unknown)]


NAMES = st.text(st.characters(exclude_categories=()), min_size=1)  # surrogates too, which names of files may hold


@given(st.sets(NAMES, min_size=2, max_size=5))
def test_a_patient_is_told_from_another_by_any_name(names: set[str]) -> None:
    told = [header(dicom_bytes(RADIOGRAPH, patient={"id": name}, attributes={})).PatientID for name in names]
    assert len(set(told)) == len(names)
    assert max(map(len, told)) <= 64


def test_bits_and_polarity_that_do_not_exist_are_refused() -> None:
    with pytest.raises(BadInput, match="4 bits"):
        dicom_bytes(RADIOGRAPH, bits=4, **PLAIN)
    with pytest.raises(BadInput, match="RGB"):
        dicom_bytes(RADIOGRAPH, photometric="RGB", **PLAIN)
