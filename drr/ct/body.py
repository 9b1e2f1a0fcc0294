"""The patient in a CT: the body without table and clothes, the lungs, and whether this is a chest at all."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from drr.ct.volume import AIR_HU, Volume
from gen.core.errors import BadInput

COARSE_MM = 3.95  # shapes are found on blocks of at most this size, edges on the voxels themselves
SOLID_HU = -300  # blocks above it are tissue (or table)
SKIN_HU = -500  # half way between air and tissue, so that the mask has the volume of the body
LUNG_HU = -400  # half way between lung and tissue
LUMEN_HU = -600  # blocks of the windpipe, not of its wall
THICK_MM = 6.0  # a ball of this radius fits into fingers and necks, not into couch tops, blankets and lines
LUNG_ML = 500  # both lungs of a small adult at expiration, with room for disease
LUNG_MM = (150, 450), (80, 350), (150, 450)  # high, deep and wide, both lungs together
EMPTY_HU = -900  # nothing was scanned where all is below
GAS_HU = -965  # no lung is as empty as gas in the bowel: emphysema is counted below -950

_IN_PLANE = ndimage.generate_binary_structure(3, 1) & np.array([False, True, False])[:, None, None]


def find_body(volume: Volume) -> np.ndarray:
    """The patient, lungs and bowel gas included, as bool (z, y, x); all False where there is none.

    Tissue is opened by a ball, which lets go of table, clothes, lines and markers; of the pieces the largest stays,
    and those that stand between its front and its back (arms, head), not those under it (table parts).
    """
    blocks, factors = shrink(volume)
    spacing_mm = _block_mm(volume, factors)
    solid = blocks > SOLID_HU
    core = _patient(ndimage.distance_transform_edt(solid, sampling=spacing_mm) > THICK_MM, spacing_mm)
    if not core.any():
        return np.zeros(volume.hu.shape, bool)
    core |= _hollows(solid, solid & _within(core, THICK_MM, spacing_mm))  # a slim chest wall is thinner than the ball
    body = _fill(core | (solid & _within(core, THICK_MM, spacing_mm)))
    rims = grow(_rims(body), factors, volume.hu.shape)
    found = volume.hu > SKIN_HU
    found &= rims > 0
    found |= rims == 2
    return found


def without_table(volume: Volume, body: np.ndarray) -> Volume:
    """The volume with everything outside ``body`` set to air."""
    return replace(volume, hu=np.where(body, volume.hu, np.int16(AIR_HU)))


def find_lungs(volume: Volume, body: np.ndarray) -> np.ndarray:
    """The aerated lungs with the vessels in them, uint8 (z, y, x): 1 the patient's right, 2 the left, 0 elsewhere.

    Windpipe and main bronchi are followed down from the neck and left out, and so is gas in the bowel. Lungs that
    touch are parted by a watershed. What holds no air (effusion, collapse, consolidation) is not found.
    """
    blocks, factors = shrink(volume)
    spacing_mm = _block_mm(volume, factors)
    inside = body[tuple(slice(f // 2, None, f) for f in factors)]
    inside = inside[tuple(slice(0, n) for n in blocks.shape)]
    air = (blocks < LUNG_HU) & inside
    airway = _airway(blocks, air, spacing_mm)
    sides = _sides(blocks, inside, air & ~airway, spacing_mm)
    codes = np.zeros(air.shape, np.uint8)  # side inside, 2 + side at the rim
    for side in (1, 2):
        others = airway | (air & (sides != side))
        rims = _rims(_fill(sides == side) & ~others)
        codes[(rims == 1) & ~others & (codes == 0)] = 2 + side
        codes[(rims == 2) & ~others] = side
    lungs = grow(codes, factors, volume.hu.shape)
    lungs *= body & ((lungs < 3) | (volume.hu < LUNG_HU))
    lungs[lungs > 2] -= 2
    return lungs


def require_chest(volume: Volume, body: np.ndarray, lungs: np.ndarray) -> None:
    """BadInput, with the numbers that say so, where this is not an adult's chest, or too little of one, in HU."""
    lowest, highest = int(volume.hu.min()), int(volume.hu.max())
    if lowest > -500 or highest < 0:
        raise BadInput(
            f"{volume.name}: values from {lowest} to {highest} hold no air or no tissue, so they are not HU",
            hint="apply the rescale slope and intercept",
        )
    if volume.size_mm[0] < LUNG_MM[0][0]:
        raise BadInput(
            f"{volume.name}: {len(volume.hu)} slices cover {volume.size_mm[0]:.0f} mm from foot to head, "
            f"a chest needs {LUNG_MM[0][0]}",
            hint="give the whole series, with its spacing in mm",
        )
    if not body.any():
        raise BadInput(f"{volume.name}: no body in this CT", hint="its spacing must be in mm and its values in HU")
    volume_ml = float(np.count_nonzero(lungs) * np.prod(volume.spacing_mm)) / 1000
    if volume_ml < LUNG_ML:
        raise BadInput(
            f"{volume.name}: {volume_ml:.0f} ml of lung found, a chest has more than {LUNG_ML}",
            hint="give a chest CT, with its spacing in mm",
        )
    low, high = bounds(lungs)
    for axis, (name, (least, most)) in enumerate(zip(("high", "deep", "wide"), LUNG_MM, strict=True)):
        size_mm = (high[axis] - low[axis] + 1) * volume.spacing_mm[axis]
        if not least <= size_mm <= most:
            ends = " and ".join(_ends(lungs))
            raise BadInput(
                f"{volume.name}: the lungs are {size_mm:.0f} mm {name}, not {least} to {most} as in a chest"
                + (f", and cut at the {ends}" if ends else ""),
                hint="give a whole chest, with its spacing in mm",
            )


