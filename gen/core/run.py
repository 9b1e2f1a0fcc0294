"""The run folder of a long job: config, log, and what ran it; the same command on it resumes, another is refused."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import IO, Any

from gen import __version__
from gen.core.config import RENAMED_KEYS, to_dict, to_yaml
from gen.core.errors import BadInput, GenError
from gen.core.files import write_json, write_text
from gen.core.locks import lock

CONFIG, LOG, RUN, LOCK = "config.yaml", "log.jsonl", "run.json", ".lock"
_REPORTED = ("accelerate", "diffusers", "numpy", "pillow", "safetensors", "torch", "transformers", "xformers")
_PLACES = ("out", "device")  # keys of a config that say where, not what: a run may move


def derived_seed(seed: int, key: int | str, attempt: int = 0) -> int:
    """A seed in [0, 2**64) for item ``key``: the first 8 bytes, big-endian, of SHA-256 of "seed:key:attempt"."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{key}:{attempt}".encode()).digest()[:8], "big")


@dataclass(frozen=True)
class Run:
    """An open run folder; ``resumed`` tells whether it held this run before."""

    folder: Path
    resumed: bool
    _log: FileIO

    def log(self, **row: Any) -> None:
        """Append ``row`` as one line of JSON to log.jsonl, at once; NaN and infinities become null."""
        finite = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()}
        # NumPy and torch scalars as numbers, anything else (paths) as text
        plain = json.dumps(finite, ensure_ascii=False, default=lambda v: v.item() if hasattr(v, "item") else str(v))
        line = plain.encode() + b"\n"
        try:
            complete = self._log.write(line) == len(line)
        except OSError as error:
            raise GenError(f"cannot write {self.folder / LOG}: {error.strerror}") from error
        if not complete:
            raise GenError(f"cannot write {self.folder / LOG}: the disk is full", hint="free some space and resume")


@contextmanager
def open_run(folder: str | Path, config: Any, *, command: Sequence[str] = (), **inputs: str | int) -> Iterator[Run]:
    """Create ``folder`` for the job that ``config`` (dataclass or mapping) describes, or resume it, and hold its lock.

    ``inputs`` are what else decides the result, such as a digest of the data. BadInput where the folder is not a run,
    where config or inputs differ (the keys are listed, old -> new), and where another live process holds it.
    """
    folder = Path(folder)
    if os.path.lexists(folder):
        _require_run_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = os.fdopen(os.open(folder / LOCK, os.O_RDWR | os.O_CREAT), "r+")
    except OSError as error:
        raise BadInput(f"cannot use {folder} as a run folder: {error.strerror}") from error
    with stream:
        _hold(stream, folder)
        resumed, record = (folder / CONFIG).exists(), _read_record(folder / RUN)
        if resumed:
            _require_equal(folder, record["inputs"], {**to_dict(config), "inputs": inputs})
        # run.json first: from then on a kill leaves a folder that the next start knows for its own.
        write_json(folder / RUN, {"inputs": inputs, "starts": [*record["starts"], _start(command)]})
        if not resumed:
            write_text(folder / CONFIG, to_yaml(config))
        with (folder / LOG).open("ab", buffering=0) as log:
            _, whole = _read_rows(folder / LOG)
            log.truncate(whole)  # a tail that a crash tore would spoil the next row
            try:
                yield Run(folder, resumed, log)
            except KeyboardInterrupt as stop:
                stop.add_note("the same command goes on")  # which the command line shows
                raise


def read_log(folder: str | Path) -> list[dict[str, Any]]:
    """The rows of a run's log.jsonl, without a tail that a crash tore; empty where there is none."""
    path = Path(folder) / LOG
    return _read_rows(path)[0] if path.exists() else []


def _require_run_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder, so it cannot be a run folder")
    foreign = [path.name for path in folder.iterdir() if path.name != LOCK and ".tmp-" not in path.name]
    if foreign and RUN not in foreign:
        why = f"it holds {min(foreign)!r} and no {RUN}"
        raise BadInput(f"{folder} is not a run folder: {why}", hint="choose a new or an empty folder")


def _hold(stream: IO[str], folder: Path) -> None:
    """Lock the folder until its lock file ``stream`` is closed, and write there who has it."""
    if not lock(stream, wait=False):
        what = f"{folder} is in use by another process (process id {stream.read().strip() or 'unknown'})"
        raise BadInput(what, hint="wait for it or choose another folder")
    stream.truncate(0)
    stream.write(str(os.getpid()))
    stream.flush()


def _require_equal(folder: Path, inputs: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    import yaml

    try:
        stored = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
        old = {**{RENAMED_KEYS.get(key, key): value for key, value in stored.items()}, "inputs": inputs}
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError) as error:
        raise BadInput(f"{folder / CONFIG} is not readable YAML: {error}") from error
    # A key that is newer than the run, and says nothing, is no difference.
    new = {key: value for key, value in new.items() if value is not None or key in old}
    if changes := [f"{key}: {was} -> {now}" for key, (was, now) in changed(old, new).items() if key not in _PLACES]:
        raise BadInput(f"{folder} was started with another config ({', '.join(changes)})", hint="choose another folder")


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The values before and after, by dotted key, of those that differ between two trees of mappings."""
    before, after = _flat(old), _flat(new)
    pairs = {key: (before.get(key, "(absent)"), after.get(key, "(absent)")) for key in before | after}
    return {key: (was, now) for key, (was, now) in pairs.items() if was != now}


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one level of dotted keys; lists are leaves."""
    if not isinstance(value, Mapping) or not value:
        return {prefix: value}
    rows = (_flat(item, f"{prefix}.{key}" if prefix else str(key)) for key, item in value.items())
    return {key: leaf for row in rows for key, leaf in row.items()}


def _read_record(path: Path) -> dict[str, Any]:
    try:
        return {"inputs": {}, "starts": [], **(json.loads(path.read_bytes()) if path.exists() else {})}
    except (ValueError, TypeError) as error:
        raise BadInput(f"{path} is not readable as the record of a run") from error


def _start(command: Sequence[str]) -> dict[str, Any]:
    """This start, for run.json: a resumed run may meet other versions, and both must be on record."""
    versions = {"cxr-gen": __version__, "python": platform.python_version()}
    for name in _REPORTED:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"time": now, "command": list(command), "platform": platform.platform(), "versions": versions}


def _read_rows(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The rows that are whole JSON (a crash leaves part of one, or zeros), and where in bytes the last of them ends."""
    rows, place, whole = [], 0, 0
    for line in path.read_bytes().splitlines(keepends=True):
        place += len(line)
        with suppress(ValueError):
            if line.endswith(b"\n"):
                rows.append(json.loads(line))
                whole = place
    return rows, whole
