"""Who makes the shards: this process, or actors of Ray. Both run `generate.make_shard` over the same numbers.

A shard is committed by whoever finishes it first, and a second commit of it changes nothing: so a worker that dies, or
that was only thought dead, costs its own time and nothing else. All nodes of a cluster must see the same folder.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from augment.dataset.config import DatasetConfig
from augment.dataset.gates.gate_set import GateSet
from augment.dataset.generate import OnProgress, Work, Worker, gate_set_for, is_open, make_shard
from augment.dataset.plan.plan import Plan
from augment.dataset.shards.folder import entry_of
from augment.dataset.sources import open_source
from gen.core.bundled import pip_install
from gen.core.errors import EnvironmentLacks, GenError
from gen.judge.plugins import XRV

DEATHS = 3  # of workers over one shard, after which it is left alone and named
LOOK_EVERY_S = 10.0  # how often a job looks whether the cluster has grown or shrunk


def open_worker(out: Path, config: DatasetConfig, plan: Plan, gate_set: GateSet | None) -> Worker:
    """What this process makes shards with."""
    return Worker(out, config, plan, open_source(config), gate_set)


def run_serial(worker: Worker, shards: Sequence[int], on_progress: OnProgress) -> Iterator[Work]:
    """Make ``shards`` here, one after another."""
    for shard in shards:
        yield make_shard(worker, shard, on_progress)


def run_ray(
    out: Path, config: DatasetConfig, plan: Plan, shards: Sequence[int], *, workers: int | None, address: str | None
) -> Iterator[Work]:
    """Make ``shards`` by actors that keep the model loaded; ``workers`` None: as many as the cluster has room for.

    ``address`` None starts Ray on this machine, for this job alone; "auto" and others are those of `ray.init`. A GPU
    is taken by each actor where the cluster has any. Shards that kill their worker `DEATHS` times are named in the
    GenError that is raised once all others are made; an error in a worker's own words is raised when it comes twice
    for one shard.
    """
    ray = import_ray()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    own = address is None
    if own:
        cpus = max((workers or 1) * config.threads, os.cpu_count() or 1)
        ray.init(address="local", num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level="error")
    elif not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, logging_level="error")
        except (ConnectionError, ValueError) as error:
            what = f"no Ray cluster answers at {address}: {' '.join(str(error).split())[:200]}"
            raise EnvironmentLacks(what, hint="start one with `ray start --head`, or leave --address out") from error
    try:
        yield from _over_actors(ray, out.absolute(), absolute(config), plan, shards, workers)
    finally:
        if own:
            ray.shutdown()


def absolute(config: DatasetConfig) -> DatasetConfig:
    """``config`` with absolute paths: an actor's working folder is where its node was started."""

    def path(given: str | None) -> str | None:
        return str(Path(given).absolute()) if given and Path(given).exists() else given

    judge = config.gates.judge
    name, at, weights = judge.partition("@") if judge.startswith(XRV) else ("", "", judge)
    return replace(
        config,
        model=path(config.model),
        target=replace(config.target, real=path(config.target.real)),
        gates=replace(config.gates, real=path(config.gates.real), judge=f"{name}{at}{path(weights) or weights}"),
        projections=replace(config.projections, cts=[str(Path(ct).absolute()) for ct in config.projections.cts]),
    )


class _Maker:
    """The actor. It returns seconds, not images: those it has committed itself."""

    def __init__(self, out: str, config: DatasetConfig, plan: Plan) -> None:
        self._given = Path(out), config, plan
        self._worker: Worker | None = None

    def make(self, shard: int) -> tuple[float, float]:
        if self._worker is None:  # not loaded in __init__, where an error would look as if the process had died
            out, config, plan = self._given
            self._worker = open_worker(out, config, plan, gate_set_for(out, config))
        work = make_shard(self._worker, shard)
        return work.seconds, work.gate_seconds


def _over_actors(
    ray: Any, out: Path, config: DatasetConfig, plan: Plan, shards: Sequence[int], workers: int | None
) -> Iterator[Work]:
    gpus = 1 if config.device != "cpu" and ray.cluster_resources().get("GPU") else 0
    need = {"CPU": config.threads, "GPU": gpus}
    kind = ray.remote(num_cpus=config.threads, num_gpus=gpus, max_restarts=0, max_task_retries=0)(_Maker)
    shared = ray.put(plan)  # once, not once an actor
    waiting, failures, complaints = deque(shards), Counter[int](), Counter[int]()
    deadly: dict[int, str] = {}
    running: dict[Any, tuple[Any, int]] = {}  # by the future of its shard: the actor and the shard
    looked = -LOOK_EVERY_S
    while waiting or running:
        if not running or time.monotonic() - looked >= LOOK_EVERY_S:
            looked = time.monotonic()
            room = min(workers or len(shards), _room(ray, need))
            if not room:
                raise EnvironmentLacks(
                    f"no node of the Ray cluster has {config.threads} CPU(s){' and a GPU' if gpus else ''}",
                    hint="lower threads in the config (in a new folder), or add a node",
                )
        while waiting and len(running) < room:
            running.update([_start(kind, out, config, shared, waiting.popleft())])
        done, _ = ray.wait(list(running), num_returns=1, timeout=LOOK_EVERY_S)
        for future in done:
            actor, shard = running.pop(future)
            seconds = gate_seconds = 0.0
            try:
                seconds, gate_seconds = ray.get(future)
            except ray.exceptions.RayError as error:
                actor = None
                own_words = error.cause if isinstance(error, ray.exceptions.RayTaskError) else None
                if is_open(out, config, shard):  # a worker may die just after its commit
                    failures[shard] += 1
                    if own_words is not None:
                        complaints[shard] += 1
                        if complaints[shard] > 1:  # twice: it is not a worker's bad moment
                            raise own_words from error
                    if failures[shard] < DEATHS:
                        waiting.append(shard)
                    else:
                        deadly[shard] = " ".join(str(error).split())[:200]
                    continue
            yield Work(entry_of(out, shard), seconds, gate_seconds)
            if waiting and actor is not None and len(running) < room:
                shard = waiting.popleft()
                running[actor.make.remote(shard)] = actor, shard
            actor = None  # an actor lives as long as somebody holds it, and another may be waiting for its room
    if deadly:
        shard, reason = min(deadly.items())
        raise GenError(
            f"{len(deadly)} shard(s) killed {DEATHS} workers each, such as shard {shard}: {reason}",
            hint="give the workers more memory and run the same command again",
        )


def _start(kind: Any, out: Path, config: DatasetConfig, plan: Any, shard: int) -> tuple[Any, tuple[Any, int]]:
    actor = kind.remote(str(out), config, plan)
    return actor.make.remote(shard), (actor, shard)


def _room(ray: Any, need: Mapping[str, int]) -> int:
    """How many actors the nodes hold that are alive now; an actor lives on one node."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(min(int(node.get(kind, 0)) // count for kind, count in need.items() if count) for node in nodes)


def import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise EnvironmentLacks(
            "the executor 'ray' needs the package ray", hint=f"{pip_install('cxr-gen[ray]')}, or use --executor serial"
        ) from error
    return ray
