"""A coarse phantom as a real CT would come: quick to project, and everything is in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from drr.reader import read_volume
from drr.scene import Scene, load_scene


@pytest.fixture(scope="session")
def scene(ct_file: Path) -> Scene:
    return load_scene(read_volume(ct_file), "chest")


@pytest.fixture(scope="session")
def ct_file(chest_files: Path) -> Path:
    return chest_files / "chest.nii.gz"


@pytest.fixture(scope="session")
def labels_file(chest_files: Path) -> Path:
    return chest_files / "chest.seg.nii.gz"
