"""The denoiser as one module (text encoder and U-Net), built from a config or taken from any model folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gen.core.config import number
from gen.core.errors import BadInput
from gen.model.scheduler import PREDICTIONS
from gen.model.training.losses import rho_schedule

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

    from gen.data.texts import Texts


@dataclass(frozen=True)
class DenoiserShape:
    """The architecture of a new denoiser; lists have one entry a U-Net level, finest first."""

    block_out_channels: list[int] = field(default_factory=lambda: [64, 128, 160, 128])
    cross_attention: list[bool] = field(default_factory=lambda: [False, False, True, True])
    layers_per_block: int = number(1, above=0)
    head_channels: int = number(32, above=0)
    norm_num_groups: int = number(16, above=0)
    text_channels: int = number(128, above=0)
    text_layers: int = number(2, above=0)
    text_heads: int = number(4, above=0)
    text_length: int = number(64, above=0)  # tokens that a caption is cut to
    vocabulary: int = number(2000, above=0)  # at most; of the tokenizer that is trained on the captions
    prediction_type: str = "v_prediction"  # or epsilon
    sigma_min: float = 0.02  # noise over signal at the first timestep and at the last
    sigma_max: float = 60.0


class Denoiser(nn.Module):
    """Text encoder and U-Net, trained together; noisy latents, timesteps and token ids in, the prediction out."""

    def __init__(self, unet: Any, text_encoder: Any) -> None:
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder

    def forward(self, latents: torch.Tensor, timesteps: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """(N, C, h, w), (N,), (N, T) -> (N, C, h, w) float32."""
        states = self.text_encoder(tokens)[0]
        predicted: torch.Tensor = self.unet(latents, timesteps, states).sample
        return predicted.float()


def new_denoiser(shape: DenoiserShape, tokenizer: CLIPTokenizer, channels: int, side: int) -> tuple[Any, Any, Any]:
    """U-Net, text encoder and scheduler from scratch, for latents of ``channels`` x ``side`` x ``side``.

    BadInput, naming the key, for numbers of ``shape`` that do not go together.
    """
    from diffusers import DPMSolverMultistepScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    _check_shape(shape)
    attends = shape.cross_attention
    unet = UNet2DConditionModel(
        sample_size=side,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=tuple(shape.block_out_channels),
        down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
        layers_per_block=shape.layers_per_block,
        # diffusers calls it head_dim, and means the number of heads
        attention_head_dim=tuple(max(1, width // shape.head_channels) for width in shape.block_out_channels),
        norm_num_groups=shape.norm_num_groups,
        cross_attention_dim=shape.text_channels,
    )
    nn.init.zeros_(unet.conv_out.weight)  # starts from "predict nothing" (Ho et al. 2020), and learns sooner
    nn.init.zeros_(unet.conv_out.bias)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=shape.text_channels,
            intermediate_size=4 * shape.text_channels,
            num_hidden_layers=shape.text_layers,
            num_attention_heads=shape.text_heads,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    # Measured as near to real images as its stochastic twin, in fewer steps; evenly spaced timesteps are good steps.
    scheduler = DPMSolverMultistepScheduler(
        trained_betas=rho_schedule(1000, shape.sigma_min, shape.sigma_max),
        prediction_type=shape.prediction_type,
        algorithm_type="dpmsolver++",
        solver_order=2,
        timestep_spacing="trailing",
        steps_offset=1,  # means nothing with this spacing, but the stock pipeline warns of 0
    )
    return unet, text_encoder, scheduler


def _check_shape(shape: DenoiserShape) -> None:
    widths, attends = shape.block_out_channels, shape.cross_attention
    if not widths or len(widths) != len(attends):
        raise BadInput(f"shape.block_out_channels has {len(widths)} levels and shape.cross_attention {len(attends)}")
    for level, (width, attending) in enumerate(zip(widths, attends, strict=True)):
        if width <= 0 or width % shape.norm_num_groups:
            raise BadInput(f"shape.block_out_channels has {width}, no multiple of norm_num_groups")
        last = level == len(widths) - 1  # the middle of a U-Net, which always attends, is as wide
        if (attending or last) and width > shape.head_channels and width % shape.head_channels:
            raise BadInput(f"shape.block_out_channels has {width}, no multiple of head_channels")
    if shape.text_channels % shape.text_heads:
        raise BadInput(f"shape.text_channels is {shape.text_channels}, no multiple of text_heads")
    if not 0 < shape.sigma_min < shape.sigma_max:
        raise BadInput(f"shape.sigma_min is {shape.sigma_min} and shape.sigma_max is {shape.sigma_max}")
    if shape.prediction_type not in PREDICTIONS:
        raise BadInput(f"shape.prediction_type is {shape.prediction_type!r}", hint=f"use {' or '.join(PREDICTIONS)}")


def tokenize(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> torch.Tensor:
    """Token ids (N, T) int64, padded and cut to the tokenizer's length."""
    ids: torch.Tensor = tokenizer(
        list(texts), padding="max_length", truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt"
    ).input_ids
    return ids


def cut_captions(tokenizer: CLIPTokenizer, texts: Texts) -> str:
    """A line on the captions that `tokenize` will cut: how many, and the file of the longest; "" where none is."""
    lengths = [len(tokenizer(text, verbose=False).input_ids) for text in texts.fixed()]
    limit = tokenizer.model_max_length
    if max(lengths) <= limit:
        return ""
    cut, worst = sum(length > limit for length in lengths), texts.rows[lengths.index(max(lengths))].file
    return f"{cut} of {len(lengths)} captions are cut to {limit} tokens; the longest, of {worst}, has {max(lengths)}"


def load_parts(folder: Path) -> tuple[Any, Any, Any, Any]:
    """U-Net, text encoder, tokenizer and scheduler of a model folder, float32, ready to be trained on."""
    from gen.model.sampling.torch_backend import load_torch

    parts = load_torch(folder, device="cpu", dtype="float32", attention="sdpa")
    for network in (parts.unet, parts.text_encoder):  # sampling has frozen them
        network.requires_grad_(True).train()
    return parts.unet, parts.text_encoder, parts.tokenizer, parts.scheduler
