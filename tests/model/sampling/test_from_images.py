"""Sampling that starts from images, and holds parts of them."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from gen.core.errors import BadInput
from gen.core.radiograph import Radiograph
from gen.model.sampling.pipeline import load_pipeline, sample
from gen.model.sampling.settings import Settings
from gen.model.sampling.torch_backend import TorchPipeline, sample_latents

PROMPTS = ["63 year old female. AP view.", "5 year old male. PA view.", "Adult. Lateral view."]
SEEDS = [11, 2**64 - 1, 0]


@pytest.fixture(scope="module")
def pipeline(toy_model: Path) -> TorchPipeline:
    return load_pipeline(toy_model, device="cpu", dtype="float32")


def test_from_an_image_little_strength_keeps_it_and_full_strength_starts_from_its_noise(
    pipeline: TorchPipeline,
) -> None:
    [first, other] = sample(pipeline, PROMPTS[:1] * 2, [1, 2], steps=4)

    def from_first(strength: float, steps: int = 100) -> Radiograph:
        [image] = sample(pipeline, PROMPTS[:1], [9], init=[first], strength=strength, steps=steps, guidance=1.0)
        return image

    with torch.no_grad():  # the toy's autoencoder is no identity
        latents = pipeline.vae.encode(torch.from_numpy(first.pixels)[None, None] * 2 - 1).latent_dist.mean
        rebuilt = (pipeline.vae.decode(latents).sample[0, 0].clamp(-1, 1).numpy() + 1) / 2
    distances = [float(np.abs(from_first(s).pixels - rebuilt).mean()) for s in (0.01, 0.5, 1.0)]
    assert distances == sorted(distances)
    assert distances[0] < 0.5 * distances[-1]
    said = from_first(0.5).provenance
    assert (said["strength"], said["init_synthetic"]) == ("0.5", "yes")
    sigmas = [float(from_first(s).provenance["sigma"]) for s in (0.01, 0.5, 0.9)]
    assert 0 < sigmas[0] < sigmas[1] < sigmas[2]
    assert said["sigma"] == f"{sigmas[1]:.4g}"
    [elsewhere] = sample(pipeline, PROMPTS[:1], [9], init=[other], strength=0.5, steps=20, guidance=1.0)
    assert elsewhere.provenance["init_sha256"] != said["init_sha256"]
    [larger] = sample(
        pipeline, PROMPTS[:1], [9], init=[Radiograph(np.kron(first.pixels, np.ones((2, 2), np.float32)))], steps=2
    )
    assert larger.pixels.shape == first.pixels.shape


def test_a_scheduler_that_has_no_sigma_tells_none(pipeline: TorchPipeline) -> None:
    from diffusers import EDMEulerScheduler

    unknown = dataclasses.replace(pipeline, scheduler=EDMEulerScheduler(prediction_type="v_prediction"))
    [first] = sample(pipeline, PROMPTS[:1], [1], steps=2)
    [image] = sample(unknown, PROMPTS[:1], [9], init=[first], steps=4)
    assert image.provenance["strength"]
    assert "sigma" not in image.provenance


def test_from_images_each_prompt_has_its_own_whatever_the_batch(pipeline: TorchPipeline) -> None:
    images = list(sample(pipeline, PROMPTS[:3], SEEDS[:3], steps=2))
    together = list(sample(pipeline, PROMPTS[:3], SEEDS[:3], init=images, steps=4))
    [alone] = sample(pipeline, PROMPTS[1:2], SEEDS[1:2], init=images[1:2], steps=4)
    assert np.array_equal(alone.pixels, together[1].pixels)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"strength": 0.0}, "strength is 0.0"), ({"strength": 1.5}, "1.5"), ({"strength": math.nan}, "nan")],
)
def test_from_an_image_a_strength_that_is_no_share_is_refused(
    pipeline: TorchPipeline, settings: dict[str, float], message: str
) -> None:
    image = Radiograph(np.linspace(0, 1, 32 * 32, dtype=np.float32).reshape(32, 32))
    with pytest.raises(BadInput, match=message):
        list(sample(pipeline, PROMPTS[:1], [1], init=[image], **settings))
    with pytest.raises(BadInput, match="2 images to start from"):
        list(sample(pipeline, PROMPTS[:1], [1], init=[image] * 2))


def test_to_hold_an_image_everywhere_is_to_start_later_and_nowhere_is_nothing(pipeline: TorchPipeline) -> None:
    [image] = sample(pipeline, PROMPTS[:1], [3], steps=2)
    everywhere = np.ones_like(image.pixels, bool)

    def made(strength: float, held: list[np.ndarray], held_strength: float = 0.25) -> np.ndarray:
        how = {"steps": 8, "strength": strength, "held": held, "held_strength": held_strength}
        [found] = sample(pipeline, PROMPTS[:1], [9], init=[image], **how)
        return found.pixels

    assert np.array_equal(made(0.75, [everywhere]), made(0.25, []))
    assert np.array_equal(made(0.75, [everywhere], 0.75), made(0.75, []))
    assert np.array_equal(made(0.75, [~everywhere]), made(0.75, []))


def test_what_is_held_for_good_keeps_its_latents_and_the_rest_does_not(pipeline: TorchPipeline) -> None:
    image = Radiograph(np.random.default_rng(0).random((32, 32), np.float32))
    held = np.zeros((32, 32), bool)
    held[5:9, 20:22] = True
    how = Settings(steps=4, strength=0.5, held_strength=0.0)
    found = sample_latents(pipeline, PROMPTS[:1], [9], [image], how, held=[held])
    with torch.no_grad():
        begun = pipeline.vae.encode(torch.from_numpy(image.pixels)[None, None] * 2 - 1).latent_dist.mean
    same = (found == begun * pipeline.vae.config.scaling_factor).all(1)[0].numpy()
    expected = held.reshape(16, 2, 16, 2).any((1, 3))  # two pixels a latent
    assert np.array_equal(same, expected)


def test_what_is_held_are_masks_of_what_is_started_from(pipeline: TorchPipeline) -> None:
    [image] = sample(pipeline, PROMPTS[:1], [3], steps=2)
    for held in ([np.ones((8, 8), bool)], [np.ones_like(image.pixels, bool)] * 2):
        with pytest.raises(BadInput, match="what is held are masks"):
            list(sample(pipeline, PROMPTS[:1], [1], init=[image], held=held))
