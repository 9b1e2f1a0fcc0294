"""The toy job: real plan, toy model, no gates, in a second or two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from augment.dataset.config import DatasetConfig, Gates, Target
from augment.dataset.shards.folder import entries

ROWS, SHARD = 10, 4


def toy_job(out: Path, model: Path, **changes: Any) -> DatasetConfig:
    target = Target(sex=["F"], age=[], view=["AP"], finding=["No Finding", "Pleural Effusion"])
    settings = {
        "out": str(out),
        "images": ROWS,
        "target": target,
        "gates": Gates(names=[]),
        "model": str(model),
        "steps": 1,
        "shard_size": SHARD,
        "threads": 1,
        "device": "cpu",
        "dtype": "float32",
        "backend": "torch",  # also in the processes of Ray
    }
    return DatasetConfig(**settings | changes)


def digests(out: Path) -> list[str]:
    """The hash of each shard, in order."""
    return [entry.sha256 for entry in entries(out)]
