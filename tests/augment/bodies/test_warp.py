"""Warps of bodies: one-to-one, with the labels, and decided by the generator."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from augment.bodies.warp import STEEPEST, _basis, draw_control, sources, warped
from drr.ct.volume import Labels, Volume

SPACING_MM = (12.0, 10.0, 9.0)
SHAPE = (28, 24, 40)


def halves() -> Volume:
    """Air at the patient's right and dense tissue at the left, and labels that say so."""
    ids = np.zeros(SHAPE, np.uint8)
    ids[:, :, SHAPE[2] // 2 :] = 1
    return Volume((ids.astype(np.int16) * 2000 - 1000), SPACING_MM, labels=Labels(ids, {1: "left"}))


@given(st.integers(0, 2**63))
def test_no_two_points_of_a_body_meet(seed: int) -> None:
    bases = [_basis(count, step) for count, step in zip(SHAPE, SPACING_MM, strict=True)]
    control = draw_control(tuple(basis.shape[1] for basis in bases), np.random.default_rng(seed))
    places = sources(control, bases, SPACING_MM) * np.array(SPACING_MM)[:, None, None, None]
    grid = np.indices(SHAPE) * np.array(SPACING_MM)[:, None, None, None]
    field = places - grid
    assert np.abs(field).max() > 1.0
    slopes = np.stack([sum(np.abs(np.diff(each, axis=k)).max() / SPACING_MM[k] for k in range(3)) for each in field])
    assert slopes.max() <= STEEPEST * (1 + 1e-3)
    jacobian = np.stack([np.stack(np.gradient(each, *SPACING_MM)) for each in places])
    assert (np.linalg.det(np.moveaxis(jacobian, (0, 1), (-2, -1))) > 0).all()


@given(st.integers(0, 2**63))
def test_labels_move_with_the_tissue(seed: int) -> None:
    moved = warped(halves(), np.random.default_rng(seed))
    assert moved.labels is not None
    clear = abs(moved.hu) > 20  # else halfway between two voxels
    assert ((moved.hu > 0) == (moved.labels.ids == 1))[clear].all()
    assert 0 < moved.labels.ids.mean() < 1


def test_the_generator_decides_the_warp() -> None:
    one, again, other = (warped(halves(), np.random.default_rng(seed)).hu for seed in (1, 1, 2))
    assert one.tobytes() == again.tobytes() != other.tobytes()
