"""A shard is committed whole or not at all, once, and the same whoever commits it and whatever went wrong before."""

from __future__ import annotations

import errno
import io
import json
import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from whole_set import content, made_of, make, marker, new_set, other

from augment.dataset.config import FORMATS
from augment.dataset.shards.folder import (
    WHOLE,
    commit,
    committed,
    config_of,
    create,
    damaged,
    entry_of,
    entry_path,
    locked,
    read_shard,
    sweep,
    tar_name,
    withdraw,
)
from augment.dataset.shards.records import Made
from gen.core import files
from gen.core.errors import BadInput, GenError
from gen.core.files import write_json
from gen.core.noise import NOISE_VERSION

# One commit, whoever else commits


def in_a_child(action: Callable[[], bytes]) -> tuple[int, int]:
    """Run ``action`` in a forked process; its number, and the pipe that its result comes through."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            os.write(writing, action())
        finally:
            os._exit(0)
    os.close(writing)
    return child, reading


def result_of(child: int, reading: int) -> bytes:
    with open(reading, "rb") as stream:
        result = stream.read()
    os.waitpid(child, 0)
    return result


def test_the_first_commit_stands_and_a_second_writes_nothing(tmp_path: Path) -> None:
    out = new_set(tmp_path)
    first = commit(out, 0, made_of(0))
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert commit(out, 0, other(made_of(0))) == first == entry_of(out, 0)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before


def test_of_processes_that_commit_one_shard_at_once_one_wins_and_all_agree(tmp_path: Path) -> None:
    for attempt in range(4):
        out = new_set(tmp_path / str(attempt))
        start = time.monotonic() + 0.02

        def committing(make_made: Callable[[], list[Made]], out: Path = out, start: float = start) -> bytes:
            made = make_made()
            time.sleep(max(0.0, start - time.monotonic()))
            return commit(out, 0, made).sha256.encode()

        children = [in_a_child(lambda: committing(lambda: made_of(0))) for _ in range(2)]
        children += [in_a_child(lambda: committing(lambda: other(made_of(0)))) for _ in range(2)]
        told = {result_of(*child).decode() for child in children}
        assert told == {entry_of(out, 0).sha256} == {files.sha256_file(out / tar_name(0))}
        assert damaged(out, range(9)) == []


@contextmanager
def holder_of(out: Path, byte: int) -> Iterator[None]:
    """Another process that holds a byte of the lock of ``out`` meanwhile."""
    ready_read, ready_write = os.pipe()
    stop_read, stop_write = os.pipe()

    def hold() -> bytes:
        with locked(out, byte):
            os.write(ready_write, b"!")
            os.read(stop_read, 1)
        return b""

    child = in_a_child(hold)
    os.read(ready_read, 1)
    try:
        yield
    finally:
        os.write(stop_write, b"!")  # closing it is not enough: other children have it too
        for handle in (stop_write, stop_read, ready_read, ready_write):
            os.close(handle)
        result_of(*child)


def test_a_commit_waits_for_its_own_shard_and_never_for_another(tmp_path: Path) -> None:
    out = new_set(tmp_path)
    with holder_of(out, 1):
        commit(out, 2, made_of(2))
        child, reading = in_a_child(lambda: commit(out, 1, made_of(1)).sha256.encode())
        assert select.select([reading], [], [], 0.3)[0] == []
        assert committed(out) == {2}
    assert result_of(child, reading).decode() == entry_of(out, 1).sha256


def test_a_sweep_takes_what_dead_writers_left_and_nothing_while_one_writes(tmp_path: Path) -> None:
    out = make(tmp_path / "set", formats=["imagefolder"])
    whole = content(out)
    left = [".index.parquet.tmp-1", "data/.shard-000000.tar.tmp-99", f"manifest/000/.a.json.tmp-{os.getpid()}"]
    left += ["imagefolder/images/.x.png.tmp-7"]
    kept = [".DS_Store", "data/.nfs0000001", "data/notes.tmp-3"]
    for name in (*left, *kept):
        (out / name).write_bytes(b"half")
    with holder_of(out, 123):
        assert sweep(out) == 0
    assert sweep(out) == len(left) - 1
    assert sweep(out, FORMATS) == 1
    assert content(out) == whole | dict.fromkeys(kept, b"half")


# Whatever fails


class PowerCut(BaseException):
    """From here on nothing reaches the disk."""


class Saboteur:
    """Lets ``calls`` file operations pass and raises at the next, or at that and all after it if ``lasting``."""

    def __init__(self, calls: int, fault: BaseException, *, lasting: bool) -> None:
        self.calls, self.fault, self.lasting, self.struck = calls, fault, lasting, False

    def guard(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **options: Any) -> Any:
            self.calls -= 1
            if self.calls < 0 and (self.lasting or not self.struck):
                self.struck = True
                raise self.fault
            return function(*args, **options)

        return guarded

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for name in ("open", "fsync", "replace", "rename", "mkdir", "unlink"):
            patch.setattr(os, name, self.guard(getattr(os, name)))
        opened = self.guard(io.open)
        patch.setattr(io, "open", lambda *args, **options: _Stream(opened(*args, **options), self))


class _Stream:
    """A real file whose writes and flushes count as operations."""

    def __init__(self, stream: Any, saboteur: Saboteur) -> None:
        self._stream = stream
        self.write, self.flush = saboteur.guard(stream.write), saboteur.guard(stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


FAULTS: dict[str, Callable[[], tuple[BaseException, bool]]] = {
    "one operation fails": lambda: (OSError(errno.EIO, os.strerror(errno.EIO)), False),
    "the disk is full": lambda: (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), True),
    "the power goes": lambda: (PowerCut(), True),
}


@pytest.mark.parametrize("kind", list(FAULTS))
def test_after_a_fault_at_any_operation_the_same_calls_complete_the_same_folder(tmp_path: Path, kind: str) -> None:
    made = made_of(0, without=[2])

    def work(out: Path) -> None:
        create(out, marker(tmp_path))
        commit(out, 0, made, [{"number": 2, "cell": "x", "rejected": []}])

    work(tmp_path / "whole")
    wanted = content(tmp_path / "whole")
    for calls in range(200):
        out = tmp_path / str(calls)
        fault, lasting = FAULTS[kind]()
        with pytest.MonkeyPatch.context() as patch:
            saboteur = Saboteur(calls, fault, lasting=lasting)
            saboteur.install(patch)
            try:
                work(out)
            except GenError as error:
                assert str(out) in str(error)
                assert "\n" not in str(error)
            except PowerCut:
                pass
        if not saboteur.struck:
            break
        if 0 in (committed(out) if out.exists() else ()):
            assert entry_of(out, 0).sha256 == files.sha256_file(out / tar_name(0))
        work(out)
        sweep(out)
        assert content(out) == wanted
    assert calls > 12, "the saboteur saw too few operations"


def test_a_full_disk_names_the_file_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = new_set(tmp_path)
    before = content(out)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GenError, match=r"shard-000000\.tar: No space left on device"):
        commit(out, 0, made_of(0))
    assert content(out) == before


# After damage


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-600])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)


def garble(path: Path) -> None:
    path.write_text("{", encoding="utf-8")


@pytest.mark.parametrize(
    ("harm", "of_entry", "hashed"),
    [(truncate, False, False), (Path.unlink, False, False), (garble, True, False), (flip, False, True)],
)
def test_a_damaged_shard_is_found_withdrawn_and_made_anew(
    tmp_path: Path, harm: Callable[[Path], None], of_entry: bool, hashed: bool
) -> None:
    out = make(tmp_path / "set")
    wanted = {name: data for name, data in content(out).items() if name != "_SUCCESS"}
    harm(entry_path(out, 1) if of_entry else out / tar_name(1))
    assert damaged(out, range(9), hashed=hashed) == [1]
    assert withdraw(out, 1)
    assert committed(out) == {0, 2}
    commit(out, 1, made_of(1))
    assert content(out) == wanted
    assert not withdraw(out, 1)  # somebody who saw the damage too comes late
    assert content(out) == wanted


def test_a_tar_that_is_not_what_its_entry_says_is_not_read_as_such(tmp_path: Path) -> None:
    out = make(tmp_path / "set")
    entry = entry_of(out, 0)
    with pytest.raises(GenError, match=r"shard-000000\.tar: damaged"):
        list(read_shard(out, replace(entry, records=entry.records[1:])))
    with pytest.raises(GenError, match=r"damaged \(.*after 5 of 6"):
        list(read_shard(out, replace(entry, records=(*entry.records[:5], {**entry.records[5], "sha256": "0"}))))
    truncate(out / tar_name(0))
    (out / tar_name(0)).write_bytes((out / tar_name(0)).read_bytes()[:3000])
    with pytest.raises(GenError, match="damaged"):
        list(read_shard(out, entry))


@pytest.mark.parametrize("change", [{"shard": 1}, {"file": "../x.tar"}, {"bytes": "many"}, {"more": 1}])
def test_an_entry_that_is_not_of_its_shard_is_not_trusted(tmp_path: Path, change: dict[str, Any]) -> None:
    out = make(tmp_path / "set")
    path = entry_path(out, 0)
    data = json.loads(path.read_bytes())
    path.write_text(json.dumps(data | change), encoding="utf-8")
    with pytest.raises(GenError, match=str(path)):
        entry_of(out, 0)
    data["records"][0]["id"] = "../../../home"  # which would be a file's name
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(GenError, match="a record is not one of ours"):
        entry_of(out, 0)


# The folder


def test_the_same_data_set_resumes_from_any_place_and_another_is_refused_with_the_difference(tmp_path: Path) -> None:
    old = marker(tmp_path / "set")
    assert create(tmp_path / "set", old) is False
    assert create(tmp_path / "set", old) is True
    assert config_of(tmp_path / "set").target.finding == ["No Finding", "Cardiomegaly", "Pleural Effusion"]
    (tmp_path / "set").rename(tmp_path / "moved")
    assert create(tmp_path / "moved", marker(tmp_path / "moved", device="cpu")) is True
    with pytest.raises(BadInput) as caught:
        create(tmp_path / "moved", {**marker(tmp_path / "moved", steps=7, threads=1), "plan": "q"})
    assert "(config.steps: None -> 7, config.threads: 2 -> 1)" in str(caught.value)
    with pytest.raises(BadInput, match=r"\(plan: pppppppppppppppp -> q\)"):  # which follows from nothing that is named
        create(tmp_path / "moved", {**marker(tmp_path / "moved"), "plan": "q"})
    assert "out" not in str(caught.value).partition("(")[2]


def test_a_set_whose_seeds_mean_other_images_is_not_continued(tmp_path: Path) -> None:
    out = new_set(tmp_path / "set")
    begun = json.loads((out / "dataset.json").read_bytes())
    for noise in (None, NOISE_VERSION - 1, NOISE_VERSION + 1):
        kept = {key: value for key, value in begun.items() if key != "noise"}
        write_json(out / "dataset.json", kept if noise is None else {**kept, "noise": noise})
        before = content(out)
        with pytest.raises(BadInput, match=r"another version .* mean other images; choose another folder") as caught:
            create(out, marker(out))
        assert "\n" not in str(caught.value)
        assert content(out) == before


def test_what_is_not_ours_is_refused_in_one_line_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    for name, inside in {"photos": "holiday.jpg", "job": "run.json", "trained": "run/log.jsonl", "odd": "data"}.items():
        (tmp_path / name / inside).parent.mkdir(parents=True)
        (tmp_path / name / inside).write_text("x", encoding="utf-8")
    (tmp_path / "garbage").mkdir()
    (tmp_path / "garbage/dataset.json").write_bytes(b"\xff{")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/dataset.json").write_text("[1]", encoding="utf-8")
    before = content(tmp_path)
    for name, reason in {
        "file": "not a folder",
        "file/below": "cannot use",
        "photos": "'holiday.jpg' and no dataset.json",
        "job": "'run.json' and no dataset.json",
        "trained": "'run/log.jsonl' and no dataset.json",
        "odd": "'data' and no dataset.json",
        "garbage": "not readable JSON",
        "other": "not the description of a data set",
    }.items():
        with pytest.raises(BadInput, match=reason) as caught:
            create(tmp_path / name, marker(tmp_path / name))
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert content(tmp_path) == before


def test_processes_that_start_one_data_set_at_once_share_it(tmp_path: Path) -> None:
    for attempt in range(3):
        out = tmp_path / str(attempt)

        def starting(out: Path = out) -> bytes:
            return b"resumed" if create(out, marker(out)) else b"created"

        children = [in_a_child(starting) for _ in range(4)]
        assert sorted(result_of(*child) for child in children) == [b"created", *[b"resumed"] * 3]


def test_the_run_folder_can_be_thrown_away(tmp_path: Path) -> None:
    out = new_set(tmp_path)
    (out / "run/commit.lock").unlink()
    (out / "run").rmdir()
    commit(out, 0, made_of(0))
    with locked(out, WHOLE):
        assert committed(out) == {0}


def test_thousands_of_shards_are_listed_from_names_alone(tmp_path: Path) -> None:
    wanted = {0, 999, 1000, 123_456, 1_234_567}
    for shard in wanted:
        path = entry_path(tmp_path, shard)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.with_name(f".{path.name}.tmp-12").touch()
    assert committed(tmp_path) == wanted
    assert committed(tmp_path / "nowhere") == set()
