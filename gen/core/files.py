"""Files and folders that are whole or absent: temporary name beside the target, fsync, one rename, digests last.

A reader trusts a folder only when every file in it has the digest that ``DIGESTS.json`` vouches for.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from gen.core.errors import BadInput, EnvironmentLacks, GenError

DIGESTS = "DIGESTS.json"
_TEMPORARY = re.compile(r"\..+\.tmp-(\d{1,9})")
# What a disk says that takes no more, and what to do.
_NO_MORE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f)",
}


@contextmanager
def atomic_file(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a temporary file beside ``path`` that takes its name when the block ends well.

    On any exception the temporary file is removed and the old file stays as it was.
    Raises GenError, naming ``path``, where the disk is full or the file cannot be written.
    """
    path = Path(path)
    temporary = _temporary(path)
    try:
        with _naming(path, callers=True), ExitStack() as stack:
            with _naming(path):
                stream = stack.enter_context(temporary.open("wb"))
            yield stream
            with _naming(path):
                stream.flush()
                os.fsync(stream.fileno())
        with _naming(path):
            temporary.replace(path)
            _sync(path.parent)
    except BaseException:
        _remove_quietly(temporary)
        raise


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path``, atomically."""
    with atomic_file(path) as stream:
        stream.write(data)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` to ``path`` in UTF-8, atomically."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, value: object) -> None:
    """Write ``value`` to ``path`` as indented JSON with a final newline, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``; BadInput where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} is not readable JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadInput(f"{path} is a JSON {type(value).__name__}, and should be an object")
    return value


@contextmanager
def staged_folder(path: str | Path) -> Iterator[Path]:
    """Fill a temporary sibling folder that takes the name ``path``, digests and all, when the block ends well.

    On any exception the temporary folder is removed. Raises BadInput where ``path`` exists already, and GenError,
    naming it, where the disk is full or it cannot be written.
    """
    path = Path(path)
    if os.path.lexists(path):
        raise BadInput(f"{path} exists already", hint="name a folder that does not exist yet")
    temporary = _temporary(path)
    _remove_quietly(temporary)  # of a dead process that had our number
    try:
        with _naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.mkdir()
        with _naming(path, callers=True):
            yield temporary
        with _naming(path):
            for written in temporary.rglob("*"):
                _sync(written)
            write_json(temporary / DIGESTS, {name: sha256_file(temporary / name) for name in _files(temporary)})
            temporary.rename(path)
            _sync(path.parent)
    except BaseException:
        _remove_quietly(temporary)
        raise


def verify_folder(path: str | Path) -> list[str]:
    """What is wrong with a folder that ``staged_folder`` wrote, one line each; empty when it is whole."""
    path = Path(path)
    try:
        digests = dict(json.loads((path / DIGESTS).read_bytes()))
        found = {name: sha256_file(path / name) for name in _files(path)}
    except (OSError, ValueError, TypeError) as error:
        return [f"{path}: unreadable or never completed ({error})"]
    problems = []
    for name in sorted(digests.keys() | found.keys()):
        if name not in found:
            problems.append(f"{path / name}: missing")
        elif name not in digests:
            problems.append(f"{path / name}: not listed in {DIGESTS}")
        elif found[name] != digests[name]:
            problems.append(f"{path / name}: content differs from its digest")
    return problems


def keep_whole(path: str | Path) -> bool:
    """Whether the folder ``path``, as `staged_folder` writes one, is there and whole.

    One that was harmed is removed, so that it can be made again; a folder without digests is somebody's own, and stays.
    """
    path = Path(path)
    if not path.exists():
        return False
    if not verify_folder(path):
        return True
    if (path / DIGESTS).is_file():
        shutil.rmtree(path)
    return False


def newest_verified(parent: str | Path, pattern: str) -> tuple[Path | None, list[str]]:
    """The folder of highest number in its name that verifies, and one line for each newer one that was skipped."""
    skipped: list[str] = []
    for folder in _numbered(Path(parent), pattern):
        problems = verify_folder(folder)
        if not problems:
            return folder, skipped
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        skipped.append(f"skipped {problems[0]}{more}")
    return None, skipped


