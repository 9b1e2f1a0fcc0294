from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen.anatomy.frame import BOX, DOWN, from_canonical, lung_pose
from gen.anatomy.network import ORGANS
from gen.data.frame import LIMITS, to_canonical
from tests.anatomy.conftest import Project
from tests.anatomy.drawn import Drawn

SIDE = 200
chests = st.builds(
    Drawn,
    lung=st.tuples(st.floats(0.1, 0.15), st.floats(0.2, 0.27)),
    x=st.floats(0.45, 0.55),
    y=st.floats(0.45, 0.55),
    turn=st.floats(-0.15, 0.15),
)


def _pose(masks: np.ndarray) -> np.ndarray:
    pose = lung_pose(masks)
    assert pose is not None
    return pose


def _lungs(masks: np.ndarray) -> np.ndarray:
    return (masks[0] | masks[1]).astype(np.float32)


@settings(max_examples=25)
@given(chests)
def test_the_lungs_come_to_the_standard_box(chest: Drawn) -> None:
    masks = chest.masks(SIDE)
    pose = _pose(masks)
    canonical, _ = to_canonical(_lungs(masks), pose, 200)
    rows, columns = np.nonzero(canonical > 0.5)
    wide, high = (np.ptp(columns) + 1) / 100, (np.ptp(rows) + 1) / 100
    assert wide * high == pytest.approx(BOX[0] * BOX[1], rel=0.06)
    assert (columns.min() + columns.max() + 1) / 200 - 1 == pytest.approx(0, abs=0.03)
    assert (rows.min() + rows.max() + 1) / 200 - 1 == pytest.approx(DOWN, abs=0.03)
    assert abs(pose[1]) <= LIMITS[1] + 1e-6
    if abs(pose[1]) < LIMITS[1] - 0.01:  # a chest of these proportions fills the box both ways
        assert wide == pytest.approx(BOX[0], rel=0.05)


@settings(max_examples=25)
@given(chests)
def test_back_again_the_lungs_are_where_they_were(chest: Drawn) -> None:
    before = _lungs(chest.masks(SIDE))
    canonical, _ = to_canonical(before, _pose(chest.masks(SIDE)), 256)
    after = from_canonical(canonical, _pose(chest.masks(SIDE)), before.shape) > 0.5
    assert 2 * (after & (before > 0)).sum() / (after.sum() + before.sum()) > 0.98


@settings(max_examples=25)
@given(chests, st.floats(0.8, 1.0), st.floats(-0.1, 0.1))
def test_one_chest_has_one_canonical_picture(chest: Drawn, scale: float, turn: float) -> None:
    """However large, wherever and however tilted it is in the picture."""
    plain = Drawn(lung=chest.lung)
    moved = Drawn(lung=chest.lung, x=chest.x, y=chest.y, turn=turn)
    pictures = []
    for masks in (plain.masks(SIDE), moved.masks(SIDE, scale)):
        canonical, _ = to_canonical(masks[ORGANS.index("heart")].astype(np.float32), _pose(masks), 128)
        pictures.append(canonical > 0.5)
    first, second = pictures
    assert 2 * (first & second).sum() / (first.sum() + second.sum()) > 0.93


def test_a_picture_that_is_not_square_comes_back_whole() -> None:
    masks = Drawn().masks(SIDE)[:, 10:190]
    canonical, _ = to_canonical(_lungs(masks), _pose(masks), 256)
    after = from_canonical(canonical, _pose(masks), masks.shape[1:])
    assert after.shape == masks.shape[1:]
    assert np.abs(after - _lungs(masks)).mean() < 0.02


def test_without_both_lungs_there_is_no_frame() -> None:
    masks = Drawn().masks(SIDE)
    masks[ORGANS.index("left lung")] = False
    assert lung_pose(masks) is None


def test_the_frame_stands_the_phantom_upright(project: Project) -> None:
    pose = _pose(project(roll_deg=6.0))
    assert abs(math.degrees(pose[4])) == pytest.approx(6, abs=0.5)
