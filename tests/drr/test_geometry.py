"""Views, poses and the detector: what stands where, and where a point of the patient falls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drr.geometry import VIEWS, Geometry, View, jitter, parse_view, place, stand_clear
from gen.core.errors import BadInput, GenError

CENTRE = np.array([3.0, -20.0, 400.0])
LEFT, BACK, HEAD = np.eye(3)
poses = st.builds(
    View,
    name=st.just("any"),
    primary_deg=st.floats(-180, 180),
    turned_over=st.booleans(),
    secondary_deg=st.floats(-45, 45),
    sdd_mm=st.floats(1500, 2000),
    sod_mm=st.floats(900, 1400),
    roll_deg=st.floats(-20, 20),
    shift_mm=st.tuples(st.floats(-50, 50), st.floats(-50, 50)),
)


def falls_at(view: View, offset: np.ndarray) -> np.ndarray:
    """Row and column of a point near the centre, from the middle of the detector."""
    geometry = place(view, CENTRE, 101, 430)
    return geometry.pixel_of(CENTRE + offset) - 50


@pytest.mark.parametrize("name", ["PA", "AP"])
def test_a_frontal_film_hangs_with_the_patients_left_at_the_right_and_the_head_up(name: str) -> None:
    row, column = falls_at(VIEWS[name], 30 * LEFT)
    assert column > 5
    assert row == pytest.approx(0, abs=1e-9)
    assert falls_at(VIEWS[name], 30 * HEAD)[0] < -5


def test_a_left_lateral_film_hangs_with_the_back_at_the_right() -> None:
    assert falls_at(VIEWS["lateral"], 30 * BACK)[1] > 5
    assert falls_at(VIEWS["lateral"], 30 * HEAD)[0] < -5


def test_pa_and_ap_differ_in_what_is_magnified() -> None:
    front = 60 * LEFT - 80 * BACK
    back = 60 * LEFT + 80 * BACK
    assert falls_at(VIEWS["PA"], front)[1] < falls_at(VIEWS["PA"], back)[1]
    assert falls_at(VIEWS["AP"], front)[1] > falls_at(VIEWS["AP"], back)[1]


@given(poses)
def test_distances_and_magnification_are_those_asked_for(view: View) -> None:
    geometry = place(view, CENTRE, 64, 430)
    assert geometry.sdd_mm == pytest.approx(view.sdd_mm)
    across = geometry.column_mm / geometry.pitch_mm[1]
    shown = geometry.pixel_of(CENTRE + 10 * across) - geometry.pixel_of(CENTRE)
    assert shown[1] * geometry.pitch_mm[1] == pytest.approx(10 * view.sdd_mm / view.sod_mm)
    assert shown[0] == pytest.approx(0, abs=1e-6)


@given(poses)
def test_the_central_ray_meets_the_middle_of_the_detector_at_a_right_angle(view: View) -> None:
    geometry = place(view, CENTRE, 65, 430)
    ray = geometry.pixels_mm()[32, 32] - geometry.source_mm
    assert np.cross(ray, geometry.normal) == pytest.approx(0, abs=1e-6 * view.sdd_mm)


@given(poses, st.integers(0, 63), st.integers(0, 63))
def test_a_pixel_falls_on_itself_and_cropping_moves_nothing(view: View, i: int, j: int) -> None:
    geometry = place(view, CENTRE, 64, 430)
    point = geometry.pixels_mm()[i, j]
    halfway = (point + geometry.source_mm) / 2
    assert geometry.pixel_of(halfway) == pytest.approx([i, j], abs=1e-6)
    cropped = geometry.crop(slice(i, 64), slice(j, 64))
    assert cropped.shape == (64 - i, 64 - j)
    assert cropped.pixels_mm()[0, 0] == pytest.approx(point)


def test_views_turn_into_each_other_without_a_jump() -> None:
    for before, after in [(0, 1), (44, 45), (89.5, 90.5), (-91, -90), (179.5, -179.5)]:
        geometries = [place(View("any", angle), CENTRE, 9, 430) for angle in (before, after)]
        assert np.linalg.norm(geometries[0].column_mm - geometries[1].column_mm) < 1


@pytest.mark.parametrize("name", VIEWS)
def test_no_jitter_turns_a_film_over(name: str) -> None:
    nominal = place(VIEWS[name], CENTRE, 9, 430)
    for seed in range(50):
        other = place(jitter(VIEWS[name], np.random.default_rng(seed)), CENTRE, 9, 430)
        assert other.column_mm @ nominal.column_mm > 0
        assert other.row_mm @ nominal.row_mm > 0


def test_a_tilt_at_the_limit_may_be_jittered() -> None:
    for seed in range(50):
        assert abs(jitter(parse_view("0/60"), np.random.default_rng(seed)).secondary_deg) <= 60


@given(poses, st.floats(0, 400))
def test_a_patient_who_is_moved_off_the_detector_stands_clear_of_it_and_no_farther(view: View, reach_mm: float) -> None:
    moved = stand_clear(view, reach_mm)
    behind_mm = moved.sdd_mm - moved.sod_mm - reach_mm
    assert behind_mm >= 30 - 1e-9
    assert moved == view or behind_mm == pytest.approx(30)


def test_jitter_is_decided_by_its_generator_and_stays_near() -> None:
    views = [jitter(VIEWS["PA"], np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert views[0] == views[1] != views[2]
    assert all(abs(view.primary_deg) <= 4 and abs(view.secondary_deg) <= 3 for view in views)
    assert all(view.sdd_mm / view.sod_mm == pytest.approx(1.125) for view in views)


@pytest.mark.parametrize(
    ("text", "primary", "secondary"), [("pa", 0, 0), ("Lateral", 90, 0), ("30/10", 30, 10), ("270 / -5", -90, -5)]
)
def test_a_view_is_a_name_or_two_angles(text: str, primary: float, secondary: float) -> None:
    view = parse_view(text)
    assert (view.primary_deg, view.secondary_deg) == (primary, secondary)


@pytest.mark.parametrize("text", ["", "laterl", "30", "PA/AP", "nan/0", "0/80"])
def test_a_view_that_is_neither_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"unknown view|tilt"):
        parse_view(text)


def test_the_patient_stands_between_source_and_detector() -> None:
    with pytest.raises(BadInput, match="between source and detector"):
        View("PA", 0, sdd_mm=1000, sod_mm=1000)


def test_a_detector_has_pixels_at_right_angles() -> None:
    with pytest.raises(GenError, match="pixels"):
        place(VIEWS["PA"], CENTRE, 4).crop(slice(0, 0), slice(0, 4))
    with pytest.raises(GenError, match="perpendicular"):
        Geometry(np.zeros(3), HEAD, LEFT, LEFT + BACK, (2, 2))
