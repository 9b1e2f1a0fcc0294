"""Real images, a reference index and gates of the toy judge, and the bundled gates."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from augment.dataset.config import Gates
from augment.dataset.gates.calibration import RealImage
from augment.dataset.gates.gate_set import (
    GateSet,
    gate_set_of,
    open_gate_set,
)
from augment.dataset.gates.scores import measure
from gen.core.manifest import Row, write_manifest
from gen.core.radiograph import Radiograph, write_png
from gen.judge.reference import Reference, index_of
from tests.augment.dataset.gates.toy_gates import PATIENTS, TOY, PixelJudge, Truth, picture, study_of


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    folder = tmp_path_factory.mktemp("real")
    truth = Truth(folder)
    for k in range(2 * PATIENTS):
        study = study_of(k)
        file = folder / f"{k}.png"
        write_png(file, Radiograph(picture(k, study, 0.9 if study.sex == "F" else 0.6) / np.float32(255), None, {}))
        row = Row(file=file, file_name=file.name, patient_id=f"patient {k % PATIENTS}", sha256=f"{k:064x}")
        truth.rows.append(replace(row, study=json.dumps(study.to_json_dict())))
    write_manifest(folder, truth.rows)
    return truth


@pytest.fixture(scope="module")
def images(real: Truth) -> list[RealImage]:
    return measure(PixelJudge(), real.rows)


@pytest.fixture(scope="module")
def indexed() -> Reference:
    """An index of 50 images of other people, measured by 300 more."""
    generator = np.random.default_rng(1)
    rows = [Row(file=Path(f"{k}.png"), file_name=f"{k}.png", patient_id=f"known {k}") for k in range(50)]
    return index_of(generator.random((50, 56)) - 0.5, rows, generator.random((300, 56)) - 0.5, "0123456789abcdef")


@pytest.fixture(scope="module")
def gate_set(images: list[RealImage], indexed: Reference) -> GateSet:
    return gate_set_of(PixelJudge(reference=indexed), TOY, images, "toy images")


@pytest.fixture(scope="module")
def bundled() -> GateSet:
    found = open_gate_set(Gates(), device="cpu")
    assert found is not None
    return found
