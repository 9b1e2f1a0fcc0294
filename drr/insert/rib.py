"""A broken rib: one side of the break shifted against the other, with a gap between them."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from drr.insert.thorax import Hemithorax, blend, grain
from gen.core.errors import BadInput

_CORTEX_HU = 200
_NEAR_PLEURA_MM = 18.0  # ribs lie within this of the pleura, scapula and arms do not
_SHIFT_MM = {"mild": (1.5, 2.5), "moderate": (4.0, 6.0), "severe": (9.0, 12.0)}
_GAP_MM = {"mild": 1.5, "moderate": 2.5, "severe": 4.0}
_LENGTH_MM = 35.0  # over which the shifted end comes back to where the rib was
_MUSCLE_HU = 50.0


def fracture(
    chest: Hemithorax, severity: str, zone: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Break one rib of a zone at the side of the chest: HU and mask of the box, and facts.

    The bone is moved, not removed, so that its mass stays within a few per cent.
    """
    spacing_mm = np.array(chest.spacing_mm)
    rib, start = _choose_rib(chest, zone, rng)
    reach = np.ceil((_LENGTH_MM + 15) / spacing_mm).astype(int)
    low, high = np.maximum(start - reach, 0), np.minimum(start + reach + 1, rib.shape)
    part = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    old, rib = chest.hu[part].astype(np.float32), rib[part]
    offsets_mm = (np.moveaxis(np.indices(old.shape), 0, -1) - (start - low)) * spacing_mm
    near = offsets_mm[rib & (np.linalg.norm(offsets_mm, axis=-1) < 18)]
    along = np.linalg.svd(near - near.mean(axis=0), full_matrices=False)[2][0] * rng.choice((-1, 1))
    aside = np.array([rng.choice((-1, 1)), *rng.uniform(-0.4, 0.4, 2)])  # up or down, so that a frontal view shows it
    aside -= (aside @ along) * along
    aside /= np.linalg.norm(aside)
    shift_mm = float(rng.uniform(*_SHIFT_MM[severity]))
    tau_mm = offsets_mm @ along
    fading = np.where((tau_mm > 0) & (tau_mm < _LENGTH_MM), (1 - np.clip(tau_mm / _LENGTH_MM, 0, 1)) ** 2, 0)
    moved_mm = fading[..., None] * (shift_mm * aside + _GAP_MM[severity] * along)
    source = (offsets_mm - moved_mm) / spacing_mm + (start - low)
    here = (tau_mm > 0) & (tau_mm < _LENGTH_MM)
    fragment = ndimage.binary_dilation(rib) & (tau_mm > -0.5) & (tau_mm < _LENGTH_MM + 5)
    index = list(np.moveaxis(source, -1, 0))
    share = ndimage.map_coordinates(fragment.astype(np.float32), index, order=1) * here
    bone_hu = ndimage.map_coordinates(old, index, order=1, mode="nearest")
    empty_hu = np.where(fragment & here & (old > 0), _MUSCLE_HU + grain(old.shape, chest.noise_hu, rng), old)
    hu, mask = chest.hu.copy(), np.zeros(chest.hu.shape, bool)
    mask[part] = (fragment & here) | (share > 0.02)
    hu[part] = blend(old, empty_hu + share * (bone_hu - empty_hu), mask[part])
    return hu, mask, {"shift_mm": round(shift_mm, 1), "gap_mm": _GAP_MM[severity]}


def _choose_rib(chest: Hemithorax, zone: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A rib, as far as it lies at the side of the chest (bool of the box), and the voxel to break it at."""
    aside_mm = np.broadcast_to(chest.outward * (chest.x_mm - chest.hilum_mm[0]), chest.hu.shape)
    widest_mm = np.percentile(aside_mm[chest.cavity], 99)
    bone = (chest.hu > _CORTEX_HU) & (chest.wall_mm > -_NEAR_PLEURA_MM) & (aside_mm > 0.55 * widest_mm) & ~chest.cavity
    pieces, _ = ndimage.label(bone, ndimage.generate_binary_structure(3, 2))
    low, high = chest.heights_mm
    third = ("lower", "middle", "upper").index(zone)
    share = np.broadcast_to(3 * (chest.z_mm - low) / (high - low), pieces.shape)
    in_zone = (share >= third) & (share < third + 1)
    chosen = []
    for number, found in enumerate(ndimage.find_objects(pieces), start=1):
        piece = pieces[found] == number
        index = np.argwhere(piece & in_zone[found])
        if piece.sum() * chest.voxel_ml < 0.7 or len(index) * chest.voxel_ml < 0.4:
            continue
        nearest = np.argmin(np.linalg.norm((index - index.mean(axis=0)) * chest.spacing_mm, axis=1))
        chosen.append((number, index[nearest] + [part.start for part in found]))
    if not chosen:
        raise BadInput(
            f"no rib to break was found in the {zone} zone of the {chest.side} side of the chest",
            hint="ask for another zone or side",
        )
    number, middle = chosen[int(rng.integers(len(chosen)))]
    return ndimage.binary_closing(pieces == number, iterations=2), middle
