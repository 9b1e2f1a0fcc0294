"""The part of a data set's card that is about its plan: quotas and what came of them, and every row that is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

from augment.dataset.card.charts import BALANCE
from augment.dataset.card.gate_card import table
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
from gen.statistics.groups import values_of

CELLS_LISTED = 500  # more are a file's matter, index.parquet; a cell off its quota is always listed
NUMBERS_LISTED = 200  # missing rows of one cell, by number; manifest/ has them all
_COLUMNS = ("quota", "images", "missing", "first try", "images made", "accepted")
_COLUMNS_MEAN = """
"First try" is the set that would be left if what the gates refused had been thrown away. "Accepted" is the share of
the images made that passed all gates; a row that is hard to fill has more of them than others.
""".strip()


def plan_lines(cells: Cells, shown: Mapping[str, int], missing: Mapping[str, Sequence[int]]) -> list[str]:
    """The section, as lines of Markdown: counts by value and by cell beside their quotas.

    ``shown`` has the images asked to show each finding, ``missing`` the numbers of the missing rows by cell.
    """
    everything = total(cells)
    lines = ["## Is it what was planned?", ""]
    if everything[FINAL] == everything[WANTED] and not _off(cells):
        lines += [f"Yes: each of {len(cells):,} cells has its quota exactly, {everything[WANTED]:,} images in all.", ""]
    else:
        lines += [
            f"**Not wholly: {everything[WANTED]:,} images were planned and {everything[FINAL]:,} are here.** "
            f"{len(_off(cells)):,} of {len(cells):,} cells are off their quota.",
            "",
        ]
    lines += [f"![Images by value and by cell, before and after the gates]({BALANCE})", ""]
    lines += [_COLUMNS_MEAN, ""]
    for attribute, values in by_value(cells).items():
        rows = [(value, *_counted(counts)) for value, counts in values.items()]
        lines += [*table((attribute, *_COLUMNS), rows, numbers=6), ""]
    lines += [*table(("", *_COLUMNS), [("all", *_counted(everything))], numbers=6), ""]
    if everything[BROKEN]:
        lines += [f"{everything[BROKEN]:,} images came out broken (flat or not finite) before any gate saw them.", ""]
    if shown:
        lines += ["Findings by how many images were asked to show them, alone or beside others:"]
        lines += [", ".join(f"{name} {count:,}" for name, count in sorted(shown.items())) + ".", ""]
    return lines + _missing_lines(missing) + _cell_lines(cells)


def _missing_lines(missing: Mapping[str, Sequence[int]]) -> list[str]:
    if not missing:
        return ["No row is missing.", ""]
    lines = ["Missing rows, for which no try of theirs or of their substitutes passed, by number in the plan:", ""]
    for cell, numbers in missing.items():
        more = len(numbers) - NUMBERS_LISTED
        listed = ", ".join(map(str, numbers[:NUMBERS_LISTED])) + (
            f", and {more:,} more (manifest/)" if more > 0 else ""
        )
        lines.append(f"- {_spoken(cell)}: {len(numbers):,} ({listed})")
    return [*lines, ""]


def _cell_lines(cells: Cells) -> list[str]:
    listed = cells if len(cells) <= CELLS_LISTED else _off(cells)
    head = (
        f"{len(cells):,} cells" if listed is cells else f"{len(listed):,} of {len(cells):,} cells: those off the quota"
    )
    if not listed:
        return [f"All {len(cells):,} cells have their quota; `index.parquet` has the column `cell`.", ""]
    names = list(dict.fromkeys(chain.from_iterable(map(values_of, listed))))
    rows = [(*(values_of(cell).get(name, "") for name in names), *_counted(counts)) for cell, counts in listed.items()]
    return [
        f"<details><summary>{head}</summary>",
        "",
        *table((*names, *_COLUMNS), rows, numbers=6, first_number=len(names)),
        "",
        "</details>",
        "",
    ]


def _off(cells: Cells) -> dict[str, Counter[str]]:
    return {cell: counts for cell, counts in cells.items() if counts[FINAL] != counts[WANTED]}


def _counted(counts: Counter[str]) -> tuple[str, ...]:
    numbers = (f"{counts[name]:,}" for name in (WANTED, FINAL, MISSING, FIRST, TRIED))
    return (*numbers, f"{counts[FINAL] / judged(counts):.1%}" if judged(counts) else "")


def _spoken(cell: str) -> str:
    return ", ".join(f"{name} {value}" for name, value in values_of(cell).items())
