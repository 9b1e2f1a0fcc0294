"""Devices have the calibre they claim, run where anatomy says, and add to the CT without touching it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from drr.ct.volume import Volume
from drr.insert.devices import insert_device
from drr.insert.landmarks import find_landmarks
from drr.insert.request import KINDS, Inserted, Part, parse_lesion
from drr.insert.sweep import beside, inside, parts_mask, plate, smooth_course, sweep
from gen.core.errors import BadInput, GenError
from gen.core.terms import DEVICES

NAMES = [kind.device for kind in KINDS if kind.device]


@pytest.fixture(scope="module")
def put_in(chest: Volume, body: np.ndarray, lungs: np.ndarray):
    @cache
    def put(text: str, seed: int = 1) -> Inserted:
        return insert_device(chest, body, lungs, parse_lesion(text), np.random.default_rng(seed))

    return put


def mass(parts: list[Part] | tuple[Part, ...]) -> float:
    """The sum of numbers times volume, in mm3."""
    return sum(float(part.numbers.sum(dtype=np.float64) * np.prod(part.spacing_mm)) for part in parts)


def length_mm(course: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(course, axis=0), axis=1).sum())


BENT = [np.array(point, float) for point in ((0, 0, 0), (20, 5, 40), (-10, 15, 90), (-40, -20, 120))]


@pytest.mark.parametrize("radius_mm", [0.5, 0.75, 1.15, 4.65])
def test_a_rod_has_the_mass_of_its_cross_section_times_its_length(radius_mm: float) -> None:
    course = smooth_course(BENT)
    expected = np.pi * radius_mm**2 * length_mm(course) * 1000
    assert mass(sweep(course, radius_mm, 1000, "soft")) == pytest.approx(expected, rel=0.03)


def test_a_tube_has_the_mass_of_its_wall() -> None:
    course = smooth_course(BENT)
    expected = np.pi * (5.4**2 - 4.0**2) * length_mm(course) * 1870
    assert mass(sweep(course, 5.4, 1870, "soft", bore_mm=4.0)) == pytest.approx(expected, rel=0.03)


def test_a_course_passes_its_points_and_is_sampled_evenly() -> None:
    course = smooth_course(BENT)
    steps = np.linalg.norm(np.diff(course, axis=0), axis=1)
    assert steps == pytest.approx(steps.mean(), rel=0.02)
    assert steps.mean() == pytest.approx(0.25, rel=0.02)
    for point in BENT:
        assert np.linalg.norm(course - point, axis=1).min() < 0.2


def test_a_stripe_runs_at_a_constant_distance_from_the_course() -> None:
    course = smooth_course(BENT)
    stripe = beside(course, 4.0, np.array([1.0, 0.0, 0.0]))
    assert np.linalg.norm(stripe - course, axis=1) == pytest.approx(4.0)


def test_a_plate_has_the_mass_of_its_outline_times_its_thickness() -> None:
    angle = 0.4
    axes = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
    part = plate(np.array([3.2, -8.1, 5.7]), axes, (48, 42, 8), 16.0, 7000, "metal")
    outline = 48 * 42 - (4 - np.pi) * 16**2
    assert mass([part]) == pytest.approx(outline * 8 * 7000, rel=0.02)


def test_parts_are_where_their_origin_says(chest: Volume) -> None:
    line = np.linspace([10.0, 20.0, -30.0], [10.0, 20.0, 30.0], 241)
    parts = sweep(line, 2.0, 1000, "soft")
    moments = np.zeros(3)
    for part in parts:
        points = np.argwhere(part.numbers)[:, ::-1] * np.array(part.spacing_mm)[::-1] + part.origin_mm
        moments += (points * part.numbers[part.numbers > 0][:, None]).sum(axis=0)
    assert moments * 0.125 / mass(parts) == pytest.approx([10, 20, 0], abs=0.1)
    index = np.argwhere(parts_mask(parts, chest))
    assert abs(chest.to_mm(index) - [10, 20, 0]).max(axis=0)[:2] == pytest.approx([0, 0], abs=2 + 4 / 2 + 0.1)


def test_what_leaves_the_scan_is_cut_off(chest: Volume) -> None:
    middle = chest.to_mm(np.array(chest.hu.shape) / 2)
    line = middle + np.linspace(-1, 1, 4001)[:, None] * np.array([0, 0, 500.0])
    kept = inside(chest, line)
    assert 0 < len(kept) < len(line)
    assert np.ptp(kept[:, 2]) == pytest.approx((chest.hu.shape[0] - 1) * chest.spacing_mm[0], abs=1)


@pytest.mark.parametrize("name", NAMES)
def test_a_device_leaves_the_ct_as_it_is_and_adds_excess_numbers(chest: Volume, put_in, name: str) -> None:
    inserted = put_in(name)
    assert inserted.volume is chest
    assert inserted.mask.any()
    assert inserted.mask.shape == chest.hu.shape
    assert inserted.parts
    for part in inserted.parts:
        assert part.numbers.dtype == np.int16
        assert part.numbers.min() >= 0
        assert part.material in ("soft", "iodine", "metal")
    label = inserted.label
    assert label["device"] == name
    assert label["finding"] == ("Support Devices" if name in DEVICES else "Retained Foreign Object")


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_parts_and_another_seed_others(
    chest: Volume, body: np.ndarray, lungs: np.ndarray, put_in, name: str
) -> None:
    first, other = put_in(name), put_in(name, 4)
    again = insert_device(chest, body, lungs, parse_lesion(name), np.random.default_rng(1))
    assert [part.numbers.tobytes() for part in first.parts] == [part.numbers.tobytes() for part in again.parts]
    assert [part.numbers.tobytes() for part in first.parts] != [part.numbers.tobytes() for part in other.parts]


@pytest.mark.parametrize("name", ["chest tube", "pacemaker", "needle", "sponge"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_side_is_the_one_that_was_asked_for(chest: Volume, lungs: np.ndarray, put_in, name: str, side: str) -> None:
    inserted = put_in(f"{name} {side}")
    # The heaviest piece: of a pacemaker the generator, for its leads cross to the right.
    part = max(inserted.parts, key=lambda each: each.numbers.sum(dtype=np.int64))
    x = (np.argwhere(part.numbers)[:, 2] * part.spacing_mm[2] + part.origin_mm[0]).mean()
    middle = chest.to_mm(np.argwhere(lungs > 0))[:, 0].mean()
    assert x > middle + 20 if side == "left" else x < middle - 20


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("seed", range(3))
def test_a_central_line_ends_right_of_the_midline_at_or_below_the_carina(
    chest: Volume, body: np.ndarray, lungs: np.ndarray, put_in, side: str, seed: int
) -> None:
    marks = find_landmarks(chest, body, lungs)
    tip = np.array(put_in(f"central line {side}", seed).label["tip_mm"])
    assert -40 < tip[0] - marks.carina[0] < -5
    assert 0 < marks.carina[2] - tip[2] < 50
    assert not lungs[tuple(np.rint(chest.to_index(tip)).astype(int))]


def test_a_tracheal_tube_ends_in_the_windpipe_above_the_carina(
    chest: Volume, body: np.ndarray, lungs: np.ndarray, put_in
) -> None:
    trachea = find_landmarks(chest, body, lungs).trachea
    assert trachea is not None
    for seed in (1, 4):
        label = put_in("endotracheal tube", seed).label
        assert 28 <= label["tip_above_carina_mm"] <= 50
        tip = np.array(label["tip_mm"])
        assert chest.hu[tuple(np.rint(chest.to_index(tip)).astype(int))] < -700
        assert tip[2] == pytest.approx(trachea[-1, 2] + label["tip_above_carina_mm"], abs=0.2)


def test_a_chest_tube_comes_in_at_the_side_and_ends_in_the_pleural_space(
    chest: Volume, lungs: np.ndarray, put_in
) -> None:
    inserted = put_in("chest tube right")
    assert lungs[tuple(np.rint(chest.to_index(np.array(inserted.label["tip_mm"]))).astype(int))] == 1
    assert (inserted.mask & (lungs == 0)).any()
    assert not (inserted.mask & (lungs == 2)).any()


def test_a_generator_lies_in_the_chest_wall_and_not_in_the_lung(
    chest: Volume, body: np.ndarray, lungs: np.ndarray, put_in
) -> None:
    inserted = put_in("pacemaker left")
    generator = max(inserted.parts, key=lambda each: each.numbers.sum(dtype=np.int64))
    mask = parts_mask([generator], chest)
    assert (mask & body).sum() > 0.9 * mask.sum()
    assert (mask & (lungs > 0)).sum() < 0.15 * mask.sum()


def test_where_anatomy_is_missing_the_device_is_refused(chest: Volume, body: np.ndarray, lungs: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    filled = Volume(np.maximum(chest.hu, np.int16(-850)), chest.spacing_mm, chest.direction, chest.origin_mm)
    with pytest.raises(BadInput, match="windpipe was not found"):
        insert_device(filled, body, lungs, parse_lesion("ett"), rng)
    with pytest.raises(BadInput, match="no lungs"):
        insert_device(chest, body, np.zeros_like(lungs), parse_lesion("central line"), rng)
    with pytest.raises(BadInput, match="no room in the right side"):
        insert_device(chest, body, np.where(lungs == 1, np.uint8(0), lungs), parse_lesion("chest tube right"), rng)
    with pytest.raises(GenError, match="is no device"):
        insert_device(chest, body, lungs, parse_lesion("nodule"), rng)
