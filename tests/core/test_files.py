"""A file or folder is old and whole or new and whole, whatever operation fails and whenever the process is killed."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gen.core import files
from gen.core.errors import BadInput, EnvironmentLacks, GenError


class PowerCut(BaseException):
    """From here on nothing reaches the disk."""


class Saboteur:
    """Lets the first ``calls`` file operations pass; then one fails, or with ``lasting`` that one and all after it."""

    def __init__(self, calls: int, fault: BaseException, *, lasting: bool) -> None:
        self.calls, self.fault, self.lasting, self.struck = calls, fault, lasting, False

    def step(self) -> None:
        self.calls -= 1
        if self.calls < 0 and (self.lasting or not self.struck):
            self.struck = True
            raise self.fault

    def guard(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **options: Any) -> Any:
            self.step()
            return function(*args, **options)

        return guarded

    def open(self, *args: Any, **options: Any) -> Any:
        self.step()
        return _Stream(self.real_open(*args, **options), self)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for name in ("open", "fsync", "replace", "rename", "mkdir", "unlink", "rmdir"):
            patch.setattr(os, name, self.guard(getattr(os, name)))
        self.real_open = io.open
        patch.setattr(io, "open", self.open)


class _Stream:
    """A real file whose writes and flushes count as operations."""

    def __init__(self, stream: Any, saboteur: Saboteur) -> None:
        self._stream, self._saboteur = stream, saboteur

    def write(self, content: Any) -> Any:
        self._saboteur.step()
        return self._stream.write(content)

    def flush(self) -> None:
        self._saboteur.step()
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stream.close()


FAULTS = {
    "one operation fails": lambda: (OSError(errno.EIO, os.strerror(errno.EIO)), False),
    "the disk is full": lambda: (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), False),
    "the power goes": lambda: (PowerCut(), True),
}


def at_every_operation(kind: str, action: Callable[[], None]) -> Iterator[BaseException | None]:
    """Run ``action`` with a fault at its first, second, … operation; yields what came out, None at last."""
    for calls in range(1000):
        fault, lasting = FAULTS[kind]()
        with pytest.MonkeyPatch.context() as patch:
            saboteur = Saboteur(calls, fault, lasting=lasting)
            saboteur.install(patch)
            caught: BaseException | None = None
            try:
                action()
            except (GenError, OSError, PowerCut) as error:
                caught = error
        if not saboteur.struck:
            assert calls > 3, "the saboteur saw no operation"
            yield None
            return
        yield caught


def fill(folder: Path, number: int) -> None:
    (folder / "unet").mkdir()
    files.write_bytes(folder / "unet" / "weights.bin", bytes([number]) * 100_000)
    files.write_json(folder / "state.json", {"images": number})


def save(parent: Path, number: int) -> None:
    with files.staged_folder(parent / f"checkpoint-{number}") as folder:
        fill(folder, number)


def content(folder: Path) -> tuple[bytes, object]:
    return (folder / "unet" / "weights.bin").read_bytes(), json.loads((folder / "state.json").read_text())


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_at_any_operation_leaves_a_file_old_or_new_and_whole(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "metadata.csv"
    for caught in at_every_operation(kind, lambda: files.write_bytes(path, b"new" * 1000)):
        assert path.exists() is (path.read_bytes() == b"new" * 1000 if path.exists() else False)
        path.unlink(missing_ok=True)
        if kind != "the power goes":
            assert list(tmp_path.iterdir()) == []
            assert caught is None or (isinstance(caught, GenError) and str(path) in str(caught))

    files.write_bytes(path, b"old")
    for _ in at_every_operation(kind, lambda: files.write_bytes(path, b"new" * 1000)):
        assert path.read_bytes() in (b"old", b"new" * 1000)
        files.write_bytes(path, b"old")


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_at_any_operation_never_leaves_a_broken_folder_that_is_loaded(tmp_path: Path, kind: str) -> None:
    save(tmp_path, 1)
    saved = tmp_path / "checkpoint-2"
    for caught in at_every_operation(kind, lambda: save(tmp_path, 2)):
        newest, skipped = files.newest_verified(tmp_path, "checkpoint-*")
        assert skipped == []
        assert newest == (saved if saved.exists() else tmp_path / "checkpoint-1")
        number = 2 if saved.exists() else 1
        assert content(newest) == (bytes([number]) * 100_000, {"images": number})
        if kind != "the power goes":
            assert {path.name for path in tmp_path.iterdir()} <= {"checkpoint-1", "checkpoint-2"}
            assert caught is None or isinstance(caught, GenError)
        if not saved.exists():
            save(tmp_path, 2)  # what was left behind is in nobody's way
        files.prune(tmp_path, "checkpoint-*", 2)
        saved.rename(tmp_path / "gone")
        for path in sorted((tmp_path / "gone").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        (tmp_path / "gone").rmdir()
        assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_at_any_operation_of_pruning_spares_the_newest_and_breaks_none(tmp_path: Path, kind: str) -> None:
    def whole() -> list[str]:
        return sorted(path.name for path in tmp_path.glob("[!.]*"))

    for number in range(1, 5):
        save(tmp_path, number)
    for _ in at_every_operation(kind, lambda: files.prune(tmp_path, "checkpoint-*", 2)):
        newest, skipped = files.newest_verified(tmp_path, "checkpoint-*")
        assert newest == tmp_path / "checkpoint-4"
        assert skipped == []
        assert all(files.verify_folder(tmp_path / name) == [] for name in whole())
        assert set(whole()) >= {"checkpoint-3", "checkpoint-4"}
        for number in (1, 2):
            if not (tmp_path / f"checkpoint-{number}").exists():
                save(tmp_path, number)
    files.prune(tmp_path, "checkpoint-*", 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-3", "checkpoint-4"]


SAVER = """
import sys
from pathlib import Path
from gen.core import files
parent = Path(sys.argv[1])
print("ready", flush=True)
for number in range(1, 10_000):
    with files.staged_folder(parent / f"checkpoint-{number}") as folder:
        for part in range(4):
            files.write_bytes(folder / f"part-{part}.bin", bytes([number % 256]) * 500_000)
    files.prune(parent, "checkpoint-*", 2)
