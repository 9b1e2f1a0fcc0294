"""A DICOM file that is written reads back as the same radiograph, in either polarity and any depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from drr.dicom import PHOTOMETRIC, dicom_bytes, write_dicom
from drr.geometry import VIEWS, parse_view
from gen.core.errors import BadInput
from gen.core.radiograph import Radiograph, read_radiograph

PIXELS = np.linspace(0, 1, 35 * 21, dtype=np.float32).reshape(35, 21)
RADIOGRAPH = Radiograph(PIXELS, (0.4, 0.4), {"synthetic": "yes"})
PATIENT = {"id": "phantom-1", "sex": "F", "age": 63}


def written(path: Path, **options: object) -> Path:
    write_dicom(path, RADIOGRAPH, VIEWS["PA"], patient=PATIENT, exposure={"KVP": 120.0}, **options)
    return path


@pytest.mark.parametrize("photometric", PHOTOMETRIC)
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_what_is_written_reads_back(tmp_path: Path, photometric: str, bits: int) -> None:
    read = read_radiograph(written(tmp_path / "a.dcm", photometric=photometric, bits=bits))
    assert read.pixels == pytest.approx(PIXELS, abs=0.51 / (2**bits - 1))
    assert read.spacing_mm == (0.4, 0.4)
    assert read.provenance["photometric"] == photometric
    assert read.provenance["synthetic"] == "yes"


def test_the_polarity_is_in_the_stored_values_too(tmp_path: Path) -> None:
    stored = [
        pydicom.dcmread(written(tmp_path / f"{kind}.dcm", photometric=kind)).pixel_array.astype(int)
        for kind in PHOTOMETRIC
    ]
    assert np.array_equal(stored[0], 4095 - stored[1])


def test_the_same_image_is_the_same_file_and_another_is_not(tmp_path: Path) -> None:
    paths = [written(tmp_path / f"{k}.dcm", bits=bits) for k, bits in enumerate((12, 12, 16))]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert pydicom.dcmread(paths[0]).SOPInstanceUID != pydicom.dcmread(paths[2]).SOPInstanceUID


def test_the_header_says_what_it_is(tmp_path: Path) -> None:
    data = pydicom.dcmread(written(tmp_path / "a.dcm"))
    assert (data.SyntheticData, data.ViewPosition, data.PatientSex, data.PatientAge) == ("YES", "PA", "F", "063Y")
    assert (data.DistanceSourceToDetector, data.KVP) == (1800, 120)


@pytest.mark.parametrize(("view", "orientation"), [("PA", "LF"), ("AP", "LF"), ("lateral", "PF"), ("-90/0", "AF")])
def test_the_header_says_which_way_the_film_hangs(tmp_path: Path, view: str, orientation: str) -> None:
    write_dicom(tmp_path / "a.dcm", RADIOGRAPH, parse_view(view), patient=PATIENT, exposure={})
    assert "".join(pydicom.dcmread(tmp_path / "a.dcm").PatientOrientation) == orientation


@pytest.mark.parametrize(("photometric", "sign"), [("MONOCHROME2", -1), ("MONOCHROME1", 1)])
def test_the_header_says_whether_high_values_are_many_photons_or_few(
    tmp_path: Path, photometric: str, sign: int
) -> None:
    data = pydicom.dcmread(written(tmp_path / "a.dcm", photometric=photometric))
    assert data.PixelIntensityRelationshipSign == sign


def test_bits_and_polarity_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="4 bits"):
        written(tmp_path / "a.dcm", bits=4)
    with pytest.raises(BadInput, match="RGB"):
        written(tmp_path / "a.dcm", photometric="RGB")
    assert not list(tmp_path.iterdir())


def test_an_image_that_is_no_projection_has_no_geometry_and_is_as_much_the_same_file(tmp_path: Path) -> None:
    content = [
        dicom_bytes(RADIOGRAPH, bits=8, patient={"id": "nobody"}, attributes={"ViewPosition": "AP"}, origin=origin)
        for origin in ("row 1", "row 1", "row 2")
    ]
    assert content[0] == content[1] != content[2]
    (tmp_path / "a.dcm").write_bytes(content[0])
    data = pydicom.dcmread(tmp_path / "a.dcm")
    assert (data.SyntheticData, data.ViewPosition, data.PatientSex) == ("YES", "AP", "")
    assert not [keyword for keyword in data.dir() if keyword.startswith(("Positioner", "Distance"))]
