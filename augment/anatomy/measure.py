"""How well masks are found: Dice on held-out bodies, of projections as they were rendered and as films."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from augment.anatomy.bodies import Body
from augment.anatomy.films import film, plain
from gen.anatomy.folder import Anatomy
from gen.anatomy.network import ORGANS
from gen.core.run import derived_seed
from gen.statistics.intervals import Figure, mean_of

LEAST = 100  # pixels of an organ in view: of less, a pixel at its edge would decide


def dice(found: np.ndarray, true: np.ndarray) -> float:
    """Twice what two masks share over what they have, NaN where both are empty (Dice 1945)."""
    total = np.count_nonzero(found) + np.count_nonzero(true)
    return 2 * np.count_nonzero(found & true) / total if total else float("nan")


def each_dice(
    anatomy: Anatomy, records: Mapping[Body, np.ndarray], *, as_films: bool, most: int | None = None
) -> Iterator[tuple[Body, str, str, float]]:
    """Body, view, organ and Dice of every organ that is known and in view, in at most ``most`` projections of each.

    ``as_films``: tone, noise, warp and borders are drawn, the same for everyone who asks.
    """
    for body, listed in records.items():
        count = len(listed) if most is None else min(most, len(listed))
        for k in np.linspace(0, len(listed) - 1, count).astype(int):
            record = listed[k]
            rng = np.random.default_rng(derived_seed(0, f"measure {body.name} {k}"))
            image, bits = film(record, anatomy.size, rng) if as_films else plain(record, anatomy.size)
            found = anatomy.probabilities(image[None].astype(np.float32))[0] >= 0.5
            for i, organ in enumerate(ORGANS):
                true = (bits >> i) & 1 > 0
                if int(record["known"]) >> i & 1 and np.count_nonzero(true) >= LEAST:
                    yield body, str(record["view"]), organ, dice(found[i], true)


def dice_table(
    anatomy: Anatomy, records: Mapping[Body, np.ndarray], *, as_films: bool, most: int | None = None
) -> dict[str, dict[str, Figure]]:
    """The mean Dice of each organ in frontal views, by group: each held-out CT by its name, and the phantoms.

    Intervals are over the projections of a CT, and over phantoms: they say nothing of other patients.
    """
    rows = [row for row in each_dice(anatomy, records, as_films=as_films, most=most) if row[1] in ("PA", "AP")]
    groups = {body.name: [body] for body in records if body.number is None}
    groups["phantoms"] = [body for body in records if body.number is not None]
    return {
        group: {
            organ: mean_of(
                [value for body, _, each, value in rows if each == organ and body in bodies],
                [
                    str(k) if len(bodies) == 1 else body.name
                    for k, (body, _, each, _) in enumerate(rows)
                    if each == organ and body in bodies
                ],
            )
            for organ in ORGANS
        }
        for group, bodies in groups.items()
    }
