"""Training the judge: a stopped run equals an unbroken one, it learns, and its folder is whole and says what it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gen.core.errors import BadInput
from gen.core.files import verify_folder
from gen.core.manifest import read_manifest, write_manifest
from gen.core.run import read_log
from gen.data.split import split_rows
from gen.images.reader import read_radiograph
from gen.judge import train
from gen.judge.fakes import RECONSTRUCTION_SHARE, SAMPLE_SHARE, Fakes, fake_sources_of
from gen.judge.framings import FRAMINGS
from gen.judge.judge import load_judge
from gen.model.training import session

Config = Callable[..., train.JudgeConfig]
LAST = "checkpoints/images-000000096"


def test_a_stopped_run_goes_on_to_the_same_bits(
    toy_run: Path, toy_data: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = session.save_checkpoint

    def save_and_stop(*arguments: Any, **more: Any) -> Path:
        save(*arguments, **more)
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "save_checkpoint", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        train.train_judge(config(tmp_path / "run", toy_data))
    monkeypatch.undo()
    train.train_judge(config(tmp_path / "run", toy_data))
    for part in ("judge", "judge.ema", "judge.optimizer"):
        one, other = (load_file(run / LAST / "state" / f"{part}.safetensors") for run in (toy_run, tmp_path / "run"))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    for name in ("calibration.json", "figures.json", "README.md", "reference.safetensors", "heads.safetensors"):
        assert (toy_run / "judge" / name).read_bytes() == (tmp_path / "run" / "judge" / name).read_bytes()


def test_a_finished_run_is_left_alone_and_another_config_refused(toy_run: Path, toy_data: Path, config: Config) -> None:
    before = (toy_run / "judge" / "DIGESTS.json").stat().st_mtime_ns
    assert train.train_judge(config(toy_run, toy_data)) == toy_run / "judge"
    assert (toy_run / "judge" / "DIGESTS.json").stat().st_mtime_ns == before
    with pytest.raises(BadInput, match="images: 96 -> 128"):
        train.train_judge(config(toy_run, toy_data, "images=128"))


def test_the_folder_is_whole_small_and_its_trunk_is_stock(toy_judge: Path) -> None:
    from transformers import AutoModel

    assert verify_folder(toy_judge) == []
    trunk = AutoModel.from_pretrained(toy_judge / "trunk", local_files_only=True)
    assert type(trunk).__name__ == "ResNetModel"
    stored = {**load_file(toy_judge / "trunk" / "model.safetensors"), **load_file(toy_judge / "heads.safetensors")}
    assert {value.dtype for value in stored.values() if value.is_floating_point()} == {torch.float16}
    averaged = load_file(toy_judge.parent / LAST / "state" / "judge.ema.safetensors")
    for name, value in load_file(toy_judge / "heads.safetensors").items():
        if value.is_floating_point():
            torch.testing.assert_close(value.float(), averaged[name], rtol=1e-3, atol=1e-4)


def test_the_card_quotes_the_figures_and_the_figures_count_the_test_images(toy_judge: Path, toy_data: Path) -> None:
    figures = json.loads((toy_judge / "figures.json").read_text())
    card = (toy_judge / "README.md").read_text()
    held_out = split_rows(read_manifest(toy_data))["test"]
    assert figures["split"] == "test"
    assert figures["films"] == len(held_out)
    assert figures["female"]["positive"] == sum(row.sex == "F" for row in held_out)
    assert sum(figures["groups"][f"source={source}"]["films"] for source in "ab") == len(held_out)
    value, low, high = figures["female"]["auroc"]
    assert f"{value:.2f} [{low:.2f}, {high:.2f}]" in card
    assert "CC0" in card
    assert "must not be used to" in card


def test_it_learns_what_can_be_learnt(toy_data: Path, config: Config, tmp_path: Path) -> None:
    """Sex and illness are bright patches in the toy images; a few hundred images suffice on unseen patients."""
    more = ("images=1600", "batch_size=16", "learning_rate=1e-2", "validate_every=1600", "checkpoint_every=1600")
    folder = train.train_judge(config(tmp_path / "run", toy_data, *more))
    last = [row for row in read_log(tmp_path / "run") if row["event"] == "validation"][-1]
    assert last["sex (as it is)"] > 0.9
    assert last["findings (as it is)"] > 0.9
    judge = load_judge(folder, device="cpu")
    images = split_rows(read_manifest(toy_data))["test"]
    seen = judge.predict([read_radiograph(row.file).pixels for row in images])
    right = [(one.female or 0) > 0.5 for one in seen]
    assert np.mean([a == (row.sex == "F") for a, row in zip(right, images, strict=True)]) >= 0.75


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("crop=16", "crop is 16; use 17 to 32 pixels"),
        ("crop=33", "crop is 33"),
        ("batch_size=0", "batch_size is 0; it must be above 0"),
        ("ema=1.0", "ema is 1.0"),
        ("dtype=float16", "float16 is not offered"),
        ("leave_out=[c]", "no row is of the source 'c'"),
        ("samples=nowhere", "nowhere holds no metadata.csv"),
        ("prepared=nowhere", "nowhere holds no metadata.csv"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_written(
    toy_data: Path, config: Config, tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(BadInput, match=message.replace("(", r"\(")):
        train.train_judge(config(tmp_path / "run", toy_data, override))
    assert not (tmp_path / "run").exists()


def test_prepared_images_are_learnt_and_told_apart_from_others_in_figures_and_card(
    toy_run: Path, toy_data: Path, config: Config, tmp_path: Path
) -> None:
    folder = train.train_judge(config(tmp_path / "run", toy_data, f"prepared={toy_data}"))
    alone, both = (json.loads((run / "judge" / "figures.json").read_text()) for run in (toy_run, tmp_path / "run"))
    assert set(alone["framings"]) == {FRAMINGS[0]}
    assert set(both["framings"]) == set(FRAMINGS)
    assert {of["films"] for of in both["framings"].values()} == {both["films"]}
    same, plain, varied = (both["framings"][name] for name in FRAMINGS)
    assert same == plain != varied  # here the prepared images are the images themselves
    cards = [(run / "judge" / "README.md").read_text() for run in (toy_run, tmp_path / "run")]
    assert ["| varied |" in card and "gen data prepare" in card for card in cards] == [False, True]
    weights = [load_file(run / "judge" / "heads.safetensors")["heads.weight"] for run in (toy_run, tmp_path / "run")]
    assert not torch.equal(*weights)
    assert verify_folder(folder) == []


def test_a_prepared_folder_of_other_images_is_refused(config: Config, toy_data: Path, tmp_path: Path) -> None:
    rows = [replace(row, patient_id=f"another {row.patient_id}") for row in read_manifest(toy_data).rows]
    shutil.copytree(toy_data, tmp_path / "others")
    write_manifest(
        tmp_path / "others", [replace(row, file=tmp_path / "others" / row.file.relative_to(toy_data)) for row in rows]
    )
    with pytest.raises(BadInput, match="nothing that was made of the training images"):
        train.train_judge(config(tmp_path / "run", toy_data, f"prepared={tmp_path / 'others'}"))
    assert not (tmp_path / "run").exists()


def test_samples_are_forgeries_by_split_and_part_of_what_a_run_is(toy_data: Path, tmp_path: Path) -> None:
    without, with_samples = fake_sources_of(None, None), fake_sources_of(None, str(toy_data))
    assert without.inputs()["generator"] == with_samples.inputs()["generator"]
    assert without.inputs()["samples"] != with_samples.inputs()["samples"]
    images = np.zeros((2, 32, 32), np.uint8)
    fakes = {split: with_samples.arrays(images, 1, split, 32, tmp_path) for split in ("train", "validation")}
    assert len(fakes["train"].samples) > len(fakes["validation"].samples) > 0
    assert fakes["train"].reconstructions.shape == (1, 32, 32)
    drawn = [fakes["train"].draw(images[0] / np.float32(255), np.random.default_rng(i)) for i in range(40)]
    kept = [image for image in drawn if (np.rint(image * 255) == fakes["train"].samples).all((1, 2)).any()]
    assert 6 <= len(kept) <= 26  # two in five are samples


@pytest.mark.parametrize("which", ["samples and reconstructions", "reconstructions", "neither"])
def test_each_kind_of_forgery_comes_as_often_as_its_share_whatever_else_is_there(which: str) -> None:
    none = np.empty((0, 8, 8), np.uint8)
    samples = np.full((1, 8, 8), 1, np.uint8) if "samples" in which else none
    rebuilt = np.full((1, 8, 8), 2, np.uint8) if "reconstructions" in which else none
    image = np.random.default_rng(0).random((8, 8)).astype(np.float32)
    rng = np.random.default_rng(1)
    drawn = [np.rint(Fakes(samples, rebuilt).draw(image, rng) * 255).mean() for _ in range(600)]
    for value, images, share in ((1, samples, SAMPLE_SHARE), (2, rebuilt, RECONSTRUCTION_SHARE)):
        assert drawn.count(value) / 600 == pytest.approx(share if len(images) else 0, abs=0.06)
