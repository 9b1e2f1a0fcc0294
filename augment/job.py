"""A data set job from its config to a finished folder: plan, resume, make what is missing, and finish."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augment.config import FORMATS, DatasetConfig
from augment.counts import Entries
from augment.executors import open_worker, run_ray, run_serial
from augment.finish import finish
from augment.generate import Tell, Work, shard_count
from augment.plan import Plan, plan_of
from augment.progress import Progress, tally_of
from augment.projected import projectable
from augment.quality import Panel, open_panel
from augment.shards import committed, create, damaged, read_marker, sweep, withdraw
from augment.sources import capabilities_of, identity_of, size_of
from augment.target import one_of
from gen.core.config import to_dict
from gen.core.errors import BadInput
from gen.core.files import require_free_space
from gen.core.run import Run, open_run

BYTES_A_PIXEL = 0.8  # of an image with its record, 8-bit PNG; each further format, and each twin, takes as much again
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
    """Counts over the whole folder (`augment.counts`); ``complete`` once each of its rows was made or given up."""

    tally: Counter[str]
    complete: bool


def plan_job(config: DatasetConfig) -> Plan:
    """The plan of ``config``; BadInput for whatever in it cannot be, before anything heavy is loaded."""
    for name in ("shard_size", "threads"):
        if getattr(config, name) < 1:
            raise BadInput(f"{name} is {getattr(config, name)}", hint="use a whole number above 0")
    for name in config.formats:
        one_of("format", name, FORMATS)
    return plan_of(config, capabilities_of(config), projectable(config))


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
    say: Callable[[str], object] = print,
) -> Done:
    """Make what is missing of the data set in ``config.out``, and finish it once every shard is there.

    ``executor`` is "serial" or "ray" (see `run_ray` for ``workers`` and ``address``). ``say`` gets the JSON lines.
    BadInput for a config, a model or a folder that cannot be used; GenError for work that failed: what is committed
    stays, and the same call goes on.
    """
    out = Path(config.out)
    plan = plan_job(config)
    panel = open_panel(config.gates, device=config.device)
    identity = identity_of(config)
    create(out, marker_of(config, plan, panel, identity), begun=time.strftime("%Y-%m-%d", time.gmtime()))
    with open_run(out / "run" / f"part-{part.number}-of-{part.of}", config, command=command, plan=plan.digest) as run:
        sweep(out)
        for shard in damaged(out):
            if withdraw(out, shard):
                run.log(event="withdrawn", shard=shard)
        count = shard_count(plan, config)
        there = committed(out)
        todo = [shard for shard in part.shards(count) if shard not in there]
        require_room(config, len(todo) * config.shard_size)
        mine = set(part.shards(count))
        already = tally_of(entry for entry in Entries(out) if entry.shard in mine)
        rows = sum(min(config.shard_size, plan.rows - shard * config.shard_size) for shard in mine)
        progress = Progress(out, rows, already, quiet=quiet, as_json=as_json, say=say)

        def work(tell: Tell) -> Iterator[Work]:
            if executor == "ray":
                return run_ray(out, config, plan, todo, workers=workers, address=address)
            return run_serial(open_worker(out, config, plan, panel), todo, tell)

        try:
            if todo:
                _follow(work(progress.row), progress, run, counted=executor == "serial")
        finally:
            progress.close()
        complete = len(committed(out)) == count
        if complete:
            finish(out, config, None if panel is None else panel.describe(), identity, str(read_marker(out)["begun"]))
    return Done(tally_of(Entries(out)), complete)


def marker_of(config: DatasetConfig, plan: Plan, panel: Panel | None, identity: Mapping[str, str]) -> dict[str, Any]:
    """What decides the images, for dataset.json: a folder is continued by the same and refused to any other."""
    inputs = {key: value for key, value in identity.items() if key not in _OF_THE_MACHINE}
    return {
        "config": to_dict(config),
        "plan": plan.digest,
        "rows": plan.rows,
        "shard_size": config.shard_size,
        "cells": {stratum.key: stratum.quota for stratum in plan.strata},
        "inputs": inputs | {"gates": "none" if panel is None else panel.identity},
    }


def require_room(config: DatasetConfig, rows: int) -> None:
    """Raise EnvironmentLacks where the disk has no room for ``rows`` more images in all their files."""
    pictures = rows * (1 + len(config.twins)) * (1 + len(config.formats))
    require_free_space(config.out, round(pictures * size_of(config) ** 2 * BYTES_A_PIXEL), "writing the images")


def _follow(work: Iterator[Work], progress: Progress, run: Run, *, counted: bool) -> None:
    """Log each shard as it is committed."""
    for done in work:
        progress.shard(done.entry, counted=counted)
        seconds = {"seconds": round(done.seconds, 3), "gate_seconds": round(done.gate_seconds, 3)}
        run.log(event="shard", shard=done.entry.shard, **seconds, **progress.facts())
