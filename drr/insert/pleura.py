"""Fluid and air in the pleural space: effusion with a meniscus, pneumothorax with a collapsed lung.

A small effusion fills the posterior recess, then blunts the lateral costophrenic angle (about 200 ml erect: Moskowitz
et al., Radiology 109, 33, 1973) and rises along the wall in a meniscus. In a supine patient fluid lies behind the lung
and air in front of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from drr.insert.thorax import Hemithorax, blend, box_corners, depth_mm, grain, interpolate, ramp

_FLUID_HU = (5.0, 18.0)  # transudates to exudates
_MENISCUS_MM, _FILM_MM = 100.0, 22.0  # how far fluid rises at the wall, and how fast that falls off inwards
# Fractions of the hemithorax.
_FLUID_FRACTION = {"mild": (0.04, 0.08), "moderate": (0.22, 0.34), "severe": (0.55, 0.8)}
_AIR_FRACTION = {"mild": (0.1, 0.18), "moderate": (0.28, 0.42), "severe": (0.6, 0.8)}
_WALL_HU = 40.0  # muscle and diaphragm
_PLEURA_MM = 0.4  # of water: the visceral pleura and what clings to it


def effusion(
    chest: Hemithorax, ribs_mm: np.ndarray, severity: str, position: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Fluid in the lowest part of the pleural space: HU and mask of the box, and facts.

    ``ribs_mm`` is the depth of the voxels in the rib cage (drr/insert/thorax.py), for fluid rises at it.
    The surface lies where height minus the rise of the meniscus is constant; the constant that gives the wanted
    volume is a quantile, so that more fluid always covers less.
    """
    fraction = float(rng.uniform(*_FLUID_FRACTION[severity]))
    height_mm = chest.z_mm if position == "erect" else -chest.y_mm
    level_mm = height_mm - _MENISCUS_MM * np.exp(np.minimum(-ribs_mm, 0) / np.float32(_FILM_MM))
    surface_mm = np.quantile(level_mm[chest.cavity], fraction)
    filled = chest.cavity & (level_mm < surface_mm)
    # The rim of the lung is mixed with the wall and would stay as a dark line between fluid and wall.
    filled |= ndimage.binary_dilation(filled) & ~(chest.cavity | chest.other) & (chest.hu < 0) & (chest.wall_mm < 2)
    share = ramp(surface_mm - level_mm, 2.0) * filled
    fluid_hu = rng.uniform(*_FLUID_HU) + grain(chest.hu.shape, chest.noise_hu, rng)
    hu = blend(chest.hu, fluid_hu, share)
    volume_ml = float(share.sum() * chest.voxel_ml)
    return hu, filled, {"volume_ml": round(volume_ml), "fraction": round(fraction, 3), "position": position}


