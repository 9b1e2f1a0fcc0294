"""Folders that cannot be sampled from: damaged, poisoned or of another kind, each named in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from gen.core.errors import BadInput, GenError
from gen.model.sampling.pipeline import load_pipeline, sample


def poison(folder: Path, part: str, file: str, key: str) -> None:
    tensors = load_file(folder / part / file)
    tensors[key].fill_(float("nan"))
    save_file(tensors, folder / part / file, {"format": "pt"})


def test_weights_that_are_not_numbers_give_an_error_and_no_image(broken_model: Path) -> None:
    poison(broken_model, "unet", "diffusion_pytorch_model.safetensors", "conv_out.bias")
    with pytest.raises(GenError, match=r"the image of seed 3 for 'AP view\.' came out not finite") as error:
        list(sample(load_pipeline(broken_model, device="cpu", dtype="float32"), ["AP view."], [3], steps=3))
    assert error.value.exit_code == 1


def test_a_decoder_that_paints_nothing_gives_an_error(broken_model: Path) -> None:
    file = broken_model / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["decoder.conv_out.weight"].zero_()
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(GenError, match="came out flat"):
        list(sample(load_pipeline(broken_model, device="cpu", dtype="float32"), ["AP view."], [3], steps=3))


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def drop_tensor(file: Path) -> None:
    tensors = load_file(file)
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, file, {"format": "pt"})


WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize(
    ("part", "damage", "message"),
    [
        ("unet", lambda part: truncate(part / WEIGHTS), "unet cannot be loaded"),
        ("vae", lambda part: truncate(part / WEIGHTS), "vae cannot be loaded"),
        ("text_encoder", lambda part: truncate(part / "model.safetensors"), "text_encoder cannot be loaded"),
        ("unet", lambda part: drop_tensor(part / WEIGHTS), "unet lacks 1 tensors, the first of them conv_in.bias"),
        ("vae", lambda part: drop_tensor(part / WEIGHTS), "vae lacks 1 tensors"),
        ("text_encoder", lambda part: drop_tensor(part / "model.safetensors"), "text_encoder lacks 1 tensors"),
        ("unet", lambda part: change(part / "config.json", '"in_channels": 4', '"in_channels": 9'), "unet"),
        (
            "unet",
            lambda part: change(part / "config.json", "UNet2DCondition", "Transformer2D"),
            "Transformer2DModel, not",
        ),
        ("unet", lambda part: (part / "config.json").write_text("{"), "config.json is not readable JSON"),
        (
            "scheduler",
            lambda part: change(part / "scheduler_config.json", "DDIMScheduler", "QuickScheduler"),
            "scheduler class 'QuickScheduler' is not supported; supported are solvers",
        ),
        (
            "scheduler",
            lambda part: change(part / "scheduler_config.json", "v_prediction", "flow"),
            "prediction_type 'flow' is not supported; epsilon and v_prediction are",
        ),
        ("scheduler", lambda part: (part / "scheduler_config.json").unlink(), "scheduler_config.json is not readable"),
        (
            "text_encoder",
            lambda part: change(part / "config.json", "CLIPTextModel", "T5EncoderModel"),
            "text encoder 'T5EncoderModel' is not supported; it must be CLIPTextModel",
        ),
        (
            "tokenizer",
            lambda part: [file.unlink() for file in part.iterdir()],
            "tokenizer holds neither tokenizer.json nor vocab.json and merges.txt",
        ),
        ("tokenizer", lambda part: truncate(part / "tokenizer.json"), "tokenizer cannot be loaded"),
    ],
)
def test_a_part_that_cannot_be_used_is_named(
    broken_model: Path, part: str, damage: Callable[[Path], object], message: str
) -> None:
    damage(broken_model / part)
    with pytest.raises(BadInput) as refusal:
        load_pipeline(broken_model, device="cpu", dtype="float32")
    assert message in str(refusal.value)
    assert str(broken_model / part) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_inpainting_model_is_no_text_to_image_model(broken_model: Path) -> None:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    config = UNet2DConditionModel.load_config(broken_model / "unet")
    UNet2DConditionModel.from_config({**config, "in_channels": 9}).save_pretrained(broken_model / "unet")
    with pytest.raises(BadInput, match="takes 9 channels and the autoencoder has 4: this is no text-to-image model"):
        load_pipeline(broken_model, device="cpu", dtype="float32")
