"""A judge's own figures on held-out images of unseen patients: what every report that uses it quotes.

Intervals are 95 %, by drawing patients anew. Nothing here was used to train or to calibrate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gen.core.run import derived_seed
from gen.data.rows import study_of
from gen.data.sources import NIH
from gen.data.split import patient_of
from gen.judge.degrade import BREAKING, KINDS, SPOILS, UNSEEN_SPOILS, blur, degrade, jpeg, spoil
from gen.judge.labels import Targets
from gen.judge.network import PATIENT, QUALITIES
from gen.judge.readings import AnyJudge, Readings
from gen.statistics.groups import by_size, groups_of, key_of
from gen.statistics.intervals import bootstrap
from gen.statistics.scores import auroc, brier, calibration_error, mean_auroc

if TYPE_CHECKING:
    from gen.core.manifest import Row
    from gen.judge.framings import Shown
    from gen.judge.reference import Reference

Triple = tuple[float, float, float]  # a value and its interval, as figures.json has them
ENOUGH = 5  # images with and without a finding, below which a group has no AUROC of it
# Copies of an image that a privacy check must find, by what was done to them.
COPIES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "JPEG of quality 30": lambda image, rng: jpeg(image, 30),
    "contrast x 0.8": lambda image, rng: 0.1 + 0.8 * image,
    "gamma 1.2": lambda image, rng: image**1.2,
    "noise of 0.02": lambda image, rng: np.clip(image + 0.02 * rng.standard_normal(image.shape), 0, 1),
    "blur of 1 px": lambda image, rng: blur(image, 1.0),
    "shift of 6 px": lambda image, rng: np.roll(np.pad(image, 6, "edge"), rng.choice([-6, 6], 2), (0, 1))[6:-6, 6:-6],
}


def patient_figures(readings: Readings, targets: Targets, rows: Sequence[Row], median_age: float) -> dict[str, Any]:
    """Findings, sex, view, child and age: of all images, and of each group of patients, view and source.

    ``median_age`` of the training images is what a judge that saw nothing would say.
    """
    patients = [patient_of(row) for row in rows]
    count = len(readings.names)
    labels = dict(zip(PATIENT, targets.binary[:, count:].T, strict=True))
    probabilities = {"female": readings.female, "AP": readings.ap, "child": readings.child}
    figures: dict[str, Any] = {
        "findings": {
            name: binary_figures(readings.findings[:, j], targets.binary[:, j], patients)
            for j, name in enumerate(readings.names)
        },
        **{name: binary_figures(probabilities[name], labels[name], patients) for name in PATIENT},
        "always_the_median_age_error_years": _mean(np.abs(median_age - targets.age), patients),
        "groups": {
            name: group_figures(readings, targets, patients, inside) for name, inside in members_by_group(rows).items()
        },
    }
    nih = np.array([row.source == NIH for row in rows])
    figures["child_within_nih"] = binary_figures(readings.child[nih], labels["child"][nih], _of(patients, nih))
    return figures


def members_by_group(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """Which rows (bool, (N,)) are in each group of one attribute and of each source; none that is empty."""
    groups: dict[str, np.ndarray] = {}
    for i, row in enumerate(rows):
        for key in (*groups_of(study_of(row)), key_of({"source": row.source or "unknown"})):
            groups.setdefault(key, np.zeros(len(rows), bool))[i] = True
    return {key: groups[key] for key in sorted(groups, key=by_size)}


def group_figures(readings: Readings, targets: Targets, patients: Sequence[str], inside: np.ndarray) -> dict[str, Any]:
    """Of the images ``inside``: mean AUROC of the findings with ENOUGH of both, Brier score and calibration error, and
    AUROC of sex and view, mean absolute age error in years."""
    found, count = targets.binary[inside], len(readings.names)
    predicted, own = readings.findings[inside], _of(patients, inside)
    counted = [j for j in range(count) if min((found[:, j] == 1).sum(), (found[:, j] == 0).sum()) >= ENOUGH]
    error = np.abs(readings.age[inside] - targets.age[inside])
    return {
        "films": int(inside.sum()),
        "patients": len(set(own)),
        "findings_counted": [readings.names[j] for j in counted],
        "findings_auroc": _interval(own, lambda i: mean_auroc(predicted[i][:, counted], found[i][:, counted])),
        "findings_brier": _interval(own, lambda i: brier(predicted[i], found[i, :count])),
        "findings_calibration_error": calibration_error(predicted.ravel(), found[:, :count].ravel()),
        "female_auroc": _auroc(readings.female[inside], found[:, count], own),
        "AP_auroc": _auroc(readings.ap[inside], found[:, count + 1], own),
        "age_error_years": _mean(error, own),
    }


def framing_figures(
    read: Callable[[np.ndarray], Readings], framed: Mapping[str, Shown], targets: Targets, patients: Sequence[str]
) -> dict[str, Any]:
    """By framing, what a judge ``read`` in the images that there are in all of ``framed``: as of `group_figures`, and
    the AUROC of the child."""
    in_all = set.intersection(*(set(shown.which.tolist()) for shown in framed.values()))
    figures = {}
    for framing, shown in framed.items():
        kept = np.isin(shown.which, list(in_all))
        which = shown.which[kept]
        readings, own = read(shown.pixels_u8[kept]), [patients[i] for i in which]
        labels = Targets(targets.binary[which], targets.age[which])
        figures[framing] = {
            **group_figures(readings, labels, own, np.ones(len(own), bool)),
            "child_auroc": _auroc(readings.child, labels.binary[:, -1], own),
        }
    return figures


def quality_figures(judge: AnyJudge, images: Sequence[np.ndarray], patients: Sequence[str]) -> dict[str, Any]:
    """AUROC by which ``images`` float32 (H, W) are told from images damaged badly, by kind, on the head in question."""
    clean = judge.read(images)
    figures = {}
    for kind in KINDS:
        if kind == "none":
            continue
        results = [
            degrade(image, np.random.default_rng(derived_seed(1, f"{kind} {i}")), kind)
            for i, image in enumerate(images)
        ]
        head = "anatomy" if kind in BREAKING else "sharpness" if kind in ("blur", "noise") else "exposure"
        column = QUALITIES.index(head)
        bad = [i for i, result in enumerate(results) if result.quality[column] == 0]
        predicted = judge.read([results[i].image for i in bad]).quality[:, column]
        scores, labels = (
            np.concatenate([clean.quality[:, column], predicted]),
            np.repeat([1.0, 0.0], [len(images), len(bad)]),
        )
        owners = [*patients, *(patients[i] for i in bad)]
        figures[kind] = {"head": head, "damaged": len(bad), "auroc": _auroc(scores, labels, owners)}
    return figures


def artefact_figures(
    judge: AnyJudge,
    radiographs: Sequence[np.ndarray],
    patients: Sequence[str],
    fakes: Mapping[str, Sequence[np.ndarray]],
) -> dict[str, Any]:
    """AUROC by which fakes are told from ``radiographs`` by their patches: spoilt ones by kind, and ``fakes``."""
    real = judge.read(radiographs).artefact
    figures = {}
    for kind in (*SPOILS, *UNSEEN_SPOILS, *fakes):
        if kind in fakes:  # a synthetic image has no patient: it stands for itself
            images, owners = fakes[kind], [*patients, *(f"{kind} {i}" for i in range(len(fakes[kind])))]
        else:
            generators = (np.random.default_rng(derived_seed(1, f"{kind} {i}")) for i in range(len(radiographs)))
            images = [spoil(radiograph, rng, kind) for radiograph, rng in zip(radiographs, generators, strict=True)]
            owners = [*patients, *patients]
        if not len(images):
            continue
        predicted = judge.read(images).artefact
        scores, labels = np.concatenate([real, predicted]), np.repeat([0.0, 1.0], [len(real), len(predicted)])
        figures[kind] = {
            "images": len(images),
            "trained_on": kind not in UNSEEN_SPOILS,
            "auroc": _auroc(scores, labels, owners),
        }
    return figures


def copy_figures(
    judge: AnyJudge,
    reference: Reference,
    images: Sequence[np.ndarray],
    numbers: Sequence[int],
    false_alarms: float = 0.01,
) -> dict[str, Any]:
    """Share of planted copies of ``images``, rows ``numbers`` of ``reference``, that are found at ``false_alarms``.

    Found is what lies nearer to its nearest row than that share of other patients' images. "right_film" is the share
    whose nearest row is the image itself.
    """
    limit = reference.threshold(false_alarms)
    figures: dict[str, Any] = {"false_alarms": false_alarms, "threshold": limit, "held_out": len(reference.held_out)}
    for name, change in COPIES.items():
        made = [
            change(image, np.random.default_rng(derived_seed(1, f"{name} {i}"))).astype(np.float32)
            for i, image in enumerate(images)
        ]
        distances, nearest = reference.nearest(judge.read(made).embedding)
        figures[name] = {
            "found": float((distances < limit).mean()),
            "right_film": float((nearest == np.asarray(numbers)).mean()),
        }
    return figures


def binary_figures(probabilities: np.ndarray, labels: np.ndarray, patients: Sequence[str]) -> dict[str, Any]:
    """Of one finding's ``probabilities`` and ``labels`` (N,), NaN unknown: counts, AUROC and Brier score with their
    intervals, calibration error."""
    return {
        "positive": int((labels == 1).sum()),
        "negative": int((labels == 0).sum()),
        "auroc": _auroc(probabilities, labels, patients),
        "brier": _interval(patients, lambda i: brier(probabilities[i], labels[i])),
        "calibration_error": calibration_error(probabilities, labels),
    }


def _interval(patients: Sequence[str], statistic: Callable[[np.ndarray], float]) -> Triple:
    return bootstrap(patients, statistic).triple


def _auroc(scores: np.ndarray, labels: np.ndarray, patients: Sequence[str]) -> Triple:
    return _interval(patients, lambda i: auroc(scores[i], labels[i]))


def _mean(values: np.ndarray, patients: Sequence[str]) -> Triple:
    """Mean of the known ``values``, with its interval."""

    def mean(chosen: np.ndarray) -> float:
        known = values[chosen][~np.isnan(values[chosen])]
        return float(known.mean()) if len(known) else float("nan")

    return _interval(patients, mean)


def _of(patients: Sequence[str], inside: np.ndarray) -> list[str]:
    return [patient for patient, kept in zip(patients, inside, strict=True) if kept]
