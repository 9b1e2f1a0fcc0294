"""Opacities of the lung itself: nodule and mass, consolidation, atelectasis, oedema."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from drr.insert.thorax import Box, Hemithorax, blend, clouds, grain, ramp
from gen.core.errors import BadInput

Change = tuple[np.ndarray, np.ndarray, dict[str, Any]]

# Diameters in mm; above 30 mm it is a mass (Hansell et al., Fleischner glossary, Radiology 246, 697, 2008).
_DIAMETER_MM = {
    "Nodule": {"mild": (6.0, 10.0), "moderate": (12.0, 18.0), "severe": (20.0, 29.0)},
    "Mass": {"mild": (31.0, 38.0), "moderate": (42.0, 52.0), "severe": (58.0, 75.0)},
}
_FILLED_FRACTION = {"mild": (0.04, 0.06), "moderate": (0.11, 0.16), "severe": (0.25, 0.33)}  # of the lung
_EXUDATE_HU = (20.0, 40.0)
_PLATES = {"mild": (1, (2.0, 3.0)), "moderate": (3, (3.0, 5.0))}  # how many, how thick in mm
_COLLAPSED_FRACTION = (0.06, 0.1)  # of the lung: a lobe of a quarter of it without its air
_COLLAPSED_HU = 45.0
_WATER = {"mild": 70.0, "moderate": 150.0, "severe": 300.0}  # added to the number of perihilar lung, 1000 is water


def focal(chest: Hemithorax, finding: str, severity: str, zone: str, rng: np.random.Generator) -> Change:
    """A nodule or a mass, round and smooth or spiculated: HU and mask of the box, and facts."""
    diameter_mm = float(rng.uniform(*_DIAMETER_MM[finding][severity]))
    radius_mm = diameter_mm / 2
    spiculated = bool(rng.random() < (0.35 if finding == "Nodule" else 0.6))
    centre = _pick(chest, zone, 0.8 * radius_mm, f"a {finding.lower()} of {diameter_mm:.0f} mm", rng)
    part, (dz, dy, dx) = _around(chest, centre, 1.7 * radius_mm + 3)
    distance_mm = np.sqrt(dz**2 + dy**2 + dx**2)
    unit = np.stack(np.broadcast_arrays(dz, dy, dx)) / np.maximum(distance_mm, 1e-3)
    lobes = sum(
        np.cos(frequency * np.tensordot(_direction(rng), unit, 1) + rng.uniform(0, 2 * np.pi))
        for frequency in (1.5, 2.5, 3.5, 5.0)
    )
    surface_mm = radius_mm * (1 + 0.05 * lobes) - distance_mm
    share = ramp(surface_mm, max(1.5, *chest.spacing_mm[1:]))
    if spiculated:
        for _ in range(int(rng.integers(14, 24))):
            along_mm = np.tensordot(_direction(rng), unit, 1) * distance_mm
            aside_mm = np.sqrt(np.maximum(distance_mm**2 - along_mm**2, 0))
            reach_mm = radius_mm * rng.uniform(1.25, 1.65)
            width_mm = 0.16 * np.clip(reach_mm - along_mm, 0, radius_mm)  # a thin cone that ends at its reach
            share = np.maximum(share, 0.8 * ramp(width_mm - aside_mm, 2.0) * (along_mm > 0) * (width_mm > 0))
    solid_hu = rng.uniform(20, 50) + 6 * clouds(share.shape, chest.spacing_mm, 5.0, rng)
    facts = {"diameter_mm": round(diameter_mm, 1), "margin": "spiculated" if spiculated else "smooth"}
    return _fill(chest, share, solid_hu, rng, part, facts)


def consolidation(chest: Hemithorax, severity: str, zone: str, rng: np.random.Generator) -> Change:
    """Alveoli filled in a part of a lobe, ragged in the lung and sharp at a fissure, with air in the bronchi.

    Fissures are planes through the hilum: the oblique one from high at the back to low in front, and on the right the
    horizontal one (middle zones are cut by none). The filled volume is a quantile of the distance from a centre.
    """
    fraction = float(rng.uniform(*_FILLED_FRACTION[severity]))
    inside = _beyond_fissure(chest, zone)
    if inside.sum() < fraction * chest.cavity.sum():
        inside = chest.cavity
    centre = _pick(chest, zone, 12.0, "a consolidation", rng, inside)
    dz, dy, dx = _offsets(chest, centre)
    distance_mm = np.sqrt(dz**2 + dy**2 + dx**2)
    distance_mm += 9 * clouds(chest.hu.shape, chest.spacing_mm, 22.0, rng)
    distance_mm += 4 * clouds(chest.hu.shape, chest.spacing_mm, 8.0, rng)
    wanted = min(fraction * chest.cavity.sum() / inside.sum(), 1.0)
    edge_mm = np.quantile(distance_mm[inside], wanted)
    share = np.float32(0.95) * ramp(edge_mm - distance_mm, 14.0) * inside
    share *= 1 - _bronchi(
        chest, centre, 0.8 * float(np.cbrt(fraction * chest.cavity.sum() * chest.voxel_ml * 1000)), rng
    )
    filled_hu = rng.uniform(*_EXUDATE_HU) + 25 * clouds(chest.hu.shape, chest.spacing_mm, 4.0, rng)
    return _fill(chest, share, filled_hu, rng)


def atelectasis(chest: Hemithorax, severity: str, zone: str, rng: np.random.Generator) -> Change:
    """Plates of collapsed lung (mild, moderate), or a collapsed lobe as a wedge between hilum, spine and diaphragm or
    apex (severe)."""
    if severity == "severe":
        up = 1 if zone == "upper" else -1
        towards_mm = up * (chest.z_mm - chest.hilum_mm[2])
        lobe = chest.y_mm > chest.hilum_mm[1] - 10 if zone == "lower" else np.True_
        inside = chest.cavity & (towards_mm > 0) & lobe
        if not inside.any():
            raise BadInput(f"there is no {zone} zone of the {chest.side} lung for an atelectasis")
        outwards_mm = chest.outward * (chest.x_mm - chest.hilum_mm[0]) + 15
        steepness = outwards_mm / np.maximum(towards_mm + 6, 1)
        steepness = steepness + 0.06 * clouds(chest.hu.shape, chest.spacing_mm, 30.0, rng)
        fraction = float(rng.uniform(*_COLLAPSED_FRACTION))
        edge = np.quantile(steepness[inside], min(fraction * chest.cavity.sum() / inside.sum(), 1.0))
        share = ramp((edge - steepness) * np.maximum(towards_mm, 6), 4.0) * inside
        return _fill(chest, share, np.full((1, 1, 1), _COLLAPSED_HU), rng, facts={"form": "lobar"})
    count, thickness = _PLATES[severity]
    share = np.zeros(chest.hu.shape, np.float32)
    for _ in range(count):
        centre = _pick(chest, zone, 6.0, "an atelectasis", rng)
        dz, dy, dx = _offsets(chest, centre)
        tilt, turn = rng.uniform(-0.35, 0.35), rng.uniform(-0.15, 0.15)
        bow_mm = 4 * clouds(chest.hu.shape, chest.spacing_mm, 60.0, rng)
        plane_mm = (dz + tilt * dx + turn * dy + bow_mm) / np.sqrt(1 + tilt**2 + turn**2)
        long_mm, deep_mm = rng.uniform(22, 38), rng.uniform(30, 50)
        extent = 1 - np.sqrt((dx / long_mm) ** 2 + (dy / deep_mm) ** 2)
        thick_mm = rng.uniform(*thickness) * np.clip(3 * extent, 0, 1)
        # A plate thinner than the slices keeps its mass by being less dense.
        seen_mm = np.maximum(thick_mm, chest.spacing_mm[0])
        plate = ramp(seen_mm / 2 - abs(plane_mm), 1.5) * np.minimum(thick_mm / seen_mm, 1)
        share = np.maximum(share, plate * (extent > 0) * chest.cavity)
    return _fill(chest, share, np.full((1, 1, 1), _COLLAPSED_HU), rng, facts={"form": "plates", "plates": count})


def edema(chest: Hemithorax, severity: str, rng: np.random.Generator) -> Change:
    """Water in the lung of one side, most about the hilum and at the base: blurred vessels, septal (Kerley B) lines
    at the basal edge, and from moderate on patches of filled alveoli in the shape of a bat's wing."""
    water = _WATER[severity]
    low, high = chest.heights_mm
    dz, dy, dx = (
        each - middle for each, middle in zip((chest.z_mm, chest.y_mm, chest.x_mm), chest.hilum_mm[::-1], strict=True)
    )
    hilar = np.exp(-((np.sqrt(dx**2 + dy**2 + (0.7 * dz) ** 2) / 65) ** 2))
    basal = np.clip((high - chest.z_mm) / (high - low), 0, 1)
    cortex = ramp(chest.wall_mm - 22, 20.0)  # the outer third of the lung is spared
    patchy = np.clip(
        1
        + 0.25
        * (clouds(chest.hu.shape, chest.spacing_mm, 8.0, rng) + clouds(chest.hu.shape, chest.spacing_mm, 17.0, rng)),
        0.1,
        2.5,
    )
    number = water * (0.35 + 0.35 * basal + (0.4 + 1.1 * hilar) * cortex) * patchy
    # Cuffs: vessels swell and blur by what surrounds them.
    number += 0.5 * water / 150 * _perivascular(chest)
    # Septa run inwards from the pleura for 1 to 2 cm, 5 to 10 mm apart, seen edge on at the sides of the base.
    level_mm = chest.z_mm + 2.5 * clouds(chest.hu.shape, chest.spacing_mm, 18.0, rng)
    spacing_mm = max(7.0, 3 * chest.spacing_mm[0])
    line = np.exp(-((((level_mm / spacing_mm) % 1 - 0.5) * spacing_mm / max(0.8, 0.5 * chest.spacing_mm[0])) ** 2))
    aside_mm = chest.outward * dx
    lateral = aside_mm > 0.72 * np.percentile(np.broadcast_to(aside_mm, chest.hu.shape)[chest.cavity], 99)
    septa = line * (basal > 0.55) * lateral * ramp(15 - chest.wall_mm, 6.0)
    number += septa * (40 + 0.6 * water)
    headroom = np.maximum(30 - chest.hu.astype(np.float32), 0)
    number = headroom * (1 - np.exp(-number / np.maximum(headroom, 1)))  # alveoli cannot hold more water than air
    mask = chest.cavity & (chest.hu < 30)
    hu = blend(chest.hu, chest.hu + number + 0.3 * grain(chest.hu.shape, chest.noise_hu, rng), mask)
    return hu, mask, {"water_ml": round(float(number[mask].sum() * chest.voxel_ml / 1000))}


