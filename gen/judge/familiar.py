"""Whether an image is like those that a judge learnt from: beyond them it answers all the same, and nothing shows it.

Three numbers are held against limits that few real images of other patients pass: the distance to the nearest row of
the judge's reference index, its artefact score, and how sound the anatomy network finds the chest.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gen.core.errors import BadInput
from gen.core.files import read_json, write_json
from gen.judge.readings import Judgement, Readings
from gen.judge.reference import Reference

FAMILIAR = "familiar.json"
FALSE_ALARMS = 0.05  # of the three signals together, wished


@dataclass(frozen=True)
class Familiar:
    """The limits of a familiar image: at most ``distance`` (1 - cosine) from the nearest row of the index, at most the
    ``artefact`` score, and at least the ``soundness`` of the anatomy.

    ``false_alarms`` is the probability that an image of a new patient is beyond one of them. The limits were set on
    ``images`` of ``patients``.
    """

    distance: float
    artefact: float
    soundness: float
    false_alarms: float
    images: int
    patients: int


def soundness_of(pixels: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
    """How sound a chest the bundled anatomy network sees in each of ``pixels`` (H, W): (N,), 0 for none."""
    from gen.anatomy.folder import load_anatomy
    from gen.anatomy.reading import read_anatomy

    return np.array([reading.soundness for reading in read_anatomy(load_anatomy(), pixels)])


def fit_familiar(readings: Readings, soundness: np.ndarray, patients: Sequence[str], reference: Reference) -> Familiar:
    """Set the limits on ``readings`` and ``soundness`` of held-out images, whose ``patients`` are not in ``reference``.

    The images of a patient are alike, so together they count as one. Where ``c`` of P patients are beyond the limit of
    a signal, a new patient is with a probability of (c + 1) / (P + 1) (`gen.judge.reference.copy_threshold`, exact for
    one image a patient), and is beyond any limit with at most the sum of the three. Each signal gets a third of
    FALSE_ALARMS.
    """
    counts = Counter(patients)
    weights = np.array([1 / counts[patient] for patient in patients])
    limits, rates = [], []
    for signal in signals_of(readings, soundness, reference).T:
        allowed = max(0.0, FALSE_ALARMS / 3 * (len(counts) + 1) - 1 + 1e-9)
        limits.append(min(value for value in signal if weights[signal > value].sum() <= allowed))
        rates.append((weights[signal > limits[-1]].sum() + 1) / (len(counts) + 1))
    distance, artefact, unsound = map(float, limits)
    return Familiar(distance, artefact, -unsound, float(sum(rates)), len(readings), len(counts))


def signals_of(readings: Readings, soundness: np.ndarray, reference: Reference) -> np.ndarray:
    """Distance, artefact score and minus soundness of each image, (N, 3): the larger, the stranger."""
    distances, _ = reference.nearest(readings.embedding)
    return np.stack([distances, readings.artefact, -soundness], 1).astype(np.float64)


def unfamiliar(
    prediction: Judgement, soundness: float, refused: str, familiar: Familiar | None, reference: Reference | None
) -> list[str]:
    """Why the image of ``prediction`` is unlike those that the judge learnt from; empty where nothing says so.

    ``refused`` is why the anatomy network takes it for no chest. Without limits that alone counts.
    """
    if familiar is None or reference is None:
        return [refused] if refused else []
    reasons = []
    distance = float(reference.nearest(prediction.embedding[None])[0][0])
    if distance > familiar.distance:
        reasons.append(f"distance {distance:.3f} to the nearest, of real images up to {familiar.distance:.3f}")
    if prediction.artefact is not None and prediction.artefact > familiar.artefact:
        reasons.append(f"artefact {prediction.artefact:.2f}, of real images up to {familiar.artefact:.2f}")
    if soundness < familiar.soundness:
        reasons.append(refused or f"soundness {soundness:.2f}, of real images from {familiar.soundness:.2f}")
    return reasons


def write_familiar(path: Path, familiar: Familiar) -> None:
    """Write ``familiar`` as JSON."""
    write_json(path, dataclasses.asdict(familiar))


def read_familiar(path: Path) -> Familiar:
    """Read what `write_familiar` wrote. Raises BadInput for anything else."""
    facts: Mapping[str, Any] = read_json(path)
    try:
        familiar = Familiar(**facts)
        if not all(math.isfinite(number) for number in dataclasses.astuple(familiar)):
            raise ValueError("a number is not finite")
    except (TypeError, ValueError) as error:
        raise BadInput(
            f"{path} is not a judge's limits: {error}",
            hint="copy the judge again, whole; one of an older version: delete this file",
        ) from error
    return familiar
