"""The adapter to DeepDRR against a stand-in that takes the calls of version 1.2.2 and answers with physics."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from drr.backends import deepdrr as adapter
from drr.backends.deepdrr import project_deepdrr
from drr.backends.tiles import Stack
from drr.geometry import VIEWS, View, place
from drr.projector import prepare, project
from gen.core.errors import EnvironmentLacks

RATE_CM2_G = 0.169


class FrameTransform:
    def __init__(self, data: np.ndarray) -> None:
        assert data.shape in ((3, 3), (4, 4))
        self.data = data


class CameraIntrinsicTransform(FrameTransform):
    def __init__(self, data: np.ndarray, sensor_height: int | None = None, sensor_width: int | None = None) -> None:
        super().__init__(data)
        self.sensor_height, self.sensor_width = sensor_height, sensor_width


class CameraProjection:
    def __init__(self, intrinsic: CameraIntrinsicTransform, extrinsic: FrameTransform) -> None:
        turn = extrinsic.data[:3, :3]
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(turn) > 0
        self.intrinsic, self.extrinsic = intrinsic, extrinsic


class Volume:
    def __init__(
        self,
        data: np.ndarray,
        materials: tuple[dict[str, int], np.ndarray],
        anatomical_from_IJK: FrameTransform | None = None,
        world_from_anatomical: FrameTransform | None = None,
        anatomical_coordinate_system: str | None = None,
    ) -> None:
        assert data.ndim == 3
        assert data.shape == materials[1].shape
        assert anatomical_coordinate_system in ("LPS", "RAS", None)
        assert world_from_anatomical is None
        assert anatomical_from_IJK is not None
        assert list(materials[0]) == ["tissue_soft"]
        self.data, self.to_mm = data, anatomical_from_IJK.data


class Material:
    @classmethod
    def from_string(cls, name: str, compound_string: bool = False) -> Material:
        assert name == "tissue_soft"
        return cls()

    def get_coefficients(self, energy_keV: float) -> SimpleNamespace:
        assert 10 < energy_keV < 200
        return SimpleNamespace(mu_over_rho=RATE_CM2_G)


class Projector:
    def __init__(
        self,
        volume: Volume,
        priorities: list[int] | None = None,
        camera_intrinsics: CameraIntrinsicTransform | None = None,
        device: Any = None,
        step: float = 0.1,
        mode: str = "linear",
        spectrum: np.ndarray | str = "90KV_AL40",
        add_scatter: bool | None = None,
        scatter_num: int = 0,
        add_noise: bool = False,
        photon_count: int = 10000,
        threads: int = 8,
        max_block_index: int = 65535,
        collected_energy: bool = False,
        neglog: bool = True,
        intensity_upper_bound: float | None = None,
        attenuate_outside_volume: bool = False,
        source_to_detector_distance: float = -1,
    ) -> None:
        if scatter_num > 0 or add_scatter:
            raise RuntimeError("Scatter is deprecated.")
        assert isinstance(camera_intrinsics, CameraIntrinsicTransform)
        assert isinstance(spectrum, np.ndarray)
        self.volume, self.spectrum, self.neglog, self.add_noise = volume, spectrum, neglog, add_noise
        self.initialized = False

    def __enter__(self) -> Projector:
        self.initialized = True
        return self

    def __exit__(self, *_: object) -> None:
        self.initialized = False

    def project(self, *camera_projections: CameraProjection) -> np.ndarray:
        if not self.initialized:
            raise RuntimeError("Projector has not been initialized.")
        (camera,) = camera_projections
        width, height = camera.intrinsic.sensor_width, camera.intrinsic.sensor_height
        assert width is not None
        assert height is not None
        u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        to_world = np.linalg.inv(camera.extrinsic.data)
        rays = np.stack([u, v, np.ones_like(u)], -1) @ (to_world[:3, :3] @ np.linalg.inv(camera.intrinsic.data)).T
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        centre = self.volume.to_mm[:3] @ [*(np.array(self.volume.data.shape) - 1) / 2, 1]
        middle, step = np.linalg.norm(centre - to_world[:3, 3]), 0.25
        to_index = np.linalg.inv(self.volume.to_mm)
        area = np.zeros((height, width))
        for distance in np.arange(middle - 60, middle + 60, step):
            points = (to_world[:3, 3] + distance * rays) @ to_index[:3, :3].T + to_index[:3, 3]
            area += map_coordinates(self.volume.data, np.moveaxis(points, -1, 0), order=1) * step / 10
        energies, photons = self.spectrum.T
        share = photons / photons.sum() * np.exp(-area[..., None] * RATE_CM2_G)
        image = np.asarray((energies / 1000 * share).sum(-1), np.float32)
        if self.add_noise:
            image = np.random.default_rng().poisson(image).astype(np.float32)
        return (image - image.min()) / np.ptp(image) if self.neglog else image


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("deepdrr")
    names = {"CameraIntrinsicTransform": CameraIntrinsicTransform, "CameraProjection": CameraProjection}
    parts = {"geo": SimpleNamespace(**names, FrameTransform=FrameTransform), "Volume": Volume, "Material": Material}
    module.__dict__.update(parts, Projector=Projector)
    monkeypatch.setitem(sys.modules, "deepdrr", module)
    monkeypatch.setattr(adapter, "version", lambda name: "1.2.2")
    return module


def stack_of(numbers: np.ndarray) -> Stack:
    direction = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1.0]])
    origin = np.array([10.0, 20.0, 30.0]) - direction @ ((np.array(numbers.shape[::-1]) - 1) / 2 * (1.0, 0.75, 1.25))
    return prepare(numbers, (1.25, 0.75, 1.0), direction, tuple(origin))


def blobs(seed: int) -> np.ndarray:
    """Smooth numbers without symmetry, zero at the rim."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in (36, 52, 44)], indexing="ij")
    numbers = np.zeros(z.shape)
    for centre in np.random.default_rng(seed).uniform(-0.4, 0.4, (5, 3)):
        numbers += 900 * np.exp(-((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2) / 0.04)
    return np.rint(numbers).astype(np.int16)


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    "view", [VIEWS["PA"], VIEWS["AP"], VIEWS["lateral"], View("turned", -35, 20, roll_deg=8, shift_mm=(9, -6))]
)
def test_line_integrals_are_those_of_the_oracle(view: View) -> None:
    geometry = place(view, np.array([10.0, 20.0, 30.0]), 40, 70)
    stacks = [stack_of(blobs(0)), stack_of(blobs(1))]
    images = project_deepdrr(stacks, geometry)
    expected = project(stacks, geometry, backend="reference")
    assert images.shape == (2, 40, 40)
    assert images.dtype == np.float32
    assert np.abs(images - expected).max() < 0.01 * expected.max()


@pytest.mark.usefixtures("stand_in")
def test_shares_of_one_volume_add_up() -> None:
    geometry = place(VIEWS["PA"], np.array([10.0, 20.0, 30.0]), 24, 70)
    one, other = blobs(0), blobs(1)
    images = project_deepdrr([stack_of(one), stack_of(other), stack_of(one + other)], geometry)
    np.testing.assert_allclose(images[0] + images[1], images[2], atol=1e-4 * images[2].max())


def test_without_deepdrr_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepdrr", None)  # importing it fails
    geometry = place(VIEWS["PA"], np.zeros(3), 8, 70)
    with pytest.raises(EnvironmentLacks, match=r"numpy < 2.*deepdrr\[cuda12x\]==1.2.2"):
        project_deepdrr([stack_of(blobs(0))], geometry)


@pytest.mark.usefixtures("stand_in")
def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "version", lambda name: "1.1.3")
    with pytest.raises(EnvironmentLacks, match=r"1\.1\.3"):
        project_deepdrr([stack_of(blobs(0))], place(VIEWS["PA"], np.zeros(3), 8, 70))
