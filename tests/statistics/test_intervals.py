"""Intervals: exact values in small cases, and coverage at the stated rate on simulated data."""

from __future__ import annotations

import json
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen.statistics.intervals import (
    Figure,
    bootstrap,
    effective_units,
    jackknife,
    mean_of,
    mean_of_means,
    proportion,
    share,
    times_drawn,
    unknown,
    with_error,
)


def test_wilsons_interval_is_the_set_of_rates_that_a_score_test_would_not_refuse() -> None:
    from scipy.stats import norm

    for hits, n in ((0, 12), (3, 20), (19, 20), (50, 50)):
        figure = proportion(hits, n)
        for end in {figure.low, figure.high} - {0.0, 1.0}:
            assert abs(hits / n - end) / math.sqrt(end * (1 - end) / n) == pytest.approx(norm.ppf(0.975))
    for n in range(1, 200):  # of 66, the rounding of a half-width put the end at -3e-18
        assert proportion(0, n).low == 0 == 1 - proportion(n, n).high
    assert proportion(0, 0).as_dict() == {"value": None, "low": None, "high": None, "n": 0}


def test_a_figure_survives_json_and_reads_well() -> None:
    assert json.loads(json.dumps(unknown(3).as_dict(), allow_nan=False)) == unknown(3).as_dict()
    assert (Figure(0.5, 0.25, 0.75, 4).text(2), unknown().text()) == ("0.50 [0.25, 0.75]", "n/a")


def test_the_jackknife_of_a_mean_without_clusters_is_its_textbook_error() -> None:
    values = np.random.default_rng(0).standard_normal(30)
    errors, freedom = jackknife(lambda kept: values[kept].mean(), [str(i) for i in range(30)], groups=30)
    assert (float(errors), freedom) == (pytest.approx(values.std(ddof=1) / 30**0.5), 29)


def test_the_errors_of_independent_samples_add_up_as_variances() -> None:
    first, second = np.random.default_rng(0).standard_normal((2, 20))
    units = [str(i) for i in range(20)]
    both, _ = jackknife(lambda a, b: first[a].mean() - second[b].mean(), units, units)
    one, two = (jackknife(lambda kept, some=some: some[kept].mean(), units)[0] for some in (first, second))
    assert float(both) == pytest.approx(math.hypot(float(one), float(two)))


def test_films_of_one_patient_that_are_copies_leave_every_interval_as_it_was() -> None:
    """The theorem that an image-by-image interval fails: it would shrink by the root of four."""
    values = np.random.default_rng(1).standard_normal(40)
    patients = [str(i) for i in range(40)]
    copies, many = np.repeat(values, 4), list(np.repeat(patients, 4))
    assert mean_of(copies, many).low == pytest.approx(mean_of(values, patients).low)
    once = bootstrap(patients, lambda kept: values[kept].mean())
    assert bootstrap(many, lambda kept: copies[kept].mean()).low == pytest.approx(once.low)
    error = [
        float(jackknife(lambda kept, some=some: some[kept].mean(), units)[0])
        for some, units in ((values, patients), (copies, many))
    ]
    assert error[0] == pytest.approx(error[1])


@pytest.mark.parametrize("way", ["mean", "bootstrap", "jackknife"])
def test_intervals_of_a_clustered_mean_cover_at_the_stated_rate(way: str) -> None:
    generator = np.random.default_rng(7)
    runs, covered = 400, 0
    for _ in range(runs):
        sizes = generator.integers(1, 5, 60)
        units = [str(k) for k, size in enumerate(sizes) for _ in range(size)]
        values = np.repeat(generator.standard_normal(60), sizes) + generator.standard_normal(len(units))
        if way == "mean":
            figure = mean_of(values, units)
        elif way == "bootstrap":
            figure = bootstrap(units, lambda kept, v=values: v[kept].mean(), draws=100)
        else:
            error, freedom = jackknife(lambda kept, v=values: v[kept].mean(), units)
            figure = with_error(values.mean(), float(error), len(values), freedom)
        covered += figure.low <= 0 <= figure.high
    assert 0.9 <= covered / runs <= 0.98  # 95 % within three binomial errors of 1.1 %, and a few clusters' loss


@pytest.mark.parametrize("sizes", [[1] * 200 + [47, 30, 30, 22], [2] * 100], ids=["a few with most", "all alike"])
@pytest.mark.parametrize("agreement", [0.0, 0.5, 1.0])
def test_intervals_cover_where_a_few_patients_have_most_of_the_images(sizes: list[int], agreement: float) -> None:
    generator, runs = np.random.default_rng(8), 300
    place = np.repeat(np.arange(len(sizes)), sizes)
    units = [str(k) for k in place]
    covered = {"share": 0, "mean": 0}
    for _ in range(runs):
        agree = generator.random(len(place)) < agreement
        flags = np.where(agree, (generator.random(len(sizes)) < 0.3)[place], generator.random(len(place)) < 0.3)
        common, own = generator.standard_normal(len(sizes))[place], generator.standard_normal(len(place))
        figures = {
            "share": share(flags, units),
            "mean": mean_of(0.3 + agreement**0.5 * common + (1 - agreement) ** 0.5 * own, units),
        }
        for name, figure in figures.items():
            covered[name] += figure.low <= 0.3 <= figure.high
    assert min(covered.values()) / runs > 0.9


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_units_are_as_many_as_they_are_only_where_all_are_alike(sizes: list[int]) -> None:
    found = effective_units([str(k) for k, size in enumerate(sizes) for _ in range(size)])
    assert 1 <= found <= len(sizes)
    assert (found == len(sizes)) == (len(set(sizes)) == 1)


def test_the_samples_of_many_images_are_in_memory_once() -> None:
    units = [str(k) for k in range(2_000)]
    tracemalloc.start()
    times = times_drawn(units, 2_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * times.nbytes < 1.5 * 4.01 * 2_000 * 2_000
    np.testing.assert_array_equal(times.sum(1), 2_000)


def test_what_has_no_interval_says_so() -> None:
    assert math.isnan(mean_of([1.0, 2.0], ["same", "same"]).low)
    assert math.isnan(bootstrap(["a", "b"], lambda kept: math.nan).low)
    seldom = bootstrap(["a", "b", "c"], lambda kept: 1.0 if len(set(kept)) == 3 else math.nan)  # in 6 of 27 draws
    assert (seldom.value, math.isnan(seldom.low), math.isnan(seldom.high)) == (1, True, True)
    assert np.isnan(jackknife(lambda kept: np.zeros(3), ["same", "same"])[0]).all()
    assert math.isnan(mean_of([], []).value)


def test_a_patient_with_many_images_counts_once_in_a_mean_of_means() -> None:
    figure = mean_of_means([1.0] * 47 + [0.0], ["many"] * 47 + ["one"])
    assert (figure.value, figure.n) == (0.5, 48)
    values = np.random.default_rng(2).standard_normal(30)
    units = [str(k) for k in range(30)]
    assert mean_of_means(values, units) == mean_of(values, units)
    assert math.isnan(mean_of_means([], []).value)
