"""Rows of a data set by projection: which cells the phantom or the CTs of a config can fill, and the image of a row.

An image is a function of its row, its seed and the config: who the patient is, how he stands, what is put into him and
the noise are all drawn from the seed. The projector is imported by those functions alone that need it, for it takes
seconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from augment.bodies.fit import age_obstacle, finding_obstacle, fits, patients_of, rng_of
from augment.bodies.fit import study_obstacle as study_obstacle_of
from augment.dataset.config import DatasetConfig, band
from augment.dataset.retry import retry
from augment.dataset.shards.records import PlanRow
from drr.geometry import VIEWS
from gen.core.errors import BadInput, GenError
from gen.core.radiograph import Radiograph, pad_to_square, resize
from gen.language.study import Study

if TYPE_CHECKING:
    from drr.scene import Scene

TWINS = ("soft", "bone")  # that a projection has of itself
SIZE = 256  # pixels a side where the config names none

_TOGETHER = 32  # rows whose CTs are read in one go, so that each is read once for several of them

Projected = tuple[Radiograph, dict[str, Radiograph], Mapping[str, Any]]


def projectable(config: DatasetConfig) -> Callable[[Mapping[str, str]], str | None]:
    """What tells of a cell (values by attribute) why it cannot be filled by projection, in words; None where it can.

    The headers of the CTs are read, and no voxel. BadInput for a CT that is not there and a folder without one series.
    """
    if config.projections.use == "never":
        return lambda cell: "projections are switched off"
    cts = config.projections.cts
    patients = patients_of(tuple(cts))

    def obstacle(cell: Mapping[str, str]) -> str | None:
        if "race" in cell:
            return "a projection shows nobody's race"
        if (view := cell.get("view")) not in (None, *VIEWS):
            return f"there is no view {view} among the projector's"
        if "finding" in cell and (reason := finding_obstacle(cell["finding"], of_cts=bool(cts))):
            return reason
        sex, ages = cell.get("sex"), band(cell["age"]) if "age" in cell else None
        if not cts:
            return None if ages is None else age_obstacle(*ages)
        if any(fits(patient, sex, ages) for patient in patients):
            return None
        known = sum("sex" in patient and "age" in patient for patient in patients)
        whom = " and ".join(f"{key} {cell[key]}" for key in ("sex", "age") if key in cell)
        return f"none of the {len(cts)} CT(s) is of a patient of {whom}; both are known of {known}"

    return obstacle


def study_obstacle(study: Study, config: DatasetConfig) -> str | None:
    """Why ``study`` with all its findings cannot be projected, whoever the patient is; None where it can."""
    return study_obstacle_of(study, of_cts=bool(config.projections.cts))


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
    from augment.bodies.scenes import detector_size, posed, public_name
    from drr.physics.technique import technique_of
    from drr.projection import render

    study, size = row.study, config.size or SIZE
    if reason := study_obstacle(study, config):
        raise BadInput(f"row {row.number} cannot be projected: {reason}")
    cts = config.projections.cts
    if not cts:
        scene = _phantom_scene(study, seed, size)
    elif (ct := _choice(row, seed, config)) is not None:
        scene = _ct_scene(ct, public_name(ct))
    else:
        raise BadInput(f"row {row.number} cannot be projected: no CT is of a patient of its sex and age")
    scene, view = posed(scene, study, seed)
    wanted = [name for name in TWINS if name in config.twins]
    projection = render(
        scene,
        view,
        technique_of(view),
        size=detector_size(size),
        rng=rng_of(seed, "noise"),
        twins=bool(wanted),
        threads=config.threads,
    )
    pitch_mm = projection.geometry.pitch_mm[0] * max(projection.image.shape) / size
    facts = projection.provenance | {
        "patient": str(projection.truth["patient_id"]),
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


def ages_of(row: PlanRow) -> tuple[int, int] | None:
    """From and to in years, of whom ``row`` may show; None: anybody."""
    age = row.study.age
    cell = dict(part.split("=", 1) for part in row.cell.split("|") if "=" in part)
    return band(cell["age"]) if "age" in cell else None if age is None else (age, age)


def licence_of(config: DatasetConfig) -> str:
    """The licence of the projections: that of the phantom, or of the CTs as far as the config says."""
    from drr.job import PHANTOM_LICENCE

    return config.projections.licence if config.projections.cts else PHANTOM_LICENCE


# Patients


def _phantom_scene(study: Study, seed: int, size: int) -> Scene:
    from augment.bodies.scenes import phantom_of
    from drr.scene import load_scene

    return load_scene(*phantom_of(study, seed, size))


@lru_cache(maxsize=1)  # a large one takes a gigabyte
def _ct_scene(path: str, key: str) -> Scene:
    from drr.reader import read_volume
    from drr.scene import load_scene

    return load_scene(read_volume(path), key)


def _choice(row: PlanRow, seed: int, config: DatasetConfig) -> str | None:
    """The CT that is drawn for a row of those that fit it; None where none does, and where the phantom serves."""
    cts, ages = config.projections.cts, ages_of(row)
    patients = zip(cts, patients_of(tuple(cts)), strict=True)
    fitting = [ct for ct, patient in patients if fits(patient, row.study.sex, ages)]
    return str(rng_of(seed, "ct").choice(fitting)) if fitting else None
