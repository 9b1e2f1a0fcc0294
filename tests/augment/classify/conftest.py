"""Toy radiographs, real and synthetic, with what a classifier can learn in them; one toy classifier, trained once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from augment.classify.config import ClassifierConfig
from augment.classify.train import train_classifier
from gen.core.config import load_config
from gen.core.manifest import Row, split_of, write_manifest
from gen.core.radiograph import Radiograph, write_png

CONFIG = Path(__file__).parents[3] / "configs" / "classify_toy.yaml"
COUNTS = {"train": 32, "validation": 16, "test": 24}
SIDE = 40  # pixels


def picture(i: int, *, ill: bool) -> np.ndarray:
    """float32 (40, 40): a bright blob where a patient is ill, and waves and texture that no other image has."""
    rng = np.random.default_rng(i)
    down, across = np.mgrid[:SIDE, :SIDE] / SIDE
    waves = sum(
        amplitude * np.sin(6.3 * (a * down + b * across + phase))
        for amplitude, a, b, phase in zip(rng.random(5), *(rng.uniform(-3, 3, (2, 5))), rng.random(5), strict=True)
    )
    blob = np.exp(-((down - 0.3) ** 2 + (across - 0.6) ** 2) * 60)
    return (
        (0.15 + 0.2 * down + 0.06 * waves + 0.6 * ill * blob + rng.random((SIDE, SIDE)) * 0.05)
        .clip(0, 1)
        .astype(np.float32)
    )


def make_real(folder: Path) -> Path:
    """One image of each patient, for all three splits."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for split, count in COUNTS.items():
        for patient in [one for one in map("patient {}".format, range(900)) if split_of(one) == split][:count]:
            i = len(rows)
            ill = bool(i % 2)
            file = folder / "images" / f"{i}.png"
            write_png(file, Radiograph(picture(i, ill=ill), None, {}))
            row = Row(
                file=file,
                patient_id=patient,
                source="b" if i % 3 == 2 else "a",
                licence="CC0",
                weights_may_learn=True,
                age=20 + 2 * (i // 2),
                sex="MF"[i // 2 % 2],
                view=("PA", "AP")[i // 4 % 2],
                findings=("Pneumonia",) if ill else ("No Finding",),
            )
            rows.append(row)
    write_manifest(folder, rows)
    return folder


def make_synthetic(folder: Path, count: int = 24) -> Path:
    (folder / "images").mkdir(parents=True)
    rows = []
    for i in range(count):
        file = folder / "images" / f"{i}.png"
        write_png(file, Radiograph(picture(10_000 + i, ill=bool(i % 2)), None, {"synthetic": "yes"}))
        found = ("Pneumonia",) if i % 2 else ("No Finding",)
        rows.append(Row(file=file, source="synthetic: toy", weights_may_learn=True, findings=found))
    write_manifest(folder, rows)
    return folder


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_real(tmp_path_factory.mktemp("data") / "real")


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_synthetic(tmp_path_factory.mktemp("data") / "synthetic")


@pytest.fixture(scope="session")
def config(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ClassifierConfig]:
    """configs/classify_toy.yaml for a run folder and overrides, on the CPU in float32."""

    here = [f"data={real}", f"cache={tmp_path_factory.mktemp('cache')}", "device=cpu", "dtype=float32"]

    def load(out: Path, *overrides: str) -> ClassifierConfig:
        return load_config(ClassifierConfig, CONFIG, [f"out={out}", *here, *overrides])

    return load


@pytest.fixture(scope="session")
def toy_run(config: Callable[..., ClassifierConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of configs/classify_toy.yaml, finished."""
    out = tmp_path_factory.mktemp("runs") / "classify"
    train_classifier(config(out))
    return out
