"""A procedural chest CT of an adult: analytic solids with labels, the default where there is no file.

``make_phantom`` paints what ``make_solids`` lists; `solids.line_integrals` of that list is the exact truth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from drr.ct.volume import Volume
from drr.phantom import anatomy
from drr.phantom.anatomy import HU, SIDES, Frame
from drr.phantom.loft import Loft
from drr.phantom.shapes import Capsule, Common, Ellipsoid, Vector, vector
from drr.phantom.skeleton import skeleton
from drr.phantom.solids import Solid, paint
from drr.phantom.tree import grow, scatter
from drr.phantom.viscera import abdomen, airways, axes_along, great_vessels, heart, plaques
from gen.core.errors import BadInput

SEXES = ("F", "M")
AGES = (18, 100)
BODY_SCALE = {"F": (0.905, 0.9, 0.93), "M": (1.0, 1.0, 1.0)}
"""A woman beside the reference man: x, y, z."""
SPACING_MM = (1.5, 1.0, 1.0)
FINEST_MM, COARSEST_MM = 0.5, 8.0
SKIN_MM = 1.8
ON_LIMBS = 0.6  # of the fat of the trunk lies on the arms
LEAN_RAD = 0.45  # of the breasts: their upper edge runs out on the chest


@dataclass(frozen=True)
class Habitus:
    """A build beside the average one, of the same height."""

    wide: float  # scale of the trunk from side to side
    deep: float  # and from front to back
    fat_mm: float  # under the skin of the trunk
    raised_mm: float  # how much higher the domes of the diaphragm stand
    heart: float  # scale of the heart's width
    lie: float  # of the heart: -1 upright .. 1 lying


HABITUS = {
    "slim": Habitus(0.96, 0.93, 6, -5, 0.94, -0.8),
    "average": Habitus(1.0, 1.0, 15, 0, 1.0, 0.0),
    "large": Habitus(1.04, 1.09, 36, 13, 1.0, 1.0),
}


def make_phantom(
    sex: str = "F",
    habitus: str = "average",
    age: int = 50,
    seed: int = 0,
    spacing_mm: tuple[float, float, float] = SPACING_MM,
) -> Volume:
    """One person as a CT, standing, arms down, from the neck to the upper belly; the same arguments, the same bytes."""
    _check(sex, habitus, age, seed, spacing_mm)
    solids = make_solids(sex, habitus, age, seed)
    size_mm = _size(sex, habitus)
    shape = tuple(ceil(size / step) for size, step in zip(size_mm, spacing_mm, strict=True))
    depth, height, width = (float(-(n - 1) * step / 2) for n, step in zip(shape, spacing_mm, strict=True))
    volume = paint(solids, (shape[0], shape[1], shape[2]), spacing_mm, (width, height, depth))
    facts = {"phantom": True, "sex": sex, "age": age, "habitus": habitus, "seed": seed}
    return replace(volume, name="phantom", facts=facts)


def make_solids(sex: str, habitus: str, age: int, seed: int) -> list[Solid]:
    """The person as solids in paint order: skin to skeleton, around the middle of the scan."""
    rng = np.random.default_rng([seed, age, SEXES.index(sex), list(HABITUS).index(habitus)])
    build = HABITUS[habitus]
    across, along, up = BODY_SCALE[sex]
    vary = [_drawn(rng, 1, 0.02) for _ in range(3)]
    scale = across * build.wide * vary[0], along * build.deep * vary[1], up * vary[2]
    # Kyphosis (Cobb) grows by about 3 degrees in ten years from middle age on (Fon 1980): 5 mm forward at the neck.
    frame = Frame(scale, bend=max(age - 40, 0) * (0.5 if sex == "F" else 0.35))
    cage = frame.loft(anatomy.CAGE, anatomy.CAGE_SQUARE)
    elderly = max(age - 60, 0) / 40
    width = build.heart * (1 + 0.12 * elderly) * _drawn(rng, 1, 0.04) * (0.97 if sex == "F" else 1)
    raised = build.raised_mm + _drawn(rng, 0, 4)
    # Trabecular bone loses about 2.2 HU a year (Jang 2019, women after the menopause more).
    spongiosa = 262 - 2.2 * (age - 20) - (15 if sex == "F" and age > 55 else 0)
    lung_hu = HU["lung"] - 25 * elderly
    solids = [*_covers(frame, build, sex, rng)]
    solids += _chest(frame, cage, lung_hu)
    solids += _pulmonary_trees(frame, cage, rng)
    solids += great_vessels(frame, age)
    solids += heart(frame, width, build.lie, raised)
    solids += plaques(frame, age, rng)
    solids += airways(frame)
    solids += abdomen(frame, cage, raised, rng)
    solids += skeleton(frame, cage, spongiosa, calcified=min(max(age - 30, 0) / 50, 1))
    return solids


def _covers(frame: Frame, build: Habitus, sex: str, rng: np.random.Generator) -> Iterator[Solid]:
    """Skin, fat and muscle of trunk, arms and breasts: each layer of all of them before the next one below."""
    fat = build.fat_mm + (4 if sex == "F" else 0)
    trunk = frame.loft(anatomy.TRUNK, anatomy.TRUNK_SQUARE)
    limbs: list[Capsule | Ellipsoid] = []
    for sign in SIDES.values():
        shoulder, elbow = (np.array(frame.at(sign * x, y, z)) for x, y, z in anatomy.HUMERUS[1:])
        limbs.append(_ball(shoulder + np.array([-26 * sign, 4, 2]), (52, 44, 46), frame.size))
        arm = axes_along(elbow - shoulder)
        limbs.append(_ball(shoulder + 0.75 * (elbow - shoulder), (140, 41, 41), frame.size, arm))
        limbs.append(Capsule(frame.at(sign * 36, 14, 96), frame.at(sign * 172, 8, 54), 25 * frame.size))
    breasts = _breasts(frame, build, rng) if sex == "F" else []
    for name, margin in (("skin", fat + SKIN_MM), ("subcutaneous_fat", fat)):
        hu = HU[name]
        yield Solid(name, hu, trunk.grown(margin))
        yield from (Solid(name, hu, _grown(limb, margin * ON_LIMBS)) for limb in limbs)
        if name == "skin":
            yield from (Solid(name, hu, _grown(breast, SKIN_MM)) for breast in breasts)
    for side, breast in zip(SIDES, breasts, strict=False):
        yield Solid(f"breast_{side}", HU["subcutaneous_fat"], breast)
        x, y, z = breast.semi_axes_mm
        yield Solid(f"breast_{side}", HU["gland"], replace(breast, semi_axes_mm=(x * 0.6, y * 0.75, z * 0.6)))
    yield Solid("skeletal_muscle", HU["muscle"], trunk)
    for limb in limbs:
        yield Solid("skeletal_muscle", HU["muscle"], limb)
    for sign in SIDES.values():
        axes = 78 * frame.size, 13 * frame.size, 52 * frame.size
        turn = axes_along((1.0, 0.42 * sign, 0.3 * sign))
        yield Solid("skeletal_muscle", HU["muscle"], Ellipsoid(frame.at(sign * 86, -80, 4), axes, turn))


def _grown(shape: Capsule | Ellipsoid, margin_mm: float) -> Capsule | Ellipsoid:
    if isinstance(shape, Capsule):
        return replace(shape, radius_mm=shape.radius_mm + margin_mm)
    x, y, z = shape.semi_axes_mm
    return replace(shape, semi_axes_mm=(x + margin_mm, y + margin_mm, z + margin_mm))


def _ball(centre: np.ndarray, axes: Vector, size: float, turn: np.ndarray | None = None) -> Ellipsoid:
    return Ellipsoid(vector(centre), vector(np.multiply(axes, size)), np.eye(3) if turn is None else turn)


def _breasts(frame: Frame, build: Habitus, rng: np.random.Generator) -> list[Ellipsoid]:
    """Left and right; leaning back above, so that the upper edge runs out on the chest and the lower one is sharp."""
    size = (0.62 + 0.02 * build.fat_mm) * _drawn(rng, 1, 0.1)
    sine, cosine = np.sin(LEAN_RAD), np.cos(LEAN_RAD)
    lean = np.array([[1, 0, 0], [0, cosine, sine], [0, -sine, cosine]])
    return [
        _ball(np.array(frame.at(sign * 88, -95, -82 - 16 * size)), (68, 50, 72), size * frame.size, lean)
        for sign in SIDES.values()
    ]


def _lung(frame: Frame, cage: Loft, sign: int, inset_mm: float = 0.0) -> Common:
    side = frame.loft(anatomy.LUNG, anatomy.LUNG_SQUARE, sign, -inset_mm)
    return Common([cage.grown(-5.5 * frame.size - inset_mm), side])


def _chest(frame: Frame, cage: Loft, lung_hu: float) -> Iterator[Solid]:
    """The hollow of the chest and belly, the lungs, and the wall between them over their medial faces."""
    yield Solid("", HU["abdomen"], cage.grown(-5 * frame.size))
    for side, sign in SIDES.items():
        yield Solid(f"lung_{side}", lung_hu, _lung(frame, cage, sign))
    yield Solid("", HU["mediastinum"], frame.loft(anatomy.MEDIASTINUM, 0.0))
    spine = [(z, 0.0, y, 23 - z * 0.02, 23 - z * 0.02, 22.0, 26.0) for z, y in anatomy.SPINE_Y]
    yield Solid("", HU["abdomen"], frame.loft(spine, 0.0))


def _pulmonary_trees(frame: Frame, cage: Loft, rng: np.random.Generator) -> Iterator[Solid]:
    """Arteries and veins of each lung, under the name of the lung that they are part of."""
    for side, sign in SIDES.items():
        low = 0 if sign > 0 else -12
        lung = _lung(frame, cage, sign, 5)
        for drop, count in ((0, 320), (-16, 240)):
            hilum = [(40, 12, low - 6 + drop), (50, 14, low - 12 + drop), (56, 20, low - 34 + drop)]
            roots = np.array([frame.at(sign * x, y, z) for x, y, z in hilum])
            for start, end, radius in grow(roots, scatter(lung, count, rng), 0.95 * frame.size):
                yield Solid(f"lung_{side}", HU["vessel"], Capsule(vector(start), vector(end), radius))


def _drawn(rng: np.random.Generator, mean: float, deviation: float) -> float:
    """A normal value, at most 2.5 deviations from its mean."""
    return mean + deviation * float(np.clip(rng.standard_normal(), -2.5, 2.5))


def _size(sex: str, habitus: str) -> tuple[float, float, float]:
    """The extent of the scan (z, y, x): beyond a 43 cm detector across, so that its edge in the arms is not seen."""
    build = HABITUS[habitus]
    depth = 2 * (122 * build.deep + build.fat_mm) + 24
    return anatomy.LENGTH_MM * BODY_SCALE[sex][2], depth, 440 + build.fat_mm


def _check(sex: str, habitus: str, age: int, seed: int, spacing_mm: tuple[float, float, float]) -> None:
    if sex not in SEXES:
        raise BadInput(f"the phantom has sex {' or '.join(SEXES)}, not {sex!r}")
    if habitus not in HABITUS:
        raise BadInput(f"the phantom's habitus is {', '.join(HABITUS)}, not {habitus!r}")
    if not AGES[0] <= age <= AGES[1]:
        raise BadInput(f"the phantom is an adult of {AGES[0]} to {AGES[1]} years, not {age!r}")
    if seed < 0:
        raise BadInput(f"the phantom's seed is 0 or more, not {seed!r}")
    if len(spacing_mm) != 3 or not all(FINEST_MM <= step <= COARSEST_MM for step in spacing_mm):
        raise BadInput(f"the phantom's spacing is three steps of {FINEST_MM} to {COARSEST_MM} mm, not {spacing_mm!r}")
