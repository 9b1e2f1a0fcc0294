"""Training of the conditional latent diffusion model of bone: `gen train suppress-latent CONFIG`.

The loop is the denoiser's: its session, its noise, its loss. What differs is what is shown: latents of drawn examples,
and the radiograph's in place of a text. Example n is a function of (seed, n), so that a killed run continues exactly.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from augment.suppress.config import LatentConfig
from augment.suppress.examples import draw_example
from augment.suppress.folder import Suppressor
from augment.suppress.latent import LatentModel, latent_multiple, new_latent_network, write_latent
from augment.suppress.patients import held_out_examples, open_with_pairs, report_scores, split_patients
from augment.suppress.separate import found_bone
from gen.core.bundled import bundled_model
from gen.core.errors import BadInput
from gen.core.files import keep_whole, staged_folder
from gen.core.noise import standard_normal
from gen.core.run import derived_seed
from gen.model.folder import load_autoencoder
from gen.model.sampling.solver import tabulate
from gen.model.training.denoiser import denoising_error
from gen.model.training.latent_cache import encode_grey
from gen.model.training.latents import shrink_factor
from gen.model.training.losses import draw_timestep, sigmas_of
from gen.model.training.optim import LossByNoise
from gen.model.training.session import Session, refused_by_the_library

if TYPE_CHECKING:
    import torch

LATENT_FOLDER = "suppress-latent"
_MEASURED = 64  # examples that tell how large latents of bone are


def train_latent(config: LatentConfig, command: Sequence[str] = ()) -> Path:
    """Train, or resume, in the run folder ``config.out``; the folder of the finished model (averaged).

    Raises BadInput for CTs, an autoencoder or a config that cannot be used, GenError for a loss that is not finite.
    """
    import torch
    from diffusers import DDPMScheduler

    split = split_patients(config)
    vae = load_autoencoder(Path(config.autoencoder) if config.autoencoder else bundled_model())
    vae.requires_grad_(False).eval()
    training = Session(config)
    channels, side = int(vae.config.latent_channels), config.side // shrink_factor(vae)
    with refused_by_the_library("the network"):
        bare, scheduler = new_latent_network(config.shape, channels, side, torch.ones(channels))
    if config.side % (multiple := latent_multiple(bare.unet, vae)):
        raise BadInput(f"side is {config.side}", hint=f"use a multiple of {multiple} pixels")

    with open_with_pairs(training, split, config, command) as (run, pairs):
        held_out = held_out_examples(pairs["validation"], config.validation_pairs, config.seed)
        vae.to(training.device)
        measured = replace(config, seed=derived_seed(config.seed, "size of latents"))
        _, bone = _latents(vae, pairs["train"], range(_MEASURED), measured)
        bare.get_buffer("spread").copy_(bone.std((0, 2, 3))[:, None, None])

        # What learns, and how
        bare.to(training.device)
        process = DDPMScheduler.from_config(scheduler.config)
        sigmas = sigmas_of(process.alphas_cumprod).numpy()
        by_noise = LossByNoise(len(sigmas)).to(training.device)
        adam: dict[str, Any] = {"lr": config.learning_rate, "betas": (0.9, 0.99), "weight_decay": config.weight_decay}
        optimizers = {"latent": torch.optim.AdamW(bare.parameters(), **adam)}
        training.start("latent", bare, optimizers, beside={"loss_by_noise": by_noise})
        model = training.accelerator.prepare(bare)

        while True:
            # Report and save, with the state "after so many images", so that resume and end are one path
            if training.due(config.validate_every, at_start=True):
                sampler = LatentModel(bare, vae, tabulate(scheduler, config.steps), config.side)
                report_scores(training, partial(found_bone, Suppressor(sampler.find_bone, config.side, "")), held_out)
            if training.due(config.checkpoint_every):
                training.save(
                    lambda stage: write_latent(stage / "model", bare, vae, scheduler, config.side, config.steps)
                )
            if training.finished():
                return _finish(run.folder, training.folder / "model")

            # A batch of radiographs and of their bone, as latents, and the noise that bone is hidden in
            radiograph, bone = _latents(vae, pairs["train"], training.places(), config)
            clean = bone / bare.get_buffer("spread")
            seeds = [derived_seed(config.seed, place) for place in training.places()]
            noise = torch.from_numpy(np.stack([standard_normal(tuple(clean.shape[1:]), seed) for seed in seeds]))
            drawn = [draw_timestep(sigmas, seed, config.noise) for seed in seeds]
            timesteps = torch.tensor(drawn, device=training.device)
            with training.accelerator.accumulate(model):
                error = denoising_error(model, process, clean, noise.to(training.device), timesteps, radiograph)
                loss = (by_noise.weights(timesteps) * error).mean()
                by_noise.update(training.accelerator.reduce(by_noise.sums(timesteps, error), "sum"))
                training.step(loss, list(training.places()), loss=by_noise.get_buffer("mean").mean())


def _latents(
    vae: Any, pairs: Sequence[Path], places: Sequence[int], config: LatentConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents (N, C, h, w) of the radiographs at ``places`` of the run, and what bone adds to them."""
    import torch
    from torch.nn import functional

    examples = [draw_example(pairs, place, config.seed, 2 * config.side, config.drawing) for place in places]
    display, bone = (
        functional.avg_pool2d(torch.from_numpy(np.stack([getattr(each, name) for each in examples]))[:, None], 2)
        for name in ("display", "bone")
    )
    device = next(vae.parameters()).device
    image, soft = (encode_grey(vae, each * 2 - 1).to(device) for each in (display, display - bone))
    return image, image - soft


def _finish(run: Path, trained: Path) -> Path:
    """The folder ``run``/suppress-latent, a copy of that of the last checkpoint."""
    folder = run / LATENT_FOLDER
    if not keep_whole(folder):
        with staged_folder(folder) as stage:
            shutil.copytree(trained, stage, dirs_exist_ok=True)
    return folder
