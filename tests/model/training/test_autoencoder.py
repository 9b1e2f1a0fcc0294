"""Training the autoencoder at toy size: exact resume, learning, and refusals before a run folder exists."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gen.core.config import load_config
from gen.core.errors import BadInput, GenError
from gen.core.files import newest_verified, sha256_file
from gen.core.manifest import read_manifest
from gen.core.run import read_log
from gen.data.loader import to_model_range, to_pixels_u8
from gen.data.split import split_rows
from gen.images.reader import read_radiograph
from gen.model.folder import decoder_noise_of, load_autoencoder, newest_model
from gen.model.training.autoencoder import (
    AutoencoderConfig,
    reconstruction_scores,
    train_autoencoder,
)
from gen.model.training.latents import RAW_STD
from gen.model.training.losses import energy_score
from tests.model.conftest import CONFIGS

NO_NOISE = ("latent_noise=0", "shape.class_name=AutoencoderKL shape.block_out_channels=[8,8]")


def toy_config(out: Path, data: Path, *overrides: str) -> AutoencoderConfig:
    given = [f"out={out}", f"data={data}", "device=cpu", "dtype=float32", *overrides]
    return load_config(AutoencoderConfig, CONFIGS / "autoencoder_toy.yaml", given)


def digests(folder: Path) -> dict[str, str]:
    """Of every file, but for those that tell how they came about: the tokenizer's config, and the list of digests."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    untold = ("tokenizer_config.json", "DIGESTS.json")
    return {str(file.relative_to(folder)): sha256_file(file) for file in files if file.name not in untold}


def copy_as_of(run: Path, images: int, to: Path) -> Path:
    """The run folder as a kill after ``images`` images would have left it."""
    shutil.copytree(run, to)
    for folder in (to / "checkpoints").iterdir():
        if int(folder.name.rpartition("-")[2]) > images:
            shutil.rmtree(folder)
    return to


def test_the_toy_config_trains_and_leaves_an_autoencoder_that_loads(toy_autoencoder: Path) -> None:
    newest, skipped = newest_verified(toy_autoencoder / "checkpoints", "images-*")
    assert newest is not None
    assert newest.name == "images-000000096"
    assert skipped == []
    vae = load_autoencoder(toy_autoencoder)
    assert type(vae).__name__ == "AutoencoderTiny"
    assert vae.config.latent_channels == 4
    scores = [row["psnr"] for row in read_log(toy_autoencoder) if row["event"] == "validation"]
    assert len(scores) == 4
    assert scores[-1] > scores[0]


def test_a_resumed_run_is_the_unbroken_run_to_the_last_bit(
    toy_autoencoder: Path, toy_data: Path, tmp_path: Path
) -> None:
    resumed = copy_as_of(toy_autoencoder, 64, tmp_path / "resumed")
    config = dataclasses.replace(toy_config(toy_autoencoder, toy_data), out=str(resumed))
    folder = train_autoencoder(config)
    unbroken = toy_autoencoder / "checkpoints" / "images-000000096"
    assert digests(folder.parent) == digests(unbroken)


def test_the_whole_of_a_kl_autoencoder_learns_with_a_critic_and_resumes(toy_data: Path, tmp_path: Path) -> None:
    overrides = (
        "shape.class_name=AutoencoderKL",
        "shape.block_out_channels=[8,8]",
        "shape.norm_num_groups=4",
        "adversarial_weight=0.1",
        "adversarial_after=8",
        "accumulate=2",
        "images=32",
        "checkpoint_every=16",
        "validate_every=100",
    )
    unbroken = train_autoencoder(toy_config(tmp_path / "a", toy_data, *overrides)).parent
    assert {file.name for file in (unbroken / "state").iterdir()} == {
        *("autoencoder.safetensors", "autoencoder.ema.safetensors", "autoencoder.optimizer.safetensors"),
        *("critic.safetensors", "critic.optimizer.safetensors", "progress.json"),
    }
    resumed = copy_as_of(tmp_path / "a", 16, tmp_path / "b")
    again = train_autoencoder(toy_config(resumed, toy_data, *overrides)).parent
    assert digests(again) == digests(unbroken)


