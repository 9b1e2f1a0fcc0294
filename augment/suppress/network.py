"""The network of `gen suppress`: a small U-Net that reads a radiograph and says what bone adds to each pixel.

Fully convolutional: without attention, and without a norm over the image, a pixel of the result depends on no more than
`reach` pixels around it, so that tiles with such a margin make the same image as the whole does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from gen.core.config import number
from gen.core.errors import BadInput


@dataclass(frozen=True)
class SuppressShape:
    """``channels`` of each level, from fine to coarse; each level has half the pixels a side of the one before.

    ``shuffle``: pixels a side that the finest level folds into channels. ``blocks``: residual blocks of a level, on the
    way down and on the way up.
    """

    channels: list[int] = field(default_factory=lambda: [32, 64, 96, 128])
    shuffle: int = number(4, above=0)
    blocks: int = number(2, above=0)


class Block(nn.Module):
    """x + convolutions of x; it begins as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        for weights in self.second.parameters():
            nn.init.zeros_(weights)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> the same shape."""
        update: torch.Tensor = self.second(functional.silu(self.first(x)))
        return x + update


class SuppressNetwork(nn.Module):
    """Display values float (N, 1, H, W) in [0, 1], H and W multiples of ``multiple`` -> what bone adds to them."""

    def __init__(self, shape: SuppressShape) -> None:
        """Raises BadInput for a shape without levels."""
        super().__init__()
        if not shape.channels or min(shape.channels) < 1:
            raise BadInput(f"a network of channels {list(shape.channels)} has no levels", hint="use [32, 64, 96, 128]")
        self.shape = shape
        channels, fold = list(shape.channels), shape.shuffle**2
        self.stem = nn.Conv2d(fold, channels[0], 3, padding=1)
        self.down = nn.ModuleList(_blocks(c, shape.blocks) for c in channels)
        self.coarser = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(channels))
        self.finer = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(channels))
        self.up = nn.ModuleList(_blocks(c, shape.blocks) for c in channels[:-1])
        self.head = nn.Conv2d(channels[0], fold, 3, padding=1)
        for weights in self.head.parameters():  # it begins by finding no bone
            nn.init.zeros_(weights)

    @property
    def multiple(self) -> int:
        """What the sides of an image are multiples of."""
        return int(self.shape.shuffle * 2 ** (len(self.shape.channels) - 1))

    @property
    def reach(self) -> int:
        """How far in pixels, at the most, a pixel of the image acts on the result; a multiple of ``multiple``."""
        levels, convolutions = len(self.shape.channels), 2 * self.shape.blocks
        cells = sum(2**level * convolutions * (2 if level < levels - 1 else 1) for level in range(levels))
        # a convolution before and one after, and the alignment of the strides
        pixels = self.shape.shuffle * (cells + 2) + self.multiple
        return -(-pixels // self.multiple) * self.multiple

    def forward(self, display: torch.Tensor) -> torch.Tensor:
        """Float (N, 1, H, W) -> (N, 1, H, W)."""
        x = self.stem(functional.pixel_unshuffle(display * 2 - 1, self.shape.shuffle))
        kept = []
        for level, blocks in enumerate(self.down):
            x = blocks(self.coarser[level - 1](x) if level else x)
            kept.append(x)
        for level in reversed(range(len(self.up))):
            x = self.up[level](kept[level] + self.finer[level](x))
        return functional.pixel_shuffle(self.head(x), self.shape.shuffle)


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(Block(channels) for _ in range(count)))
