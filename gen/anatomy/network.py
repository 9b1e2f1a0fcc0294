"""The anatomy network: a stock U-Net that gives each pixel of a radiograph a logit for each organ.

The image is folded into few, deep pixels before it and unfolded after it (Shi et al. 2016, arXiv:1609.05158): what
costs time on a processor is the size of the maps, not their depth.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional

ORGANS = (
    "right lung",
    "left lung",
    "heart",
    "mediastinum",
    "right clavicle",
    "left clavicle",
    "ribs",
    "spine",
    "abdomen",
    "body",
)
"""The masks in order; they may overlap. Right and left are the patient's."""


@dataclass(frozen=True)
class AnatomyShape:
    """The architecture: ``fold`` x ``fold`` pixels become one; the widths are those of the stages, each half as big."""

    fold: int = 4
    widths: list[int] = field(default_factory=lambda: [32, 48, 48, 48])
    groups: int = 8  # of channels that are normalised together


class AnatomyNetwork(nn.Module):
    """Images float (N, 1, H, W) in [0, 1] to logits (N, 10, H, W); H and W divide by fold times 2 for each stage."""

    def __init__(self, shape: AnatomyShape) -> None:
        """Weights are drawn from torch's global generator. ValueError for a shape that UNet2DModel refuses."""
        from diffusers import UNet2DModel

        super().__init__()
        self.shape = shape
        stages = len(shape.widths)
        self.unet = UNet2DModel(
            in_channels=shape.fold**2,
            out_channels=len(ORGANS) * shape.fold**2,
            layers_per_block=1,
            block_out_channels=tuple(shape.widths),
            down_block_types=("DownBlock2D",) * stages,
            up_block_types=("UpBlock2D",) * stages,
            norm_num_groups=shape.groups,
            attention_head_dim=shape.groups * 2,
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of ORGANS; the U-Net's time is always 0."""
        folded = functional.pixel_unshuffle(images * 2 - 1, self.shape.fold)
        scores: torch.Tensor = self.unet(folded, 0).sample
        return functional.pixel_shuffle(scores, self.shape.fold)
