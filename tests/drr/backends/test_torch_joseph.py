"""The differentiable projector: equal to the oracle, with right gradients, and a pose that is found again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from drr.backends import torch_joseph
from drr.backends.plan import plan_projection
from drr.backends.reference import project_stack
from drr.backends.torch_joseph import pose_of, project_torch
from drr.geometry import Geometry, View, place
from drr.phantom.shapes import Ellipsoid
from drr.projector import prepare
from gen.core.errors import BadInput

SPACING_MM = (2.5, 1.5, 2.0)  # z, y, x
ANGLES = ((0, 0), (180, 0), (90, 0), (-30, 10), (57, -12), (10, 59))
TURN = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]])


def view(primary_deg: float, secondary_deg: float, pixels: int = 12, field_mm: float = 40) -> Geometry:
    return place(View("test", primary_deg, secondary_deg, 900, 800), np.array([3.0, -5.0, 8.0]), pixels, field_mm)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4096, shape).astype(np.int16)


def origin_of(shape: tuple[int, ...], direction: np.ndarray) -> np.ndarray:
    """Where voxel [0, 0, 0] is when the grid's middle is at the views' centre."""
    half = (np.asarray(shape[::-1]) - 1) / 2 * SPACING_MM[::-1]
    return np.array([3.0, -5.0, 8.0]) - direction @ half


@pytest.mark.parametrize("angles", ANGLES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_it_is_the_oracle(angles: tuple[float, float], dtype: torch.dtype, tolerance: float) -> None:
    numbers = noise(12, 17, 15)
    geometry = view(*angles)
    stack = prepare(numbers, SPACING_MM, TURN, tuple(origin_of(numbers.shape, TURN)))
    expected = project_stack(stack, plan_projection(stack.grid, geometry), geometry.shape)
    pose = pose_of(geometry, TURN, origin_of(numbers.shape, TURN))
    image = project_torch(torch.from_numpy(numbers).to(dtype), SPACING_MM, *pose, geometry.shape)
    assert image.dtype == dtype
    assert np.abs(image.numpy() - expected).max() <= tolerance * expected.max()


def test_an_ellipsoid_casts_its_chords() -> None:
    solid = Ellipsoid((3, -5, 8), (14, 11, 16))
    spacing = np.array(SPACING_MM) / 4
    origin = np.array([3, -5, 8]) - (np.array([76, 76, 76]) - 1) / 2 * spacing[::-1]
    z, y, x = (
        origin[2 - i] + spacing[i] * np.arange(76).reshape([-1 if j == i else 1 for j in range(3)]) for i in range(3)
    )
    numbers = torch.from_numpy((solid.level(x, y, z) <= 0) * 1000.0)
    geometry = view(-20, 10, pixels=48, field_mm=44)
    image = project_torch(numbers, tuple(spacing), *pose_of(geometry, np.eye(3), origin), geometry.shape).numpy()
    chords = solid.chord_mm(geometry.source_mm, geometry.pixels_mm())
    assert abs(image.mean() / chords.mean() - 1) < 0.005
    assert np.abs(image - chords).mean() < 0.01 * chords.max()


def test_neither_the_chunks_nor_the_company_of_other_stacks_change_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = noise(6, 8, 7), noise(6, 8, 7)[::-1].copy()
    geometry = view(12, 5)
    pose = pose_of(geometry, np.eye(3), origin_of(first.shape, np.eye(3)))
    alone = [project_torch(torch.from_numpy(n), SPACING_MM, *pose, geometry.shape) for n in (first, second)]
    monkeypatch.setattr(torch_joseph, "SAMPLES", 3 * 4 * 144)  # three slabs of two stacks
    both = project_torch(torch.from_numpy(np.stack([first, second])), SPACING_MM, *pose, geometry.shape)
    assert both.shape == (2, *geometry.shape)
    torch.testing.assert_close(both, torch.stack(alone), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("angles", ANGLES[:4])
def test_gradients_are_those_of_finite_differences(
    angles: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_joseph, "SAMPLES", 100)  # several chunks
    numbers = torch.from_numpy(noise(3, 4, 3) / 1000.0).requires_grad_()
    geometry = view(*angles, pixels=4, field_mm=11)
    offset = torch.tensor([0.01, -0.02, 0.03, 0.11, -0.17, 0.07], dtype=torch.float64, requires_grad=True)

    def image(numbers: Tensor, offset: Tensor) -> Tensor:
        pose = pose_of(geometry, TURN, origin_of((3, 4, 3), TURN), offset, (1.0, 2.0, 3.0))
        return 1000 * project_torch(numbers, SPACING_MM, *pose, geometry.shape)

    assert torch.autograd.gradcheck(image, (numbers, offset), eps=1e-6, atol=1e-5)

    pose = [part.requires_grad_() for part in pose_of(geometry, TURN, origin_of((3, 4, 3), TURN))]
    assert torch.autograd.gradcheck(
        lambda *pose: 1000 * project_torch(numbers.detach(), SPACING_MM, *pose, geometry.shape), pose, atol=1e-5
    )


def test_the_back_projection_is_the_adjoint() -> None:
    generator = torch.Generator().manual_seed(1)
    numbers = torch.rand(2, 9, 8, 10, generator=generator, dtype=torch.float64, requires_grad=True)
    geometry = view(25, -8, pixels=16)
    pose = pose_of(geometry, TURN, origin_of(numbers.shape[1:], TURN))
    image = project_torch(numbers, SPACING_MM, *pose, geometry.shape)
    other = torch.rand(image.shape, generator=generator, dtype=torch.float64)
    (back,) = torch.autograd.grad(image, numbers, other)
    another = torch.rand(numbers.shape, generator=generator, dtype=torch.float64)
    forward = project_torch(another, SPACING_MM, *pose, geometry.shape)
    assert (forward * other).sum().item() == pytest.approx((another * back).sum().item(), rel=1e-12)


def test_moving_the_patient_is_moving_the_tube_and_the_detector_the_other_way() -> None:
    numbers = torch.from_numpy(noise(6, 8, 7)).double()
    origin = origin_of(numbers.shape, TURN)
    geometry, moved = view(20, 5), view(0, 0)
    shift = np.array([4.0, -3.0, 2.0])
    offset = torch.tensor([0, 0, 0, *shift], dtype=torch.float64)
    back = Geometry(
        geometry.source_mm - shift, geometry.corner_mm - shift, geometry.row_mm, geometry.column_mm, geometry.shape
    )
    one = project_torch(numbers, SPACING_MM, *pose_of(geometry, TURN, origin, offset), geometry.shape)
    other = project_torch(numbers, SPACING_MM, *pose_of(back, TURN, origin), geometry.shape)
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)

    # A patient who turns by -20 degrees about the axis from foot to head sees a PA beam as a 20 degrees oblique one.
    turn = torch.tensor([0, 0, np.deg2rad(-20), 0, 0, 0], dtype=torch.float64)
    one = project_torch(numbers, SPACING_MM, *pose_of(moved, TURN, origin, turn, (3, -5, 8)), moved.shape)
    other = project_torch(numbers, SPACING_MM, *pose_of(view(20, 0), TURN, origin), moved.shape)
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_a_pose_is_found_again_from_two_views() -> None:
    size = 24
    generator = np.random.default_rng(3)
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, size)] * 3, indexing="ij")
    numbers = np.zeros((size, size, size))
    for centre in generator.uniform(-0.6, 0.6, (9, 3)):
        distance = (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2
        numbers += generator.uniform(500, 1500) * np.exp(-distance / 0.05)
    stack, spacing, centre = torch.from_numpy(numbers).float(), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0)
    origin = -1.5 * np.full(3, size - 1.0)
    views = [place(View("test", angle, 0, 900, 800), np.zeros(3), 32, 100) for angle in (0, 90)]

    def images(offset: Tensor) -> Tensor:
        poses = [pose_of(geometry, np.eye(3), origin, offset, centre) for geometry in views]
        return torch.stack([project_torch(stack, spacing, *pose, views[0].shape) for pose in poses])

    truth = torch.tensor([*np.deg2rad([4.0, -3.0, 5.0]), 4.0, -5.0, 3.0], dtype=torch.float64)
    fixed = images(truth)
    scale = torch.tensor([0.05] * 3 + [3.0] * 3, dtype=torch.float64)
    guess = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([guess], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = ((images(guess * scale) - fixed) ** 2).mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    off = (guess * scale - truth).detach().abs()
    assert off[:3].max() < np.deg2rad(0.1)
    assert off[3:].max() < 0.1


def test_a_beam_along_the_slabs_is_refused() -> None:
    numbers = torch.zeros(4, 4, 4)
    geometry = view(40, 0, field_mm=3000)  # its outermost rays are 59 degrees off the central one
    with pytest.raises(BadInput, match="along the slabs"):
        project_torch(numbers, SPACING_MM, *pose_of(geometry, np.eye(3), np.zeros(3)), geometry.shape)
