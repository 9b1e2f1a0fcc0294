"""From a target over a product of attributes to whole numbers of images: the quotas of a plan.

A table has one axis an attribute and one cell a combination of values. Everything here is a pure function of its
arguments, ties included, and knows nothing of what an axis stands for.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np

# Above these numbers of cells the rounding looks at single margins only, and at none (seconds, and then minutes).
PAIRS_UP_TO, SOLVED_UP_TO = 256, 5000
SWEEPS = 2000  # of proportional fitting; a fit inside the polytope takes dozens
CLOSE = 1e-10  # of shares: a fit that is as near to every margin is one
_WHOLE = 1e-6  # images: a float that is as near to a whole number is one
_MARGIN, _PAIR = 100.0, 1.0  # what an image outside the bounds of a margin, or of a margin of two attributes, costs


class Unfit(ValueError):
    """No table with these zeros has these margins: ``wanted`` is the share of ``index`` on ``axis``, ``reached`` what
    the fit came to."""

    def __init__(self, axis: int, index: int, wanted: float, reached: float) -> None:
        super().__init__(f"axis {axis}, index {index}: {wanted} wanted, {reached} reached")
        self.axis, self.index, self.wanted, self.reached = axis, index, wanted, reached


def balanced(shape: tuple[int, ...], total: int) -> np.ndarray:
    """``total`` images over ``shape``: cells differ by 1 at most, and so do the values of every attribute."""
    return rounded(np.full(shape, total / np.prod(shape)))


def matched(counts: np.ndarray, total: int) -> np.ndarray:
    """``total`` images in proportion to ``counts``, which are not all 0."""
    return rounded(counts * (total / counts.sum()))


def topped_up(counts: np.ndarray, total: int) -> np.ndarray:
    """``total`` images that make ``counts`` plus them as even as they can: no cell gets one that leaves it above
    another by more than 1 (water-filling; it has the least sum of squares of all tables of so many images)."""
    heights = np.sort(counts, axis=None)
    # The water that stands at the height of the k-th lowest cell, which finds how many cells it covers.
    needed = heights * np.arange(1, heights.size + 1) - np.cumsum(heights)
    covered = int(np.searchsorted(needed, total, side="right"))
    level, rest = divmod(total + int(heights[:covered].sum()), covered)
    under = counts <= level
    return rounded(np.where(under, level - counts + rest / under.sum(), 0.0))


def fitted(seed: np.ndarray, margins: Mapping[int, np.ndarray], total: int) -> np.ndarray:
    """``total`` images with ``margins`` (shares by axis) and otherwise the odds ratios of ``seed``; see `fit`."""
    wanted = {axis: np.asarray(shares) * total for axis, shares in margins.items()}
    return rounded(fit(seed, margins) * total, wanted)


def fit(seed: np.ndarray, margins: Mapping[int, np.ndarray]) -> np.ndarray:
    """The table of shares nearest to ``seed`` in relative entropy that has ``margins``: iterative proportional fitting.

    (Deming and Stephan, Annals of Mathematical Statistics 1940.) ``margins`` are shares by axis that sum to 1 each; an
    axis without one is free. A cell of 0 stays 0. Raises `Unfit` where the zeros leave no such table.
    """
    if not seed.any():
        raise _unfit(seed, margins)
    table, worst = _sweep(seed / seed.sum(), margins)
    if worst > CLOSE:
        # Either there is no such table, or it has zeros where the seed has none, which sweeps near but never reach.
        support = _largest_support(seed > 0, margins)
        if support is not None:
            table, worst = _sweep(np.where(support, seed, 0.0) / seed.sum(), margins)
        if support is None or worst > 1e-6:
            raise _unfit(table, margins)
    return table


def rounded(table: np.ndarray, margins: Mapping[int, np.ndarray] | None = None) -> np.ndarray:
    """Whole numbers near ``table`` with its sum, which is whole: every cell is rounded up or down.

    Which way is chosen so that the sums over every attribute are rounded up or down too (``margins`` by axis say what
    they should be, where the table's own are less exact), the sums over pairs of attributes where that can be had, and
    then the cells' distance is least: a small integer programme (HiGHS). Tables above `SOLVED_UP_TO` cells are rounded
    by largest remainder.
    """
    flat = table.ravel()
    base = np.floor(flat + _WHOLE)
    rest = flat - base
    free = np.flatnonzero(rest > _WHOLE)
    ups = round(float(flat.sum())) - int(base.sum())
    whole = base.astype(np.int64)
    if ups:
        up = _solve(table, free, ups, margins or {}) if free.size <= SOLVED_UP_TO else None
        whole[free] += largest_remainder(rest[free], ups) if up is None else up
    return whole.reshape(table.shape)


def largest_remainder(shares: np.ndarray, total: int) -> np.ndarray:
    """``total`` handed out in proportion to ``shares`` (1-D, not all 0), each rounded up or down; ties go to the
    first."""
    exact = shares * (total / shares.sum())
    whole = np.floor(exact + _WHOLE)
    order = np.lexsort((np.arange(exact.size), -np.round(exact - whole, 9)))
    whole[order[: total - int(whole.sum())]] += 1
    return whole.astype(np.int64)


def interleaved(counts: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(places, kinds): how many of each kind are at each place, sums exact both ways and near to proportional.

    The kinds are laid in one line, each evenly along it, and the places take consecutive pieces of it.
    """
    kind = np.repeat(np.arange(counts.size), counts)
    along = (np.arange(kind.size) - np.repeat(np.cumsum(counts) - counts, counts) + 0.5) / np.repeat(counts, counts)
    line = kind[np.lexsort((kind, along))]
    place = np.repeat(np.arange(places.size), places)
    cells = np.bincount(place * counts.size + line, minlength=places.size * counts.size)
    return cells.reshape(places.size, counts.size)


def _solve(table: np.ndarray, free: np.ndarray, ups: int, margins: Mapping[int, np.ndarray]) -> np.ndarray | None:
    """1 for each of the ``free`` cells that is rounded up, ``ups`` of them; None where the solver gives up."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array, eye_array, hstack, vstack

    base = np.floor(table + _WHOLE)
    rest = (table - base).ravel()[free]
    index = np.unravel_index(free, table.shape)
    rows, low, high, cost = [], [], [], []
    for axes in _margins_of(table.shape):
        shape = tuple(table.shape[axis] for axis in axes)
        code = np.ravel_multi_index([index[axis] for axis in axes], shape)
        others = tuple(axis for axis in range(table.ndim) if axis not in axes)
        sums = margins[axes[0]] if len(axes) == 1 and axes[0] in margins else table.sum(others).ravel()
        sums = sums - base.sum(others).ravel()
        rows.append(csr_array((np.ones(free.size), (code, np.arange(free.size))), shape=(sums.size, free.size)))
        low.append(np.floor(sums + _WHOLE))
        high.append(np.ceil(sums - _WHOLE))
        cost.append(np.full(sums.size, _MARGIN if len(axes) == 1 else _PAIR))
    outside = np.concatenate(cost)
    sums_of, slack = vstack(rows), eye_array(outside.size)
    all_of = csr_array(np.concatenate([np.ones(free.size), np.zeros(outside.size)])[None])
    # Nearly always no margin need be outside its bounds, and without that leave the solver is quick and exact.
    for leave in (np.where(outside == _MARGIN, 0, np.inf), np.full(outside.size, np.inf)):
        found = milp(
            np.concatenate([1 - 2 * rest, outside]),
            constraints=[
                LinearConstraint(hstack([sums_of, slack]), np.concatenate(low), np.inf),
                LinearConstraint(hstack([sums_of, -slack]), -np.inf, np.concatenate(high)),
                LinearConstraint(all_of, ups, ups),
            ],
            integrality=np.concatenate([np.ones(free.size), np.zeros(outside.size)]),
            bounds=Bounds(0, np.concatenate([np.ones(free.size), leave])),
            options={"node_limit": 5},  # a limit of time would let the machine decide the plan
        )
        if found.x is not None and (up := np.round(found.x[: free.size]).astype(np.int64)).sum() == ups:
            return up
    return None


def _margins_of(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The axes whose sums are watched; those over all axes but none, and over all axes, are fixed anyway."""
    sizes = (1, 2) if len(shape) > 2 and np.prod(shape) <= PAIRS_UP_TO else (1,)
    return itertools.chain.from_iterable(itertools.combinations(range(len(shape)), size) for size in sizes)


def _sweep(table: np.ndarray, margins: Mapping[int, np.ndarray]) -> tuple[np.ndarray, float]:
    """``table`` scaled to each margin in turn until all hold; with the largest distance that is left."""
    worst = np.inf
    for _ in range(SWEEPS):
        for axis, wanted in margins.items():
            sums = _sums(table, axis)
            scale = np.divide(wanted, sums, out=np.zeros_like(sums), where=sums > 0)
            table = table * np.expand_dims(scale, tuple(k for k in range(table.ndim) if k != axis))
        worst = max(float(np.abs(_sums(table, axis) - wanted).max()) for axis, wanted in margins.items())
        if worst <= CLOSE:
            break
    return table, worst


def _largest_support(allowed: np.ndarray, margins: Mapping[int, np.ndarray]) -> np.ndarray | None:
    """The cells of ``allowed`` that some table with ``margins`` has above 0; None where there is no such table.

    One linear programme over (x, t, s): x = s times a table, 0 <= t <= min(x, 1), s >= 0, and the sum of t as large as
    it gets. A cell that can be above 0 has t = 1, for s may be as large as that takes.
    """
    from scipy.optimize import linprog
    from scipy.sparse import block_array, csr_array, eye_array

    index, cells = np.nonzero(allowed), int(allowed.sum())
    sums = [
        csr_array((np.ones(cells), (index[axis], np.arange(cells))), shape=(allowed.shape[axis], cells))
        for axis in margins
    ]
    of_margins = [
        [part, csr_array((part.shape[0], cells)), csr_array(-m[:, None])]
        for part, m in zip(sums, margins.values(), strict=True)
    ]
    below = block_array([[-eye_array(cells), eye_array(cells), csr_array((cells, 1))]])
    found = linprog(
        np.concatenate([np.zeros(cells), -np.ones(cells), [0]]),
        A_ub=below,
        b_ub=np.zeros(cells),
        A_eq=block_array(of_margins),
        b_eq=np.zeros(sum(part.shape[0] for part in sums)),
        bounds=[(0, None)] * cells + [(0, 1)] * cells + [(0, None)],
    )
    if found.x is None or found.x[-1] < 0.5:
        return None
    support = np.zeros_like(allowed)
    support[index] = found.x[cells : 2 * cells] > 0.5
    return support


def _unfit(table: np.ndarray, margins: Mapping[int, np.ndarray]) -> Unfit:
    """The value whose sum is farthest from its margin."""
    axis = max(margins, key=lambda axis: float(np.abs(_sums(table, axis) - margins[axis]).max()))
    sums = _sums(table, axis)
    index = int(np.abs(sums - margins[axis]).argmax())
    return Unfit(axis, index, float(margins[axis][index]), float(sums[index]))


def _sums(table: np.ndarray, axis: int) -> np.ndarray:
    return table.sum(axis=tuple(k for k in range(table.ndim) if k != axis))
