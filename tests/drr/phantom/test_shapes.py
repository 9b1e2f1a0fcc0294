"""Every solid's chords, box and painted volume against sampling and against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from drr.phantom.loft import Loft
from drr.phantom.shapes import Capsule, Common, Cylinder, Ellipsoid, HalfSpace, Plate, Shape
from drr.phantom.solids import Solid, line_integrals, paint

TURN = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
HOURGLASS = Loft([(-20, 0, 0, 12, 9, 8, 10), (0, 2, 1, 3, 3, 4, 4), (20, 0, 0, 11, 12, 9, 8)], 0.7)
SHAPES: dict[str, Shape] = {
    "ellipsoid": Ellipsoid((1, 2, -3), (14, 9, 11), TURN),
    "cylinder": Cylinder((-2, 1, 3), (8, 5, 12), TURN),
    "capsule": Capsule((-8, -5, 3), (9, 4, -2), 5),
    "flat capsule": Capsule((-8, -5, 3), (9, 4, -2), 4, (0, 3, 7)),
    "plate": Plate(((-12, -9, 1), (13, -2, 4), (0, 11, -8)), 2.5),
    "hourglass": HOURGLASS,
    "cut ball": Common([Ellipsoid((0, 0, 0), (12, 12, 12)), HalfSpace((0, 1, 2), (0.2, -0.3, -1))]),
}


@pytest.mark.parametrize("name", SHAPES)
def test_chords_are_what_sampling_along_the_ray_finds(name: str) -> None:
    shape, rng = SHAPES[name], np.random.default_rng(1)
    source, targets = np.array([70.0, -90.0, 40.0]), rng.uniform(-24, 24, (60, 3)) - np.array([70, -90, 40])
    steps = (np.arange(4000) + 0.5) / 4000
    inside = shape.contains(source + steps[:, None, None] * (targets - source))
    sampled = inside.mean(0) * np.linalg.norm(targets - source, axis=-1)
    assert (sampled > 0).sum() > 10
    np.testing.assert_allclose(shape.chord_mm(source, targets), sampled, atol=0.3)


@pytest.mark.parametrize("name", SHAPES)
def test_the_box_holds_the_solid_and_no_more(name: str) -> None:
    low, high = SHAPES[name].bounds_mm()
    points = np.random.default_rng(2).uniform(low - 3, high + 3, (200_000, 3))
    held = points[SHAPES[name].contains(points)]
    assert np.all(held >= low)
    assert np.all(held <= high)
    if name != "cut ball":  # the box of a common part is what the boxes have in common
        np.testing.assert_allclose(held.min(0), low, atol=2.5)
        np.testing.assert_allclose(held.max(0), high, atol=2.5)


@pytest.mark.parametrize("name", SHAPES)
def test_voxels_hold_the_volume_of_the_solid(name: str) -> None:
    shape = SHAPES[name]
    low, high = shape.bounds_mm()
    points = np.random.default_rng(3).uniform(low, high, (400_000, 3))
    volume = shape.contains(points).mean() * np.prod(high - low)
    painted = paint([Solid("it", 0.0, shape)], (58, 60, 62), (1.0, 1.0, 1.0), (-30.5, -29.5, -28.5))
    assert (painted.hu + 1000.0).sum() / 1000 == pytest.approx(volume, rel=0.025)


def test_volumes_have_closed_forms() -> None:
    a, b, c = 12.0, 9.0, 7.0
    z = np.linspace(-c, c, 41)
    radius = np.sqrt(np.maximum(1 - (z / c) ** 2, 0))
    loft = Loft([(h, 1.0, 2.0, a * r, a * r, b * r, b * r) for h, r in zip(z, radius, strict=True)])
    expected = {
        Ellipsoid((0, 0, 0), (a, b, c), TURN): 4 / 3 * np.pi * a * b * c,
        loft: 4 / 3 * np.pi * a * b * c,
        Cylinder((0, 0, 0), (a, b, c), TURN): np.pi * a * b * 2 * c,
        Capsule((-6, 0, 0), (6, 0, 0), 5): np.pi * 25 * 12 + 4 / 3 * np.pi * 125,
        Capsule((-6, 0, 0), (6, 0, 0), 5, (0, 0, 10)): 2 * (np.pi * 25 * 12 + 4 / 3 * np.pi * 125),
        Plate(((0, 0, 0), (16, 0, 0), (0, 18, 0)), 3): 16 * 18 / 2 * 6,
    }
    for shape, volume in expected.items():
        painted = paint([Solid("it", 0.0, shape)], (60, 60, 60), (1.0, 1.0, 1.0), (-29.5, -29.5, -29.5))
        assert (painted.hu + 1000.0).sum() / 1000 == pytest.approx(volume, rel=0.02), shape


def test_a_loft_through_an_ellipsoid_is_that_ellipsoid() -> None:
    z = np.linspace(-20, 20, 81)
    scale = np.sqrt(np.maximum(1 - (z / 20) ** 2, 0))
    loft = Loft([(h, 3.0, -1.0, 10 * r, 10 * r, 14 * r, 14 * r) for h, r in zip(z, scale, strict=True)])
    rays = np.array([60, 90, -70]) + np.random.default_rng(4).normal(0, 8, (200, 3))
    source = np.array([-60.0, -80.0, 70.0])
    expected = Ellipsoid((3, -1, 0), (10, 14, 20)).chord_mm(source, rays)
    np.testing.assert_allclose(loft.chord_mm(source, rays), expected, atol=0.05)
    np.testing.assert_allclose(loft.section(np.array([0.0]))[2:], [[10], [10], [14], [14]])


def test_the_rim_of_a_loft_lies_on_its_surface() -> None:
    height, angle = np.linspace(-19, 19, 50), np.linspace(0, 2 * np.pi, 50)
    rim = HOURGLASS.rim(height, angle)
    np.testing.assert_allclose(HOURGLASS.level(*rim.T), 0, atol=1e-9)
    assert HOURGLASS.rim(np.array(5.0), np.array(np.pi / 2))[0] > 0 > HOURGLASS.rim(np.array(5.0), np.array(np.pi))[1]


def test_a_ray_may_cross_a_waisted_solid_twice() -> None:
    parts = HOURGLASS.intervals(np.array([8.0, 0, -40]), np.array([[0.0, 0, 80]]))
    lengths = (parts[0, :, 1] - parts[0, :, 0]) * 80
    assert (lengths > 0).sum() == 2
    waist = parts[0, [0, 1], [1, 0]] * 80 - 40
    np.testing.assert_allclose(HOURGLASS.level(np.array([8.0]), np.array([0.0]), waist), 0, atol=1e-6)


@pytest.mark.parametrize(("offset", "chord"), [(0.0, 10.0), (3.0, 8.0), (4.9, 2 * np.sqrt(25 - 4.9**2)), (5.1, 0.0)])
def test_the_chord_across_a_capsule_is_that_of_a_circle(offset: float, chord: float) -> None:
    capsule = Capsule((-20, 0, 0), (20, 0, 0), 5)
    across = capsule.chord_mm(np.array([1.0, -50, offset]), np.array([[1.0, 50, offset]]))
    assert across[0] == pytest.approx(chord, abs=1e-12)
    flat = Capsule((-20, 0, 0), (20, 0, 0), 5, (0, 0, 15))
    assert flat.chord_mm(np.array([1.0, -50, 3 * offset]), np.array([[1.0, 50, 3 * offset]]))[0] == pytest.approx(chord)


def test_the_chord_along_a_capsule_has_its_caps() -> None:
    capsule = Capsule((-20, 0, 0), (20, 0, 0), 5)
    lengths = [capsule.chord_mm(np.array([-90.0, y, 0]), np.array([90.0, y, 0])) for y in (0, 3, 6)]
    assert lengths == pytest.approx([50.0, 48.0, 0.0])


def test_later_solids_lie_over_earlier_ones() -> None:
    ball = [
        Solid("big", 0.0, Ellipsoid((0, 0, 0), (10, 10, 10))),
        Solid("small", -1000.0, Ellipsoid((2, 0, 0), (3, 3, 3))),
    ]
    source, target = np.array([-100.0, 0, 0]), np.array([[100.0, 0, 0]])
    assert line_integrals(ball, source, target)[0] == pytest.approx(14.0)
    assert line_integrals(ball[::-1], source, target)[0] == pytest.approx(20.0)
    painted = paint(ball, (21, 21, 21), (1.0, 1.0, 1.0), (-10.0, -10.0, -10.0))
    assert painted.labels is not None
    assert (painted.hu[10, 10, 12], painted.hu[10, 10, 5]) == (-1000, 0)
    assert [painted.labels.names[painted.labels.ids[10, 10, x]] for x in (12, 5)] == ["small", "big"]


def test_voxels_project_to_the_exact_line_integrals() -> None:
    solids = [Solid(name, 300.0 * number - 200, shape) for number, (name, shape) in enumerate(SHAPES.items())]
    volume = paint(solids, (64, 64, 64), (1.0, 1.0, 1.0), (-31.5, -31.5, -31.5))
    x, z = np.meshgrid(np.arange(-31.5, 32), np.arange(-31.5, 32))
    # From so far away the rays are parallel: a pixel is the mean over its square of what the column holds.
    exact = [
        line_integrals(solids, np.array([0, -1e7, 0]), np.stack([x + u, 0 * x + 40, z + v], -1))
        for u in (-1 / 3, 0, 1 / 3)
        for v in (-1 / 3, 0, 1 / 3)
    ]
    summed = (volume.hu + 1000.0).sum(1) / 1000
    error = summed - np.mean(exact, 0)
    assert np.sqrt((error**2).mean()) < 0.015 * summed[summed > 0].mean()
    assert abs(error.mean()) < 0.015 * summed.mean()
