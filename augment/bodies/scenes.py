"""Bodies ready for exposure: individuals of the phantom and patients of CTs, with what a Study names put into them.

Everything that is drawn follows from the seed of the image.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from augment.bodies.fit import requests_of, rng_of
from drr.ct.volume import Volume
from drr.geometry import FIELD_MM, VIEWS, View, jitter
from drr.job import DRAWN_AGES, digest_of
from drr.phantom.chest import HABITUS, SEXES, SPACING_MM, make_phantom
from drr.reader import read_volume
from drr.scene import Scene, insert
from gen.core.run import derived_seed
from gen.language.study import Study

FINER, FINEST = 2, 4096  # pixels of the detector to one of the image, as a radiograph is finer; and at most so many
COARSEST_MM = 6.0  # of the phantom's grid, at which findings still find their place


def detector_size(size: int) -> int:
    """Pixels a side of the detector for an image of ``size`` pixels a side."""
    return max(size, min(FINER * size, FINEST))


def phantom_of(study: Study, seed: int, size: int) -> tuple[Volume, str]:
    """An individual of the study's sex and age, of which what it leaves open is drawn, and its name.

    Its grid is as fine as is seen in an image of ``size`` pixels a side.
    """
    rng = rng_of(seed, "phantom")
    sex, habitus = str(rng.choice(SEXES)), str(rng.choice(list(HABITUS)))
    age = int(rng.integers(*DRAWN_AGES, endpoint=True))
    individual = derived_seed(seed, "individual")
    step_mm = float(np.clip(FIELD_MM * VIEWS["PA"].sod_mm / VIEWS["PA"].sdd_mm / size, SPACING_MM[1], COARSEST_MM))
    volume = make_phantom(
        sex=study.sex or sex,
        habitus=habitus,
        age=age if study.age is None else study.age,
        seed=individual,
        spacing_mm=(min(step_mm * SPACING_MM[0] / SPACING_MM[1], 5.0), step_mm, step_mm),
    )
    return volume, f"phantom-{individual:016x}"


@lru_cache(maxsize=1)  # a large one takes a gigabyte
def ct_of(path: str) -> Volume:
    """The CT at ``path``."""
    return read_volume(path)


@lru_cache(maxsize=64)
def ct_digest(path: str) -> str:
    """SHA-256 of the CT at ``path``."""
    return digest_of(Path(path))


def public_name(path: str) -> str:
    """Another name of the patient of the CT at ``path``, the same each time: that of a file may be a person's.

    It follows from the content, for who guesses a name could hash it.
    """
    return f"ct-{ct_digest(path)[:12]}"


def posed(scene: Scene, study: Study, seed: int) -> tuple[Scene, View]:
    """``scene`` with what ``study`` names put in, and its view, as another radiographer would have set it.

    The phantom stands, whatever the view, for its stomach has a level. BadInput where something has no place in it.
    """
    view = VIEWS[study.view or "PA"]
    view = replace(view, position=study.position or ("erect" if scene.healthy else view.position))
    requests = [replace(each, position=view.position) for each in requests_of(study, rng_of(seed, "kinds"))]
    scene = insert(scene, requests, rng_of(seed, "lesions"))
    return scene, jitter(view, rng_of(seed, "pose"))
