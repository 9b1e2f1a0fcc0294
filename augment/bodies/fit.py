"""Which body can show a Study: what phantom and CTs have shapes for, what is put into them, and whose CT fits.

The projector is imported by those functions alone that need it, for it takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from drr.insert.request import KINDS, LesionRequest, parse_lesion
from gen.core.errors import BadInput
from gen.core.run import derived_seed
from gen.language.study import Study


def study_obstacle(study: Study, *, of_cts: bool) -> str | None:
    """Why ``study`` with all its findings cannot be projected, whoever the patient is; None where it can.

    ``of_cts``: from the CT of a patient, else from the phantom.
    """
    try:
        for name, finding in study.findings.items():
            if finding.state == "uncertain" or (finding.state == "absent" and of_cts):
                return f"of a projection {name} is not known to be {finding.state}"
            if finding.state == "present" and (reason := finding_obstacle(name, of_cts=of_cts)):
                return reason
        requests_of(study, np.random.default_rng(0))
    except BadInput as error:
        return str(error)
    if not of_cts and study.age_group == "child":
        return "the phantom is an adult"
    if not of_cts and study.age is not None and (reason := age_obstacle(study.age, study.age)):
        return reason
    if study.position == "supine" and not of_cts:
        return "the phantom stands"
    return "a projection shows nobody's race" if study.race else None


def finding_obstacle(name: str, *, of_cts: bool) -> str | None:
    """Why the finding ``name`` cannot be shown; None where it can."""
    if name == "No Finding":
        return "what the patient of a CT has of himself is not known, so none is without finding" if of_cts else None
    return None if any(kind.finding == name for kind in KINDS) else f"{name} cannot be put into a CT"


def age_obstacle(youngest: int, oldest: int) -> str | None:
    """Why the phantom cannot be of every age from ``youngest`` to ``oldest`` years; None where it can."""
    from drr.phantom.chest import AGES

    within = AGES[0] <= youngest and oldest <= AGES[1]
    return None if within else f"the phantom is an adult of {AGES[0]} to {AGES[1]} years"


def requests_of(study: Study, rng: np.random.Generator) -> list[LesionRequest]:
    """What is put in for ``study``; a device or an object that it does not name is drawn from those there are.

    BadInput for a quality that a finding does not have.
    """
    requests = []
    for name, finding in study.findings.items():
        if name == "No Finding" or finding.state != "present":
            continue
        kinds = [kind.device or kind.finding for kind in KINDS if kind.finding == name]
        chosen = study.devices if name == "Support Devices" and study.devices else (str(rng.choice(kinds)),)
        words = " ".join(filter(None, (finding.side, finding.severity, finding.zone)))
        requests += [parse_lesion(f"{each} {words}") for each in chosen]
    return requests


@lru_cache(maxsize=4)
def patients_of(cts: tuple[str, ...]) -> tuple[Mapping[str, Any], ...]:
    """What is known of each CT's patient ("sex", "age"); no voxel is read.

    BadInput for a CT that is not there, a folder without one series, and two of one name.
    """
    from drr.job import patient_keys
    from drr.reader import read_patient

    patient_keys(cts)  # refuses two of one name
    return tuple(read_patient(ct) for ct in cts)


def fits(patient: Mapping[str, Any], sex: str | None, ages: tuple[int, int] | None) -> bool:
    """Whether what is known of a patient is what is asked for; what is not known fits nothing that asks for it."""
    within = ages is None or ("age" in patient and ages[0] <= patient["age"] <= ages[1])
    return within and sex in (None, patient.get("sex"))


def rng_of(seed: int, key: str) -> np.random.Generator:
    """The generator of what is drawn under ``key`` for the image of ``seed``."""
    return np.random.default_rng(derived_seed(seed, key))
