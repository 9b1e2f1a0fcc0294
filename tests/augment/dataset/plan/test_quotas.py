"""Quotas are whole, sum exactly, and are as near to what was asked as whole numbers can be."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from augment.dataset.plan import quotas

FEW = settings(max_examples=25)  # each solves an integer programme
shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple).filter(lambda shape: math.prod(shape) <= 100)


def tables(shape, most=40):
    return hnp.arrays(np.int64, shape, elements=st.integers(0, most)).filter(np.any)


def margin(table, axis):
    return table.sum(axis=tuple(k for k in range(table.ndim) if k != axis))


@FEW
@given(shapes, st.integers(1, 400))
def test_balanced_cells_and_the_values_of_every_attribute_differ_by_one_at_most(shape, total):
    quota = quotas.balanced(shape, total)
    assert quota.shape == shape
    assert quota.sum() == total
    assert np.ptp(quota) <= 1
    assert all(np.ptp(margin(quota, axis)) <= 1 for axis in range(len(shape)))


@pytest.mark.parametrize(("shape", "total"), [((2, 2, 2), 4), ((3, 3, 3), 9), ((2, 3, 2, 4), 24), ((2, 5, 2, 10), 100)])
def test_fewer_images_than_cells_do_not_confound_two_attributes(shape, total):
    quota = quotas.balanced(shape, total)
    for pair in itertools.combinations(range(len(shape)), 2):
        together = quota.sum(axis=tuple(k for k in range(len(shape)) if k not in pair))
        assert np.abs(together - total / together.size).max() <= 1


def test_a_table_of_thousands_of_cells_is_balanced_too():
    quota = quotas.balanced((2, 6, 6, 3, 20), 9999)
    assert quota.sum() == 9999
    assert all(np.ptp(margin(quota, axis)) <= 1 for axis in range(5))


@FEW
@given(st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(tables), st.integers(1, 300))
def test_matched_cells_and_values_are_the_real_proportion_rounded_up_or_down(counts, total):
    quota, exact = quotas.matched(counts, total), counts * total / counts.sum()
    assert quota.sum() == total
    assert np.abs(quota - exact).max() < 1
    assert all(np.abs(margin(quota - exact, axis)).max() < 1 for axis in range(2))


@FEW
@given(shapes.flatmap(tables), st.integers(1, 300))
def test_matched_tables_of_any_number_of_attributes_stay_near_in_every_value(counts, total):
    quota, exact = quotas.matched(counts, total), counts * total / counts.sum()
    assert quota.sum() == total
    assert np.abs(quota - exact).max() < 1
    assert all(np.abs(margin(quota - exact, axis)).max() < 2 for axis in range(counts.ndim))


def test_where_no_rounding_keeps_every_value_the_total_is_kept_and_the_values_are_off_by_one():
    # Any two of these four cells agree in one of three attributes, whose values would have to differ.
    counts = np.zeros((2, 2, 2), np.int64)
    counts[0, 0, 0] = counts[0, 1, 1] = counts[1, 0, 1] = counts[1, 1, 0] = 1
    quota = quotas.matched(counts, 2)
    assert quota.sum() == 2
    assert not quota[counts == 0].any()
    assert max(np.abs(margin(quota, axis) - 1).max() for axis in range(3)) == 1


@given(tables((3, 4)), st.integers(1, 5))
def test_a_multiple_of_the_real_set_is_matched_exactly(counts, times):
    assert (quotas.matched(counts, times * counts.sum()) == times * counts).all()


@FEW
@given(hnp.arrays(np.int64, (2, 2), elements=st.integers(0, 4)), st.integers(1, 7))
def test_topping_up_is_the_most_even_of_all_ways(counts, total):
    added = quotas.topped_up(counts, total)
    assert added.sum() == total
    assert added.min() >= 0
    ways = (np.reshape(way, (2, 2)) for way in itertools.product(range(total + 1), repeat=4) if sum(way) == total)
    assert ((counts + added) ** 2).sum() == min(((counts + way) ** 2).sum() for way in ways)


@FEW
@given(shapes.flatmap(tables), st.integers(1, 2000))
def test_topping_up_leaves_no_cell_above_another_that_got_less(counts, total):
    added = quotas.topped_up(counts, total)
    full = counts + added
    assert added.sum() == total
    assert full[added > 0].max() - full.min() <= 1


def test_a_large_table_is_rounded_by_largest_remainder():
    counts = np.random.default_rng(0).integers(0, 50, (75, 80))
    quota = quotas.matched(counts, 12_345)
    assert counts.size > quotas.SOLVED_UP_TO
    assert quota.sum() == 12_345
    assert np.abs(quota - counts * (12_345 / counts.sum())).max() < 1


@given(st.lists(st.integers(0, 30), min_size=1, max_size=9).filter(any), st.integers(0, 500))
def test_the_largest_remainder_rounds_every_share_and_never_gives_more_to_less(shares, total):
    given_out = quotas.largest_remainder(np.array(shares), total)
    assert given_out.sum() == total
    assert np.abs(given_out - np.array(shares) * total / sum(shares)).max() < 1
    order = np.argsort(shares, kind="stable")
    assert all(
        a <= b or shares[i] == shares[j]
        for (i, a), (j, b) in itertools.pairwise(zip(order, given_out[order], strict=True))
    )


@given(st.lists(st.integers(0, 20), min_size=1, max_size=6), st.data())
def test_kinds_are_interleaved_over_places_exactly_and_near_to_proportion(counts, data):
    total = sum(counts)
    cuts = sorted(data.draw(st.lists(st.integers(0, total), max_size=5)))
    places = np.diff([0, *cuts, total])
    cells = quotas.interleaved(np.array(counts), places)
    assert (cells.sum(0) == counts).all()
    assert (cells.sum(1) == places).all()
    if total:
        share = np.array(counts) / total
        assert (np.abs(cells - places[:, None] * share) <= 1 + len(counts) * share + 1e-9).all()


positive = hnp.arrays(np.float64, (2, 2), elements=st.floats(0.05, 1))


def odds_ratio(table):
    return table[0, 0] * table[1, 1] / (table[0, 1] * table[1, 0])


@given(positive, st.floats(0.1, 0.9), st.floats(0.1, 0.9))
def test_a_fit_has_the_margins_and_keeps_the_odds_ratio(seed, first, second):
    margins = {0: np.array([first, 1 - first]), 1: np.array([second, 1 - second])}
    table = quotas.fit(seed, margins)
    for axis, wanted in margins.items():
        assert np.allclose(margin(table, axis), wanted, atol=1e-9)
    assert odds_ratio(table) == pytest.approx(odds_ratio(seed), rel=1e-6)


def test_without_a_joint_table_a_fit_is_independence_and_what_has_no_margin_is_even():
    first, last = np.array([0.3, 0.7]), np.array([0.2, 0.3, 0.5])
    table = quotas.fit(np.ones((2, 4, 3)), {0: first, 2: last})
    assert np.allclose(table, first[:, None, None] * np.full(4, 0.25)[None, :, None] * last)


def test_a_margin_that_is_free_is_moved_only_by_what_it_hangs_together_with():
    seed = np.array([[3.0, 1.0], [1.0, 3.0]])
    table = quotas.fit(seed, {0: np.array([0.5, 0.5])})
    assert np.allclose(table, seed / 8)


def test_a_fit_at_the_edge_of_what_is_possible_is_found():
    # Sweeps alone would come near to it as 1 / n.
    table = quotas.fit(np.array([[1.0, 1.0], [1.0, 0.0]]), {0: np.array([0.5, 0.5]), 1: np.array([0.5, 0.5])})
    assert np.allclose(table, [[0, 0.5], [0.5, 0]], atol=1e-9)


@pytest.mark.parametrize(
    ("seed", "shares"),
    [
        ([[1.0, 1.0], [1.0, 0.0]], ([0.4, 0.6], [0.4, 0.6])),
        ([[1.0, 0.0], [0.0, 1.0]], ([0.4, 0.6], [0.6, 0.4])),
        ([[1.0, 1.0], [0.0, 0.0]], ([0.5, 0.5], [0.5, 0.5])),
        ([[0.0, 0.0], [0.0, 0.0]], ([0.5, 0.5], [0.5, 0.5])),
    ],
)
def test_margins_that_the_zeros_forbid_are_told_with_how_far_one_gets(seed, shares):
    with pytest.raises(quotas.Unfit) as raised:
        quotas.fit(np.array(seed), {axis: np.array(each) for axis, each in enumerate(shares)})
    error = raised.value
    assert error.wanted == shares[error.axis][error.index]
    assert abs(error.reached - error.wanted) > 1e-3
    assert (error.reached > 0) == np.any(seed)


@FEW
@given(
    hnp.arrays(np.float64, (2, 3, 2), elements=st.floats(0.1, 1)),
    hnp.arrays(np.int64, 2, elements=st.integers(1, 50)),
    hnp.arrays(np.int64, 3, elements=st.integers(1, 50)),
)
def test_whole_margins_are_met_exactly(seed, first, second):
    total = int(first.sum() * second.sum())
    quota = quotas.fitted(seed, {0: first / first.sum(), 1: second / second.sum()}, total)
    assert (margin(quota, 0) == first * second.sum()).all()
    assert (margin(quota, 1) == second * first.sum()).all()


@FEW
@given(shapes.flatmap(tables), st.integers(1, 300))
def test_the_same_question_has_the_same_answer(counts, total):
    assert (quotas.matched(counts, total) == quotas.matched(counts.copy(), total)).all()
