"""Rows of a data set by projection: which cells the phantom or the CTs of a config can fill, and the image of a row.

An image is a function of its row, its seed and the config: who the patient is, how he stands, what is put into him and
the noise are all drawn from the seed. The projector is imported by those functions alone that need it, for it takes
seconds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from augment.dataset.config import DatasetConfig, band
from augment.dataset.retry import retry
from augment.dataset.shards.records import PlanRow
from drr.geometry import FIELD_MM, VIEWS, jitter
from drr.insert.request import KINDS, LesionRequest, parse_lesion
from gen.core.errors import BadInput, GenError
from gen.core.radiograph import Radiograph, pad_to_square, resize
from gen.core.run import derived_seed
from gen.language.study import Study

if TYPE_CHECKING:
    from drr.scene import Scene

TWINS = ("soft", "bone")  # that a projection has of itself
SIZE = 256  # pixels a side where the config names none

# Pixels of the detector to one of the image, as a radiograph is finer than what becomes of it; and at most so many.
_FINER, _FINEST = 2, 4096
_COARSEST_MM = 6.0  # of the phantom's grid, at which findings still find their place
_TOGETHER = 32  # rows whose CTs are read in one go, so that each is read once for several of them

Projected = tuple[Radiograph, dict[str, Radiograph], Mapping[str, Any]]


def projectable(config: DatasetConfig) -> Callable[[Mapping[str, str]], str | None]:
    """What tells of a cell (values by attribute) why it cannot be filled by projection, in words; None where it can.

    The headers of the CTs are read, and no voxel. BadInput for a CT that is not there and a folder without one series.
    """
    if config.projections.use == "never":
        return lambda cell: "projections are switched off"
    cts = config.projections.cts
    patients = _patients(tuple(cts))

    def obstacle(cell: Mapping[str, str]) -> str | None:
        if "race" in cell:
            return "a projection shows nobody's race"
        if (view := cell.get("view")) not in (None, *VIEWS):
            return f"there is no view {view} among the projector's"
        if "finding" in cell and (reason := _finding_obstacle(cell["finding"], real=bool(cts))):
            return reason
        sex, ages = cell.get("sex"), band(cell["age"]) if "age" in cell else None
        if not cts:
            return None if ages is None else _age_obstacle(*ages)
        if any(_fits(patient, sex, ages) for patient in patients):
            return None
        known = sum("sex" in patient and "age" in patient for patient in patients)
        whom = " and ".join(f"{key} {cell[key]}" for key in ("sex", "age") if key in cell)
        return f"none of the {len(cts)} CT(s) is of a patient of {whom}; both are known of {known}"

    return obstacle


def study_obstacle(study: Study, config: DatasetConfig) -> str | None:
    """Why ``study`` with all its findings cannot be projected, whoever the patient is; None where it can."""
    real = bool(config.projections.cts)
    try:
        for name, finding in study.findings.items():
            if finding.state == "uncertain" or (finding.state == "absent" and real):
                return f"of a projection {name} is not known to be {finding.state}"
            if finding.state == "present" and (reason := _finding_obstacle(name, real=real)):
                return reason
        _requests(study, np.random.default_rng(0))
    except BadInput as error:
        return str(error)
    if not real and study.age_group == "child":
        return "the phantom is an adult"
    if not real and study.age is not None and (reason := _age_obstacle(study.age, study.age)):
        return reason
    if study.position == "supine" and not real:
        return "the phantom stands"
    return "a projection shows nobody's race" if study.race else None


def project_each(
    rows: Sequence[PlanRow], seeds: Sequence[int], config: DatasetConfig
) -> Iterator[Projected | GenError]:
    """`project` of each row, in order; what went wrong with one is a GenError in its place, and the others go on.

    GenError is raised where disk or memory failed (`retry`).
    """
    together = _TOGETHER if config.projections.cts else 1
    for start in range(0, len(rows), together):
        some = list(zip(rows[start : start + together], seeds[start : start + together], strict=True))
        results: dict[int, Projected | GenError] = {}
        for k in sorted(range(len(some)), key=lambda k: _choice(*some[k], config) or ""):
            row, seed = some[k]
            results[k] = retry(f"the projection of row {row.number}", project, row, seed, config)
        yield from (results[k] for k in range(len(some)))


def project(row: PlanRow, seed: int, config: DatasetConfig) -> Projected:
    """The image of ``row``, its soft and bone twin where the config names them, and its truth (drr/truth.py).

    The images are padded to squares of ``config.size`` pixels, as those that the models learn from are; ``truth`` tells
    of the detector. Its Study, which is in the provenance too, says all that ``row.study`` does and what was drawn; of
    a CT it has the patient's own age, which lies in the row's band. GenError where it cannot be made.
    """
    from drr.job import patient_keys
    from drr.physics.technique import technique_of
    from drr.projection import render
    from drr.scene import insert

    study, size = row.study, config.size or SIZE
    if reason := study_obstacle(study, config):
        raise BadInput(f"row {row.number} cannot be projected: {reason}")
    cts = config.projections.cts
    if not cts:
        scene, position = _phantom(study, seed, size), "erect"  # its stomach has a level
    elif (ct := _choice(row, seed, config)) is not None:
        scene, position = _ct_scene(ct, patient_keys(cts)[cts.index(ct)]), VIEWS[study.view or "PA"].position
    else:
        raise BadInput(f"row {row.number} cannot be projected: no CT is of a patient of its sex and age")
    view = replace(VIEWS[study.view or "PA"], position=study.position or position)
    requests = [replace(each, position=view.position) for each in _requests(study, _rng(seed, "kinds"))]
    scene = insert(scene, requests, _rng(seed, "lesions"))
    view = jitter(view, _rng(seed, "pose"))
    wanted = [name for name in TWINS if name in config.twins]
    projection = render(
        scene,
        view,
        technique_of(view),
        size=max(size, min(_FINER * size, _FINEST)),
        rng=_rng(seed, "noise"),
        twins=bool(wanted),
        threads=config.threads,
    )
    pitch_mm = projection.geometry.pitch_mm[0] * max(projection.image.shape) / size
    facts = projection.provenance | {
        "patient": _public(str(projection.truth["patient_id"])) if cts else str(projection.truth["patient_id"]),
        "notice": "synthetic image made by projection; not for clinical use",
        "prompt": row.prompt,
        "image_seed": str(seed),
        "study": json.dumps(projection.truth["study"]),
        "inserted": json.dumps(projection.truth["inserted"]),
        "licence": licence_of(config),
        "weights_may_learn": "yes" if not cts or config.projections.weights_may_learn else "no",
    }

    def framed(pixels: np.ndarray | None, **further: str) -> Radiograph:
        assert pixels is not None
        return Radiograph(resize(pad_to_square(pixels), size), (pitch_mm, pitch_mm), facts | further)

    twins = {name: framed(getattr(projection, name), shows=name) for name in wanted}
    return framed(projection.image), twins, projection.truth


def _public(key: str) -> str:
    """Another name of the patient of a CT, the same each time: that of a file may be a person's."""
    return f"ct-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def licence_of(config: DatasetConfig) -> str:
    """The licence of the projections: that of the phantom, or of the CTs as far as the config says."""
    from drr.job import PHANTOM_LICENCE

    return config.projections.licence if config.projections.cts else PHANTOM_LICENCE


