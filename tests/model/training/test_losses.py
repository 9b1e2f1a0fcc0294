"""The closed forms of training, against their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gen.model.training.losses import (
    NoiseDraw,
    draw_timestep,
    ema_decay,
    energy_score,
    gradient_energy_ratio,
    gradient_penalty,
    gradients,
    psnr,
    reconstruction_loss,
    rho_schedule,
    sigmas_of,
    texture_loss,
    window_distance,
)

BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def test_sigma_is_noise_over_signal_of_the_noising_process() -> None:
    process = DDIMScheduler(**BETAS)
    noise, signal = (1 - process.alphas_cumprod).sqrt(), process.alphas_cumprod.sqrt()
    torch.testing.assert_close(sigmas_of(process.alphas_cumprod), noise / signal)


def test_sigma_is_infinite_at_the_end_of_zero_terminal_snr() -> None:
    process = DDIMScheduler(**BETAS, rescale_betas_zero_snr=True)
    assert float(sigmas_of(process.alphas_cumprod)[-1]) > 1e3


@given(st.integers(2, 1000), st.floats(0.001, 0.1), st.floats(1, 100))
def test_the_schedule_has_the_sigmas_it_was_asked_for(steps: int, least: float, most: float) -> None:
    process = DPMSolverMultistepScheduler(num_train_timesteps=steps, trained_betas=rho_schedule(steps, least, most))
    sigmas = sigmas_of(process.alphas_cumprod).double()
    evenly = torch.linspace(least ** (1 / 7), most ** (1 / 7), steps, dtype=torch.float64) ** 7
    torch.testing.assert_close(sigmas, evenly, rtol=0.02, atol=1e-3)


def test_the_stock_solver_steps_down_the_schedule_evenly_and_ends_at_zero() -> None:
    process = DPMSolverMultistepScheduler(
        trained_betas=rho_schedule(1000, 0.02, 60), algorithm_type="sde-dpmsolver++", timestep_spacing="trailing"
    )
    process.set_timesteps(20)
    roots = process.sigmas[:-1] ** (1 / 7)
    assert float(process.sigmas[0]) == pytest.approx(60, rel=0.01)
    assert float(process.sigmas[-1]) == 0
    assert float(process.sigmas[-2]) < 0.05
    torch.testing.assert_close(roots.diff(), roots.diff().mean().expand(19), rtol=0.02, atol=0)


def test_timesteps_are_drawn_as_told() -> None:
    sigmas = sigmas_of(torch.cumprod(1 - torch.tensor(rho_schedule(1000, 0.02, 60)).double(), 0)).numpy()
    normal = NoiseDraw(0.8, 1.0, 0.0)
    drawn = np.log(sigmas[[draw_timestep(sigmas, seed, normal) for seed in range(4000)]] / 0.8)
    assert stats.kstest(drawn, "norm").statistic < 0.03
    anywhere = np.array([draw_timestep(sigmas, seed, NoiseDraw(0.8, 1.0, 1.0)) for seed in range(4000)])
    assert stats.kstest(anywhere / 1000, "uniform").statistic < 0.03
    assert draw_timestep(sigmas, 7, normal) == draw_timestep(sigmas, 7, normal)


@given(st.integers(1, 10**6), st.floats(0.5, 0.99999))
def test_ema_decay_is_a_function_of_the_step_that_rises_to_its_ceiling(step: int, ceiling: float) -> None:
    assert ema_decay(step, ceiling) == min(ceiling, step / (step + 9))
    assert ema_decay(1, ceiling) == pytest.approx(0.1)
    assert ema_decay(step, ceiling) <= ema_decay(step + 1, ceiling) <= ceiling


def test_reconstruction_loss_sees_pixels_and_edges() -> None:
    flat, step = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    step[..., 2:] = 1  # half the pixels are 1 off; one of three horizontal differences is
    found = reconstruction_loss(torch.cat([flat, step]), torch.cat([flat, flat]))
    torch.testing.assert_close(found, torch.tensor([0, 1 / 2 + 0 + 1 / 3]))
    down, across = gradients(step)
    assert down.shape == (1, 1, 3, 4)
    assert across.shape == (1, 1, 4, 3)


@given(st.integers(0, 99), st.floats(0.1, 0.5), st.floats(0.1, 0.5))
def test_texture_loss_sees_how_strong_detail_is_and_not_where_it_lies(seed: int, one: float, other: float) -> None:
    detail = torch.from_numpy(np.random.default_rng(seed).standard_normal((2, 1, 32, 32)).astype(np.float32))
    zero = torch.zeros(2)
    torch.testing.assert_close(texture_loss(0.3 + one * detail, -0.2 - one * detail), zero, atol=1e-5, rtol=0)
    unlike = texture_loss(one * detail, other * detail)
    # In proportion to the difference of the strengths, both ways alike, and as large beside a smooth image
    torch.testing.assert_close(unlike, abs(one - other) * texture_loss(detail, 0 * detail), rtol=1e-2, atol=2e-3)
    torch.testing.assert_close(unlike, texture_loss(other * detail, one * detail))


def test_texture_loss_tells_the_square_that_has_the_texture() -> None:
    here, there = torch.zeros(2, 1, 1, 64, 64)
    here[..., 8:24, 8:24] = there[..., 40:56, 40:56] = 0.1 * (torch.arange(16) % 2 - 0.5)
    assert float(texture_loss(here, -here)) < 1e-6
    # Eight squares of 64 differ in strength by 0.05 at least
    assert float(texture_loss(here, there)) > 8 / 64 * 0.05


@pytest.mark.parametrize("spread", [0.0, 0.5, 2.0])
def test_the_energy_score_is_least_for_draws_as_wide_as_what_they_foretell(spread: float) -> None:
    """Also beside draws that are as far from it on average as those: the middle, and one fixed pattern."""
    generator = torch.Generator().manual_seed(0)

    def draw(scale: float) -> torch.Tensor:
        return scale * torch.randn((200, 1, 16, 16), generator=generator)

    target, pattern = draw(1.0), draw(1.0)[:1].expand(200, -1, -1, -1)
    right = energy_score(draw(1.0), draw(1.0), target).mean()
    assert right < energy_score(draw(spread), draw(spread), target).mean() - 0.02
    assert right < energy_score(pattern, pattern, target).mean() - 0.1
    one, other = draw(1.0), draw(1.0)
    torch.testing.assert_close(energy_score(one, other, target), energy_score(other, one, target))
    torch.testing.assert_close(energy_score(one, one, target), window_distance(one, target), atol=2e-3, rtol=0)


def test_window_distance_is_the_contrast_of_a_constant_difference_and_sees_edges() -> None:
    flat, half = torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.5)
    assert float(window_distance(half, flat)) == pytest.approx(0.5, abs=3e-3)  # two roots of 1e-6 beside it
    columns = torch.arange(8).remainder(2).float().expand(1, 1, 8, 8)
    assert float(window_distance(columns, flat)) == pytest.approx(0.5**0.5 + 1, abs=3e-3)


def test_psnr_in_decibels_of_the_full_scale() -> None:
    zeros = torch.zeros(2, 1, 8, 8)
    assert psnr(zeros + 0.1, zeros, 1.0).tolist() == pytest.approx([20, 20])
    assert psnr(zeros + 0.1, zeros, 2.0).tolist() == pytest.approx([20 + 20 * math.log10(2)] * 2)
    assert psnr(zeros, zeros, 1.0).isinf().all()


def test_gradient_energy_ratio_is_the_square_of_the_contrast() -> None:
    images = torch.rand(3, 1, 8, 8)
    torch.testing.assert_close(gradient_energy_ratio(images, images), torch.ones(3))
    torch.testing.assert_close(gradient_energy_ratio(0.5 * images + 0.3, images), torch.full((3,), 0.25))


@given(st.integers(1, 4), st.integers(1, 3), st.floats(0.1, 3))
def test_the_penalty_of_a_critic_of_separate_patches_is_the_square_of_its_weights(
    count: int, side: int, size: float
) -> None:
    weights = torch.full((1, 1, 4, 4), size)
    images = torch.rand(count, 1, 4 * side, 4 * side, requires_grad=True)
    penalty = gradient_penalty(torch.nn.functional.conv2d(images, weights, stride=4), images)
    assert float(penalty.detach()) == pytest.approx(16 * size**2, rel=1e-4)
