"""A judge that reads pixels, and pictures that it reads as a study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from augment.dataset.config import Gates
from augment.dataset.shards.records import MODEL, PlanRow
from gen.core.manifest import Row
from gen.judge.network import QUALITIES
from gen.judge.readings import AnyJudge, Readings, batches
from gen.judge.reference import Reference
from gen.language.study import Finding, Study

NAMES = ("Cardiomegaly", "Pneumonia")
PATIENTS = 80
TOY = Gates(least_images=30, pass_rate=0.9)


@dataclass(frozen=True)
class PixelJudge(AnyJudge):
    """It reads what it sees off the first pixels of an image, in steps of 1/255; the rest is the embedding."""

    name: str = "pixels"
    fingerprint: str = "0123456789abcdef"
    findings: tuple[str, ...] = NAMES
    reference: Reference | None = None

    def read(
        self, pixels: np.ndarray | Sequence[np.ndarray], *, on_images: Callable[[int], object] = lambda count: None
    ) -> Readings:
        seen = np.concatenate(list(batches(pixels, 8))).reshape(len(pixels), -1).astype(np.float32) / 255
        rest = seen[:, 8:] - 0.5
        return Readings(
            names=NAMES,
            findings=seen[:, :2],
            embedding=rest / np.linalg.norm(rest, axis=1, keepdims=True),
            female=seen[:, 2],
            ap=seen[:, 3],
            child=(seen[:, 4] < 0.18).astype(np.float32),
            age=seen[:, 4] * 100,
            qualities=QUALITIES,
            quality=seen[:, 5:8],
            artefact=np.full(len(seen), np.nan, np.float32),
        )


@dataclass(frozen=True)
class Truth:
    """Real radiographs that the judge sees with some doubt: more about women than about men."""

    folder: Path
    rows: list[Row] = field(default_factory=list)


def picture(seed: int, study: Study, doubt: float = 0.0) -> np.ndarray:
    """uint8 (8, 8): what `PixelJudge` reads as ``study``, but for up to ``doubt`` in each number."""
    generator = np.random.default_rng(seed)
    found = [study.findings.get(name, Finding("absent")).state == "present" for name in NAMES]
    said = [*found, study.sex == "F", study.view == "AP"]
    off = generator.random(8) * doubt
    numbers = [abs(value - shift) for value, shift in zip(map(float, said), off, strict=False)]
    numbers += [(study.age or 50) / 100 + off[4] / 3, *(1 - off[5:])]
    rest = generator.random(56)
    return np.rint(np.clip([*numbers, *rest], 0, 1) * 255).astype(np.uint8).reshape(8, 8)


def study_of(k: int) -> Study:
    findings = {NAMES[k % 2]: Finding(), NAMES[1 - k % 2]: Finding("absent")}
    return Study(age=20 + 7 * (k % 8), sex="FM"[k // 2 % 2], view=("PA", "AP")[k // 4 % 2], findings=findings)


def plan_row(study: Study, source: str = MODEL) -> PlanRow:
    return PlanRow(0, "cell", study, "", source, 0, "id")
