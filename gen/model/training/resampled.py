"""Latents that a denoiser has made anew: a decoder that learns from them puts back what sampling takes away.

A real latent is noised and sampled down again, with the caption of its image and by the steps that sampling takes from
that noise on (Meng et al. 2022, SDEdit, arXiv:2108.01073). The true image is what the decoder is to make of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gen.core.config import number
from gen.core.errors import BadInput
from gen.core.files import atomic_file
from gen.core.noise import standard_normal
from gen.core.radiograph import Radiograph
from gen.core.run import derived_seed
from gen.data.loader import to_model_range
from gen.data.texts import texts_of
from gen.model.capabilities import off_grid, sampling_defaults
from gen.model.folder import newest_model
from gen.model.parts import quiet
from gen.model.sampling.settings import Settings, check_settings
from gen.model.sampling.solver import sigma_of
from gen.model.sampling.torch_backend import TorchPipeline, load_torch, sample_latents
from gen.model.training.latent_cache import encode_grey
from gen.model.training.latents import is_linear

if TYPE_CHECKING:
    import torch

    from gen.core.manifest import Row

GUIDANCE = 1.0  # none: the caption of a real image is true of it
BATCH = 8  # images that the U-Net makes anew together
SAME = 0.01  # latents that differ by less, relative to their size, are those of one encoder, in half precision or not


@dataclass(frozen=True)
class Resampling:
    """Which latents a denoiser makes anew, and how often the decoder learns from them."""

    model: str | None = None  # a model folder, or the run folder of a denoiser; None: all latents are true ones
    share: float = number(0.5, share=True)  # of the crops
    images: int = number(600, above=0)  # of the training images; made anew once, before the training
    # Of the difference from the true image, beside that of true latents: at such noise the fine detail is another one,
    # and the decoder would learn to blur it, or to draw all of it anew.
    pair_weight: float = number(0.1, least=0)
    # Of a whole sampling, of which the last few are taken; None: those of the model.
    steps: int | None = number(None, above=0)
    sigma_min: float = number(0.3, above=0)  # noise over signal that is put on a latent: at least, and at most
    sigma_max: float = number(2.0, above=0)


@dataclass(frozen=True)
class Resampled:
    """Latents made anew, as their difference from the true ones, raw."""

    images: np.ndarray  # (n,), whose they are
    errors: np.ndarray  # float16 (n, C, h, w)

    def crop(self, entry: int, top: int, left: int, side: int) -> torch.Tensor:
        """The difference in a square of ``side`` latents, float32 (C, side, side)."""
        import torch

        return torch.from_numpy(self.errors[entry, :, top : top + side, left : left + side].astype(np.float32))


def load_resampler(how: Resampling, vae: Any, size: int, device: str, dtype: str) -> TorchPipeline:
    """The model of ``how``, which must know the latents of ``vae``; BadInput for one that cannot make them anew."""
    folder = newest_model(Path(how.model or ""))
    if not is_linear(vae):
        raise BadInput(
            f"resampled.model is {how.model}, and the encoder learns, so that its latents change",
            hint="latents can be made anew for an AutoencoderTiny with a linear encoder",
        )
    pipeline = load_torch(folder, device=device, dtype=dtype)
    if not same_latents(pipeline.vae, vae):
        raise BadInput(
            f"resampled.model is {folder}, whose denoiser knows other latents than those of this autoencoder",
            hint="set init to the autoencoder that the denoiser was trained on, and refit_encoder to false",
        )
    steps = steps_of(pipeline, how)
    check_settings(pipeline.configs, size, steps)
    if warning := off_grid(pipeline.capabilities, steps, GUIDANCE):
        raise BadInput(f"resampled.steps is {steps}: {warning}", hint="leave resampled.steps out of the config")
    if not strengths(pipeline, how):
        raise BadInput(
            f"resampled.sigma_min is {how.sigma_min} and resampled.sigma_max is {how.sigma_max}, and none of the "
            f"{steps} steps of {folder} begins between them",
            hint="raise resampled.steps, or give 0.3 and 2",
        )
    return pipeline


def same_latents(one: Any, other: Any) -> bool:
    """Whether two autoencoders have the same latents in diffusion range, but for the rounding of their weights."""
    import torch

    if one.config.latent_channels != other.config.latent_channels or not is_linear(one):
        return False
    probe = torch.from_numpy(standard_normal((1, 1, 64, 64), 0)).clamp(-1, 1)
    first, second = encode_grey(one, probe), encode_grey(other, probe)
    return first.shape == second.shape and float((first - second).norm()) <= SAME * float(second.norm())


def steps_of(pipeline: TorchPipeline, how: Resampling) -> int:
    """The steps of a whole sampling: those of ``how``, or the model's."""
    steps: int = how.steps or sampling_defaults(pipeline.capabilities)["steps"]
    return steps


