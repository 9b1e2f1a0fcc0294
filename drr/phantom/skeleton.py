"""The bones of the phantom: a cortex painted first, the spongiosa over it, cartilages where they belong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from drr.phantom import anatomy
from drr.phantom.anatomy import HU, SIDES, Frame
from drr.phantom.loft import Loft
from drr.phantom.shapes import Capsule, Cylinder, Ellipsoid, Plate, Vector, vector
from drr.phantom.solids import Solid

RIB_POINTS = 18


def skeleton(frame: Frame, cage: Loft, spongiosa_hu: float, calcified: float) -> list[Solid]:
    """All bones in paint order; ``calcified`` 0..1 is how far the costal cartilages have turned to bone."""
    solids = list(_sternum(frame, spongiosa_hu))
    for side, sign in SIDES.items():
        solids += _cartilages(frame, cage, side, sign, HU["cartilage"] + 140 * calcified)
        for number in range(12):
            solids += _rib(frame, cage, number, side, sign, spongiosa_hu)
        solids += _shoulder(frame, side, sign, spongiosa_hu)
    for number in range(len(anatomy.VERTEBRAE)):
        solids += _vertebra(frame, number, spongiosa_hu)
    return solids


def bone(
    name: str,
    points: Sequence[Sequence[float]],
    cortex_mm: float,
    spongiosa_hu: float,
    wide: float = 1.0,
    up: Vector = (0, 0, 1),
) -> Iterator[Solid]:
    """A long bone through points (x, y, z, radius): ``wide`` times as wide as thick, the width nearest to ``up``."""
    for shrink, hu in ((0.0, HU["cortex"]), (cortex_mm, spongiosa_hu)):
        for start, end in pairwise(points):
            radius = (start[3] + end[3]) / 2 - shrink
            if radius > 0.4:
                yield Solid(name, hu, strut(start[:3], end[:3], radius, radius * wide if wide != 1 else None, up))


def strut(
    start: Sequence[float], end: Sequence[float], radius: float, half_width: float | None, up: Sequence[float]
) -> Capsule:
    """A capsule, flat where it has a ``half_width`` across its axis, as near to ``up`` as may be."""
    first, last = (vector(point) for point in (start, end))
    if half_width is None:
        return Capsule(first, last, radius)
    axis = np.subtract(last, first)
    across = np.asarray(up, np.float64) - axis * (np.dot(up, axis) / np.dot(axis, axis))
    return Capsule(first, last, radius, vector(across / np.linalg.norm(across) * half_width))


def spine_y(z: float) -> float:
    """Where the middle of the vertebral bodies lies at height ``z`` of the tables."""
    heights, depths = zip(*anatomy.SPINE_Y, strict=True)
    return float(np.interp(z, heights, depths))


def _mirrored(sign: int, point: Vector) -> Vector:
    return sign * point[0], point[1], point[2]


def rib_line(frame: Frame, cage: Loft, number: int, sign: int) -> np.ndarray:
    """The middle of rib ``number`` (0 is the first) from its head to the end of the bone: (N, 3)."""
    top, bottom, end = anatomy.RIBS[number][:3]
    angle = np.radians(np.linspace(22, end, RIB_POINTS))
    # Half of the way down is even in the angle and half in depth: nearly level at the back, steep at the side.
    even, planar = np.linspace(0, 1, RIB_POINTS), (1 - np.cos(angle - angle[0])) / (1 - np.cos(angle[-1] - angle[0]))
    start = top - 6 - 2.0 * min(number, 6)
    z = np.array([frame.height(start + (bottom - start) * part) for part in 0.5 * even + 0.5 * planar])
    rim = cage.rim(z, sign * angle)
    width = anatomy.VERTEBRAE[number + 2][3]
    back = spine_y(top)
    head = frame.at(sign * (width + 1), back + 8, top)
    neck = frame.at(sign * (width + 13), back + 22, top - 2)
    return np.vstack([head, neck, rim])


def _rib(frame: Frame, cage: Loft, number: int, side: str, sign: int, spongiosa_hu: float) -> Iterator[Solid]:
    *_, half_height, half_thick, twist = anatomy.RIBS[number]
    line = rib_line(frame, cage, number, sign)
    name, size = f"rib_{side}_{number + 1}", frame.size
    for cortex_mm, hu in ((0.0, HU["rib cortex"]), (0.9 * size, spongiosa_hu)):
        for place, (start, end) in enumerate(pairwise(line)):
            grown = (0.75, 0.78, 0.92)[place] if place < 3 else 1.08 - 0.012 * place
            thick, height = half_thick * size * grown - cortex_mm, half_height * size * grown - cortex_mm
            # The upper ribs lie flat: their width turns from upright to outward.
            outward = np.array([start[0], start[1] - 8, 0]) / np.hypot(start[0], start[1] - 8)
            yield Solid(name, hu, strut(start, end, thick, height, np.array([0, 0, 1]) + twist * outward))


def _cartilages(frame: Frame, cage: Loft, side: str, sign: int, hu: float) -> Iterator[Solid]:
    size = frame.size
    ends = [rib_line(frame, cage, number, sign)[-1] for number in range(10)]
    for number, end in enumerate(ends):
        if number < 7:
            x, y, z = anatomy.STERNAL_ENDS[number]
            target = np.array(frame.at(sign * x, y, z))
        else:
            target = (ends[number - 1] + np.array(frame.at(sign * 11, -99, -74))) / 2
        # Below the fourth rib the cartilage first goes on downwards, then turns up to the sternum.
        middle = (end + target) / 2 + np.array([0, -5, -2.5 * max(number - 2, 0) if number < 7 else -6]) * size
        bow = [(1 - t) ** 2 * end + 2 * t * (1 - t) * middle + t**2 * target for t in np.linspace(0, 1, 7)]
        for start, stop in pairwise(bow):
            yield Solid("costal_cartilages", hu, strut(start, stop, 4.0 * size, 6.0 * size, (0, 0, 1)))


def _sternum(frame: Frame, spongiosa_hu: float) -> Iterator[Solid]:
    size = frame.size
    parts = [((0, -57, 55), (0, -69, 38), 5.5, 23), ((0, -69, 38), (0, -80, 22), 5.5, 16),
             ((0, -82, 14), (0, -92, -22), 5.2, 14), ((0, -92, -22), (0, -98, -72), 5.2, 17)]  # fmt: skip
    for cortex_mm, hu in ((0.0, HU["thin cortex"]), (1.0, spongiosa_hu * 0.8)):
        for start, end, thick, wide in parts:
            shape = strut(
                frame.at(*start), frame.at(*end), thick * size - cortex_mm, wide * size - cortex_mm, (1, 0, 0)
            )
            yield Solid("sternum", hu, shape)
    yield Solid(
        "sternum", HU["cartilage"], strut(frame.at(0, -98, -80), frame.at(0, -96, -102), 3, 8 * size, (1, 0, 0))
    )


def _shoulder(frame: Frame, side: str, sign: int, spongiosa_hu: float) -> Iterator[Solid]:
    at, size = {name: frame.at(sign * x, y, z) for name, (x, y, z) in anatomy.SCAPULA.items()}, frame.size
    name = f"scapula_{side}"
    for first, last, middle in (
        ("superior", "root", "neck"),
        ("root", "inferior", "neck"),
        ("root", "acromion", "crest"),
    ):
        # The blade is too thin for a spongiosa of its own.
        yield Solid(name, HU["thin cortex"], Plate((at[first], at[last], at[middle]), 1.4 * size))
    borders = [
        ([(*at["inferior"], 4.2), (*at["neck"], 6.2)], 1.6),
        ([(*at["superior"], 2.2), (*at["root"], 2.4), (*at["inferior"], 3.4)], 1.0),
        ([(*at["superior"], 2.0), (*at["neck"], 3.4)], 1.0),
        ([(*at["root"], 3.0), (*at["crest"], 4.8), (*at["acromion"], 6.0)], 1.3),
        ([(*at["neck"], 6.0), (*at["coracoid"], 4.5)], 1.3),
    ]
    for points, cortex_mm in borders:
        yield from bone(name, [(*point[:3], point[3] * size) for point in points], cortex_mm, spongiosa_hu)
    yield from bone(name, [(*at["neck"], 8 * size), (*at["glenoid"], 9.5 * size)], 1.2, spongiosa_hu, 1.7)
    clavicle = [(*frame.at(sign * x, y, z), radius * size) for x, y, z, radius in anatomy.CLAVICLE]
    yield from bone(f"clavicula_{side}", clavicle, 1.9 * size, spongiosa_hu * 0.9)
    name, head = f"humerus_{side}", frame.at(*_mirrored(sign, anatomy.HUMERUS[0]))
    neck, elbow = (frame.at(*_mirrored(sign, point)) for point in anatomy.HUMERUS[1:])
    yield from bone(name, [(*neck, 12 * size), (*elbow, 11 * size)], 3.8 * size, -40.0)
    for cortex_mm, hu in ((0.0, HU["thin cortex"]), (1.2, spongiosa_hu)):
        ball = 23.5 * size - cortex_mm
        yield Solid(name, hu, Ellipsoid(head, (ball, ball, ball)))
        yield Solid(name, hu, strut(vector(np.add(head, neck) / 2), neck, 14.5 * size - cortex_mm, None, (0, 0, 1)))
    yield Solid(name, -40.0, strut(neck, elbow, 7.5 * size, None, (0, 0, 1)))


def _vertebra(frame: Frame, number: int, spongiosa_hu: float) -> Iterator[Solid]:
    name, top, height, width, depth, spinous, slope = anatomy.VERTEBRAE[number]
    label, size = f"vertebrae_{name}", frame.size

    def middle(z: float) -> np.ndarray:
        return np.array(frame.at(0, spine_y(z), z))

    upper, lower = middle(top), middle(top - height)
    axis = (upper - lower) / np.linalg.norm(upper - lower)
    back = np.array([0, axis[2], -axis[1]])
    turn = np.column_stack([(1, 0, 0), back, axis])
    centre, half = (upper + lower) / 2, float(np.linalg.norm(upper - lower)) / 2
    if number + 1 < len(anatomy.VERTEBRAE):
        below = middle(anatomy.VERTEBRAE[number + 1][1])
        disc = float(np.linalg.norm(lower - below)) / 2 + 1
        yield Solid("", HU["disc"], Cylinder(vector((lower + below) / 2), (width * size, depth * size, disc), turn))

    def local(x: float, y: float, z: float) -> Vector:
        return vector(centre + turn @ (np.array([x, y, z]) * size))

    # The arch: pedicles, articular pillars, laminae that meet in the spinous process, transverse processes.
    reach, high = depth + 17, height * 0.22
    transverse = max(width + 17 - 1.2 * max(number - 9, 0), width + 9)
    posts: list[tuple[Vector, Vector, float, float]] = [
        (local(0, reach - 2, 0), local(0, reach + spinous * 0.62, -spinous * 0.55 * slope), 2.6, 5.5)
    ]
    for sign in SIDES.values():
        pedicle = local(sign * width * 0.66, depth - 3, high), local(sign * width * 0.74, depth + 11, high)
        posts += [
            (*pedicle, 3.4, 5.4),
            (
                local(sign * width * 0.8, depth + 12, height * 0.5),
                local(sign * width * 0.8, depth + 13, -height * 0.6),
                3.8,
                5.0,
            ),
            (local(sign * width * 0.7, depth + 12, high), local(0, reach, -high), 2.8, 7.0),
            (local(sign * width * 0.8, depth + 12, high), local(sign * transverse, depth + 18, high + 2), 3.0, 4.2),
        ]
    for cortex_mm, hu in ((0.0, HU["rib cortex"]), (0.9 * size, spongiosa_hu)):
        for start, end, thick, wide in posts:
            yield Solid(label, hu, strut(start, end, thick * size - cortex_mm, wide * size - cortex_mm, (0, 0, 1)))
    for shell_mm, hu in ((0.0, HU["thin cortex"]), (1.1, spongiosa_hu)):
        axes = width * size - shell_mm, depth * size - shell_mm, half - shell_mm
        yield Solid(label, hu, Cylinder(vector(centre), axes, turn))
