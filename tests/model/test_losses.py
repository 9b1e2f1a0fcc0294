"""The closed forms of training, against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDIMScheduler
from hypothesis import given
from hypothesis import strategies as st

from gen.model.losses import ema_decay, gradient_energy_ratio, gradients, min_snr_weight, psnr, reconstruction_loss, snr

BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
RATIOS = torch.tensor([0.0, 1e-4, 0.5, 1.0, 4.9, 5.0, 5.1, 1e4])


def test_snr_is_that_of_the_noising_process() -> None:
    process = DDIMScheduler(**BETAS)
    times = torch.tensor([0, 1, 500, 999])
    alpha, sigma = process.alphas_cumprod[times].sqrt(), (1 - process.alphas_cumprod[times]).sqrt()
    torch.testing.assert_close(snr(process.alphas_cumprod, times), (alpha / sigma) ** 2)


def test_snr_is_zero_at_the_end_of_zero_terminal_snr() -> None:
    process = DDIMScheduler(**BETAS, rescale_betas_zero_snr=True)
    assert float(snr(process.alphas_cumprod, torch.tensor([999]))) == pytest.approx(0, abs=1e-6)


def test_min_snr_weights_the_x0_loss_by_the_smaller_of_snr_and_gamma() -> None:
    # The v loss is (SNR + 1) times the x0 loss, the epsilon loss SNR times.
    v = min_snr_weight(RATIOS, 5.0, "v_prediction")
    torch.testing.assert_close(v * (RATIOS + 1), RATIOS.clamp(max=5))
    epsilon = min_snr_weight(RATIOS[1:], 5.0, "epsilon")
    torch.testing.assert_close(epsilon * RATIOS[1:], RATIOS[1:].clamp(max=5))


@given(st.floats(0, 1), st.floats(1, 10))
def test_the_floor_is_the_least_weight_of_the_x0_loss_and_reaches_the_last_timestep(floor: float, gamma: float) -> None:
    weights = min_snr_weight(RATIOS, gamma, "v_prediction", floor)
    assert (weights * (RATIOS + 1) >= floor * (1 - 1e-6)).all()
    assert float(weights[0]) == pytest.approx(floor)
    assert weights.isfinite().all()


def test_gamma_zero_means_no_weighting() -> None:
    for prediction in ("epsilon", "v_prediction"):
        assert (min_snr_weight(RATIOS, 0, prediction, 1.0) == 1).all()


def test_velocity_and_noise_losses_with_their_weights_are_the_same_x0_loss() -> None:
    process = DDIMScheduler(**BETAS)
    times = torch.tensor([10, 300, 700, 990])
    clean, noise, wrong = torch.randn(3, 4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    power = process.alphas_cumprod[times][:, None, None, None]
    alpha, sigma = power.sqrt(), (1 - power).sqrt()
    noisy = process.add_noise(clean, noise, times)
    as_noise = (noisy - alpha * wrong) / sigma  # what a network that believes in `wrong` would predict
    as_velocity = (alpha * noisy - wrong) / sigma
    ratio = snr(process.alphas_cumprod, times)
    by_noise = (as_noise - noise).square().mean((1, 2, 3)) * min_snr_weight(ratio, 5, "epsilon")
    by_velocity = (as_velocity - process.get_velocity(clean, noise, times)).square().mean((1, 2, 3))
    by_velocity = by_velocity * min_snr_weight(ratio, 5, "v_prediction")
    torch.testing.assert_close(by_noise, by_velocity, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(
        by_noise, (wrong - clean).square().mean((1, 2, 3)) * ratio.clamp(max=5), rtol=1e-3, atol=0
    )


@given(st.integers(1, 10**6), st.floats(0.5, 0.99999))
def test_ema_decay_is_a_function_of_the_step_that_rises_to_its_ceiling(step: int, ceiling: float) -> None:
    assert ema_decay(step, ceiling) == min(ceiling, step / (step + 9))
    assert ema_decay(1, ceiling) == pytest.approx(0.1)
    assert ema_decay(step, ceiling) <= ema_decay(step + 1, ceiling) <= ceiling


def test_reconstruction_loss_sees_pixels_and_edges() -> None:
    flat, step = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    step[..., 2:] = 1  # half the pixels are 1 off; one of three horizontal differences is
    assert float(reconstruction_loss(flat, flat)) == 0
    assert float(reconstruction_loss(step, flat)) == pytest.approx(1 / 2 + 0 + 1 / 3)
    down, across = gradients(step)
    assert down.shape == (1, 1, 3, 4)
    assert across.shape == (1, 1, 4, 3)


def test_psnr_in_decibels_of_the_full_scale() -> None:
    zeros = torch.zeros(2, 1, 8, 8)
    assert psnr(zeros + 0.1, zeros, 1.0).tolist() == pytest.approx([20, 20])
    assert psnr(zeros + 0.1, zeros, 2.0).tolist() == pytest.approx([20 + 20 * math.log10(2)] * 2)
    assert psnr(zeros, zeros, 1.0).isinf().all()


def test_gradient_energy_ratio_is_the_square_of_the_contrast() -> None:
    images = torch.rand(3, 1, 8, 8)
    torch.testing.assert_close(gradient_energy_ratio(images, images), torch.ones(3))
    torch.testing.assert_close(gradient_energy_ratio(0.5 * images + 0.3, images), torch.full((3,), 0.25))
