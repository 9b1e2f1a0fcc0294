"""Pairs of a phantom add up and are told apart; a toy training turns, resumes and leaves a network that is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from augment.suppress.config import SuppressConfig
from augment.suppress.folder import load_suppressor
from augment.suppress.pairs import ADDED, BONE, CLEAR, LEFT_OUT, LUNG, REGIONS, SOFT, make_pairs, patients_of
from augment.suppress.patients import keys_of, split_patients
from augment.suppress.separate import separate
from augment.suppress.train import train_suppress
from gen.core.config import load_config
from gen.core.errors import BadInput
from gen.core.files import verify_folder
from tests.augment.suppress.conftest import drawn_image

CONFIG = Path(__file__).parents[3] / "configs" / "suppress_toy.yaml"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, gen_train: Callable[..., None]) -> Path:
    out = tmp_path_factory.mktemp("run") / "suppress"
    gen_train("suppress", CONFIG, f"out={out}")
    return out


def test_a_toy_training_leaves_a_network_that_is_used(trained: Path) -> None:
    folder = trained / "suppress"
    assert not verify_folder(folder)
    parts = separate(load_suppressor(folder), drawn_image((150, 130)))
    assert parts.bone.any()


def test_what_bone_adds_lies_where_bone_is(trained: Path) -> None:
    for path in sorted((trained / "pairs").glob("*.npy")):
        pair = np.load(path).astype(np.float32)
        regions = pair[REGIONS].astype(np.uint8)
        assert np.isfinite(pair).all()
        assert not ((regions & BONE > 0) & (regions & CLEAR > 0)).any()
        assert 0.1 < (regions & LUNG > 0).mean() < 0.6
        assert not (regions & LEFT_OUT).any()  # the arms of a phantom hang down
        assert pair[ADDED][regions & BONE > 0].mean() > 0.05 > pair[ADDED][regions & CLEAR > 0].mean()
        assert pair[SOFT][regions & LUNG > 0].mean() < pair[SOFT][regions & LUNG == 0].max()


def test_finished_pairs_are_not_made_again(trained: Path) -> None:
    [patient] = patients_of(None, 1, 0)
    unread = replace(patient, read=lambda: pytest.fail("it was read again"))
    paths = make_pairs(unread, trained / "pairs", scenes=1, poses=2, size=128, seed=0)
    assert all(path.exists() for path in paths)


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (["crop=60"], "crop is 60"),
        (["validation=[phantom-007]"], "not there"),
        (["validation=[]", "phantoms=1"], "no patient for train"),
        (["phantoms=0"], "validation names phantom-001"),
        (["validation=[phantom-000,phantom-001]"], "no patient for train"),
        (["data=/nowhere"], "not readable as a table of CTs"),
        (["shape.channels=[]"], "no levels"),
    ],
)
def test_a_config_that_cannot_be_is_refused_and_leaves_nothing(tmp_path: Path, overrides: list[str], why: str) -> None:
    config = load_config(SuppressConfig, CONFIG, [f"out={tmp_path / 'run'}", *overrides])
    with pytest.raises(BadInput, match=why):
        train_suppress(config)
    assert not (tmp_path / "run").exists()


def test_without_cts_the_names_of_cts_do_not_count() -> None:
    cts = {"leave_out": ["head.nii.gz"], "validation": ["a.nii.gz"]}
    split = split_patients(SuppressConfig(out="", data=None, phantoms=9, **cts))
    assert {name: len(group) for name, group in split.items()} == {"train": 8, "validation": 1}
    again = split_patients(SuppressConfig(out="", data=None, phantoms=9))
    assert keys_of(again) == keys_of(split)


def test_what_is_left_out_is_no_patient() -> None:
    config = SuppressConfig(out="", data=None, phantoms=4, leave_out=["phantom-001"], validation=["phantom-002"])
    assert keys_of(split_patients(config)) == {"train": "phantom-000;phantom-003", "validation": "phantom-002"}


def test_every_ct_that_weights_may_learn_from_is_a_patient(tmp_path: Path) -> None:
    lines = [
        "file,weights_may_learn",
        "yes.nii.gz,yes",
        "no.nii.gz,no",
        "yes.seg.nii.gz,yes",
    ]
    (tmp_path / "index.csv").write_text("\n".join(lines))
    assert [patient.key for patient in patients_of(tmp_path, 1, 0)] == ["yes.nii.gz", "phantom-000"]
