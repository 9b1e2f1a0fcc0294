"""Toy data, toy runs and toy folders in the layouts of Stable Diffusion 1.x and 2.x, each made once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gen.cli import main
from gen.core.manifest import Row, split_of, write_manifest
from gen.core.radiograph import Radiograph, write_png

CONFIGS = Path(__file__).parents[2] / "configs"
PATIENTS = {
    split: [patient for patient in map("patient {}".format, range(200)) if split_of(patient) == split]
    for split in ("train", "validation")
}


@dataclass(frozen=True)
class Ended:
    """How a call of ``gen`` ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def gen(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Call ``gen`` in this process."""

    def call(*arguments: object) -> Ended:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        written = capsys.readouterr()
        return Ended(int(end.value.code or 0), written.out, written.err)

    return call


def make_data(folder: Path) -> Path:
    """Twelve grey pictures of nine patients to learn from and three held out, and one that must not be learnt from."""
    (folder / "images").mkdir(parents=True)
    patients = PATIENTS["train"][:9] + PATIENTS["validation"][:3] + PATIENTS["train"][9:10]
    down, across = np.mgrid[:40, :36] / 40
    rows = []
    for i, patient in enumerate(patients):
        blob = np.exp(-((down - 0.3 - i / 40) ** 2 + (across - 0.2 - i / 25) ** 2) * 40)
        texture = np.random.default_rng(i).random((40, 36)) * 0.1
        file = folder / "images" / f"{i}.png"
        write_png(file, Radiograph((0.2 + 0.2 * down + 0.5 * blob + texture).astype(np.float32), None, {}))
        row = Row(
            file=file,
            patient_id=patient,
            weights_may_learn=i < 12,
            age=20 + 5 * i,
            sex="MF"[i % 2],
            view=("PA", "AP")[i % 2],
            findings=("Pneumonia",) if i % 3 else ("No Finding",),
            prompt=f"Report {i}: heart and lungs.",
        )
        rows.append(row)
    write_manifest(folder, rows)
    return folder


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "toy")


@pytest.fixture(scope="session")
def toy_autoencoder(gen_train: Callable[..., None], toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of configs/autoencoder_toy.yaml, finished."""
    out = tmp_path_factory.mktemp("runs") / "autoencoder"
    overrides = [f"out={out}", f"data={toy_data}", "device=cpu", "dtype=float32"]
    gen_train("autoencoder", CONFIGS / "autoencoder_toy.yaml", *overrides)
    return out


def denoiser_overrides(out: Path, data: Path, autoencoder: Path) -> list[str]:
    return [f"out={out}", f"data={data}", f"autoencoder={autoencoder}", "device=cpu", "dtype=float32"]


@pytest.fixture(scope="session")
def toy_denoiser(
    gen_train: Callable[..., None], toy_data: Path, toy_autoencoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The run folder of configs/denoiser_toy.yaml, finished."""
    out = tmp_path_factory.mktemp("runs") / "denoiser"
    gen_train("denoiser", CONFIGS / "denoiser_toy.yaml", *denoiser_overrides(out, toy_data, toy_autoencoder))
    return out


@pytest.fixture
def broken_model(toy_model: Path, tmp_path: Path) -> Path:
    """A copy of the toy model, to be damaged."""
    return shutil.copytree(toy_model, tmp_path / "broken")


def like_stable_diffusion(version: int, folder: Path, toy_model: Path) -> Path:
    """A toy in the layout of Stable Diffusion 1.x (epsilon, PNDM) or 2.x (v-prediction, linear projections, DDIM).

    Both have the three-channel autoencoder, and only the tokenizer files that transformers 4 wrote.
    """
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    betas: dict[str, Any] = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(version)
        vae = AutoencoderKL(
            in_channels=3,
            out_channels=3,
            latent_channels=4,
            block_out_channels=(8, 16),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
            sample_size=32,
        )
        unet = UNet2DConditionModel(
            sample_size=16,
            block_out_channels=(16, 32),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            norm_num_groups=8,
            cross_attention_dim=32,
            attention_head_dim=2 if version == 1 else (2, 4),
            use_linear_projection=version == 2,
        )
    if version == 1:
        scheduler = PNDMScheduler(**betas, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1)
    else:
        scheduler = DDIMScheduler(
            **betas, clip_sample=False, set_alpha_to_one=False, steps_offset=1, prediction_type="v_prediction"
        )
    StableDiffusionPipeline(
        vae=vae,
        unet=unet,
        text_encoder=CLIPTextModel.from_pretrained(toy_model / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(toy_model / "tokenizer"),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    shutil.copy(toy_model / "tokenizer" / "vocab.json", folder / "tokenizer")
    shutil.copy(toy_model / "tokenizer" / "merges.txt", folder / "tokenizer")
    (folder / "tokenizer" / "tokenizer.json").unlink()
    return folder


@pytest.fixture(scope="session", params=[1, 2], ids=["SD 1.x", "SD 2.x"])
def stable_diffusion(request: pytest.FixtureRequest, toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return like_stable_diffusion(request.param, tmp_path_factory.mktemp("models") / f"sd{request.param}", toy_model)
