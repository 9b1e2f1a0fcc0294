"""Ray, really started on this machine: the same images as in one process, whatever dies on the way."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from toy_job import ROWS, digests, toy_job

from augment import executors
from augment.config import Gates
from augment.counts import MET
from augment.executors import DEATHS
from augment.job import make_dataset
from augment.shards import committed
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


def test_without_ray_the_remedy_is_named(toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EnvironmentLacks, match=r"pip install 'cxr-gen\[ray\]'"):
        make_dataset(toy_job(tmp_path / "set", toy_model), executor="ray", quiet=True)