def test_an_autoencoder_can_start_from_another(toy_autoencoder: Path, toy_data: Path, tmp_path: Path) -> None:
    short = ("images=4", "warmup=0", "validate_every=100")
    folder = train_autoencoder(toy_config(tmp_path / "more", toy_data, f"init={toy_autoencoder}", *short))
    before, after = load_autoencoder(toy_autoencoder), load_autoencoder(folder)
    for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True):
        assert torch.equal(old, new) == name.startswith("encoder"), name
        assert float((old - new).detach().abs().max()) < 0.1


def test_a_three_channel_autoencoder_is_tuned_on_grey_images(
    stable_diffusion: Path, toy_data: Path, tmp_path: Path
) -> None:
    short = ("images=4", "validate_every=100", "adversarial_weight=0.1")
    folder = train_autoencoder(toy_config(tmp_path / "rgb", toy_data, f"init={stable_diffusion}", *short))
    assert load_autoencoder(folder).config.in_channels == 3


def test_latents_made_anew_are_learnt_from_and_a_resumed_run_is_the_unbroken_one(
    toy_autoencoder: Path, toy_denoiser: Path, toy_data: Path, tmp_path: Path
) -> None:
    def train(out: Path, share: float = 0.5) -> Path:
        anew = (f"init={toy_autoencoder}", f"resampled.model={toy_denoiser}", f"resampled.share={share}")
        rest = ("resampled.images=4", "resampled.steps=4", "adversarial_weight=0.1", "critic_penalty=0.1")
        return train_autoencoder(toy_config(out, toy_data, *anew, *rest, "images=16", "checkpoint_every=8"))

    unbroken = train(tmp_path / "a").parent
    resumed = copy_as_of(tmp_path / "a", 8, tmp_path / "b")
    shutil.rmtree(resumed / "cache")  # what was made anew can be made again
    assert digests(train(resumed).parent) == digests(unbroken)
    logged = [row for row in read_log(tmp_path / "a") if row["event"] == "validation"]
    assert len(logged) == 2
    for row in logged:
        assert row["resampled_psnr"] != row["psnr"]
    without = load_autoencoder(train(tmp_path / "none", share=0))
    changed = [
        not torch.equal(one, other)
        for one, other in zip(load_autoencoder(unbroken).parameters(), without.parameters(), strict=True)
        if one.numel()
    ]
    assert any(changed)


def test_a_decoder_that_draws_tells_what_it_draws_from_and_resumes(
    toy_autoencoder: Path, toy_denoiser: Path, toy_data: Path, tmp_path: Path
) -> None:
    def train(out: Path, *overrides: str) -> Path:
        draws = ("energy_score=true", "latent_noise=0.2", "quiet_channels=1")
        anew = (f"init={toy_autoencoder}", f"resampled.model={toy_denoiser}", "resampled.images=4", "resampled.steps=4")
        rest = ("adversarial_weight=0.1", "images=16", "checkpoint_every=8")
        return train_autoencoder(toy_config(out, toy_data, *draws, *anew, *rest, *overrides))

    unbroken = train(tmp_path / "a")
    resumed = train(copy_as_of(tmp_path / "a", 8, tmp_path / "b"))
    assert digests(resumed.parent) == digests(unbroken.parent)
    plain = train(tmp_path / "c", "energy_score=false")
    pairs = zip(load_autoencoder(plain).parameters(), load_autoencoder(unbroken).parameters(), strict=True)
    assert not all(torch.equal(one, other) for one, other in pairs)
    assert decoder_noise_of(plain) == {}
    scale = load_autoencoder(unbroken).config.scaling_factor
    told = {"decoder_noise": [0, *([pytest.approx(0.2 * RAW_STD * scale)] * 3)]}
    assert decoder_noise_of(tmp_path / "a") == decoder_noise_of(unbroken) == told
    assert decoder_noise_of(toy_autoencoder) == {}


