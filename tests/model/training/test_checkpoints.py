"""Averages are the explicit sum, and checkpoints are whole or absent whatever fails."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from gen.core.errors import GenError
from gen.core.run import Run, open_run
from gen.model.training.checkpoints import Ema, load_checkpoint, newest_checkpoint, save_checkpoint
from gen.model.training.losses import ema_decay


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with open_run(tmp_path / "run", {"a": 1}) as run:
        yield run


Network = tuple[nn.Module, Ema, torch.optim.Optimizer]


def network(value: float) -> Network:
    """A small network whose every weight is about ``value``, with an average and an optimiser that have seen a step."""
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(value)
    average, optimizer = Ema(model), torch.optim.AdamW(model.parameters(), lr=0.01)
    model(torch.eye(3)).square().sum().backward()
    optimizer.step()
    average.update(model, 0.5)
    return model, average, optimizer


def save(run: Run, images: int, made: float | Network) -> None:
    model, average, optimizer = network(made) if isinstance(made, float) else made
    named = {"net": model}, {"net": average}, {"net": optimizer}
    save_checkpoint(run.folder, images, *named, lambda stage: (stage / "export.txt").write_text(str(images)))


def load(run: Run) -> tuple[int, list[str], nn.Module, Ema, torch.optim.Optimizer]:
    model, average, optimizer = network(0.0)
    before, skipped = newest_checkpoint(run.folder)
    images = load_checkpoint(before, {"net": model}, {"net": average}, {"net": optimizer})
    return images, skipped, model, average, optimizer


def test_the_average_after_k_steps_is_the_explicit_sum() -> None:
    model = nn.Linear(1, 1, bias=False)
    values = [3.0, -1.0, 4.0, 1.5, -9.0]
    with torch.no_grad():
        model.weight.fill_(values[0])
        average = Ema(model)
        for step, value in enumerate(values[1:], 1):
            model.weight.fill_(value)
            average.update(model, ema_decay(step, 0.999))
    decays = [ema_decay(step, 0.999) for step in range(1, len(values))]
    expected = values[0] * torch.tensor(decays).prod()
    for k, value in enumerate(values[1:]):
        expected += value * (1 - decays[k]) * torch.tensor(decays[k + 1 :]).prod()
    torch.testing.assert_close(average.shadow["weight"], expected.reshape(1, 1))


def test_the_average_of_a_constant_is_the_constant_and_of_half_precision_is_float32() -> None:
    model = nn.Linear(3, 2).to(torch.bfloat16)
    average = Ema(model)
    for _ in range(10):
        average.update(model, 0.9)
    assert average.shadow["weight"].dtype == torch.float32
    torch.testing.assert_close(average.shadow["weight"], model.weight.detach().float())


def test_inside_applied_the_module_is_the_average_and_afterwards_itself_to_the_last_bit() -> None:
    model, average, _ = network(1.0)
    own = {name: value.clone() for name, value in model.state_dict().items()}
    with average.applied(model):
        assert torch.equal(model[0].weight, average.shadow["0.weight"])
        assert not torch.equal(model[0].weight, own["0.weight"])
    with pytest.raises(Fault), average.applied(model):
        raise Fault
    assert all(torch.equal(value, own[name]) for name, value in model.state_dict().items())


def test_a_checkpoint_restores_weights_average_and_optimiser_to_the_last_bit(run: Run) -> None:
    save(run, 8, 2.0)
    images, skipped, model, average, optimizer = load(run)
    expected_model, expected_average, expected_optimizer = network(2.0)
    assert (images, skipped) == (8, [])
    for key, value in expected_model.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key
    for key, value in expected_average.shadow.items():
        assert torch.equal(average.shadow[key], value), key
    for index, entry in expected_optimizer.state_dict()["state"].items():
        for key, value in entry.items():
            assert torch.equal(optimizer.state_dict()["state"][index][key], value), key


def test_a_new_run_starts_at_zero(run: Run) -> None:
    assert load(run)[:2] == (0, [])


def test_the_newest_two_are_kept(run: Run) -> None:
    for images in (8, 16, 24):
        save(run, images, float(images))
    assert sorted(path.name for path in (run.folder / "checkpoints").iterdir()) == [
        "images-000000016",
        "images-000000024",
    ]


@pytest.mark.parametrize("damage", ["truncate", "remove", "flip"])
def test_a_broken_newest_checkpoint_is_skipped_said_and_replaced(run: Run, damage: str) -> None:
    save(run, 8, 1.0)
    save(run, 16, 2.0)
    file = run.folder / "checkpoints" / "images-000000016" / "state" / "net.safetensors"
    content = file.read_bytes()
    file.unlink()
    if damage != "remove":
        file.write_bytes(content[:-10] if damage == "truncate" else content[:-1] + bytes([content[-1] ^ 1]))
    images, [line], model, *_ = load(run)
    assert images == 8
    assert "images-000000016" in line
    assert "net.safetensors" in line
    assert torch.equal(model[0].weight, network(1.0)[0][0].weight)
    save(run, 16, 3.0)
    images, skipped, model, *_ = load(run)
    assert (images, skipped) == (16, [])
    assert torch.equal(model[0].weight, network(3.0)[0][0].weight)


def test_weights_that_are_not_finite_are_not_saved(run: Run) -> None:
    save(run, 8, 1.0)
    with pytest.raises(GenError, match=r"0\.weight of the net is not finite after 16 images"):
        save(run, 16, float("nan"))
    assert load(run)[0] == 8


class Fault(BaseException):
    """Not an Exception, as Ctrl-C is not one."""


@contextmanager
def failing(patch: pytest.MonkeyPatch, after: int, failure: BaseException | int) -> Iterator[list[str]]:
    """Let ``after`` file operations pass and the next one fail: raise ``failure``, or die of that signal."""
    import io

    import safetensors.torch

    done: list[str] = []

    def guard(name: str, function: object) -> object:
        def guarded(*arguments: object, **options: object) -> object:
            done.append(name)
            if len(done) == after + 1:
                if isinstance(failure, int):
                    os.kill(os.getpid(), failure)
                raise failure
            return function(*arguments, **options)

        return guarded

    with patch.context() as inner:
        for owner, names in ((os, ("fsync", "replace", "rename", "mkdir", "rmdir", "unlink")), (io, ("open",))):
            for name in names:
                inner.setattr(owner, name, guard(name, getattr(owner, name)))
        inner.setattr(safetensors.torch, "save_file", guard("save_file", safetensors.torch.save_file))
        yield done


def operations(run: Run, patch: pytest.MonkeyPatch) -> int:
    with failing(patch, 10**6, Fault()) as done:
        save(run, 10**6, 9.0)
    return len(done)


@pytest.mark.parametrize("kind", ["interrupt", "full disk"])
def test_a_fault_at_any_file_operation_leaves_the_old_checkpoint_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with open_run(tmp_path / "count", {}) as run:
        save(run, 8, 1.0)
        total = operations(run, monkeypatch)
    assert total > 30
    for after in range(total + 1):
        with open_run(tmp_path / f"run-{after}", {}) as run:
            save(run, 8, 1.0)
            fault = Fault() if kind == "interrupt" else OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            try:
                with failing(monkeypatch, after, fault):
                    save(run, 16, 2.0)
            except (Fault, GenError, OSError) as error:
                # A full disk is said in one line that names the place.
                assert kind == "interrupt" or "No space left on device" in str(error)
            images, skipped, model, *_ = load(run)
            assert images in (8, 16)
            assert skipped == []
            assert torch.equal(model[0].weight, network(images / 8)[0][0].weight)


def test_a_kill_at_any_file_operation_leaves_the_old_checkpoint_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_run(tmp_path / "count", {}) as run:
        save(run, 8, 1.0)
        total = operations(run, monkeypatch)
    for after in range(0, total + 1, 3):
        with open_run(tmp_path / f"run-{after}", {}) as run:
            save(run, 8, 1.0)
            made = network(2.0)  # before the fork: a child has none of the threads that torch may wait for
            if (child := os.fork()) == 0:
                with failing(monkeypatch, after, signal.SIGKILL):
                    save(run, 16, made)
                os._exit(0)
            os.waitpid(child, 0)
            images, _, model, *_ = load(run)
            assert images in (8, 16)
            assert torch.equal(model[0].weight, network(images / 8)[0][0].weight)
            save(run, 24, 3.0)
            assert load(run)[0] == 24
            assert not list((run.folder / "checkpoints").glob(".*")), "what the dead left behind is cleared"
