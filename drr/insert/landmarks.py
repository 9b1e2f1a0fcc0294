"""Where tubes and lines run: windpipe, carina, superior vena cava, apices and heart, in patient coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from drr.ct.volume import Volume
from drr.insert.thorax import SIDE_IDS
from drr.insert.warp import find_heart
from gen.core.errors import BadInput

_AIRWAY_HU = -880  # between air in the windpipe and lung beside it
_WIDER = 1.7  # where the windpipe is this much wider than above, it divides
_SHORTEST_MM = 40.0  # of windpipe above the carina, so that a tube can end in it


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Points float64 (3,), x y z in mm. ``trachea`` (N, 3) runs from above to the carina, None where it was not found.

    ``vena_cava`` is the superior vena cava at the height of the carina; ``apex_mm`` the z of the top of the lungs.
    """

    trachea: np.ndarray | None
    carina: np.ndarray
    vena_cava: np.ndarray
    apex_mm: float


def find_landmarks(volume: Volume, body: np.ndarray, lungs: np.ndarray) -> Landmarks:
    """Landmarks by simple means; without a windpipe the carina is guessed from the lungs, at 0.62 of their height."""
    heights = np.flatnonzero((lungs > 0).any(axis=(1, 2)))
    if not heights.size:
        raise BadInput(f"{volume.name}: there are no lungs to find landmarks by")
    trachea = _trachea(volume, body, lungs)
    if trachea is None:
        plane = int(heights[0] + 0.62 * (heights[-1] - heights[0]))
        sides = [np.argwhere(lungs[plane] == side) for side in (1, 2)]
        if not all(len(side) for side in sides):
            raise BadInput(f"{volume.name}: the two lungs are not seen at the height of the carina")
        column = (sides[0][:, 1].max() + sides[1][:, 1].min()) / 2
        carina = np.array([plane, np.concatenate(sides)[:, 0].mean(), column])
    else:
        carina = trachea[-1]
    return Landmarks(
        trachea=None if trachea is None else volume.to_mm(trachea),
        carina=volume.to_mm(carina),
        vena_cava=_vena_cava(volume, lungs, carina),
        apex_mm=float(volume.to_mm(np.array([heights[-1], *carina[1:]]))[2]),
    )


def heart_point(volume: Volume, lungs: np.ndarray, across: float, deep: float, high: float) -> np.ndarray:
    """A point in the heart: ``across`` from -1, its right border, to 1, its left; ``deep`` from 0, the sternum, to 1,
    the spine; ``high`` from 0, above the diaphragm, to 1, below the hila."""
    heart = find_heart(volume, lungs)
    half = heart.ratio * (heart.left - heart.right) / 2
    return volume.to_mm(
        np.array(
            [
                heart.floor + high * (heart.top - heart.floor),
                heart.front + deep * (heart.back - heart.front),
                heart.middle + across * half,
            ]
        )
    )


def _trachea(volume: Volume, body: np.ndarray, lungs: np.ndarray) -> np.ndarray | None:
    """The middle of the windpipe by plane, float64 (N, 3) as indices z, y, x from above to the carina."""
    labelled = _labelled(volume, "trachea")
    air = labelled if labelled is not None else (volume.hu < _AIRWAY_HU) & body
    heights = np.flatnonzero((lungs > 0).any(axis=(1, 2)))
    columns = np.flatnonzero((lungs > 0).any(axis=(0, 1)))
    middle = (columns[0] + columns[-1]) / 2
    dz, dy, dx = volume.spacing_mm
    low = int(heights[0] + 0.45 * (heights[-1] - heights[0]))
    path: list[np.ndarray] = []
    widths: list[float] = []
    above = np.zeros(air.shape[1:], bool)
    for plane in range(air.shape[0] - 1, low - 1, -1):
        pieces, _ = ndimage.label(air[plane])
        areas_mm2 = np.bincount(pieces.ravel()) * dy * dx
        if path:
            numbers = [k for k in np.unique(pieces[ndimage.binary_dilation(above)]) if k and areas_mm2[k] > 30]
        else:
            beside = abs(np.arange(air.shape[2]) - middle) * dx < 25
            numbers = [k for k in np.unique(pieces[:, beside]) if k and 40 < areas_mm2[k] < 800]
        numbers.sort(key=lambda k: -areas_mm2[k])
        long_enough = len(path) * dz > _SHORTEST_MM
        if not numbers or areas_mm2[numbers[0]] > 1200:
            if long_enough:
                break
            path, widths = [], []  # the mouth or another hollow: the windpipe begins below
            continue
        above = pieces == numbers[0]
        index = np.argwhere(above)
        width_mm = float(np.ptp(index[:, 1]) + 1) * dx
        if long_enough and (len(numbers) > 1 or width_mm > _WIDER * float(np.median(widths))):
            break
        path.append(np.array([plane, *index.mean(axis=0)]))
        widths.append(width_mm)
    if len(path) * dz < _SHORTEST_MM:
        return None
    trachea = np.array(path)
    trachea[:, 1:] = ndimage.gaussian_filter1d(trachea[:, 1:], 6 / dz, axis=0, mode="nearest")
    return trachea


def _vena_cava(volume: Volume, lungs: np.ndarray, carina: np.ndarray) -> np.ndarray:
    """The superior vena cava makes the right border of the mediastinum, in front of the carina."""
    labelled = _labelled(volume, "superior_vena_cava")
    plane = round(float(carina[0]))
    if labelled is not None and labelled[plane].any():
        return volume.to_mm(np.array([plane, *np.argwhere(labelled[plane]).mean(axis=0)]))
    _, dy, dx = volume.spacing_mm
    row = round(float(carina[1] - 18 / dy))
    right = np.argwhere(lungs[plane, max(row - 2, 0) : row + 3] == SIDE_IDS["right"])
    aside_mm = (carina[2] - np.median(np.sort(right[:, 1])[-20:])) * dx - 9 if right.size else 22.0
    return volume.to_mm(np.array([plane, row, carina[2] - np.clip(aside_mm, 14, 30) / dx]))


def _labelled(volume: Volume, name: str) -> np.ndarray | None:
    """The voxels of a structure in the volume's label map, None where it has none."""
    if volume.labels is None:
        return None
    numbers = [number for number, label in volume.labels.names.items() if label == name]
    found = np.isin(volume.labels.ids, numbers)
    return found if found.any() else None
