"""Ray, really started on this machine: the same images as in one process, whatever dies on the way."""

from __future__ import annotations

import os
import signal
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from toy_job import ROWS, digests, toy_job

from augment.dataset import executors
from augment.dataset.config import Gates
from augment.dataset.executors import DEATHS
from augment.dataset.generate import shard_count
from augment.dataset.job import make_dataset, marker_of
from augment.dataset.prepare import plan_job
from augment.dataset.shards.counts import MET
from augment.dataset.shards.folder import committed, create
from gen.core.errors import EnvironmentLacks, GenError


def test_two_workers_make_what_one_process_makes(
    toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # a cluster that nobody asked us to join
    gates = Gates(names=["finding", "sex", "copy"])
    make_dataset(toy_job(tmp_path / "serial", toy_model, gates=gates), quiet=True)
    done = make_dataset(toy_job(tmp_path / "ray", toy_model, gates=gates), executor="ray", workers=2, quiet=True)
    assert done.complete
    assert done.tally[f"{MET}copy"] >= ROWS  # the gates' numbers are in the shards
    assert digests(tmp_path / "ray") == digests(tmp_path / "serial")


class Deadly(executors._Maker):
    """Its process dies over shard 1, whoever it is, and once over the first of another."""

    def make(self, shard: int) -> tuple[float, float]:
        once = Path(self._given[0]) / "run" / "died-once"
        if shard == 1 or (shard == 2 and not once.exists()):
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().make(shard)


def test_a_worker_that_dies_costs_nothing_and_a_shard_that_kills_them_all_is_named(
    toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    make_dataset(toy_job(tmp_path / "serial", toy_model), quiet=True)
    config = toy_job(tmp_path / "ray", toy_model)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers cannot import this module
    with monkeypatch.context() as patched:
        patched.setattr(executors, "_Maker", Deadly)
        with pytest.raises(GenError, match=rf"1 shard\(s\) killed {DEATHS} workers each, such as shard 1"):
            make_dataset(config, executor="ray", workers=2, quiet=True)
    assert committed(tmp_path / "ray") == {0, 2}
    assert make_dataset(config, quiet=True).complete
    assert digests(tmp_path / "ray") == digests(tmp_path / "serial")


class Own(RuntimeError):
    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.cause = GenError(words)


class FakeRay:
    """A cluster of ``nodes`` nodes of one CPU, of which actors are references to be counted and shards are made at
    once. A node is lost, with its actor, during the third wait, and the cluster says so from the wait
    ``noticed`` on."""

    exceptions = SimpleNamespace(RayError=RuntimeError, RayTaskError=Own)

    def __init__(self, nodes: int, noticed: int, complaints: int = 0) -> None:
        self.cpus, self.noticed, self.waits, self.complaints = nodes, noticed, 0, complaints
        self.alive: weakref.WeakSet[Any] = weakref.WeakSet()
        self.most_idle = 0

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 1.0}} for _ in range(self.cpus)]

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": float(self.cpus)}

    def put(self, value: Any) -> Any:
        return value

    def remote(self, **options: Any) -> Callable[[type], Any]:
        return lambda cls: SimpleNamespace(remote=lambda *given: self._actor(cls(*given)))

    def _actor(self, maker: Any) -> Any:
        actor = SimpleNamespace(make=SimpleNamespace(remote=lambda shard: (maker, shard, object())))
        handle = Handle(actor)
        self.alive.add(handle)
        return handle

    def wait(self, futures: list[Any], **options: Any) -> tuple[list[Any], list[Any]]:
        self.waits += 1
        self.most_idle = max(self.most_idle, len(self.alive) - len(futures))
        if self.waits == self.noticed:
            self.cpus -= 1
        return futures[:1], futures[1:]

    def get(self, future: Any) -> tuple[float, float]:
        maker, shard, _ = future
        if self.waits == 3:
            raise RuntimeError("the node was lost")
        if shard == 1 and self.complaints:
            self.complaints -= 1
            raise Own("the worker's own words")
        done: tuple[float, float] = maker.make(shard)
        return done


class Handle:
    def __init__(self, actor: Any) -> None:
        self.make = actor.make


def test_an_actor_without_a_shard_is_let_go_for_its_room_is_anothers(
    toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A node that is lost before anybody notices leaves a shard waiting for the room of an idle actor, for ever.
    monkeypatch.setattr(executors, "LOOK_EVERY_S", 0.0)
    config = toy_job(tmp_path / "set", toy_model, shard_size=2)
    plan = plan_job(config)
    create(tmp_path / "set", marker_of(config, plan, "", {}))
    ray = FakeRay(nodes=2, noticed=4)
    shards = range(shard_count(plan, config))
    works = list(executors._over_actors(ray, tmp_path / "set", config, plan, shards, None))
    assert sorted(work.entry.shard for work in works) == list(shards)
    assert (ray.cpus, ray.most_idle) == (1, 0)


@pytest.mark.parametrize(("complaints", "stops"), [(1, False), (2, True)])
def test_an_error_of_a_worker_is_believed_when_it_comes_twice_beside_a_node_that_is_lost(
    toy_model: Path, tmp_path: Path, complaints: int, stops: bool
) -> None:
    config = toy_job(tmp_path / "set", toy_model, shard_size=2)
    plan = plan_job(config)
    create(tmp_path / "set", marker_of(config, plan, "", {}))
    works = executors._over_actors(
        FakeRay(nodes=2, noticed=4, complaints=complaints), tmp_path / "set", config, plan, range(5), None
    )
    if stops:
        with pytest.raises(GenError, match="the worker's own words"):
            list(works)
    else:
        assert sorted(work.entry.shard for work in works) == list(range(5))


def test_paths_hold_wherever_a_node_was_started(
    toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.safetensors").touch()
    gates = Gates(judge="xrv:densenet121@weights.safetensors")
    config = executors.absolute(toy_job(tmp_path / "set", toy_model, gates=gates))
    assert config.gates.judge == f"xrv:densenet121@{tmp_path / 'weights.safetensors'}"
    assert executors.absolute(toy_job(tmp_path / "set", toy_model)).gates.judge == ""


def test_no_cluster_is_one_line(toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def init(**options: object) -> None:
        raise ConnectionError("Could not find\nany running Ray instance")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(EnvironmentLacks, match="no Ray cluster answers at auto: Could not find any running"):
        make_dataset(toy_job(tmp_path / "set", toy_model), executor="ray", address="auto", quiet=True)


def test_a_cluster_that_lost_all_its_nodes_ends_the_job_in_words(
    toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy_job(tmp_path / "set", toy_model, shard_size=2)
    plan = plan_job(config)
    create(tmp_path / "set", marker_of(config, plan, "", {}))
    ray = FakeRay(nodes=1, noticed=3)
    with pytest.raises(EnvironmentLacks, match="no node of the Ray cluster has"):
        list(executors._over_actors(ray, tmp_path / "set", config, plan, range(5), None))
    assert committed(tmp_path / "set") == {0, 1}


def test_without_ray_the_remedy_is_named(toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EnvironmentLacks, match=r"pip install -c \S+constraints.txt 'cxr-gen\[ray\]'"):
        make_dataset(toy_job(tmp_path / "set", toy_model), executor="ray", quiet=True)
