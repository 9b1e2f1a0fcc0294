"""The packed volume: nothing is lost, sums are sums, and memory stays bounded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drr.backends.tiles import AXES
from drr.projector import prepare


@st.composite
def sparse(draw: st.DrawFn) -> np.ndarray:
    shape = draw(st.tuples(st.integers(1, 20), st.integers(1, 19), st.integers(1, 70)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    peak, filled = draw(st.sampled_from([1, 4095, 32767])), draw(st.sampled_from([0.0, 0.003, 0.1, 1.0]))
    return np.where(rng.random(shape) < filled, rng.integers(0, peak + 1, shape), 0).astype(np.int16)


def ball(n: int = 96) -> np.ndarray:
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n)] * 3, indexing="ij")
    return np.where(x * x + y * y + z * z < 0.8, 1000, 0).astype(np.int16)


@given(sparse(), st.sampled_from([0, 1, 2]), st.sampled_from([1, 2, 4, 8]))
@settings(max_examples=60)
def test_tiles_hold_the_sums_of_neighbouring_slabs(numbers: np.ndarray, axis: int, most: int) -> None:
    stack = prepare(numbers, (1.0, 1.0, 1.0))
    assert np.array_equal(stack.numbers(), numbers)
    group = stack.group(most)
    slabs = numbers.transpose(AXES[axis]).astype(np.int64)
    sums = np.add.reduceat(slabs, np.arange(0, slabs.shape[1], group), axis=1)
    assert sums.max() <= 32767
    assert np.array_equal(stack.tiles(axis, group).unpack(), sums)


def test_air_takes_no_memory() -> None:
    numbers = np.zeros((64, 64, 256), np.int16)
    numbers[30, :, 100] = numbers[30, :, 200] = 7
    tiles = prepare(numbers, (1.0, 1.0, 1.0)).base
    assert tiles.values.size == 8 * 64 * 2 * 16  # one block of rows, in each slab two runs of 16 columns


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_memory_stays_within_two_and_a_quarter_of_the_packed_volume(axis: int) -> None:
    stack = prepare(ball(), (1.0, 1.0, 1.0))
    for group in (8, 4, 2, 1, 4, 8):
        tiles = stack.tiles(axis, group)
        assert stack.tiles(axis, group) is tiles
        assert stack.nbytes <= 2.3 * stack.base.nbytes
    assert stack.base.nbytes <= ball().nbytes
