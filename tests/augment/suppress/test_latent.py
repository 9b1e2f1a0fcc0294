"""The latent model: what an exact network knows comes out, and a trained folder is used as that of a network is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from augment.suppress.config import LatentConfig
from augment.suppress.folder import Suppressor, load_suppressor
from augment.suppress.latent import (
    FACTS,
    UNET,
    LatentModel,
    LatentNetwork,
    LatentShape,
    new_latent_network,
    write_latent,
)
from augment.suppress.separate import separate
from augment.suppress.train_latent import train_latent
from gen.core.bundled import bundled_model
from gen.core.config import load_config
from gen.core.errors import BadInput
from gen.core.files import verify_folder
from gen.model.folder import load_autoencoder
from gen.model.sampling.solver import tabulate
from gen.model.training.latent_cache import encode_grey
from tests.augment.suppress.conftest import drawn_image

CONFIG = Path(__file__).parents[3] / "configs" / "suppress_latent_toy.yaml"
SHAPE = LatentShape(block_out_channels=[8, 8], layers_per_block=1, norm_num_groups=4)


@pytest.fixture(scope="module")
def vae() -> Any:
    return load_autoencoder(bundled_model()).eval().requires_grad_(False)


def new_parts(vae: Any, spread: float = 0.5) -> tuple[LatentNetwork, Any]:
    torch.manual_seed(0)
    channels = vae.config.latent_channels
    network, scheduler = new_latent_network(SHAPE, channels, 8, torch.full((channels,), spread))
    return network.eval().requires_grad_(False), scheduler


class Exact(nn.Module):
    """Stands for a U-Net that knows the latents of bone: it predicts their velocity whatever the noise."""

    def __init__(self, bone: torch.Tensor, process: Any, config: Any) -> None:
        super().__init__()
        self.bone, self.process, self.config = bone, process, config
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor) -> Any:
        noisy = x[:, : self.bone.shape[1]]
        signal = self.process.alphas_cumprod[timesteps.long()].sqrt().view(-1, 1, 1, 1)
        noise = (noisy - signal * self.bone) / (1 - signal**2).sqrt()
        velocity = signal * noise - (1 - signal**2).sqrt() * self.bone
        return type("Output", (), {"sample": velocity})


@pytest.mark.parametrize("steps", [2, 8])
def test_of_an_exact_network_the_bone_that_it_knows_comes_out(vae: Any, steps: int) -> None:
    from diffusers import DDPMScheduler

    network, scheduler = new_parts(vae)
    image, soft = drawn_image((64, 96)), 0.8 * drawn_image((64, 96))
    latents = [encode_grey(vae, torch.from_numpy(each)[None, None] * 2 - 1) for each in (image, soft)]
    scale = vae.config.scaling_factor
    with torch.no_grad():
        decoded = [vae.decode(each / scale).sample[0, 0].numpy() / 2 for each in latents]
    known = (latents[0] - latents[1]) / 0.5
    network.unet = Exact(known, DDPMScheduler.from_config(scheduler.config), network.unet.config)
    model = LatentModel(network, vae, tabulate(scheduler, steps), 64)
    np.testing.assert_allclose(model.find_bone(image), decoded[0] - decoded[1], atol=1e-3)


@settings(max_examples=8)
@given(height=st.integers(128, 200), width=st.integers(128, 200), strength=st.floats(0, 1))
def test_soft_and_bone_add_up_to_the_image(loaded: Suppressor, height: int, width: int, strength: float) -> None:
    image = drawn_image((height, width))
    parts = separate(loaded, image, strength)
    np.testing.assert_allclose(parts.soft + parts.bone, image, atol=1e-7)
    np.testing.assert_array_equal(parts.soft, separate(loaded, image, strength).soft)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, gen_train: Callable[..., None]) -> Path:
    out = tmp_path_factory.mktemp("run") / "latent"
    gen_train("suppress-latent", CONFIG, f"out={out}")
    return out / "suppress-latent"


@pytest.fixture(scope="module")
def loaded(trained: Path) -> Suppressor:
    return load_suppressor(trained)


def test_a_toy_training_leaves_a_model_that_is_used(trained: Path, loaded: Suppressor) -> None:
    assert not verify_folder(trained)
    assert loaded.side == 64
    assert separate(loaded, drawn_image((150, 130))).bone.any()


def test_its_digest_tells_two_models_apart(vae: Any, tmp_path: Path) -> None:
    for name, spread in (("a", 0.5), ("b", 0.5), ("c", 0.6)):
        write_latent(tmp_path / name, *new_parts(vae, spread)[:1], vae, new_parts(vae)[1], 64, 4)
    a, b, c = (load_suppressor(tmp_path / name).digest for name in "abc")
    assert a == b != c


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda folder: (folder / FACTS).write_text("{}"), "not a whole"),
        (lambda folder: (folder / UNET / "diffusion_pytorch_model.safetensors").unlink(), "no weights"),
        (lambda folder: (folder / UNET / "diffusion_pytorch_model.safetensors").write_bytes(b"torn"), "cannot be"),
        (lambda folder: (folder / "scheduler/scheduler_config.json").unlink(), "scheduler_config"),
    ],
)
def test_a_damaged_folder_is_refused_in_one_line(vae: Any, tmp_path: Path, damage: Any, what: str) -> None:
    network, scheduler = new_parts(vae)
    write_latent(tmp_path / "model", network, vae, scheduler, 64, 4)
    damage(tmp_path / "model")
    with pytest.raises(BadInput, match=what) as raised:
        load_suppressor(tmp_path / "model")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (["side=40"], "side is 40"),
        (["shape.norm_num_groups=3"], "cannot be built"),
        (["autoencoder=/nowhere"], "no autoencoder"),
    ],
)
def test_a_config_that_cannot_be_is_refused_and_leaves_nothing(tmp_path: Path, overrides: list[str], why: str) -> None:
    config = load_config(LatentConfig, CONFIG, [f"out={tmp_path / 'run'}", *overrides])
    with pytest.raises(BadInput, match=why):
        train_latent(config)
    assert not (tmp_path / "run").exists()
