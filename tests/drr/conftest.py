"""A coarse phantom as a real CT would come: quick to project, and everything is in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drr.ct.body import find_body, find_lungs
from drr.ct.volume import Volume
from drr.phantom.chest import make_phantom
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


@pytest.fixture(scope="session")
def chest() -> Volume:
    """A coarse phantom without its labels, as a real CT would be."""
    return replace(make_phantom("M", "average", 50, 0, (6.0, 4.0, 4.0)), labels=None, name="chest")


@pytest.fixture(scope="session")
def body(chest: Volume) -> np.ndarray:
    return find_body(chest)


@pytest.fixture(scope="session")
def lungs(chest: Volume, body: np.ndarray) -> np.ndarray:
    return find_lungs(chest, body)
