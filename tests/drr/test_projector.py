"""Line integrals: against exact chords, between back ends, under changes of pose and grid, and at the edges."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from drr import projector
from drr.backends import native
from drr.backends.plan import plan_projection
from drr.backends.tiles import Stack
from drr.geometry import VIEWS, Geometry, View, place
from drr.phantom.shapes import Ellipsoid
from drr.projector import pick_backend, prepare, project
from gen.core.errors import BadInput, EnvironmentLacks, GenError

FAST = ["numba"] + ["c"] * (pick_backend("auto") == "c")
SPACING = (4.0, 3.0, 3.0)
SHAPE = (61, 88, 100)  # groups of 8 slabs along y are the same from either end
ORIGIN = (-148.5, -130.5, -120.0)
SOLIDS = [
    (1000, Ellipsoid((0, 0, 0), (130, 100, 105))),
    (-700, Ellipsoid((60, 5, 0), (45, 65, 80))),
    (900, Ellipsoid((0, 65, 0), (15, 15, 90))),
    (400, Ellipsoid((-50, -20, 30), (20, 14, 25))),
]
POSES = [
    VIEWS["PA"],
    VIEWS["AP"],
    VIEWS["lateral"],
    View("turned", 5, 3, roll_deg=2),
    View("LAO", 45, sod_mm=1500),
    View("left, from below", 110, -25, sod_mm=1500),
    View("steep", -160, 60, sod_mm=1500),
]


def by_name(view: View) -> str:
    return view.name


def points(shape: tuple[int, int, int] = SHAPE, per_axis: int = 1) -> np.ndarray:
    """The centres of all voxels, or ``per_axis`` of sub-voxels: (z, y, x, 3)."""
    axes = [
        start + spacing * ((np.arange(n * per_axis) + 0.5) / per_axis - 0.5)
        for n, spacing, start in zip(shape, SPACING, ORIGIN[::-1], strict=True)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij")[::-1], axis=-1)


def voxels() -> np.ndarray:
    """`SOLIDS` as mean numbers of voxels."""
    fine = sum(number * solid.contains(points(per_axis=2)).astype(np.float32) for number, solid in SOLIDS)
    depth, height, width = SHAPE
    return np.rint(fine.reshape(depth, 2, height, 2, width, 2).mean(axis=(1, 3, 5))).astype(np.int16)


@pytest.fixture(scope="module")
def chest() -> Stack:
    return prepare(voxels(), SPACING, origin_mm=ORIGIN)


def rms(image: np.ndarray, truth: np.ndarray) -> float:
    """In parts of the mean, over the shadow of what there is."""
    inside = truth > 0
    return float(np.sqrt(np.mean((image - truth)[inside] ** 2)) / truth[inside].mean())


def at_centre(view: View, pixels: int = 128) -> Geometry:
    return place(view, np.zeros(3), pixels)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("view", POSES, ids=by_name)
def test_a_fast_image_is_that_of_the_oracle_and_as_near_to_exact_chords(chest: Stack, view: View, backend: str) -> None:
    geometry = at_centre(view)
    (image,), (oracle,) = (project([chest], geometry, backend=name) for name in (backend, "reference"))
    targets = geometry.pixels_mm()
    chords = sum(number * solid.chord_mm(geometry.source_mm, targets) for number, solid in SOLIDS) / 1000
    assert rms(image, oracle) < (2e-3 if plan_projection(chest.grid, geometry).parallel else 3e-3)
    assert rms(oracle, chords) < 0.02
    assert rms(image, chords) < 1.02 * rms(oracle, chords)


@pytest.mark.parametrize("pixels", [24, 101, 300])  # gathers, permutations and more nodes than voxels
@pytest.mark.parametrize("bits", [256, 512])
@pytest.mark.parametrize("view", POSES[2:5], ids=by_name)
def test_the_back_ends_agree(chest: Stack, view: View, bits: int, pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "load", partial(native.load, bits))
    geometry = at_centre(view, pixels)
    first, *others = (project([chest], geometry, backend=name)[0] for name in FAST)
    one_thread = project([chest], geometry, threads=1)[0]
    for image in [*others, one_thread]:
        np.testing.assert_allclose(image, first, atol=1e-5 * first.max())


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("view", POSES, ids=by_name)
def test_shares_of_a_volume_add_up(chest: Stack, view: View, backend: str) -> None:
    numbers = chest.numbers()
    part = np.where(np.random.default_rng(0).random(SHAPE) < 0.1, numbers, 0).astype(np.int16)
    shares = [prepare(share, SPACING, origin_mm=ORIGIN) for share in (part, numbers - part)]
    total, *images = project([chest, *shares], at_centre(view), backend=backend)
    np.testing.assert_allclose(sum(images), total, atol=1e-6 * total.max())


@pytest.mark.parametrize("backend", [*FAST, "reference"])
def test_a_volume_that_moves_with_source_and_detector_gives_the_same_image(chest: Stack, backend: str) -> None:
    geometry = at_centre(POSES[3])
    turn, shift = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix(), np.array([40.0, -7.0, 900.0])
    moved = prepare(chest.numbers(), SPACING, turn, tuple(turn @ ORIGIN + shift))
    there = Geometry(
        turn @ geometry.source_mm + shift,
        turn @ geometry.corner_mm + shift,
        turn @ geometry.row_mm,
        turn @ geometry.column_mm,
        geometry.shape,
    )
    here, image = (project([s], g, backend=backend)[0] for s, g in ((chest, geometry), (moved, there)))
    np.testing.assert_allclose(image, here, atol=1e-5 * here.max())


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("view", [POSES[0], POSES[3]], ids=by_name)
def test_a_quarter_turn_about_z_swaps_the_main_axes_and_not_the_image(chest: Stack, view: View, backend: str) -> None:
    # (x, y) -> (-y, x): what was the column is now the row, reversed.
    turned = np.ascontiguousarray(np.rot90(chest.numbers(), -1, axes=(1, 2)))
    y_last = ORIGIN[1] + (SHAPE[1] - 1) * SPACING[1]
    stack = prepare(turned, SPACING, origin_mm=(-y_last, ORIGIN[0], ORIGIN[2]))
    geometry = at_centre(view)
    quarter = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    there = Geometry(
        *(quarter @ v for v in (geometry.source_mm, geometry.corner_mm, geometry.row_mm, geometry.column_mm)),
        geometry.shape,
    )
    assert {plan_projection(chest.grid, geometry).axis, plan_projection(stack.grid, there).axis} == {0, 1}
    here, image = (project([s], g, backend=backend)[0] for s, g in ((chest, geometry), (stack, there)))
    np.testing.assert_allclose(image, here, atol=1e-5 * here.max())


@pytest.mark.parametrize("view", [POSES[0], POSES[2], POSES[4]], ids=by_name)
def test_an_oblique_volume_shows_the_same_patient(view: View) -> None:
    def patient(at: np.ndarray) -> np.ndarray:
        """Smooth enough that sampling it on another grid changes little."""
        blobs = [((0, 0, 0), 45, 1000), ((35, 10, -30), 18, 900), ((-30, -25, 20), 15, 700)]
        values = sum(peak * np.exp(-((at - c) ** 2).sum(axis=-1) / (2 * s * s)) for c, s, peak in blobs)
        return np.rint(np.where(values < 5, 0, values)).astype(np.int16)

    turn = Rotation.from_euler("zx", [20, 10], degrees=True).as_matrix()
    straight = prepare(patient(points()), SPACING, origin_mm=ORIGIN)
    oblique = prepare(patient(points() @ turn.T), SPACING, turn, tuple(turn @ ORIGIN))
    geometry = at_centre(view)
    images = [project([stack], geometry)[0] for stack in (straight, oblique)]
    assert rms(images[1], images[0]) < 0.01


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("view", [POSES[0], POSES[2], POSES[4], POSES[6]], ids=by_name)
def test_metal_does_not_overflow(view: View, backend: str) -> None:
    numbers = np.zeros(SHAPE, np.int16)
    numbers[20:40, 40:60, 30:70] = 32000
    stack = prepare(numbers, SPACING, origin_mm=ORIGIN)
    (image,), (oracle,) = (project([stack], at_centre(view), backend=name) for name in (backend, "reference"))
    assert rms(image, oracle) < 0.02


@pytest.mark.parametrize("backend", [*FAST, "reference"])
def test_no_half_voxel_is_lost_at_the_rim(backend: str) -> None:
    stack = prepare(np.full((9, 10, 11), 1000, np.int16), (2.0, 3.0, 4.0), origin_mm=(-20.0, -13.5, -8.0))
    (image,) = project([stack], place(VIEWS["PA"], np.zeros(3), 1, 1.0), backend=backend)
    assert image[0, 0] == pytest.approx(10 * 3.0)  # along the slabs' normal: ten whole voxels
    distant = View("PA", 0, sdd_mm=1e6 + 100, sod_mm=1e6)
    (shadow,) = project([stack], place(distant, np.zeros(3), 120, 60), backend=backend)
    # Across: the falls to zero on both sides are worth one voxel, so the volume is that of 9 x 10 x 11 whole ones.
    assert shadow.sum() * 0.5**2 == pytest.approx(9 * 2.0 * 10 * 3.0 * 11 * 4.0, rel=2e-3)


@pytest.mark.parametrize("shape", [(1, 20, 30), (20, 1, 30), (20, 30, 1), (1, 1, 1)])
@pytest.mark.parametrize("view", [POSES[0], POSES[2], POSES[3]], ids=by_name)
@pytest.mark.parametrize("backend", FAST)
def test_thin_volumes(shape: tuple[int, int, int], view: View, backend: str) -> None:
    origin = tuple(-(n - 1) / 2 * step for n, step in zip(shape[::-1], SPACING[::-1], strict=True))
    stack = prepare(np.full(shape, 1000, np.int16), SPACING, origin_mm=origin)
    geometry = place(view, np.zeros(3), 151, 150)
    (image,), (oracle,) = (project([stack], geometry, backend=name) for name in (backend, "reference"))
    assert oracle.max() > 1
    assert rms(image, oracle) < 0.05


@pytest.mark.parametrize("backend", [*FAST, "reference"])
def test_rays_that_miss_and_stacks_without_numbers_give_zero(chest: Stack, backend: str) -> None:
    empty = prepare(np.zeros(SHAPE, np.int16), SPACING, origin_mm=ORIGIN)
    wide = place(VIEWS["PA"], np.zeros(3), 60, 900)
    image, nothing = project([chest, empty], wide, backend=backend)
    assert not nothing.any()
    assert not image[:, :8].any()
    assert image[30, 30] > 100


@pytest.mark.parametrize("bits", [256, 512])
def test_what_lies_beyond_the_detector_does_not_show_in_it(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "load", partial(native.load, bits))
    numbers = np.zeros((24, 60, 400), np.int16)
    numbers[:, :, 150:190] = 1000
    trunk = prepare(numbers, SPACING, origin_mm=(-598.5, -88.5, -46.0))
    numbers[:, :, 360:] = 3000  # an arm, apart from the trunk
    whole = prepare(numbers, SPACING, origin_mm=(-598.5, -88.5, -46.0))
    for pixels in range(96, 112):  # every remainder of a vector of nodes
        geometry = place(POSES[3], np.array([-90.0, 0.0, 0.0]), pixels, 90)
        for backend in FAST:
            with_arm, without = (project([stack], geometry, backend=backend)[0] for stack in (whole, trunk))
            np.testing.assert_allclose(with_arm, without, atol=1e-5 * without.max())


@pytest.mark.parametrize("backend", FAST)
def test_a_part_of_the_detector_gives_that_part_of_the_image(chest: Stack, backend: str) -> None:
    for view, tolerance in ((VIEWS["PA"], 1e-3), (POSES[3], 3e-3)):  # narrower, so groups may be larger
        geometry = at_centre(view)
        (image,) = project([chest], geometry, backend=backend)
        (pixel,) = project([chest], geometry.crop(slice(60, 61), slice(50, 51)), backend=backend)
        assert pixel.shape == (1, 1)
        assert pixel[0, 0] == pytest.approx(image[60, 50], rel=tolerance)


@pytest.mark.parametrize("backend", [*FAST, "reference"])
def test_a_view_outside_or_inside_the_volume_is_refused_in_one_line(chest: Stack, backend: str) -> None:
    geometry = at_centre(VIEWS["PA"])
    beside = replace(geometry, corner_mm=geometry.corner_mm + np.array([800.0, 0, 0]))
    behind = place(replace(VIEWS["PA"], primary_deg=180), np.array([0, 5000.0, 0]), 64)
    inside = place(View("PA", 0, sdd_mm=900, sod_mm=50), np.zeros(3), 64)
    cut = place(View("PA", 0, sdd_mm=1650, sod_mm=1600), np.zeros(3), 64)
    wide = place(View("PA", 0, sdd_mm=200, sod_mm=100), np.zeros(3), 64, 20000)
    for view, message in ((beside, "outside"), (behind, "outside"), (inside, "source"), (cut, "detector")):
        with pytest.raises(BadInput, match=message):
            project([chest], view, backend=backend)
    with pytest.raises(BadInput):
        project([chest], wide, backend=backend)


def test_what_is_not_a_stack_is_refused(chest: Stack) -> None:
    for numbers in (np.zeros((3, 4), np.int16), np.zeros((3, 4, 5)), np.full((3, 4, 5), -1, np.int16)):
        with pytest.raises(GenError):
            prepare(numbers, SPACING)
    with pytest.raises(GenError, match="one grid"):
        project([chest, prepare(chest.numbers(), SPACING)], at_centre(VIEWS["PA"]))


def test_the_back_end_is_chosen_by_name_and_by_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="cuda"):
        pick_backend("cuda")
    assert [pick_backend(name) for name in ("numba", "reference")] == ["numba", "reference"]

    def lacking() -> None:
        raise EnvironmentLacks("the projector's C extension is not built")

    monkeypatch.setattr(projector.native, "load", lacking)
    assert pick_backend() == "numba"
    with pytest.raises(EnvironmentLacks, match="not built"):
        pick_backend("c")


def test_an_extension_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "EXTENSION_SUFFIXES", [".nowhere"])
    with pytest.raises(EnvironmentLacks, match="not built"):
        native.load.__wrapped__()
