"""DeepDRR behind our face, for users with an NVIDIA GPU who have it: line integrals out of its monoenergetic images.

Written against the interface of DeepDRR 1.2.2 and tested on a stand-in with the same signatures, which computes the
same on a CPU. It has not been run against DeepDRR itself, which needs CUDA.

DeepDRR gives the energy a photon deposits, not line integrals: so each stack is exposed alone, as one material of
density number / 1000 g/cm3, at one energy, and the logarithm is taken back. Its scatter (which raises), its noise and
its "neglog" (on by default, and a min-max of each image) stay off, so that results add up and compare as ours do. It
steps along the ray by 0.1 mm, trilinear; a voxel at the rim of the grid ends at its face, not a voxel beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np

from drr.backends.tiles import Stack
from drr.geometry import Geometry
from gen.core.errors import EnvironmentLacks

ENERGY_KEV = 100.0  # any will do that is not all absorbed: behind 600 mm of water 4e-5 is left
MATERIAL = "tissue_soft"  # in DeepDRR's table; its mass attenuation is divided out again
_HINT = (
    "DeepDRR is GPL-3 and needs numpy < 2, CuPy, nvcc and EGL on Linux with an NVIDIA GPU: make an environment of its "
    "own, pip install 'deepdrr[cuda12x]==1.2.2' there, and this package without its dependencies"
)


def project_deepdrr(stacks: Sequence[Stack], geometry: Geometry) -> np.ndarray:
    """Water-equivalent mm along the ray to each pixel, for each stack: float32 (len(stacks), H, W).

    EnvironmentLacks where DeepDRR 1.2 cannot be imported, with what to do.
    """
    deepdrr = _load()
    camera, mirrored = _camera(deepdrr.geo, geometry)
    images = np.stack([_expose(deepdrr, stack, camera, geometry.sdd_mm) for stack in stacks])
    return images[..., ::-1].copy() if mirrored else images


def _load() -> Any:
    try:
        found = version("deepdrr")
        module = import_module("deepdrr")
    except (ImportError, OSError) as error:  # OSError: a library of CUDA or EGL
        reason = " ".join(str(error).split())[:120]
        raise EnvironmentLacks(f"DeepDRR cannot be imported: {reason}", hint=_HINT) from error
    if not found.startswith("1.2."):  # beside numpy 2, pip falls back to 1.1.3 unless told otherwise
        raise EnvironmentLacks(f"DeepDRR {found} is not the 1.2 that this is written for", hint=_HINT)
    return module


def _camera(geo: Any, geometry: Geometry) -> tuple[Any, bool]:
    """The camera projection, its world the patient's frame, and whether its columns run backwards.

    A camera is a rotation: where an image is hung the other way round (AP), the columns are exposed in reverse.
    """
    column = geometry.column_mm / geometry.pitch_mm[1]
    row, normal = geometry.row_mm / geometry.pitch_mm[0], geometry.normal
    # Where the ray along the normal meets the detector; centres of pixels are at halves in DeepDRR.
    centre_row, centre_column = geometry.pixel_of(geometry.source_mm + normal) + 0.5
    height, width = geometry.shape
    mirrored = bool(np.cross(column, row) @ normal < 0)
    if mirrored:
        column, centre_column = -column, width - centre_column
    focal_row, focal_column = geometry.sdd_mm / np.asarray(geometry.pitch_mm)
    intrinsic = np.array([[focal_column, 0, centre_column], [0, focal_row, centre_row], [0, 0, 1]])
    extrinsic = np.eye(4)
    extrinsic[:3, :3] = column, row, normal
    extrinsic[:3, 3] = -extrinsic[:3, :3] @ geometry.source_mm
    sensor = geo.CameraIntrinsicTransform(intrinsic, sensor_height=height, sensor_width=width)
    return geo.CameraProjection(sensor, geo.FrameTransform(extrinsic)), mirrored


def _expose(deepdrr: Any, stack: Stack, camera: Any, sdd_mm: float) -> np.ndarray:
    grid = stack.grid
    density = stack.numbers().T.astype(np.float32) / 1000  # (x, y, z), g/cm3
    to_mm = np.eye(4)
    to_mm[:3, :3] = grid.direction * np.asarray(grid.spacing_mm)[::-1]
    to_mm[:3, 3] = grid.origin_mm
    volume = deepdrr.Volume(
        density,
        ({MATERIAL: 0}, np.zeros(density.shape, np.uint16)),
        anatomical_from_IJK=deepdrr.geo.FrameTransform(to_mm),
        anatomical_coordinate_system="LPS",
    )
    projector = deepdrr.Projector(
        volume,
        camera_intrinsics=camera.intrinsic,
        spectrum=np.array([[ENERGY_KEV * 1000, 1.0]]),  # eV, photons
        scatter_num=0,
        add_noise=False,
        neglog=False,
        source_to_detector_distance=sdd_mm,
    )
    with projector:
        deposited_kev = projector.project(camera)
    rate = deepdrr.Material.from_string(MATERIAL).get_coefficients(ENERGY_KEV).mu_over_rho / 10  # 1/mm at 1 g/cm3
    return np.asarray(np.log(ENERGY_KEV / deposited_kev) / rate, np.float32)
