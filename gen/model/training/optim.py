"""Muon for the matrices of a network, AdamW for the rest, and loss weights that follow the loss at each noise level."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from gen.model.device import cpu_multiplies_bfloat16

BINS = 24  # of timesteps, each with a loss of its own
_MEMORY = 0.995  # of the loss of a bin, per image that falls into it
# Newton-Schulz coefficients of Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/
_QUINTIC = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal (Jordan et al. 2024); kernels count as (out, in x height x width).

    ``lr`` is the length of an update along each singular direction. torch.optim.Muon takes matrices only.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.01
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    # torch's own hints want the loss of a closure back, which is never given here.
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state: dict[str, Any] = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                ahead = weight.grad.lerp(state["momentum"], group["momentum"])  # Nesterov
                flat = ahead.flatten(1)
                update = orthogonal(flat) * max(1.0, flat.shape[0] / flat.shape[1]) ** 0.5
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update.view_as(weight), alpha=-group["lr"])


def orthogonal(matrix: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """``matrix`` (m, n) with its singular values brought to about 1 by Newton-Schulz iterations, float32.

    They run in bfloat16 where that is fast, which is enough for them.
    """
    a, b, c = _QUINTIC
    turned = matrix.shape[0] > matrix.shape[1]
    fast = matrix.is_cuda or (matrix.device.type == "cpu" and cpu_multiplies_bfloat16())
    x = (matrix.T if turned else matrix).to(torch.bfloat16 if fast else torch.float32)
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if turned else x).float()


def split_weights(module: nn.Module, excluded: tuple[str, ...]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The parameters that learn: matrices and kernels for `Muon`, and the rest, to which ``excluded`` names belong."""
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, weight in module.named_parameters():
        if weight.requires_grad:
            hidden = weight.ndim >= 2 and not any(part in name for part in excluded)
            (matrices if hidden else rest).append(weight)
    return matrices, rest


class LossByNoise(nn.Module):
    """A running mean of the loss in ``BINS`` bins of timesteps: 1 / loss weighs all noise levels alike.

    Karras et al. 2023 (arXiv:2312.02696), section 2, learn this weight with a network; a table does the same. It is
    part of a checkpoint.
    """

    def __init__(self, timesteps: int) -> None:
        super().__init__()
        self.timesteps = timesteps
        self.register_buffer("mean", torch.ones(BINS))

    def weights(self, timesteps: torch.Tensor) -> torch.Tensor:
        """Weights (N,) of the losses at ``timesteps`` (N,)."""
        mean: torch.Tensor = self.get_buffer("mean")
        return 1 / mean[self._bins(timesteps)]

    def sums(self, timesteps: torch.Tensor, losses: torch.Tensor) -> torch.Tensor:
        """Sum and count by bin, (2, BINS), of ``losses`` (N,): what several processes add up."""
        bins = self._bins(timesteps)
        sums = torch.zeros(2, BINS, device=losses.device)
        sums[0].index_add_(0, bins, losses.detach().float())
        sums[1].index_add_(0, bins, torch.ones_like(losses, dtype=torch.float32))
        return sums

    def update(self, sums: torch.Tensor) -> None:
        """Take up what `sums` gave for a batch."""
        mean, count = self.get_buffer("mean"), sums[1]
        new = torch.where(count > 0, sums[0] / count.clamp(min=1), mean)
        mean.copy_(mean + (1 - _MEMORY**count) * (new - mean))

    def _bins(self, timesteps: torch.Tensor) -> torch.Tensor:
        return timesteps * BINS // self.timesteps
