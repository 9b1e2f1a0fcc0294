"""Bodies for Studies: made or chosen, warped, projected and framed. The entry point `cxr_gen.anatomy` leads here."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from augment.bodies.fit import fits, patients_of, rng_of, study_obstacle
from augment.bodies.frame import framed
from augment.bodies.index import terms_of
from augment.bodies.organs import organ_masks, organ_stacks, project_organs
from augment.bodies.scenes import ct_digest, ct_of, detector_size, phantom_of, posed, public_name
from augment.bodies.warp import warped
from drr.ct.volume import Volume
from drr.job import PHANTOM_LICENCE
from drr.physics.technique import technique_of
from drr.projection import render
from drr.scene import load_scene
from gen.core.errors import BadInput
from gen.core.radiograph import Radiograph
from gen.core.run import derived_seed
from gen.language.study import Study
from gen.model.sampling.anatomy import Body

Ages = tuple[int, int]
PHANTOM = "phantom"
COARSER = 1.5  # than a projection that is to be looked at: the model paints what is finer
ATTEMPTS = 5  # individuals, or warps, that are tried for an image


@dataclass(frozen=True)
class PhysicalBodies:
    """Individuals of the phantom, or the patients of ``cts``; all of them warped at random, one body an image.

    ``threads`` are the projector's: sums in another number of parts differ in their last bits.
    """

    cts: tuple[str, ...] = ()
    licence: str = PHANTOM_LICENCE
    weights_may_learn: bool = True
    threads: int | None = None

    def obstacle(self, study: Study, ages: Ages | None = None) -> str | None:
        """Why no body can show ``study``; None where one can. ``ages``: from and to in years, of a CT's patient."""
        if reason := study_obstacle(study, of_cts=bool(self.cts)):
            return reason
        return (
            None
            if not self.cts or self._fitting(study, ages)
            else "no CT is known to be of a patient of its sex and age"
        )

    def make(self, study: Study, seed: int, size: int, *, canonical: bool, ages: Ages | None = None) -> Body:
        """As of `gen.model.sampling.anatomy.Bodies`; ``ages`` as of `obstacle`, None: the study's own."""
        if reason := self.obstacle(study, ages):
            raise BadInput(reason)
        for attempt in range(ATTEMPTS - 1):
            with suppress(BadInput):  # no room in this one for what is put in, or a lung out of view
                return self._make(study, derived_seed(seed, "body", attempt), size, canonical, ages)
        return self._make(study, derived_seed(seed, "body", ATTEMPTS - 1), size, canonical, ages)

    def _make(self, study: Study, seed: int, size: int, canonical: bool, ages: Ages | None) -> Body:
        volume, key, origin = self._drawn(study, seed, size, ages)
        scene, view = posed(load_scene(warped(volume, rng_of(seed, "warp")), key), study, seed)
        projection = render(
            scene,
            view,
            technique_of(view),
            size=detector_size(size),
            rng=rng_of(seed, "noise"),
            twins=True,
            threads=self.threads,
        )
        organs = project_organs(organ_stacks(scene, organ_masks(scene)), projection.geometry)
        made = framed(projection, organs, size, canonical=canonical)
        shown = Study.from_json_dict(projection.truth["study"])
        parameters = {name: volume.facts[name] for name in ("sex", "age", "habitus", "seed") if name in volume.facts}
        facts = {
            "anatomy": f"from physics: projection of {origin}",
            "patient": scene.key,
            "bodies": f"{len(self.cts)} CTs, warped" if self.cts else "individuals of a procedural phantom, warped",
            "body_parameters": json.dumps(parameters),
            "body_seed": str(seed),
            "body_licence": self.licence,
            "projection": f"{projection.view.name}, {projection.provenance['kvp']} kV",
            "inserted": json.dumps(projection.truth["inserted"]),
            "study": json.dumps(projection.truth["study"]),
        }
        image = Radiograph(np.ascontiguousarray(made.image), None, {"synthetic": "yes", **facts})
        return Body(
            image=image,
            bone=made.bone,
            masks=made.masks,
            held=made.held,
            study=shown,
            patient=scene.key,
            licence=self.licence,
            weights_may_learn=self.weights_may_learn,
            facts=facts,
        )

    def _drawn(self, study: Study, seed: int, size: int, ages: Ages | None) -> tuple[Volume, str, str]:
        """The volume for an image, the name of its patient, and what it is in words."""
        if not self.cts:
            volume, key = phantom_of(study, seed, round(size / COARSER))
            return volume, key, f"a phantom, {key}"
        ct = str(rng_of(seed, "ct").choice(self._fitting(study, ages)))
        key = public_name(ct)
        return ct_of(ct), key, f"a CT, SHA-256 {ct_digest(ct)[:16]}"

    def _fitting(self, study: Study, ages: Ages | None) -> list[str]:
        if ages is None and study.age is not None:
            ages = study.age, study.age
        pairs = zip(self.cts, patients_of(self.cts), strict=True)
        return [ct for ct, patient in pairs if fits(patient, study.sex, ages)]


def open_bodies(where: str) -> PhysicalBodies:
    """The bodies of "phantom", or of the CT at ``where``, whose licence is that of an index.csv beside it.

    BadInput for a CT that is not there.
    """
    if where == PHANTOM:
        return PhysicalBodies()
    if not Path(where).exists():
        raise BadInput(f"--anatomy {where}: no such file or folder", hint=f"use {PHANTOM!r}, or name a CT")
    licence, learn = terms_of(Path(where))
    patients_of((where,))
    return PhysicalBodies((where,), licence, learn)
