"""What a data set job would do: its plan as a table, its cost here in time and disk, and what is amiss."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from augment.config import DatasetConfig
from augment.job import first_prompts, plan_job, require_room
from augment.plan import Plan, cost, plan_table, plan_text
from augment.quality import Panel, check_gates, open_panel
from augment.records import DRR, MODEL, PlanRow
from augment.sources import Sources, open_source, prompt_warnings
from gen.core.errors import GenError
from gen.core.radiograph import png_bytes
from gen.core.run import derived_seed

TRIED = 8  # images of each source, after one that pays for loading what it needs


@dataclass(frozen=True)
class Told:
    """The same in words and for JSON, and the warnings."""

    text: str
    facts: dict[str, Any]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """What images of one source took here: seconds and bytes of each that was ``made``, of which so many ``passed``
    the gates, and the ``share`` of the plan's rows that they stand for."""

    share: float
    made: int
    passed: int
    seconds: float
    size: float


def dry_run(config: DatasetConfig) -> Told:
    """Plan ``config`` and try some images of each source, with nothing written. Raises what the job itself would.

    Gates that are calibrated with films of the user's are left out of the trial: to judge those may take an hour.
    """
    plan = plan_job(config)
    check_gates(config.gates)
    require_room(config, plan.rows)
    warnings = [*plan.warnings, *prompt_warnings(config, first_prompts(plan))]
    panel = None if config.gates.real else open_panel(config.gates, device=config.device)
    trials = _trials(config, plan, panel)
    seconds = sum(trial.share * trial.seconds for trial in trials)
    size = sum(trial.share * trial.size for trial in trials)
    # A source of which nothing passed counts as if one had: then it takes at least that long.
    seconds_in_all = sum(trial.share * trial.seconds * trial.made / max(trial.passed, 1) for trial in trials)
    takes = cost(plan, seconds_in_all, size * (1 + len(config.formats)))
    least = "at least" if not all(trial.passed for trial in trials) else "about"
    words = [
        plan_text(plan),
        "",
        f"{plan.rows:,} images, {size / 1e3:.0f} kB each: {takes['bytes'] / 1e6:,.0f} MB. A try takes {seconds:.2f} s: "
        f"{least} {_spoken(takes['seconds'])} for one worker of {config.threads} thread(s).",
    ]
    made, passed = (sum(getattr(trial, what) for trial in trials) for what in ("made", "passed"))
    if panel is not None:
        words.append(f"Of {made} tries {passed} passed the gates, and what they refuse is made again.")
        if not passed:
            warnings.append(f"none of {made} tries passed the gates: rows may stay empty")
    elif config.gates.names:
        words.append("What the gates refuse is made again, and that takes its time besides.")
    return Told("\n".join(words), {"plan": plan_table(plan), **takes, "tried": made, "passed": passed}, tuple(warnings))


def _trials(config: DatasetConfig, plan: Plan, panel: Panel | None) -> list[Trial]:
    """The first rows of each source of the plan, each tried once."""
    sources = open_source(config)
    projected = sum(stratum.projected for stratum in plan.strata)
    trials = []
    for source, rows in ((MODEL, plan.rows - projected), (DRR, projected)):
        if rows:
            of_source = (row for row in map(plan.row, range(plan.rows)) if row.source == source)
            trials.append(_trial(sources, list(islice(of_source, TRIED)), rows / plan.rows, panel))
    return trials


def _trial(sources: Sources, rows: Sequence[PlanRow], share: float, panel: Panel | None) -> Trial:
    """GenError where not one of ``rows`` can be made."""
    seed = sources.config.seed
    list(sources.make(rows[:1], [derived_seed(seed, "dry run", 0)]))
    started = time.monotonic()
    outcomes = list(sources.make(rows, [derived_seed(seed, row.id, 0) for row in rows]))  # as the job itself begins
    pairs = [(row, outcome) for row, outcome in zip(rows, outcomes, strict=True) if not isinstance(outcome, GenError)]
    if not pairs:
        raise next(outcome for outcome in outcomes if isinstance(outcome, GenError))
    passed = [panel is None or not panel.check([image.pixels], [row])[0].failed for row, (image, _) in pairs]
    seconds = time.monotonic() - started
    size = sum(len(png_bytes(each)) for _, (image, twins) in pairs for each in (image, *twins.values()))
    return Trial(share, len(pairs), sum(passed), seconds / len(pairs), size / len(pairs))


def _spoken(seconds: float) -> str:
    """Such as "25 min" or "3.2 h"."""
    return (
        f"{seconds / 3600:.1f} h"
        if seconds >= 5400
        else f"{seconds / 60:.0f} min"
        if seconds >= 90
        else f"{seconds:.0f} s"
    )