@dataclass(frozen=True)
class Field:
    """What the scan shows of the patient; ``facts()`` for provenance.

    Boxes are the first and the last index (z, y, x). ``cut``: the sides where the scan ends inside the body, of
    "left", "right", "front" and "back" (the patient's). ``lungs_cut``: "top", "bottom". ``arms``: "up" beside the
    head, "down" beside the trunk or "" where none is seen apart from the trunk.
    """

    body: tuple[tuple[int, int, int], tuple[int, int, int]]
    lungs: tuple[tuple[int, int, int], tuple[int, int, int]]
    cut: tuple[str, ...]
    lungs_cut: tuple[str, ...]
    arms: str
    lungs_mm: tuple[float, float]  # lowest and highest plane of the lungs above the lowest plane of the scan

    def facts(self) -> dict[str, object]:
        """Plain values for a JSON record."""
        return {
            "body_cut": list(self.cut),
            "lungs_cut": list(self.lungs_cut),
            "arms": self.arms,
            "lungs_mm": [round(z, 1) for z in self.lungs_mm],
        }


def describe_field(volume: Volume, body: np.ndarray, lungs: np.ndarray) -> Field:
    """What the scan cuts off and where the lungs are, of a volume that passed ``require_chest``."""
    low, high = bounds(lungs)
    step = volume.spacing_mm[0]
    return Field(
        bounds(body),
        (low, high),
        _cut(volume, body),
        _ends(lungs),
        _arms(volume, body, low, high),
        (low[0] * step, high[0] * step),
    )


def bounds(mask: np.ndarray) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """First and last index (z, y, x) of what is not zero."""
    ends = []
    for axis in range(3):
        line = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        ends.append((int(line[0]), int(line[-1])))
    (z0, z1), (y0, y1), (x0, x1) = ends
    return (z0, y0, x0), (z1, y1, x1)


