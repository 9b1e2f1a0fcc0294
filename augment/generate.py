"""One shard of a data set: from the rows of the plan to a committed tar. Whoever makes it, it is the same.

A row is filled by a chain that depends on nothing but the plan: its attempts, each from its own seed, then those of its
substitutes. So the images do not depend on the executor, the number of workers, or where a job was killed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augment.config import DatasetConfig
from augment.plan import Plan
from augment.quality import Panel
from augment.records import Entry, Made, PlanRow, Verdict
from augment.shards import commit
from augment.sources import Sources
from gen.core.errors import GenError
from gen.core.radiograph import Radiograph
from gen.core.run import derived_seed

TOGETHER = 32  # images that pass the gates together; the judge is quicker so, and memory stays small
BROKEN = 4  # rows: where the first try of so many, and of all in the shard, is broken, the set-up is, and not the rows

Tell = Callable[[int, int], object]  # gets the number of tries and of rows that are done since it was last called


@dataclass(frozen=True)
class Worker:
    """What a process needs to fill shards, loaded once."""

    out: Path
    config: DatasetConfig
    plan: Plan
    sources: Sources
    panel: Panel | None


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


def shard_count(plan: Plan, config: DatasetConfig) -> int:
    """How many shards the plan fills; the last may be smaller."""
    return -(-plan.rows // config.shard_size)


def rows_of(shard: int, plan: Plan, config: DatasetConfig) -> range:
    """The numbers of the rows in ``shard``."""
    return range(shard * config.shard_size, min((shard + 1) * config.shard_size, plan.rows))


def make_shard(worker: Worker, shard: int, tell: Tell = lambda tries, rows: None) -> Work:
    """Fill the rows of ``shard`` and commit it. GenError where not one image can be made, or nothing be written."""
    started = time.monotonic()
    made, missing, gate_seconds = fill(worker, rows_of(shard, worker.plan, worker.config), tell)
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
    worker: Worker, numbers: Sequence[int], tell: Tell = lambda tries, rows: None
) -> tuple[list[Made], list[Mapping[str, Any]], float]:
    """The finished images of rows ``numbers`` in order, those that are missing, and the seconds that the gates took."""
    chains = {number: tries(worker.plan, number, worker.config) for number in numbers}
    rejected: dict[int, list[Mapping[str, Any]]] = {number: [] for number in numbers}
    made: dict[int, Made] = {}
    gate_seconds = 0.0
    first = True
    while chains:
        batch = []
        for number in list(chains):
            attempt = next(chains[number], None)
            if attempt is None:
                del chains[number]
                tell(0, 1)
            else:
                batch.append(attempt)
        broken: list[str] = []
        for attempt, outcome, verdict, seconds in _judged(worker, batch):
            gate_seconds += seconds
            number = attempt.row.number
            if isinstance(outcome, GenError):
                broken.append(str(outcome))
                rejected[number].append(_rejection(attempt) | {"error": str(outcome)})
            elif verdict is not None and verdict.failed:
                rejected[number].append(_rejection(attempt) | {"failed": list(verdict.failed)})
            else:
                image, twins = outcome
                facts = tuple(rejected.pop(number))
                made[number] = Made(attempt.row, attempt.attempt, attempt.seed, image, twins, verdict, facts)
                del chains[number]
            tell(1, int(number in made))
        if first and len(broken) == len(batch) >= BROKEN:
            raise GenError(f"no image of the first {len(batch)} could be made: {broken[0]}")
        first = False
    missing: list[Mapping[str, Any]] = [
        {"number": number, "cell": worker.plan.row(number).cell, "rejected": rejected[number]}
        for number in numbers
        if number not in made
    ]
    return [made[number] for number in sorted(made)], missing, gate_seconds


Outcome = tuple[Radiograph, Mapping[str, Radiograph]] | GenError


def _judged(worker: Worker, batch: Sequence[Try]) -> Iterator[tuple[Try, Outcome, Verdict | None, float]]:
    """Each try with what came of it, the verdict of the gates, and its share of their seconds."""
    outcomes = worker.sources.make([each.row for each in batch], [each.seed for each in batch])
    for start in range(0, len(batch), TOGETHER):
        some = batch[start : start + TOGETHER]
        results: list[Outcome] = [next(outcomes) for _ in some]
        whole = [(each.row, result[0]) for each, result in zip(some, results, strict=True) if isinstance(result, tuple)]
        started = time.monotonic()
        verdicts: Iterator[Verdict] = iter(())
        if worker.panel is not None and whole:
            verdicts = iter(worker.panel.check([image.pixels for _, image in whole], [row for row, _ in whole]))
        seconds = (time.monotonic() - started) / len(some)
        for each, result in zip(some, results, strict=True):
            yield each, result, next(verdicts, None) if isinstance(result, tuple) else None, seconds


def _rejection(attempt: Try) -> dict[str, Any]:
    return {"id": attempt.row.id, "substitute": attempt.row.substitute, "attempt": attempt.attempt}
