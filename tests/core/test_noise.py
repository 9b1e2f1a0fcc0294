"""The noise follows from all 64 bits of the seed, and is normal."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gen.core.noise import standard_normal


def test_bits_are_the_published_ones() -> None:
    """Known answers of Random123 (philox4x64 10): counter and key of zeros, and of ones.

    numpy counts up before it draws, so that it starts one below.
    """
    below = np.full(4, 2**64 - 1, np.uint64)
    zeros = np.random.Philox(key=0, counter=below).random_raw(4)
    assert [f"{word:016x}" for word in zeros] == [
        "16554d9eca36314c",
        "db20fe9d672d0fdc",
        "d7e772cee186176b",
        "7e68b68aec7ba23b",
    ]
    ones = np.random.Philox(key=2**128 - 1, counter=below - np.array([1, 0, 0, 0], np.uint64)).random_raw(4)
    assert [f"{word:016x}" for word in ones] == [
        "87b092c3013fe90b",
        "438c3c67be8d0224",
        "9cc7d7c69cd777b6",
        "a09caebf594f0ba0",
    ]


def test_values_are_pinned() -> None:
    """Box and Muller of the pinned bits, computed by hand from the words."""
    words = [int(word) for word in np.random.Philox(key=2**40 + 5).random_raw(2)]
    expected = []
    for word in words:
        radius = math.sqrt(-2 * math.log(((word >> 32) + 1) / 2**32))
        angle = 2 * math.pi * (word & 0xFFFFFFFF) / 2**32
        expected += [radius * math.cos(angle), radius * math.sin(angle)]
    assert standard_normal((2, 2), 2**40 + 5).reshape(-1) == pytest.approx(expected, rel=1e-6)


@given(seed=st.integers(0, 2**64 - 1), bit=st.integers(0, 63))
def test_every_bit_of_the_seed_counts(seed: int, bit: int) -> None:
    one, other = standard_normal((64,), seed), standard_normal((64,), seed ^ (1 << bit))
    assert (one != other).mean() > 0.9


@given(seed=st.integers(0, 2**64 - 1), count=st.integers(1, 50))
def test_more_numbers_begin_with_the_fewer(seed: int, count: int) -> None:
    assert (standard_normal((60,), seed)[:count] == standard_normal((count,), seed)).all()


def test_it_is_normal_and_uncorrelated() -> None:
    values = np.concatenate([standard_normal((4, 32, 32), seed).reshape(-1) for seed in range(64)])
    assert values.dtype == np.float32
    assert stats.kstest(values, "norm").pvalue > 0.01
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 4 / math.sqrt(len(values))
    assert abs(np.corrcoef(values[0::2], values[1::2])[0, 1]) < 4 / math.sqrt(len(values) / 2)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_of_another_size_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match="not in"):
        standard_normal((1,), seed)
