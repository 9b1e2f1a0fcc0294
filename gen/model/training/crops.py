"""The crops that an autoencoder learns from: which part of which image, decided by a seed, and its noise.

The autoencoder is local, so that what a crop cuts off loses nothing; the generator only ever sees whole images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gen.core.noise import standard_normal
from gen.core.run import derived_seed
from gen.data.loader import to_model_range
from gen.model.training.latents import shrink_factor

if TYPE_CHECKING:
    import numpy as np
    import torch

    from gen.model.training.resampled import Resampled


@dataclass(frozen=True)
class Crop:
    """A square of an image; its upper left corner in pixels."""

    image: int
    top: int
    left: int
    anew: int | None = None  # its place among the latents made anew; None: its latents are the true ones


def draw_crop(image: int, seed: int, room: int, anew: Resampled | None, share: float, patch: int) -> Crop:
    """The crop of ``image``, or in a ``share`` of seeds of one whose latents are ``anew``, that ``seed`` decides.

    room: pixels that its corner may move by. Latents are cut between their patches, of ``patch`` pixels a side.
    """
    if anew is None or derived_seed(seed, "anew") >= share * 2**64:
        return Crop(image, seed % (room + 1), seed // (room + 1) % (room + 1))
    entry, places = derived_seed(seed, "entry") % len(anew.images), room // patch + 1
    return Crop(int(anew.images[entry]), seed % places * patch, seed // places % places * patch, entry)


def cut_crops(levels: np.ndarray, crops: Sequence[Crop], side: int) -> torch.Tensor:
    """``crops`` of images uint8 (N, H, W) -> float32 (n, 1, side, side) in [-1, 1]."""
    import numpy as np

    cut = [levels[c.image, c.top : c.top + side, c.left : c.left + side] for c in crops]
    return to_model_range(np.stack(cut))


def latent_errors(
    vae: Any, crops: Sequence[Crop], seeds: Sequence[int], side: int, size: np.ndarray, anew: Resampled | None
) -> torch.Tensor:
    """What is added to the latents of ``crops`` of ``side`` pixels, float32 (n, C, h, w).

    Standard normal noise times ``size`` (C,), row i from ``seeds[i]``, and for latents made anew what the denoiser did.
    """
    import numpy as np
    import torch

    patch = shrink_factor(vae)
    shape = (vae.config.latent_channels, side // patch, side // patch)
    errors = torch.from_numpy(np.stack([standard_normal(shape, seed) * size[:, None, None] for seed in seeds]))
    for row, crop in enumerate(crops):
        if anew is not None and crop.anew is not None:
            errors[row] += anew.crop(crop.anew, crop.top // patch, crop.left // patch, side // patch)
    return errors
