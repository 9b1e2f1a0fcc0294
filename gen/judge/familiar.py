"""Whether an image is like those that a judge learnt from: beyond them it answers all the same, and nothing shows it.

Two numbers of the judge are held against limits that few real images of other patients pass: the distance to the
nearest row of its reference index, and its artefact score.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gen.core.errors import BadInput
from gen.core.files import read_json, write_json
from gen.judge.readings import Judgement, Readings
from gen.judge.reference import Reference, copy_threshold

FAMILIAR = "familiar.json"
FALSE_ALARMS = 0.025  # of each of the two signals, wished


@dataclass(frozen=True)
class Familiar:
    """The largest ``distance`` (1 - cosine) and ``artefact`` of a familiar image, set on ``images`` held-out ones.

    ``false_alarms``: the probability that a new real image passes one limit, as of `copy_threshold`.
    """

    distance: float
    artefact: float
    false_alarms: float
    images: int


def fit_familiar(readings: Readings, reference: Reference) -> Familiar:
    """Set the limits on ``readings`` of held-out images, of patients that are not in ``reference``."""
    distances, _ = reference.nearest(readings.embedding)
    # The largest of the numbers are the smallest of the opposite ones.
    far, rate = copy_threshold(-distances, FALSE_ALARMS)
    strange, _ = copy_threshold(-readings.artefact, FALSE_ALARMS)
    return Familiar(-far, -strange, rate, len(readings))


def unfamiliar(prediction: Judgement, familiar: Familiar | None, reference: Reference | None) -> list[str]:
    """Why the image of ``prediction`` is unlike those that the judge learnt from; empty where nothing says so."""
    reasons = []
    if familiar is not None and reference is not None:
        distance = float(reference.nearest(prediction.embedding[None])[0][0])
        if distance > familiar.distance:
            reasons.append(f"distance {distance:.3f} to the nearest, of real images up to {familiar.distance:.3f}")
    if familiar is not None and prediction.artefact is not None and prediction.artefact > familiar.artefact:
        reasons.append(f"artefact {prediction.artefact:.2f}, of real images up to {familiar.artefact:.2f}")
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
        raise BadInput(f"{path} is not a judge's limits: {error}", hint="copy the judge again, whole") from error
    return familiar
