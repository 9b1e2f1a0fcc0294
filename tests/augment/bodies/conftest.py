"""A coarse phantom."""

from __future__ import annotations

import pytest

from drr.phantom.chest import make_phantom
from drr.scene import Scene, load_scene


@pytest.fixture(scope="session")
def phantom() -> Scene:
    return load_scene(make_phantom("M", "average", 40, 1, spacing_mm=(5.0, 4.0, 4.0)), "phantom")
