"""Teachers on paths that are known in closed form, and outputs that lead any solver along them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, PNDMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from gen.core.errors import BadInput
from gen.model.sampling.settings import Settings
from gen.model.sampling.solver import Solver, tabulate
from gen.model.training.losses import rho_schedule
from gen.model.training.teacher import Guide, few_step_scheduler, landing_weights, outputs_through, path_of, solvers

SIZE, MEAN, GUIDANCE = 0.7, 1.5, 2.0  # standard deviation of the toy's images; what its text says their mean is
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def scheduler_of(prediction_type: str) -> Any:
    config = {"trained_betas": rho_schedule(1000, 0.02, 60.0), "prediction_type": prediction_type}
    return few_step_scheduler(DPMSolverMultistepScheduler(**config).config)


class Gaussian:
    """The best U-Net for images N(m, SIZE^2), where the text state is m; an empty text says that m is 0."""

    def __init__(self, scheduler: Any) -> None:
        self.alphas, self.velocity = scheduler.alphas_cumprod, scheduler.config.prediction_type == "v_prediction"

    def __call__(self, latents: torch.Tensor, timestep: torch.Tensor, states: torch.Tensor) -> SimpleNamespace:
        signal, noise = self.alphas[timestep].sqrt(), (1 - self.alphas[timestep]).sqrt()
        mean = states[:, :1, :1, None]
        image = mean + signal * SIZE**2 / (signal**2 * SIZE**2 + noise**2) * (latents - signal * mean)
        eps = (latents - signal * image) / noise
        return SimpleNamespace(sample=signal * eps - noise * image if self.velocity else eps)


def guide_of(scheduler: Any, images: int, guidance: float) -> Guide:
    states = torch.full((images, 2, 3), MEAN)
    return Guide(Gaussian(scheduler), states, torch.zeros(1, 2, 3), Settings(guidance=guidance))


def exact_path(solver: Solver, noise: np.ndarray) -> np.ndarray:
    """The flow of `Gaussian` when guided: its mean is GUIDANCE times the text's, and the rest scales with its size."""
    signal = 1 / np.sqrt(1 + np.square([*solver.sigmas, 0.0]))
    size = np.sqrt(signal**2 * SIZE**2 + 1 - signal**2)
    mean = signal * GUIDANCE * MEAN
    return np.stack([m + s / size[0] * (noise - mean[0]) for m, s in zip(mean, size, strict=True)])


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_teachers_path_tends_to_the_guided_flow_and_the_student_is_led_along_it(prediction_type: str) -> None:
    scheduler = scheduler_of(prediction_type)
    noise = np.random.default_rng(0).standard_normal((3, 1, 4, 4)).astype(np.float32)
    guide = guide_of(scheduler, 3, GUIDANCE)
    errors = []
    for substeps in (1, 2, 4, 20):
        coarse, fine = solvers(scheduler, 8, substeps)
        points = path_of(guide.along(fine), fine, noise, substeps)
        assert points.shape == (9, 3, 1, 4, 4)
        errors.append(np.abs(points - exact_path(coarse, noise)).max())
        outputs = outputs_through(coarse, points)
        led = path_of(lambda i, _, outputs=outputs: outputs[i], coarse, noise)
        np.testing.assert_allclose(led, points, atol=1e-4)
    assert errors[1] < errors[0] / 2
    assert errors[2] < errors[1] / 2, "a solver of second order"
    assert errors[3] < 0.01 < errors[0]


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_with_one_substep_the_lesson_is_what_the_guided_teacher_says(prediction_type: str) -> None:
    scheduler = scheduler_of(prediction_type)
    noise = np.random.default_rng(1).standard_normal((2, 1, 4, 4)).astype(np.float32)
    coarse, fine = solvers(scheduler, 8, 1)
    predict = guide_of(scheduler, 2, GUIDANCE).along(fine)
    points = path_of(predict, fine, noise)
    said = np.stack([predict(i, point) for i, point in enumerate(points[:-1])])
    np.testing.assert_allclose(outputs_through(coarse, points), said, atol=1e-3)