def prune(parent: str | Path, pattern: str, keep: int, written: Path | None = None) -> None:
    """Delete our folders older than the newest ``keep`` (or 1) that verify, and temporaries of dead processes.

    ``written`` is known to be whole. Call it between saves: a temporary of this very process counts as left over.
    """
    parent = Path(parent)
    for left in parent.glob(".*.tmp-*"):
        match = _TEMPORARY.fullmatch(left.name)
        if match and (int(match[1]) == os.getpid() or not _alive(int(match[1]))):
            _remove_quietly(left)
    wanted = max(keep, 1)
    for folder in _numbered(parent, pattern):
        if wanted:  # no more are hashed than have to be
            wanted -= folder == written or not verify_folder(folder)
        elif (folder / DIGESTS).is_file():  # without one it is somebody's own
            # Renamed first, so that a kill in the middle leaves no half folder under a name that is trusted.
            doomed = _temporary(folder)
            with _naming(folder):
                folder.rename(doomed)
            _remove_quietly(doomed)


def sync_folder(path: str | Path) -> None:
    """Flush the names in a folder to the disk: that a file is safe there says nothing of the folders it is in.

    Raises GenError, naming ``path``, where that fails.
    """
    path = Path(path)
    with _naming(path):
        _sync(path)


def sha256_file(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def require_free_space(folder: str | Path, needed_bytes: int, what: str) -> None:
    """Raise EnvironmentLacks where the disk of ``folder`` (which may not exist yet) has less than ``needed_bytes``."""
    folder = Path(folder).absolute()
    free = shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free
    if free < needed_bytes:
        needs = f"{what} needs {needed_bytes / 1e6:,.2f} MB in {folder} and {free / 1e6:,.2f} MB is free"
        raise EnvironmentLacks(needs, hint="free some space or choose another folder")


@contextmanager
def _naming(path: Path, *, callers: bool = False) -> Iterator[None]:
    """Turn an OSError into a GenError that names ``path``; in the caller's block, one that names no file of its own."""
    try:
        yield
    except GenError:
        raise
    except Exception as error:
        full = _no_more(error)
        ours = isinstance(error, OSError) and not (callers and (error.filename or error.errno is None))
        if full is None and not ours:
            raise
        reason = os.strerror(full) if full is not None else getattr(error, "strerror", None) or error
        hint = f"{_NO_MORE[full]} and run the same command again" if full is not None else None
        raise GenError(f"cannot write {path}: {reason}", hint=hint) from error


def _no_more(error: Exception) -> int | None:
    """The number in _NO_MORE that ``error`` has, or quotes as those of safetensors and torch do."""
    told = getattr(error, "errno", None)
    for number in _NO_MORE:
        if told == number or f"(os error {number})" in str(error) or os.strerror(number) in str(error):
            return number
    return None


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp-{os.getpid()}")


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems cannot sync a folder, and need not
            raise
    finally:
        os.close(handle)


def _files(folder: Path) -> list[str]:
    """The files under ``folder`` that digests cover, relative; hidden ones are not ours but a desktop's or NFS's."""
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path != folder / DIGESTS)
    return sorted(name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts))


def _numbered(parent: Path, pattern: str) -> list[Path]:
    """Visible folders that match ``pattern`` and have a number in their name, highest number first."""
    found = [folder for folder in parent.glob(pattern) if re.match(r"[^.].*?\d", folder.name) and folder.is_dir()]
    return sorted(found, key=lambda folder: int(re.findall(r"\d+", folder.name)[-1]), reverse=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno != errno.ESRCH
    return True


def _remove_quietly(path: Path) -> None:
    """Remove a file or folder of ours; what resists is left to ``prune``, for the first error is the one to report."""
    with suppress(OSError):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
