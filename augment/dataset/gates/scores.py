"""What an image, real or made, is worth as a picture of a study, in a judge's eyes: its scores by kind of gate.

Real images are measured here; those of the bundled judge travel with the package as a table, in ``data/``.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from augment.dataset.gates.calibration import RealImage
from gen.anatomy.reading import read_anatomy
from gen.core.errors import BadInput
from gen.core.files import write_text
from gen.data.rows import study_of
from gen.data.split import patient_of
from gen.images.reader import read_radiograph
from gen.judge.labels import finding_states
from gen.judge.readings import AnyJudge, Judgement
from gen.judge.reference import Reference, hashed
from gen.language.study import Study
from gen.statistics.groups import ATTRIBUTES, attributes_of

if TYPE_CHECKING:
    from gen.anatomy.folder import Anatomy
    from gen.core.manifest import Row

TABLES = Path(__file__).parent / "data"
DIGITS = 4  # of a score: what the tables hold, and an image measured again has the score that it had
_PATIENT, _FRAMING, _GROUP = "patient", "framing", "group "  # columns of a table: the others are kinds of scores


def scores_of(
    seen: Judgement, nearest: float | None, study: Study, states: Mapping[str, bool], outline: float | None = None
) -> dict[str, float]:
    """What ``seen`` is worth as a picture of ``study`` with the findings of ``states``, by kind; higher is better.

    Probabilities of what is said, for "finding: NAME", "finding: no NAME", "sex: F", "view: AP", "age group: child" and
    "quality: exposure"; for "age" minus the years that it is off; for "copy" ``nearest``; for "anatomy"
    ``outline``, as of `outline_of`. What is not said, or not seen, has no score. Rounded to DIGITS.
    """
    scores: dict[str, float | None] = {}
    for name, present in states.items():
        if name in seen.findings:
            chance = seen.findings[name]
            scores[f"finding: {name}" if present else f"finding: no {name}"] = chance if present else 1 - chance
    if study.sex is not None:
        scores[f"sex: {study.sex}"] = _chance(seen.female, study.sex == "F")
    if study.view in ("PA", "AP"):
        scores[f"view: {study.view}"] = _chance(seen.ap, study.view == "AP")
    if study.age is not None:
        scores["age"] = None if seen.age is None else -abs(seen.age - study.age)
    elif study.age_group is not None:
        scores[f"age group: {study.age_group}"] = _chance(seen.child, study.age_group == "child")
    scores |= {f"quality: {name}": value for name, value in seen.quality.items()}
    scores |= {"copy": nearest, "anatomy": outline}
    return {kind: rounded(score) for kind, score in scores.items() if score is not None}


def states_of(study: Study) -> dict[str, bool]:
    """Finding -> present or not, of those that ``study`` is certain of."""
    return {name: found.state == "present" for name, found in study.findings.items() if found.state != "uncertain"}


def look(judge: AnyJudge, image: np.ndarray) -> tuple[Judgement, float | None]:
    """What ``judge`` sees in ``image`` (H, W), and how far the nearest image of its reference index is from it.

    The judge sees one image at a time, in 8 bits, as it is written: so the numbers are a function of the file, and not
    of what else was in a batch. It takes no longer. BadInput for an array that is no image.
    """
    if image.dtype.kind == "f" and image.size and image.min() >= 0 and image.max() <= 1:
        image = np.rint(image * 255).astype(np.uint8)  # others the judge refuses, with the reason
    readings = judge.read([image])
    reference = reference_of(judge)
    nearest = None if reference is None else float(reference.nearest(readings.embedding)[0][0])
    return readings.judgement(0), nearest


def outline_of(anatomy: Anatomy | None, image: np.ndarray) -> float | None:
    """How soundly ``anatomy`` outlines one upright frontal chest in ``image`` (H, W), float in [0, 1] or uint8, as of
    `Reading`: 0 to 1. None where nobody looks."""
    if anatomy is None:
        return None
    [reading] = read_anatomy(anatomy, [image if image.dtype == np.uint8 else np.rint(image * 255).astype(np.uint8)])
    return reading.soundness


def reference_of(judge: AnyJudge) -> Reference | None:
    """The reference index that ``judge`` brings with it, if any."""
    reference = getattr(judge, "reference", None)
    return reference if isinstance(reference, Reference) else None


def measure(
    judge: AnyJudge, rows: Sequence[Row], complete: Sequence[str] = (), anatomy: Anatomy | None = None
) -> list[RealImage]:
    """The images of ``rows`` as ``judge`` sees them, and ``anatomy`` if it is given; ``complete`` as of
    `finding_states`. Patients become numbers.

    BadInput, naming the file, for an image that cannot be read.
    """
    from tqdm import tqdm

    numbers: dict[str, str] = {}
    images = []
    for row in tqdm(rows, desc="judging real images", unit="image", leave=False):
        study = study_of(row)
        pixels = read_radiograph(row.file).pixels
        states, outline = finding_states(row, complete), outline_of(anatomy, pixels)
        scores = scores_of(*look(judge, pixels), study, states, outline)
        patient = numbers.setdefault(patient_of(row), str(len(numbers) + 1))
        images.append(RealImage(patient, attributes_of(study), scores))
    return images


def unlearnt(judge: AnyJudge, rows: Sequence[Row]) -> list[Row]:
    """Those of ``rows`` whose patient, and whose very image, is not in the reference index of ``judge``."""
    reference = reference_of(judge)
    if reference is None:
        return list(rows)
    patients, images, key = set(reference.patients.tolist()), set(reference.images.tolist()), reference.key
    return [
        row
        for row in rows
        if hashed(key, patient_of(row)) not in patients and hashed(key, row.sha256 or row.file_name) not in images
    ]


def write_table(path: Path, images: Sequence[RealImage], provenance: str) -> None:
    """Write ``images`` as CSV: who they are of in numbers and groups only, their framing, and their scores by kind."""
    kinds = sorted({kind for image in images for kind in image.scores})
    lines = [f"# {provenance}", ",".join((_PATIENT, _FRAMING, *(_GROUP + name for name in ATTRIBUTES), *kinds))]
    for image in images:
        scores = [
            f"{image.scores[kind]:.{DIGITS}f}".rstrip("0").rstrip(".") if kind in image.scores else "" for kind in kinds
        ]
        groups = [image.attributes.get(name, "") for name in ATTRIBUTES]
        lines.append(",".join([image.patient, image.framing, *groups, *scores]))
    write_text(path, "\n".join(lines) + "\n")


def read_table(path: Path) -> list[RealImage]:
    """What `write_table` wrote; BadInput for anything else."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()[1:]
        return [
            RealImage(
                cells.pop(_PATIENT),
                {name.removeprefix(_GROUP): text for name, text in cells.items() if name.startswith(_GROUP) and text},
                framing=cells.pop(_FRAMING),
                scores={kind: float(text) for kind, text in cells.items() if not kind.startswith(_GROUP) and text},
            )
            for cells in csv.DictReader(lines)
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is no table of judged images: {error}", hint="install the package again") from error


def provenance_of(path: Path) -> str:
    """What the first line of a table says of where it is from; "" where that cannot be read."""
    try:
        return path.read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, UnicodeDecodeError):
        return ""


def gate_of(kind: str) -> str:
    """The gate, one of GATES, that a kind of score belongs to."""
    return kind.partition(":")[0].split()[0]


def opposite_of(kind: str) -> str:
    """The kind whose score is 1 minus this one's, or "" where there is none."""
    gate, _, value = kind.partition(": ")
    pairs = {"F": "M", "M": "F", "PA": "AP", "AP": "PA", "child": "adult", "adult": "child"}
    if gate == "finding":
        return f"finding: {value.removeprefix('no ') if value.startswith('no ') else f'no {value}'}"
    return f"{gate}: {pairs[value]}" if value in pairs else ""


def label_of(kind: str) -> str:
    """The name of a score in a verdict: the value that was asked for stands in the prompt."""
    return kind if kind.startswith(("finding", "quality")) else kind.partition(":")[0]


def _chance(probability: float | None, said: bool) -> float | None:
    return None if probability is None else probability if said else 1 - probability


def rounded(score: float) -> float:
    return round(float(score), DIGITS)
