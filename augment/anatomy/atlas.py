"""Labels for a CT that has none: those of one labelled CT, carried over by registration and corrected by what is seen.

The atlas is moved by the box of its lungs, then by diffeomorphic demons (Vercauteren et al. 2009,
doi:10.1016/j.neuroimage.2008.10.040) on tissue without contrast medium. Bone is where the CT itself has bone: of an
atlas only the name of the nearest bone is taken. No organ reaches into a lung.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from drr.ct.volume import Labels
from drr.scene import Scene

STEP_MM = 4.0  # grid of the registration
_WINDOW_HU = (-1000, 120)  # air to muscle: contrast medium and bone look alike in all patients
_LEVELS = ((3, 60), (2, 60), (1, 40))  # steps of the grid, and iterations
_SMOOTH = 1.5  # steps of the grid, of the field
_NEAR_MM = 15.0  # bone farther from every bone of the atlas has no name
_BONES = r"(rib|vertebrae|clavicula|scapula|humerus)_\w+|sternum|costal_cartilages"


@dataclass(frozen=True, eq=False)
class _Grid:
    """A scene on the grid of the registration: HU as an image, and the box of its lungs in mm, (2, 3) x, y, z."""

    image: sitk.Image
    lungs_mm: np.ndarray


def carry_over(atlas: Scene, scene: Scene) -> Labels:
    """Labels for ``scene`` from those of ``atlas``, which has some; lungs are those found in the scene itself."""
    assert atlas.volume.labels is not None
    moving, fixed = _grid(atlas), _grid(scene)
    field = _register(fixed, moving)
    ids = sitk.GetImageFromArray(atlas.volume.labels.ids)
    _place(ids, atlas)
    frame = sitk.GetImageFromArray(np.zeros(scene.volume.hu.shape, np.uint8))
    _place(frame, scene)
    carried = sitk.GetArrayFromImage(sitk.Resample(ids, frame, field, sitk.sitkNearestNeighbor, 0))
    return _corrected(carried, atlas.volume.labels, scene)


def _corrected(carried: np.ndarray, labels: Labels, scene: Scene) -> Labels:
    """Bone and lungs as the CT shows them, the rest as it was carried over."""
    names = labels.names
    bones = np.isin(carried, [number for number, name in names.items() if re.fullmatch(_BONES, name)])
    lungs = [number for number, name in names.items() if name.startswith("lung_")]
    ids = np.where(bones | np.isin(carried, lungs) | (scene.lungs > 0), carried.dtype.type(0), carried)
    bone = (scene.shares.bone > 0) & (scene.lungs == 0)
    distance, nearest = ndimage.distance_transform_edt(~bones, sampling=scene.volume.spacing_mm, return_indices=True)
    named = bone & (distance < _NEAR_MM)
    ids[named] = carried[tuple(axis[named] for axis in nearest)]
    first = max(names) + 1
    ids = ids.astype(np.uint16)
    ids[scene.lungs == 1], ids[scene.lungs == 2] = first, first + 1
    kept = {number: name for number, name in names.items() if number not in lungs}
    return Labels(ids, kept | {first: "lung_right", first + 1: "lung_left"})


def _place(image: sitk.Image, scene: Scene) -> None:
    image.SetSpacing(scene.volume.spacing_mm[::-1])
    image.SetOrigin(scene.volume.origin_mm)
    image.SetDirection(scene.volume.direction.ravel())


def _grid(scene: Scene) -> _Grid:
    image = sitk.GetImageFromArray(np.clip(scene.volume.hu, *_WINDOW_HU).astype(np.float32))
    _place(image, scene)
    factors = [max(1, round(STEP_MM / step)) for step in image.GetSpacing()]
    ends = np.array(scene.field.lungs)  # z, y, x
    return _Grid(sitk.BinShrink(image, factors), scene.volume.to_mm(ends))


def _register(fixed: _Grid, moving: _Grid) -> sitk.Transform:
    """From points of ``fixed`` to points of ``moving``."""
    scale = np.ptp(moving.lungs_mm, axis=0) / np.ptp(fixed.lungs_mm, axis=0)
    start = sitk.AffineTransform(3)
    start.SetMatrix(np.diag(scale).ravel())
    start.SetTranslation(moving.lungs_mm.mean(axis=0) - scale * fixed.lungs_mm.mean(axis=0))
    demons = sitk.DiffeomorphicDemonsRegistrationFilter()
    demons.SetSmoothDisplacementField(True)
    demons.SetStandardDeviations(_SMOOTH)
    near = sitk.Resample(moving.image, fixed.image, start, sitk.sitkLinear, float(_WINDOW_HU[0]))
    field: sitk.Image | None = None
    for every, iterations in _LEVELS:
        one, other = (sitk.BinShrink(image, [every] * 3) if every > 1 else image for image in (fixed.image, near))
        demons.SetNumberOfIterations(iterations)
        start_field = () if field is None else (sitk.Resample(field, one),)
        field = demons.Execute(one, other, *start_field)
    field = sitk.Resample(field, fixed.image)
    warp = sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))
    return sitk.CompositeTransform([start, warp])  # the last is applied first


def with_labels(scene: Scene, labels: Labels) -> Scene:
    """``scene`` whose volume has ``labels``."""
    return replace(scene, volume=replace(scene.volume, labels=labels))
