"""Fakes for the texture branch: images through an autoencoder and back, a generator's samples, spoilt images."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gen.core.bundled import bundled_model
from gen.core.files import atomic_file
from gen.core.manifest import read_manifest
from gen.data.loader import evenly, pixel_cache, to_model_range
from gen.data.split import data_digest, split_rows
from gen.judge.degrade import SPOILS, spoil
from gen.judge.framings import VARIED_SHARE, varied_u8
from gen.model.folder import decoder_noise_of, load_autoencoder, model_hash
from gen.model.sampling.settings import decoder_noise
from gen.model.training.latents import moments

if TYPE_CHECKING:
    from gen.core.manifest import Row

# How often each comes, where it is there; the rest are spoilt images.
SAMPLE_SHARE, RECONSTRUCTION_SHARE = 0.4, 0.2


@dataclass(frozen=True)
class Fakes:
    """Arrays uint8 (N, H, W) to draw from, either of which may be empty. ``varied``: samples come in another pose and
    exposure as often as real prepared images do."""

    samples: np.ndarray
    reconstructions: np.ndarray
    varied: bool = False

    def draw(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw a fake, float32 (H, W) in [0, 1]: a sample, a reconstruction or ``image`` spoilt, by ``rng``."""
        place, start = rng.random(), 0.0
        for share, images in ((SAMPLE_SHARE, self.samples), (RECONSTRUCTION_SHARE, self.reconstructions)):
            if start <= place < start + share and len(images):
                image = images[rng.integers(len(images))]
                if self.varied and images is self.samples and rng.random() < VARIED_SHARE:
                    image = varied_u8(image, int(rng.integers(2**63)))
                return image.astype(np.float32) / 255
            start += share
        return spoil(image, rng, str(rng.choice(SPOILS)))


@dataclass(frozen=True)
class FakeSources:
    """The sources of fakes: a model folder, and samples by split (patients of their own, each); as of `Fakes`."""

    generator: Path
    samples: dict[str, list[Row]]
    varied: bool

    def inputs(self) -> dict[str, str]:
        """The digests that decide a training, for `open_run`."""
        return {"generator": model_hash(self.generator), "samples": data_digest(self.samples)}

    def arrays(self, images: np.ndarray, count: int, split: str, size: int, cache: str | Path) -> Fakes:
        """The samples of ``split``, and ``count`` of ``images`` uint8 (N, H, W) reconstructed; once, in ``cache``."""
        samples = pixel_cache(self.samples[split], size, cache) if self.samples[split] else np.empty((0, size, size))
        chosen = evenly(images, count)
        key = hashlib.sha256(chosen.tobytes() + model_hash(self.generator).encode()).hexdigest()[:16]
        path = Path(cache) / f"reconstructions-{key}.npy"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            made = reconstruct(self.generator, chosen)
            with atomic_file(path) as stream:
                np.save(stream, made)
        return Fakes(np.asarray(samples, np.uint8), np.load(path), self.varied)


def fake_sources_of(generator: str | None, samples: str | None, varied: bool = False) -> FakeSources:
    """The sources of fakes that a config names; BadInput for samples without rows to learn from or to validate on."""
    splits = split_rows(read_manifest(samples)) if samples else {"train": [], "validation": [], "test": []}
    return FakeSources(Path(generator) if generator else bundled_model(), splits, varied)


def reconstruct(generator: Path, pixels_u8: np.ndarray, batch_size: int = 4) -> np.ndarray:
    """uint8 ``pixels_u8`` (N, H, W) through the autoencoder of ``generator`` (the posterior's mean) and back, uint8.

    They are decoded as samples are, with the noise of seeds 0 to N - 1 where the decoder draws from noise.
    """
    import torch
    from tqdm import tqdm

    vae, told = load_autoencoder(generator).eval(), decoder_noise_of(generator)
    scale = float(vae.config.scaling_factor)
    parts = [np.empty((0, *pixels_u8.shape[1:]), np.uint8)]
    with torch.inference_mode():
        for start in tqdm(range(0, len(pixels_u8), batch_size), desc="reconstructing", unit="batch", leave=False):
            images = to_model_range(pixels_u8[start : start + batch_size]).expand(-1, vae.config.in_channels, -1, -1)
            latents = moments(vae, images)[0]
            seeds = range(start, start + len(latents))
            noise = np.stack([decoder_noise(told, tuple(latents.shape[1:]), seed) for seed in seeds])
            decoded = vae.decode(latents + torch.from_numpy(noise) / scale).sample.mean(1)
            parts.append(((decoded.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy())
    return np.concatenate(parts)
