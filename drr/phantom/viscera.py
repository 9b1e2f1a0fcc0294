"""The soft organs of the phantom: heart, great vessels, airways, diaphragm and what lies below it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from drr.phantom import anatomy
from drr.phantom.anatomy import HU, Frame, Table
from drr.phantom.loft import Loft
from drr.phantom.shapes import Capsule, Common, Ellipsoid, HalfSpace, Vector, vector
from drr.phantom.solids import Solid

STOMACH: Vector = (66, 8, -188)


def tube(frame: Frame, name: str, hu: float, points: Table, change_mm: float = 0.0) -> Iterator[Solid]:
    """Capsules through table points (x, y, z, radius), each radius changed by ``change_mm``."""
    for start, end in pairwise(_smooth(points)):
        radius = (start[3] + end[3]) / 2 * frame.size + change_mm
        yield Solid(name, hu, Capsule(frame.at(*start[:3]), frame.at(*end[:3]), radius))


def _smooth(points: Table) -> np.ndarray:
    """A Catmull-Rom curve through the points (N, 4), in steps of a third, so that no bend shows: (3 N - 2, 4)."""
    p = np.array(points, np.float64)
    p = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    a, b, c, d = (part[:, None] for part in (p[:-3], p[1:-2], p[2:-1], p[3:]))
    t = np.array([1 / 3, 2 / 3, 1.0])[:, None]
    curve = b + (c - a) * t / 2 + (a - 2.5 * b + 2 * c - d / 2) * t**2 + (1.5 * (b - c) + (d - a) / 2) * t**3
    return np.vstack([p[1], curve.reshape(-1, p.shape[1])])


def axes_along(direction: Sequence[float] | np.ndarray) -> np.ndarray:
    """A rotation (3, 3) whose first column points along ``direction``."""
    first = np.asarray(direction) / np.linalg.norm(direction)
    second = np.cross([0, 0, 1], first)
    second /= np.linalg.norm(second)
    return np.column_stack([first, second, np.cross(first, second)])


def great_vessels(frame: Frame, age: float) -> Iterator[Solid]:
    """Veins, arteries and gullet, the aorta last."""
    for name, tissue, points in anatomy.VESSELS:
        yield from tube(frame, name, HU[tissue], points)
    yield from tube(frame, "aorta", HU["blood"], anatomy.AORTA, _wider_mm(age))


def plaques(frame: Frame, age: float, rng: np.random.Generator) -> Iterator[Solid]:
    """Calcium in the wall of the aortic arch, from about 55 years on."""
    points = _smooth(anatomy.AORTA)
    for _ in range(int(max(age - 52, 0) / 3.5)):
        place = int(rng.integers(9, 27))  # of three points for each of the table: the arch
        x, y, z, radius = points[place]
        axis = axes_along(points[place + 1, :3] - points[place, :3])
        angle = rng.uniform(0, 2 * np.pi)
        across = axis[:, 1] * np.cos(angle) + axis[:, 2] * np.sin(angle)
        centre = np.array(frame.at(x, y, z)) + across * (radius * frame.size + _wider_mm(age) - 0.8)
        turn = np.column_stack([axis[:, 0], np.cross(axis[:, 0], across), across])
        plaque = Ellipsoid(vector(centre), (rng.uniform(2, 5), rng.uniform(1.5, 4), 0.9), turn)
        yield Solid("aorta", HU["plaque"], plaque)


def _wider_mm(age: float) -> float:
    """How much the radius of the aorta is above that at 50: its diameter grows by 1 mm in ten years (Hager 2002)."""
    return 0.05 * (age - 50)


def heart(frame: Frame, width: float, lie: float, raised_mm: float) -> Iterator[Solid]:
    """Chambers and the fat at the apex: ``width`` scales it, ``lie`` (-1 upright .. 1 lying) turns it on its domes."""
    apex = np.array([0.78 + 0.08 * lie, -0.42, -0.46 - 0.12 * lie])
    yield Solid("", HU["fat pad"], Ellipsoid(frame.at(66 * width, -70, -132 + raised_mm), _sized(frame, (30, 24, 13))))
    chambers = [
        ((26, -42, -86), (67 * width, 45 * width, 45), axes_along(apex)),  # ventricles
        ((47 * width, -48, -114), (50 * width, 38, 33), axes_along((1, -0.35, -0.18))),  # apex, on the diaphragm
        ((-17 * width, -32, -82), (30 * width, 38, 54), np.eye(3)),  # right atrium
        ((6, -58, -66), (36 * width, 30, 46), np.eye(3)),  # outflow of the right ventricle
        ((4, 2, -54), (40 * width, 25, 30), np.eye(3)),  # left atrium
        ((33 * width, -26, -44), (17, 20, 24), np.eye(3)),  # its appendage
    ]
    for (x, y, z), axes, rotation in chambers:
        yield Solid("heart", HU["heart"], Ellipsoid(frame.at(x, y, z + 0.6 * raised_mm), _sized(frame, axes), rotation))


def airways(frame: Frame) -> Iterator[Solid]:
    """Walls first, then the air in them."""
    for wall_mm, hu in ((1.4, HU["bronchus"]), (0.0, HU["air"])):
        for name, points in anatomy.AIRWAYS:
            yield from tube(frame, name, hu, points, wall_mm)


def abdomen(frame: Frame, cage: Loft, raised_mm: float, rng: np.random.Generator) -> Iterator[Solid]:
    """Domes of the diaphragm, liver, spleen and stomach with its bubble; ``raised_mm`` lifts the domes."""
    right, left, middle = (-72.0, -12.0, -186.0), (76.0, -8.0, -196.0), (14.0, -42.0, -182.0)
    organs = [
        ("", "muscle", right, (76, 98, 60 + raised_mm)),
        ("", "muscle", left, (73, 97, 62 + raised_mm)),
        ("", "muscle", middle, (86, 74, 58 + raised_mm)),
        ("", "visceral fat", left, (69, 93, 58 + raised_mm)),
        ("liver", "liver", right, (73, 95, 57 + raised_mm)),
        ("liver", "liver", (8, -44, -176), (74, 50, 34)),
        ("spleen", "spleen", (108, 46, -192), (26, 40, 46)),
        ("stomach", "stomach", STOMACH, (42, 46, 40 + raised_mm)),
    ]
    wall = cage.grown(-4 * frame.size)
    for name, tissue, where, axes in organs:
        yield Solid(name, HU[tissue], Common([Ellipsoid(frame.at(*where), _sized(frame, axes)), wall]))
    # The person stands: gas rises, and the fluid below it has a level.
    lumen = Ellipsoid(frame.at(*STOMACH), _sized(frame, (38, 42, 36 + raised_mm)))
    fluid = frame.at(0, 0, -162 - rng.uniform(0, 16) + raised_mm)
    yield Solid("stomach", HU["air"], Common([lumen, HalfSpace(fluid, (0.0, 0.0, -1.0))]))
    for _ in range(3):
        where = frame.at(rng.uniform(96, 122), rng.uniform(-45, -20), rng.uniform(-232, -204))
        a, b, c = (float(axis) for axis in rng.uniform(8, 16, 3))
        yield Solid("colon", HU["air"], Ellipsoid(where, (a, b, c)))


def _sized(frame: Frame, axes: Vector) -> Vector:
    x, y, z = (float(axis * scale) for axis, scale in zip(axes, frame.scale, strict=True))
    return x, y, z
