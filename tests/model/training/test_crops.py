"""Crops: inside the image, decided by their seeds, and cut from images and latents at the same place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gen.core.run import derived_seed
from gen.data.loader import to_model_range
from gen.model.folder import load_autoencoder
from gen.model.training.crops import Crop, cut_crops, draw_crop, latent_errors
from gen.model.training.latents import moments
from gen.model.training.resampled import Resampled

PATCH, SIZE = 4, 32  # of the toy autoencoder
QUIET = np.zeros(4, np.float32)
SEEDS = st.integers(0, 2**64 - 1)


def anew(images: int) -> Resampled:
    """Differences of the latents of the last ``images`` of ten images."""
    noise = np.random.default_rng(0).standard_normal((images, 4, SIZE // PATCH, SIZE // PATCH))
    return Resampled(np.arange(10 - images, 10), noise.astype(np.float16))


@given(SEEDS, st.sampled_from([8, 16, 32]), st.sampled_from([0.0, 0.5, 1.0]))
def test_a_crop_lies_inside_and_between_patches_where_its_latents_were_made_anew(
    seed: int, side: int, share: float
) -> None:
    crop = draw_crop(3, seed, SIZE - side, anew(6), share, PATCH)
    assert min(crop.top, crop.left) >= 0
    assert max(crop.top, crop.left) <= SIZE - side
    if crop.anew is None:
        assert share < 1
        assert crop.image == 3
    else:
        assert share > 0
        assert crop.image == 4 + crop.anew
        assert crop.top % PATCH == crop.left % PATCH == 0


def test_the_share_is_kept_and_every_place_and_image_is_met() -> None:
    crops = [draw_crop(0, derived_seed(0, k), 16, anew(6), 0.25, PATCH) for k in range(4000)]
    made = [crop for crop in crops if crop.anew is not None]
    assert len(made) == pytest.approx(1000, abs=5 * (4000 * 0.25 * 0.75) ** 0.5)
    assert {crop.anew for crop in made} == set(range(6))
    assert {(crop.top, crop.left) for crop in made} == {(4 * i, 4 * j) for i in range(5) for j in range(5)}
    assert {crop.top for crop in crops if crop.anew is None} == set(range(17))


def test_the_latents_of_a_crop_are_the_crop_of_the_latents(toy_autoencoder: Path) -> None:
    vae = load_autoencoder(toy_autoencoder)
    levels = np.random.default_rng(1).integers(0, 256, (10, SIZE, SIZE)).astype(np.uint8)
    pool, seeds, side = anew(6), [derived_seed(1, k) for k in range(12)], 16
    crops = [draw_crop(0, seed, SIZE - side, pool, 1.0, PATCH) for seed in seeds]
    with torch.no_grad():
        of_crops = moments(vae, cut_crops(levels, crops, side))[0] + latent_errors(vae, crops, seeds, side, QUIET, pool)
        whole = moments(vae, to_model_range(levels))[0]
    whole[4:] += torch.from_numpy(pool.errors.astype(np.float32))
    for crop, latents in zip(crops, of_crops, strict=True):
        top, left, count = crop.top // PATCH, crop.left // PATCH, side // PATCH
        torch.testing.assert_close(latents, whole[crop.image, :, top : top + count, left : left + count])


@given(st.lists(SEEDS, min_size=2, max_size=4, unique=True), st.sampled_from([0.0, 0.5]))
def test_noise_has_the_size_that_is_asked_for_and_each_row_its_own_seed(
    toy_autoencoder: Path, seeds: list[int], size: float
) -> None:
    vae = load_autoencoder(toy_autoencoder)
    crops = [Crop(0, 0, 0)] * len(seeds)
    sizes = np.array([size, size, 0, 2 * size], np.float32)
    noise = latent_errors(vae, crops, seeds, 16, sizes, None)
    assert noise.shape == (len(seeds), 4, 4, 4)
    of_one = latent_errors(vae, crops, seeds, 16, np.ones(4, np.float32), None)
    torch.testing.assert_close(noise, torch.from_numpy(sizes)[:, None, None] * of_one)
    assert torch.equal(latent_errors(vae, crops[1:], seeds[1:], 16, sizes, None), noise[1:])
    pool = anew(6)
    both = latent_errors(vae, [Crop(4, 0, 0, 0)] * len(seeds), seeds, 16, sizes, pool)
    torch.testing.assert_close(both - noise, pool.crop(0, 0, 0, 4).expand_as(noise))
