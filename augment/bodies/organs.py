"""The organs of a CT or a phantom as projections: which voxels are an organ, and where they fall on the detector.

An organ is taken from the labels of the volume where it has them. Without labels the lungs, the abdomen under them and
the body follow from the scan itself; what then remains is unknown, and nobody learns from it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import suppress

import numpy as np
from scipy import ndimage

from drr.backends.plan import OutOfView
from drr.backends.tiles import Stack
from drr.geometry import Geometry
from drr.masks import mask_stack
from drr.projector import project
from drr.scene import Scene
from gen.anatomy.network import ORGANS

# Labels as TotalSegmentator names them (Wasserthal et al. 2023, doi:10.1148/ryai.230024), and so our phantom.
_LABELS = {
    "right lung": r"lung_(\w+_lobe_)?right",
    "left lung": r"lung_(\w+_lobe_)?left",
    "heart": r"heart|atrial_appendage_left",
    "mediastinum": r"heart|atrial_appendage_left|aorta|pulmonary_(artery|vein)|(superior|inferior)_vena_cava|esophagus"
    r"|trachea|bronchus_\w+|brachiocephalic_\w+|common_carotid_\w+",
    "right clavicle": r"clavicula_right",
    "left clavicle": r"clavicula_left",
    "ribs": r"rib_\w+",
    "spine": r"vertebrae_\w+",
}
# A ray that only grazes an organ does not show it. In mm within the organ, at the least.
_PATH_MM = dict.fromkeys(ORGANS, 1.0) | {"right lung": 8.0, "left lung": 8.0, "heart": 20.0, "abdomen": 8.0}
_DOME_MM = 45.0  # a dome of the diaphragm is wider
_RECESS_MM = 40.0  # from side to side, around a column, in which the deepest recess is looked for
_WALL_MM = 25.0  # from the chest wall: nearer to it the lung ends at the wall
# Between labelled parts lies what belongs to the whole: discs, fat. Gaps in mm that are closed in the projection.
_GAP_MM = {"mediastinum": 16.0, "spine": 12.0}


def organ_masks(scene: Scene, unknown: Collection[str] = ()) -> dict[str, np.ndarray]:
    """Each organ of ``scene`` that is known, bool (z, y, x); those of ``unknown`` are left out."""
    volume, masks = scene.volume, {}
    if volume.labels is not None:
        names = volume.labels.names
        for organ, pattern in _LABELS.items():
            numbers = [number for number, name in names.items() if re.fullmatch(pattern, name)]
            masks[organ] = np.isin(volume.labels.ids, numbers)
    else:
        masks = {"right lung": scene.lungs == 1, "left lung": scene.lungs == 2}
    lungs = masks["right lung"] | masks["left lung"]
    if "mediastinum" in masks:
        masks["mediastinum"] = _between(masks["mediastinum"], lungs, masks["heart"])
    masks["abdomen"] = _under(lungs, masks.get("heart"), scene.body, volume.spacing_mm)
    masks["body"] = scene.body
    return {organ: masks[organ] for organ in ORGANS if organ in masks and organ not in unknown}


def _between(mask: np.ndarray, lungs: np.ndarray, heart: np.ndarray) -> np.ndarray:
    """``mask`` from the apices of the lungs to the lowest plane of the heart."""
    top = np.flatnonzero(lungs.any(axis=(1, 2))).max(initial=-1)
    floor = np.flatnonzero(heart.any(axis=(1, 2))).min(initial=len(mask))
    cut = np.zeros_like(mask)
    cut[floor : top + 1] = mask[floor : top + 1]
    return cut


def _under(lungs: np.ndarray, heart: np.ndarray | None, body: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """The body under the domes of the diaphragm and under the heart, which stands between them.

    What counts is where lung or heart ends inside the chest: near the chest wall the lung ends at the wall, and under a
    hilum at its vessels, a rise that is narrower than any dome. Beside it the abdomen begins at the deepest recess.
    """
    above = lungs if heart is None else lungs | heart
    floor = np.argmax(above, axis=0)  # the lowest plane, z points to the head
    covered = above.any(axis=0)
    inner = ndimage.distance_transform_edt(covered, sampling=spacing_mm[1:]) > _WALL_MM
    if not inner.any():
        return np.zeros_like(body)
    nearest = ndimage.distance_transform_edt(~inner, return_distances=False, return_indices=True)
    domes = ndimage.grey_opening(floor[tuple(nearest)], [round(_DOME_MM / step) for step in spacing_mm[1:]])
    deepest = np.where(covered, floor, len(body)).min(axis=0)
    beside = ndimage.minimum_filter1d(deepest, 2 * round(_RECESS_MM / spacing_mm[2]) + 1)
    columns = ndimage.distance_transform_edt(beside == len(body), return_distances=False, return_indices=True)[0]
    under: np.ndarray = np.arange(len(body))[:, None, None] < np.where(inner, domes, beside[columns])
    return under & body


def organ_stacks(scene: Scene, masks: Mapping[str, np.ndarray]) -> dict[str, Stack]:
    """The masks of `organ_masks`, ready to be projected."""
    return {organ: mask_stack(mask, scene.volume) for organ, mask in masks.items()}


def project_organs(stacks: Mapping[str, Stack], geometry: Geometry) -> np.ndarray:
    """bool (10, H, W) in the order of ORGANS; an organ without a stack, or out of view, is empty."""
    masks = np.zeros((len(ORGANS), *geometry.shape), bool)
    for organ, stack in stacks.items():
        with suppress(OutOfView):
            masks[ORGANS.index(organ)] = project([stack], geometry, threads=1)[0] >= _PATH_MM[organ]
    for organ, gap_mm in _GAP_MM.items():
        steps = round(gap_mm / 2 / max(geometry.pitch_mm))
        mask = np.pad(masks[ORGANS.index(organ)], steps)
        closed = ndimage.binary_closing(mask, iterations=steps) if steps else mask
        closed = ndimage.binary_fill_holes(closed)
        masks[ORGANS.index(organ)] = closed[steps : len(closed) - steps, steps : closed.shape[1] - steps]
    return masks
