"""Bone suppression by a conditional diffusion model in the latent space of an autoencoder.

Of the class of BS-LDM (Sun et al. 2025) and GL-LCM (Sun et al. 2025), which condition on the latent of the radiograph
by extra input channels. Here the latent of what bone adds is sampled, not that of the soft image: the image keeps the
detail that the autoencoder loses, and what the model gets wrong is no larger than bone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gen.core.config import number
from gen.core.files import read_json, sha256_file, write_json
from gen.core.noise import standard_normal
from gen.model.folder import check_weights, load_autoencoder
from gen.model.parts import load_part, load_weights, quiet
from gen.model.sampling.solver import Solver, tabulate
from gen.model.scheduler import check_scheduler
from gen.model.training.latent_cache import encode_grey
from gen.model.training.latents import shrink_factor
from gen.model.training.losses import rho_schedule

FACTS, UNET, VAE, SCHEDULER = "latent.json", "unet", "vae", "scheduler"
_SEED = 0  # of the noise, which is the same for every image: what is found depends on the image alone


@dataclass(frozen=True)
class LatentShape:
    """The U-Net of a new model; ``block_out_channels`` has one entry a level, finest first.

    ``sigma_min`` and ``sigma_max``: noise over signal at the first timestep and at the last.
    """

    block_out_channels: list[int] = field(default_factory=lambda: [64, 96, 128])
    layers_per_block: int = number(2, above=0)
    norm_num_groups: int = number(16, above=0)
    sigma_min: float = number(0.02, above=0)
    sigma_max: float = number(60.0, above=0)


class LatentNetwork(nn.Module):
    """The U-Net that predicts the velocity of noisy latents of bone, with latents of the radiograph beside them.

    ``spread`` (C,) is the size of the latents of bone, which are divided by it before they meet noise.
    """

    def __init__(self, unet: Any, spread: torch.Tensor) -> None:
        super().__init__()
        self.unet = unet
        self.register_buffer("spread", spread[:, None, None], persistent=False)

    def forward(self, noisy: torch.Tensor, timesteps: torch.Tensor, radiograph: torch.Tensor) -> torch.Tensor:
        """(N, C, h, w), (N,), (N, C, h, w) -> (N, C, h, w) float32."""
        velocity: torch.Tensor = self.unet(torch.cat([noisy, radiograph], dim=1), timesteps).sample
        return velocity.float()


def new_latent_network(shape: LatentShape, channels: int, side: int, spread: torch.Tensor) -> tuple[LatentNetwork, Any]:
    """The network for latents of ``channels`` x ``side`` x ``side``, and its scheduler."""
    from diffusers import DPMSolverMultistepScheduler, UNet2DModel

    levels = len(shape.block_out_channels)
    unet = UNet2DModel(
        sample_size=side,
        in_channels=2 * channels,
        out_channels=channels,
        block_out_channels=tuple(shape.block_out_channels),
        down_block_types=("DownBlock2D",) * levels,
        up_block_types=("UpBlock2D",) * levels,
        layers_per_block=shape.layers_per_block,
        norm_num_groups=shape.norm_num_groups,
    )
    nn.init.zeros_(unet.conv_out.weight)
    nn.init.zeros_(unet.conv_out.bias)
    scheduler = DPMSolverMultistepScheduler(
        trained_betas=rho_schedule(1000, shape.sigma_min, shape.sigma_max),
        prediction_type="v_prediction",
        algorithm_type="dpmsolver++",
        solver_order=2,
        timestep_spacing="trailing",
    )
    return LatentNetwork(unet, spread), scheduler


@dataclass(frozen=True, eq=False)
class LatentModel:
    """A frozen network with its autoencoder and its solver, for images whose shorter side is ``side`` pixels."""

    network: LatentNetwork
    vae: Any
    solver: Solver
    side: int

    @torch.inference_mode()
    def find_bone(self, display: np.ndarray) -> np.ndarray:
        """What bone adds to ``display`` float32 (H, W) in [0, 1], of its shape."""
        height, width = display.shape
        multiple = latent_multiple(self.network.unet, self.vae)
        padded = np.pad(display, ((0, -height % multiple), (0, -width % multiple)), mode="edge")
        device = next(self.network.parameters()).device
        radiograph = encode_grey(self.vae, torch.from_numpy(padded)[None, None] * 2 - 1).to(device)

        def predict(i: int, noisy: np.ndarray) -> np.ndarray:
            timestep = torch.tensor([float(self.solver.timesteps[i])], device=device)
            return self.network(torch.from_numpy(noisy).to(device), timestep, radiograph).cpu().numpy()

        noise = standard_normal(tuple(radiograph.shape), _SEED)
        sampled = self.solver.run(predict, noise, lambda _: np.zeros_like(noise))
        bone = torch.from_numpy(sampled).to(device) * self.network.get_buffer("spread")
        # Where the decoder is stochastic it gets no noise: of two draws the difference would be grain.
        both = torch.cat([radiograph, radiograph - bone]) / self.vae.config.scaling_factor
        image, soft = self.vae.decode(both).sample.mean(1).float().cpu().numpy() / 2
        return np.asarray((image - soft)[:height, :width])


def latent_multiple(unet: Any, vae: Any) -> int:
    """What the sides of an image in pixels are multiples of."""
    return shrink_factor(vae) * int(2 ** (len(unet.config.block_out_channels) - 1))


@quiet()
def write_latent(folder: Path, network: LatentNetwork, vae: Any, scheduler: Any, side: int, steps: int) -> None:
    """Fill ``folder`` with stock parts in safetensors and what else a `LatentModel` is made of."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in {UNET: network.unet, VAE: vae, SCHEDULER: scheduler}.items():
        part.save_pretrained(folder / name)
    for name in (UNET, VAE):
        config = read_json(folder / name / "config.json")
        config.pop("_name_or_path", None)  # where it was loaded from: one machine's business
        write_json(folder / name / "config.json", config)
    spread = network.get_buffer("spread").flatten().tolist()
    write_json(folder / FACTS, {"side": side, "steps": steps, "spread": spread})


def load_latent(folder: Path, device: torch.device | str) -> tuple[LatentModel, str]:
    """The model in ``folder``, and a digest of all that decides its images; BadInput names what is amiss."""
    from diffusers import DPMSolverMultistepScheduler, UNet2DModel

    facts = read_json(folder / FACTS)
    check_scheduler(folder / SCHEDULER)
    check_weights(folder / UNET)
    unet, vae = load_weights(UNet2DModel, folder / UNET), load_autoencoder(folder / VAE)
    solver = tabulate(load_part(DPMSolverMultistepScheduler, folder / SCHEDULER), int(facts["steps"]))
    network = LatentNetwork(unet, torch.tensor(facts["spread"], dtype=torch.float32))
    for part in (network, vae):
        part.eval().requires_grad_(False).to(device)
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors"))
    listed = "\n".join(f"{path.relative_to(folder).as_posix()} {sha256_file(path)}" for path in files)
    return LatentModel(network, vae, solver, int(facts["side"])), hashlib.sha256(listed.encode()).hexdigest()[:16]
