"""Thresholds by group: every listed group passes at the stated rate whatever the scores, and so do new patients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.dataset.gates.calibration import (
    ALL,
    Limits,
    RealImage,
    conformal,
    cross_fitted,
    fewest_patients,
    limits_by_group,
    passes,
)
from gen.judge.reference import copy_threshold
from gen.statistics.groups import crossed
from gen.statistics.intervals import patient_share, proportion

RATES = st.sampled_from([0.5, 0.8, 0.9, 0.95])
SCORES = st.integers(0, 6).map(float)  # few values, so that ties abound


@st.composite
def images(draw: st.DrawFn, fewest: int = 21, most: int = 45) -> list[RealImage]:
    """One to three images of each patient, with some of the attributes, at one or two kinds of gate."""
    found = []
    for patient in range(draw(st.integers(fewest, most))):
        sex = draw(st.sampled_from(["F", "M", ""]))
        for _ in range(draw(st.integers(1, 3))):
            view = draw(st.sampled_from(["PA", "AP"]))
            known = {"view": view, "sex": sex, "age": draw(st.sampled_from(["18-39", "80+"]))}
            scores = {"a": draw(SCORES)} | ({"b": draw(SCORES)} if draw(st.booleans()) else {})
            found.append(RealImage(str(patient), {name: value for name, value in known.items() if value}, scores))
    return found


def weight_at(scores: Sequence[float], patients: Sequence[str], threshold: float) -> float:
    """How much weighs what reaches ``threshold``, by a plain sum over patients."""
    total = 0.0
    for patient in set(patients):
        own = [score for score, whose in zip(scores, patients, strict=True) if whose == patient]
        total += sum(score >= threshold for score in own) / len(own)
    return total


@settings(max_examples=40)
@given(images(), RATES, st.integers(1, 40))
def test_every_listed_group_passes_at_the_stated_rate_on_any_scores(
    some: list[RealImage], rate: float, least_images: int
) -> None:
    limits, _ = limits_by_group(some, rate, least_images, fewest_patients(rate))
    for kind, each in limits.items():
        for key, limit in each.groups.items():
            members = [image for image in some if kind in image.scores and key in crossed(image.attributes)]
            patients = [image.patient for image in members]
            hits = [passes(image, limits)[kind] for image in members]
            assert patient_share(hits, patients).value >= rate - 1e-9
            assert (limit.images, limit.patients) == (len(members), len(set(patients)))
            assert key == ALL or limit.images >= least_images


@settings(max_examples=40)
@given(images(), RATES)
def test_patients_left_out_in_turn_pass_at_the_stated_rate_on_average(some: list[RealImage], rate: float) -> None:
    # Of exchangeable patients any may be the new one: the rate of conformal prediction is this very average.
    scores, patients = [image.scores["a"] for image in some], [image.patient for image in some]
    shares = []
    for left_out in set(patients):
        others = [place for place, whose in enumerate(patients) if whose != left_out]
        threshold = conformal([scores[place] for place in others], [patients[place] for place in others], rate)
        own = [score for score, whose in zip(scores, patients, strict=True) if whose == left_out]
        shares.append(np.mean([math.isnan(threshold) or score >= threshold for score in own]))
    assert np.mean(shares) >= rate - 1e-9


@settings(max_examples=40)
@given(images(), RATES)
def test_no_higher_threshold_would_have_the_rate(some: list[RealImage], rate: float) -> None:
    scores, patients = [image.scores["a"] for image in some], [image.patient for image in some]
    threshold = conformal(scores, patients, rate)
    needed = rate * (len(set(patients)) + 1)
    assert weight_at(scores, patients, threshold) >= needed - 1e-6
    assert weight_at(scores, patients, threshold + 0.5) < needed


@settings(max_examples=40)
@given(st.lists(SCORES, min_size=20, max_size=60), RATES)
def test_with_one_image_each_it_is_the_rule_that_copies_are_told_by(scores: list[float], rate: float) -> None:
    threshold, _ = copy_threshold(np.array(scores), 1 - rate)
    assert conformal(scores, [str(k) for k in range(len(scores))], rate) == threshold


@settings(max_examples=40)
@given(images(), RATES, st.randoms(use_true_random=False))
def test_neither_order_nor_names_nor_a_patients_repeated_images_decide(
    some: list[RealImage], rate: float, random: Random
) -> None:
    again = [
        RealImage(f"x{image.patient}", dict(reversed(list(image.attributes.items()))), image.scores) for image in some
    ]
    again += [image for image in again if image.patient == "x0"]
    random.shuffle(again)
    first, second = (limits_by_group(each, rate, 1, 1)[0] for each in (some, again))
    for kind, limits in first.items():
        assert {key: limit.threshold for key, limit in limits.groups.items()} == {
            key: limit.threshold for key, limit in second[kind].groups.items()
        }


@settings(max_examples=40)
@given(images(), RATES, st.integers(1, 40))
def test_every_group_of_images_is_listed_or_pooled_or_has_the_images_of_a_wider_one(
    some: list[RealImage], rate: float, least_images: int
) -> None:
    limits, _ = limits_by_group(some, rate, least_images, fewest_patients(rate))
    members = {
        key: [place for place, image in enumerate(some) if key in crossed(image.attributes)]
        for key in {key for image in some for key in crossed(image.attributes)}
    }
    listed, pooled = limits["a"].groups, limits["a"].pooled
    assert not set(listed) & set(pooled)
    for key, places in members.items():
        if key in pooled:
            assert pooled[key] == len(places)
        elif key not in listed:
            assert any(members[other] == places for other in (*listed, *pooled) if other.count("|") <= key.count("|"))


@given(images(), RATES)
@settings(max_examples=30)
def test_knowing_more_of_an_image_never_makes_it_harder(some: list[RealImage], rate: float) -> None:
    limits, _ = limits_by_group(some, rate, 5, 1)
    for image in some:
        known = dict(image.attributes)
        bar = limits["a"].threshold(known)
        while known:
            known.popitem()
            assert bar <= (bar := limits["a"].threshold(known))


def test_few_patients_give_no_threshold_however_many_images_they_have() -> None:
    few = [RealImage(str(k % 19), {}, {"a": float(k)}) for k in range(500)]
    limits, without = limits_by_group(few, 0.95, 50, 1)
    assert limits == {}
    assert "19 patient(s)" in without["a"]
    assert "takes 20" in without["a"]
    assert fewest_patients(0.99) == 99  # one in a hundred falls below the lowest of 99
    scores = [float(k) for k in range(99)]
    assert conformal(scores, [str(k) for k in range(99)], 0.99) == 0
    assert math.isnan(conformal(scores[:98], [str(k) for k in range(98)], 0.99))


def test_a_group_that_the_judge_is_worse_at_is_not_rejected_more() -> None:
    generator = np.random.default_rng(0)
    some = [
        RealImage(str(k), {"sex": sex}, {"a": float(generator.normal(2 * (sex == "M")))})
        for k, sex in enumerate("FM" * 300)
    ]
    together = {"a": limits_by_group([RealImage(f.patient, {}, f.scores) for f in some], 0.9, 50, 1)[0]["a"]}
    apart = limits_by_group(some, 0.9, 50, 1)[0]

    def rejected(limits: dict[str, Limits], sex: str) -> float:
        return float(np.mean([not passes(image, limits)["a"] for image in some if image.attributes["sex"] == sex]))

    assert rejected(together, "F") > 0.18
    assert rejected(apart, "F") <= 0.1


@settings(max_examples=20)
@given(images(fewest=30), SCORES)
def test_an_image_is_judged_once_and_never_by_images_of_its_own_patient(some: list[RealImage], other: float) -> None:
    def fit(chosen: Sequence[RealImage]) -> dict[str, Limits]:
        return limits_by_group(chosen, 0.5, 1, 1)[0]

    found = dict(cross_fitted(some, fit))
    assert sorted(found) == list(range(len(some)))
    # Whatever the images of a patient score, an image of his is held to the same thresholds.
    changed = [RealImage(f.patient, f.attributes, {"a": other}) if f.patient == "0" else f for f in some]
    place = next(k for k, image in enumerate(some) if image.patient == "0")
    swapped = [*changed[:place], some[place], *changed[place + 1 :]]
    assert dict(cross_fitted(swapped, fit))[place] == found[place]


def test_shares_weigh_patients_and_images_of_one_each_are_a_proportion() -> None:
    assert patient_share([True, False, False], ["a", "b", "b"]).value == 0.5
    assert patient_share([True, True, False], ["a", "b", "c"]) == proportion(2, 3)
    assert math.isnan(patient_share([], []).value)
