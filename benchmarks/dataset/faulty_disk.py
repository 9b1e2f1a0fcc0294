"""A disk that goes wrong at one chosen file operation of this process, below one folder.

It stands in for Python's own file calls, down to the single write: so it sees what Python writes (Pillow and pyarrow
write to Python's streams), and not what a C library opens by itself. It is for a forked child, which ends with it.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import io
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

MODES = (
    "EIO once",
    "ENOSPC from then on",
    "short write",
    "death before",
    "death after",
    "power loss",  # death, and of what was written and not synced half is lost
    "power loss, names too",  # and every name whose folder was not synced: as little is kept as POSIX asks for
)
_READS = ("open", "read", "list", "stat", "lock")  # they change nothing: an error is all there is to try
_TAKES_ROOM = ("create", "write", "mkdir", "fsync", "replace")
_lstat, _open, _replace = os.lstat, io.open, os.replace  # as they are before anything is put in their place


def worth_trying(mode: str, kind: str) -> bool:
    """Whether ``mode`` at an operation of ``kind`` is another case than at its neighbours."""
    if mode == "EIO once":
        return True
    if mode == "short write":
        return kind == "write"
    return kind in _TAKES_ROOM if mode.startswith("ENOSPC") else kind not in _READS


class FaultyDisk:
    """Counts the operations below ``folder``, and does ``mode`` at number ``at`` (from 0; None: never)."""

    def __init__(self, folder: Path, mode: str = "", at: int | None = None) -> None:
        self.folder, self.mode, self.at = str(folder), mode, at
        self.operations: list[tuple[str, str]] = []  # kind, and path below the folder
        self._safe: dict[int, int] = {}  # by inode: the bytes that are synced, of files with others
        self._names: list[
            tuple[str, Callable[[], object]]
        ] = []  # a folder, and what takes back a change of names in it
        self._full = self._off = False

    def install(self) -> None:
        """Take the place of this process's file calls, for good."""
        builtins.open = io.open = self._opened
        kinds = {"fsync": "fsync", "mkdir": "mkdir", "unlink": "unlink", "remove": "unlink", "rmdir": "rmdir"}
        kinds |= {"listdir": "list", "scandir": "list", "stat": "stat", "lstat": "stat"}
        for name, kind in kinds.items():
            setattr(os, name, self._guarded(getattr(os, name), kind))
        for name in ("replace", "rename"):
            setattr(os, name, self._guarded_replace(getattr(os, name)))
        os.open = self._guarded_open(os.open)
        fcntl.lockf = self._guarded(fcntl.lockf, "lock")

    def act(self, kind: str, path: str, do: Callable[[], Any], undo: Callable[[], object] | None = None) -> Any:
        """``do`` one operation, or what the mode makes of it. ``undo`` takes back the name that it makes or takes."""
        if self._off or not (path == self.folder or path.startswith(self.folder + os.sep)):
            return do()
        strikes = self.strikes_next()
        self.operations.append((kind, os.path.relpath(path, self.folder)))
        self._full |= strikes and self.mode.startswith("ENOSPC")
        if (strikes and self.mode == "EIO once") or (self._full and kind in _TAKES_ROOM):
            code = errno.ENOSPC if self._full else errno.EIO
            named = () if kind in ("write", "fsync", "read", "lock", "truncate") else (path,)  # as the system does
            raise OSError(code, os.strerror(code), *named)
        if strikes and self.mode.startswith("power loss"):
            self.power_off()
        if strikes and self.mode == "death before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = do()
        if undo is not None:
            self._names.append((str(Path(path).parent), undo))
        if strikes and self.mode == "death after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    def strikes_next(self) -> bool:
        """Whether the next operation is the one."""
        return len(self.operations) == self.at

    def written(self, handle: int) -> None:
        """Take note that the file ``handle`` is about to be written."""
        status = os.fstat(handle)
        self._safe.setdefault(status.st_ino, status.st_size)

    def power_off(self) -> None:
        """Lose what the disk need not have kept, and die."""
        self._off = True
        for path in Path(self.folder).rglob("*"):
            status = path.lstat()
            if path.is_file() and status.st_ino in self._safe:
                safe = min(self._safe[status.st_ino], status.st_size)
                os.truncate(path, safe + (status.st_size - safe) // 2)
        if self.mode.endswith("names too"):
            for _, undo in reversed(self._names):
                with suppress(OSError):  # a file in a folder that is gone already
                    undo()
        os.kill(os.getpid(), signal.SIGKILL)

    def _guarded(self, real: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def guarded(*args: Any, **options: Any) -> Any:
            path = _path_of(args[0] if args else ".")
            undo: Callable[[], object] | None = None
            if kind == "mkdir" and _inside(path, self.folder) and not _there(path):
                undo = partial(shutil.rmtree, path)
            elif kind == "unlink" and _inside(path, self.folder) and (old := _content(path)) is not None:
                undo = partial(_restore, path, old)
            result = self.act(kind, path, lambda: real(*args, **options), undo)
            if kind == "fsync":
                self._safe.pop(os.fstat(args[0] if isinstance(args[0], int) else args[0].fileno()).st_ino, None)
                self._names = [(folder, undo) for folder, undo in self._names if folder != path]
            return result

        return guarded

    def _guarded_replace(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(source: Any, target: Any) -> Any:
            old, new = _path_of(source), _path_of(target)
            before = _content(new) if _inside(new, self.folder) else None

            def undo() -> None:
                _replace(new, old)
                if before is not None:
                    _restore(new, before)

            return self.act("replace", new, lambda: real(source, target), undo)

        return guarded

    def _guarded_open(self, real: Callable[..., int]) -> Callable[..., int]:
        def guarded(place: Any, flags: int, *args: Any, **options: Any) -> int:
            path = _path_of(place)
            new = bool(flags & os.O_CREAT) and not _there(path)
            undo = partial(os.unlink, path) if new else None
            return int(self.act("create" if new else "open", path, lambda: real(place, flags, *args, **options), undo))

        return guarded

    def _opened(self, file: Any, mode: str = "r", buffering: int = -1, *text: Any, **options: Any) -> Any:
        path = _path_of(file)
        if self._off or not _inside(path, self.folder):
            return _open(file, mode, buffering, *text, **options)
        new = not isinstance(file, int) and mode[0] in "wax" and not _there(path)
        kind = "create" if mode[0] in "wax" else "open"
        undo = partial(os.unlink, path) if new else None
        if isinstance(file, int):  # opened by os.open, and counted there
            raw = _File(self, path, file, mode)
        else:
            raw = self.act(kind, path, lambda: _File(self, path, file, mode), undo)
        if buffering == 0:
            return raw
        buffer = io.BufferedRandom if "+" in mode else io.BufferedReader if mode[0] == "r" else io.BufferedWriter
        binary = buffer(raw, os.fstat(raw.fileno()).st_blksize)  # as io.open has it
        return binary if "b" in mode else io.TextIOWrapper(binary, *text, **options)


class _File(io.FileIO):
    """A real file, each of whose reads and writes is an operation."""

    def __init__(self, disk: FaultyDisk, path: str, file: Any, mode: str) -> None:
        super().__init__(file, mode.replace("b", "").replace("t", ""))
        self._disk, self._path = disk, path

    def write(self, data: Any) -> int:
        content = bytes(data)
        if self._disk.mode == "short write" and self._disk.strikes_next() and len(content) > 1:
            content = content[: len(content) // 2]

        def do() -> int:
            self._disk.written(self.fileno())
            return super(_File, self).write(content)

        return int(self._disk.act("write", self._path, do))

    def truncate(self, size: int | None = None) -> int:
        return int(self._disk.act("truncate", self._path, lambda: super(_File, self).truncate(size)))

    def readinto(self, buffer: Any) -> int:
        return int(self._disk.act("read", self._path, lambda: super(_File, self).readinto(buffer)))

    def readall(self) -> bytes:
        return bytes(self._disk.act("read", self._path, super().readall))


def _path_of(place: Any) -> str:
    """The absolute path of a path, a descriptor or a stream."""
    if hasattr(place, "fileno"):
        place = place.fileno()
    if isinstance(place, int):
        return str(Path(f"/proc/self/fd/{place}").readlink())
    return os.path.abspath(os.fsdecode(place))  # noqa: PTH100  Path.resolve() would ask the disk


def _inside(path: str, folder: str) -> bool:
    return path.startswith(folder + os.sep)


def _there(path: str) -> bool:
    try:
        _lstat(path)
    except OSError:
        return False
    return True


def _content(path: str) -> bytes | None:
    try:
        with _open(path, "rb") as stream:
            return bytes(stream.read())
    except OSError:
        return None


def _restore(path: str, content: bytes) -> None:
    with _open(path, "wb") as stream:
        stream.write(content)
