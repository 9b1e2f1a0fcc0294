"""Training the autoencoder: `gen train autoencoder CONFIG`. One visible loop, with the common session.

Two stock classes: `AutoencoderKL`, trained whole, and `AutoencoderTiny`, whose encoder is here set in closed form to
the whitened patch PCA of the training images, so that its latents are final from the start and only the decoder learns.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gen.core.config import number
from gen.core.errors import BadInput
from gen.core.files import write_json
from gen.core.manifest import read_manifest
from gen.core.noise import standard_normal
from gen.core.run import derived_seed
from gen.data.loader import evenly, pixel_cache, to_model_range
from gen.data.split import data_digest, order_of, split_rows
from gen.model.capabilities import CAPABILITIES
from gen.model.cpu import memory_format
from gen.model.training.crops import cut_crops, draw_crop, latent_errors
from gen.model.training.latents import (
    RAW_STD,
    freeze_linear_encoder,
    moments,
    patch_pca,
    refit_patch_encoder,
    set_patch_encoder,
    shrink_factor,
)
from gen.model.training.losses import (
    energy_score,
    gradient_energy_ratio,
    gradient_penalty,
    psnr,
    reconstruction_loss,
    texture_loss,
)
from gen.model.training.resampled import Resampled, Resampling, load_resampler, resample
from gen.model.training.session import Session, TrainingConfig, refused_by_the_library

if TYPE_CHECKING:
    import torch

    from gen.model.sampling.torch_backend import TorchPipeline


@dataclass(frozen=True)
class AutoencoderShape:
    """The architecture, where there is no ``init``. One stage a power of two: k stages shrink by 2**(k-1)."""

    class_name: str = "AutoencoderTiny"  # or AutoencoderKL
    latent_channels: int = number(8, above=0)
    whitening: float = 0.5  # Tiny: 1: all channels of equal size, 0: as the principal components have it
    block_out_channels: list[int] = field(default_factory=lambda: [32, 32, 32, 32])
    blocks: list[int] = field(default_factory=lambda: [3, 3, 3, 1])  # per decoder stage (Tiny)
    layers_per_block: int = number(1, above=0)  # KL
    norm_num_groups: int = number(8, above=0)  # KL


@dataclass(frozen=True)
class AutoencoderConfig(TrainingConfig):
    """`gen train autoencoder`: everything that decides the weights. What it learns from are crops of images."""

    init: str | None = None  # a model folder, or the folder of an autoencoder, to start from
    # Set the linear encoder of init anew to these images; its decoder is carried over.
    refit_encoder: bool = False
    shape: AutoencoderShape = field(default_factory=AutoencoderShape)
    size: int = number(256, above=0)  # pixels, the side of a training image
    crop: int = number(128, above=0)  # pixels, the side of what one step sees of it; the network is convolutional
    images: int = number(400_000, above=0)
    batch_size: int = number(8, above=0)
    learning_rate: float = number(2e-3, above=0)
    warmup: int = number(400, least=0)
    cooldown: float = number(0.3, above=0, share=True)
    kl_weight: float = number(1e-6, least=0)  # AutoencoderKL
    # AutoencoderTiny, of all crops, in standard deviations of the first channel: the decoder must bear a generator's
    # small errors.
    latent_noise: float = number(0.05, least=0)
    quiet_channels: int = number(0, least=0)  # the first ones, which hold what an image shows, get none of it
    # The decoder learns to draw fine detail from this noise, instead of the median of what it could be. What the noise
    # hides of the latents it draws too. Sampling then adds such noise before it decodes.
    energy_score: bool = False
    texture_weight: float = number(0.0, least=0)  # of how strong fine detail is, wherever its grains lie
    adversarial_weight: float = number(0.0, least=0)  # of the patch discriminator (hinge loss), 0: none
    adversarial_after: int = number(0, least=0)  # crops before it takes part
    critic_penalty: float = number(0.0, least=0)  # on how steeply its scores of real images rise (R1)
    # Latents that a denoiser has made anew, as some of what the decoder learns from (AutoencoderTiny).
    resampled: Resampling = field(default_factory=Resampling)
    images_per_patient: int = number(4, least=0)  # in an epoch
    checkpoint_every: int = number(40_000, above=0)
    validate_every: int = number(20_000, above=0)
    validation_images: int = number(64, above=0)
    gradient_checkpointing: bool = False


def train_autoencoder(config: AutoencoderConfig, command: Sequence[str] = ()) -> Path:
    """Train, or resume, in the run folder ``config.out``; the folder of the finished autoencoder (averaged weights).

    Raises BadInput for data, init or config that cannot be used, GenError for a loss that is not finite.
    """
    import torch

    from gen.model.training.autoencoder_network import PatchCritic, Reconstruction

    # Whatever can be refused comes first: a run folder that exists keeps its config for good.
    rows = split_rows(read_manifest(config.data))
    training = Session(config)
    with refused_by_the_library("the autoencoder"):
        bare = _start(config)
    patch = shrink_factor(bare)
    if config.crop > config.size or config.crop % patch or config.size % patch:
        raise BadInput(
            f"crop is {config.crop} and size is {config.size}",
            hint=f"crop is at most size, and both are multiples of {patch} pixels",
        )
    if config.quiet_channels and (type(bare).__name__ != "AutoencoderTiny" or not _noise_size(config, bare).any()):
        raise BadInput(
            f"quiet_channels is {config.quiet_channels}, and no channel is left that gets noise",
            hint="it is for an AutoencoderTiny with more channels, and latent_noise above 0",
        )
    if config.energy_score and (type(bare).__name__ != "AutoencoderTiny" or not _noise_size(config, bare).any()):
        raise BadInput(
            "energy_score is true, and no noise is added to the latents that it could draw from",
            hint="use an AutoencoderTiny and latent_noise above 0",
        )
    denoiser = _denoiser(config, bare, training.device) if config.resampled.model else None
    inputs = {"data": data_digest({split: rows[split] for split in ("train", "validation")})}
    if denoiser is not None:
        inputs["denoiser"] = denoiser.fingerprint

    with training.open(command, **inputs) as run:
        # Images, which the main process reads once, and the latents that a denoiser makes anew
        order = order_of(rows["train"], config.seed, config.images_per_patient)
        with training.accelerator.main_process_first():
            cache = run.folder / "cache"
            pixels = {split: pixel_cache(rows[split], config.size, cache) for split in ("train", "validation")}
            shown = evenly(np.arange(len(pixels["validation"])), config.validation_images)
            anew: dict[str, Resampled] = {}
            if denoiser is not None:
                some = [order.index(k) for k in range(min(config.resampled.images, order.epoch_length))]
                for split, images in (("train", np.array(some)), ("validation", shown)):
                    anew[split] = resample(
                        denoiser, pixels[split], rows[split], images, config.resampled, config.seed, cache
                    )
        channels = int(bare.config.in_channels)
        held_out = to_model_range(pixels["validation"][shown]).expand(-1, channels, -1, -1)

        # What learns, and how
        if config.refit_encoder or (config.init is None and config.shape.class_name == "AutoencoderTiny"):
            _fit_encoder(bare, pixels["train"], config)
        linear = freeze_linear_encoder(bare)
        if config.gradient_checkpointing:
            bare.enable_gradient_checkpointing()
        # Plain convolutions are fastest with channels last; CPU group norm in bfloat16 is nine times slower there.
        layout = memory_format(bare, training.device) if linear else torch.contiguous_format
        bare.to(training.device, memory_format=layout)
        weights = [p for p in bare.parameters() if p.requires_grad]
        adam: dict[str, Any] = {"lr": config.learning_rate, "betas": (0.9, 0.99), "weight_decay": config.weight_decay}
        optimizers: dict[str, torch.optim.Optimizer] = {"autoencoder": torch.optim.AdamW(weights, **adam)}
        critic = PatchCritic(channels).to(training.device) if config.adversarial_weight else None
        if critic is not None:
            optimizers["critic"] = torch.optim.AdamW(critic.parameters(), lr=config.learning_rate, betas=(0.5, 0.9))
        training.start("autoencoder", bare, optimizers, beside={"critic": critic} if critic else None, attention="sdpa")
        model = training.accelerator.prepare(Reconstruction(bare))
        critic = training.accelerator.prepare(critic) if critic else None
        noise_size = _noise_size(config, bare)
        held_out_noise = torch.zeros(len(shown), 1, 1, 1)
        if config.energy_score:
            latent_shape = (len(noise_size), config.size // patch, config.size // patch)
            normal = np.stack(
                [standard_normal(latent_shape, derived_seed(config.seed, f"held out {k}")) for k in shown]
            )
            held_out_noise = torch.from_numpy(normal * noise_size[:, None, None])
        if config.init and replace(config.shape, whitening=AutoencoderShape.whitening) != AutoencoderShape():
            training.print(f"shape is ignored: the architecture is that of {config.init}")

        def export(stage: Path) -> None:
            copy.deepcopy(bare).to(memory_format=torch.contiguous_format).save_pretrained(stage / "vae")
            if config.energy_score:
                sizes = noise_size * float(bare.config.scaling_factor)
                write_json(stage / CAPABILITIES, {"decoder_noise": [round(float(size), 6) for size in sizes]})

        while True:
            # Report and save, with the state "after so many images", so that resume and end are one path
            if training.due(config.validate_every, at_start=True):
                with training.averaged():
                    scores = reconstruction_scores(bare, held_out, config.batch_size, held_out_noise)
                    if anew:
                        errors = torch.from_numpy(anew["validation"].errors.astype(np.float32))
                        found = reconstruction_scores(bare, held_out, config.batch_size, errors + held_out_noise)
                        scores |= {f"resampled_{name}": value for name, value in found.items()}
                training.log("validation", **scores)
                said = f"PSNR {scores['psnr']:.2f} dB, gradient ratio {scores['gradient_ratio']:.3f}"
                if anew:
                    psnr, gradient = scores["resampled_psnr"], scores["resampled_gradient_ratio"]
                    said += f"; from resampled latents: PSNR {psnr:.2f} dB, gradient ratio {gradient:.3f}"
                training.print(f"{training.images} images: {said}")
            if training.due(config.checkpoint_every):
                training.save(export)
            if training.finished():
                return training.folder / "vae"

            # A batch: crops of the images whose turn it is, or of some whose latents were made anew
            seeds = [derived_seed(config.seed, place) for place in training.places()]
            crops = [
                draw_crop(
                    order.index(place),
                    seed,
                    config.size - config.crop,
                    anew.get("train"),
                    config.resampled.share,
                    patch,
                )
                for place, seed in zip(training.places(), seeds, strict=True)
            ]
            target = cut_crops(pixels["train"], crops, config.crop).expand(-1, channels, -1, -1).to(training.device)
            paired = torch.tensor([1.0 if crop.anew is None else config.resampled.pair_weight for crop in crops])
            draws = [seeds, [derived_seed(seed, "second draw") for seed in seeds]] if config.energy_score else [seeds]
            drawn = [latent_errors(bare, crops, own, config.crop, noise_size, anew.get("train")) for own in draws]
            noise = torch.cat(drawn).to(training.device)
            wanted = target.repeat(len(draws), 1, 1, 1)

            # Learn from it; the critic judges without learning, and then learns from the same pair
            with training.accelerator.accumulate(model):
                outputs, kl = model(wanted, noise)
                output, *second = outputs.chunk(len(draws))
                wrong = energy_score(output, second[0], target) if second else reconstruction_loss(output, target)
                loss = (paired.to(training.device) * wrong).mean() + config.kl_weight * kl
                if config.texture_weight:
                    loss = loss + config.texture_weight * texture_loss(outputs, wanted).mean()
                if critic is not None and training.images >= config.adversarial_after:
                    critic.requires_grad_(False)
                    loss = loss - config.adversarial_weight * critic(output).mean()
                    critic.requires_grad_(True)
                    judged = torch.cat([target, output.detach()]).requires_grad_(config.critic_penalty > 0)
                    real, rebuilt = critic(judged).chunk(2)  # data parallel: one pass
                    fault = (torch.relu(1 - real) + torch.relu(1 + rebuilt)).mean()
                    if config.critic_penalty:
                        fault = fault + config.critic_penalty * gradient_penalty(real, judged)
                    training.accelerator.backward(fault)
                training.step(loss, [rows["train"][crop.image].file for crop in crops])


def _start(config: AutoencoderConfig) -> Any:
    """The autoencoder that training starts from: of ``config.init``, or new."""
    from diffusers import AutoencoderKL, AutoencoderTiny

    from gen.model.folder import load_autoencoder

    if config.init:
        vae = load_autoencoder(Path(config.init))
        vae.requires_grad_(True).train()
        return vae
    shape = config.shape
    stages = len(shape.block_out_channels)
    _check_shape(shape)
    if shape.class_name == "AutoencoderKL":
        return AutoencoderKL(
            in_channels=1,
            out_channels=1,
            latent_channels=shape.latent_channels,
            block_out_channels=tuple(shape.block_out_channels),
            down_block_types=("DownEncoderBlock2D",) * stages,
            up_block_types=("UpDecoderBlock2D",) * stages,
            layers_per_block=shape.layers_per_block,
            norm_num_groups=shape.norm_num_groups,
            sample_size=config.size,
            scaling_factor=1.0,
        )
    patch = 2 ** (stages - 1)
    return AutoencoderTiny(
        in_channels=1,
        out_channels=1,
        latent_channels=shape.latent_channels,
        encoder_block_out_channels=(patch * patch,) * stages,
        decoder_block_out_channels=tuple(shape.block_out_channels),
        num_encoder_blocks=(0,) * stages,
        num_decoder_blocks=tuple(shape.blocks),
    )


def _noise_size(config: AutoencoderConfig, vae: Any) -> np.ndarray:
    """Size of the noise in each channel of raw latents, (C,); an `AutoencoderKL` has a spread of its own."""
    channels = np.ones(int(vae.config.latent_channels), np.float32)
    if type(vae).__name__ == "AutoencoderKL":
        return channels
    channels[: config.quiet_channels] = 0
    return channels * np.float32(config.latent_noise * RAW_STD)


def _denoiser(config: AutoencoderConfig, vae: Any, device: torch.device) -> TorchPipeline:
    """The model that makes latents of ``vae`` anew; BadInput where it cannot, or where the encoder is not final yet."""
    if config.init is None or config.refit_encoder:
        raise BadInput(
            f"resampled.model is {config.resampled.model}, and the encoder is made in this training",
            hint="set init to the autoencoder that the denoiser was trained on, and refit_encoder to false",
        )
    return load_resampler(config.resampled, vae, config.size, str(device), config.dtype)


def _fit_encoder(bare: Any, pixels_u8: np.ndarray, config: AutoencoderConfig) -> None:
    """Set the linear encoder of ``bare`` to the patch PCA of some 500 images of ``pixels_u8`` (N, H, W)."""
    some = pixels_u8[:: max(1, len(pixels_u8) // 500)]
    set_encoder = refit_patch_encoder if config.refit_encoder else set_patch_encoder
    components = patch_pca(some, shrink_factor(bare), int(bare.config.latent_channels))
    set_encoder(bare, *components, config.shape.whitening)


def _check_shape(shape: AutoencoderShape) -> None:
    """Raise BadInput, naming the key, for numbers that do not go together."""
    widths, patch = shape.block_out_channels, 2 ** (len(shape.block_out_channels) - 1)
    if shape.class_name not in ("AutoencoderTiny", "AutoencoderKL"):
        raise BadInput(f"shape.class_name is {shape.class_name!r}", hint="use AutoencoderTiny or AutoencoderKL")
    if not widths or min(widths) <= 0:
        raise BadInput(f"shape.block_out_channels is {widths}", hint="give one number above 0 a stage")
    if shape.class_name == "AutoencoderKL":
        if any(width % shape.norm_num_groups for width in widths):
            raise BadInput(f"shape.block_out_channels is {widths}, not all multiples of norm_num_groups")
    elif len(shape.blocks) != len(widths) or len(set(widths)) > 1:
        raise BadInput(
            f"shape.block_out_channels is {widths} and shape.blocks is {shape.blocks}",
            hint="an AutoencoderTiny has one width in all stages, and each has its number of blocks",
        )
    elif shape.latent_channels > patch**2:
        raise BadInput(
            f"shape.latent_channels is {shape.latent_channels}",
            hint=f"patches of {patch} x {patch} pixels have {patch**2} components",
        )


def reconstruction_scores(vae: Any, images: torch.Tensor, batch_size: int, errors: torch.Tensor) -> dict[str, float]:
    """Mean PSNR (dB) and gradient energy ratio of ``images`` (N, C, H, W) in [-1, 1] through ``vae`` and back.

    ``errors`` (N, c, h, w), or of a shape that broadcasts to it, are added to the latents.
    """
    import torch

    ratios, decibels = [], []
    device = next(vae.parameters()).device
    with torch.no_grad():
        for start in range(0, len(images), batch_size):
            part = images[start : start + batch_size]
            latents = moments(vae, part.to(device))[0] + errors[start : start + batch_size].to(device)
            rebuilt = vae.decode(latents).sample.clamp(-1, 1).cpu()
            decibels.append(psnr(rebuilt, part, 2.0))
            ratios.append(gradient_energy_ratio(rebuilt, part))
    return {"psnr": float(torch.cat(decibels).mean()), "gradient_ratio": float(torch.cat(ratios).mean())}
