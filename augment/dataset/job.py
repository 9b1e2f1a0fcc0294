"""A data set job from its config to a finished folder: plan, resume, make what is missing, and finish."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from augment.dataset.config import DatasetConfig
from augment.dataset.executors import import_ray, open_worker, run_ray, run_serial
from augment.dataset.finish import finish
from augment.dataset.gates.gate_set import fingerprint_of_gates, warnings_of_gates
from augment.dataset.generate import OnProgress, Work, gate_set_for, is_open, shard_count
from augment.dataset.plan.plan import Plan
from augment.dataset.prepare import first_prompts, plan_job, require_room
from augment.dataset.progress import Progress, tally_of
from augment.dataset.shards.folder import committed, config_of, create, damaged, entry_of, read_marker, sweep, withdraw
from augment.dataset.sources import framing_of, inputs_of, prompt_warnings
from gen.core.config import to_dict
from gen.core.errors import BadInput
from gen.core.run import Run, open_run

# What the images depend on a little, and what the nodes of one job may differ in: it stands in each record instead.
_OF_THE_MACHINE = ("network", "projector")


@dataclass(frozen=True)
class Slice:
    """Part ``number`` (from 1) of ``of`` parts: for arrays of jobs that share nothing but a folder."""

    number: int = 1
    of: int = 1

    def shards(self, count: int) -> range:
        """The shards of this part: every ``of``-th, so that parts end at about the same time."""
        return range(self.number - 1, count, self.of)


@dataclass(frozen=True)
class Done:
    """Counts (`counts`) over the whole folder once it is ``complete``: each of its rows was made or given up.
    Before that, over the part."""

    tally: Counter[str]
    complete: bool


def make_dataset(
    config: DatasetConfig,
    *,
    executor: str = "serial",
    workers: int | None = None,
    address: str | None = None,
    part: Slice = Slice(),
    command: Sequence[str] = (),
    quiet: bool = False,
    as_json: bool = False,
    log: Callable[[str], object] = print,
    warn: Callable[[str], object] = lambda line: None,
) -> Done:
    """Make what is missing of the data set in ``config.out``, and finish it once every shard is there.

    ``executor`` is "serial" or "ray" (see `run_ray` for ``workers`` and ``address``). ``log`` gets the JSON lines,
    ``warn`` what a user should know before the work. BadInput for a config, a model or a folder that cannot be used;
    GenError for work that failed: what is committed stays, and the same call goes on.
    """
    if executor == "ray":
        import_ray()  # before the folder is made
    if executor == "ray" and ":" in config.device:
        raise BadInput(
            f"device {config.device!r} is one GPU, and Ray gives each worker its own", hint="use device=auto"
        )
    out = Path(config.out)
    plan = plan_job(config)
    told = (*prompt_warnings(config, first_prompts(plan)), *warnings_of_gates(config.gates, config.model))
    for warning in (*plan.warnings, *told):
        warn(warning)
    inputs = inputs_of(config)
    gates = fingerprint_of_gates(config.gates, config.model, framing=framing_of(config), device=config.device)
    require_room(config, plan.rows - len(committed(out)) * config.shard_size)
    create(out, marker_of(config, plan, gates, inputs), begun=time.strftime("%Y-%m-%d", time.gmtime()))
    name = f"part-{part.number}-of-{part.of}"  # its config is in dataset.json
    has = config_of(out)  # more of these than is asked for, perhaps: they may be added, and are never taken away
    gates_then = replace(config.gates, substitutes=has.gates.substitutes)
    config = replace(config, gates=gates_then, formats=has.formats)
    with open_run(out / "run" / name, {"part": name}, command=command) as run:
        sweep(out)
        count = shard_count(plan, config)
        mine = part.shards(count)
        for shard in damaged(out, mine):
            if withdraw(out, shard):
                run.log(event="withdrawn", shard=shard)
        todo = [shard for shard in mine if is_open(out, config, shard)]
        for shard in sorted(committed(out).intersection(todo)):
            run.log(event="reopened", shard=shard)
        gate_set = gate_set_for(out, config)
        already = tally_of(entry_of(out, shard) for shard in sorted(set(mine).difference(todo)))
        rows = sum(min(config.shard_size, plan.rows - shard * config.shard_size) for shard in mine)
        progress = Progress(out, run.folder, rows, already, quiet=quiet, as_json=as_json, log=log)

        def work(on_progress: OnProgress) -> Iterator[Work]:
            if executor == "ray":
                return run_ray(out, config, plan, todo, workers=workers, address=address)
            return run_serial(open_worker(out, config, plan, gate_set), todo, on_progress)

        try:
            if todo:
                _follow(work(progress.row), progress, run, counted=executor == "serial")
        finally:
            progress.close()
        everything = range(count)
        complete = len(committed(out)) == count and not damaged(out, everything, hashed=False)
        if complete:
            sweep(out, config.formats)
            finish(
                out, config, None if gate_set is None else gate_set.describe(), inputs, str(read_marker(out)["begun"])
            )
        known = everything if complete else sorted(committed(out).intersection(mine))
        return Done(tally_of(entry_of(out, shard) for shard in known), complete)


def marker_of(config: DatasetConfig, plan: Plan, gates: str, inputs: Mapping[str, str]) -> dict[str, Any]:
    """What decides the images, for dataset.json: a folder is continued by the same and refused to any other."""
    shared = {key: value for key, value in inputs.items() if key not in _OF_THE_MACHINE}
    return {
        "config": to_dict(config),
        "plan": plan.digest,
        "rows": plan.rows,
        "shard_size": config.shard_size,
        "cells": {stratum.key: stratum.quota for stratum in plan.strata},
        "inputs": shared | {"gates": gates},
    }


def _follow(work: Iterator[Work], progress: Progress, run: Run, *, counted: bool) -> None:
    """Log each shard as it is committed."""
    for done in work:
        progress.shard(done.entry, counted=counted)
        seconds = {"seconds": round(done.seconds, 3), "gate_seconds": round(done.gate_seconds, 3)}
        run.log(event="shard", shard=done.entry.shard, **seconds, **progress.facts())
