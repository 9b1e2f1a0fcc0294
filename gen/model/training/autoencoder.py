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

from gen.core.errors import BadInput
from gen.core.manifest import read_manifest
from gen.core.noise import standard_normal
from gen.core.run import derived_seed
from gen.data.loader import evenly, pixel_cache, to_model_range
from gen.data.split import data_digest, order_of, split_rows
from gen.model.cpu import memory_format
from gen.model.device import describe_device
from gen.model.training import session
from gen.model.training.latents import (
    RAW_STD,
    freeze_linear_encoder,
    moments,
    patch_pca,
    refit_patch_encoder,
    set_patch_encoder,
    shrink_factor,
)
from gen.model.training.losses import ema_decay, gradient_energy_ratio, psnr, reconstruction_loss

if TYPE_CHECKING:
    import numpy as np
    import torch


@dataclass(frozen=True)
class AutoencoderShape:
    """The architecture, where there is no ``init``. One stage a power of two: k stages shrink by 2**(k-1)."""

    class_name: str = "AutoencoderTiny"  # or AutoencoderKL
    latent_channels: int = 8
    whitening: float = 0.5  # Tiny: 1: all channels of equal size, 0: as the principal components have it
    block_out_channels: list[int] = field(default_factory=lambda: [32, 32, 32, 32])
    blocks: list[int] = field(default_factory=lambda: [3, 3, 3, 1])  # per decoder stage (Tiny)
    layers_per_block: int = 1  # KL
    norm_num_groups: int = 8  # KL


@dataclass(frozen=True)
class AutoencoderConfig:
    """`gen train autoencoder`: everything that decides the weights."""

    out: str
    data: str = "${oc.env:CXR_DATA,../shared/data}/cxr"
    init: str | None = None  # a model folder, or the folder of an autoencoder, to start from
    # Set the linear encoder of init anew to these images; its decoder is carried over.
    refit_encoder: bool = False
    shape: AutoencoderShape = field(default_factory=AutoencoderShape)
    size: int = 256  # pixels, the side of a training image
    crop: int = 128  # pixels, the side of what one step sees of it; the network is convolutional
    images: int = 400_000  # crops to learn from, in all
    batch_size: int = 8  # crops a process
    accumulate: int = 1  # batches an optimiser step
    learning_rate: float = 2e-3
    warmup: int = 400  # crops
    cooldown: float = 0.3  # the last part of the run, over which the learning rate falls to 0
    ema: float = 0.999
    kl_weight: float = 1e-6  # AutoencoderKL
    # AutoencoderTiny, in standard deviations of the latents: the decoder must bear a generator's small errors.
    latent_noise: float = 0.05
    adversarial_weight: float = 0.0  # of the patch discriminator (hinge loss), 0: none
    adversarial_after: int = 0  # crops before it takes part
    images_per_patient: int = 4  # in an epoch
    checkpoint_every: int = 40_000  # crops
    validate_every: int = 20_000  # crops
    validation_images: int = 64
    gradient_checkpointing: bool = False
    device: str = "auto"
    dtype: str = "auto"
    seed: int = 0