def _fill(
    chest: Hemithorax,
    share: np.ndarray,
    tissue_hu: np.ndarray,
    rng: np.random.Generator,
    part: Box = (slice(None), slice(None), slice(None)),
    facts: dict[str, Any] | None = None,
) -> Change:
    """``share`` of the voxels of ``part`` turned into tissue where they are lung, with the grain of tissue."""
    hu, mask = chest.hu.copy(), np.zeros(chest.hu.shape, bool)
    old = chest.hu[part]
    where = chest.cavity[part] & (share > 0.02)
    grainy_hu = tissue_hu + grain(share.shape, chest.noise_hu, rng)
    mask[part] = where & (old < grainy_hu)  # vessels stay
    hu[part] = blend(old, grainy_hu, share * mask[part])
    volume_ml = float((share * where).sum() * chest.voxel_ml)
    return hu, mask, {"volume_ml": round(volume_ml, 2 if volume_ml < 10 else 0)} | (facts or {})


def _pick(
    chest: Hemithorax,
    zone: str,
    depth_mm: float,
    what: str,
    rng: np.random.Generator,
    inside: np.ndarray | None = None,
) -> np.ndarray:
    """A voxel (z, y, x) of a zone that lies ``depth_mm`` deep in the lung; BadInput where there is none."""
    allowed = chest.in_zone(zone) & (chest.rim_mm >= depth_mm)
    if inside is not None and (allowed & inside).any():
        allowed &= inside
    choices = np.flatnonzero(allowed)
    if not choices.size:
        raise BadInput(
            f"there is no room for {what} in the {zone} zone of the {chest.side} lung",
            hint="ask for a milder one or for another zone",
        )
    return np.array(np.unravel_index(rng.choice(choices), chest.hu.shape))


