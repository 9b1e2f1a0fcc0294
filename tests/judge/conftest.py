"""Toy images with what a judge can learn in them, and one toy judge, trained once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gen.core.config import load_config
from gen.core.manifest import Row, split_of, write_manifest
from gen.core.radiograph import Radiograph, write_png
from gen.judge.train import JudgeConfig

CONFIG = Path(__file__).parents[2] / "configs" / "judge_toy.yaml"
COUNTS = {"train": 24, "validation": 8, "test": 8}
SIDE = 36  # pixels


def image(i: int, *, ill: bool, female: bool) -> np.ndarray:
    """float32 (40, 36): a bright blob where a patient is ill, a bright lower half where she is female, and texture."""
    down, across = np.mgrid[:40, :SIDE] / 40
    blob = np.exp(-((down - 0.3) ** 2 + (across - 0.6) ** 2) * 60)
    texture = np.random.default_rng(i).random((40, SIDE)) * 0.15
    return (0.1 + 0.15 * down + 0.5 * ill * blob + 0.2 * female * (down > 0.6) + texture).astype(np.float32)


def make_data(folder: Path) -> Path:
    """Images of one patient each, for all three splits; every third row of the sources "a" and "b" is of "b"."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for split, count in COUNTS.items():
        patients = [patient for patient in map("patient {}".format, range(400)) if split_of(patient) == split][:count]
        for patient in patients:
            i = len(rows)
            ill, female = bool(i % 2), bool(i // 2 % 2)
            file = folder / "images" / f"{i}.png"
            write_png(file, Radiograph(image(i, ill=ill, female=female), None, {}))
            row = Row(
                file=file,
                patient_id=patient,
                source="b" if i % 3 == 2 else "a",
                licence="CC0",
                weights_may_learn=True,
                age=20 + i,
                sex="MF"[female],
                view=("PA", "AP")[i // 4 % 2],
                findings=("Pneumonia",) if ill else ("No Finding",),
            )
            rows.append(row)
    write_manifest(folder, rows)
    return folder


def toy_overrides(out: Path, data: Path) -> list[str]:
    return [f"out={out}", f"data={data}", "device=cpu", "dtype=float32"]


def toy_config(out: Path, data: Path, *overrides: str) -> JudgeConfig:
    return load_config(JudgeConfig, CONFIG, [*toy_overrides(out, data), *overrides])


@pytest.fixture(scope="session")
def config() -> Callable[..., JudgeConfig]:
    """configs/judge_toy.yaml for a run folder, a data folder and overrides, on the CPU in float32."""
    return toy_config


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "toy")


@pytest.fixture(scope="session")
def toy_run(gen_train: Callable[..., None], toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of configs/judge_toy.yaml, finished."""
    out = tmp_path_factory.mktemp("runs") / "judge"
    gen_train("judge", CONFIG, *toy_overrides(out, toy_data))
    return out


@pytest.fixture(scope="session")
def toy_judge(toy_run: Path) -> Path:
    """The judge's folder in it."""
    return toy_run / "judge"
