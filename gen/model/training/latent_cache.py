"""Latents on disk: each image and a few augmented copies of it, encoded once; posteriors are sampled at each step."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gen.core.files import atomic_file
from gen.core.noise import standard_normal
from gen.core.run import derived_seed
from gen.data.loader import Augmentation, augment, evenly, to_model_range
from gen.model.sampling.settings import decoder_noise
from gen.model.training.latents import linear_encoder, moments

if TYPE_CHECKING:
    import torch


def latent_cache(vae: Any, pixels_u8: np.ndarray, variants: int, how: Augmentation, folder: str | Path) -> np.ndarray:
    """Latents of ``pixels_u8`` (N, H, W) in diffusion range, memory-mapped float16 (N, variants, 1 or 2, C, h, w).

    Axis 2 is the mean and, where the encoder has one, the standard deviation of the posterior. Variant 0 is the image,
    the others are augmented. Built once; the name holds a hash of the images, the encoder and the augmentation.
    """
    import torch
    from tqdm import tqdm

    scale = float(vae.config.scaling_factor)
    linear = linear_encoder(vae)
    key = hashlib.sha256()
    for start in range(0, len(pixels_u8), 256):  # in blocks: the memory map may be larger than the memory
        key.update(pixels_u8[start : start + 256].tobytes())
    key.update(repr((encoder_digest(vae), scale, variants, how)).encode())
    path = Path(folder) / f"latents-{key.hexdigest()[:16]}.npy"
    if not path.exists():
        device = next(vae.parameters()).device
        with atomic_file(path) as stream, torch.inference_mode():
            started = False
            for start in tqdm(range(0, len(pixels_u8), 4), desc="encoding images", unit="batch", leave=False):
                images = to_model_range(pixels_u8[start : start + 4])
                copies = []
                for variant in range(variants):
                    seeds = [derived_seed(variant, start + i) for i in range(len(images))]
                    moved = augment(images, seeds, how) if variant else images
                    if linear is not None:
                        copies.append(linear(moved.to(device))[:, None] * scale)
                        continue
                    channels = int(vae.config.in_channels)
                    mean, std = moments(vae, moved.expand(-1, channels, -1, -1).to(device))
                    copies.append(torch.stack([mean] if std is None else [mean, std], 1) * scale)
                block = torch.stack(copies, 1).cpu().numpy().astype(np.float16)
                if not started:
                    shape = (len(pixels_u8), *block.shape[1:])
                    np.lib.format.write_array_header_1_0(
                        stream, {"descr": "<f2", "fortran_order": False, "shape": shape}
                    )
                    started = True
                stream.write(block.tobytes())
    return np.load(path, mmap_mode="r")


def encoder_digest(vae: Any) -> str:
    """SHA-256 of the weights that decide the latents: autoencoders of one encoder may differ in their decoders."""
    digest = hashlib.sha256()
    for name, value in sorted(vae.state_dict().items()):
        if not name.startswith(("decoder", "post_quant")):
            digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def draw_latents(cache: np.ndarray, chosen: Sequence[int], seeds: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Clean latents and noise (n, C, h, w) float32; ``seeds[i]`` picks the variant and draws posterior and noise."""
    import torch

    clean, drawn = [], []
    for index, seed in zip(chosen, seeds, strict=True):
        moments = cache[index, seed % cache.shape[1]].astype(np.float32)
        spread, noise = standard_normal((2, *moments.shape[1:]), seed)
        clean.append(moments[0] + moments[1] * spread if len(moments) == 2 else moments[0])
        drawn.append(noise)
    return torch.from_numpy(np.stack(clean)), torch.from_numpy(np.stack(drawn))


def nearest_distance(queries: torch.Tensor, cache: np.ndarray) -> np.ndarray:
    """Distance of each of ``queries`` (n, C, h, w) to its nearest image of ``cache``, (n,): root mean square.

    Coarse latents (averaged 2 x 2), so that noise in the finest detail does not hide a copy.
    """
    import torch
    from torch.nn import functional

    wanted = functional.avg_pool2d(queries.float().cpu(), 2).flatten(1)
    nearest = torch.full((len(wanted),), float("inf"))
    for start in range(0, len(cache), 512):
        block = torch.from_numpy(cache[start : start + 512, 0, 0].astype(np.float32))
        distances = torch.cdist(wanted, functional.avg_pool2d(block, 2).flatten(1))
        nearest = torch.minimum(nearest, distances.min(1).values)
    return (nearest / wanted.shape[1] ** 0.5).numpy()


def held_out_distance(
    vae: Any, held_out: np.ndarray, known: np.ndarray, capabilities: Mapping[str, Any], most: int = 64
) -> float:
    """Median distance of ``held_out`` to the nearest image of ``known``, both caches: what a preview's is measured by.

    They go through the autoencoder once, as a preview of a model of ``capabilities`` does: it smooths, and what is
    smoother lies nearer.
    """
    import torch

    device = next(vae.parameters()).device
    means = torch.from_numpy(evenly(held_out[:, 0, 0], most).astype(np.float32))
    noise = [decoder_noise(capabilities, tuple(means.shape[1:]), seed) for seed in range(len(means))]
    means = means + torch.from_numpy(np.stack(noise))
    with torch.no_grad():
        rebuilt = [vae.decode(part.to(device) / vae.config.scaling_factor).sample.cpu() for part in means.split(4)]
    images = torch.cat(rebuilt).clamp(-1, 1).mean(1, keepdim=True)
    return float(np.median(nearest_distance(encode_grey(vae, images), known)))


def encode_grey(vae: Any, images: torch.Tensor) -> torch.Tensor:
    """Grey images (N, 1, H, W) in [-1, 1] -> latents (N, C, h, w) in diffusion range."""
    import torch

    inputs = images.expand(-1, vae.config.in_channels, -1, -1).to(next(vae.parameters()).device)
    with torch.no_grad():
        return torch.cat([moments(vae, part)[0].cpu() for part in inputs.split(4)]) * vae.config.scaling_factor