def strengths(pipeline: TorchPipeline, how: Resampling) -> list[float]:
    """The shares of a sampling that begin between the two sigmas; they lie about evenly in its logarithm."""
    steps = steps_of(pipeline, how)
    with quiet():
        scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
        scheduler.set_timesteps(steps)
    first_passes = scheduler.timesteps[:: getattr(scheduler, "order", 1)]
    sigmas = [sigma_of(scheduler, timestep) for timestep in first_passes]
    return [1 - i / steps for i, sigma in enumerate(sigmas) if how.sigma_min <= sigma <= how.sigma_max]


def resample(
    pipeline: TorchPipeline,
    pixels_u8: np.ndarray,
    rows: Sequence[Row],
    images: np.ndarray,
    how: Resampling,
    seed: int,
    folder: Path,
) -> Resampled:
    """Make the latents of ``images``, places in ``pixels_u8`` (N, H, W) and ``rows``, anew, once.

    Image k of them gets the noise of ``seed`` and k. They are kept in a file in ``folder``, whose name holds a hash of
    all that decides them.
    """
    from tqdm import tqdm

    canonical = bool((pipeline.capabilities or {}).get("canonical_language"))
    captions = texts_of([rows[i] for i in images], "study" if canonical else "prompt", 0, 0).fixed()
    chosen = pixels_u8[images]
    steps = steps_of(pipeline, how)
    told = repr((pipeline.fingerprint, pipeline.network, captions, steps, strengths(pipeline, how), seed))
    key = hashlib.sha256(told.encode() + chosen.tobytes()).hexdigest()
    path = folder / f"resampled-{key[:16]}.npy"
    if path.exists():
        return Resampled(images, np.load(path))
    levels = strengths(pipeline, how)
    groups = [range(i, len(images), len(levels)) for i in range(len(levels))]  # of one strength each
    made: dict[int, np.ndarray] = {}
    with tqdm(total=len(images), desc="making latents anew", unit="image", leave=False) as bar:
        for level, group in zip(levels, groups, strict=True):
            settings = Settings(steps=steps, guidance=GUIDANCE, size=chosen.shape[1], strength=level)
            for batch in (group[start : start + BATCH] for start in range(0, len(group), BATCH)):
                shown = [Radiograph((chosen[k] / 255).astype(np.float32), None, {}) for k in batch]
                seeds = [derived_seed(seed, f"made anew {k}") for k in batch]
                latents = sample_latents(pipeline, [captions[k] for k in batch], seeds, shown, settings)
                true = encode_grey(pipeline.vae, to_model_range(chosen[list(batch)]))
                errors = (latents.cpu() - true) / pipeline.vae.config.scaling_factor
                made.update(zip(batch, errors.numpy().astype(np.float16), strict=True))
                bar.update(len(batch))
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as stream:
        np.save(stream, np.stack([made[k] for k in range(len(images))]))
    return Resampled(images, np.load(path))
