"""How the images of a plan are shared out: over cells, over what stands beside a cell's finding, over the sources."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from augment.dataset.config import DatasetConfig
from augment.dataset.plan import quotas
from augment.dataset.plan.makers import CellMakers
from augment.dataset.plan.real import Further
from augment.dataset.plan.target import ResolvedTarget
from augment.dataset.shards.records import ANATOMY, DRR, MODEL
from gen.core.errors import BadInput

Counted = Mapping[tuple[int, Further], int]  # rows, by the number of the cell and what stands beside its finding


def quotas_of(config: DatasetConfig, target: ResolvedTarget, makers: CellMakers) -> np.ndarray:
    """Images by cell, in the shape of ``target``; see `Target.kind`."""
    kind, images = config.target.kind, config.images
    if kind == "balanced":
        return quotas.balanced(target.shape, images)
    if kind == "margins":
        return _fitted(config, target, makers)
    assert target.real is not None, "resolve wants a real set"
    there = target.real.counts
    return quotas.matched(there, images) if kind == "matched" else quotas.topped_up(there, images)


def beside_each(target: ResolvedTarget, quota: np.ndarray) -> Counted:
    """The rows of each finding shared out over what stands beside it, exactly, and to each cell its even piece."""
    counted: dict[tuple[int, Further], int] = {}
    for main, shares in target.sets.items():
        those = np.array([k for k, cell in enumerate(target.cells) if cell.get("finding", "") == main])
        if total := int(quota.flat[those].sum()):
            beside = sorted(shares)
            counts = quotas.largest_remainder(np.array([shares[further] for further in beside], float), total)
            for k, row in zip(those, quotas.interleaved(counts, quota.flat[those]), strict=True):
                counted |= {(int(k), further): int(n) for further, n in zip(beside, row, strict=True) if n}
    return {key: counted[key] for key in sorted(counted)}


def by_source(
    config: DatasetConfig, target: ResolvedTarget, counted: Counted, makers: CellMakers
) -> tuple[dict[tuple[int, Further, str], int], list[str]]:
    """``counted`` split into the rows of the model and of the projector, and notes on what could not be split.

    BadInput for rows that neither can make, and for a share of projections of which not one can be made.
    """
    cells = target.cells
    projected = dict.fromkeys(counted, 0)
    both: dict[int, dict[Further, int]] = {}
    notes: list[str] = []
    unmet: list[tuple[int, Further]] = []
    for (k, further), count in counted.items():
        shared = config.projections.use == "share"
        lacking = makers.model_lacks(cells[k], further)
        obstacle = makers.obstacle(cells[k], further) if lacking or shared else None
        if lacking and obstacle is not None:
            unmet.append((k, further))
        elif lacking:
            projected[k, further] = count
        elif shared and obstacle is None:
            both.setdefault(k, {})[further] = count
        elif shared:
            notes.append(f"{', '.join([*cells[k].values(), *further])}: {obstacle}")
    if unmet:
        raise makers.refusal([(cells[k], further) for k, further in unmet])
    if notes:
        if not both and not any(projected.values()):
            raise BadInput(f"projections.share: nothing in the plan can be projected ({notes[0]})", hint="leave it out")
        notes = [f"{len(notes)} parts of the plan have no share of projections (such as {notes[0]})"]
    of_cells = np.zeros(len(cells))
    for k, rows in both.items():
        of_cells[k] = sum(rows.values())
    if wanted := round(config.projections.share * of_cells.sum()):
        share = quotas.matched(of_cells.reshape(target.shape), wanted)
        for k, rows in both.items():
            taken = quotas.largest_remainder(np.array(list(rows.values()), float), int(share.flat[k]))
            projected |= {(k, further): int(n) for further, n in zip(rows, taken, strict=True)}
    projector = ANATOMY if config.projections.strength else DRR
    split = {
        (*key, source): n
        for key, count in counted.items()
        for source, n in ((MODEL, count - projected[key]), (projector, projected[key]))
        if n
    }
    return split, notes


def _fitted(config: DatasetConfig, target: ResolvedTarget, makers: CellMakers) -> np.ndarray:
    """Images by cell with the margins of the config; a cell that cannot be made is left empty where they allow it."""
    margins, cells, shape = target.margins, target.cells, target.shape
    possible = np.array([not makers.model_lacks(cell) or makers.obstacle(cell) is None for cell in cells])
    for axis, size in enumerate(shape):
        for k in range(size):  # a value of which nothing can be made is refused with its reason
            those = np.flatnonzero(np.indices(shape)[axis].ravel() == k)
            if not possible[those].any() and (axis not in margins or margins[axis][k] > 0):
                raise makers.refusal([(cells[those[0]], ())])
    there = np.ones(shape) if target.real is None else target.real.counts
    try:
        return quotas.fitted(possible.reshape(shape) * there, margins, config.images)
    except quotas.Unfit as error:
        name = list(target.values)[error.axis]
        zeros = [
            f"{(~possible).sum()} cells that cannot be made" if not possible.all() else "",
            f"{(there == 0).sum()} cells without an image in {config.target.real}" if not there.all() else "",
        ]
        beside = " and ".join(filter(None, zeros))
        raise BadInput(
            f"target.margins.{name}: a share of {error.wanted:.4g} for {target.values[name][error.index]!r}"
            f" cannot be had with the other margins{' and ' if beside else ''}{beside};"
            f" the nearest is {error.reached:.4g}",
            hint="change the margins" + ("" if there.all() else ", or leave target.real out"),
        ) from error
