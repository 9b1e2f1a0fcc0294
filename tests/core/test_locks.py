"""A lock keeps other processes out, of the whole file or of one byte, and ends with the one that has it."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from gen.core.errors import EnvironmentLacks
from gen.core.locks import lock

HOLDS = """
import sys
from gen.core.locks import lock
with open(sys.argv[1], "ab") as stream:
    lock(stream, byte=eval(sys.argv[2]))
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("theirs", "ours", "free"), [(None, None, False), (None, 7, False), (7, None, False), (7, 7, False), (7, 8, True)]
)
def test_only_who_wants_the_same_bytes_is_kept_out_and_only_until_the_holder_is_killed(
    tmp_path: Path, theirs: int | None, ours: int | None, free: bool
) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDS, str(path), repr(theirs)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with path.open("ab") as stream:
            assert lock(stream, wait=False, byte=ours) == free
            holder.kill()
            assert lock(stream, byte=ours)


@pytest.mark.parametrize("wait", [True, False])
def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait: bool) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", none)
    with (tmp_path / "lock").open("w") as stream, pytest.raises(EnvironmentLacks, match=f"cannot lock {stream.name}"):
        lock(stream, wait=wait)
