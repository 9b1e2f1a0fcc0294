"""Latents made anew: decided by the seed, for the steps that are asked for, and only by a denoiser that knows them."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from gen.core.errors import BadInput
from gen.core.manifest import read_manifest
from gen.data.loader import pixel_cache
from gen.data.split import split_rows
from gen.model.folder import load_autoencoder, newest_model
from gen.model.training.resampled import Resampled, Resampling, load_resampler, resample, strengths

Make = Callable[..., Resampled]


@pytest.fixture
def make(toy_denoiser: Path, toy_autoencoder: Path, toy_data: Path, tmp_path: Path) -> Make:
    """Make latents of the toy's training images anew, in a folder of that name."""

    def made(folder: str, images: tuple[int, ...] = (1, 4, 6), seed: int = 0, **told: float) -> Resampled:
        how = dataclasses.replace(Resampling(model=str(toy_denoiser), steps=16), **told)
        rows = split_rows(read_manifest(toy_data))["train"]
        pipeline = load_resampler(how, load_autoencoder(toy_autoencoder), 32, "cpu", "float32")
        pixels = pixel_cache(rows, 32, tmp_path / "pixels")
        (tmp_path / folder).mkdir(exist_ok=True)
        return resample(pipeline, pixels, rows, np.array(images), how, seed, tmp_path / folder)

    return made


def test_the_seed_decides_what_is_made_and_a_second_call_reads_it(make: Make, tmp_path: Path) -> None:
    first, again, other = make("a"), make("b"), make("a", seed=1)
    assert first.errors.shape == (3, 4, 8, 8)
    assert np.array_equal(first.errors, again.errors)
    assert not np.isclose(first.errors, other.errors).any(axis=(1, 2, 3)).all()
    files = sorted((tmp_path / "a").iterdir())
    assert len(files) == 2
    for file in files:
        np.save(file, np.zeros(3))
    assert not make("a").errors.any()


@pytest.mark.parametrize("told", [{"sigma_max": 0.8}, {"steps": 20}, {"images": (1, 4, 7)}])
def test_what_decides_the_latents_decides_the_file(make: Make, tmp_path: Path, told: dict[str, float]) -> None:
    make("a")
    make("a", **told)
    assert len(list((tmp_path / "a").iterdir())) == 2


def test_more_noise_takes_latents_further_away(make: Make) -> None:
    sizes = [
        float(np.square(make("a", steps=20, sigma_min=low, sigma_max=high).errors.astype(float)).mean())
        for low, high in ((0.02, 0.1), (0.3, 2.0), (10.0, 60.0))
    ]
    assert sizes[0] < sizes[1] < sizes[2]


def test_the_steps_begin_between_the_sigmas_and_all_do_where_these_hold_all(
    toy_denoiser: Path, toy_autoencoder: Path
) -> None:
    vae = load_autoencoder(toy_autoencoder)
    every = Resampling(model=str(toy_denoiser), sigma_min=1e-3, sigma_max=1e3)
    pipeline = load_resampler(every, vae, 32, "cpu", "float32")
    assert strengths(pipeline, every) == pytest.approx([1 - i / 20 for i in range(20)])
    # Equation 5 of Karras et al. 2022: from 60 down to 0.02, evenly in sigma ** (1 / 7)
    grid = np.linspace(60 ** (1 / 7), 0.02 ** (1 / 7), 1000)[:: 1000 // 20] ** 7
    within = [1 - i / 20 for i, sigma in enumerate(grid) if 0.3 <= sigma <= 2]
    assert strengths(pipeline, Resampling()) == pytest.approx(within)


def test_a_folder_in_half_precision_knows_the_same_latents(
    toy_denoiser: Path, toy_autoencoder: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(newest_model(toy_denoiser), tmp_path / "model")
    file = model / "vae" / "diffusion_pytorch_model.safetensors"
    save_file({name: value.half() for name, value in load_file(file).items()}, file)
    load_resampler(Resampling(model=str(model)), load_autoencoder(toy_autoencoder), 32, "cpu", "float32")


def test_a_denoiser_of_other_latents_is_refused(toy_denoiser: Path, toy_autoencoder: Path, tmp_path: Path) -> None:
    vae = load_autoencoder(toy_autoencoder)
    how = Resampling(model=str(toy_denoiser))
    turned = load_autoencoder(toy_autoencoder)
    last = [layer for layer in turned.encoder.layers if hasattr(layer, "weight")][-1]
    last.weight.data[[0, 1]] = last.weight.data[[1, 0]]
    with pytest.raises(BadInput, match=r"knows other latents than those of this autoencoder; set init to"):
        load_resampler(how, turned, 32, "cpu", "float32")
    with pytest.raises(BadInput, match=r"size 36 is not possible"):
        load_resampler(how, vae, 36, "cpu", "float32")
    with pytest.raises(BadInput, match=r"none of the 20 steps of .* begins between them"):
        load_resampler(dataclasses.replace(how, sigma_min=2.0, sigma_max=0.3), vae, 32, "cpu", "float32")


def test_an_encoder_that_learns_and_a_model_that_is_none_are_refused(
    stable_diffusion: Path, toy_autoencoder: Path, tmp_path: Path
) -> None:
    other, vae = Resampling(model=str(stable_diffusion)), load_autoencoder(toy_autoencoder)
    learning = load_autoencoder(stable_diffusion)
    with pytest.raises(BadInput, match=r"the encoder learns, so that its latents change"):
        load_resampler(other, learning, 32, "cpu", "float32")
    with pytest.raises(BadInput, match=r"knows other latents"):
        load_resampler(other, vae, 32, "cpu", "float32")
    with pytest.raises(BadInput, match=r"holds no model_index.json"):
        load_resampler(Resampling(model=str(tmp_path)), vae, 32, "cpu", "float32")
