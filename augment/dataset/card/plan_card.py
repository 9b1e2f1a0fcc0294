"""The part of a data set's card that is about its plan: quotas and what came of them, and every row that is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

from augment.dataset.card.charts import BALANCE
from augment.dataset.shards.counts import (
    BROKEN,
    FINAL,
    FIRST,
    MISSING,
    TRIED,
    WANTED,
    Cells,
    by_value,
    judged,
    total,
)
from gen.core.markdown import read_prose, table
from gen.statistics.groups import values_of

CELLS_LISTED = 500  # more are a file's matter, index.parquet; a cell off its quota is always listed
NUMBERS_LISTED = 200  # missing rows of one cell, by number; manifest/ has them all
_COLUMNS = ("quota", "images", "missing", "first try", "images made", "accepted")
_PROSE = read_prose(__package__, "plan.md")


def plan_section(cells: Cells, shown: Mapping[str, int], missing: Mapping[str, Sequence[int]]) -> str:
    """Write the section in Markdown: counts by value and by cell beside their quotas.

    ``shown`` has the images asked to show each finding, ``missing`` the numbers of the missing rows by cell.
    """
    everything = total(cells)
    off, planned, images = len(_off(cells)), everything[WANTED], everything[FINAL]
    verdict = "whole" if images == planned and not off else "not_whole"
    numbers = range(1, 1 + len(_COLUMNS))
    tables = [
        table((attribute, *_COLUMNS), [(value, *_counted(counts)) for value, counts in values.items()], right=numbers)
        for attribute, values in by_value(cells).items()
    ]
    tables.append(table(("", *_COLUMNS), [("all", *_counted(everything))], right=numbers))
    counts = ", ".join(f"{name} {count:,}" for name, count in sorted(shown.items()))
    return _PROSE.fill(
        "section",
        verdict=_PROSE.fill(
            verdict, cells=f"{len(cells):,}", off=f"{off:,}", planned=f"{planned:,}", images=f"{images:,}"
        ),
        chart=BALANCE,
        tables="\n\n".join(tables),
        broken=_PROSE.fill("broken", images=f"{everything[BROKEN]:,}") if everything[BROKEN] else "",
        shown=_PROSE.fill("shown", counts=counts) if shown else "",
        missing=_missing(missing),
        cells=_cells(cells),
    )


def _missing(missing: Mapping[str, Sequence[int]]) -> str:
    if not missing:
        return _PROSE.fill("nothing_missing")
    lines = []
    for cell, numbers in missing.items():
        more = len(numbers) - NUMBERS_LISTED
        listed = ", ".join(map(str, numbers[:NUMBERS_LISTED])) + (
            f", and {more:,} more (manifest/)" if more > 0 else ""
        )
        lines.append(f"- {_label(cell)}: {len(numbers):,} ({listed})")
    return _PROSE.fill("missing", rows="\n".join(lines))


def _cells(cells: Cells) -> str:
    counts = {"cells": f"{len(cells):,}", "off": f"{len(_off(cells)):,}"}
    every = len(cells) <= CELLS_LISTED
    listed = cells if every else _off(cells)
    if not listed:
        return _PROSE.fill("no_cell_off", **counts)
    names = list(dict.fromkeys(chain.from_iterable(map(values_of, listed))))
    rows = [(*(values_of(cell).get(name, "") for name in names), *_counted(counts)) for cell, counts in listed.items()]
    return _PROSE.fill(
        "cells",
        head=_PROSE.fill("all_cells" if every else "cells_off", **counts),
        table=table((*names, *_COLUMNS), rows, right=range(len(names), len(names) + len(_COLUMNS))),
    )


def _off(cells: Cells) -> dict[str, Counter[str]]:
    return {cell: counts for cell, counts in cells.items() if counts[FINAL] != counts[WANTED]}


def _counted(counts: Counter[str]) -> tuple[str, ...]:
    numbers = (f"{counts[name]:,}" for name in (WANTED, FINAL, MISSING, FIRST, TRIED))
    return (*numbers, f"{counts[FINAL] / judged(counts):.1%}" if judged(counts) else "")


def _label(cell: str) -> str:
    return ", ".join(f"{name} {value}" for name, value in values_of(cell).items())
