"""The disk of benchmarks/ that goes wrong counts all that is done below its folder, and loses what is not synced."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.dataset.fault_bench import run
from benchmarks.dataset.faulty_disk import MODES, FaultyDisk, worth_trying
from gen.core.files import write_bytes

WORDS = b"word" * 1000


def carelessly(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(WORDS)


def without_folders(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    write_bytes(path, WORDS)


def carefully(path: Path) -> None:
    without_folders(path)
    handle = os.open(path.parent.parent, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def on(disk: FaultyDisk, write: Callable[[Path], None]) -> None:
    """``write`` a file in a folder of its own; and where nothing struck till then, the power goes."""
    disk.install()
    write(Path(disk.folder) / "folder" / "file")
    if disk.mode.startswith("power"):
        disk.power_off()
    raise OSError(0, f"{len(disk.operations)} operations")


@pytest.mark.parametrize(
    ("write", "mode", "left"),
    [
        (carelessly, MODES[-2], len(WORDS) // 2),
        (without_folders, MODES[-2], len(WORDS)),
        (without_folders, MODES[-1], None),
        (carefully, MODES[-1], len(WORDS)),
    ],
)
def test_a_power_cut_takes_what_was_not_synced(
    tmp_path: Path, write: Callable[[Path], None], mode: str, left: int | None
) -> None:
    assert run(on, FaultyDisk(tmp_path, mode), write) == "killed"
    file = tmp_path / "folder" / "file"
    assert (file.stat().st_size if file.exists() else None) == left


@pytest.mark.parametrize("mode", ["EIO once", "ENOSPC from then on", "death before", "death after"])
def test_each_operation_is_struck_and_a_careful_file_is_whole_or_absent(tmp_path: Path, mode: str) -> None:
    """Made, opened, written, synced, named, and three folders synced: so many operations, and not one more."""
    wanted = ["mkdir", "create", "write", "fsync", "replace", *["open", "fsync"] * 2]
    for at in range(len(wanted) + 1):
        folder = tmp_path / str(at)
        folder.mkdir()
        said = run(on, FaultyDisk(folder, mode, at), carefully)
        struck = worth_trying(mode, wanted[at]) if at < len(wanted) else False
        if mode.startswith("death") and at < len(wanted):
            assert said == "killed"
        elif struck:
            assert "Input/output error" in said or "No space left" in said
        elif at == len(wanted):
            assert f"{len(wanted)} operations" in said
        file = folder / "folder" / "file"
        assert not file.exists() or file.read_bytes() == WORDS
