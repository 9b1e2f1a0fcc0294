"""One side of the chest as lesions need it: the pleural space, how deep a point lies in it, where the hilum is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial import ConvexHull

from drr.ct.volume import AIR_HU, Volume
from gen.core.errors import BadInput

Box = tuple[slice, slice, slice]

SIDE_IDS = {"right": 1, "left": 2}  # of drr.ct.body.find_lungs
TAKEN_ID = 3  # in ``lungs``: pleural space that something put in before has filled or emptied
SOFT_TISSUE_HU = (0, 100)
_SMALLEST_LUNG_ML = 200.0  # half the smallest aerated adult lung; below it an effusion or collapse fills the side
_CLOSING_MM = 6.0  # wider than the segmental vessels that a lung mask may leave out
AERATED_HU = -300  # below it lung holds air
_BEYOND_MM = 20.0  # of the box around a lung, so that it holds the ribs


@dataclass(frozen=True, eq=False)
class Hemithorax:
    """A box around one lung, all arrays (z, y, x) of the box.

    ``cavity`` is the pleural space: the lung with its vessels. ``other`` is the other lung and what was put in before.
    ``rim_mm`` is the depth in it and ``wall_mm`` that below
    the chest wall and the diaphragm, not the mediastinum; both are negative outside. ``x_mm``, ``y_mm`` and
    ``z_mm`` are patient coordinates, broadcastable to the box. The hilum is given as an index (z, y, x) of the box and
    as a point (x, y, z); ``outward`` is the sign of x away from the midline, ``noise_hu`` the standard deviation of
    the noise of soft tissue.
    """

    side: str
    box: Box
    hu: np.ndarray
    cavity: np.ndarray
    other: np.ndarray
    rim_mm: np.ndarray
    wall_mm: np.ndarray
    x_mm: np.ndarray
    y_mm: np.ndarray
    z_mm: np.ndarray
    spacing_mm: tuple[float, float, float]
    hilum: np.ndarray
    hilum_mm: np.ndarray
    outward: int
    noise_hu: float

    @property
    def heights_mm(self) -> tuple[float, float]:
        """Where the lung ends below and above, without the last half per cent, which may be a stray voxel."""
        low, high = np.percentile(np.broadcast_to(self.z_mm, self.cavity.shape)[self.cavity], (0.5, 99.5))
        return float(low), float(high)

    @property
    def voxel_ml(self) -> float:
        """The volume of a voxel."""
        return float(np.prod(self.spacing_mm)) / 1000

    def in_zone(self, zone: str) -> np.ndarray:
        """The pleural space of a zone, a third of the lung's height: bool (z, y, x)."""
        low, high = self.heights_mm
        third = ("lower", "middle", "upper").index(zone)
        share = (self.z_mm - low) / (high - low) * 3
        above = share >= third if third else np.True_
        below = share < third + 1 if third < 2 else np.True_
        return self.cavity & above & below


def hemithorax(volume: Volume, lungs: np.ndarray, side: str) -> Hemithorax:
    """The pleural space of ``side``; BadInput where it holds too little air to put anything in.

    ``lungs`` is that of drr/ct/body.py, with `TAKEN_ID` where something is already.
    """
    lung = lungs == SIDE_IDS[side]
    if lung.sum() * np.prod(volume.spacing_mm) / 1000 < _SMALLEST_LUNG_ML:
        raise BadInput(
            f"{volume.name}: there is no room in the {side} side of the chest: less than {_SMALLEST_LUNG_ML:.0f} ml of "
            "lung holds air",
            hint="ask for the other side or take another CT",
        )
    box = box_around(lung, _BEYOND_MM, volume.spacing_mm)
    lung, other = lung[box], (lungs[box] > 0) & ~lung[box]
    # The top of the diaphragm is a hole in the lung's axial planes, and may count as lung: begin above it.
    lung &= np.logical_or.accumulate(lung & (volume.hu[box] < AERATED_HU), axis=0)
    outer = depth_mm(~lung, volume.spacing_mm) <= _CLOSING_MM
    cavity = (depth_mm(outer, volume.spacing_mm) > _CLOSING_MM) | lung
    cavity &= ~other
    # What lies under a lung is below the diaphragm, even where it is between two lungs.
    below = lung.any(axis=0) & ~np.logical_or.accumulate(cavity | (lungs[box] == TAKEN_ID), axis=0)
    enclosed = (between_lungs(lungs)[box] & ~below) | cavity
    x_mm, y_mm, z_mm = (coordinate(volume, axis, box) for axis in range(3))
    outward = 1 if side == "left" else -1
    hilum = _hilum(cavity, x_mm, z_mm, outward)
    return Hemithorax(
        side=side,
        box=box,
        hu=volume.hu[box],
        cavity=cavity,
        other=other,
        rim_mm=depth_mm(cavity, volume.spacing_mm),
        wall_mm=depth_mm(enclosed, volume.spacing_mm),
        x_mm=x_mm,
        y_mm=y_mm,
        z_mm=z_mm,
        spacing_mm=volume.spacing_mm,
        hilum=hilum,
        hilum_mm=volume.to_mm(hilum + [part.start for part in box]),
        outward=outward,
        noise_hu=noise_of(volume),
    )


