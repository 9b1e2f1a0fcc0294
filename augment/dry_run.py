"""What a data set job would do: its plan as a table, its cost here in time and disk, and what is amiss."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from augment.config import DatasetConfig
from augment.job import first_prompts, plan_job, require_room
from augment.plan import Plan, cost, plan_table, plan_text
from augment.quality import check_gates
from augment.records import DRR, MODEL
from augment.sources import open_source, prompt_warnings
from gen.core.errors import GenError
from gen.core.radiograph import png_bytes
from gen.core.run import derived_seed

TIMED = 2  # images of each source; the first pays for loading what it needs, and does not count


@dataclass(frozen=True)
class Told:
    """The same in words and for JSON, and the warnings."""

    text: str
    facts: dict[str, Any]
    warnings: tuple[str, ...]


def dry_run(config: DatasetConfig) -> Told:
    """Plan ``config`` and time an image of each source, with nothing written. Raises what the job itself would."""
    plan = plan_job(config)
    check_gates(config.gates)
    require_room(config, plan.rows)
    warnings = [*plan.warnings, *prompt_warnings(config, first_prompts(plan))]
    seconds, size = _an_image(config, plan)
    takes = cost(plan, seconds, size * (1 + len(config.formats)))
    words = [
        plan_text(plan),
        "",
        f"{plan.rows:,} images, {seconds:.2f} s and {size / 1e3:.0f} kB each: about {_spoken(takes['seconds'])} "
        f"for one worker of {config.threads} thread(s), and {takes['bytes'] / 1e6:,.0f} MB.",
    ]
    if config.gates.names:
        words.append("What the gates refuse is made again, and that takes its time besides.")
    return Told("\n".join(words), {"plan": plan_table(plan), **takes}, tuple(warnings))


def _an_image(config: DatasetConfig, plan: Plan) -> tuple[float, float]:
    """Seconds and bytes of an image, over the sources in the proportion of their rows."""
    sources = open_source(config)
    projected = sum(stratum.projected for stratum in plan.strata)
    seconds = size = 0.0
    for source, rows in ((MODEL, plan.rows - projected), (DRR, projected)):
        numbers = (number for number in range(plan.rows) if plan.row(number).source == source) if rows else iter(())
        row = next(numbers, None)
        if row is None:
            continue
        share = rows / plan.rows
        for k in range(TIMED):
            started = time.monotonic()
            [outcome] = sources.make([plan.row(row)], [derived_seed(config.seed, "dry run", k)])
            if isinstance(outcome, GenError):
                raise outcome
            if k == TIMED - 1:
                image, twins = outcome
                seconds += share * (time.monotonic() - started)
                size += share * sum(len(png_bytes(each)) for each in (image, *twins.values()))
    return seconds, size


def _spoken(seconds: float) -> str:
    """Such as "25 min" or "3.2 h"."""
    return (
        f"{seconds / 3600:.1f} h"
        if seconds >= 5400
        else f"{seconds / 60:.0f} min"
        if seconds >= 90
        else f"{seconds:.0f} s"
    )