def shrink(volume: Volume, most_mm: float = COARSE_MM) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Means of blocks of at most ``most_mm``, int16 HU (z, y, x), and the voxels in a block along z, y and x."""
    factors = tuple(max(1, min(n, int(most_mm / d))) for n, d in zip(volume.hu.shape, volume.spacing_mm, strict=True))
    image = sitk.BinShrink(sitk.GetImageFromArray(volume.hu), factors[::-1])
    return sitk.GetArrayFromImage(image), (factors[0], factors[1], factors[2])


def grow(blocks: np.ndarray, factors: tuple[int, int, int], shape: tuple[int, ...]) -> np.ndarray:
    """Blocks back to voxels of ``shape``; voxels at the far ends that filled no block repeat the last one."""
    for axis in (2, 1, 0):  # in this order whole rows and planes are copied at last
        places = np.minimum(np.arange(shape[axis]) // factors[axis], blocks.shape[axis] - 1)
        blocks = blocks.take(places, axis=axis)
    return blocks


def _ends(lungs: np.ndarray) -> tuple[str, ...]:
    """The ends of the scan at which the lungs go on: a plane there shows more of them than the tip of an apex."""
    largest = np.count_nonzero(lungs, axis=(1, 2)).max()
    faces = (("bottom", lungs[0]), ("top", lungs[-1]))
    return tuple(name for name, face in faces if np.count_nonzero(face) > 0.02 * largest)


def _cut(volume: Volume, body: np.ndarray) -> tuple[str, ...]:
    """Sides where over 5 cm2 of the body lie against the border of the grid, or against the circle inscribed in it."""
    (height, width), (dz, dy, dx) = body.shape[1:], volume.spacing_mm
    y = (np.arange(height) - (height - 1) / 2)[:, None] * dy
    x = (np.arange(width) - (width - 1) / 2)[None] * dx
    rim = np.zeros((height, width), bool)
    rim[[0, -1]] = rim[:, [0, -1]] = True
    radius = np.hypot(y, x) - width * dx / 2
    if abs(height * dy - width * dx) < dx and not (volume.hu[:, radius > dx] > EMPTY_HU).any():
        rim |= abs(radius) < dx
    touched = body.sum(axis=0) * rim
    sideways, areas = abs(x) > abs(y), touched * dz * max(dy, dx) / 100
    sides = {
        "right": sideways & (x < 0),
        "left": sideways & (x > 0),
        "front": ~sideways & (y < 0),
        "back": ~sideways & (y > 0),
    }
    return tuple(side for side, part in sides.items() if areas[part].sum() > 5)


def _arms(volume: Volume, body: np.ndarray, low: tuple[int, ...], high: tuple[int, ...]) -> str:
    """Where pieces of over 15 cm2 stand to the side of the trunk or the head in an axial plane: above the lungs or
    beside them; ``low`` and ``high`` are the bounds of the lungs."""
    middle, reach = (low[2] + high[2]) / 2, (high[2] - low[2]) / 4
    least = 1500 / (volume.spacing_mm[1] * volume.spacing_mm[2])
    planes = np.zeros(len(body), bool)
    for k, plane in enumerate(body):
        labels, _ = ndimage.label(plane)
        sizes = np.bincount(labels.ravel())
        pieces = [int(p) for p in np.flatnonzero(sizes > least) if p and p != 1 + np.argmax(sizes[1:])]
        planes[k] = any(abs(x - middle) > reach for _, x in ndimage.center_of_mass(plane, labels, pieces))
    long_enough = 20 / volume.spacing_mm[0]  # an arm, and not a cushion under the flank
    if planes[high[0] + 1 :].sum() > long_enough:
        return "up"
    return "down" if planes[: (low[0] + high[0]) // 2].sum() > long_enough else ""


def _block_mm(volume: Volume, factors: tuple[int, int, int]) -> tuple[float, ...]:
    return tuple(step * factor for step, factor in zip(volume.spacing_mm, factors, strict=True))


def _rims(mask: np.ndarray) -> np.ndarray:
    """2 inside a mask of blocks, 1 within a block of its surface, 0 outside: uint8."""
    return ndimage.binary_dilation(mask).astype(np.uint8) + ndimage.binary_erosion(mask, border_value=1)


def _within(mask: np.ndarray, distance_mm: float, spacing_mm: tuple[float, ...]) -> np.ndarray:
    return ndimage.distance_transform_edt(~mask, sampling=spacing_mm) <= distance_mm


def _fill(mask: np.ndarray) -> np.ndarray:
    return np.stack([ndimage.binary_fill_holes(plane) for plane in mask])


def _patient(core: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """Of the thick pieces the largest, and those over 10 ml whose centre is neither in front of it nor behind it."""
    labels, count = ndimage.label(core)
    if not count:
        return core
    index = np.arange(1, count + 1)
    volumes_ml = np.bincount(labels.ravel(), minlength=count + 1)[1:] * np.prod(spacing_mm) / 1000
    largest = int(np.argmax(volumes_ml))
    rows = ndimage.find_objects(labels)[largest][1]
    middles = np.array(ndimage.center_of_mass(core, labels, index))[:, 1]
    keep = (volumes_ml > 10) & (middles >= rows.start) & (middles < rows.stop)
    keep[largest] = True
    return np.concatenate([[False], keep])[labels]


def _hollows(solid: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Enclosed air (in its axial plane) whose surroundings are mostly ``body``: lungs and bowel, not a hollow table."""
    holes = _fill(solid) & ~solid
    labels, count = ndimage.label(holes, structure=_IN_PLANE)
    around = ndimage.grey_dilation(labels, footprint=_IN_PLANE) * ~holes
    total = np.bincount(around.ravel(), minlength=count + 1)
    of_body = np.bincount(around[body], minlength=count + 1)
    return holes & (of_body > 0.6 * total)[labels]


