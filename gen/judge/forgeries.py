"""Forgeries for the texture branch: films through an autoencoder and back, a generator's samples, spoilt films."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gen.core.bundled import bundled_model
from gen.core.files import atomic_file
from gen.core.manifest import read_manifest
from gen.core.run import derived_seed
from gen.data.loader import evenly, pixel_cache, to_model_range
from gen.data.rows import study_of
from gen.data.split import data_digest, split_rows
from gen.judge.degrade import FORGERIES, forge
from gen.language.render import render
from gen.model.folder import load_autoencoder, model_hash
from gen.model.latents import moments

if TYPE_CHECKING:
    from gen.core.manifest import Row

# How often each comes, where it is there; the rest are spoilt films.
SAMPLE_SHARE, RECONSTRUCTION_SHARE = 0.4, 0.2


@dataclass(frozen=True)
class Forgeries:
    """Arrays uint8 (N, H, W) to draw from, either of which may be empty."""

    samples: np.ndarray
    reconstructions: np.ndarray

    def draw(self, film: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A forgery, float32 (H, W) in [0, 1]: a sample, a reconstruction, or ``film`` spoilt, as ``rng`` decides."""
        place, start = rng.random(), 0.0
        for share, images in ((SAMPLE_SHARE, self.samples), (RECONSTRUCTION_SHARE, self.reconstructions)):
            if start <= place < start + share and len(images):
                return images[rng.integers(len(images))].astype(np.float32) / 255
            start += share
        return forge(film, rng, str(rng.choice(FORGERIES)))


@dataclass(frozen=True)
class Makers:
    """Where forgeries come from: a model folder, and samples by split (patients of their own, each)."""

    generator: Path
    samples: dict[str, list[Row]]

    def inputs(self) -> dict[str, str]:
        """What of it decides a training, for `open_run`."""
        return {"generator": model_hash(self.generator), "samples": data_digest(self.samples)}

    def arrays(self, films: np.ndarray, count: int, split: str, size: int, cache: str | Path) -> Forgeries:
        """The samples of ``split``, and ``count`` of ``films`` uint8 (N, H, W) reconstructed; once, in ``cache``."""
        samples = pixel_cache(self.samples[split], size, cache) if self.samples[split] else np.empty((0, size, size))
        chosen = evenly(films, count)
        key = hashlib.sha256(chosen.tobytes() + model_hash(self.generator).encode()).hexdigest()[:16]
        path = Path(cache) / f"reconstructions-{key}.npy"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            made = reconstruct(self.generator, chosen)
            with atomic_file(path) as stream:
                np.save(stream, made)
        return Forgeries(np.asarray(samples, np.uint8), np.load(path))


def training_captions(data: str | Path, count: int) -> list[str]:
    """Canonical prompts of ``count`` training films of the folder ``data``, in the order of a hash: what to sample."""
    rows = sorted(split_rows(read_manifest(data))["train"], key=lambda row: derived_seed(0, row.file_name))
    return [render(study_of(row)) for row in rows[:count]]


def forgeries_of(generator: str | None, samples: str | None) -> Makers:
    """The makers that a config names; BadInput for a folder of samples without rows to learn from or validate on."""
    splits = split_rows(read_manifest(samples)) if samples else {"train": [], "validation": [], "test": []}
    return Makers(Path(generator) if generator else bundled_model(), splits)


def reconstruct(generator: Path, levels: np.ndarray, batch_size: int = 4) -> np.ndarray:
    """uint8 ``levels`` (N, H, W) through the autoencoder of ``generator`` (the posterior's mean) and back, uint8."""
    import torch
    from tqdm import tqdm

    vae = load_autoencoder(generator).eval()
    parts = [np.empty((0, *levels.shape[1:]), np.uint8)]
    with torch.inference_mode():
        for start in tqdm(range(0, len(levels), batch_size), desc="reconstructing", unit="batch", leave=False):
            images = to_model_range(levels[start : start + batch_size]).expand(-1, vae.config.in_channels, -1, -1)
            decoded = vae.decode(moments(vae, images)[0]).sample.mean(1)
            parts.append(((decoded.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy())
    return np.concatenate(parts)
