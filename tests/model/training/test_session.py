"""The session that trainers share: the schedule, the finite guard, and a toy trainer that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from gen.core.config import number
from gen.core.errors import BadInput, GenError
from gen.core.noise import standard_normal
from gen.core.run import derived_seed, read_log
from gen.model.training import session
from gen.model.training.session import Session, TrainingConfig


@dataclass(frozen=True)
class SlopeConfig(TrainingConfig):
    slope: float = 3.0
    images: int = number(400, above=0)
    batch_size: int = number(4, above=0)
    learning_rate: float = number(0.2, above=0)
    ema: float = number(0.9, below=1)
    checkpoint_every: int = number(80, above=0)
    validate_every: int = number(40, above=0)
    device: str = "cpu"
    dtype: str = "float32"


def train_slope(config: SlopeConfig, stop: Callable[[int], None] = lambda images: None) -> Path:
    """Learn the slope of a line through 0: a whole trainer."""
    training = Session(config)
    bare = nn.Linear(1, 1, bias=False)
    with training.open():
        training.start("line", bare, {"line": torch.optim.AdamW(bare.parameters(), lr=config.learning_rate)})
        model = training.accelerator.prepare(bare)

        while True:
            if training.due(config.validate_every, at_start=True):
                with training.averaged():
                    training.log("validation", error=abs(float(bare.weight) - config.slope))
            if training.due(config.checkpoint_every):
                training.save(lambda stage: save_file({"slope": bare.weight.detach().clone()}, stage / "line"))
            if training.finished():
                return training.folder / "line"

            stop(training.images)
            seeds = [derived_seed(config.seed, place) for place in training.places()]
            x = torch.from_numpy(np.stack([standard_normal((1,), seed) for seed in seeds]))
            with training.accelerator.accumulate(model):
                loss = (model(x) - config.slope * x).square().mean()
                training.step(loss, [f"{seed}.png" for seed in seeds])


class Fault(BaseException):
    """Not an Exception, as Ctrl-C is not one."""


@given(st.integers(0, 10_000), st.floats(1e-6, 1), st.integers(0, 2_000), st.floats(0.01, 1))
def test_learning_rate_rises_stays_and_falls_to_zero(images: int, peak: float, warmup: int, cooldown: float) -> None:
    total = 10_000
    rate = session.learning_rate(images, peak, warmup, total, cooldown)
    assert 0 <= rate <= peak
    if warmup <= images <= total * (1 - cooldown):
        assert rate == pytest.approx(peak)
    if images < warmup and images < total * (1 - cooldown):
        assert rate == pytest.approx(peak * (images + 1) / (warmup + 1))
    if images >= max(warmup, total * (1 - cooldown)):
        assert rate == pytest.approx(peak * (1 - images / total) / cooldown)
    assert session.learning_rate(total, peak, warmup, total, cooldown) == 0
    assert session.learning_rate(0, peak, warmup, total, cooldown) > 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_the_files(value: float) -> None:
    with pytest.raises(GenError, match=r"after 96 images, in the batch of a\.png, b\.png; look at these files"):
        session.require_finite(torch.tensor(value), ["a.png", "b.png"], 96)
    with pytest.raises(GenError, match=r"a, b, c, d and 2 more;"):
        session.require_finite(torch.tensor(value), list("abcdef"), 96)
    assert session.require_finite(torch.tensor(0.5), ["a"], 0) == 0.5


def test_float16_training_is_refused() -> None:
    with pytest.raises(BadInput, match="training in float16 is not offered; use dtype=bfloat16"):
        session.make_accelerator(".", "cpu", "float16", 1)


def test_runs_of_different_precision_follow_each_other_in_one_process(tmp_path: Path) -> None:
    for dtype, mixed in (("bfloat16", "bf16"), ("float32", "no")):
        assert session.make_accelerator(tmp_path, "cpu", dtype, 2).mixed_precision == mixed
    assert not list(tmp_path.iterdir())


def test_a_gpu_is_taken_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(device: torch.device) -> None:
        raise Fault(device)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken)
    with pytest.raises(Fault, match="cuda:1"):
        session.make_accelerator(".", "cuda:1", "float32", 1)


def state(run: Path, images: int) -> dict[str, torch.Tensor]:
    files = sorted((run / "checkpoints" / f"images-{images:09d}").rglob("*.safetensors"))
    return {f"{file.stem} {key}": value for file in files for key, value in load_file(file).items()}


def test_a_trainer_of_forty_lines_learns_and_logs_what_it_costs(tmp_path: Path) -> None:
    slope = load_file(train_slope(SlopeConfig(str(tmp_path / "run"))))["slope"]
    assert float(slope) == pytest.approx(3, abs=0.05)
    rows = read_log(tmp_path / "run")
    assert [row["images"] for row in rows if row["event"] == "validation"] == list(range(0, 401, 40))
    steps = [row for row in rows if row["event"] == "train"]
    assert [row["images"] for row in steps] == list(range(80, 401, 80))
    assert all(row["images_per_second"] > 0 and row["peak_memory_mib"] > 50 for row in steps)
    assert steps[0]["learning_rate"] == 0.2
    assert steps[-1]["learning_rate"] == pytest.approx(0.2 * (1 - 396 / 400) / 0.1)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("moment", [4, 80, 236, 396])
def test_a_trainer_that_is_stopped_anywhere_ends_as_the_unbroken_one(
    tmp_path: Path, accumulate: int, moment: int
) -> None:
    def stop(images: int) -> None:
        if images == moment:
            raise Fault

    config = SlopeConfig(str(tmp_path / "stopped"), accumulate=accumulate)
    with pytest.raises(Fault):
        train_slope(config, stop)
    train_slope(config)
    train_slope(replace(config, out=str(tmp_path / "unbroken")))
    one, other = (state(tmp_path / name, 400) for name in ("stopped", "unbroken"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_copy_of_a_run_goes_on_from_its_newest_checkpoint_and_leaves_it_alone(tmp_path: Path) -> None:
    steady = SlopeConfig(str(tmp_path / "steady"), images=160, cooldown=0.0)
    train_slope(steady)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "steady").rglob("*")}
    release = replace(steady, out=str(tmp_path / "release"), images=240, cooldown=1 / 3, resume_from=steady.out)
    train_slope(release)
    rows = [row for row in read_log(tmp_path / "release") if row["event"] == "train"]
    assert [row["images"] for row in rows] == [240]
    assert rows[-1]["learning_rate"] < 0.2 * 0.1
    whole = replace(steady, out=str(tmp_path / "whole"), images=240, cooldown=1 / 3)
    train_slope(whole)
    one, other = (state(tmp_path / name, 240) for name in ("release", "whole"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "steady").rglob("*")}
    with pytest.raises(BadInput, match="no whole checkpoint"):
        train_slope(replace(release, out=str(tmp_path / "other"), resume_from=str(tmp_path / "nowhere")))


def test_nothing_is_due_between_two_batches_of_one_step_and_all_that_is_wanted_at_the_end(tmp_path: Path) -> None:
    config = SlopeConfig(str(tmp_path / "run"), images=90, accumulate=5, validate_every=20, checkpoint_every=1000)
    assert train_slope(config).parent.name == "images-000000100", "whole steps only"
    assert [row["images"] for row in read_log(tmp_path / "run") if "error" in row] == [0, 20, 40, 60, 80, 100]
    [checkpoint] = (tmp_path / "run" / "checkpoints").iterdir()
    assert json.loads((checkpoint / "state" / "progress.json").read_text()) == {"images": 100}


def test_what_is_done_every_0_images_is_never_due(tmp_path: Path) -> None:
    assert not Session(SlopeConfig(str(tmp_path))).due(0, at_start=True)


def test_two_batches_of_four_are_one_of_eight_in_every_step(tmp_path: Path) -> None:
    shapes = {"whole": {"batch_size": 8}, "parts": {"accumulate": 2}}
    for name, shape in shapes.items():
        train_slope(SlopeConfig(str(tmp_path / name), **shape))
    whole, parts = (state(tmp_path / name, 400) for name in shapes)
    for key, value in whole.items():
        torch.testing.assert_close(parts[key], value, rtol=1e-4, atol=1e-6)


def test_a_loss_that_explodes_stops_the_trainer_before_it_is_learnt_from(tmp_path: Path) -> None:
    with pytest.raises(GenError, match=r"the loss is nan after 0 images, in the batch of \d+\.png, "):
        train_slope(SlopeConfig(str(tmp_path / "run"), slope=float("nan")))
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_only_the_main_process_speaks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for main in (True, False):
        training = Session(SlopeConfig(str(tmp_path)))
        monkeypatch.setattr(type(training.accelerator), "is_main_process", main)
        training.print("a line")
        assert training.due(1, at_start=True) == main
    assert capsys.readouterr().err.count("a line") == 1
