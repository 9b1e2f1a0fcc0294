"""One shard of a data set: from the rows of the plan to a committed tar. Whoever makes it, it is the same.

A row is filled by a chain that depends on nothing but the plan: its attempts, each from its own seed, then those of its
substitutes. So the images do not depend on the executor, the number of workers, or where a job was killed: a fault of
the machine stops the shard, and is never taken for a try that came to nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from augment.dataset.config import DatasetConfig
from augment.dataset.gates.gate_set import GateSet, open_gate_set
from augment.dataset.plan.plan import Plan
from augment.dataset.shards.folder import RUN, WHOLE, commit, entry_of, entry_path, locked, withdraw
from augment.dataset.shards.records import Entry, Made, PlanRow
from augment.dataset.sources import Sources, framing_of
from gen.core.errors import GenError
from gen.core.run import derived_seed

HOPELESS = 16  # first tries of a shard of which not one gave an image: then the model is broken, and the job stops
MEASURED = f"{RUN}/gates.csv"  # the images of `Gates.real` as the judge sees them: of patients, so not to be published

OnProgress = Callable[[int, int], object]  # gets the number of tries and of rows that are done since it was last called


@dataclass(frozen=True)
class Worker:
    """What a process needs to fill shards, loaded once."""

    out: Path
    config: DatasetConfig
    plan: Plan
    sources: Sources
    gate_set: GateSet | None


@dataclass(frozen=True)
class Try:
    """One attempt at a row."""

    row: PlanRow
    attempt: int
    seed: int


@dataclass(frozen=True)
class Work:
    """A shard that was made: its entry, and the seconds that it took, and the gates in them."""

    entry: Entry
    seconds: float
    gate_seconds: float


def gate_set_for(out: Path, config: DatasetConfig) -> GateSet | None:
    """The gates of the data set in ``out``. Images of `Gates.real` are judged by the first who asks, for all others."""
    opened = partial(open_gate_set, config.gates, config.model, framing=framing_of(config), device=config.device)
    if config.gates.real is None or not config.gates.names:
        return opened()
    with locked(out, WHOLE):
        return opened(table=out / MEASURED)


def shard_count(plan: Plan, config: DatasetConfig) -> int:
    """How many shards the plan fills; the last may be smaller."""
    return -(-plan.rows // config.shard_size)


def rows_of(shard: int, plan: Plan, config: DatasetConfig) -> range:
    """The numbers of the rows in ``shard``."""
    return range(shard * config.shard_size, min((shard + 1) * config.shard_size, plan.rows))


def is_open(out: Path, config: DatasetConfig, shard: int) -> bool:
    """Whether ``shard`` is still to be made, or a row of it is missing that had fewer tries than ``config`` allows."""
    tries = config.gates.attempts * (config.gates.substitutes + 1)
    return not entry_path(out, shard).exists() or any(
        len(row["rejected"]) < tries for row in entry_of(out, shard).missing
    )


def make_shard(worker: Worker, shard: int, on_progress: OnProgress = lambda tries, rows: None) -> Work:
    """Fill the rows of ``shard`` and commit it. GenError where none of many images can be made, where the machine
    fails, and where nothing can be written."""
    started = time.monotonic()
    made, missing, gate_seconds = fill(worker, rows_of(shard, worker.plan, worker.config), on_progress)
    if entry_path(worker.out, shard).exists() and is_open(worker.out, worker.config, shard):
        withdraw(worker.out, shard, whole=True)  # only now that there is something better
    entry = commit(worker.out, shard, made, missing)
    return Work(entry, time.monotonic() - started, gate_seconds)


def tries(plan: Plan, number: int, config: DatasetConfig) -> Iterator[Try]:
    """The chain of row ``number``: attempts at the row, then at its substitutes, each with its seed."""
    row = plan.row(number)
    gates = config.gates
    for substitute in range(gates.substitutes + 1):
        candidate = plan.substitute(row, substitute) if substitute else row
        for attempt in range(gates.attempts):
            yield Try(candidate, attempt, derived_seed(config.seed, candidate.id, attempt))


def fill(
    worker: Worker, numbers: Sequence[int], on_progress: OnProgress = lambda tries, rows: None
) -> tuple[list[Made], list[Mapping[str, Any]], float]:
    """The finished images of rows ``numbers`` in order, those that are missing, and the seconds that the gates took."""
    chains = {number: tries(worker.plan, number, worker.config) for number in numbers}
    rejected: dict[int, list[Mapping[str, Any]]] = {number: [] for number in numbers}
    made: dict[int, Made] = {}
    gate_seconds = 0.0
    tried = broken = 0
    while chains:
        batch = []
        for number in list(chains):
            attempt = next(chains[number], None)
            if attempt is None:
                del chains[number]
                on_progress(0, 1)
            else:
                batch.append(attempt)
        outcomes = worker.sources.make([each.row for each in batch], [each.seed for each in batch])
        for attempt, outcome in zip(batch, outcomes, strict=True):
            number = attempt.row.number
            tried += 1
            if isinstance(outcome, GenError):
                broken += 1
                if broken == tried == HOPELESS:
                    raise GenError(f"not one of {tried} images could be made: {outcome}")
                rejected[number].append(_rejection(attempt) | {"error": str(outcome)})
                on_progress(1, 0)
                continue
            image, twins, painted = outcome
            started = time.monotonic()
            gates = worker.gate_set
            verdict = None if gates is None else gates.check(image.pixels, attempt.row, painted)
            gate_seconds += time.monotonic() - started
            if verdict is not None and verdict.failed:
                scores = {name: score if math.isfinite(score) else None for name, score in verdict.scores.items()}
                facts = {"failed": list(verdict.failed), "scores": scores}
                rejected[number].append(_rejection(attempt) | facts)
                on_progress(1, 0)
                continue
            facts_before = tuple(rejected.pop(number))
            made[number] = Made(attempt.row, attempt.attempt, attempt.seed, image, twins, verdict, facts_before)
            del chains[number]
            on_progress(1, 1)
    missing: list[Mapping[str, Any]] = [
        {"number": number, "cell": worker.plan.row(number).cell, "rejected": rejected[number]}
        for number in numbers
        if number not in made
    ]
    return [made[number] for number in sorted(made)], missing, gate_seconds


def _rejection(attempt: Try) -> dict[str, Any]:
    return {"id": attempt.row.id, "substitute": attempt.row.substitute, "attempt": attempt.attempt}
