"""The judge's network: a stock ResNet trunk with linear heads, and beside it a texture branch that sees patches alone.

The trunk learns from real images and from degraded real images only, never from a synthetic image; what tells real from
synthetic is the texture branch, which shares nothing with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from gen.data.loader import to_model_range

QUALITIES = ("exposure", "sharpness", "anatomy")
PATIENT = ("female", "AP", "child")  # what the binary heads of patient and view give the probability of
DECADE = 10.0  # years that one unit of the age head stands for
MIDDLE_AGE = 45.0  # years at which the age head starts


@dataclass(frozen=True)
class JudgeShape:
    """The architecture. Stem and stages halve the sides, so 256 pixels end at 4 x 4."""

    stem: int = 16  # channels of the first convolution (7 x 7, stride 2), which a pooling (stride 2) follows
    hidden_sizes: list[int] = field(default_factory=lambda: [48, 96, 128, 176])
    depths: list[int] = field(default_factory=lambda: [1, 1, 2, 2])  # basic blocks a stage
    embedding: int = 128  # numbers
    quality: int = 48  # hidden numbers of the quality heads
    texture: list[int] = field(default_factory=lambda: [24, 48, 64])  # channels, each layer of stride 2


class JudgeNetwork(nn.Module):
    """Images (N, 1, H, W) in [-1, 1] to raw scores; `Outputs` names them. ``findings`` are the heads in order."""

    def __init__(self, shape: JudgeShape, findings: Sequence[str]) -> None:
        """Weights are drawn from torch's global generator. ValueError for a shape that ResNetConfig refuses."""
        from transformers import ResNetConfig, ResNetModel

        super().__init__()
        self.shape, self.findings = shape, tuple(findings)
        self.trunk = ResNetModel(
            ResNetConfig(
                num_channels=1,
                embedding_size=shape.stem,
                hidden_sizes=list(shape.hidden_sizes),
                depths=list(shape.depths),
                layer_type="basic",
                downsample_in_first_stage=True,
            )
        )
        # Centred and scaled by the batch: without it all embeddings, copies and others, lie in one narrow cone.
        self.embed = nn.Sequential(
            nn.Linear(shape.hidden_sizes[-1], shape.embedding, bias=False),
            nn.BatchNorm1d(shape.embedding, affine=False),
        )
        self.heads = nn.Linear(shape.embedding, len(findings) + len(PATIENT) + 1)  # the last is the age
        self.quality = nn.Sequential(
            nn.Linear(shape.stem + sum(shape.hidden_sizes), shape.quality),
            nn.ReLU(),
            nn.Linear(shape.quality, len(QUALITIES)),
        )
        self.texture = texture_branch(shape.texture)

    def forward(self, images: torch.Tensor, crops: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """Scores of ``images``, and patch by patch those of ``crops`` (M, 1, h, w), or of the images themselves.

        "logits" (N, findings + 3): findings, then PATIENT. "age" (N,) in years. "quality" (N, 3): logits of QUALITIES.
        "embedding" (N, E) of length 1. "artefact" (M, 1, h', w'): the logit of each patch.
        """
        seen = self.trunk(images, output_hidden_states=True)
        embedding = functional.normalize(self.embed(seen.pooler_output.flatten(1)).float(), dim=1)
        # Sharpness shows in the early layers; the embedding is taught not to see what a degradation did.
        means = torch.cat([features.mean((2, 3)) for features in seen.hidden_states], 1)
        scores = self.heads(embedding * self.shape.embedding**0.5)
        return {
            "logits": scores[:, :-1],
            "age": MIDDLE_AGE + DECADE * scores[:, -1],
            "quality": self.quality(means),
            "embedding": embedding,
            "artefact": self.texture(images if crops is None else crops),
        }

    def rest(self) -> dict[str, torch.Tensor]:
        """The weights beside the trunk's, by name, to be saved in a file of their own."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("trunk.")}


def texture_branch(widths: Sequence[int]) -> nn.Sequential:
    """Convolutions without padding, so that each output sees one patch of `patch_side` pixels and nothing else.

    The idea is AdverX-Ray's (Rodrigues et al. 2025): small patches judged alone betray what a whole image hides.
    """
    layers: list[nn.Module] = []
    before = 1
    for i, width in enumerate(widths):
        layers += [nn.Conv2d(before, width, 5 if i == 0 else 3, stride=2, bias=False), nn.BatchNorm2d(width)]
        layers.append(nn.ReLU())
        before = width
    layers += [nn.Conv2d(before, before, 3, bias=False), nn.BatchNorm2d(before), nn.ReLU(), nn.Conv2d(before, 1, 1)]
    return nn.Sequential(*layers)


def patch_side(widths: Sequence[int]) -> int:
    """Pixels a side of the patch that one output of `texture_branch` sees."""
    side, step = 5, 2
    for _ in widths[1:]:
        side, step = side + 2 * step, 2 * step
    return side + 2 * step


def contrast(first: torch.Tensor, second: torch.Tensor, patients: torch.Tensor, temperature: float) -> torch.Tensor:
    """NT-Xent (Chen et al. 2020, arXiv:2002.05709, equation 1) between two views (N, E) of each image, a scalar.

    Images of one patient (equal numbers in ``patients`` (N,)) are neither drawn together nor pushed apart. 0 of none.
    """
    if not len(first):  # in a small batch, damage may have left none of the chests whole
        return first.sum()
    views = torch.cat([first, second])
    numbers = torch.cat([patients, patients])
    count = len(first)
    own = torch.arange(2 * count, device=views.device)
    partner = own.roll(count)
    similar = views @ views.T / temperature
    barred = numbers[:, None] == numbers[None, :]
    barred[own, partner] = False
    return functional.cross_entropy(similar.masked_fill(barred, -1e4), partner)


@torch.inference_mode()
def raw_scores(network: JudgeNetwork, pixels_u8: np.ndarray, batch_size: int = 32) -> dict[str, np.ndarray]:
    """The raw scores of uint8 ``pixels_u8`` (N, H, W), float32 and in evaluation mode, keys as of `forward`.

    "artefact" (N,) is the mean over the patches of an image. At most ``batch_size`` images are in memory as floats.
    """
    place = next(network.parameters()).device
    was_training = network.training
    network.eval()
    parts: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(pixels_u8), batch_size):
        scores = network(to_model_range(np.asarray(pixels_u8[start : start + batch_size])).to(place))
        scores["artefact"] = scores["artefact"].mean((1, 2, 3))
        for name, value in scores.items():
            parts.setdefault(name, []).append(value.float().cpu().numpy())
    network.train(was_training)
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}