# Findings


def _finding_obstacle(name: str, *, real: bool) -> str | None:
    if name == "No Finding":
        return "what the patient of a CT has of himself is not known, so none is without finding" if real else None
    return None if any(kind.finding == name for kind in KINDS) else f"{name} cannot be put into a CT"


def _requests(study: Study, rng: np.random.Generator) -> list[LesionRequest]:
    """What is put in for ``study``; a device or an object that it does not name is drawn from those there are."""
    requests = []
    for name, finding in study.findings.items():
        if name == "No Finding" or finding.state != "present":
            continue
        kinds = [kind.device or kind.finding for kind in KINDS if kind.finding == name]
        chosen = study.devices if name == "Support Devices" and study.devices else (str(rng.choice(kinds)),)
        words = " ".join(filter(None, (finding.side, finding.severity, finding.zone)))
        requests += [parse_lesion(f"{each} {words}") for each in chosen]
    return requests


# Patients


def _age_obstacle(youngest: int, oldest: int) -> str | None:
    from drr.phantom.chest import AGES

    within = AGES[0] <= youngest and oldest <= AGES[1]
    return None if within else f"the phantom is an adult of {AGES[0]} to {AGES[1]} years"


def _phantom(study: Study, seed: int, size: int) -> Scene:
    """An individual of the study's sex and age, of which what it leaves open is drawn, on a grid as fine as is seen."""
    from drr.job import DRAWN_AGES
    from drr.phantom.chest import HABITUS, SEXES, SPACING_MM, make_phantom
    from drr.scene import load_scene

    rng = _rng(seed, "phantom")
    sex, habitus = str(rng.choice(SEXES)), str(rng.choice(list(HABITUS)))
    age = int(rng.integers(*DRAWN_AGES, endpoint=True))
    individual = derived_seed(seed, "individual")
    step_mm = float(np.clip(FIELD_MM * VIEWS["PA"].sod_mm / VIEWS["PA"].sdd_mm / size, SPACING_MM[1], _COARSEST_MM))
    volume = make_phantom(
        sex=study.sex or sex,
        habitus=habitus,
        age=age if study.age is None else study.age,
        seed=individual,
        spacing_mm=(min(step_mm * SPACING_MM[0] / SPACING_MM[1], 5.0), step_mm, step_mm),
    )
    return load_scene(volume, f"phantom-{individual:016x}")


@lru_cache(maxsize=1)  # a large one takes a gigabyte
def _ct_scene(path: str, key: str) -> Scene:
    from drr.reader import read_volume
    from drr.scene import load_scene

    return load_scene(read_volume(path), key)


@lru_cache(maxsize=4)
def _patients(cts: tuple[str, ...]) -> tuple[Mapping[str, Any], ...]:
    """What is known of each CT's patient ("sex", "age")."""
    from drr.job import patient_keys
    from drr.reader import read_patient

    patient_keys(cts)  # refuses two of one name
    return tuple(read_patient(ct) for ct in cts)


def _choice(row: PlanRow, seed: int, config: DatasetConfig) -> str | None:
    """The CT that is drawn for a row of those that fit it; None where none does, and where the phantom serves."""
    cts, age = config.projections.cts, row.study.age
    cell = dict(part.split("=", 1) for part in row.cell.split("|") if "=" in part)
    ages = band(cell["age"]) if "age" in cell else None if age is None else (age, age)
    patients = zip(cts, _patients(tuple(cts)), strict=True)
    fitting = [ct for ct, patient in patients if _fits(patient, row.study.sex, ages)]
    return str(_rng(seed, "ct").choice(fitting)) if fitting else None


def _fits(patient: Mapping[str, Any], sex: str | None, ages: tuple[int, int] | None) -> bool:
    """Whether what is known of a patient is what is asked for; what is not known fits nothing that asks for it."""
    within = ages is None or ("age" in patient and ages[0] <= patient["age"] <= ages[1])
    return within and sex in (None, patient.get("sex"))


def _rng(seed: int, key: str) -> np.random.Generator:
    return np.random.default_rng(derived_seed(seed, key))
