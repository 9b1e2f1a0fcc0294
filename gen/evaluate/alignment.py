"""Alignment of images with their prompts: the judge's AUROC by finding, accuracy of sex and view, error of the age.

Each beside the same judge's figure on real radiographs, which is the ceiling: where the judge cannot see a finding in
real images, a figure on synthetic ones says nothing about them. Generator and judge may have learnt from one data set.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from gen.core.errors import BadInput
from gen.data.rows import study_of
from gen.judge.labels import targets_of
from gen.language.prompt import read_prompt
from gen.statistics.intervals import Figure, bootstrap, mean_of, proportion, unknown
from gen.statistics.scores import auroc, mean_auroc

if TYPE_CHECKING:
    from gen.core.manifest import Row
    from gen.judge.readings import Readings

FEWEST = 10  # images with a finding, and without it, for a figure
DRAWS = 400
CALLED = 0.5  # the probability from which a thing is called so, where the judge has no threshold of its own for it


@dataclass(frozen=True)
class Pair:
    """A figure on synthetic images beside the same on real ones."""

    synthetic: Figure
    real: Figure


@dataclass(frozen=True)
class FindingAlignment:
    """``present`` and ``absent`` are counts of prompts (and ``real_*`` of images) that say so."""

    auroc: Pair
    balanced_accuracy: Pair
    present: int
    absent: int
    real_present: int
    real_absent: int


@dataclass(frozen=True)
class Alignment:
    """``mean_auroc`` is over the findings that have an AUROC on both sides. ``sex``, ``view`` and ``child`` are
    balanced accuracies: "adult" of every image scores a half. In years: the ages, of which ``age_bias`` is predicted
    minus prompted.

    ``unread`` are the files whose prompts say nothing that could be understood; they count nowhere.
    """

    findings: Mapping[str, FindingAlignment]
    mean_auroc: Pair
    sex: Pair
    view: Pair
    child: Pair
    age_error: Pair
    age_bias: Pair
    unread: tuple[str, ...]


@dataclass(frozen=True)
class Side:
    """The prompts or labels of one set, and the judge's readings of it. ``units`` as in `gen.statistics.intervals`."""

    rows: Sequence[Row]
    units: Sequence[str]
    readings: Readings


def alignment(synthetic: Side, real: Side, thresholds: Mapping[str, float]) -> Alignment:
    """Compare what is said with what the judge predicts. ``thresholds`` by finding: from there on it is called present.

    A finding is said to be absent where the prompt says so, or "no finding"; what is not mentioned does not count. The
    same rule holds for the real images. An image whose prompt cannot be understood counts nowhere.
    """
    rows, unread = with_studies(synthetic.rows)
    synthetic, real = replace(synthetic, rows=rows), replace(real, rows=with_studies(real.rows)[0])
    names = synthetic.readings.names
    said = [targets_of(side.rows, names, ()) for side in (synthetic, real)]
    sides = (synthetic, real)
    findings: dict[str, FindingAlignment] = {}
    for j, name in enumerate(names):
        labels = [targets.binary[:, j] for targets in said]
        predicted = [side.readings.findings[:, j] for side in sides]
        threshold = thresholds.get(name, CALLED)
        counts = [(int((column == 1).sum()), int((column == 0).sum())) for column in labels]
        if counts[0] == (0, 0):
            continue
        findings[name] = FindingAlignment(
            auroc=Pair(*(_auroc(*each) for each in zip(sides, predicted, labels, strict=True))),
            balanced_accuracy=Pair(
                *(_balanced(*each, threshold) for each in zip(sides, predicted, labels, strict=True))
            ),
            present=counts[0][0],
            absent=counts[0][1],
            real_present=counts[1][0],
            real_absent=counts[1][1],
        )
    both = [j for j, name in enumerate(names) if name in findings and _known_on_both(findings[name].auroc)]
    of_patient = [(side.readings.female, side.readings.ap, side.readings.child) for side in sides]
    female, ap, child = (
        Pair(
            *(
                _balanced(side, predicted[k], targets.binary[:, k - 3], CALLED)
                for side, predicted, targets in zip(sides, of_patient, said, strict=True)
            )
        )
        for k in range(3)
    )
    off = [side.readings.age - targets.age for side, targets in zip(sides, said, strict=True)]
    return Alignment(
        findings=findings,
        mean_auroc=Pair(*(_mean_auroc(*each, both) for each in zip(sides, [t.binary for t in said], strict=True))),
        sex=female,
        view=ap,
        child=child,
        age_error=Pair(*(_mean(side, np.abs(error)) for side, error in zip(sides, off, strict=True))),
        age_bias=Pair(*(_mean(side, error) for side, error in zip(sides, off, strict=True))),
        unread=unread,
    )


