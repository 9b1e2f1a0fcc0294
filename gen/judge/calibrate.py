"""Calibration on validation patients: one temperature a head, thresholds for words, and how far the age is off."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gen.core.errors import BadInput
from gen.core.files import read_json, write_json
from gen.judge.labels import Targets
from gen.judge.network import PATIENT, QUALITIES
from gen.judge.readings import Readings

CALIBRATION = "calibration.json"
HEADS = ("findings", *PATIENT, *QUALITIES, "artefact")


@dataclass(frozen=True)
class Calibration:
    """``temperatures`` by head of HEADS; ``thresholds`` by finding: where calling it present has the best F1. For a
    rare finding that is far below even odds, and most of what it calls is not there.

    ``age_error_years`` is the median absolute error of the age, None where no age was known.
    """

    temperatures: Mapping[str, float]
    thresholds: Mapping[str, float]
    age_error_years: float | None

    def readings(self, scores: Mapping[str, np.ndarray], findings: tuple[str, ...]) -> Readings:
        """Raw scores, as of `raw_scores`, as calibrated probabilities."""
        logits, t = scores["logits"], self.temperatures
        female, ap, child = (sigmoid(logits[:, i - 3] / t[name]) for i, name in enumerate(PATIENT))
        return Readings(
            names=findings,
            findings=sigmoid(logits[:, : len(findings)] / t["findings"]),
            embedding=scores["embedding"],
            female=female,
            ap=ap,
            child=child,
            age=scores["age"],
            qualities=QUALITIES,
            quality=sigmoid(scores["quality"] / np.array([t[name] for name in QUALITIES], np.float32)),
            artefact=sigmoid(scores["artefact"] / t["artefact"]),
        )


def fit_calibration(
    images: Mapping[str, np.ndarray],
    targets: Targets,
    damaged: np.ndarray,
    quality: np.ndarray,
    artefacts: np.ndarray,
    fake: np.ndarray,
    findings: tuple[str, ...],
) -> Calibration:
    """Fit a calibration to the raw scores of held-out ``images`` with their ``targets``.

    ``damaged`` and ``quality`` (M, 3) are the quality logits and targets of images and damaged images, ``artefacts``
    and ``fake`` (K,) the logits of the texture branch and whether the image is fake.
    """
    logits, count = images["logits"], len(findings)
    temperatures = {"findings": fit_temperature(logits[:, :count], targets.binary[:, :count])}
    for i, name in enumerate(PATIENT):
        temperatures[name] = fit_temperature(logits[:, count + i], targets.binary[:, count + i])
    for i, name in enumerate(QUALITIES):
        temperatures[name] = fit_temperature(damaged[:, i], quality[:, i])
    temperatures["artefact"] = fit_temperature(artefacts, fake)
    probabilities = sigmoid(logits[:, :count] / temperatures["findings"])
    found = {name: best_f1_threshold(probabilities[:, j], targets.binary[:, j]) for j, name in enumerate(findings)}
    error = np.abs(images["age"] - targets.age)
    return Calibration(
        temperatures,
        {name: 0.5 if threshold is None else threshold for name, threshold in found.items()},
        float(np.nanmedian(error)) if (~np.isnan(error)).any() else None,
    )


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-logits)), without overflow."""
    from scipy.special import expit

    return np.asarray(expit(logits))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Find the T of least cross-entropy of sigmoid(logits / T) (Guo et al. 2017, arXiv:1706.04599), in [0.1, 10].

    Arrays of equal shape; NaN labels are left out, and T is 1 where fewer than two classes are left.
    """
    from scipy.optimize import minimize_scalar

    known = ~np.isnan(labels)
    x, y = logits[known].astype(np.float64), labels[known]
    if len(np.unique(y)) < 2:
        return 1.0

    def loss(log_temperature: float) -> float:
        scaled = x / np.exp(log_temperature)
        return float((np.logaddexp(0, scaled) - y * scaled).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.1), np.log(10)), method="bounded").x))


def best_f1_threshold(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """Find the probability from which calling a finding present has the highest F1; None without a positive.

    The highest of several. NaN labels are left out.
    """
    from sklearn.metrics import precision_recall_curve

    known = ~np.isnan(labels)
    if not (labels[known] == 1).any():
        return None
    precision, recall, thresholds = precision_recall_curve(labels[known], probabilities[known])
    # The last point of the curve stands for no call at all and has no threshold.
    f1 = (2 * precision * recall / np.maximum(precision + recall, 1e-12))[:-1]
    return float(thresholds[f1 >= f1.max() - 1e-12].max())  # what is equal but for rounding is as good


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write ``calibration`` as JSON."""
    write_json(path, dataclasses.asdict(calibration))


def read_calibration(path: Path) -> Calibration:
    """Read what `write_calibration` wrote. Raises BadInput for anything else."""
    facts = read_json(path)
    try:
        calibration = Calibration(**facts)
        numbers = [*(calibration.temperatures[name] for name in HEADS), *calibration.thresholds.values()]
        if not all(0 < number < np.inf for number in numbers):
            raise ValueError("a temperature or threshold is not above 0")
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise BadInput(f"{path} is no calibration of a judge: {error}", hint="copy the judge again, whole") from error
    return calibration
