"""How the network is run, whatever runs it: names as in diffusers' pipelines, and what a model cannot do."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gen.core.errors import BadInput
from gen.core.files import read_json
from gen.core.noise import standard_normal
from gen.core.run import derived_seed
from gen.model import DEFAULT_GUIDANCE, DEFAULT_HELD_STRENGTH, DEFAULT_STEPS, DEFAULT_STRENGTH


@dataclass(frozen=True)
class Settings:
    """How the network is run; names as in diffusers' pipelines."""

    steps: int = DEFAULT_STEPS
    guidance: float = DEFAULT_GUIDANCE  # 1: none (Ho and Salimans 2022, arXiv:2207.12598)
    # Sigmas (noise over signal), least and most, between which guidance acts (Kynkäänniemi et al. 2024,
    # arXiv:2404.07724); None: those of the model's capabilities, where it names them, or all.
    guidance_interval: tuple[float, float] | None = None
    negative: str = ""
    size: int | None = None  # pixels; None: what the model was trained at
    strength: float = DEFAULT_STRENGTH  # with ``init``: the share of the steps that are taken, 0 to 1
    held_strength: float = DEFAULT_HELD_STRENGTH  # the same for what is held, at most ``strength``
    vary: bool = False  # draw pose and exposure of the finished image, see `gen.model.sampling.variation`

    @property
    def skipped(self) -> int:
        """The steps that are left out where sampling starts from an image."""
        return self.steps - round(self.steps * self.strength)

    @property
    def holding(self) -> int:
        """The steps after these through which what is held is kept as it was."""
        return self.steps - round(self.steps * self.held_strength) - self.skipped

    def guides(self, sigma: float) -> bool:
        """Whether guidance acts at noise level ``sigma``; NaN, which no interval holds, stands for an unknown one."""
        if self.guidance == 1 or self.guidance_interval is None:
            return self.guidance != 1
        return self.guidance_interval[0] <= sigma <= self.guidance_interval[1]


@dataclass(frozen=True)
class Configs:
    """The configs of a model's parts, in memory or as their JSON files have them."""

    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    scheduler: Mapping[str, Any]

    @property
    def factor(self) -> int:
        """Pixels a side that one latent stands for."""
        return int(2 ** (len(self.vae["block_out_channels"]) - 1))

    @property
    def size(self) -> int:
        """Pixels a side that the model was trained at."""
        return int(self.unet["sample_size"]) * self.factor


def decoder_noise(capabilities: Mapping[str, Any] | None, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """The noise from which a stochastic decoder draws fine detail, float32 of ``shape`` (C, h, w); zero for others.

    It is added to the latents of image ``seed`` before they are decoded, also where they were held as they were.
    ``decoder_noise`` of the capabilities holds its standard deviation in each channel, in diffusion range (see
    ``energy_score`` of `gen train autoencoder`).
    """
    spread = np.array((capabilities or {}).get("decoder_noise", []), np.float32)
    if not spread.any():
        return np.zeros(shape, np.float32)
    return standard_normal(shape, derived_seed(seed, "decoder")) * spread[:, None, None]


def check_folder_settings(folder: Path, size: int | None, steps: int) -> None:
    """`check_settings` of the model in ``folder``, by its JSON files alone: long before weights are loaded."""
    unet, vae = (read_json(folder / part / "config.json") for part in ("unet", "vae"))
    configs = Configs(unet, vae, read_json(folder / "scheduler" / "scheduler_config.json"))
    with suppress(KeyError):  # left out of an old config, for the default of its class: known once it is loaded
        check_settings(configs, size, steps)


def check_settings(configs: Configs, size: int | None, steps: int) -> None:
    """Raise BadInput for a size (None: the model's) or a number of steps that a model of these configs cannot make."""
    grid = configs.factor * 2 ** (len(configs.unet["block_out_channels"]) - 1)
    side = configs.size if size is None else size
    if side < 8 * configs.factor or side % grid:
        raise BadInput(
            f"size {side} is not possible with this model",
            hint=f"use a multiple of {grid} pixels, {8 * configs.factor} or more; it was trained at {configs.size}",
        )
    most = int(configs.scheduler["num_train_timesteps"])
    if not 1 <= steps <= most:
        raise BadInput(f"steps is {steps}", hint=f"use 1 to {most}; 20 is usual")
