"""Who is missed: an example by hand, fairlearn's rates, gaps without small groups, and draws of whole patients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from augment.classify.arms import Cell
from augment.classify.fairness import arm_rates, errors_of, gap_figure, gap_of, group_draws
from augment.classify.figures import Averaged, seed_weights
from gen.statistics.intervals import drawn

FINDINGS = ("No Finding", "Edema")
# Sex, view, whether ill, and whether called "No Finding" and "Edema".
PEOPLE = (
    ("F", "PA", True, True, False),
    ("F", "PA", True, False, True),
    ("F", "AP", True, True, False),
    ("F", "AP", False, True, False),
    ("M", "PA", True, False, True),
    ("M", "PA", True, False, True),
    ("M", "AP", True, True, True),
    ("M", "AP", False, False, True),
    (None, "AP", True, False, False),
)


def example() -> tuple[np.ndarray, np.ndarray, list[dict[str, str]]]:
    calls = np.array([[[normal, edema] for _, _, _, normal, edema in PEOPLE]])
    labels = np.array([[not ill, ill] for _, _, ill, _, _ in PEOPLE], float)
    attributes = [{k: v for k, v in (("sex", sex), ("view", view)) if v} for sex, view, *_ in PEOPLE]
    return calls, labels, attributes


def of_example(small: int = 1) -> dict[str, Any]:
    calls, labels, attributes = example()
    found = {}
    for kind, errors in errors_of(calls, labels, FINDINGS).items():
        rates = group_draws(errors, attributes, [str(i) for i in range(len(PEOPLE))], 200)
        found[kind] = arm_rates(rates.replicates[:, 0], rates.replicates[:, 0], rates, [0], small)
    return found


def test_rates_by_hand() -> None:
    found = of_example()
    rates = {key: of["rate"].value for key, of in found["underdiagnosis"]["groups"].items()}
    # The ill: F called normal 2 of 3, M 1 of 3; one of unknown sex counts among all, 3 of 7.
    assert rates["all"] == pytest.approx(3 / 7)
    assert (rates["sex=F"], rates["sex=M"]) == pytest.approx((2 / 3, 1 / 3))
    assert (rates["sex=F|view=PA"], rates["sex=F|view=AP"], rates["sex=M|view=PA"]) == pytest.approx((1 / 2, 1, 0))
    # Edema is missed in F 2 of 3, in M 0 of 3; the healthy are called ill in M alone.
    missed = found["missed findings"]["groups"]
    assert (missed["sex=F"]["rate"].value, missed["sex=M"]["rate"].value) == pytest.approx((2 / 3, 0))
    healthy = found["normal called ill"]["groups"]
    assert (healthy["sex=F"]["rate"].value, healthy["sex=M"]["rate"].value) == (0, 1)
    assert np.isnan(healthy["view=PA"]["rate"].value)  # nobody healthy has a PA view
    gap = found["underdiagnosis"]["gaps"]["sex"]
    assert gap["gap"].value == pytest.approx(1 / 3)
    assert gap["worst"] == "sex=F"
    assert gap["change"].value == 0


def test_small_groups_are_shown_as_small_and_make_no_gap() -> None:
    found = of_example(small=3)["underdiagnosis"]
    assert found["groups"]["sex=F|view=AP"]["small"]
    assert not found["groups"]["sex=F"]["small"]
    assert "sex|view" not in found["gaps"]
    assert "sex" in found["gaps"]


def test_the_drawn_rates_begin_with_fairlearns() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice([0.0, 1.0, np.nan], (60, 2))
    calls = rng.random((2, 60, 2)) < 0.5
    attributes = [{"sex": str(rng.choice(["F", "M"])), "view": str(rng.choice(["PA", "AP"]))} for _ in range(60)]
    for errors in errors_of(calls, labels, FINDINGS).values():
        rates = group_draws(errors, attributes, [str(i // 2) for i in range(60)], 5)
        assert len(rates.keys) == 1 + 4 + 4
        for cell in (0, 1):
            expected = [rates.values[cell][key] for key in rates.keys]
            np.testing.assert_allclose(rates.replicates[0, cell], expected)


def test_a_gap_is_never_below_zero_and_ignores_groups_without_a_value() -> None:
    assert gap_of(np.array([[0.2, np.nan, 0.5], [0.1, 0.1, 0.1]])).tolist() == pytest.approx([0.3, 0.0])


def test_seeds_are_averaged_and_drawn_with_the_patients() -> None:
    cells = [Cell("a", 1.0, 0, 0), Cell("a", 1.0, 0, 1), Cell("b", 0.0, 0, 0), Cell("b", 0.0, 0, 1)]
    values = np.array([1.0, 3.0, 2.0, 4.0])
    replicates = drawn([str(i) for i in range(5)], lambda i: values, 100)
    averaged = Averaged(replicates, cells, seed_weights(2, 100))
    assert averaged.of("a", "100 %")[0] == 2
    assert averaged.of("b", "100 %")[0] == 3  # it has no real images, and so the same at every amount
    np.testing.assert_array_equal(averaged.of("b", "100 %") - averaged.of("a", "100 %"), np.ones(101))
    assert set(averaged.of("a", "100 %")) == {1.0, 2.0, 3.0}


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_drawn_mean_of_seeds_varies_as_the_mean_of_so_many_seeds_does(seeds: int) -> None:
    values = np.random.default_rng(seeds).standard_normal(seeds)
    cells = [Cell("a", 1.0, 0, seed) for seed in range(seeds)]
    averaged = Averaged(np.broadcast_to(values, (20_001, seeds)), cells, seed_weights(seeds, 20_000)).of("a", "100 %")
    assert averaged[0] == pytest.approx(values.mean())
    assert averaged[1:].var() == pytest.approx(values.var(ddof=1) / seeds, rel=0.05)


@pytest.mark.parametrize("rates", [(0.3, 0.3, 0.3, 0.3), (0.3, 0.3, 0.3, 0.4), (0.2, 0.3, 0.4, 0.7), (0.3, 0.3)])
def test_the_interval_of_a_gap_covers_it_whether_there_is_one_or_none(rates: tuple[float, ...]) -> None:
    """The percentiles of the drawn gaps never hold 0."""
    generator, runs = np.random.default_rng(0), 300
    true, covered = max(rates) - min(rates), 0
    for _ in range(runs):
        found = generator.binomial(100, rates) / 100
        figure = gap_figure(np.stack([found, *(generator.binomial(100, found, (200, len(rates))) / 100)]), 400)
        covered += figure.low <= true <= figure.high
    assert covered / runs > 0.91  # 95 % less three binomial errors of 1.3 %


def test_the_gap_of_groups_that_are_hardly_ever_drawn_has_no_interval() -> None:
    figure = gap_figure(np.array([[0.1, 0.4], [np.nan, np.nan], [np.nan, np.nan], [0.1, 0.5]]), 9)
    assert figure.value == pytest.approx(0.3)
    assert np.isnan([figure.low, figure.high]).all()
