"""The limits of what a judge knows: how often a new image of the same kind passes them, and what their file holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gen.core.errors import BadInput
from gen.core.manifest import Row
from gen.judge.familiar import FALSE_ALARMS, FAMILIAR, Familiar, fit_familiar, read_familiar, unfamiliar, write_familiar
from gen.judge.readings import Readings, blank
from gen.judge.reference import index_of


def readings(count: int, rng: np.random.Generator) -> Readings:
    none = blank(count, rng.normal(size=(count, 16)))
    return Readings(**{**vars(none), "artefact": rng.random(count).astype(np.float32)})


def test_of_new_images_no_more_pass_a_limit_than_it_says() -> None:
    rng = np.random.default_rng(0)
    rows = [Row(file=Path(f"{i}.png"), file_name=f"{i}.png", patient_id=str(i)) for i in range(50)]
    reference = index_of(rng.normal(size=(50, 16)), rows, rng.normal(size=(9, 16)), "judge")
    passed = []
    for _ in range(60):
        familiar, new = fit_familiar(readings(99, rng), reference), readings(50, rng)
        assert familiar.false_alarms <= FALSE_ALARMS
        said = [unfamiliar(new.judgement(i), familiar, reference) for i in range(len(new))]
        passed.append([np.mean([any(why.startswith(word) for why in of) for of in said]) for word in ("dist", "arte")])
    error = 2 * np.std(passed, 0) / np.sqrt(len(passed))
    assert (np.mean(passed, 0) < familiar.false_alarms + error).all()
    assert (np.mean(passed, 0) > familiar.false_alarms - 2 * error).all()


def test_a_judge_without_limits_says_nothing() -> None:
    assert unfamiliar(readings(1, np.random.default_rng(0)).judgement(0), None, None) == []


def test_the_file_gives_them_back_and_a_broken_one_is_named(tmp_path: Path) -> None:
    familiar = Familiar(0.2, 0.7, 0.02, 99)
    write_familiar(tmp_path / FAMILIAR, familiar)
    assert read_familiar(tmp_path / FAMILIAR) == familiar
    (tmp_path / FAMILIAR).write_text('{"distance": 1}')
    with pytest.raises(BadInput, match=r"familiar\.json is not a judge's limits"):
        read_familiar(tmp_path / FAMILIAR)
