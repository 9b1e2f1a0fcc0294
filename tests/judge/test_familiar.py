"""The limits of what a judge knows: how often a new image of the same kind passes them, and what their file holds."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from gen.core.errors import BadInput
from gen.core.manifest import Row
from gen.judge.familiar import FALSE_ALARMS, FAMILIAR, Familiar, fit_familiar, read_familiar, unfamiliar, write_familiar
from gen.judge.readings import Readings, blank
from gen.judge.reference import Reference, index_of


def readings(count: int, rng: np.random.Generator) -> Readings:
    none = blank(count, rng.normal(size=(count, 16)))
    return Readings(**{**vars(none), "artefact": rng.random(count).astype(np.float32)})


def reference_of(rng: np.random.Generator) -> Reference:
    rows = [Row(file=Path(f"{i}.png"), file_name=f"{i}.png", patient_id=str(i)) for i in range(50)]
    return index_of(rng.normal(size=(50, 16)), rows, rng.normal(size=(9, 16)), "judge")


def share_unlike(familiar: Familiar, new: Readings, soundness: np.ndarray, reference: Reference) -> float:
    said = [unfamiliar(new.judgement(i), soundness[i], "", familiar, reference) for i in range(len(new))]
    return float(np.mean([bool(reasons) for reasons in said]))


def test_of_new_images_no_more_pass_any_limit_than_it_says() -> None:
    rng = np.random.default_rng(0)
    reference, passed = reference_of(rng), []
    patients = [str(i) for i in range(99)]
    for _ in range(60):
        familiar = fit_familiar(readings(99, rng), rng.random(99), patients, reference)
        assert familiar.false_alarms <= FALSE_ALARMS
        passed.append(share_unlike(familiar, readings(50, rng), rng.random(50), reference))
    error = 2 * np.std(passed) / np.sqrt(len(passed))
    assert np.mean(passed) < familiar.false_alarms + error
    assert np.mean(passed) > familiar.false_alarms - 2 * error


def test_a_patient_with_many_images_moves_the_limits_no_more_than_one_with_one() -> None:
    rng = np.random.default_rng(1)
    reference = reference_of(rng)
    seen, soundness = readings(99, rng), rng.random(99)
    once = fit_familiar(seen, soundness, [str(i) for i in range(99)], reference)
    again = np.r_[np.arange(99), np.repeat(soundness.argmin(), 30)]  # the films of one long stay
    repeated = Readings(
        **{
            name: value[again] if isinstance(value, np.ndarray) and len(value) == 99 else value
            for name, value in vars(seen).items()
        }
    )
    often = fit_familiar(repeated, soundness[again], [str(i) for i in again], reference)
    assert (often.images, often.patients) == (129, 99)
    assert astuple(often)[:4] == pytest.approx(astuple(once)[:4])


def test_each_signal_alone_is_enough_and_says_so() -> None:
    rng = np.random.default_rng(2)
    reference = reference_of(rng)
    seen = readings(1, rng).judgement(0)
    assert seen.artefact is not None
    near = float(reference.nearest(seen.embedding[None])[0][0]) + 0.01, seen.artefact + 0.01, 0.4
    for place, change, word in ((0, -0.02, "distance"), (1, -0.02, "artefact"), (2, 0.2, "upside down")):
        limits = [limit + change * (place == i) for i, limit in enumerate(near)]
        [reason] = unfamiliar(seen, 0.5, "upside down", Familiar(*limits, 0.05, 9, 9), reference)
        assert word in reason
    assert unfamiliar(seen, 0.5, "upside down", Familiar(*near, 0.05, 9, 9), reference) == []


def test_a_judge_without_limits_leaves_it_to_the_anatomy() -> None:
    seen = readings(1, np.random.default_rng(0)).judgement(0)
    assert unfamiliar(seen, 0.9, "", None, None) == []
    assert unfamiliar(seen, 0.0, "no lung was found", None, None) == ["no lung was found"]


def test_the_file_gives_them_back_and_a_broken_one_is_named(tmp_path: Path) -> None:
    familiar = Familiar(0.2, 0.7, 0.6, 0.04, 99, 60)
    write_familiar(tmp_path / FAMILIAR, familiar)
    assert read_familiar(tmp_path / FAMILIAR) == familiar
    (tmp_path / FAMILIAR).write_text('{"distance": 1}')
    with pytest.raises(BadInput, match=r"familiar\.json is not a judge's limits"):
        read_familiar(tmp_path / FAMILIAR)
