"""The networks of autoencoder training: the pass from image to image as one module, and the critic it may face."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from gen.model.training.latents import moments


class Reconstruction(nn.Module):
    """An autoencoder's whole pass as one module, so that data-parallel training wraps it once."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, images: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, C, H, W) in [-1, 1] and ``noise`` (N, c, h, w) -> the image rebuilt, and the KL term.

        The posterior is sampled with ``noise``, standard normal then; where the encoder gives no spread, the noise is
        added to the latents as it is, and the KL term is 0.
        """
        mean, std = moments(self.vae, images)
        kl = torch.zeros((), device=mean.device)
        if std is not None:
            kl = 0.5 * (mean.float().square() + std.float().square() - 1 - 2 * std.float().log()).sum((1, 2, 3)).mean()
        rebuilt = self.vae.decode(mean + (noise if std is None else noise * std)).sample
        return rebuilt.float(), kl


class PatchCritic(nn.Module):
    """(N, C, H, W) -> (N, 1, H/8, W/8) scores, high for real: a PatchGAN (Isola et al. 2017, arXiv:1611.07004)."""

    def __init__(self, channels: int = 1, width: int = 32) -> None:
        super().__init__()
        channels *= 2
        layers: list[nn.Module] = []
        for out in (width, 2 * width, 4 * width):
            layers += [nn.Conv2d(channels, out, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
            channels = out
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores of overlapping patches; what is fine in them has a tenth of their contrast, and is shown apart."""
        fine = images - functional.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
        scores: torch.Tensor = self.layers(torch.cat([images, 10 * fine], 1))
        return scores.float()
