"""Toy phantoms, a toy pool and one toy network, trained once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from augment.anatomy.config import AnatomyConfig
from augment.anatomy.train import train_anatomy
from drr.phantom.chest import make_phantom
from drr.scene import Scene, load_scene
from gen.core.config import load_config

CONFIG = Path(__file__).parents[3] / "configs" / "anatomy_toy.yaml"
COARSE_MM = (5.0, 4.0, 4.0)


@pytest.fixture(scope="session")
def phantom() -> Scene:
    return load_scene(make_phantom("M", "average", 40, 1, spacing_mm=COARSE_MM), "phantom")


@pytest.fixture(scope="session")
def toy_pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pool")


@pytest.fixture(scope="session")
def config(toy_pool: Path) -> Callable[..., AnatomyConfig]:
    """configs/anatomy_toy.yaml for a run folder and overrides, on the CPU in float32."""

    def load(out: Path, *overrides: str) -> AnatomyConfig:
        own = [f"out={out}", f"pool={toy_pool}", "device=cpu", "dtype=float32"]
        return load_config(AnatomyConfig, CONFIG, [*own, *overrides])

    return load


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory: pytest.TempPathFactory, config: Callable[..., AnatomyConfig]) -> Path:
    """The run folder of configs/anatomy_toy.yaml, finished."""
    out = tmp_path_factory.mktemp("anatomy") / "run"
    train_anatomy(config(out))
    return out
