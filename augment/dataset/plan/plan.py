"""The plan of a data set: how many images each cell gets, and what every one of them shows; decided before any is made.

Row n is a function of the plan and of n alone, so a million rows need no table.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np

from augment.dataset.config import DatasetConfig, band
from augment.dataset.plan.allot import beside_each, by_source, quotas_of
from augment.dataset.plan.makers import makers_of
from augment.dataset.plan.real import Further
from augment.dataset.plan.target import resolve
from augment.dataset.shards.records import DRR, PROJECTED, PlanRow, row_id
from gen.core.errors import BadInput
from gen.core.run import derived_seed
from gen.core.terms import FINDINGS
from gen.data.captions import write_caption
from gen.language.render import render
from gen.language.study import Finding, Study

GOLDEN = (math.sqrt(5) - 1) / 2
NEARBY = 100  # numbers on either side of the golden section that are looked at


@dataclass(frozen=True)
class Stratum:
    """A cell: ``quota`` images with ``values``, ``projected`` of them projections; ``real`` images are there already
    (None: nobody looked)."""

    key: str
    values: Mapping[str, str]
    quota: int
    projected: int
    real: int | None = None


@dataclass(frozen=True)
class Part:
    """``count`` rows of a stratum (by number) that have one source and the same findings beside that of the cell."""

    stratum: int
    further: Further
    source: str
    count: int


@dataclass(frozen=True)
class Plan:
    """Rows by number from 0, and the strata in the fixed order of their values, those with a quota of 0 too.

    The parts lie end to end, stratum by stratum; row n is at place (n * stride + shift) modulo ``rows``. With this
    stride any consecutive rows (a shard, the half that was done by the morning) are spread over the strata nearly in
    the proportion of the quotas. ``digest`` is over all that decides the rows.
    """

    config: DatasetConfig
    strata: tuple[Stratum, ...]
    parts: tuple[Part, ...]
    canonical: bool  # whether the model learnt the canonical language, and so its prompts may be varied in wording
    warnings: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        return self.config.images

    @cached_property
    def digest(self) -> str:
        strata = [[stratum.key, stratum.quota] for stratum in self.strata]
        parts = [[part.stratum, part.further, part.source, part.count] for part in self.parts]
        facts = ["plan 1", self.config.seed, self.rows, self.canonical, strata, parts]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def row(self, number: int) -> PlanRow:
        """The row at ``number``; BadInput where the plan has no such row."""
        return self._row(number, 0)

    def substitute(self, row: PlanRow, k: int) -> PlanRow:
        """The ``k``-th substitute (from 1) of ``row``: the same cell, findings and source, another age of its band
        (until all of them had their turn) and other words."""
        return self._row(row.number, k)

    def _row(self, number: int, substitute: int) -> PlanRow:
        if not 0 <= number < self.rows:
            raise BadInput(f"row {number} is not in the plan, whose rows are 0 to {self.rows - 1}")
        seed = self.config.seed
        place = (number * self._stride + self._shift) % self.rows
        part = self.parts[bisect.bisect_right(self._starts, place) - 1]
        stratum = self.strata[part.stratum]
        values = stratum.values
        main = values.get("finding")
        study = Study(
            age=self._age(values["age"], place + substitute) if "age" in values else None,
            sex=values.get("sex"),
            race=values.get("race"),
            view=values.get("view"),
            findings=dict.fromkeys([main, *part.further], Finding()) if main else {},
        )
        if self.canonical and part.source != DRR:
            prompt = write_caption(study, random.Random(derived_seed(seed, f"prompt:{number}", substitute)))
        else:
            prompt = render(study)
        name = row_id(seed, number, stratum.key, study, prompt, part.source, substitute)
        return PlanRow(number, stratum.key, study, prompt, part.source, substitute, name)

    def _age(self, text: str, k: int) -> int:
        """The ages of a band in turn, each as often as the others, and any few of them spread over it."""
        youngest, oldest = band(text)
        years = oldest - youngest + 1
        return youngest + (k + self._shift) * _stride(years) % years

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *itertools.accumulate(part.count for part in self.parts[:-1])]

    @cached_property
    def _stride(self) -> int:
        return _stride(self.rows)

    @cached_property
    def _shift(self) -> int:
        return derived_seed(self.config.seed, "plan") % self.rows


def plan_of(
    config: DatasetConfig,
    capabilities: Mapping[str, Any] | None,
    projectable: Callable[[Mapping[str, str]], str | None],
) -> Plan:
    """The plan of ``config`` for a model with ``capabilities`` (None: it does not say, and may be asked anything).

    ``projectable`` says of a cell's values why they cannot be projected, None where they can. BadInput, one line, for
    unknown or contradicting values, and for a cell that shall have images and that no source can make.
    """
    target = resolve(config)
    makers = makers_of(config, target, capabilities, projectable)
    quota = quotas_of(config, target, makers)
    warnings, real = list(target.warnings), target.real
    if (empty := int((quota == 0).sum())) and config.target.kind != "top_up":
        warnings.append(f"{empty} of {quota.size} cells get no image")
    if config.target.kind == "top_up" and real is not None:
        enough = int(real.counts.max()) * quota.size - int(real.counts.sum())
        if config.images < enough:
            warnings.append(f"{config.images:,} images do not balance {config.target.real}; {enough:,} would")
    counted, notes = by_source(config, target, beside_each(target, quota), makers)
    projected = np.zeros(quota.size, np.int64)
    for (cell, _, source), count in counted.items():
        projected[cell] += count if source in PROJECTED else 0
    strata = tuple(
        Stratum(
            key="|".join(f"{name}={value}" for name, value in cell.items()),
            values=cell,
            quota=int(quota.flat[k]),
            projected=int(projected[k]),
            real=None if real is None else int(real.counts.flat[k]),
        )
        for k, cell in enumerate(target.cells)
    )
    parts = tuple(Part(cell, further, source, count) for (cell, further, source), count in counted.items())
    canonical = bool(capabilities and capabilities.get("canonical_language"))
    return Plan(config, strata, parts, canonical, (*warnings, *notes))


def plan_table(plan: Plan) -> list[dict[str, Any]]:
    """The strata for JSON: values, ``quota``, ``projected`` and, where a real set was read, its images ``real``."""
    rows: list[dict[str, Any]] = []
    for stratum in plan.strata:
        real = {} if stratum.real is None else {"real": stratum.real}
        rows.append({**stratum.values, "quota": stratum.quota, "projected": stratum.projected, **real})
    return rows


def plan_text(plan: Plan) -> str:
    """`plan_table` in columns; then the same by value of each attribute, and by finding, alone or beside others."""
    table = plan_table(plan)
    names = list(plan.strata[0].values)
    numbers = [name for name in table[0] if name not in names]
    totals = [
        {"of": f"{name} {value}", **{number: sum(r[number] for r in table if r[name] == value) for number in numbers}}
        for name in names
        for value in dict.fromkeys(row[name] for row in table)
    ]
    totals.append({"of": "all", **{number: sum(row[number] for row in table) for number in numbers}})
    blocks = [_columns(table, [*names, *numbers]), _columns(totals, ["of", *numbers])]
    shown = Counter[str]()
    for part in plan.parts:
        for finding in {plan.strata[part.stratum].values.get("finding", ""), *part.further} if part.further else ():
            shown[finding] += part.count
    if shown:
        for part in plan.parts:
            shown[plan.strata[part.stratum].values["finding"]] += 0 if part.further else part.count
        rows = [{"shown, alone or beside others": name, "images": shown[name]} for name in FINDINGS if shown[name]]
        blocks.append(_columns(rows, list(rows[0])))
    return "\n\n".join(blocks)


def cost(plan: Plan, seconds_per_image: float, bytes_per_image: float) -> dict[str, float]:
    """What ``plan`` takes where an image takes so much: its images, seconds and bytes."""
    return {
        "images": plan.rows,
        "seconds": plan.rows * seconds_per_image,
        "bytes": plan.rows * bytes_per_image,
    }


def _columns(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Text to the left, numbers to the right, two spaces between."""
    cells = [list(names), *([f"{row[n]:,}" if isinstance(row[n], int) else row[n] for n in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [isinstance(rows[0][name], int) for name in names]
    return "\n".join(
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)).rstrip()
        for line in cells
    )


@cache
def _stride(n: int) -> int:
    """A number without a common factor with ``n`` whose multiples fill 0 to n - 1 evenly, however few are taken.

    That is one near the golden section of ``n``, for any stretch is as even as the partial quotients of stride / n are
    small (Niederreiter, Random Number Generation and Quasi-Monte Carlo Methods, 1992, section 3.1).
    """
    near = round(n * GOLDEN)
    coprime = [k for k in range(max(1, near - NEARBY), near + NEARBY) if math.gcd(k, n) == 1]
    return min(coprime, key=lambda k: (max(_partial_quotients(k, n)), abs(k - near), k))


def _partial_quotients(k: int, n: int) -> Iterator[int]:
    """Those of the continued fraction of k / n."""
    while k:
        n, (quotient, k) = k, divmod(n, k)
        yield quotient