def _offsets(chest: Hemithorax, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patient z, y and x from the voxel ``centre``, in mm, broadcastable to the box."""
    z, y, x = (
        each - np.broadcast_to(each, chest.hu.shape)[tuple(centre)] for each in (chest.z_mm, chest.y_mm, chest.x_mm)
    )
    return z, y, x


def _around(
    chest: Hemithorax, centre: np.ndarray, reach_mm: float
) -> tuple[Box, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The part of the box within ``reach_mm`` of a voxel, and the offsets from it there, along the grid."""
    slices, offsets = [], []
    for axis, (middle, step, n) in enumerate(zip(centre, chest.spacing_mm, chest.hu.shape, strict=True)):
        reach = int(np.ceil(reach_mm / step))
        slices.append(slice(max(int(middle) - reach, 0), min(int(middle) + reach + 1, n)))
        shape = [1, 1, 1]
        shape[axis] = -1
        along = (np.arange(slices[-1].start, slices[-1].stop) - middle) * step
        offsets.append(along.astype(np.float32).reshape(shape))
    return (slices[0], slices[1], slices[2]), (offsets[0], offsets[1], offsets[2])


def _direction(rng: np.random.Generator) -> np.ndarray:
    vector = rng.standard_normal(3).astype(np.float32)
    unit: np.ndarray = vector / np.linalg.norm(vector)
    return unit


def _beyond_fissure(chest: Hemithorax, zone: str) -> np.ndarray:
    """The pleural space on the zone's side of the oblique fissure, and of the horizontal one on the right."""
    above_mm = chest.z_mm - chest.hilum_mm[2]
    oblique_mm = above_mm - 0.9 * (chest.y_mm - chest.hilum_mm[1])
    if zone == "lower":
        return chest.cavity & (oblique_mm < 0)
    if zone == "upper":
        return chest.cavity & (oblique_mm > 0) & ((above_mm > -5) if chest.side == "right" else np.True_)
    return chest.cavity


def _bronchi(chest: Hemithorax, centre: np.ndarray, reach_mm: float, rng: np.random.Generator) -> np.ndarray:
    """1 in the lumen of bronchi that branch from the hilum into a consolidation, 0 elsewhere: float32 of the box."""
    lumen = np.zeros(chest.hu.shape, np.float32)
    middle_mm = np.asarray(centre) * chest.spacing_mm
    starts = [(chest.hilum * chest.spacing_mm, middle_mm, 2.6)]
    starts += [(middle_mm, middle_mm + reach_mm * _direction(rng), 1.7) for _ in range(5)]
    for start_mm, end_mm, radius_mm in starts:
        steps = np.linspace(0, 1, int(np.linalg.norm(end_mm - start_mm) / 1.0) + 2)[:, None]
        bend = np.cross(end_mm - start_mm, _direction(rng)) * 0.12
        line_mm = start_mm + steps * (end_mm - start_mm) + np.sin(np.pi * steps) * bend
        for point_mm, share in zip(line_mm, steps[:, 0], strict=True):
            part, (dz, dy, dx) = _around(chest, np.rint(point_mm / chest.spacing_mm), 5.0)
            if min(s.stop - s.start for s in part) < 1:
                continue
            ball = ramp(radius_mm * (1 - 0.4 * share) - np.sqrt(dz**2 + dy**2 + dx**2), 2.0)
            lumen[part] = np.maximum(lumen[part], ball)
    return lumen


def _perivascular(chest: Hemithorax) -> np.ndarray:
    """How much denser than its alveoli the lung around a point is, for the haze about vessels: number, float32."""
    lung = np.where(chest.cavity, np.clip(chest.hu, -1000, 50), -850).astype(np.float32)
    sigmas = [2.5 / step for step in chest.spacing_mm]
    return np.clip(ndimage.gaussian_filter(lung, sigmas, truncate=2.0) + 820, 0, 500)
