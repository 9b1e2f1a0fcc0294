from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gen.anatomy.measure import CORNER, NAMES, costophrenic_degrees, measure, rib_count, table
from gen.anatomy.network import ORGANS
from tests.anatomy.conftest import Project
from tests.anatomy.drawn import Drawn, mirrored

SIDE = 300
PIXELS = 3 / SIDE  # an edge is right to a pixel or so, and a ratio has up to four
chests = st.builds(
    Drawn,
    lung=st.tuples(st.floats(0.1, 0.17), st.floats(0.25, 0.33)),
    apart=st.floats(0.18, 0.21),
    heart=st.floats(0.1, 0.2),
    heart_at=st.floats(-0.04, 0.04),
    period=st.floats(0.05, 0.075),
    ends=st.tuples(st.floats(0.02, 0.1), st.floats(0.02, 0.1)),
)


def _values(masks: np.ndarray) -> dict[str, float]:
    return dataclasses.asdict(measure(masks))


@settings(max_examples=30)
@given(chests)
def test_ellipses_have_their_closed_forms(chest: Drawn) -> None:
    found = _values(chest.masks(SIDE))
    wide, high = chest.lung
    thorax = 2 * (chest.apart + wide)
    assert found["cardiothoracic_ratio"] == pytest.approx(2 * chest.heart / thorax, abs=2 * PIXELS)
    for side in ("right", "left"):
        assert found[f"{side}_lung_area"] == pytest.approx(math.pi * wide * high / thorax**2, rel=0.05)
        assert found[f"{side}_lung_aspect"] == pytest.approx(high / wide, rel=0.05)
        assert found[f"{side}_lung_height"] == pytest.approx(2 * high / thorax, abs=3 * PIXELS)
    assert found["lung_symmetry"] == pytest.approx(1, abs=0.03)
    assert found["mediastinal_ratio"] == pytest.approx(0.12 / thorax, abs=2 * PIXELS)
    assert found["rotation"] == pytest.approx((chest.ends[1] - chest.ends[0]) / 2 / thorax, abs=2 * PIXELS)
    assert found["ribs"] == pytest.approx(2 * high / chest.period, rel=0.05)
    assert (found["lungs"], found["hearts"], found["share_in_frame"]) == (2, 1, 1)


@settings(max_examples=30)
@given(chests, st.floats(0.7, 1.05), st.floats(-0.04, 0.04), st.floats(-0.04, 0.04))
@example(
    Drawn(lung=(0.1, 0.28125), apart=0.18, heart=0.125, period=0.0625, ends=(0.0625, 0.0625)), 0.701171875, 0.03125, 0
)
def test_scale_and_place_of_the_picture_do_not_matter(chest: Drawn, scale: float, x: float, y: float) -> None:
    moved = dataclasses.replace(chest, x=0.5 + x, y=0.5 + y)
    first, second = _values(chest.masks(SIDE)), _values(moved.masks(SIDE, scale))
    # A tip that is half a pixel off, in each picture, takes 1 / (pi radius) of its disc out of the lung or into it.
    radius = CORNER * 2 * chest.lung[1] * SIDE
    angle = 360 / math.pi * (1 / radius + 1 / (scale * radius))
    for name in NAMES:
        far = {
            "right_costophrenic_degrees": angle,
            "left_costophrenic_degrees": angle,
            "ribs": 0.6,
            "tilt_degrees": 0.5,
        }
        assert second[name] == pytest.approx(first[name], rel=0.06, abs=far.get(name, 3 * PIXELS)), name


@settings(max_examples=30)
@given(chests)
def test_the_mirror_image_exchanges_right_and_left(chest: Drawn) -> None:
    first, second = _values(chest.masks(SIDE)), _values(mirrored(chest.masks(SIDE)))
    for name in NAMES:
        if name in ("rotation", "tilt_degrees"):
            assert second[name] == pytest.approx(-first[name], abs=2 * PIXELS)
        elif name == "ribs":  # those of the right lung, which was the left one
            assert second[name] == pytest.approx(first[name], rel=0.05)
        else:
            other = name.replace("right", "?").replace("left", "right").replace("?", "left")
            assert second[other] == pytest.approx(first[name], rel=0.02, nan_ok=True), name


