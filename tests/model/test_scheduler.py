"""Every scheduler of diffusers runs to an image or is refused by name, before a weight is read."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers.schedulers
import numpy as np
import pytest

from gen.core.errors import BadInput
from gen.model.folder import check_model_folder
from gen.model.sampling.pipeline import load_pipeline, sample
from gen.model.scheduler import CONFIG, SAMPLED_ONLY, TRAINABLE, check_scheduler

BETAS: dict[str, Any] = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
ALL = sorted(name for name in dir(diffusers.schedulers) if name.endswith("Scheduler"))
RUNNABLE = TRAINABLE + SAMPLED_ONLY


def named(folder: Path, name: str, **config: object) -> Path:
    """``folder``, with a scheduler of class ``name`` in it, and without a weight."""
    for file in folder.rglob("*.safetensors"):
        file.write_bytes(b"")
    text = json.dumps({"_class_name": name, "num_train_timesteps": 1000, **config})
    (folder / "scheduler" / CONFIG).write_text(text)
    return folder


@pytest.mark.parametrize("name", RUNNABLE)
@pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")  # diffusers with NumPy 2
def test_what_is_supported_runs_to_an_image_that_its_seed_decides(broken_model: Path, name: str) -> None:
    kind = getattr(diffusers.schedulers, name)
    known = inspect.signature(kind.__init__).parameters
    kind(**{key: value for key, value in BETAS.items() if key in known}).save_pretrained(broken_model / "scheduler")
    pipeline = load_pipeline(broken_model, device="cpu", dtype="float32")
    prompts, settings = ["AP view.", "PA view."], {"steps": 4, "guidance": 1.5}
    both = [image.pixels for image in sample(pipeline, prompts, [1, 2], **settings)]
    [alone] = [image.pixels for image in sample(pipeline, prompts[1:], [2], **settings)]
    assert np.isfinite(both).all()
    assert np.array_equal(both[1], alone)


@pytest.mark.parametrize("name", sorted({*ALL, "QuickScheduler", ""} - {*RUNNABLE}))
def test_every_other_class_is_refused_by_name_before_weights_are_read(broken_model: Path, name: str) -> None:
    with pytest.raises(BadInput, match=f"scheduler class {name!r} is not supported"):
        check_model_folder(named(broken_model, name))


@pytest.mark.parametrize("name", TRAINABLE)
@pytest.mark.parametrize(
    ("config", "culprit"),
    [
        ({"prediction_type": "sample"}, "prediction_type 'sample' is not supported"),
        ({"prediction_type": "flow_prediction"}, "prediction_type 'flow_prediction' is not supported"),
        ({"use_flow_sigmas": True}, "flow matching"),
        ({"rescale_betas_zero_snr": True}, "'epsilon' at zero terminal SNR"),
        ({"prediction_type": "epsilon", "rescale_betas_zero_snr": True}, "'epsilon' at zero terminal SNR"),
        ({"trained_betas": [0.1, 0.5, 1.0]}, "'epsilon' at zero terminal SNR"),
    ],
)
def test_a_process_that_no_u_net_here_can_have_learnt_is_refused(
    tmp_path: Path, name: str, config: dict[str, object], culprit: str
) -> None:
    (tmp_path / "scheduler").mkdir()
    for training in (False, True):
        with pytest.raises(BadInput, match=culprit):
            check_scheduler(named(tmp_path, name, **config) / "scheduler", training=training)


def test_a_velocity_at_zero_terminal_snr_and_a_noise_elsewhere_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "scheduler").mkdir()
    for config in (
        {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
        {"prediction_type": "epsilon", "rescale_betas_zero_snr": False},
        {"beta_schedule": "squaredcos_cap_v2"},
    ):
        check_scheduler(named(tmp_path, "DDIMScheduler", **config) / "scheduler", training=True)


@pytest.mark.parametrize("command", ["sample", "dry run", "train", "dataset"])
def test_every_command_refuses_it_with_exit_code_2(
    gen: Callable[..., Any], broken_model: Path, toy_data: Path, tmp_path: Path, command: str
) -> None:
    model, configs = named(broken_model, "FlowMatchEulerDiscreteScheduler"), Path(__file__).parents[2] / "configs"
    out = tmp_path / "out"
    call = {
        "sample": ("sample", "--model", model, "--prompt", "effusion", "--out", out),
        "dry run": ("sample", "--model", model, "--prompt", "effusion", "--dry-run"),
        "train": ("train", "denoiser", configs / "finetune.yaml", f"init={model}", f"data={toy_data}", f"out={out}"),
        "dataset": ("dataset", "make", configs / "balanced_toy.yaml", f"model={model}", "--out", out),
    }[command]
    ended = gen(*call)
    assert ended.code == 2
    assert "scheduler class 'FlowMatchEulerDiscreteScheduler' is not supported" in ended.err
    assert not out.exists()


def test_guidance_within_an_interval_is_refused_where_the_solver_knows_no_alphas(broken_model: Path) -> None:
    diffusers.schedulers.EDMEulerScheduler(prediction_type="v_prediction").save_pretrained(broken_model / "scheduler")
    pipeline = load_pipeline(broken_model, device="cpu", dtype="float32")
    pipeline = dataclasses.replace(pipeline, capabilities=None)
    with pytest.raises(BadInput, match="guidance_interval is not possible with EDMEulerScheduler"):
        list(sample(pipeline, ["AP view."], [0], guidance_interval=(0.3, 6.0)))
