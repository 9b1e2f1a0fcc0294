"""Solids whose chords are known exactly, to check projectors by and to build the phantom from.

A ray is source + t * ray with the target at t = 1. An interval of t that is empty reads (inf, -inf), so that the hull
of two is (min, max), empty or not. Points and vectors are (x, y, z) in mm.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

Vector = tuple[float, float, float]


class Shape(ABC):
    """A solid: an implicit function, a box around it and what it cuts out of rays."""

    @property
    @abstractmethod
    def thinnest_mm(self) -> float:
        """The smallest radius or half thickness: below a few voxels the painter looks closer."""

    @abstractmethod
    def bounds_mm(self) -> tuple[np.ndarray, np.ndarray]:
        """The lowest and highest corner (3,) of a box around the solid; infinite where the solid is."""

    @abstractmethod
    def level(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Negative inside, 0 on the surface, positive outside, of any scale; the coordinates broadcast together."""

    @abstractmethod
    def intervals(self, source_mm: np.ndarray, rays_mm: np.ndarray) -> np.ndarray:
        """The parts of rays (R, 3) inside the solid: float64 (R, K, 2), from t to t, K = 1 for convex solids."""

    def contains(self, points_mm: np.ndarray) -> np.ndarray:
        """Which of the points (..., 3) lie inside: bool (...)."""
        x, y, z = np.moveaxis(np.asarray(points_mm, np.float64), -1, 0)
        return self.level(x, y, z) <= 0

    def chord_mm(self, source_mm: np.ndarray, targets_mm: np.ndarray) -> np.ndarray:
        """How much of each line from ``source_mm`` (3,) through ``targets_mm`` (..., 3) lies inside, in mm: (...)."""
        source, targets = np.asarray(source_mm, np.float64), np.asarray(targets_mm, np.float64)
        rays = (targets - source).reshape(-1, 3)
        parts = self.intervals(source, rays)
        length = np.maximum(parts[..., 1] - parts[..., 0], 0).sum(-1) * np.linalg.norm(rays, axis=-1)
        return length.reshape(targets.shape[:-1])


