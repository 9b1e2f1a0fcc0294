"""Findings put into a CT: where they may go and what they are, in the words they are asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from drr.ct.volume import Volume
from drr.insert.opacity import atelectasis, consolidation, edema, focal
from drr.insert.pleura import effusion, pneumothorax
from drr.insert.request import Inserted, LesionRequest, resolve
from drr.insert.rib import fracture
from drr.insert.thorax import hemithorax, rib_cage_depth_mm
from drr.insert.warp import cardiomegaly
from gen.core.errors import GenError


def insert_lesion(
    volume: Volume, body: np.ndarray, lungs: np.ndarray, request: LesionRequest, rng: np.random.Generator
) -> Inserted:
    """Put a finding into ``volume``: a new volume, a mask bool (z, y, x), and a label in standard terms with facts.

    ``body`` bool and ``lungs`` uint8 (1 right, 2 left) are those of ct/body.py. What the request leaves open is drawn
    from ``rng``; the same generator gives the same bytes. Voxels change inside the mask only, but for findings that
    move their surroundings (pneumothorax, cardiomegaly), whose label has "moved_box", the first and the last index
    (z, y, x) of what may have changed. BadInput where the finding has no place.
    """
    asked = resolve(request, rng)
    if asked.device is not None:
        raise GenError(f"{asked.device} is a device: use insert_device")
    if asked.finding == "Cardiomegaly":
        volume, mask, facts = cardiomegaly(volume, body, lungs, str(asked.severity), rng)
    else:
        mask, facts = np.zeros(volume.hu.shape, bool), {}
        for side in ("right", "left") if asked.side == "bilateral" else (str(asked.side),):
            volume, changed, found = _one_side(volume, lungs, replace(asked, side=side), rng)
            mask |= changed
            facts |= found if asked.side != "bilateral" else {f"{side}_{name}": value for name, value in found.items()}
    label = {"finding": asked.finding, "side": asked.side, "severity": asked.severity, "zone": asked.zone}
    return Inserted(volume, mask, label | facts)


def _one_side(
    volume: Volume, lungs: np.ndarray, asked: LesionRequest, rng: np.random.Generator
) -> tuple[Volume, np.ndarray, dict[str, Any]]:
    chest = hemithorax(volume, lungs, str(asked.side))
    severity, zone, position = str(asked.severity), str(asked.zone), str(asked.position)
    if asked.finding in ("Nodule", "Mass"):
        changed_hu, changed, facts = focal(chest, asked.finding, severity, zone, rng)
    elif asked.finding == "Pleural Effusion":
        ribs_mm = rib_cage_depth_mm(lungs, chest.box, volume.spacing_mm)
        changed_hu, changed, facts = effusion(chest, ribs_mm, severity, position, rng)
    elif asked.finding == "Pneumothorax":
        changed_hu, changed, facts = pneumothorax(chest, severity, position, rng)
    elif asked.finding == "Consolidation":
        changed_hu, changed, facts = consolidation(chest, severity, zone, rng)
    elif asked.finding == "Atelectasis":
        changed_hu, changed, facts = atelectasis(chest, severity, zone, rng)
    elif asked.finding == "Edema":
        changed_hu, changed, facts = edema(chest, severity, rng)
    else:
        changed_hu, changed, facts = fracture(chest, severity, zone, rng)
    hu, mask = volume.hu.copy(), np.zeros(volume.hu.shape, bool)
    hu[chest.box], mask[chest.box] = changed_hu, changed
    return replace(volume, hu=hu), mask, facts
