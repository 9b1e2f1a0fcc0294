"""A solid swept along z: rounded sections whose middle and four radii follow smooth curves, for trunk, lungs and heart.

The section is Fernandez-Guasti's squircle X + Y - s^2 X Y = 1 (Int. J. Math. Educ. Sci. Technol. 23, 895, 1992) with
X = (x / radius)^2 and Y alike: s = 0 is an ellipse, s = 1 a rectangle. Each of the four directions has its own radius.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.interpolate import PchipInterpolator

from drr.phantom.shapes import Shape

STEP_MM, BISECTIONS = 1.0, 44
OUTSIDE = 0.5


@dataclass(frozen=True, eq=False)
class Loft(Shape):
    """``rows``: (z, middle x, middle y, radii to -x, +x, -y (front), +y (back)) by rising z, in mm; ``square`` is s.

    The squares of the radii are interpolated (monotone cubics): where they end in 0, the solid ends in a round cap.
    """

    rows: Sequence[Sequence[float]]
    square: float = 0.0

    @property
    def thinnest_mm(self) -> float:
        return np.inf

    @cached_property
    def _curves(self) -> PchipInterpolator:
        rows = np.asarray(self.rows, np.float64)
        return PchipInterpolator(rows[:, 0], np.hstack([rows[:, 1:3], rows[:, 3:] ** 2]), axis=0)

    def section(self, z_mm: np.ndarray) -> tuple[np.ndarray, ...]:
        """The middle (x, y) and the four radii at ``z_mm``: six arrays of its shape; radii are 0 beyond the ends."""
        low, high = self.rows[0][0], self.rows[-1][0]
        curves = np.asarray(self._curves(np.clip(z_mm, low, high)))
        curves[..., 2:] *= ((z_mm >= low) & (z_mm <= high))[..., None]
        return *np.moveaxis(curves[..., :2], -1, 0), *np.sqrt(np.maximum(np.moveaxis(curves[..., 2:], -1, 0), 0))

    def rim(self, z_mm: np.ndarray, angle_rad: np.ndarray) -> np.ndarray:
        """Points (..., 3) of the surface: the angle is 0 at the back, 90 degrees at +x (left), 180 at the front."""
        x, y, right, left, front, back = self.section(np.asarray(z_mm))
        sine, cosine = np.sin(angle_rad), np.cos(angle_rad)
        # With X = (q sine)^2 and Y = (q cosine)^2 the squircle is a quadratic in q^2; this is its smaller root.
        reach = np.sqrt(2 / (1 + np.sqrt(1 - (2 * self.square * sine * cosine) ** 2)))
        x = x + reach * sine * np.where(sine > 0, left, right)
        return np.stack([x, y + reach * cosine * np.where(cosine > 0, back, front), np.asarray(z_mm) + 0 * x], -1)

    def grown(self, margin_mm: float) -> Loft:
        """The same solid with ``margin_mm`` more on every side of each section (less where negative)."""
        rows = [(*row[:3], *(max(radius + margin_mm, 0.0) for radius in row[3:])) for row in self.rows]
        return replace(self, rows=rows)

    def bounds_mm(self) -> tuple[np.ndarray, np.ndarray]:
        z = np.linspace(self.rows[0][0], self.rows[-1][0], 512)
        x, y, right, left, front, back = self.section(z)
        low, high = [(x - right).min(), (y - front).min(), z[0]], [(x + left).max(), (y + back).max(), z[-1]]
        return np.array(low), np.array(high)

    def level(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        middle_x, middle_y, right, left, front, back = (part.astype(x.dtype) for part in self.section(z))
        x, y = x - middle_x, y - middle_y
        # Beyond 1 / s the squircle has a second branch, which is no part of the solid; so the terms end there.
        most = 1 / max(self.square, 0.1) ** 2
        across = np.minimum((x / np.maximum(np.where(x > 0, left, right), 1e-3)) ** 2, most)
        along = np.minimum((y / np.maximum(np.where(y > 0, back, front), 1e-3)) ** 2, most)
        level: np.ndarray = across * (1 - self.square**2 * along) + (along - 1)
        # At the ends the radii fall to 0 and the level jumps; kept low, it still changes evenly near the surface.
        return np.minimum(level, OUTSIDE)

    def intervals(self, source_mm: np.ndarray, rays_mm: np.ndarray) -> np.ndarray:
        """By bracketing on steps of 1 mm and bisection to 1e-9 mm: only a part thinner than a step can be missed."""
        low, high = self.bounds_mm()
        with np.errstate(divide="ignore", invalid="ignore"):
            sides = np.stack([(low - source_mm) / rays_mm, (high - source_mm) / rays_mm])
        inside = (low <= source_mm) & (source_mm <= high)
        sides = np.where(np.isnan(sides) | (rays_mm == 0), np.where(inside, [[[-np.inf]], [[np.inf]]], np.inf), sides)
        near, far = sides.min(0).max(-1), sides.max(0).min(-1)
        met = np.flatnonzero(near < far)
        if not met.size:
            return np.empty((len(rays_mm), 0, 2))
        length = np.linalg.norm(rays_mm[met], axis=-1)
        count = int(((far - near)[met] * length).max() / STEP_MM) + 2
        t = near[met, None] + (far - near)[met, None] * np.linspace(-1e-6, 1 + 1e-6, count)
        outside = ~self._holds(source_mm, rays_mm[met], t)
        outside[:, [0, -1]] = True
        ray, step = np.nonzero(outside[:, 1:] != outside[:, :-1])
        before, after, leaves = t[ray, step], t[ray, step + 1], outside[ray, step + 1]
        for _ in range(BISECTIONS):
            middle = (before + after) / 2
            # The crossing lies before the middle when the middle is already what the end of the bracket is.
            early = self._holds(source_mm, rays_mm[met[ray]], middle[:, None])[:, 0] != leaves
            before, after = np.where(early, before, middle), np.where(early, middle, after)
        number = np.zeros(len(ray), np.int64)
        if len(ray):
            first = np.searchsorted(ray, ray)
            number = np.arange(len(ray)) - first
        parts = np.full((len(rays_mm), number.max(initial=-1) // 2 + 1, 2), (np.inf, -np.inf))
        parts[met[ray], number // 2, number % 2] = before
        return parts

    def _holds(self, source_mm: np.ndarray, rays_mm: np.ndarray, t: np.ndarray) -> np.ndarray:
        return self.contains(source_mm + t[..., None] * rays_mm[:, None])
