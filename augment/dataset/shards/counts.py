"""What came of the plan, counted over committed shards in one pass: by cell, and from there by the values of a cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augment.dataset.shards import folder as shards
from augment.dataset.shards.records import Entry
from gen.statistics.groups import values_of

# Of a cell: rows by the plan, rows that have an image, rows whose very first try passed, rows without an image, and
# images: tried in all, broken ones among them, and (as "met sex", "failed sex") those that a gate saw and refused.
WANTED, FINAL, FIRST, MISSING, TRIED, BROKEN, MET, FAILED = (
    "wanted", "final", "first", "missing", "tried", "broken", "met ", "failed ",
)  # fmt: skip

Cells = Mapping[str, Counter[str]]


@dataclass(frozen=True)
class Entries:
    """The entries of the data set in ``out``, read anew each time that they are gone through: no list holds a million
    rows."""

    out: Path

    def __iter__(self) -> Iterator[Entry]:
        return shards.entries(self.out)


def count_cells(entries: Iterable[Entry], quota: Mapping[str, int]) -> dict[str, Counter[str]]:
    """Counts by cell, in the order of ``quota`` (rows by cell, as the plan has them); an unplanned cell comes last."""
    cells = {cell: Counter({WANTED: rows}) for cell, rows in quota.items()}
    for entry in entries:
        for record in entry.records:
            cell = cells.setdefault(record["cell"], Counter())
            cell[FINAL] += 1
            cell[FIRST] += not record["rejected"]
            cell[TRIED] += 1
            cell.update(MET + gate for gate in _gates(record["scores"]))
            _count_rejected(cell, record["rejected"])
        for row in entry.missing:
            cell = cells.setdefault(row["cell"], Counter())
            cell[MISSING] += 1
            _count_rejected(cell, row["rejected"])
    return cells


def by_value(cells: Cells) -> dict[str, dict[str, Counter[str]]]:
    """The counts by attribute and value, such as ["sex"]["F"]: sums over the cells that have it."""
    found: dict[str, dict[str, Counter[str]]] = {}
    for key, counts in cells.items():
        for attribute, value in values_of(key).items():
            found.setdefault(attribute, {}).setdefault(value, Counter()).update(counts)
    return found


def total(cells: Cells) -> Counter[str]:
    """The counts of the whole set."""
    everything: Counter[str] = Counter()
    for counts in cells.values():
        everything.update(counts)
    return everything


def judged(counts: Counter[str]) -> int:
    """How many images the gates saw."""
    return counts[TRIED] - counts[BROKEN]


def gates_of(counts: Counter[str]) -> dict[str, tuple[int, int]]:
    """By gate: how many images it refused, of how many that it looked at."""
    met = {name.removeprefix(MET): n for name, n in sorted(counts.items()) if name.startswith(MET)}
    return {gate: (counts[FAILED + gate], n) for gate, n in met.items()}


def pass_rates(tally: Counter[str]) -> dict[str, float]:
    """By gate that looked at any: the share of the images that it looked at which passed it."""
    return {gate: 1 - refused / met for gate, (refused, met) in gates_of(tally).items()}


def _count_rejected(cell: Counter[str], rejected: Iterable[Mapping[str, Any]]) -> None:
    for each in rejected:
        cell[TRIED] += 1
        cell[BROKEN] += "error" in each
        cell.update(MET + gate for gate in _gates(each.get("scores", ())))
        cell.update(FAILED + gate for gate in _gates(each.get("failed", ())))


def _gates(names: Iterable[str]) -> set[str]:
    """The gates of scores: one may look at several things, such as "finding: Edema" and "finding: Mass"."""
    return {name.partition(":")[0].split()[0] for name in names}