def with_studies(rows: Sequence[Row]) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """``rows`` whose columns ``study`` and ``age`` say what the prompt says, and the files where nothing is understood.

    A row whose label columns or study say something is left as it is: they are the authority.
    """
    found, unread = [], []
    for row in rows:
        study = study_of(row)
        if study == type(study)():
            try:
                study = read_prompt(row.prompt).study
            except BadInput:
                unread.append(row.file_name)
            else:
                row = replace(row, study=json.dumps(study.to_json_dict()))
        if row.age is None and study.age is not None:
            row = replace(row, age=float(study.age))
        found.append(row)
    return tuple(found), tuple(unread)


def _auroc(side: Side, predicted: np.ndarray, labels: np.ndarray) -> Figure:
    known = ~np.isnan(labels)
    positive = int((labels == 1).sum())
    if min(positive, int(known.sum()) - positive) < FEWEST:
        return unknown(int(known.sum()))
    scores, wanted = predicted[known], labels[known]
    units = [unit for unit, of in zip(side.units, known, strict=True) if of]
    return _not_certain(bootstrap(units, lambda chosen: auroc(scores[chosen], wanted[chosen]), DRAWS), units, wanted)


def _balanced(side: Side, predicted: np.ndarray, labels: np.ndarray, threshold: float) -> Figure:
    """The mean of sensitivity and specificity at ``threshold``; NaN, not said or not predicted, does not count."""
    known = ~np.isnan(labels) & ~np.isnan(predicted)
    positive = int((labels[known] == 1).sum())
    if min(positive, int(known.sum()) - positive) < FEWEST:
        return unknown(int(known.sum()))
    right, wanted = (predicted[known] >= threshold) == (labels[known] == 1), labels[known] == 1
    units = [unit for unit, of in zip(side.units, known, strict=True) if of]

    def statistic(chosen: np.ndarray) -> float:
        of, hit = wanted[chosen], right[chosen]
        return float((hit[of].mean() + hit[~of].mean()) / 2) if of.any() and not of.all() else float("nan")

    return _not_certain(bootstrap(units, statistic, DRAWS), units, wanted)


def _not_certain(figure: Figure, units: Sequence[str], wanted: np.ndarray) -> Figure:
    """``figure``; where all draws agree, as they do where nothing is ever wrong, with an interval all the same: that of
    a share of as many items as the rarer of the two classes has units."""
    if figure.low != figure.high:
        return figure
    few = min(len({unit for unit, of in zip(units, wanted == kind, strict=True) if of}) for kind in (0, 1))
    least = proportion(round(figure.value * few), few)
    return replace(figure, low=min(figure.value, least.low), high=max(figure.value, least.high))


def _mean_auroc(side: Side, labels: np.ndarray, columns: Sequence[int]) -> Figure:
    if not columns:
        return unknown()
    predicted = side.readings.findings

    def statistic(chosen: np.ndarray) -> float:
        return mean_auroc(predicted[chosen][:, columns], labels[chosen][:, columns])

    return bootstrap(side.units, statistic, DRAWS)


def _mean(side: Side, values: np.ndarray) -> Figure:
    known = ~np.isnan(values)
    if known.sum() < FEWEST:
        return unknown(int(known.sum()))
    return mean_of(values[known], [unit for unit, of in zip(side.units, known, strict=True) if of])


def _known_on_both(pair: Pair) -> bool:
    return not (np.isnan(pair.synthetic.value) or np.isnan(pair.real.value))
