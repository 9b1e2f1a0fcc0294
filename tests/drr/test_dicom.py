"""What a DICOM file says of a projection: the view, the distances, which way the image hangs; and it stays valid."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest

from drr.dicom import attributes_of
from drr.geometry import VIEWS, parse_view
from gen.core.dicom import dicom_bytes
from gen.core.radiograph import Radiograph
from tests.dciodvfy import dicom_errors

RADIOGRAPH = Radiograph(np.linspace(0, 1, 35 * 21, dtype=np.float32).reshape(35, 21), (0.4, 0.4), {"synthetic": "yes"})


def written(view: str) -> bytes:
    attributes = attributes_of(parse_view(view), 120.0)
    return dicom_bytes(RADIOGRAPH, patient={"id": "phantom-1"}, attributes=attributes, origin=view)


def test_the_header_says_how_it_was_projected() -> None:
    data = pydicom.dcmread(io.BytesIO(written("30/10")))
    assert (data.PositionerPrimaryAngle, data.PositionerSecondaryAngle) == (30, 10)
    assert (data.DistanceSourceToDetector, data.KVP) == (1800, 120)
    assert "ViewPosition" not in data


@pytest.mark.parametrize(
    ("view", "orientation", "name"),
    [("PA", "LF", "PA"), ("AP", "LF", "AP"), ("lateral", "PF", "LL"), ("-90/0", "AF", "")],
)
def test_the_header_says_which_way_the_image_hangs(view: str, orientation: str, name: str) -> None:
    data = pydicom.dcmread(io.BytesIO(written(view)))
    assert "".join(data.PatientOrientation) == orientation
    assert data.get("ViewPosition", "") == name


@pytest.mark.parametrize("view", [*VIEWS, "-90/0", "33.333/-12.5"])
def test_a_validator_finds_no_error(view: str, tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(written(view))
    assert dicom_errors(tmp_path / "a.dcm") == []
