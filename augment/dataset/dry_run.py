"""What a data set job would do: its plan as a table, its cost here in time and disk, and what is amiss."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from augment.dataset.config import DatasetConfig
from augment.dataset.gates.gate_set import GateSet, fingerprint_of_gates, open_gate_set, warnings_of_gates
from augment.dataset.plan.plan import Plan, cost, plan_table
from augment.dataset.prepare import FirstAnswer
from augment.dataset.shards.records import DRR, MODEL, PlanRow
from augment.dataset.sources import Outcome, Sources, framing_of, open_source
from gen.core.errors import GenError
from gen.core.radiograph import png_bytes
from gen.core.run import derived_seed
from gen.statistics.intervals import proportion

TRIAL_IMAGES = 8  # images of each source, after one that pays for loading what it needs


@dataclass(frozen=True)
class DryRunReport:
    """What a trial adds, in words; the plan and all of it for JSON; the trial's own warnings."""

    text: str
    facts: dict[str, Any]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """What images of one source took here: seconds and bytes of each that was ``made``, how many ``passed`` the gates
    (None: those did not look), and the ``share`` of the plan's rows that they stand for."""

    source: str
    share: float
    made: int
    passed: int | None
    seconds: float
    size: float

    def tries(self) -> tuple[float, float, float]:
        """How many an image of this source takes: as seen here, and between these (Wilson's interval)."""
        if self.passed is None:
            return 1.0, 1.0, 1.0
        rate = proportion(self.passed, self.made)
        return self.made / max(self.passed, 1), 1 / rate.high, 1 / rate.low if rate.low > 0 else math.inf


def dry_run(first: FirstAnswer, *, quiet: bool = False) -> DryRunReport:
    """Try some images of each source, with nothing written: what an image costs here, and how many the gates refuse.

    Gates that are calibrated with images of the user's are left out of the trial: to judge those may take an hour.
    """
    plan, config = first.plan, first.plan.config
    warnings = warnings_of_gates(config.gates, config.model)
    framing, device = framing_of(config), config.device
    gate_set = None
    if config.gates.real:
        fingerprint_of_gates(config.gates, config.model, framing=framing, device=device)  # which refuses what cannot be
    else:
        gate_set = open_gate_set(config.gates, config.model, framing=framing, device=device)
    trials = _trials(config, plan, gate_set, quiet)
    seconds = sum(trial.share * trial.seconds for trial in trials)
    size = sum(trial.share * trial.size for trial in trials)
    likely, least, most = (
        plan.rows * sum(trial.share * trial.seconds * trial.tries()[k] for trial in trials) for k in range(3)
    )
    takes = cost(plan, likely / plan.rows, size * (1 + len(config.formats)))
    duration = f"about {_duration(likely)}" if least == most else f"{_duration(least)} to {_duration(most)}"
    if math.isinf(most):
        duration = f"more than {_duration(least)}"
    words = [
        f"{plan.rows:,} images, {size / 1e3:.0f} kB each{' a format' if config.formats else ''}: "
        f"{takes['bytes'] / 1e6:,.0f} MB. An image takes {seconds:.2f} s: "
        f"{duration} for one worker of {config.threads} thread(s).",
    ]
    for trial in trials:
        if trial.passed is not None:
            what = f"{trial.made} trial images by {'projection' if trial.source == DRR else 'the model'}"
            words.append(f"Of {what} {trial.passed} passed the gates; images that fail are made again.")
            if not trial.passed:
                warnings.append(f"none of {what} passed the gates: rows may stay empty")
        elif config.gates.names:
            words.append("Images that fail the gates are made again, which takes more time than this.")
    facts = {
        **takes,
        "seconds_low": least,
        "seconds_high": most if math.isfinite(most) else None,
        "tried": sum(trial.made for trial in trials),
        "passed": None if gate_set is None else sum(trial.passed or 0 for trial in trials),
    }
    return DryRunReport("\n".join(words), {"plan": plan_table(plan), **facts}, tuple(warnings))


def _trials(config: DatasetConfig, plan: Plan, gate_set: GateSet | None, quiet: bool) -> list[Trial]:
    """The first rows of each source of the plan, each tried once."""
    from tqdm import tqdm

    sources = open_source(config)
    projected = sum(stratum.projected for stratum in plan.strata)
    chosen: dict[str, list[PlanRow]] = {}
    for by_model, rows in ((True, plan.rows - projected), (False, projected)):
        of_source = (row for row in map(plan.row, range(plan.rows)) if (row.source == MODEL) == by_model)
        if rows:
            some = list(islice(of_source, min(TRIAL_IMAGES, rows)))
            chosen[some[0].source] = some
    total = sum(1 + len(rows) for rows in chosen.values())
    with tqdm(total=total, unit="image", desc="trial", disable=quiet, leave=False) as bar:
        share = projected / plan.rows
        return [
            _trial(sources, rows, 1 - share if source == MODEL else share, gate_set, bar.update)
            for source, rows in chosen.items()
        ]


def _trial(
    sources: Sources,
    rows: Sequence[PlanRow],
    share: float,
    gate_set: GateSet | None,
    on_image: Callable[[], object],
) -> Trial:
    """GenError where not one of ``rows`` can be made."""

    def made(some: Sequence[PlanRow], seeds: Sequence[int]) -> Iterator[Outcome]:
        for outcome in sources.make(some, seeds):
            on_image()
            yield outcome

    seed = sources.config.seed
    list(made(rows[:1], [derived_seed(seed, "dry run", 0)]))
    started = time.monotonic()
    outcomes = list(made(rows, [derived_seed(seed, row.id, 0) for row in rows]))  # as the job itself begins
    pairs = [(row, outcome) for row, outcome in zip(rows, outcomes, strict=True) if not isinstance(outcome, GenError)]
    if not pairs:
        raise next(outcome for outcome in outcomes if isinstance(outcome, GenError))
    failed = []
    if gate_set is not None:
        failed = [gate_set.check(image.pixels, row, painted).failed for row, (image, _, painted) in pairs]
    seconds = time.monotonic() - started
    size = sum(len(png_bytes(each)) for _, (image, twins, _) in pairs for each in (image, *twins.values()))
    passed = None if gate_set is None else failed.count(())
    return Trial(rows[0].source, share, len(pairs), passed, seconds / len(pairs), size / len(pairs))


def _duration(seconds: float) -> str:
    """Such as "25 min" or "3.2 h"."""
    return (
        f"{seconds / 3600:.1f} h"
        if seconds >= 5400
        else f"{seconds / 60:.0f} min"
        if seconds >= 90
        else f"{seconds:.0f} s"
    )
