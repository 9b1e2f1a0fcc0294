"""The finishing of a training into a folder of transformers: calibrated on validation, with thresholds and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from augment.classify.config import ClassifierConfig
from augment.classify.data import Learnt
from augment.classify.network import HEAD, Classifier, raw_logits, read_classifier, write_classifier
from gen.core.errors import GenError
from gen.core.files import keep_whole, newest_verified, staged_folder, write_json
from gen.data.loader import pixel_cache
from gen.data.split import patient_of
from gen.evaluate.evaluation import plain
from gen.judge.calibrate import best_f1_threshold, fit_temperature, sigmoid
from gen.judge.judge import FIGURES
from gen.judge.measure import binary_figures
from gen.judge.plugins import THRESHOLDS, open_judge

FOLDER, BEST = "classifier", "best"


def finish(
    run: Path, learnt: Learnt, config: ClassifierConfig, validation_u8: np.ndarray, cache: Path, start: str
) -> Path:
    """Write ``run``/classifier from the best weights of the run; one that is whole stays.

    ``start`` is the hash of the weights at the start, which the figures quote.
    """
    folder = run / FOLDER
    if keep_whole(folder):
        return folder
    best, _ = newest_verified(run / BEST, "images-*")
    if best is None:
        raise GenError(f"{run} has no validation that could be scored, so no best weights")
    classifier = read_classifier(best)
    labels = learnt.labels["validation"]
    divide_logits(classifier, fit_temperature(raw_logits(classifier, validation_u8), labels))
    probabilities = sigmoid(raw_logits(classifier, validation_u8))
    found = {name: best_f1_threshold(probabilities[:, j], labels[:, j]) for j, name in enumerate(learnt.findings)}
    with staged_folder(folder) as stage:
        write_classifier(stage, classifier)
        write_json(stage / THRESHOLDS, {name: 0.5 if value is None else value for name, value in found.items()})
        figures = {
            "start": start,
            "images": int(best.name.partition("-")[2]),
            "notes": learnt.notes,
            **_figures(stage, learnt, config, cache),
        }
        write_json(stage / FIGURES, plain(figures))
    return folder


def divide_logits(classifier: Classifier, temperature: float) -> None:
    """Divide the logits of ``classifier`` by ``temperature``: in its last layer, so that the folder stays stock."""
    last = [part for part in getattr(classifier.network, HEAD).modules() if isinstance(part, nn.Linear)][-1]
    with torch.no_grad():
        for weights in last.parameters():
            weights.div_(temperature)


def _figures(folder: Path, learnt: Learnt, config: ClassifierConfig, cache: Path) -> dict[str, Any]:
    """What `gen describe` and the reports quote: of the test patients, or without any of those of validation."""
    split = "test" if learnt.test else "validation"
    rows = learnt.test or learnt.validation
    readings = open_judge(str(folder), device="cpu").read(pixel_cache(rows, config.size, cache))
    patients = [patient_of(row) for row in rows]
    labels = learnt.labels[split]
    return {
        "split": split,
        "films": len(rows),
        "patients": len(set(patients)),
        "findings": {
            name: binary_figures(readings.findings[:, j], labels[:, j], patients)
            for j, name in enumerate(learnt.findings)
        },
    }