@dataclass(frozen=True, eq=False)
class Ellipsoid(Shape):
    """``centre_mm`` and ``semi_axes_mm`` in order x, y, z; the columns of ``rotation`` (3, 3) are its axes."""

    centre_mm: Vector
    semi_axes_mm: Vector
    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))

    @property
    def thinnest_mm(self) -> float:
        return min(self.semi_axes_mm)

    def bounds_mm(self) -> tuple[np.ndarray, np.ndarray]:
        reach = np.linalg.norm(self.rotation * self.semi_axes_mm, axis=1)
        return np.asarray(self.centre_mm) - reach, np.asarray(self.centre_mm) + reach

    def level(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        u, v, w = _apply(self._to_unit, self.centre_mm, x, y, z)
        return u * u + v * v + w * w - 1

    def intervals(self, source_mm: np.ndarray, rays_mm: np.ndarray) -> np.ndarray:
        return _ball((source_mm - self.centre_mm) @ self._to_unit.T, rays_mm @ self._to_unit.T, 1)[:, None]

    @property
    def _to_unit(self) -> np.ndarray:
        return (self.rotation / self.semi_axes_mm).T


@dataclass(frozen=True, eq=False)
class Cylinder(Shape):
    """An elliptic cylinder with flat ends: ``semi_axes_mm`` are those of the ellipse and half the height."""

    centre_mm: Vector
    semi_axes_mm: Vector
    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))

    @property
    def thinnest_mm(self) -> float:
        return min(self.semi_axes_mm)

    def bounds_mm(self) -> tuple[np.ndarray, np.ndarray]:
        axes = self.rotation * self.semi_axes_mm
        reach = np.linalg.norm(axes[:, :2], axis=1) + np.abs(axes[:, 2])
        return np.asarray(self.centre_mm) - reach, np.asarray(self.centre_mm) + reach

    def level(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        u, v, w = _apply(self._to_unit, self.centre_mm, x, y, z)
        return np.maximum(u * u + v * v, w * w) - 1

    def intervals(self, source_mm: np.ndarray, rays_mm: np.ndarray) -> np.ndarray:
        start, step = (source_mm - self.centre_mm) @ self._to_unit.T, rays_mm @ self._to_unit.T
        return _meet(_ball(start[:2], step[:, :2], 1), _ball(start[2:], step[:, 2:], 1))[:, None]

    @property
    def _to_unit(self) -> np.ndarray:
        return (self.rotation / self.semi_axes_mm).T


@dataclass(frozen=True, eq=False)
class Capsule(Shape):
    """All within ``radius_mm`` of the segment from ``start_mm`` to ``end_mm``.

    ``wide_mm`` (a vector, or None) stretches the round capsule along itself, until half its width is the vector.
    """

    start_mm: Vector
    end_mm: Vector
    radius_mm: float
    wide_mm: Vector | None = None

    @property
    def thinnest_mm(self) -> float:
        return self.radius_mm

    def bounds_mm(self) -> tuple[np.ndarray, np.ndarray]:
        reach = self.radius_mm * np.linalg.norm(np.linalg.inv(self._to_round), axis=1)
        ends = np.array([self.start_mm, self.end_mm])
        return ends.min(0) - reach, ends.max(0) + reach

    def level(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        u, v, w = _apply(self._to_round, self.start_mm, x, y, z)
        a, b, c = (float(part) for part in self._axis)
        square = a * a + b * b + c * c
        along = np.clip((a * u + b * v + c * w) / square, 0, 1)
        return (u - along * a) ** 2 + (v - along * b) ** 2 + (w - along * c) ** 2 - self.radius_mm**2

    def intervals(self, source_mm: np.ndarray, rays_mm: np.ndarray) -> np.ndarray:
        axis = self._axis
        length = float(np.linalg.norm(axis))
        start, step = (source_mm - self.start_mm) @ self._to_round.T, rays_mm @ self._to_round.T
        along, pace = start @ axis / length, step @ axis / length
        tube = _ball(start - along * axis / length, step - pace[:, None] * axis / length, self.radius_mm)
        tube = _meet(tube, _ball(np.array([along - length / 2]), pace[:, None], length / 2))
        caps = _ball(start, step, self.radius_mm), _ball(start - axis, step, self.radius_mm)
        # A capsule is convex: the hull of what its three parts cut out of a ray is what the whole cuts out.
        low = np.minimum(tube[:, 0], np.minimum(caps[0][:, 0], caps[1][:, 0]))
        high = np.maximum(tube[:, 1], np.maximum(caps[0][:, 1], caps[1][:, 1]))
        return np.stack([low, high], -1)[:, None]

    @cached_property
    def _to_round(self) -> np.ndarray:
        if self.wide_mm is None:
            return np.eye(3)
        half = np.linalg.norm(self.wide_mm)
        along = np.asarray(self.wide_mm) / half
        return np.eye(3) - (1 - self.radius_mm / half) * np.outer(along, along)

    @property
    def _axis(self) -> np.ndarray:
        axis: np.ndarray = self._to_round @ (np.asarray(self.end_mm) - self.start_mm)
        return axis


@dataclass(frozen=True, eq=False)
class HalfSpace(Shape):
    """All points p with ``normal`` . (p - ``point_mm``) <= 0: what lies behind a plane."""

    point_mm: Vector
    normal: Vector

    @property
    def thinnest_mm(self) -> float:
        return np.inf

    def bounds_mm(self) -> tuple[np.ndarray, np.ndarray]:
        return np.full(3, -np.inf), np.full(3, np.inf)

    def level(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return _apply(np.array([self.normal]), self.point_mm, x, y, z)[0]

    def intervals(self, source_mm: np.ndarray, rays_mm: np.ndarray) -> np.ndarray:
        height, pace = (source_mm - self.point_mm) @ np.asarray(self.normal), rays_mm @ np.asarray(self.normal)
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = -height / pace
        low = np.where(pace < 0, crossing, np.where((pace == 0) & (height > 0), np.inf, -np.inf))
        high = np.where(pace > 0, crossing, np.where((pace == 0) & (height > 0), -np.inf, np.inf))
        return np.stack([low, high], -1)[:, None]


@dataclass(frozen=True, eq=False)
class Common(Shape):
    """What all ``parts`` have in common."""

    parts: Sequence[Shape]

    @property
    def thinnest_mm(self) -> float:
        return min(part.thinnest_mm for part in self.parts)

    def bounds_mm(self) -> tuple[np.ndarray, np.ndarray]:
        low, high = zip(*(part.bounds_mm() for part in self.parts), strict=True)
        return np.max(low, 0), np.min(high, 0)

    def level(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        level = self.parts[0].level(x, y, z)
        for part in self.parts[1:]:
            level = np.maximum(level, part.level(x, y, z))
        return level

    def intervals(self, source_mm: np.ndarray, rays_mm: np.ndarray) -> np.ndarray:
        common = self.parts[0].intervals(source_mm, rays_mm)
        for part in self.parts[1:]:
            other = part.intervals(source_mm, rays_mm)
            common = _meet(common[:, :, None], other[:, None]).reshape(len(rays_mm), -1, 2)
        return common


@dataclass(frozen=True, eq=False)
class Plate(Shape):
    """A flat plate over the triangle of three ``corners_mm``, with square edges."""

    corners_mm: tuple[Vector, Vector, Vector]
    half_thickness_mm: float

    @property
    def thinnest_mm(self) -> float:
        return self.half_thickness_mm

    def bounds_mm(self) -> tuple[np.ndarray, np.ndarray]:
        corners = np.asarray(self.corners_mm)
        reach = np.abs(self._normal) * self.half_thickness_mm
        return corners.min(0) - reach, corners.max(0) + reach

    def level(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return self._faces.level(x, y, z)

    def intervals(self, source_mm: np.ndarray, rays_mm: np.ndarray) -> np.ndarray:
        return self._faces.intervals(source_mm, rays_mm)

    @property
    def _normal(self) -> np.ndarray:
        first, second, third = np.asarray(self.corners_mm, np.float64)
        normal = np.cross(second - first, third - first)
        unit: np.ndarray = normal / np.linalg.norm(normal)
        return unit

    @cached_property
    def _faces(self) -> Common:
        corners, normal = np.asarray(self.corners_mm, np.float64), self._normal
        faces = [HalfSpace(vector(corners[0] + n * self.half_thickness_mm), vector(n)) for n in (normal, -normal)]
        for corner, following in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            outward = np.cross(following - corner, normal)
            faces.append(HalfSpace(vector(corner), vector(outward / np.linalg.norm(outward))))
        return Common(faces)


def vector(values: Sequence[float] | np.ndarray) -> Vector:
    """Three numbers of any kind as the plain floats that shapes are made of."""
    x, y, z = (float(value) for value in values)
    return x, y, z


def _apply(matrix: np.ndarray, centre: Vector, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> list[np.ndarray]:
    """The rows of ``matrix`` times the points less ``centre``, term by term: plain floats keep float32 what it is."""
    x, y, z = x - float(centre[0]), y - float(centre[1]), z - float(centre[2])
    rows = []
    for row in matrix:
        terms = [float(weight) * part for weight, part in zip(row, (x, y, z), strict=True) if weight != 0]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        rows.append(total)
    return rows


def _ball(start: np.ndarray, steps: np.ndarray, radius: float) -> np.ndarray:
    """Where |start + t step| <= radius, in any dimension: start (D,), steps (R, D) -> (R, 2)."""
    a, b, c = np.einsum("rd,rd->r", steps, steps), steps @ start, start @ start - radius**2
    root = b * b - a * c
    with np.errstate(divide="ignore", invalid="ignore"):
        half, middle = np.sqrt(np.maximum(root, 0)) / a, -b / a
    # A ray that does not move in this space (a = 0) is inside for all of t or for none of it.
    low = np.where(a > 0, np.where(root > 0, middle - half, np.inf), np.inf if c > 0 else -np.inf)
    high = np.where(a > 0, np.where(root > 0, middle + half, -np.inf), -np.inf if c > 0 else np.inf)
    return np.stack([low, high], -1)


def _meet(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """What intervals (..., 2) have in common, pair by pair."""
    low, high = np.maximum(one[..., 0], other[..., 0]), np.minimum(one[..., 1], other[..., 1])
    empty = low > high
    return np.stack([np.where(empty, np.inf, low), np.where(empty, -np.inf, high)], -1)