def test_the_two_draws_that_are_scored_differ_by_their_noise_alone(
    toy_autoencoder: Path, toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def score(first: torch.Tensor, second: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        seen.append([image.detach() for image in (first, second, target)])
        return energy_score(first, second, target)

    monkeypatch.setattr("gen.model.training.autoencoder.energy_score", score)
    for noise in ("2", "1e-6"):
        draws = (
            "energy_score=true",
            f"latent_noise={noise}",
            "quiet_channels=1",
            "images=4",
            f"init={toy_autoencoder}",
        )
        train_autoencoder(toy_config(tmp_path / noise, toy_data, *draws))
    (first, second, target), (one, other, again) = seen
    assert (first - second).square().mean() > 1e-4
    torch.testing.assert_close(one, other, atol=1e-4, rtol=0)
    assert torch.equal(target, again)
    for drawn in (one, other):
        assert (drawn - target).square().mean() < (drawn - target.roll(1, 0)).square().mean()


def test_the_weight_of_pairs_is_that_of_latents_made_anew_alone(
    toy_autoencoder: Path, toy_denoiser: Path, toy_data: Path, tmp_path: Path
) -> None:
    def moved(name: str, share: float) -> bool:
        anew = (f"resampled.model={toy_denoiser}", "resampled.pair_weight=0", f"resampled.share={share}")
        rest = (f"init={toy_autoencoder}", "resampled.images=2", "images=4", "warmup=0", "cooldown=0.1")
        trained = load_autoencoder(train_autoencoder(toy_config(tmp_path / name, toy_data, *anew, *rest)))
        pairs = zip(load_autoencoder(toy_autoencoder).parameters(), trained.parameters(), strict=True)
        return not all(torch.equal(one, other) for one, other in pairs)

    assert moved("true", share=0)
    assert not moved("anew", share=1)


def test_another_denoiser_on_the_same_run_folder_is_refused(
    toy_autoencoder: Path, toy_denoiser: Path, toy_data: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(newest_model(toy_denoiser), tmp_path / "model")
    given = [f"init={toy_autoencoder}", f"resampled.model={model}", "resampled.images=2", "images=4"]
    train_autoencoder(toy_config(tmp_path / "run", toy_data, *given))
    weights = load_file(model / "unet" / "diffusion_pytorch_model.safetensors")
    save_file(
        {name: 2 * value for name, value in weights.items()}, model / "unet" / "diffusion_pytorch_model.safetensors"
    )
    with pytest.raises(BadInput, match="denoiser"):
        train_autoencoder(toy_config(tmp_path / "run", toy_data, *given))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dtype=float16", "training in float16 is not offered"),
        ("batch_size=0", "batch_size is 0; it must be above 0"),
        ("cooldown=0", "cooldown is 0"),
        ("crop=18", "crop is 18 and size is 32; crop is at most size, and both are multiples of 4 pixels"),
        ("crop=64", "crop is 64"),
        ("size=33", "size is 33"),
        ("shape.class_name=VQModel", "shape.class_name is 'VQModel'; use AutoencoderTiny or AutoencoderKL"),
        ("device=tpu", "unknown device 'tpu'"),
        ("warmup=-1", "warmup is -1; it must be 0 or more"),
        ("images_per_patient=-1", "images_per_patient is -1"),
        ("ema=1", "ema is 1.0; it must be 0 or more, and less than 1"),
        ("cooldown=1.5", "cooldown is 1.5; it must be from 0 to 1"),
        ("shape.latent_channels=17", "shape.latent_channels is 17; patches of 4 x 4 pixels have 16 components"),
        ("shape.latent_channels=0", "shape.latent_channels is 0; it must be above 0"),
        ("shape.blocks=[1,1]", "shape.blocks is [1, 1]; an AutoencoderTiny has one width in all stages"),
        ("shape.block_out_channels=[8,8,16]", "shape.block_out_channels is [8, 8, 16]"),
        ("shape.block_out_channels=[]", "shape.block_out_channels is []"),
        ("init=/nowhere", "/nowhere: there is no autoencoder in it"),
        ("resampled.model=/nowhere", "resampled.model is /nowhere, and the encoder is made in this training"),
        ("resampled.share=1.5", "share is 1.5"),
        ("quiet_channels=-1", "quiet_channels is -1; it must be 0 or more"),
        *((f"energy_score=true {without}", "energy_score is true, and no noise") for without in NO_NOISE),
        ("quiet_channels=4", "quiet_channels is 4, and no channel is left that gets noise"),
    ],
)
def test_a_config_that_cannot_work_is_refused_before_a_run_folder_exists(
    override: str, message: str, toy_data: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput) as refusal:
        train_autoencoder(toy_config(tmp_path / "run", toy_data, *override.split()))
    assert message in str(refusal.value)
    assert not (tmp_path / "run").exists()


def test_another_config_on_the_same_run_folder_is_refused(toy_autoencoder: Path, toy_data: Path) -> None:
    with pytest.raises(BadInput, match=r"another config \(batch_size: 4 -> 8\)"):
        train_autoencoder(toy_config(toy_autoencoder, toy_data, "batch_size=8"))


def test_a_loss_that_explodes_names_the_batch_and_saves_nothing(toy_data: Path, tmp_path: Path) -> None:
    config = toy_config(
        tmp_path / "run", toy_data, "learning_rate=1e30", "warmup=0", "images=400", "checkpoint_every=200"
    )
    with pytest.raises(GenError, match=r"after \d+ images, in the batch of .*images/\d+\.png"):
        train_autoencoder(config)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_the_critic_learns_from_all_batches_of_a_step_and_at_the_rate_of_the_schedule(
    toy_data: Path, tmp_path: Path
) -> None:
    def critic(name: str, batch: int, accumulate: int, warmup: int) -> dict[str, dict[str, torch.Tensor]]:
        step = (f"batch_size={batch}", f"accumulate={accumulate}", f"warmup={warmup}", "images=4", "cooldown=1")
        folder = train_autoencoder(toy_config(tmp_path / name, toy_data, "adversarial_weight=0.1", *step))
        return {
            file: load_file(folder.parent / "state" / f"{file}.safetensors") for file in ("critic.optimizer", "critic")
        }

    whole, parts, slow = critic("whole", 4, 1, 0), critic("parts", 2, 2, 0), critic("slow", 4, 1, 99)
    for key, value in whole["critic.optimizer"].items():  # after one step the first moment is half the gradient
        torch.testing.assert_close(parts["critic.optimizer"][key], value, rtol=1e-3, atol=1e-6)
    key = "layers.0.weight"
    moved = (whole["critic"][key] - slow["critic"][key]).abs().max()
    assert float(moved) == pytest.approx(2e-3 * (1 - 1 / 100), rel=0.01)


def test_an_architecture_given_beside_init_is_said_to_be_unused(
    toy_autoencoder: Path, toy_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_autoencoder(toy_config(tmp_path / "more", toy_data, f"init={toy_autoencoder}", "images=4"))
    said = capsys.readouterr().err
    assert f"shape is ignored: the architecture is that of {toy_autoencoder}" in said
    assert said.count("device cpu (") == 1


def test_groups_that_do_not_divide_the_widths_are_refused(toy_data: Path, tmp_path: Path) -> None:
    kl = ("shape.class_name=AutoencoderKL", "shape.norm_num_groups=3")
    with pytest.raises(BadInput, match=r"\[8, 8, 8\], not all multiples of norm_num_groups"):
        train_autoencoder(toy_config(tmp_path / "run", toy_data, *kl))
    assert not (tmp_path / "run").exists()


def test_the_held_out_images_are_chosen_from_the_whole_table(toy_data: Path, tmp_path: Path) -> None:
    folder = train_autoencoder(toy_config(tmp_path / "run", toy_data, "validation_images=1", "images=4"))
    rows = split_rows(read_manifest(toy_data))["validation"]
    pixels = np.stack([to_pixels_u8(read_radiograph(row.file).pixels, 32) for row in rows])
    vae = load_autoencoder(folder)
    parts = to_model_range(pixels).split(1)
    first, middle, last = (reconstruction_scores(vae, part, 1, torch.zeros(1)) for part in parts)
    logged = read_log(tmp_path / "run")[-1]
    assert logged["psnr"] == pytest.approx(middle["psnr"], abs=1e-3)
    assert abs(first["psnr"] - middle["psnr"]) > 1e-2
    assert len(rows) == 3
    assert last != middle