def pneumothorax(
    chest: Hemithorax, severity: str, position: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Air around a lung that shrinks to its hilum, most where air gathers: HU, mask, and facts.

    The mask is that of the air; voxels change in the whole pleural space, for the lung in it has moved.
    """
    wanted = float(rng.uniform(*_AIR_FRACTION[severity]))
    wall_mm = _above_diaphragm(chest) if position == "erect" else chest.wall_mm
    every = tuple(slice(None, None, max(1, round(5 / step))) for step in chest.spacing_mm)
    low, high = 0.0, 0.8
    for _ in range(12):
        shrunk = (low + high) / 2
        sources = _sources(chest, shrunk, position)
        kept_mm = interpolate(wall_mm, [source[part] for source, part in zip(sources, every, strict=True)])
        fraction = float((kept_mm[chest.cavity[every]] < 0).mean())
        low, high = (shrunk, high) if fraction < wanted else (low, shrunk)
    sources = _sources(chest, shrunk, position)
    kept_mm = interpolate(wall_mm, sources)
    from_lung = interpolate(chest.cavity.astype(np.float32), sources) > 0.5
    lung_hu = interpolate(np.where(chest.cavity, chest.hu, np.int16(-850)).astype(np.float32), sources)
    # What would come from the mediastinum or from below the diaphragm stays attached to it.
    lung_hu = np.where(from_lung, lung_hu, chest.hu)
    # Blood leaves a collapsing lung, so that its density grows with the root of the loss of volume and not with it;
    # vessels, and the wall in voxels that hold both, stay as dense as they are.
    healthy = 1000 + float(np.median(chest.hu[chest.cavity]))
    denser = 1 / np.sqrt(1 - fraction)
    lung_hu = lung_hu + _lung_share(lung_hu, healthy) * healthy * (denser - 1)
    # A surface of this thickness, spread over the slope of the ramp.
    edge_mm = 1.5 * max(chest.spacing_mm[1:])
    pleura = np.maximum(1 - abs(kept_mm) / edge_mm, 0) * (1000 * _PLEURA_MM / edge_mm)
    air_hu = -1000 + abs(grain(chest.hu.shape, 4.0, rng))
    inside = ramp(kept_mm, edge_mm)
    new_hu = air_hu + inside * (lung_hu - air_hu) + pleura
    # Voxels of the rim hold some of the wall, which stays: the change is that of the lung in them. As air or lung
    # throughout they would draw the steps of the grid along the diaphragm.
    rim = _rim(chest)
    rim_hu = chest.hu + _lung_share(chest.hu, healthy) * healthy * (inside * denser - 1)
    hu = blend(chest.hu, np.where(rim, rim_hu, new_hu), chest.cavity | rim)
    volume_ml = float(((1 - inside) * chest.cavity).sum() * chest.voxel_ml)
    facts = {"volume_ml": round(volume_ml), "fraction": round(fraction, 3), "position": position}
    return hu, chest.cavity & (kept_mm < 0), facts | {"moved_box": box_corners(chest.box)}


def _lung_share(hu: np.ndarray, healthy: float) -> np.ndarray:
    """How much of a voxel is lung of the number ``healthy``, 0 to 1, and not soft tissue."""
    return np.clip((_WALL_HU - hu) / np.float32(_WALL_HU + 1000 - healthy), 0, 1)


def _above_diaphragm(chest: Hemithorax) -> np.ndarray:
    """The depth below the chest wall alone: as `Hemithorax.wall_mm`, but what lies under the lung counts as inside."""
    under = chest.cavity.any(axis=0) & ~np.logical_or.accumulate(chest.cavity, axis=0)
    return depth_mm((chest.wall_mm >= 0) | chest.cavity | under, chest.spacing_mm)


def _rim(chest: Hemithorax) -> np.ndarray:
    """Voxels on both sides of the surface of the pleural space that may hold lung as well as wall."""
    outer = ndimage.binary_dilation(chest.cavity) & ~chest.cavity & ~chest.other & (chest.hu < 0) & (chest.wall_mm < 2)
    inner: np.ndarray = chest.cavity & ~ndimage.binary_erosion(chest.cavity)
    return inner | outer


def _sources(chest: Hemithorax, shrunk: float, position: str) -> list[np.ndarray]:
    """Where the voxels of the collapsed lung come from: an index along z, y and x each, for it shrinks by axes.

    It falls from the apex and the side and stays on the diaphragm; on a supine patient it falls back.
    """
    # By axis: how much of the shrinking acts towards smaller and towards larger indices (foot, head; front, back).
    z, y, x = ((0.0, 1.0), (0.6, 0.6), (0.3, 1.0)) if position == "erect" else ((0.6, 0.4), (1.0, 0.0), (0.2, 0.5))
    if chest.outward < 0:
        x = x[::-1]
    sources = []
    for n, middle, (below, above) in zip(chest.hu.shape, chest.hilum, (z, y, x), strict=True):
        offset = np.arange(n) - middle
        sources.append(middle + offset / (1 - shrunk * np.where(offset < 0, below, above)))
    return sources
