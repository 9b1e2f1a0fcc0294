"""What a CPU gets wrong: the memory format that is safe for a module there, and a training step that shows it.

oneDNN writes past its workspace in the weight gradient of a 1 x 1 convolution that has a stride, channels-last tensors
and fewer input channels than a register (https://github.com/uxlfoundation/oneDNN/issues/6035; in torch 2.10):
with AVX2 below 8 at all sizes, with AVX-512 below 16 on large images. The process aborts, hangs or, worse, goes on with
a wrong gradient.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

_BLOCK = 16  # float32 channels that an AVX-512 register holds; AVX2's hold 8
STEPS = 4  # damage to the heap does not always show at once


def memory_format(module: nn.Module, device: torch.device) -> torch.memory_format:
    """Channels last, where convolutions are fastest; contiguous for a ``module`` that ``device`` would train wrongly.

    A rule, not a trial: a step that survives proves nothing about the next one, and whether one does hangs on its size.
    It asks for no instruction set, since only toys have so few channels; all other modules keep the faster layout.
    """
    import torch

    if device.type == "cpu" and any(_is_mishandled(part) for part in module.modules()):
        return torch.contiguous_format
    return torch.channels_last


def _is_mishandled(part: nn.Module) -> bool:
    from torch import nn

    return (
        isinstance(part, nn.Conv2d)
        and part.kernel_size == (1, 1)
        and max(part.stride) > 1
        and part.in_channels // part.groups < _BLOCK
    )


def gradient_error(device: torch.device, dtype: torch.dtype, channels: int) -> float:
    """Train a network of a few ``channels`` for STEPS steps; the largest error of a gradient, relative to the largest.

    The layout is `memory_format`'s, the reference the same step in float64 on the CPU. Call it in a child process: a
    faulty kernel ends it by a signal.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network: Any = _network(channels)  # torch's own hints do not know memory_format
    layout = memory_format(network, device)
    network.to(device, memory_format=layout)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    worst = 0.0
    for _ in range(STEPS):
        images = torch.randn((8, 1, 32, 32), generator=generator)
        exact = copy.deepcopy(network).cpu().double()
        exact(images.double()).square().mean().backward()
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            scores = network(images.to(device, memory_format=layout))
        scores.float().square().mean().backward()
        found, wanted = (torch.cat([p.grad.flatten().cpu().double() for p in m.parameters()]) for m in (network, exact))
        worst = max(worst, float((found - wanted).abs().max() / wanted.abs().max()))
        optimizer.step()
    return worst


def _network(channels: int) -> nn.Sequential:
    """The layers that the trainers use: convolutions with and without stride, both norms, attention."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        nn.SiLU(),
        nn.Conv2d(channels, 8, 1, stride=2),
        nn.GroupNorm(4, 8),
        nn.SiLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1),
        nn.Flatten(2),  # (N, 8, 64): eight tokens
        nn.TransformerEncoderLayer(64, nhead=2, dim_feedforward=64, dropout=0, activation="gelu", batch_first=True),
        nn.Flatten(),
        nn.Linear(512, 4),
    )
