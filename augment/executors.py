"""Who makes the shards: this process, or actors of Ray. Both run `augment.generate.make_shard` over the same numbers.

A shard is committed by whoever finishes it first, and a second commit of it changes nothing: so a worker that dies, or
that was only thought dead, costs its own time and nothing else. All nodes of a cluster must see the same folder.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from augment.config import DatasetConfig
from augment.generate import Tell, Work, Worker, make_shard
from augment.plan import Plan
from augment.quality import Panel, open_panel
from augment.shards import committed, entry_of
from augment.sources import open_source
from gen.core.errors import EnvironmentLacks, GenError

DEATHS = 3  # of workers over one shard, after which it is left alone and named
LOOK_EVERY_S = 10.0  # how often a job without a fixed number of workers looks whether the cluster has grown


def open_worker(out: Path, config: DatasetConfig, plan: Plan, panel: Panel | None) -> Worker:
    """What this process makes shards with."""
    return Worker(out, config, plan, open_source(config), panel)


def run_serial(worker: Worker, shards: Sequence[int], tell: Tell) -> Iterator[Work]:
    """Make ``shards`` here, one after another."""
    for shard in shards:
        yield make_shard(worker, shard, tell)


def run_ray(
    out: Path, config: DatasetConfig, plan: Plan, shards: Sequence[int], *, workers: int | None, address: str | None
) -> Iterator[Work]:
    """Make ``shards`` by actors that keep the model loaded; ``workers`` None: as many as the cluster has room for.

    ``address`` None starts Ray on this machine, for this job alone; "auto" and others are those of `ray.init`. A GPU
    is taken by each actor where the cluster has any. Shards that kill their worker `DEATHS` times are named in the
    GenError that is raised once all others are made; an error in a worker's own words is raised at once.
    """
    ray = _import_ray()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    own = address is None
    if own:
        cpus = None if workers is None else max(workers * config.threads, os.cpu_count() or 1)
        ray.init(num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level="error")
    elif not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, logging_level="error")
    try:
        yield from _over_actors(ray, out, config, plan, shards, workers)
    finally:
        if own:
            ray.shutdown()


class _Maker:
    """The actor. It returns seconds, not images: those it has committed itself."""

    def __init__(self, out: str, config: DatasetConfig, plan: Plan) -> None:
        self._given = Path(out), config, plan
        self._worker: Worker | None = None

    def make(self, shard: int) -> tuple[float, float]:
        if self._worker is None:  # not loaded in __init__, where an error would look as if the process had died
            out, config, plan = self._given
            self._worker = open_worker(out, config, plan, open_panel(config.gates, device=config.device))
        work = make_shard(self._worker, shard)
        return work.seconds, work.gate_seconds


def _over_actors(
    ray: Any, out: Path, config: DatasetConfig, plan: Plan, shards: Sequence[int], workers: int | None
) -> Iterator[Work]:
    gpus = 1 if config.device != "cpu" and ray.cluster_resources().get("GPU") else 0
    kind = ray.remote(num_cpus=config.threads, num_gpus=gpus, max_restarts=0, max_task_retries=0)(_Maker)
    shared = ray.put(plan)  # once, not once an actor
    waiting, deaths = deque(shards), Counter[int]()
    deadly: dict[int, str] = {}
    running: dict[Any, tuple[Any, int]] = {}  # by the future of its shard: the actor and the shard
    looked = -LOOK_EVERY_S
    while waiting or running:
        if time.monotonic() - looked >= LOOK_EVERY_S:
            looked = time.monotonic()
            room = workers or _room(ray, config.threads, gpus)
        while waiting and len(running) < room:
            running.update([_start(kind, out, config, shared, waiting.popleft())])
        done, _ = ray.wait(list(running), num_returns=1, timeout=LOOK_EVERY_S)
        for future in done:
            actor, shard = running.pop(future)
            seconds = gate_seconds = 0.0
            try:
                seconds, gate_seconds = ray.get(future)
            except ray.exceptions.RayTaskError as error:  # its own words; what stops one worker (a full disk) stops all
                raise error.cause from error
            except ray.exceptions.RayError as error:  # the worker died; the shard may be there all the same
                actor = None
                if shard not in committed(out):
                    deaths[shard] += 1
                    if deaths[shard] < DEATHS:
                        waiting.append(shard)
                    else:
                        deadly[shard] = " ".join(str(error).split())[:200]
                    continue
            yield Work(entry_of(out, shard), seconds, gate_seconds)
            if waiting and actor is not None and len(running) < room:
                shard = waiting.popleft()
                running[actor.make.remote(shard)] = actor, shard
    if deadly:
        shard, reason = min(deadly.items())
        raise GenError(
            f"{len(deadly)} shard(s) killed {DEATHS} workers each, such as shard {shard}: {reason}",
            hint="give the workers more memory and run the same command again",
        )


def _start(kind: Any, out: Path, config: DatasetConfig, plan: Any, shard: int) -> tuple[Any, tuple[Any, int]]:
    actor = kind.remote(str(out), config, plan)
    return actor.make.remote(shard), (actor, shard)


def _room(ray: Any, threads: int, gpus: int) -> int:
    """How many actors the whole cluster holds."""
    resources = ray.cluster_resources()
    by_cpu = int(resources.get("CPU", 0)) // threads
    return max(1, min(by_cpu, int(resources["GPU"])) if gpus else by_cpu)


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise EnvironmentLacks(
            "the executor 'ray' needs the package ray", hint="pip install 'cxr-gen[ray]', or use --executor serial"
        ) from error
    return ray
