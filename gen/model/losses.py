"""The closed forms of training: signal-to-noise, its weights, the EMA's decay, and what a decoder is scored by.

Pure functions of their arguments, each tested against its formula; nothing here knows a model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def snr(alphas_cumprod: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    """Signal-to-noise ratio a / (1 - a) at ``timesteps`` (N,), float32 (N,); 0 at the end of zero terminal SNR."""
    alpha = alphas_cumprod.to(timesteps.device)[timesteps].float()
    return alpha / (1 - alpha)


def min_snr_weight(ratio: torch.Tensor, gamma: float, prediction_type: str, floor: float = 0.0) -> torch.Tensor:
    """Loss weights (N,) for signal-to-noise ``ratio`` (N,): Hang et al. 2023 (arXiv:2303.09556), section 3.4.

    The x0 loss is weighted by min(SNR, gamma), which is min(SNR, gamma) / (SNR + 1) of the v loss and
    min(SNR, gamma) / SNR of the epsilon loss. ``gamma`` 0 means no weighting. With zero terminal SNR the paper's weight
    of the last timestep is 0, and sampling starts there: ``floor`` is the least weight of the x0 loss (v only).
    """
    import torch

    if gamma == 0:
        return torch.ones_like(ratio)
    if prediction_type == "v_prediction":
        return ratio.clamp(min=floor, max=gamma) / (ratio + 1)
    return ratio.clamp(max=gamma) / ratio


def ema_decay(step: int, ceiling: float) -> float:
    """Decay of the exponential moving average at optimiser step ``step`` = 1, 2, ...: min(ceiling, step / (step + 9)).

    A function of the step alone, so that nothing about it can be lost on resume. The first step copies a tenth.
    """
    return min(ceiling, step / (step + 9))


def gradients(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Vertical and horizontal forward differences of ``images`` (N, C, H, W)."""
    return images[:, :, 1:] - images[:, :, :-1], images[:, :, :, 1:] - images[:, :, :, :-1]


def reconstruction_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L1 of the pixels plus L1 of their differences, (N, C, H, W) in model range, scalar: the latter keeps edges."""
    pixel = (output - target).abs().mean()
    edges = [(a - b).abs().mean() for a, b in zip(gradients(output), gradients(target), strict=True)]
    return pixel + edges[0] + edges[1]


def psnr(output: torch.Tensor, target: torch.Tensor, data_range: float) -> torch.Tensor:
    """Peak signal-to-noise ratio in dB of each image, (N, C, H, W) -> (N,); ``data_range`` is the full scale."""
    error = (output.float() - target.float()).square().mean((1, 2, 3))
    return 10 * (data_range**2 / error).log10()


def gradient_energy_ratio(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Energy of the differences of ``output`` over those of ``target``, (N, C, H, W) -> (N,): 1 is as sharp."""
    top, bottom = (
        down.float().square().sum((1, 2, 3)) + across.float().square().sum((1, 2, 3))
        for down, across in (gradients(output), gradients(target))
    )
    return top / bottom
