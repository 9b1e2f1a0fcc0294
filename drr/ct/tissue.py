"""What the voxels of a CT are made of: soft tissue, bone, iodine (contrast medium) and metal, as shares of the number.

A number is HU + 1000, so air is 0 and water 1000. Bone, iodine and metal are what exceeds soft tissue, so that an image
without bone shows soft tissue where the rib was, and not a hole. A threshold cannot tell contrast from bone, as both
reach 300 to 3000 HU; what does is structure: blood is even and brightest inside, bone is a bright shell about a duller
marrow. Seeds of either kind flood all that is bright, from the brightest down, and meet where it is darkest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from drr.ct.body import find_lungs, grow, shrink
from drr.ct.volume import Volume

SOFT_NUMBER = 1050  # muscle and blood without contrast; cancellous bone, however thin, is above it
IODINE_RAMP = 1130, 1180  # blood and organs below hold no contrast worth counting, above all their excess counts
MOST_NUMBER = 4095  # what the projector can sum over eight slabs in int16

BLOCK_MM = 2.05  # at most
FLOOR_HU = 100  # the flood ends here: half way from soft tissue to the faintest bone and blood
# Cortical bone of the chest stays below the peak; undiluted contrast and metal do not.
DENSE_HU, DENSE_PEAK_HU = 1100, 2000
SPINE_MM = 58  # from the back of the lungs to the front of the spine, at the least
STERNUM_MM = 15  # from the front of the lungs to the back of the sternum
COURSE_HU, THICK_VEIN_HU = 600, 450
CARTILAGE_HU = 160  # above costal cartilage that is not calcified
ENHANCED_ML = 10  # a CT with less even bright blood has calcifications, no contrast
BONE, IODINE, SOFT, METAL = 1, 2, 3, 4


@dataclass(frozen=True, eq=False)
class Shares:
    """int16 numbers (z, y, x), all >= 0. ``total`` = number - metal <= 4095, and soft = total - bone - iodine >= 0."""

    total: np.ndarray
    bone: np.ndarray
    iodine: np.ndarray
    metal: np.ndarray

    @property
    def soft(self) -> np.ndarray:
        """What is neither bone, iodine nor metal: int16 (z, y, x)."""
        return self.total - self.bone - self.iodine


def separate(volume: Volume, body: np.ndarray, lungs: np.ndarray | None = None) -> Shares:
    """The shares of each voxel in ``body``; outside it all are 0. Exactly soft + bone + iodine + metal = number.

    Bone has all its excess over soft tissue, rims and marrow included; iodine comes in on a ramp; costal cartilage and
    streaks stay soft tissue. Calcified cartilage is bone; calcified plaques go with the contrast around them, and are
    bone where there is none.
    ``lungs`` as of ``find_lungs``, found here if not given.
    """
    total = np.maximum(volume.hu, np.int16(-1000), order="C")
    total += np.int16(1000)
    total *= body
    kinds = _kinds(volume, body, find_lungs(volume, body) if lungs is None else lungs).ravel()
    bone, iodine, metal = (np.zeros(total.shape, np.int16) for _ in range(3))
    places = np.flatnonzero((total.ravel() > MOST_NUMBER) & (kinds != METAL))
    metal.ravel()[places] = total.ravel()[places] - np.int16(MOST_NUMBER)
    places = np.flatnonzero(kinds == METAL)
    metal.ravel()[places] = np.maximum(total.ravel()[places] - np.int16(SOFT_NUMBER), 0)
    total -= metal
    places = np.flatnonzero(kinds == BONE)
    bone.ravel()[places] = np.maximum(total.ravel()[places] - np.int16(SOFT_NUMBER), 0)
    places = np.flatnonzero(kinds == IODINE)
    number, (start, full) = total.ravel()[places].astype(np.float32), IODINE_RAMP
    iodine.ravel()[places] = np.rint(np.clip((number - start) / (full - start), 0, 1) * (number - SOFT_NUMBER))
    return Shares(total, bone, iodine, metal)


def _kinds(volume: Volume, body: np.ndarray, lungs: np.ndarray) -> np.ndarray:
    """BONE, IODINE or METAL of voxels that may have a share of it, else 0: uint8 (z, y, x)."""
    low, high = _box(body)
    part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    kinds = np.zeros(body.shape, np.uint8)
    if not body.any():
        return kinds
    hu = np.where(body[part], volume.hu[part], np.int16(-1000))
    inner = Volume(hu, volume.spacing_mm)
    blocks, factors = shrink(inner, BLOCK_MM)
    spacing_mm = tuple(step * factor for step, factor in zip(volume.spacing_mm, factors, strict=True))
    peaks = np.argwhere(hu > DENSE_PEAK_HU) // factors  # wires are thinner than a block
    peaks = peaks[(peaks < blocks.shape).all(axis=1)]
    blocks[tuple(peaks.T)] = np.maximum(blocks[tuple(peaks.T)], DENSE_PEAK_HU + 1)
    sides = lungs[part][tuple(slice(f // 2, None, f) for f in factors)][tuple(slice(0, n) for n in blocks.shape)]
    kinds[part] = grow(_block_kinds(blocks, sides, spacing_mm), factors, hu.shape)
    return kinds


def _block_kinds(hu: np.ndarray, lungs: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """Seeds, flood and rims on blocks: uint8 (z, y, x)."""
    blood = _blood(hu, spacing_mm)
    enhanced = bool(np.count_nonzero(blood) * np.prod(spacing_mm) / 1000 > ENHANCED_ML)
    dense, metal = _dense(hu, spacing_mm, enhanced)
    before_spine = _before_spine(lungs, spacing_mm)
    if enhanced:
        dense |= _thick_veins(hu, before_spine, metal, spacing_mm)
    seeds = np.zeros(hu.shape, np.uint8)
    shells = _shells(hu, lungs, before_spine, spacing_mm)
    seeds[shells & ~ndimage.binary_dilation(dense | metal, _CUBE, 2)] = BONE
    if enhanced:
        seeds[blood] = IODINE
    seeds[dense] = IODINE
    seeds[metal] = METAL
    seeds[hu < FLOOR_HU] = SOFT
    flooded = sitk.GetArrayFromImage(
        sitk.MorphologicalWatershedFromMarkers(
            sitk.GetImageFromArray(-np.clip(hu, FLOOR_HU, DENSE_PEAK_HU)),
            sitk.GetImageFromArray(seeds),
            markWatershedLine=False,
        )
    )
    lone = _lone(hu, flooded == SOFT, spacing_mm)
    flooded[(hu < FLOOR_HU) | (flooded == SOFT)] = 0
    flooded[lone] = BONE
    bone = flooded == BONE
    firm = _close(bone & (hu > CARTILAGE_HU), 10.0, spacing_mm)  # marrow is within bone, cartilage at its end
    bone = _close(bone & firm, 4.0, spacing_mm)
    flooded[flooded == BONE] = 0
    kinds = np.where((flooded == 0) & bone, np.uint8(BONE), flooded)
    for kind, steps in ((METAL, 2), (IODINE, 1), (BONE, 1)):  # their rims, of which metal has the widest
        free = (kinds == 0) | ((kinds == BONE) & (kind == METAL))
        kinds[ndimage.binary_dilation(kinds == kind, iterations=steps) & free] = kind
    return kinds


_CUBE = np.ones((3, 3, 3), bool)


def _blood(hu: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """Blood and organs with contrast: even, over 130 HU, brighter than what is about them (marrow has its shell)."""
    size = _odd(3.0, spacing_mm)
    values = hu.astype(np.float32)
    mean = ndimage.uniform_filter(values, size)
    values *= values
    spread = np.sqrt(np.maximum(ndimage.uniform_filter(values, size) - mean * mean, 0))
    even = (ndimage.minimum_filter(hu, size) > 130) & (spread < 0.1 * np.maximum(mean, 200))
    even &= hu < 700  # the compact bone of an arm is as even; denser contrast has its own seeds
    labels, count = ndimage.label(even)
    volumes_ml = np.bincount(labels.ravel(), minlength=count + 1) * np.prod(spacing_mm) / 1000
    keep = np.zeros(count + 1, bool)
    margins = [int(np.ceil(7 / step)) for step in spacing_mm]
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if volumes_ml[label] < 0.2:
            continue
        wide = tuple(slice(max(0, s.start - m), s.stop + m) for s, m in zip(box, margins, strict=True))
        piece = labels[wide] == label
        distance_mm = ndimage.distance_transform_edt(~piece, sampling=spacing_mm)
        around = hu[wide][(distance_mm > 2.5) & (distance_mm < 6.5)]
        keep[label] = (around > hu[wide][piece].mean()).mean() < 0.25  # blood up to 0.21, marrow from 0.26 (12 CTs)
    return keep[labels]


def _lone(hu: np.ndarray, soft: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """Bright pieces that no flood reached: the ends of thin ribs and calcifications, over 0.2 ml."""
    labels, count = ndimage.label(soft & (hu > 180))
    keep = np.bincount(labels.ravel(), minlength=count + 1) * np.prod(spacing_mm) > 200
    keep &= np.bincount(labels[hu > 260], minlength=count + 1) > 0
    keep[0] = False
    return keep[labels]


def _before_spine(lungs: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """Where no spine is: at the height of the lungs and within their width, well in front of their back."""
    rows = np.arange(lungs.shape[1]) * spacing_mm[1]
    seen = lungs.any(axis=2)
    back, front = np.where(seen, rows, -np.inf).max(axis=1), np.where(seen, rows, np.inf).min(axis=1)
    depths_mm = np.maximum.accumulate((back - front)[::-1])[::-1]  # the lungs end in thin rims, the chest does not
    spine_mm = np.maximum(SPINE_MM, 0.4 * depths_mm)
    columns = np.flatnonzero(lungs.any(axis=(0, 1)))
    before = np.zeros(lungs.shape, bool)
    if len(columns):
        before[..., columns[0] : columns[-1] + 1] = (rows < (back - spine_mm)[:, None])[..., None]
    return before


def _shells(hu: np.ndarray, lungs: np.ndarray, before_spine: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """Bright ridges thinner than about 5 mm (a white top-hat) over dull ground: shells of bone.

    Not so between the lungs, where contrast, trabeculae of the heart and calcified valves have ridges too. Vertebrae
    and sternum hang together with what lies beyond the lungs, so there a piece is dropped where most of it lies
    between them; clear of spine and sternum all is dropped.
    """
    size = _odd(5.0, spacing_mm)
    ground = ndimage.maximum_filter(ndimage.minimum_filter(hu, size), size)
    ridges = (hu - ground > 150) & (hu > 300) & (ground < 350) & (lungs == 0)
    middle = np.maximum.accumulate(lungs == 1, axis=2)
    middle &= np.maximum.accumulate((lungs == 2)[..., ::-1], axis=2)[..., ::-1]
    rows = np.arange(hu.shape[1]) * spacing_mm[1]
    front = np.where(lungs.any(axis=2), rows, np.inf).min(axis=1)
    ridges &= ~(middle & before_spine & (rows > front[:, None] + STERNUM_MM)[..., None])
    labels, count = ndimage.label(ridges, structure=_CUBE)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    between = np.bincount(labels[middle], minlength=count + 1)
    keep = (sizes * np.prod(spacing_mm) > 500) & (between < 0.5 * sizes)
    keep[0] = False
    return keep[labels]


def _dense(hu: np.ndarray, spacing_mm: tuple[float, ...], enhanced: bool) -> tuple[np.ndarray, np.ndarray]:
    """What is denser than bone: undiluted contrast in veins, and metal; two bool (z, y, x).

    A piece is a vein where the CT has contrast, the piece is large enough, and nothing is thicker than a vein: wires,
    clips, markers and implants are metal, and so is all beside an implant or in a CT without contrast.
    """
    labels, count = ndimage.label(hu > DENSE_HU, structure=_CUBE)
    peaks = np.bincount(labels[hu > DENSE_PEAK_HU], minlength=count + 1) > 0
    peaks[0] = False
    dense = peaks[labels]
    veins = np.zeros_like(dense)
    if not (enhanced and dense.any()):
        return veins, dense
    part = ndimage.find_objects(dense.astype(np.uint8))[0]
    if ndimage.distance_transform_edt(np.pad(dense[part], 1), sampling=spacing_mm).max() > 10:
        return veins, dense
    large = np.bincount(labels[dense], minlength=count + 1) * np.prod(spacing_mm) > 1500
    if not large.any():
        return veins, dense
    veins = large[labels]
    # What is even denser than bone and hangs together with a vein is its further course, and so are bits beside it.
    courses, count = ndimage.label(ndimage.minimum_filter(hu, _odd(3.0, spacing_mm)) > COURSE_HU)
    followed = np.bincount(courses[veins], minlength=count + 1) > 0
    followed[0] = False
    near = np.zeros_like(dense)
    near[part] = ndimage.distance_transform_edt(~veins[part], sampling=spacing_mm) < 12
    beside = np.bincount(labels[near & dense], minlength=len(peaks)) > 0
    veins |= followed[courses] | (dense & beside[labels])
    return veins, dense & ~veins


def _thick_veins(
    hu: np.ndarray, before_spine: np.ndarray, metal: np.ndarray, spacing_mm: tuple[float, ...]
) -> np.ndarray:
    """Thick dense pieces before the spine, where bone is thinner or duller; none beside metal, which blooms."""
    labels, count = ndimage.label(ndimage.minimum_filter(hu, _odd(4.0, spacing_mm)) > THICK_VEIN_HU)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    keep = np.bincount(labels[before_spine], minlength=count + 1) > 0.8 * sizes
    steps = max(1, round(9 / max(spacing_mm)))
    keep[np.unique(labels[ndimage.binary_dilation(metal, _CUBE, steps)])] = False
    keep[0] = False
    return keep[labels]


def _close(mask: np.ndarray, radius_mm: float, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """Morphological closing by a box of half width ``radius_mm``."""
    size = _odd(2 * radius_mm, spacing_mm)
    return ndimage.minimum_filter(ndimage.maximum_filter(mask.view(np.uint8), size), size).view(bool)


def _odd(width_mm: float, spacing_mm: tuple[float, ...]) -> list[int]:
    """The odd number of voxels, at least three, that is nearest to a width."""
    return [2 * max(1, round(width_mm / 2 / step)) + 1 for step in spacing_mm]


def _box(mask: np.ndarray) -> tuple[list[int], list[int]]:
    """First and one past the last index (z, y, x) of a mask; an empty box of an empty one."""
    lines = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    return [int(line[0]) if len(line) else 0 for line in lines], [
        int(line[-1]) + 1 if len(line) else 0 for line in lines
    ]