"""


@pytest.mark.parametrize("delay_s", [0.0, 0.01, 0.03, 0.07, 0.15, 0.31])
def test_a_kill_during_a_save_leaves_only_whole_folders(tmp_path: Path, delay_s: float) -> None:
    with subprocess.Popen([sys.executable, "-c", SAVER, str(tmp_path)], stdout=subprocess.PIPE) as saver:
        assert saver.stdout is not None
        assert saver.stdout.readline() == b"ready\n"
        time.sleep(delay_s)
        saver.send_signal(signal.SIGKILL)
        assert saver.wait() == -signal.SIGKILL
    visible = sorted(tmp_path.glob("[!.]*"))
    assert [problem for folder in visible for problem in files.verify_folder(folder)] == []
    newest, skipped = files.newest_verified(tmp_path, "checkpoint-*")
    assert skipped == []
    assert (newest is None) == (visible == [])
    files.prune(tmp_path, "checkpoint-*", 1)  # the next process clears what the dead one left
    assert list(tmp_path.iterdir()) == ([newest] if newest else [])


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 9_999), flip=st.integers(1, 255))
def test_no_changed_byte_escapes_the_digests(tmp_path: Path, place: int, flip: int) -> None:
    folder = tmp_path / "model-1"
    if not folder.exists():
        with files.staged_folder(folder) as staged:
            (staged / "weights.bin").write_bytes(bytes(10_000))
    data = bytearray(10_000)
    data[place] ^= flip
    (folder / "weights.bin").write_bytes(data)
    assert files.verify_folder(folder) == [f"{folder / 'weights.bin'}: content differs from its digest"]
    (folder / "weights.bin").write_bytes(bytes(10_000))
    assert files.verify_folder(folder) == []


def test_a_folder_is_broken_by_a_missing_an_extra_and_no_digest_but_not_by_a_hidden_file(tmp_path: Path) -> None:
    save(tmp_path, 1)
    folder = tmp_path / "checkpoint-1"
    (folder / ".DS_Store").write_text("a desktop was here")
    assert files.verify_folder(folder) == []
    (folder / "pickle.bin").write_text("slipped in")
    assert "pickle.bin: not listed" in files.verify_folder(folder)[0]
    (folder / "pickle.bin").unlink()
    (folder / "state.json").unlink()
    assert "state.json: missing" in files.verify_folder(folder)[0]
    for broken in ("[1, 2]", "{", ""):
        (folder / files.DIGESTS).write_text(broken)
        assert len(files.verify_folder(folder)) >= 1
    (folder / files.DIGESTS).unlink()
    assert "never completed" in files.verify_folder(folder)[0]
    assert files.verify_folder(tmp_path / "nothing") != []


def test_the_newest_is_by_number_and_the_skipped_are_named(tmp_path: Path) -> None:
    for number in (9, 10, 100):
        save(tmp_path, number)
    (tmp_path / "checkpoint-100" / "state.json").write_text("{}")
    newest, skipped = files.newest_verified(tmp_path, "checkpoint-*")
    assert newest == tmp_path / "checkpoint-10"
    assert len(skipped) == 1
    assert "checkpoint-100" in skipped[0]
    assert files.newest_verified(tmp_path / "nowhere", "checkpoint-*") == (None, [])


def test_pruning_leaves_what_is_not_ours(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        save(tmp_path, number)
    (tmp_path / "checkpoint-0").mkdir()  # no digests: somebody's own folder
    (tmp_path / f".checkpoint-9.tmp-{os.getppid()}").mkdir()  # of a process that lives
    (tmp_path / ".notes.tmp-old").mkdir()
    files.prune(tmp_path, "checkpoint-*", 0)
    kept = {"checkpoint-0", "checkpoint-3", f".checkpoint-9.tmp-{os.getppid()}", ".notes.tmp-old"}
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_an_exception_in_the_block_is_passed_on_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), files.staged_folder(tmp_path / "run" / "a-1") as folder:
        (folder / "x").write_text(str(1 / 0))
    with pytest.raises(ZeroDivisionError), files.atomic_file(tmp_path / "x.txt") as stream:
        stream.write(b"half" * (1 // 0))
    assert [path.name for path in tmp_path.rglob("*")] == ["run"]


def test_only_a_whole_folder_is_kept_and_a_harmed_one_makes_room_but_not_one_of_somebody_elses(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    assert not files.keep_whole(folder)
    with files.staged_folder(folder) as stage:
        (stage / "weights").write_bytes(b"1234")
    assert files.keep_whole(folder)
    (folder / "weights").write_bytes(b"123")
    assert not files.keep_whole(folder)
    with files.staged_folder(folder) as stage:  # there is room for it
        (stage / "weights").write_bytes(b"1234")
    (folder / files.DIGESTS).unlink()
    assert not files.keep_whole(folder)
    assert (folder / "weights").read_bytes() == b"1234"


def test_an_existing_folder_is_never_replaced(tmp_path: Path) -> None:
    save(tmp_path, 1)
    with pytest.raises(BadInput, match="exists already"):
        save(tmp_path, 1)
    assert content(tmp_path / "checkpoint-1")[1] == {"images": 1}


@pytest.mark.parametrize(
    ("number", "hint"), [(errno.ENOSPC, "free some"), (errno.EDQUOT, "free some"), (errno.EFBIG, "raise the limit")]
)
@pytest.mark.parametrize("quoted", [False, True])
def test_a_disk_that_takes_no_more_is_one_line_that_names_the_file_whoever_noticed_it(
    tmp_path: Path, number: int, hint: str, quoted: bool
) -> None:
    words = os.strerror(number)
    error = RuntimeError(f"I/O error: {words} (os error {number})") if quoted else OSError(number, words)
    for target in (files.staged_folder(tmp_path / "model-1"), files.atomic_file(tmp_path / "model-1")):
        with pytest.raises(GenError, match=rf"cannot write .*model-1: {words}; {hint}"), target:
            raise error
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(GenError, match="file/below"):
        files.write_text(tmp_path / "file" / "below", "x")
    with pytest.raises(GenError, match="file/below"), files.staged_folder(tmp_path / "file" / "below"):
        pass


def test_free_space_is_checked_where_the_folder_will_be(tmp_path: Path) -> None:
    files.require_free_space(tmp_path / "not" / "yet", 1, "a test")
    with pytest.raises(EnvironmentLacks, match=r"training needs .* MB in .*not/yet"):
        files.require_free_space(tmp_path / "not" / "yet", 10**18, "training")


def test_pruning_hashes_what_it_must_to_find_the_sound_ones_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 6):
        save(tmp_path, number)
    (tmp_path / "checkpoint-4" / "state.json").write_text("{}")
    hashed: list[str] = []
    plain = hashlib.file_digest

    def noted(stream: IO[bytes], name: str) -> object:
        hashed.append(Path(stream.name).relative_to(tmp_path).parts[0])
        return plain(stream, name)

    monkeypatch.setattr(hashlib, "file_digest", noted)
    files.prune(tmp_path, "checkpoint-*", 2, written=tmp_path / "checkpoint-5")
    assert set(hashed) == {"checkpoint-4", "checkpoint-3"}
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-5", "checkpoint-4", "checkpoint-3"}