@given(st.floats(-0.15, 0.15))
def test_the_tilt_is_the_turn_of_the_picture(turn: float) -> None:
    assert measure(Drawn(turn=turn).masks(SIDE)).tilt_degrees == pytest.approx(math.degrees(turn), abs=0.5)


@given(st.floats(25, 80), st.sampled_from((-1, 1)))
def test_a_wedge_has_its_angle(degrees: float, outward: int) -> None:
    """The side of the lung is upright, and the diaphragm rises from its tip."""
    y, x = np.mgrid[0:400, 0:400]
    inward, up = -outward * (x - 200), 390 - y
    wedge = (inward >= 0) & (up >= 0) & (inward <= up * math.tan(math.radians(degrees))) & (up < 300) & (inward < 150)
    assert costophrenic_degrees(wedge, outward) == pytest.approx(degrees, abs=4)


def test_without_stripes_there_are_no_ribs() -> None:
    right, left, *_ = Drawn().masks(SIDE)
    for nothing in (np.zeros(right.shape), np.ones(right.shape), np.random.default_rng(0).random(right.shape)):
        assert math.isnan(rib_count(nothing, right, left))
    assert math.isnan(rib_count(Drawn().masks(SIDE)[ORGANS.index("ribs")], 0 * right, left))


@given(st.floats(0.1, 0.45), st.floats(0.0, 0.1))
@settings(max_examples=20)
def test_faint_ribs_that_no_mask_would_show_are_counted(strength: float, noise: float) -> None:
    chest = Drawn()
    maps = chest.masks(SIDE).astype(np.float64)
    ribs = ORGANS.index("ribs")
    maps[ribs] = strength * maps[ribs] + noise * strength * np.random.default_rng(0).standard_normal(maps[ribs].shape)
    assert measure(maps).ribs == pytest.approx(2 * chest.lung[1] / chest.period, rel=0.05)


@pytest.mark.parametrize("gone", ["right lung", "left lung", "heart", "spine", "right clavicle"])
def test_what_cannot_be_measured_is_nan_and_never_a_number(gone: str) -> None:
    masks = Drawn().masks(SIDE)
    masks[ORGANS.index(gone)] = False
    of_both = {"cardiothoracic_ratio", "right_lung_area", "left_lung_area", "lung_symmetry", "rotation"}
    needs = {
        "right lung": {*of_both, "ribs"},
        "left lung": of_both,
        "heart": {"cardiothoracic_ratio", "mediastinal_ratio"},
        "spine": {"rotation", "tilt_degrees"},
        "right clavicle": {"rotation"},
    }
    found = _values(masks)
    assert {name for name in needs[gone] if not math.isnan(found[name])} == set()
    assert all(math.isnan(value) or value == 0 for value in _values(np.zeros_like(masks)).values())


def test_each_measurement_says_what_it_is() -> None:
    assert [row[0] for row in table()] == list(NAMES)
    assert all(unit and definition for _, unit, definition, _ in table())


def test_a_larger_heart_has_a_larger_ratio(project: Project) -> None:
    ratios = [measure(project(grade)).cardiothoracic_ratio for grade in (None, "mild", "moderate", "severe")]
    assert ratios == sorted(ratios)
    assert ratios[0] < 0.5 < ratios[1]
    assert ratios[3] - ratios[0] > 0.15


def test_rotation_grows_with_the_turn_of_the_patient(project: Project) -> None:
    """A detector that goes round to the patient's right sees the front of the chest turned to the left."""
    turns = [measure(project(primary_deg=angle)).rotation for angle in (10, 5, 0, -5, -10)]
    assert turns == sorted(turns)
    assert turns[0] < -0.05 < turns[2] < 0.05 < turns[4]
    assert turns[2] == pytest.approx(0, abs=0.01)


def test_the_roll_of_the_detector_is_the_tilt(project: Project) -> None:
    for roll in (-6.0, 6.0):
        assert abs(measure(project(roll_deg=roll)).tilt_degrees) == pytest.approx(6, abs=0.5)


def test_the_phantom_breathes_in_to_its_tenth_rib(project: Project) -> None:
    assert measure(project()).ribs == pytest.approx(10, abs=1)