def train_autoencoder(config: AutoencoderConfig, command: Sequence[str] = ()) -> Path:
    """Train, or resume, in the run folder ``config.out``; the folder of the finished autoencoder (averaged weights).

    Raises BadInput for data, init or config that cannot be used, GenError for a loss that is not finite.
    """
    import torch

    from gen.model.training.autoencoder_network import PatchCritic, Reconstruction

    # Whatever the config can be refused for comes first: a run folder that exists keeps its config for good.
    session.require_positive(config, "images", "batch_size", "accumulate", "learning_rate", "cooldown", "crop")
    session.require_positive(config, "checkpoint_every", "validate_every", "validation_images", "size")
    session.require_not_negative(config, "warmup", "images_per_patient", "kl_weight", "latent_noise")
    session.require_not_negative(config, "adversarial_weight", "adversarial_after")
    session.require_share(config, "cooldown")
    session.require_share(config, "ema", below_one=True)
    rows = split_rows(read_manifest(config.data))
    accelerator = session.make_accelerator(config.out, config.device, config.dtype, config.accumulate)
    torch.manual_seed(config.seed)
    if config.init is None:
        session.require_positive(config, "shape.latent_channels", "shape.layers_per_block", "shape.norm_num_groups")
    with session.refused_by_the_library("the autoencoder"):
        bare = _start(config)
    if config.crop > config.size or config.crop % shrink_factor(bare) or config.size % shrink_factor(bare):
        raise BadInput(
            f"crop is {config.crop} and size is {config.size}",
            hint=f"crop is at most size, and both are multiples of {shrink_factor(bare)} pixels",
        )

    data = data_digest({split: rows[split] for split in ("train", "validation")})
    with session.open_shared_run(accelerator, config.out, config, command, data=data) as run:
        with accelerator.main_process_first():  # it fills the cache
            cache = run.folder / "cache"
            pixels = {split: pixel_cache(rows[split], config.size, cache) for split in ("train", "validation")}
        channels = int(bare.config.in_channels)
        held_out = to_model_range(evenly(pixels["validation"], config.validation_images))
        held_out = held_out.expand(-1, channels, -1, -1)
        if config.refit_encoder or (config.init is None and config.shape.class_name == "AutoencoderTiny"):
            some = pixels["train"][:: max(1, len(pixels["train"]) // 500)]
            set_encoder = refit_patch_encoder if config.refit_encoder else set_patch_encoder
            components = patch_pca(some, shrink_factor(bare), int(bare.config.latent_channels))
            set_encoder(bare, *components, config.shape.whitening)
        linear = freeze_linear_encoder(bare)
        if config.gradient_checkpointing:
            bare.enable_gradient_checkpointing()
        critic = PatchCritic(channels) if config.adversarial_weight else None
        # Plain convolutions are fastest with channels last; CPU group norm in bfloat16 is nine times slower there.
        layout = memory_format(bare, accelerator.device) if linear else torch.contiguous_format
        bare.to(accelerator.device, memory_format=layout)
        average = session.Ema(bare)
        weights = [p for p in bare.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=0)
        modules: dict[str, torch.nn.Module] = {"autoencoder": bare}
        optimizers: dict[str, torch.optim.Optimizer] = {"autoencoder": optimizer}
        if critic is not None:
            modules["critic"] = critic.to(accelerator.device)
            optimizers["critic"] = torch.optim.AdamW(critic.parameters(), lr=config.learning_rate / 4, betas=(0.5, 0.9))

        before, skipped = session.newest_checkpoint(run.folder)
        images = session.load_checkpoint(before, modules, {"autoencoder": average}, optimizers)
        model, optimizer = accelerator.prepare(Reconstruction(bare), optimizer)
        if critic is not None:
            critic, optimizers["critic"] = accelerator.prepare(critic, optimizers["critic"])
        order = order_of(rows["train"], config.seed, config.images_per_patient)
        batch = config.batch_size * accelerator.num_processes
        step_images = batch * config.accumulate
        bar, say = session.progress(accelerator, images, config.images)
        for line in skipped:
            say(line)
        if config.init and replace(config.shape, whitening=AutoencoderShape.whitening) != AutoencoderShape():
            say(f"shape is not used: the architecture is that of {config.init}")
        precision = torch.bfloat16 if accelerator.mixed_precision == "bf16" else torch.float32
        say(describe_device(accelerator.device, precision, "sdpa"))

        while True:
            # Report and save come first, with the state "after `images` images", so that resume and end are one path.
            done = images >= config.images
            if accelerator.is_main_process and (done or images % config.validate_every < step_images):
                with average.applied(bare):
                    scores = reconstruction_scores(bare, held_out, config.batch_size)
                run.log(event="validation", images=images, **scores)
                accelerator.log({f"validation/{key}": value for key, value in scores.items()}, step=images)
                say(f"{images} images: PSNR {scores['psnr']:.2f} dB, gradient ratio {scores['gradient_ratio']:.3f}")
            if accelerator.is_main_process and images and (done or images % config.checkpoint_every < step_images):

                def export(stage: Path) -> None:
                    with average.applied(bare):
                        copy.deepcopy(bare).to(memory_format=torch.contiguous_format).save_pretrained(stage / "vae")

                session.save_checkpoint(run, images, modules, {"autoencoder": average}, optimizers, export)
            accelerator.wait_for_everyone()
            if done:
                break

            rate = session.learning_rate(images, config.learning_rate, config.warmup, config.images, config.cooldown)
            for group in optimizer.param_groups:
                group["lr"] = rate
            if critic is not None:
                for group in optimizers["critic"].param_groups:
                    group["lr"] = rate / 4
            for _ in range(config.accumulate):
                first = images + accelerator.process_index * config.batch_size
                chosen = [order.index(first + i) for i in range(config.batch_size)]
                seeds = [derived_seed(config.seed, first + i) for i in range(config.batch_size)]
                target = random_crops(pixels["train"], chosen, seeds, config.crop).expand(-1, channels, -1, -1)
                target = target.to(accelerator.device)
                noise = seeded_noise(bare, seeds, config.crop).to(accelerator.device)
                with accelerator.accumulate(model):
                    output, kl = model(target, noise, config.latent_noise * RAW_STD)
                    loss = reconstruction_loss(output, target) + config.kl_weight * kl
                    if critic is not None and images >= config.adversarial_after:
                        critic.requires_grad_(False)  # it judges here, and learns below
                        loss = loss - config.adversarial_weight * critic(output).mean()
                    value = session.require_finite(loss, [str(rows["train"][i].file) for i in chosen], images)
                    accelerator.backward(loss)
                    if accelerator.sync_gradients:
                        accelerator.clip_grad_norm_(weights, 1.0)
                    optimizer.step()
                    optimizer.zero_grad()
                if critic is not None and images >= config.adversarial_after:
                    judge = optimizers["critic"]
                    critic.requires_grad_(True)
                    real, rebuilt = critic(torch.cat([target, output.detach()])).chunk(2)  # data parallel: one pass
                    accelerator.backward((torch.relu(1 - real) + torch.relu(1 + rebuilt)).mean())
                    judge.step()
                    judge.zero_grad()  # after the step, as above: between steps both do nothing
                images += batch
                bar.update(batch)
            average.update(bare, ema_decay(images // step_images, config.ema))
            if images % (50 * step_images) < step_images:
                run.log(event="train", images=images, loss=value, learning_rate=rate)
                accelerator.log({"train/loss": value, "train/learning_rate": rate}, step=images)
                bar.set_postfix(loss=f"{value:.4f}")
        bar.close()
        accelerator.end_training()
        return run.folder / session.CHECKPOINTS / f"images-{images:09d}" / "vae"


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


def random_crops(levels: np.ndarray, chosen: Sequence[int], seeds: Sequence[int], crop: int) -> torch.Tensor:
    """Crops of the chosen images, uint8 (N, H, W) -> float32 (n, 1, crop, crop) in [-1, 1]; where, each seed decides.

    The autoencoder is local, so that what a crop cuts off loses nothing; the generator only ever sees whole images.
    """
    import numpy as np

    room = levels.shape[1] - crop + 1
    corners = [(seed % room, seed // room % room) for seed in seeds]
    cut = [levels[i, y : y + crop, x : x + crop] for i, (y, x) in zip(chosen, corners, strict=True)]
    return to_model_range(np.stack(cut))


def seeded_noise(vae: Any, seeds: Sequence[int], size: int) -> torch.Tensor:
    """Standard normal noise (n, C, h, w) in the shape of the latents of ``size`` pixels, row i from ``seeds[i]``."""
    import numpy as np
    import torch

    side = size // shrink_factor(vae)
    rows = [standard_normal((vae.config.latent_channels, side, side), seed) for seed in seeds]
    return torch.from_numpy(np.stack(rows))


def reconstruction_scores(vae: Any, images: torch.Tensor, batch_size: int) -> dict[str, float]:
    """Mean PSNR (dB) and gradient energy ratio of ``images`` (N, 1, H, W) in [-1, 1] through ``vae`` and back."""
    import torch

    ratios, decibels = [], []
    device = next(vae.parameters()).device
    with torch.no_grad():
        for part in images.split(batch_size):
            rebuilt = vae.decode(moments(vae, part.to(device))[0]).sample.clamp(-1, 1).cpu()
            decibels.append(psnr(rebuilt, part, 2.0))
            ratios.append(gradient_energy_ratio(rebuilt, part))
    return {"psnr": float(torch.cat(decibels).mean()), "gradient_ratio": float(torch.cat(ratios).mean())}
