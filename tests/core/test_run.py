"""A run folder belongs to one config and one process, and its log survives a crash."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen.core.errors import BadInput
from gen.core.run import derived_seed, open_run, read_log


@dataclass(frozen=True)
class Optimizer:
    rate: float = 1e-4
    widths: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Config:
    images: int = 8
    out: Path = Path("runs/a")
    optimizer: Optimizer = field(default_factory=Optimizer)


HOLDER = """
import sys, time
from gen.core.run import open_run
with open_run(sys.argv[1], {"images": 8}) as run:
    run.log(images=1)
    print("held", flush=True)
    time.sleep(20)
"""


def test_derived_seeds_never_move() -> None:
    assert derived_seed(0, 0) == 16774267956234540618
    assert derived_seed(7, "row-12", 3) == 9455267398374741988


@given(seed=st.integers(0, 2**64 - 1), key=st.integers(0, 10**9), attempt=st.integers(0, 99))
def test_derived_seeds_differ_by_seed_key_and_attempt_and_fit_64_bits(seed: int, key: int, attempt: int) -> None:
    here = derived_seed(seed, key, attempt)
    assert 0 <= here < 2**64
    assert here == derived_seed(seed, str(key), attempt)
    assert len({here, derived_seed(seed + 1, key, attempt), derived_seed(seed, key + 1, attempt)}) == 3
    assert here != derived_seed(seed, key, attempt + 1)


def test_the_same_config_resumes_and_each_start_is_on_record(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a"
    for resumed in (False, True, True):
        with open_run(folder, Config(), command=["gen", "train"]) as run:
            assert (run.folder, run.resumed) == (folder, resumed)
            run.log(resumed=resumed)
    assert [row["resumed"] for row in read_log(folder)] == [False, True, True]
    starts = json.loads((folder / "run.json").read_text())["starts"]
    assert [start["command"] for start in starts] == [["gen", "train"]] * 3
    assert all({"cxr-gen", "python", "torch", "numpy"} <= set(start["versions"]) for start in starts)
    assert {path.name for path in folder.iterdir()} == {"config.yaml", "run.json", "log.jsonl", ".lock"}


def test_another_config_is_refused_with_every_difference_and_nothing_changes(tmp_path: Path) -> None:
    with open_run(tmp_path / "a", Config()):
        pass
    before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    other = Config(images=9, optimizer=Optimizer(widths=(1, 3)))
    with pytest.raises(BadInput) as caught, open_run(tmp_path / "a", other):
        pass
    assert "images: 8 -> 9" in str(caught.value)
    assert "optimizer.widths: [1, 2] -> [1, 3]" in str(caught.value)
    assert "rate" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before
    with pytest.raises(BadInput, match=r"images: 8 -> \(absent\)"), open_run(tmp_path / "a", {"steps": 1}):
        pass


def test_a_run_whose_config_has_a_key_under_its_old_name_resumes(tmp_path: Path) -> None:
    with open_run(tmp_path, {"films_per_patient": 4}):
        pass
    with open_run(tmp_path, {"images_per_patient": 4}) as run:
        assert run.resumed
    with pytest.raises(BadInput, match="images_per_patient: 4 -> 3"), open_run(tmp_path, {"images_per_patient": 3}):
        pass


def test_a_folder_that_is_not_a_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / "config.yaml").write_text("images: 8")
    with pytest.raises(BadInput, match=r"not a run folder.*config\.yaml"), open_run(tmp_path, Config()):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"thesis.tex", "config.yaml"}
    with pytest.raises(BadInput, match="not a folder"), open_run(tmp_path / "thesis.tex", Config()):
        pass
    with pytest.raises(BadInput, match="cannot use"), open_run(tmp_path / "thesis.tex" / "run", Config()):
        pass
    (tmp_path / "empty").mkdir()
    with open_run(tmp_path / "empty", Config()) as run:
        assert not run.resumed


@pytest.mark.parametrize("left", [[".lock"], [".lock", ".run.json.tmp-1"], [".lock", "run.json", ".config.yaml.tmp-1"]])
def test_a_crash_at_the_start_does_not_lock_the_folder_out(tmp_path: Path, left: list[str]) -> None:
    for name in left:
        (tmp_path / name).write_text('{"starts": []}' if name == "run.json" else "")
    with open_run(tmp_path, Config()) as run:
        assert not run.resumed


def test_a_folder_held_by_a_live_process_is_refused_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(BadInput, match=f"in use by another process.*{holder.pid}"),
            open_run(tmp_path, {"images": 8}),
        ):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with open_run(tmp_path, {"images": 8}) as run:
        assert run.resumed
        run.log(images=2)
    assert read_log(tmp_path) == [{"images": 1}, {"images": 2}]


@given(cut=st.integers(0, 60), tail=st.sampled_from([b"", b"\0\0\0\0", b'{"images": 3', b"\n\n", b"\xff\xff\n"]))
def test_a_torn_tail_costs_its_own_row_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, cut: int, tail: bytes
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    with open_run(folder, {}) as run:
        for images in range(4):
            run.log(images=images, note="ä\n")
    log = folder / "log.jsonl"
    torn = log.read_bytes()[: len(log.read_bytes()) - cut] + tail
    log.write_bytes(torn)
    complete = torn.count(b"}\n")
    assert [row["images"] for row in read_log(folder)] == list(range(complete))
    with open_run(folder, {}) as run:
        run.log(images=99)
    assert [row["images"] for row in read_log(folder)] == [*range(complete), 99]
    assert all(json.loads(line) for line in log.read_bytes().splitlines())


def test_a_row_is_on_disk_at_once_and_is_strict_json(tmp_path: Path) -> None:
    with open_run(tmp_path, {}) as run:
        run.log(loss=math.nan, rate=math.inf, images=np.int64(3), mean=np.float32(0.5), path=Path("a/b"))
        assert read_log(tmp_path) == [{"loss": None, "rate": None, "images": 3, "mean": 0.5, "path": "a/b"}]
    assert read_log(tmp_path / "nowhere") == []


def test_other_inputs_are_refused_by_name_and_stand_in_run_json(tmp_path: Path) -> None:
    for _ in range(2):
        with open_run(tmp_path, Config(), data="abc", processes=1):
            pass
    assert json.loads((tmp_path / "run.json").read_text())["inputs"] == {"data": "abc", "processes": 1}
    refused = r"another config \(inputs\.data: abc -> abd, inputs\.processes: 1 -> 2\)"
    with pytest.raises(BadInput, match=refused), open_run(tmp_path, Config(), data="abd", processes=2):
        pass
    assert len(json.loads((tmp_path / "run.json").read_text())["starts"]) == 2


def test_a_run_that_was_moved_and_meets_another_device_resumes(tmp_path: Path) -> None:
    with open_run(tmp_path / "a", {"out": str(tmp_path / "a"), "device": "cuda", "images": 8}):
        pass
    (tmp_path / "a").rename(tmp_path / "b")
    with open_run(tmp_path / "b", {"out": str(tmp_path / "b"), "device": "cpu", "images": 8}) as run:
        assert run.resumed


@pytest.mark.parametrize("record", ["[1]", "{"])
def test_a_record_that_is_none_is_refused(tmp_path: Path, record: str) -> None:
    (tmp_path / "run.json").write_text(record)
    with pytest.raises(BadInput, match="not readable as the record of a run"), open_run(tmp_path, {}):
        pass


def test_a_key_that_is_newer_than_the_run_is_no_other_config_as_long_as_it_says_nothing(tmp_path: Path) -> None:
    for config in ({"a": 1}, {"a": 1, "newer": None}):
        with open_run(tmp_path / "run", config):
            pass
    with pytest.raises(BadInput, match=r"newer: \(absent\) -> 2"), open_run(tmp_path / "run", {"a": 1, "newer": 2}):
        pass
    with open_run(tmp_path / "other", {"a": 1}):
        pass
    with pytest.raises(BadInput, match="a: 1 -> None"), open_run(tmp_path / "other", {"a": None}):
        pass
