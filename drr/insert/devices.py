"""Tubes, lines, pacemakers and forgotten objects: fine models that are projected beside the CT.

Calibres are those of common adult devices: a 7 F catheter (2.3 mm), an 8.0 tracheal tube (bore 8 mm, 10.8 mm outside),
a 28 F chest drain (9.3 mm), 1.5 mm leads. Numbers are 1000 times attenuation over water at 70 keV, from xraydb: PVC
1870, steel and MP35N about 33400, titanium 12500, BaSO4 79700; polyurethane with 30 % BaSO4 by weight (1.43 g/cm3,
9.5 % of it BaSO4 by volume) 8500. Barium's K edge (37 keV) is near iodine's (33 keV), so it counts as iodine. The mean
number of a pacemaker (titanium case, battery, circuits) is an estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from drr.ct.volume import Volume
from drr.insert.landmarks import Landmarks, find_landmarks, heart_point
from drr.insert.request import Inserted, LesionRequest, Part, resolve
from drr.insert.sweep import beside, inside, parts_mask, plate, smooth_course, sweep
from drr.insert.thorax import Hemithorax, hemithorax
from gen.core.errors import BadInput, GenError

_PVC, _LOADED_POLYMER, _STEEL = 1870.0, 8500.0, 32000.0
_SOLID_OF_CATHETER = 0.5  # the rest of its cross-section are lumens
_LEAD_METAL = 9000.0  # a coil of MP35N with silicone, over the cross-section
_GENERATOR, _HEADER = 7000.0, 1160.0

_Built = tuple[list[Part], dict[str, Any]]


def insert_device(
    volume: Volume, body: np.ndarray, lungs: np.ndarray, request: LesionRequest, rng: np.random.Generator
) -> Inserted:
    """Put a device into ``volume``, which stays as it is: ``parts`` to be projected and added, mask, and label.

    What the request leaves open is drawn from ``rng``, and so are small variations of the course; the same generator
    gives the same bytes. BadInput where the anatomy that the device follows is not in the CT.
    """
    asked = resolve(request, rng)
    if asked.device not in _BUILD:
        raise GenError(f"{asked.device or asked.finding} is no device: use insert_lesion")
    parts: list[Part] = []
    facts: dict[str, Any] = {}
    for side in ("right", "left") if asked.side == "bilateral" else (asked.side,):
        built, found = _BUILD[asked.device](volume, body, lungs, side or "", asked.zone or "", rng)
        parts += built
        facts |= found if asked.side != "bilateral" else {f"{side}_{name}": value for name, value in found.items()}
    mask = parts_mask(parts, volume)
    if not mask.any():
        raise BadInput(f"{volume.name}: the {asked.device} would lie outside the scan")
    label = {"finding": asked.finding, "device": asked.device, "side": asked.side, "severity": None, "zone": asked.zone}
    return Inserted(volume, mask, label | facts, tuple(parts))


def _catheter(
    volume: Volume, body: np.ndarray, lungs: np.ndarray, side: str, zone: str, rng: np.random.Generator
) -> _Built:
    """Through the internal jugular or the subclavian vein into the superior vena cava or the atrium below it."""
    marks = find_landmarks(volume, body, lungs)
    access = str(rng.choice(["internal jugular", "subclavian"]))
    below_mm = float(rng.uniform(5, 45))  # of the carina; the atrium begins about 4 cm below it
    points = [*_to_vena_cava(marks, side, access, rng), _by(marks.vena_cava, 2, 2, -below_mm)]
    course = inside(volume, smooth_course(points))
    if len(course) < 200:
        raise BadInput(f"{volume.name}: the veins that a catheter runs in are outside the scan")
    parts = sweep(course, 1.15, _SOLID_OF_CATHETER * (_LOADED_POLYMER - 1000), "iodine")
    return parts, {"access": access, "tip_mm": _point(course[-1]), "tip_below_carina_mm": round(below_mm, 1)}


def _to_vena_cava(marks: Landmarks, side: str, access: str, rng: np.random.Generator) -> list[np.ndarray]:
    """From the neck or the shoulder to the superior vena cava at the carina; on the left across the midline."""
    x, y, z = marks.carina
    sign = 1 if side == "left" else -1
    apex = marks.apex_mm

    def at(across: float, back: float, high: float) -> np.ndarray:
        point: np.ndarray = np.array([x + sign * across, y + back, high]) + rng.normal(0, 1.5, 3)
        return point

    if access == "internal jugular":
        points = [at(42, -8, apex + 60), at(38, -12, apex + 28), at(33, -18, apex + 2)]
    else:
        points = [at(115, -30, apex - 22), at(85, -34, apex - 4), at(55, -30, apex + 3), at(36, -24, apex - 6)]
    span = apex - z
    if side == "left":
        return [*points, at(18, -32, z + 0.55 * span), at(-6, -32, z + 0.4 * span), _by(marks.vena_cava, 3, -4, 18)]
    return [*points, _by(marks.vena_cava, -3, -2, 0.5 * span), _by(marks.vena_cava, 0, 0, 12)]


def _tracheal_tube(
    volume: Volume, body: np.ndarray, lungs: np.ndarray, side: str, zone: str, rng: np.random.Generator
) -> _Built:
    """Down the windpipe, its tip 3 to 5 cm above the carina, with a radiopaque stripe."""
    trachea = find_landmarks(volume, body, lungs).trachea
    if trachea is None:
        raise BadInput(f"{volume.name}: the windpipe was not found, or too little of it is in the scan")
    above_mm = float(min(rng.uniform(30, 50), 0.7 * (trachea[0, 2] - trachea[-1, 2])))
    kept = trachea[trachea[:, 2] >= trachea[-1, 2] + above_mm][:: max(1, len(trachea) // 8)]
    tip = np.array([np.interp(trachea[-1, 2] + above_mm, trachea[::-1, 2], trachea[::-1, axis]) for axis in range(3)])
    top = volume.to_mm(np.array([volume.hu.shape[0] - 1, 0, 0]))[2]
    start = np.array([*trachea[0, :2], max(top, trachea[0, 2] + 1)])
    course = inside(volume, smooth_course([start, *kept[1:], tip]))
    stripe = beside(course, 4.7, np.array([rng.choice((-1.0, 1.0)), rng.uniform(-0.6, 0.6), 0.0]))
    parts = sweep(course, 5.4, _PVC, "soft", bore_mm=4.0) + sweep(stripe, 0.6, _LOADED_POLYMER - _PVC, "iodine")
    return parts, {"tip_mm": _point(tip), "tip_above_carina_mm": round(above_mm, 1)}


def _chest_tube(
    volume: Volume, body: np.ndarray, lungs: np.ndarray, side: str, zone: str, rng: np.random.Generator
) -> _Built:
    """In at the side of the chest, along the pleura up to the apex; the stripe is broken at the last side hole."""
    chest = hemithorax(volume, lungs, side)
    start = np.array([part.start for part in chest.box])
    middle = np.argwhere(chest.cavity).mean(axis=0)
    end = np.array([0.3 * chest.outward, rng.uniform(0.0, 0.5), 1.0])
    first = np.array([float(chest.outward), rng.uniform(-0.25, 0.1), -0.1])
    along = []
    for share in np.linspace(0, 0.97, 7):
        direction = (1 - share) * first + share * end
        along.append(volume.to_mm(start + _to_pleura(chest, middle, direction / np.linalg.norm(direction))))
    skin = along[0] + np.array([62.0 * chest.outward, 5.0, -38.0])
    between = along[0] + np.array([22.0 * chest.outward, 1.0, -17.0])
    course = inside(volume, smooth_course([skin, between, *along]))
    stripe = beside(course, 3.9, np.array([0.3, -1.0, 0.2]))
    hole = len(stripe) - round(float(rng.uniform(45, 60)) / 0.25)  # samples are a quarter of a millimetre apart
    parts = sweep(course, 4.65, _PVC - 1000, "soft", bore_mm=3.15)
    for piece in (stripe[:hole], stripe[hole + 32 :]):
        parts += sweep(piece, 0.75, _LOADED_POLYMER - _PVC, "iodine")
    return parts, {"tip_mm": _point(course[-1])}


def _to_pleura(chest: Hemithorax, middle: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """The index where a ray from ``middle`` is 7 mm short of leaving the pleural space."""
    steps_mm = np.arange(0, 400, 1.0)
    index = middle + steps_mm[:, None] * direction[::-1] / chest.spacing_mm
    whole = np.clip(np.rint(index).astype(int), 0, np.array(chest.hu.shape) - 1)
    deep = chest.rim_mm[tuple(whole.T)] > 7
    point: np.ndarray = index[np.flatnonzero(deep)[-1] if deep.any() else 0]
    return point


def _pacemaker(
    volume: Volume, body: np.ndarray, lungs: np.ndarray, side: str, zone: str, rng: np.random.Generator
) -> _Built:
    """A generator under the skin below the clavicle, and leads to the right atrium and ventricle."""
    marks = find_landmarks(volume, body, lungs)
    sign = 1 if side == "left" else -1
    centre, normal = _pocket(volume, body, marks, sign * rng.uniform(72, 84), marks.apex_mm - rng.uniform(42, 55))
    tilt = rng.uniform(-0.3, 0.3)
    up = np.array([np.sin(tilt), 0.0, np.cos(tilt)])
    up -= (up @ normal) * normal
    up /= np.linalg.norm(up)
    axes = np.stack([np.cross(up, normal), up, normal], axis=1)
    parts = [
        plate(centre, axes, (48, 42, 8), 16.0, _GENERATOR, "metal"),
        plate(centre + 23 * up, axes, (30, 11, 7), 4.0, _HEADER - 1000 + 400, "soft"),
    ]
    out = centre + 24 * up - 14 * sign * axes[:, 0] * np.sign(axes[0, 0])
    for number, (across, deep, high) in enumerate(((-0.55, 0.3, 0.75), (0.62, 0.35, 0.02))):
        veins = _to_vena_cava(marks, side, "subclavian", rng)[2:]
        loop = out + np.array([-sign * 12.0, 4.0, 16.0 + 6 * number])
        tip = heart_point(volume, lungs, across, deep, high)
        entry = heart_point(volume, lungs, -0.6, 0.55, 0.8)
        last = (
            [entry, heart_point(volume, lungs, -0.5, 0.5, 0.35), tip]
            if number == 0
            else [entry, heart_point(volume, lungs, -0.35, 0.45, 0.2), heart_point(volume, lungs, 0.15, 0.35, 0.0), tip]
        )
        course = inside(volume, smooth_course([out, loop, *veins, marks.vena_cava, *last]))
        if len(course) < 200:
            raise BadInput(f"{volume.name}: the veins that leads run in are outside the scan")
        parts += sweep(course, 0.75, _LEAD_METAL, "metal")
        parts += sweep(course[-16:], 1.1, _STEEL, "metal")  # the electrode at the tip
    return parts, {"leads": ["right atrium", "right ventricle"]}


def _pocket(
    volume: Volume, body: np.ndarray, marks: Landmarks, aside_mm: float, height_mm: float
) -> tuple[np.ndarray, np.ndarray]:
    """The middle of a generator 10 mm under the skin of the front of the chest, and the normal of the skin there."""
    plane, _, column = np.rint(
        volume.to_index(np.array([marks.carina[0] + aside_mm, marks.carina[1], height_mm]))
    ).astype(int)
    dz, _, dx = volume.spacing_mm
    reach_z, reach_x = max(1, round(22 / dz)), max(1, round(22 / dx))
    low, high = np.array([plane - reach_z, column - reach_x]), np.array([plane + reach_z, column + reach_x])
    if (low < 0).any() or (high >= np.array(body.shape)[[0, 2]]).any():
        raise BadInput(f"{volume.name}: the pocket of a pacemaker is outside the scan", hint="ask for the other side")
    patch = body[low[0] : high[0] + 1, :, low[1] : high[1] + 1]
    if not patch.any(axis=1).all():
        raise BadInput(f"{volume.name}: there is no skin where the pocket of a pacemaker would be")
    planes, columns = np.indices((patch.shape[0], patch.shape[2]))
    skin = np.stack([planes + low[0], np.argmax(patch, axis=1), columns + low[1]], axis=-1).reshape(-1, 3)
    points = volume.to_mm(skin)
    middle = np.median(points, axis=0)
    normal = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2][2]
    normal *= 1 if normal[1] > 0 else -1  # into the body
    return middle + 14 * normal, normal


def _needle(
    volume: Volume, body: np.ndarray, lungs: np.ndarray, side: str, zone: str, rng: np.random.Generator
) -> _Built:
    """A suture needle of steel: three eighths of a circle, 1 mm thick."""
    length_mm = float(rng.uniform(24, 40))
    radius_mm = length_mm / (0.75 * np.pi)
    angles = np.linspace(-0.375 * np.pi, 0.375 * np.pi, 9)
    arc = np.stack([radius_mm * np.sin(angles), radius_mm * (np.cos(angles) - 0.7), 0 * angles], axis=1)
    centre = _place(volume, lungs, side, zone, rng)
    course = inside(volume, smooth_course(centre + arc @ _turn(rng, flat=0.5)))
    return sweep(course, 0.5, _STEEL, "metal"), {"length_mm": round(length_mm, 1)}


def _sponge(
    volume: Volume, body: np.ndarray, lungs: np.ndarray, side: str, zone: str, rng: np.random.Generator
) -> _Built:
    """The radiopaque ribbon of a surgical sponge, in crumpled loops."""
    turns = np.arange(9)
    angles = 2.2 * turns + rng.normal(0, 0.3, 9)
    reach_mm = rng.uniform(9, 24, 9)
    loops = np.stack([reach_mm * np.cos(angles), reach_mm * np.sin(angles), rng.uniform(-8, 8, 9)], axis=1)
    centre = _place(volume, lungs, side, zone, rng)
    course = inside(volume, smooth_course(centre + loops @ _turn(rng, flat=0.4)))
    ribbon = [beside(course, offset, np.array([0.2, 1.0, 0.3])) for offset in (-0.7, 0.0, 0.7)]
    parts = [part for strand in ribbon for part in sweep(strand, 0.4, _LOADED_POLYMER, "iodine")]
    return parts, {"length_mm": round(len(course) * 0.25, 1)}


def _place(volume: Volume, lungs: np.ndarray, side: str, zone: str, rng: np.random.Generator) -> np.ndarray:
    """A point of a zone near the surface of the lung, where operations leave things."""
    chest = hemithorax(volume, lungs, side)
    choices = np.argwhere(chest.in_zone(zone) & (chest.rim_mm > 4) & (chest.rim_mm < 25))
    if not len(choices):
        raise BadInput(f"{volume.name}: no place in the {zone} zone of the {side} side of the chest")
    return volume.to_mm(choices[int(rng.integers(len(choices)))] + [part.start for part in chest.box])


def _turn(rng: np.random.Generator, *, flat: float) -> np.ndarray:
    """A rotation whose plane faces front, give or take ``flat`` radians: rows are the images of x, y and z."""
    roll, pitch, yaw = rng.uniform(0, 2 * np.pi), *rng.uniform(-flat, flat, 2)
    across, down = np.array([np.cos(yaw), np.sin(yaw), 0.0]), np.array([0.0, np.sin(pitch), np.cos(pitch)])
    down -= (down @ across) * across
    down /= np.linalg.norm(down)
    first = np.cos(roll) * across + np.sin(roll) * down
    second = np.cos(roll) * down - np.sin(roll) * across
    return np.stack([first, second, np.cross(first, second)])


def _by(point_mm: np.ndarray, x: float, y: float, z: float) -> np.ndarray:
    return point_mm + np.array([x, y, z])


def _point(point_mm: np.ndarray) -> list[float]:
    return [round(float(value), 1) for value in point_mm]


_Builder = Callable[[Volume, np.ndarray, np.ndarray, str, str, np.random.Generator], _Built]
_BUILD: Mapping[str | None, _Builder] = {
    "central venous catheter": _catheter,
    "endotracheal tube": _tracheal_tube,
    "chest tube": _chest_tube,
    "pacemaker": _pacemaker,
    "needle": _needle,
    "sponge": _sponge,
}
