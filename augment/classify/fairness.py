"""Who is missed: error rates at the fixed thresholds, by group of patients, with gaps and the worst group.

Underdiagnosis is the rate at which an ill patient is called "No Finding" (Seyyed-Kalantari et al. 2021,
doi:10.1038/s41591-021-01595-0). Rates by group are fairlearn's; patients are drawn anew for the intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from gen.statistics.groups import ALL, ATTRIBUTES, by_size, key_of, values_of
from gen.statistics.intervals import CONFIDENCE, Figure, figure_of, times_drawn
from gen.statistics.paired import p_value

NORMAL = "No Finding"


@dataclass(frozen=True)
class Errors:
    """Calls of one kind: of image ``image`` (M,) the ``truth`` (M,) bool, and what each of C cells ``called`` (C, M).

    ``positive`` tells which truths count: the rate is that of the others of them, FNR of positives, FPR of negatives.
    """

    image: np.ndarray
    truth: np.ndarray
    called: np.ndarray
    positive: bool

    def counts(self, images: int) -> tuple[np.ndarray, np.ndarray]:
        """Errors (C, N) and calls that could be one (N,), by image, float32."""
        counted = self.truth == self.positive
        wrong = (self.called != self.truth) & counted
        of_image = np.zeros((len(self.called), images), np.float32)
        for c, row in enumerate(wrong):
            of_image[c] = np.bincount(self.image, row, images)
        return of_image, np.bincount(self.image, counted, images).astype(np.float32)


def errors_of(calls: np.ndarray, labels: np.ndarray, findings: Sequence[str]) -> dict[str, Errors]:
    """The kinds of error of ``calls`` (C, N, F) bool, given ``labels`` (N, F), NaN unknown."""
    kinds: dict[str, Errors] = {}
    ill = [j for j, name in enumerate(findings) if name != NORMAL]
    if NORMAL in findings:
        j = list(findings).index(NORMAL)
        image = np.flatnonzero(~np.isnan(labels[:, j]))
        truth, called = labels[image, j] == 1, calls[:, image, j]
        kinds["underdiagnosis"] = Errors(image, truth, called, False)
        kinds["normal called ill"] = Errors(image, truth, called, True)
    if ill:
        image, column = np.nonzero(~np.isnan(labels[:, ill]))
        of = np.asarray(ill)[column]
        kinds["missed findings"] = Errors(image, labels[image, of] == 1, calls[:, image, of], True)
    return kinds


@dataclass(frozen=True)
class Rates:
    """``replicates`` (1 + draws, C, G) of the rates of C cells in the groups ``keys``; ``values`` are fairlearn's, a
    mapping for each cell; ``patients`` counts those in a group whose call could be an error."""

    keys: tuple[str, ...]
    replicates: np.ndarray
    values: Sequence[Mapping[str, float]]
    patients: Mapping[str, int]


def group_draws(errors: Errors, attributes: Sequence[Mapping[str, str]], units: Sequence[str], draws: int) -> Rates:
    """The rates of ``errors`` in all groups; ``attributes`` are those known of each image, ``units`` its patient."""
    keys = keys_of(attributes)
    # Whole numbers below 2^24, which float32 has exactly, in half the memory
    member = np.array([[_is_in(each, key) for each in attributes] for key in keys], np.float32)
    wrong, possible = errors.counts(len(attributes))
    times = times_drawn(units, draws)
    count, *by_cell = ((times @ (member * each).T).astype(np.float64) for each in (possible, *wrong))
    errors_in = np.stack(by_cell, axis=1)
    rates = np.divide(errors_in, count[:, None], out=np.full_like(errors_in, np.nan), where=count[:, None] > 0)
    who = np.asarray(units)
    patients = {key: len(set(who[(inside > 0) & (possible > 0)])) for key, inside in zip(keys, member, strict=True)}
    values = [group_rates(errors, c, attributes, keys) for c in range(len(errors.called))]
    return Rates(tuple(keys), rates, values, patients)


def keys_of(attributes: Sequence[Mapping[str, str]]) -> list[str]:
    """ "all", and the keys of groups of one and of two attributes that some image is in, from large to small."""
    keys = {ALL}
    for each in attributes:
        known = [name for name in ATTRIBUTES if name in each]
        keys |= {
            key_of({name: each[name] for name in chosen}) for count in (1, 2) for chosen in combinations(known, count)
        }
    return sorted(keys, key=by_size)


def attribute_of(key: str) -> str:
    """What a key is a value of: "sex" of "sex=F", "sex|age" of "sex=F|age=40-59"."""
    return "|".join(values_of(key))


def _is_in(attributes: Mapping[str, str], key: str) -> bool:
    return all(attributes.get(name) == value for name, value in values_of(key).items())


def group_rates(
    errors: Errors, cell: int, attributes: Sequence[Mapping[str, str]], keys: Sequence[str]
) -> dict[str, float]:
    """The rate of ``cell`` in each group, by fairlearn's MetricFrame; NaN where no call could be such an error."""
    import pandas as pd
    from fairlearn.metrics import MetricFrame, false_negative_rate, false_positive_rate

    metric = false_negative_rate if errors.positive else false_positive_rate
    truth, called = errors.truth.astype(int), errors.called[cell].astype(int)
    found: dict[str, float] = {}
    for attribute in dict.fromkeys(attribute_of(key) for key in keys):
        names = attribute.split("|") if attribute else []
        values = pd.DataFrame(
            {name: [attributes[i].get(name) for i in errors.image] for name in names or ["all"]}, dtype=object
        )
        known = values.notna().all(axis=1).to_numpy() if names else np.ones(len(truth), bool)
        counted = known & (errors.truth == errors.positive)
        of = [key for key in keys if attribute_of(key) == attribute]
        if not counted.any():
            found |= dict.fromkeys(of, float("nan"))
            continue
        frame = MetricFrame(
            metrics=lambda y, p, **_: metric(y, p, pos_label=1),
            y_true=truth[counted],
            y_pred=called[counted],
            sensitive_features=values[counted] if names else np.zeros(int(counted.sum())),
        )
        by_group = {key if isinstance(key, tuple) else (key,): float(rate) for key, rate in frame.by_group.items()}
        for key in of:
            place = tuple(values_of(key).values()) if names else (0.0,)
            found[key] = by_group.get(place, float("nan"))
    return found