def _airway(blocks: np.ndarray, air: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """Windpipe and main bronchi: a patch of air in the middle of the neck, followed down from plane to plane.

    Where its wall is too thin to be seen beside the lung it is continued straight, for 60 mm at most.
    """
    lumen = air & (blocks < LUMEN_HU)
    labels, count = ndimage.label(lumen, structure=_IN_PLANE)
    areas_mm2 = np.bincount(labels.ravel(), minlength=count + 1) * spacing_mm[1] * spacing_mm[2]
    areas_mm2[0] = np.inf
    small = areas_mm2 < 800  # a windpipe has 150 to 500 mm2 of air, a carina somewhat more
    airway = np.zeros_like(air)
    if not count:
        return airway
    aside_mm = abs(np.arange(air.shape[2]) - np.nonzero(air)[2].mean()) * spacing_mm[2]
    patches = ndimage.minimum(np.broadcast_to(aside_mm, air.shape), labels, np.arange(count + 1))
    starts = small & (areas_mm2 > 60) & (patches < 20)
    length_mm = straight_mm = 0.0
    for k in range(air.shape[0] - 1, -1, -1):
        plane = labels[k]
        above = airway[k + 1] if k + 1 < len(airway) else np.zeros_like(plane, bool)
        followed = np.unique(plane[above])
        airway[k] = np.isin(plane, followed[small[followed]])
        if above.any() and not airway[k].any() and straight_mm < 60:
            airway[k] = ndimage.binary_dilation(above) & (blocks[k] < GAS_HU + 65) & air[k]
            straight_mm += spacing_mm[0]
        if not airway[k].any() or airway[k].sum() * spacing_mm[1] * spacing_mm[2] > 800:
            airway[k] = False
            if length_mm > 40:  # it was the windpipe, and this is its end
                break
            length_mm = straight_mm = 0.0
            candidates = np.unique(plane)
            candidates = candidates[starts[candidates]]
            if len(candidates):
                airway[k] = plane == candidates[np.argmax(areas_mm2[candidates])]
        length_mm += spacing_mm[0] * airway[k].any()
    return ndimage.binary_dilation(airway, structure=_IN_PLANE) & air & (~lumen | airway)


def _sides(blocks: np.ndarray, inside: np.ndarray, air: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """Right lung 1, left lung 2 and the rest 0, of blocks of ``air`` without the airway.

    Eroded until no piece of lung lies on both sides of the body's middle, then flooded back from these pieces.
    """
    depth = ndimage.distance_transform_edt(air, sampling=spacing_mm)
    markers = np.zeros(air.shape, np.uint8)
    for erosion_mm in (4.0, 6.0, 8.0, 10.0, 12.0, 15.0):
        labels, count = ndimage.label(depth > erosion_mm)
        index = np.arange(1, count + 1)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        gas = ndimage.median(blocks, labels, index) < GAS_HU
        lung = ~gas & (sizes > 0.05 * sizes[~gas].max(initial=0))
        if not lung.any():
            break
        planes = np.isin(labels, index[lung]).any(axis=(1, 2))
        middle = np.nonzero(inside[planes])[2].mean()
        at_left = np.arange(air.shape[2]) > middle
        share = ndimage.mean(np.broadcast_to(at_left, air.shape), labels, index)  # of a piece at the patient's left
        kinds = np.select([gas, ~lung, share < 0.5], [3, 0, 1], 2)
        markers = np.concatenate([[0], kinds]).astype(np.uint8)[labels]
        both = lung & (np.minimum(share, 1 - share) > 0.2)
        if not both.any():
            break
        halves = np.isin(labels, index[both])  # if no erosion parts them, the middle does
        markers[halves] = np.broadcast_to(at_left, air.shape)[halves] + np.uint8(1)
    flooded = sitk.MorphologicalWatershedFromMarkers(
        sitk.GetImageFromArray(-depth.astype(np.float32)), sitk.GetImageFromArray(markers), markWatershedLine=False
    )
    sides = np.where(air, sitk.GetArrayFromImage(flooded), 0)
    pieces, count = ndimage.label(air)
    reached = np.bincount(pieces[(markers > 0) & (markers < 3)], minlength=count + 1) > 0
    sides[(sides == 3) | ~reached[pieces]] = 0
    return sides
