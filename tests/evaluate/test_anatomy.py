"""Whole chests are counted, shapes are compared, and NaN is never inside a range."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen.anatomy.measure import NAMES
from gen.core.manifest import Row
from gen.evaluate.anatomy import Measured, anatomy_figures, compare_anatomy, range_of
from gen.evaluate.images import ImageSet
from tests.anatomy.drawn import Drawn, DrawnAnatomy, film

COUNT = 200


def _set(seed: int, shift: float = 0.0, name: str = "p") -> Measured:
    """Chests of one Gaussian, whose mean is ``shift`` standard deviations off."""
    generator = np.random.default_rng(seed)
    values = {each: 0.9 + 0.05 * (generator.standard_normal(COUNT) + shift) for each in NAMES}
    values |= {"cardiothoracic_ratio": 0.5 + 0.04 * (generator.standard_normal(COUNT) + shift)}
    values |= {"lungs": np.full(COUNT, 2.0), "hearts": np.ones(COUNT)}
    return Measured(values, tuple(f"{name}{k}" for k in range(COUNT)), ("",) * COUNT)


def test_a_real_set_beside_another_is_at_the_floor() -> None:
    found = compare_anatomy(_set(0), _set(1, name="q"), "toy")
    assert found.distance.low < found.floor.high
    assert found.floor.low < found.distance.high
    for side in (found.synthetic, found.real):
        assert side.lung_symmetry.value == pytest.approx(0.95, abs=0.05)
        assert side.whole.value == pytest.approx(0.95**2, abs=0.08)
    assert found.n == COUNT // 2


@given(st.floats(1.0, 3.0))
@settings(max_examples=10)
def test_other_shapes_are_farther_by_the_square_of_the_shift(shift: float) -> None:
    found = compare_anatomy(_set(0), _set(1, shift, name="q"), "toy")
    apart = 11 * shift**2  # in standard deviations, of eleven measurements
    assert found.distance.value - found.floor.value == pytest.approx(apart, rel=0.25)
    assert found.distance.low > found.floor.high


def test_what_cannot_be_measured_is_no_whole_chest() -> None:
    broken = _set(1, name="q")
    for name in ("lung_symmetry", "ribs"):
        broken.values[name][: COUNT // 2] = np.nan
    broken = dataclasses.replace(broken, refused=("only one lung was found",) * 50 + ("",) * (COUNT - 50))
    found = compare_anatomy(_set(0), broken, "toy")
    assert found.synthetic.lung_symmetry.value < 0.53
    assert found.synthetic.whole.value <= found.synthetic.lung_symmetry.value
    assert found.synthetic.accepted.value == 0.75
    assert found.refused == {"only one lung was found": 50}
    nothing = Measured({name: np.full(COUNT, np.nan) for name in NAMES}, broken.units, ("no lung was found",) * COUNT)
    empty = compare_anatomy(_set(0), nothing, "toy")
    assert empty.synthetic.whole.value == 0
    assert np.isnan(empty.distance.value)


def test_a_range_of_nothing_holds_nothing() -> None:
    low, high = range_of(np.full(3, np.nan))
    assert not low <= 0.5 <= high


def test_frontal_images_are_measured_and_lateral_ones_left_out() -> None:
    chest = film(Drawn().masks(256))
    pixels = (255 * np.stack([chest, chest, 0 * chest + 0.3, chest])).astype(np.uint8)
    rows = tuple(
        Row(file=__file__, patient_id=str(k), view=view)  # type: ignore[arg-type]  # a stand-in
        for k, view in enumerate(("PA", "AP", "PA", "lateral"))
    )
    images = ImageSet(folder=None, rows=rows, pixels_u8=pixels, sha256=("a",) * 4)  # type: ignore[arg-type]  # a stand-in
    anatomy = DrawnAnatomy(Drawn(heart=0.14))
    found = anatomy_figures(anatomy, images, images, lambda *_: print)  # type: ignore[arg-type]  # a stand-in
    assert (found.synthetic.accepted.value, found.synthetic.accepted.n) == (pytest.approx(2 / 3), 3)
    assert found.means["cardiothoracic_ratio"]["synthetic"].value == pytest.approx(0.4, abs=0.01)
    assert found.refused == {"no lung was found": 1}
