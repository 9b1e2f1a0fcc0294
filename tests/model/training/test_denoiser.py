"""Training the denoiser at toy size: exact resume after any kill, averages, accumulation, fine-tuning, refusals."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, EDMEulerScheduler
from safetensors.torch import load_file

from gen.core.config import load_config
from gen.core.errors import BadInput, GenError
from gen.core.files import staged_folder
from gen.core.manifest import Row
from gen.core.run import read_log
from gen.data.texts import Texts
from gen.model.capabilities import read_capabilities
from gen.model.folder import check_model_folder, load_autoencoder
from gen.model.sampling.pipeline import load_pipeline, sample
from gen.model.training.autoencoder import AutoencoderConfig
from gen.model.training.denoiser import DenoiserConfig, train_denoiser, validation_loss
from gen.model.training.denoiser_network import DenoiserShape, cut_captions, new_denoiser
from gen.model.training.tokenizer import train_tokenizer
from tests.model.conftest import CONFIGS, denoiser_overrides

from .test_autoencoder import copy_as_of, digests


def toy_config(out: Path, data: Path, autoencoder: Path, *overrides: str) -> DenoiserConfig:
    given = [*denoiser_overrides(out, data, autoencoder), *overrides]
    return load_config(DenoiserConfig, CONFIGS / "denoiser_toy.yaml", given)


def tuning_config(out: Path, data: Path, init: Path, *overrides: str) -> DenoiserConfig:
    """configs/finetune.yaml at toy size."""
    given = [f"out={out}", f"data={data}", f"init={init}", "device=cpu", "dtype=float32", "size=32", "images=8"]
    given += ["batch_size=4", "accumulate=1", "warmup=0", "learning_rate=1e-3", "preview_every=0"]
    return load_config(DenoiserConfig, CONFIGS / "finetune.yaml", [*given, *overrides])


def test_the_toy_config_trains_to_a_model_folder_that_samples_and_says_what_it_was_shown(toy_denoiser: Path) -> None:
    folder = toy_denoiser / "checkpoints" / "images-000000096" / "model"
    pipeline = load_pipeline(folder, device="cpu", dtype="float32")
    [image] = sample(pipeline, ["PA view."], [0], steps=2)
    assert image.pixels.shape == (32, 32)
    shown = read_capabilities(folder)
    assert shown is not None
    assert shown["canonical_language"] is True
    assert shown["images"] == 9, "neither the patients held out nor the row that must not be learnt from"
    assert shown["views"] == {"AP": 4, "PA": 5}
    assert shown["age_range"] == [20, 60]


def test_the_log_tells_the_validation_losses_and_the_preview_with_its_nearest_distances(toy_denoiser: Path) -> None:
    rows = read_log(toy_denoiser)
    assert [row["images"] for row in rows if row["event"] == "validation"] == [0, 32, 64, 96]
    [preview] = [row for row in rows if row["event"] == "preview"]
    assert preview["nearest"]["synthetic"] > 0
    assert preview["nearest"]["held_out"] > 0
    assert (toy_denoiser / "previews" / "images-000000096.png").is_file()


def test_a_resumed_run_is_the_unbroken_run_to_the_last_bit(
    toy_denoiser: Path, toy_data: Path, toy_autoencoder: Path, tmp_path: Path
) -> None:
    resumed = copy_as_of(toy_denoiser, 64, tmp_path / "resumed")
    folder = train_denoiser(toy_config(resumed, toy_data, toy_autoencoder))
    assert digests(folder.parent) == digests(toy_denoiser / "checkpoints" / "images-000000096")
    assert "ACCELERATE_MIXED_PRECISION" not in os.environ, "a training leaves the environment as it was"


def test_a_run_that_was_killed_ends_as_the_unbroken_one(
    toy_denoiser: Path, toy_data: Path, toy_autoencoder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    code = "import sys; from gen.cli import main; main(sys.argv[1:])"
    overrides = denoiser_overrides(out, toy_data, toy_autoencoder)
    command = [sys.executable, "-c", code, "train", "denoiser", str(CONFIGS / "denoiser_toy.yaml"), *overrides]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as job:
        log = out / "log.jsonl"
        deadline = time.monotonic() + 120
        while not (log.exists() and log.stat().st_size):  # the loop has begun
            assert job.poll() is None, job.stderr.read().decode()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(random.random())
        job.send_signal(signal.SIGKILL)
        job.wait()
    folder = train_denoiser(toy_config(out, toy_data, toy_autoencoder))
    assert digests(folder.parent) == digests(toy_denoiser / "checkpoints" / "images-000000096")


def test_raw_weights_and_average_are_both_kept_and_the_model_is_the_average(toy_denoiser: Path) -> None:
    checkpoint = toy_denoiser / "checkpoints" / "images-000000096"
    raw = load_file(checkpoint / "state" / "denoiser.safetensors")
    average = load_file(checkpoint / "state" / "denoiser.ema.safetensors")
    model = load_file(checkpoint / "model" / "unet" / "diffusion_pytorch_model.safetensors")
    key = "conv_in.weight"
    assert not torch.equal(raw[f"unet.{key}"], average[f"unet.{key}"])
    assert torch.equal(model[key], average[f"unet.{key}"])
    text = load_file(checkpoint / "model" / "text_encoder" / "model.safetensors")
    for name, value in text.items():
        assert torch.equal(value, average[f"text_encoder.{name}"]), name


def test_validation_previews_and_checkpoints_leave_the_weights_alone(
    toy_data: Path, toy_autoencoder: Path, toy_denoiser: Path, tmp_path: Path
) -> None:
    seldom = ("validate_every=1000", "preview_every=0", "checkpoint_every=1000")
    folder = train_denoiser(toy_config(tmp_path / "seldom", toy_data, toy_autoencoder, *seldom))
    often = toy_denoiser / "checkpoints" / "images-000000096"
    assert digests(folder.parent / "state") == digests(often / "state")


def test_accumulating_two_batches_of_four_is_one_of_eight(toy_model: Path, toy_data: Path, tmp_path: Path) -> None:
    gradients = []
    for batch, accumulate in ((8, 1), (4, 2)):
        shape = (f"batch_size={batch}", f"accumulate={accumulate}", "gradient_checkpointing=false")
        folder = train_denoiser(tuning_config(tmp_path / str(batch), toy_data, toy_model, *shape))
        gradients.append(load_file(folder.parent / "state" / "denoiser.optimizer.safetensors"))
    whole, parts = gradients
    assert whole.keys() == parts.keys()
    for key, value in whole.items():  # after one step the first moment is the clipped gradient, times 0.1
        if key.endswith("exp_avg"):
            torch.testing.assert_close(parts[key], value, rtol=1e-3, atol=1e-6)
    assert any(float(value.abs().max()) > 1e-4 for key, value in whole.items() if key.endswith("exp_avg"))


def test_tuning_changes_u_net_and_text_encoder_and_keeps_the_rest(
    stable_diffusion: Path, toy_data: Path, tmp_path: Path
) -> None:
    folder = train_denoiser(tuning_config(tmp_path / "run", toy_data, stable_diffusion))
    before, after = (load_pipeline(each, device="cpu", dtype="float32") for each in (stable_diffusion, folder))
    for part in ("unet", "text_encoder", "vae"):
        old, new = (dict(getattr(pipeline, part).state_dict()) for pipeline in (before, after))
        assert all(torch.equal(old[key], new[key]) for key in old) == (part == "vae"), part
    assert after.tokenizer.get_vocab() == before.tokenizer.get_vocab()
    assert type(after.scheduler) is type(before.scheduler)
    assert after.scheduler.config.prediction_type == before.scheduler.config.prediction_type
    assert json.loads((folder / "capabilities.json").read_text())["canonical_language"] is False
    [image] = sample(after, ["Report of a chest."], [0], steps=2)
    assert image.pixels.shape == (32, 32)


def test_a_frozen_text_encoder_stays_as_it_was(toy_model: Path, toy_data: Path, tmp_path: Path) -> None:
    folder = train_denoiser(tuning_config(tmp_path / "run", toy_data, toy_model, "train_text_encoder=false"))
    old, new = (load_file(at / "text_encoder" / "model.safetensors") for at in (toy_model, folder))
    assert all(torch.equal(old[key], new[key]) for key in old)


def test_a_folder_tuned_at_another_size_samples_at_that(toy_model: Path, toy_data: Path, tmp_path: Path) -> None:
    folder = train_denoiser(tuning_config(tmp_path / "run", toy_data, toy_model, "size=16"))
    assert load_pipeline(folder, device="cpu", dtype="float32").configs.size == 16


def test_a_kl_autoencoder_is_whitened_for_a_new_denoiser(toy_model: Path, toy_data: Path, tmp_path: Path) -> None:
    short = ("images=4", "preview_every=0")
    folder = train_denoiser(toy_config(tmp_path / "run", toy_data, toy_model, *short))
    assert load_autoencoder(folder).config.scaling_factor == 1.0
    before, after = (load_autoencoder(at).post_quant_conv.weight for at in (toy_model, folder))
    assert not torch.equal(before, after)


def test_a_loss_that_explodes_names_the_batch_and_saves_nothing(
    toy_model: Path, toy_data: Path, tmp_path: Path
) -> None:
    config = tuning_config(tmp_path / "run", toy_data, toy_model, "learning_rate=1e30", "images=400")
    with pytest.raises(GenError, match=r"after \d+ images, in the batch of .*images/\d+\.png"):
        train_denoiser(config)
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dtype=float16", "training in float16 is not offered"),
        ("accumulate=0", "accumulate is 0; it must be above 0"),
        ("warmup=-1", "warmup is -1; it must be 0 or more"),
        ("images_per_patient=-1", "images_per_patient is -1"),
        ("ema=1.2", "ema is 1.2; it must be 0 or more, and less than 1"),
        ("cooldown=2", "cooldown is 2.0; it must be from 0 to 1"),
        ("caption_dropout=1.1", "caption_dropout is 1.1"),
        ("fact_dropout=-0.1", "fact_dropout is -0.1"),
        ("preview_prompts=[]", "preview_prompts is empty; name some, or set preview_every=0"),
        ("shape.cross_attention=[true]", "shape.block_out_channels has 2 levels and shape.cross_attention 1"),
        ("shape.block_out_channels=[16,36]", "shape.block_out_channels has 36, no multiple of norm_num_groups"),
        ("shape.head_channels=12", "shape.block_out_channels has 32, no multiple of head_channels"),
        ("shape.head_channels=0", "shape.head_channels is 0; it must be above 0"),
        ("shape.text_heads=3", "shape.text_channels is 32, no multiple of text_heads"),
        ("shape.prediction_type=sample", "shape.prediction_type is 'sample'; use epsilon or v_prediction"),
        ("captions=report", "captions is 'report'; use study or prompt"),
        ("size=30", "size is 30; use a multiple of 8 pixels"),
        ("attention=flash", "unknown attention 'flash'"),
        ("autoencoder=null", "neither init nor autoencoder is given"),
        ("autoencoder=/nowhere", "/nowhere: there is no autoencoder in it"),
        ("shape.sigma_min=70", "shape.sigma_min is 70.0 and shape.sigma_max is 60.0"),
        ("data=/nowhere", "/nowhere holds no metadata.csv"),
    ],
)
def test_a_config_that_cannot_work_is_refused_before_a_run_folder_exists(
    override: str, message: str, toy_data: Path, toy_autoencoder: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput) as refusal:
        train_denoiser(toy_config(tmp_path / "run", toy_data, toy_autoencoder, override))
    assert message in str(refusal.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("part", ["tokenizer", "scheduler", "unet", "text_encoder", "vae"])
def test_a_folder_to_start_from_that_lacks_a_part_is_refused(
    part: str, broken_model: Path, toy_data: Path, tmp_path: Path
) -> None:
    shutil.rmtree(broken_model / part)
    with pytest.raises(BadInput) as refusal:
        train_denoiser(tuning_config(tmp_path / "run", toy_data, broken_model))
    assert str(broken_model) in str(refusal.value)
    assert part in str(refusal.value) or "autoencoder" in str(refusal.value)


def test_a_scheduler_that_samples_and_cannot_be_trained_with_is_refused(
    broken_model: Path, toy_data: Path, tmp_path: Path
) -> None:
    EDMEulerScheduler(prediction_type="v_prediction").save_pretrained(broken_model / "scheduler")
    check_model_folder(broken_model)
    with pytest.raises(BadInput, match="'EDMEulerScheduler' cannot be trained with"):
        train_denoiser(tuning_config(tmp_path / "run", toy_data, broken_model))


def test_epsilon_at_zero_terminal_snr_is_refused_in_a_folder_too(
    broken_model: Path, toy_data: Path, tmp_path: Path
) -> None:
    path = broken_model / "scheduler" / "scheduler_config.json"
    path.write_text(path.read_text().replace("v_prediction", "epsilon"))
    with pytest.raises(BadInput, match="'epsilon' at zero terminal SNR"):
        train_denoiser(tuning_config(tmp_path / "run", toy_data, broken_model))


def test_a_fine_tuned_model_keeps_what_its_decoder_draws_from(
    broken_model: Path, toy_data: Path, tmp_path: Path
) -> None:
    path = broken_model / "capabilities.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "decoder_noise": [0, 0.1, 0.1, 0.1]}))
    folder = train_denoiser(tuning_config(tmp_path / "run", toy_data, broken_model))
    assert json.loads((folder / "capabilities.json").read_text())["decoder_noise"] == [0, 0.1, 0.1, 0.1]


def test_an_autoencoder_of_other_channels_is_refused(
    toy_model: Path, toy_data: Path, toy_autoencoder: Path, tmp_path: Path
) -> None:
    from gen.model.training.autoencoder import train_autoencoder

    config = load_config(
        AutoencoderConfig,
        CONFIGS / "autoencoder_toy.yaml",
        [f"out={tmp_path / 'vae'}", f"data={toy_data}", "images=4", "shape.latent_channels=3", "device=cpu"],
    )
    vae = train_autoencoder(config)
    with pytest.raises(BadInput, match=r"takes 4 channels, and .*vae makes 3"):
        train_denoiser(tuning_config(tmp_path / "run", toy_data, toy_model, f"autoencoder={vae}"))


def test_another_config_on_the_same_run_folder_is_refused(
    toy_denoiser: Path, toy_data: Path, toy_autoencoder: Path
) -> None:
    with pytest.raises(BadInput, match=r"another config \(images: 96 -> 192\)"):
        train_denoiser(toy_config(toy_denoiser, toy_data, toy_autoencoder, "images=192"))


def test_a_new_denoiser_predicts_nothing_at_first() -> None:
    tokenizer = train_tokenizer(iter(["a chest"]), 600)
    shape = DenoiserShape([16, 32], [False, True], norm_num_groups=8, text_channels=32, text_layers=1, text_heads=2)
    unet, text_encoder, scheduler = new_denoiser(shape, tokenizer, 3, 8)
    states = text_encoder(torch.tensor([tokenizer("a chest").input_ids]))[0]
    assert not unet(torch.randn(1, 3, 8, 8), 500, states).sample.any()
    assert float(scheduler.alphas_cumprod[-1]) == pytest.approx(1 / (1 + shape.sigma_max**2), rel=1e-2)


def test_training_in_bfloat16_keeps_its_weights_in_float32(
    toy_data: Path, toy_autoencoder: Path, tmp_path: Path
) -> None:
    short = ("images=8", "preview_every=0", "dtype=bfloat16")
    folder = train_denoiser(toy_config(tmp_path / "run", toy_data, toy_autoencoder, *short))
    state = load_file(folder.parent / "state" / "denoiser.safetensors")
    assert {value.dtype for value in state.values()} == {torch.float32}


def test_a_resumed_run_keeps_its_autoencoder_when_that_one_has_trained_on(
    toy_denoiser: Path, toy_data: Path, toy_autoencoder: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(toy_autoencoder, tmp_path / "autoencoder")
    shutil.rmtree(other / "checkpoints" / "images-000000096")  # its newest is another one then
    resumed = copy_as_of(toy_denoiser, 64, tmp_path / "resumed")
    config = (resumed / "config.yaml").read_text()
    (resumed / "config.yaml").write_text(config.replace(str(toy_autoencoder), str(other)))
    folder = train_denoiser(toy_config(resumed, toy_data, other))
    assert digests(folder.parent) == digests(toy_denoiser / "checkpoints" / "images-000000096")


def change_scheduler(checkpoint: Path, **values: object) -> None:
    """Give the model in ``checkpoint`` other ``values`` of its scheduler, as if another version had written them."""
    written = checkpoint.rename(checkpoint.with_name("written"))
    with staged_folder(checkpoint) as stage:
        shutil.copytree(written, stage, dirs_exist_ok=True)
        path = stage / "model" / "scheduler" / "scheduler_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    shutil.rmtree(written)


def test_a_resumed_run_keeps_its_scheduler_whatever_the_code_gives_a_new_denoiser(
    toy_denoiser: Path, toy_data: Path, toy_autoencoder: Path, tmp_path: Path
) -> None:
    resumed = copy_as_of(toy_denoiser, 64, tmp_path / "resumed")
    change_scheduler(resumed / "checkpoints" / "images-000000064", algorithm_type="sde-dpmsolver++", solver_order=3)
    folder = train_denoiser(toy_config(resumed, toy_data, toy_autoencoder))
    told = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    assert (told["algorithm_type"], told["solver_order"]) == ("sde-dpmsolver++", 3)


def test_a_resumed_tuning_keeps_what_it_began_with_when_the_folder_of_init_has_changed_or_gone(
    broken_model: Path, toy_data: Path, tmp_path: Path
) -> None:
    short = ("images=8", "checkpoint_every=4")
    unbroken = train_denoiser(tuning_config(tmp_path / "a", toy_data, broken_model, *short))
    resumed = copy_as_of(tmp_path / "a", 4, tmp_path / "b")
    shutil.rmtree(broken_model)
    assert digests(train_denoiser(tuning_config(resumed, toy_data, broken_model, *short))) == digests(unbroken)


def test_a_checkpoint_of_another_architecture_is_refused(
    toy_denoiser: Path, toy_data: Path, toy_autoencoder: Path, tmp_path: Path
) -> None:
    other = (f"resume_from={toy_denoiser}", "shape.layers_per_block=2", "images=100")
    with pytest.raises(BadInput, match="images-000000096 holds no denoiser of the shape that the config names"):
        train_denoiser(toy_config(tmp_path / "run", toy_data, toy_autoencoder, *other))


def test_a_whitened_autoencoder_is_not_whitened_again_on_resume(
    toy_model: Path, toy_data: Path, tmp_path: Path
) -> None:
    short = ("images=8", "checkpoint_every=4", "preview_every=0")
    unbroken = train_denoiser(toy_config(tmp_path / "a", toy_data, toy_model, *short))
    resumed = copy_as_of(tmp_path / "a", 4, tmp_path / "b")
    assert digests(train_denoiser(toy_config(resumed, toy_data, toy_model, *short))) == digests(unbroken)


def test_latents_that_are_new_to_a_u_net_are_whitened_and_those_that_it_knows_are_not(
    stable_diffusion: Path, toy_model: Path, toy_data: Path, tmp_path: Path
) -> None:
    for vae, factor in ((toy_model, 1.0), (stable_diffusion / "vae", 0.18215)):
        config = tuning_config(tmp_path / vae.name, toy_data, stable_diffusion, f"autoencoder={vae}")
        assert load_autoencoder(train_denoiser(config)).config.scaling_factor == factor


def test_the_noise_of_validation_covers_the_range_evenly_and_does_not_follow_the_order_of_the_rows() -> None:
    class Recorder(torch.nn.Linear):
        def forward(self, noisy: torch.Tensor, timesteps: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
            seen.append(timesteps)
            return torch.zeros_like(noisy)

    seen: list[torch.Tensor] = []
    cache = np.zeros((100, 1, 2, 1, 2, 2), np.float16)
    tokenizer = train_tokenizer(iter(["a chest"]), 600)
    validation_loss(Recorder(1, 1), DDPMScheduler(), cache, ["a chest"] * 100, tokenizer)
    timesteps = torch.cat(seen)
    assert timesteps.sort().values.tolist() == [10 * i + 5 for i in range(100)]
    assert abs(float(torch.corrcoef(torch.stack([timesteps.float(), torch.arange(100.0)]))[0, 1])) < 0.3


def test_captions_that_will_be_cut_are_counted_and_the_longest_is_named() -> None:
    tokenizer = train_tokenizer(iter(["a chest"]), 600)
    rows = [Row(file=Path(f"/{i}.png"), prompt="chest " * length) for i, length in enumerate((5, 80, 90))]
    assert cut_captions(tokenizer, Texts(rows, [], "prompt", 0, 0)) == (
        "2 of 3 captions are cut to 77 tokens; the longest, of /2.png, has 92"
    )
    assert cut_captions(tokenizer, Texts(rows[:1], [], "prompt", 0, 0)) == ""


def test_a_model_of_free_reports_claims_what_its_reports_say_and_not_its_columns(
    toy_model: Path, toy_data: Path, tmp_path: Path
) -> None:
    shown = read_capabilities(train_denoiser(tuning_config(tmp_path / "run", toy_data, toy_model)))
    assert shown is not None
    assert shown["images"] == 9
    assert shown["unread"] == 9
    assert shown["views"] == {}


def test_other_labels_on_the_same_run_folder_are_refused(
    toy_denoiser: Path, toy_data: Path, toy_autoencoder: Path
) -> None:
    table = toy_data / "metadata.csv"
    text = table.read_text()
    try:
        table.write_text(text.replace("Pneumonia", "Edema", 1))
        with pytest.raises(BadInput, match=r"another config \(inputs\.data: [0-9a-f]{16} -> [0-9a-f]{16}\)"):
            train_denoiser(toy_config(toy_denoiser, toy_data, toy_autoencoder))
    finally:
        table.write_text(text)
