"""What a DICOM file says of a projection besides its pixels: where source and detector stood, and the exposure."""

from __future__ import annotations

from typing import Any

import numpy as np

from drr.geometry import View, place


def attributes_of(view: View, kvp: float) -> dict[str, Any]:
    """The geometry of ``view`` and the tube voltage ``kvp``, by DICOM keyword, as `gen.core.dicom` writes them."""
    attributes = {
        "ManufacturerModelName": "drr",
        "DerivationDescription": "projection of a CT",
        "PatientOrientation": _orientation(view),
        "PositionerPrimaryAngle": f"{view.primary_deg:.4g}",
        "PositionerSecondaryAngle": f"{view.secondary_deg:.4g}",
        "DistanceSourceToDetector": f"{view.sdd_mm:.6g}",
        "DistanceSourceToPatient": f"{view.sod_mm:.6g}",
        "KVP": f"{kvp:.6g}",
    }
    if view.name in ("PA", "AP", "lateral"):
        attributes["ViewPosition"] = "LL" if view.name == "lateral" else view.name
    return attributes


def _orientation(view: View) -> list[str]:
    """Where rows and columns of the image run to, as letters (PS3.3 C.7.6.1.1.1): left and foot in a PA."""
    geometry = place(view, np.zeros(3), 2)
    directions = []
    for step in (geometry.column_mm, geometry.row_mm):
        axis = int(abs(step).argmax())
        directions.append(("RL", "AP", "FH")[axis][int(step[axis] > 0)])
    return directions
