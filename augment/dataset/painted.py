"""Rows that start from a projected body and are painted by the model: labels, masks and twins are those of the body."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from augment.dataset.config import DatasetConfig
from augment.dataset.projected import ages_of, licence_of
from augment.dataset.retry import retry
from augment.dataset.shards.records import PlanRow
from gen.core.errors import GenError
from gen.core.radiograph import Radiograph

if TYPE_CHECKING:
    from augment.bodies.make import PhysicalBodies
    from gen.model.sampling.anatomy import Body, OfBody

INSERTED = "inserted"  # the twin with what was put in: bit k of its 8-bit grey levels is the k-th, counted from 0
MOST_INSERTED = 8


def body_of(row: PlanRow, seed: int, config: DatasetConfig, size: int, *, canonical: bool) -> Body | GenError:
    """The body of ``row`` and ``seed`` in pictures of ``size`` pixels a side, or why there is none.

    GenError is raised where disk or memory failed (`retry`).
    """
    projections = config.projections
    bodies = _bodies(
        tuple(projections.cts),
        licence_of(config),
        not projections.cts or projections.weights_may_learn,
        config.threads,
    )

    def make() -> Body:
        return bodies.make(row.study, seed, size, canonical=canonical, ages=ages_of(row))

    return retry(f"the body of row {row.number}", make)


def twins_of(made: OfBody) -> dict[str, Radiograph]:
    """The twins that an image has of its body: soft, bone, a label map of organs and masks of what was put in.

    What was put in may overlap: each has a bit of its own. GenError for more than there are bits.
    """
    from gen.anatomy.network import ORGANS
    from gen.anatomy.reading import PAINTED

    shape, facts = made.image.pixels.shape, made.image.provenance
    organs, inserted = np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
    for organ in PAINTED:
        if organ in made.masks:
            organs[made.masks[organ]] = (ORGANS.index(organ) + 1) / 255
    names = [name for name in made.masks if name not in ORGANS]
    if len(names) > MOST_INSERTED:
        raise GenError(f"{len(names)} structures were put in, and the twin {INSERTED!r} holds {MOST_INSERTED}")
    for k, name in enumerate(names):
        inserted[made.masks[name]] |= 1 << k
    pixels = {
        "bone": np.clip(made.image.pixels - made.soft.pixels, 0, 1).astype(np.float32),
        "organs": organs,
        INSERTED: inserted.astype(np.float32) / 255,
    }
    return {"soft": made.soft} | {
        name: Radiograph(values, made.image.spacing_mm, {**facts, "shows": name}) for name, values in pixels.items()
    }


@lru_cache(maxsize=1)
def _bodies(cts: tuple[str, ...], licence: str, weights_may_learn: bool, threads: int) -> PhysicalBodies:
    from augment.bodies.make import PhysicalBodies

    return PhysicalBodies(cts, licence, weights_may_learn, threads)