def arm_rates(own: np.ndarray, base: np.ndarray, rates: Rates, cells: Sequence[int], small: int) -> dict[str, Any]:
    """Rates (1 + draws, G) of an arm, which has ``cells``, as figures, and the gap of each attribute beside ``base``'s.

    Groups of fewer than ``small`` patients are marked, and count for no gap.
    """
    keys, patients = rates.keys, rates.patients
    groups = {
        key: {
            "rate": replace(
                figure_of(own[:, g], patients[key]), value=float(np.mean([rates.values[c][key] for c in cells]))
            ),
            "patients": patients[key],
            "small": patients[key] < small,
        }
        for g, key in enumerate(keys)
    }
    gaps: dict[str, Any] = {}
    for attribute in dict.fromkeys(attribute_of(key) for key in keys if key != ALL):
        large = [
            g
            for g, key in enumerate(keys)
            if attribute_of(key) == attribute and patients[key] >= small and not np.isnan(own[0, g])
        ]
        if len(large) < 2:
            continue
        gap, before = gap_of(own[:, large]), gap_of(base[:, large])
        gaps[attribute] = {
            "gap": gap_figure(own[:, large], sum(patients[keys[g]] for g in large)),
            "worst": keys[large[int(own[0, large].argmax())]],
            "worst_rate": groups[keys[large[int(own[0, large].argmax())]]]["rate"],
            "change": figure_of(gap - before, sum(patients[keys[g]] for g in large)),
            "p": p_value(gap - before),
        }
    return {"groups": groups, "gaps": gaps}


def gap_of(rates: np.ndarray) -> np.ndarray:
    """The largest less the smallest of (1 + draws, G), group by group of those with a value in the draw."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a draw in which no group has a value
        return np.asarray(np.nanmax(rates, 1) - np.nanmin(rates, 1))


def gap_figure(rates: np.ndarray, n: int) -> Figure:
    """The gap of (1 + draws, G), of ``n`` patients, with an interval that covers where the groups do not differ, too.

    Percentiles of the drawn gaps would not: noise drives groups apart, so hardly any drawn gap is as small as the true
    one. But a gap errs by no more than the errors of its groups are apart, and how far that is, is drawn (as for all
    pairs at once, Tukey 1953).
    """
    gap = float(gap_of(rates[:1])[0])
    errors = gap_of(rates[1:] - rates[0])
    known = errors[~np.isnan(errors)]
    if not len(known) or len(known) < len(errors) / 2:
        return Figure(gap, np.nan, np.nan, n)
    reach = float(np.percentile(known, 100 * CONFIDENCE))
    return Figure(gap, max(0.0, gap - reach), gap + reach, n)