def box_around(mask: np.ndarray, margin_mm: float, spacing_mm: tuple[float, float, float]) -> Box:
    """The smallest box that holds ``mask`` and a margin, inside the array."""
    slices = []
    for axis, step in enumerate(spacing_mm):
        where = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        margin = int(np.ceil(margin_mm / step))
        slices.append(slice(max(int(where[0]) - margin, 0), min(int(where[-1]) + margin + 1, mask.shape[axis])))
    return slices[0], slices[1], slices[2]


def box_corners(box: Box) -> list[list[int]]:
    """The first and the last index (z, y, x) of a box, as a label tells it."""
    return [[part.start for part in box], [part.stop - 1 for part in box]]


def depth_mm(mask: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """The distance of voxels of ``mask`` to its surface, negative outside: float32; the border is no surface."""
    # On a grid of about 2.5 mm: the field is smooth, and this is where the time goes.
    every = [max(1, round(2.5 / step)) for step in spacing_mm]
    image = sitk.GetImageFromArray(mask[tuple(slice(None, None, n) for n in every)].astype(np.uint8))
    image.SetSpacing([n * step for n, step in zip(every, spacing_mm, strict=True)][::-1])
    signed = sitk.SignedMaurerDistanceMap(image, insideIsPositive=True, squaredDistance=False, useImageSpacing=True)
    sources = [np.arange(n) / step for n, step in zip(mask.shape, every, strict=True)]
    return interpolate(sitk.GetArrayFromImage(signed), sources)


def coordinate(volume: Volume, axis: int, box: Box) -> np.ndarray:
    """Patient coordinate 0 x, 1 y or 2 z of the voxels of ``box``: float32, broadcastable to (z, y, x)."""
    total = np.full((1, 1, 1), volume.origin_mm[axis], np.float32)
    for index_axis, (part, step) in enumerate(zip(box, volume.spacing_mm, strict=True)):
        along = volume.direction[axis, 2 - index_axis] * step
        if abs(along) > 1e-9:
            shape = [1, 1, 1]
            shape[index_axis] = part.stop - part.start
            total = total + (np.arange(part.start, part.stop, dtype=np.float32) * np.float32(along)).reshape(shape)
    return total


def between_lungs(lungs: np.ndarray) -> np.ndarray:
    """The lungs and what lies between them on each row of voxels from right to left: bool (z, y, x)."""
    air = lungs > 0
    return np.logical_or.accumulate(air, axis=2) & np.logical_or.accumulate(air[:, :, ::-1], axis=2)[:, :, ::-1]


def rib_cage_depth_mm(lungs: np.ndarray, box: Box, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """How deep a voxel of ``box`` lies inside the rib cage, in its axial plane: float32 (z, y, x), negative outside.

    The rib cage is the convex hull of both lungs in a plane; under the lungs it goes on as it is in their lowest plane.
    """
    every = [max(1, round(4 / step)) for step in spacing_mm]
    coarse = lungs[box[0].start : box[0].stop : every[0]] > 0
    _, dy, dx = spacing_mm
    rows, columns = (np.arange(part.start, part.stop, n) for part, n in zip(box[1:], every[1:], strict=True))
    grid = np.stack(np.meshgrid(rows * dy, columns * dx, indexing="ij"), axis=-1)
    depth: list[np.ndarray | None] = []
    for plane in coarse:
        edge = np.argwhere(plane & ~ndimage.binary_erosion(plane)) * (dy, dx)
        if len(edge) < 3 or min(np.ptp(edge, axis=0)) < 20:
            depth.append(None)
            continue
        sides = ConvexHull(edge).equations
        depth.append(-(grid @ sides[:, :2].T + sides[:, 2]).max(axis=-1))
    known = [k for k, found in enumerate(depth) if found is not None]
    nearest = [depth[known[int(np.argmin(np.abs(np.array(known) - k)))]] for k in range(len(depth))]
    smooth = ndimage.gaussian_filter1d(np.array(nearest, np.float32), 8 / (every[0] * spacing_mm[0]), axis=0)
    sizes = [part.stop - part.start for part in box]
    return interpolate(smooth, [np.arange(n) / step for n, step in zip(sizes, every, strict=True)])


def noise_of(volume: Volume) -> float:
    """The standard deviation of noise, HU, from the differences of neighbours in soft tissue; 4 to 30."""
    planes = volume.hu[volume.hu.shape[0] // 3 :: 8].astype(np.int32)
    low, high = SOFT_TISSUE_HU
    soft = (planes > low) & (planes < high)
    steps = np.abs(np.diff(planes, axis=2))[soft[:, :, 1:] & soft[:, :, :-1]]
    return float(np.clip(np.median(steps) * 1.4826 / np.sqrt(2), 4, 30)) if steps.size else 10.0


def grain(shape: tuple[int, ...], noise_hu: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of tissue in CT, a little smooth as reconstruction leaves it: float32, standard deviation ``noise_hu``."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), 0.7)
    return noise * np.float32(noise_hu / max(float(noise.std()), 1e-6))


def clouds(
    shape: tuple[int, ...], spacing_mm: tuple[float, float, float], size_mm: float, rng: np.random.Generator
) -> np.ndarray:
    """A random field that varies over about ``size_mm``: float32, mean 0, standard deviation 1."""
    sources = [rng.uniform(0, 1) + np.arange(n) * (step / size_mm) for n, step in zip(shape, spacing_mm, strict=True)]
    lattice = rng.standard_normal([int(source[-1]) + 2 for source in sources], np.float32)
    field = interpolate(lattice, sources, smooth=True)
    return field / max(float(field.std()), 1e-6)


def interpolate(values: np.ndarray, sources: Sequence[np.ndarray], *, smooth: bool = False) -> np.ndarray:
    """Linear interpolation on the grid of one index array per axis, float32; beyond the ends the outermost value.

    ``smooth`` eases in and out of every sample, so that the slope has no steps.
    """
    values = values.astype(np.float32, copy=False)
    for axis, source in enumerate(sources):
        last = values.shape[axis] - 1
        at = np.clip(source, 0, last)
        before = np.minimum(at.astype(int), max(last - 1, 0))
        shape = [1, 1, 1]
        shape[axis] = -1
        share = (at - before).astype(np.float32).reshape(shape)
        share = share * share * (3 - 2 * share) if smooth else share
        values = values.take(before, axis) * (1 - share) + values.take(np.minimum(before + 1, last), axis) * share
    return values


def blend(hu: np.ndarray, other_hu: np.ndarray, share: np.ndarray) -> np.ndarray:
    """``hu`` with ``share`` (0 to 1) of ``other_hu``, rounded to int16, nothing below air."""
    mixed = hu + share * (other_hu - hu)
    return np.clip(np.rint(mixed), AIR_HU, np.iinfo(np.int16).max).astype(np.int16)


def ramp(signed_mm: np.ndarray, width_mm: float) -> np.ndarray:
    """0 outside to 1 inside of a surface, over ``width_mm`` about it; ``signed_mm`` is positive inside."""
    return np.clip(signed_mm / np.float32(width_mm) + np.float32(0.5), 0, 1)


def _hilum(cavity: np.ndarray, x: np.ndarray, z: np.ndarray, outward: int) -> np.ndarray:
    """The index of the middle of the innermost seventh of the lung at 55 % of its height: at T6 to T7."""
    index = np.argwhere(cavity)
    xs, zs = (np.broadcast_to(each, cavity.shape)[cavity] for each in (x, z))
    low, high = np.percentile(zs, (0.5, 99.5))
    near = abs(zs - (low + 0.55 * (high - low))) < 0.06 * (high - low)
    inner = near & (outward * xs <= np.percentile(outward * xs[near], 15))
    middle: np.ndarray = index[inner].mean(axis=0)
    return middle
