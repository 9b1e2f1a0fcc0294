"""A radiograph holds what it says, and is padded and resized without loss of place, level or range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gen.core.errors import GenError
from gen.core.radiograph import Radiograph, pad_to_square, resize


def test_a_radiograph_lies_in_its_value_space() -> None:
    good = np.full((2, 3), 0.5, np.float32)
    for pixels in (
        good * 3,
        good - 1,
        good * np.nan,
        good.astype(np.float64),
        good[0],
        good[:0],
        (good * 255).astype(np.uint8),
    ):
        with pytest.raises(GenError, match="radiograph"):
            Radiograph(pixels)


@given(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.floats(0, 1, width=32))
)
def test_padding_keeps_every_pixel_centred_and_resizing_keeps_level_and_range(pixels: np.ndarray) -> None:
    square = pad_to_square(pixels)
    height, width = pixels.shape
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    assert square.shape == (side, side)
    assert np.array_equal(square[top : top + height, left : left + width], pixels)
    assert np.isclose(square.sum(), pixels.sum())
    small = resize(pixels, 5)
    assert small.shape == (5, 5)
    assert small.dtype == np.float32
    assert small.min() >= 0
    assert small.max() <= 1
    assert np.allclose(resize(np.full_like(pixels, 0.25), 7), 0.25, atol=1e-6)


def test_resizing_down_averages_what_it_drops() -> None:
    stripes = np.tile(np.array([0, 1], np.float32), (64, 32))
    assert np.abs(resize(stripes, 8) - 0.5).max() < 0.06  # without antialiasing it would be 0 or 1