def test_guidance_stays_inside_its_interval() -> None:
    scheduler = scheduler_of("v_prediction")
    solver = tabulate(scheduler, 10)
    guide = guide_of(scheduler, 1, GUIDANCE)
    within = Guide(guide.unet, guide.states, guide.nothing, Settings(guidance=GUIDANCE, guidance_interval=(0.3, 6.0)))
    alone = Guide(guide.unet, guide.states, guide.nothing, Settings(guidance=1))
    latents = np.ones((1, 1, 4, 4), np.float32)
    for i, sigma in enumerate(solver.sigmas):
        same_as = guide if 0.3 <= sigma <= 6 else alone
        assert np.array_equal(within.along(solver)(i, latents), same_as.along(solver)(i, latents))


@settings(max_examples=30)  # a table takes a while
@given(st.integers(1, 12), st.sampled_from(["epsilon", "v_prediction"]), st.integers(0, 2**32 - 1))
def test_outputs_lead_the_solver_through_any_points(steps: int, prediction_type: str, seed: int) -> None:
    solver = tabulate(scheduler_of(prediction_type), steps)
    points = np.random.default_rng(seed).standard_normal((steps + 1, 2, 1, 3, 3)).astype(np.float32)
    outputs = outputs_through(solver, points)
    led = path_of(lambda i, _: outputs[i], solver, points[0])
    # float32 outputs whose terms may cancel: what is lost is relative to their size
    size = np.abs(solver.predicted).max(1) * max(1.0, float(np.abs(outputs).max()))
    assert (np.abs(led - points).max((1, 2, 3, 4)) <= 1e-5 * np.maximum(size, 1) * steps).all()


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_weight_is_how_far_a_step_lands_off_for_an_error_of_one(prediction_type: str) -> None:
    solver = tabulate(scheduler_of(prediction_type), 8)
    noise, zeros = np.ones((1, 1, 1, 1), np.float32), np.zeros((1, 1, 1, 1), np.float32)
    right = path_of(lambda i, _: zeros, solver, noise)
    signal = 1 / np.sqrt(1 + np.square([*solver.sigmas[1:], 0.0]))
    for step, weight in enumerate(landing_weights(solver)):
        wrong = path_of(lambda i, _, step=step: zeros + (i == step), solver, noise)
        off = float((wrong - right)[step + 1].squeeze()) / signal[step]
        assert off**2 == pytest.approx(weight, rel=1e-3)


def test_one_error_of_the_image_weighs_the_same_as_noise_and_as_velocity() -> None:
    by_noise, by_velocity = (tabulate(scheduler_of(kind), 8) for kind in ("epsilon", "v_prediction"))
    # v = alpha eps - sigma x0 and x = alpha x0 + sigma eps: an error e of eps is an error e / alpha of v.
    ratio = landing_weights(by_noise) / landing_weights(by_velocity)
    np.testing.assert_allclose(ratio, 1 + by_noise.sigmas**2, rtol=1e-3)


@pytest.mark.parametrize(
    "theirs",
    [
        PNDMScheduler(**BETAS, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1),
        DDIMScheduler(**BETAS, prediction_type="v_prediction", clip_sample=False, rescale_betas_zero_snr=True),
        DDIMScheduler(beta_schedule="squaredcos_cap_v2", timestep_spacing="leading"),
    ],
    ids=["epsilon", "zero terminal SNR", "cosine"],
)
def test_a_student_keeps_the_process_of_its_teacher(theirs: Any) -> None:
    mine = few_step_scheduler(theirs.config)
    assert mine.config.prediction_type == theirs.config.prediction_type
    # At zero terminal SNR the solver keeps a trace of the signal, without which it could not count in logarithms.
    torch.testing.assert_close(mine.alphas_cumprod, theirs.alphas_cumprod, atol=1e-6, rtol=1e-5)
    coarse, _ = solvers(mine, 8, 3)
    assert coarse.timesteps[0] == 999
    assert not coarse.stochastic
    assert np.isfinite(coarse.predicted).all()


@pytest.mark.parametrize(
    ("steps", "substeps", "message"),
    [(400, 3, "more than the 1000 timesteps"), (16, 3, "rounded to whole timesteps, these do not fall together")],
)
def test_steps_that_the_teacher_cannot_take_are_refused(steps: int, substeps: int, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        solvers(scheduler_of("v_prediction"), steps, substeps)
