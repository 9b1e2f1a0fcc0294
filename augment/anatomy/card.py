"""The card of an anatomy network: what it is, whose CTs it learnt from under which licences, and its figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from augment.anatomy.bodies import Body
from augment.anatomy.config import AnatomyConfig
from augment.anatomy.radiographs import rows_of
from drr.ct.collections import collection_of
from gen.anatomy.folder import Anatomy
from gen.anatomy.network import ORGANS
from gen.core.markdown import read_prose, table
from gen.data.sources import SOURCES
from gen.statistics.intervals import Figure

_PROSE = read_prose(__package__, "card.md")

Table = Mapping[str, Mapping[str, Figure]]


def write_card(
    anatomy: Anatomy,
    records: Mapping[Body, np.ndarray],
    radiographs: int,
    figures: Mapping[str, Table],
    config: AnatomyConfig,
    images: int,
) -> str:
    """The README.md of ``anatomy``, which learnt for ``images`` images; ``figures`` by condition.

    It learnt from ``records`` of bodies, and from so many ``radiographs``.
    """
    weights = sum(p.numel() for p in anatomy.network.parameters())
    atlas = next((body.atlas for body in records if body.atlas is not None), None)
    head = _PROSE.fill(
        "head",
        name=f"anatomy-{anatomy.size}",
        organs=f"{', '.join(ORGANS[:-1])} and {ORGANS[-1]}",
        size=anatomy.size,
        weights=f"{weights / 1e6:.2f}",
        megabytes=f"{2 * weights / 1e6:.1f}",
        fold=config.shape.fold,
        images=f"{images:,}",
        projections=f"{sum(map(len, records.values())):,}",
        cts=sum(body.number is None for body in records),
        phantoms=sum(body.number is not None for body in records),
        radiographs=_radiographs(radiographs, config),
        sources=_sources([*records, *([atlas] if atlas is not None else [])], config),
        atlas="" if atlas is None else _PROSE.fill("atlas", name=atlas.name),
        figures="\n\n".join(f"{condition}:\n\n{figures_table(each)}" for condition, each in figures.items()),
    )
    return f"{head}\n\n{_PROSE.fill('tail')}\n"


def _radiographs(count: int, config: AnatomyConfig) -> str:
    """What was learnt from radiographs, of which there are ``count``."""
    if not count:
        return _PROSE.fill("none")
    share = f"{config.radiograph_share:.0%}"
    return _PROSE.fill("radiographs", count=f"{count:,}", share=share, asked=f"{len(rows_of(config)):,}")


def _sources(bodies: Iterable[Body], config: AnatomyConfig) -> str:
    """A row for each CT, for the labels of the atlas, and for each source of radiographs."""
    rows: dict[tuple[str, str], None] = {}
    for body in bodies:
        if body.number is None:
            rows[body.source, body.licence] = None
        if body.labels_source:
            rows[body.labels_source, ""] = None
    listed = []
    for source, licence in rows:
        collection = collection_of(source)
        cite = "" if collection is None else collection.citation
        listed.append((source.partition(";")[0], licence or (collection.licence if collection else "unknown"), cite))
    for key in dict.fromkeys(row.source for row in rows_of(config)):
        known = SOURCES.get(key)
        listed.append((known.name, known.licence, known.citation) if known else (key, "unknown", ""))
    return table(("source", "licence", "cite"), listed)


def figures_table(figures: Table) -> str:
    """A row for each organ, a column for each group."""
    rows = [(organ, *(group[organ].text() for group in figures.values())) for organ in ORGANS]
    return table(("organ", *figures), rows, right=range(1, len(figures) + 1))
