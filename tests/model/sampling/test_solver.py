"""A tabulated solver does what diffusers' scheduler does, for every scheduler that is said to have a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers.schedulers as stock
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gen.core.errors import BadInput
from gen.model.sampling.solver import TABULATED, Start, read_solver, tabulate, write_solver
from gen.model.scheduler import TRAINABLE

BETAS: dict[str, Any] = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
UNCLIPPED = {"clip_sample": False}


def scheduler(name: str, **options: Any) -> Any:
    clipped = UNCLIPPED if name.startswith("DDIM") else {}
    return getattr(stock, name)(**{**BETAS, **clipped, **options})


def by_diffusers(scheduler: Any, steps: int, outputs: np.ndarray, noise: np.ndarray, fresh: np.ndarray) -> np.ndarray:
    begun = type(scheduler).from_config(scheduler.config)
    begun.set_timesteps(steps)
    latents = torch.from_numpy(noise) * begun.init_noise_sigma
    for i, timestep in enumerate(begun.timesteps):
        begun.scale_model_input(latents, timestep)
        takes = type(begun).__name__ == "DPMSolverMultistepScheduler"
        extra = {"variance_noise": torch.from_numpy(fresh[i])} if takes else {}
        latents = begun.step(torch.from_numpy(outputs[i]), timestep, latents, **extra).prev_sample
    return latents.numpy()


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", TABULATED)
@settings(max_examples=5)
@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(4, 12))
def test_a_table_gives_what_the_scheduler_gives(name: str, prediction: str, seed: int, steps: int) -> None:
    of = scheduler(name, prediction_type=prediction)
    solver = tabulate(of, steps)
    random = np.random.default_rng(seed)
    noise = random.standard_normal((1, 2, 3, 3), np.float32)
    outputs, fresh = (random.standard_normal((len(solver.timesteps), *noise.shape), np.float32) for _ in range(2))
    seen: list[int] = []

    def predict(i: int, latents: np.ndarray) -> np.ndarray:
        assert latents.dtype == np.float32
        seen.append(i)
        return outputs[i]

    found = solver.run(predict, noise, lambda i: fresh[i])
    wanted = by_diffusers(of, steps, outputs, noise, fresh)
    np.testing.assert_allclose(found, wanted, atol=1e-4 * max(1, np.abs(wanted).max()))
    assert seen == list(range(len(solver.timesteps)))
    assert not solver.stochastic


def from_an_image(
    scheduler: Any,
    steps: int,
    skipped: int,
    image: np.ndarray,
    noise: np.ndarray,
    outputs: np.ndarray,
    fresh: np.ndarray,
    held: np.ndarray,
    holding: int,
) -> np.ndarray:
    """As diffusers' pipelines for image to image and for inpainting do it."""
    begun = type(scheduler).from_config(scheduler.config)
    begun.set_timesteps(steps)
    timesteps = begun.timesteps[skipped * begun.order :]
    clean, first, where = (torch.from_numpy(each) for each in (image, noise, held))
    latents = begun.add_noise(clean, first, timesteps[:1])
    if hasattr(begun, "set_begin_index"):
        begun.set_begin_index(skipped * begun.order)
    for i, timestep in enumerate(timesteps):
        if 0 < i <= holding * begun.order:
            latents = torch.where(where, begun.add_noise(clean, first, timestep[None]), latents)
        begun.scale_model_input(latents, timestep)
        takes = type(begun).__name__ == "DPMSolverMultistepScheduler"
        extra = {"variance_noise": torch.from_numpy(fresh[i])} if takes else {}
        latents = begun.step(torch.from_numpy(outputs[i]), timestep, latents, **extra).prev_sample
    if holding * begun.order >= len(timesteps):
        latents = torch.where(where, clean, latents)
    return latents.numpy()


@pytest.mark.parametrize("name", [*TABULATED, "stochastic"])
@settings(max_examples=6)
@given(seed=st.integers(0, 2**32 - 1), data=st.data())
def test_from_an_image_a_table_gives_what_diffusers_gives_and_keeps_what_is_held(
    name: str, seed: int, data: st.DataObject
) -> None:
    stochastic = {"algorithm_type": "sde-dpmsolver++", "final_sigmas_type": "zero"}
    of = (
        scheduler("DPMSolverMultistepScheduler", **stochastic)
        if name == "stochastic"
        else scheduler(name, prediction_type="v_prediction")
    )
    steps = data.draw(st.integers(4, 12))
    skipped = data.draw(st.integers(0, steps - 1))
    holding = data.draw(st.integers(0, steps - skipped))
    solver, kept = (tabulate(of, steps, Start(skipped, held)) for held in (0, holding))
    random = np.random.default_rng(seed)
    image, noise = random.standard_normal((2, 1, 2, 4, 4), np.float32)
    outputs, fresh = random.standard_normal((2, len(solver.timesteps), *noise.shape), np.float32)
    held = random.random((1, 1, 4, 4)) < 0.5
    found = solver.run(lambda i, _: outputs[i], noise, lambda i: fresh[i], image=image, held=(kept, held))
    wanted = from_an_image(of, steps, skipped, image, noise, outputs, fresh, held, holding)
    np.testing.assert_allclose(found, wanted, atol=2e-4 * max(1, np.abs(wanted).max()))


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(3, 30))
def test_a_stochastic_solver_takes_its_noise_from_outside(seed: int, steps: int) -> None:
    of = scheduler("DPMSolverMultistepScheduler", algorithm_type="sde-dpmsolver++", final_sigmas_type="zero")
    solver = tabulate(of, steps)
    random = np.random.default_rng(seed)
    noise = random.standard_normal((1, 2, 3, 3), np.float32)
    outputs, fresh = (random.standard_normal((steps, *noise.shape), np.float32) for _ in range(2))
    asked: list[int] = []
    found = solver.run(lambda i, _: outputs[i], noise, lambda i: (asked.append(i), fresh[i])[1])
    np.testing.assert_allclose(found, by_diffusers(of, steps, outputs, noise, fresh), atol=1e-4)
    assert solver.stochastic
    assert asked == list(range(steps - 1)), "the last step, to no noise at all, adds none"


def test_every_other_scheduler_is_refused_with_a_reason() -> None:
    assert set(TABULATED) < set(TRAINABLE)
    for name in set(TRAINABLE) - set(TABULATED):
        with pytest.raises(BadInput, match=f"the scheduler {name} is left to torch"):
            tabulate(getattr(stock, name)(**BETAS), 4)


@pytest.mark.parametrize("clip", ["clip_sample", "thresholding"])
def test_what_clips_has_no_table(clip: str) -> None:
    with pytest.raises(BadInput, match=f"{clip} is not linear"):
        tabulate(scheduler("DDIMScheduler", **{clip: True}), 4)


def test_a_solver_is_stored_whole_and_what_is_no_solver_is_named(tmp_path: Path) -> None:
    solver, path = tabulate(scheduler("HeunDiscreteScheduler"), 5, Start(1)), tmp_path / "solver.npz"
    write_solver(path, solver)
    again = read_solver(path)
    for name in ("timesteps", "sigmas", "scales", "image", "first", "predicted", "fresh"):
        np.testing.assert_array_equal(getattr(again, name), getattr(solver, name))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadInput, match=r"solver\.npz is no solver"):
        read_solver(path)
