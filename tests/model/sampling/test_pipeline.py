"""Sampling: the stock pipeline's pictures, each decided by its own seed."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gen.core.errors import BadInput
from gen.core.noise import standard_normal
from gen.core.radiograph import Radiograph, write_png
from gen.images.reader import read_radiograph
from gen.language.tokens import token_counter
from gen.model.sampling.pipeline import describe, load_pipeline, sample
from gen.model.sampling.settings import decoder_noise
from gen.model.sampling.torch_backend import TEXTS_KEPT, TorchPipeline
from gen.model.training.denoiser_network import Denoiser
from gen.model.training.export import Fixtures, write_model_folder
from gen.model.training.latents import whiten

PROMPTS = ["63 year old female. AP view.", "5 year old male. PA view.", "Adult. Lateral view.", "No finding."]
SEEDS = [11, 2**64 - 1, 0, 7]


@pytest.fixture(scope="module")
def pipeline(toy_model: Path) -> TorchPipeline:
    return load_pipeline(toy_model, device="cpu", dtype="float32")


def pixels(pipeline: TorchPipeline, prompts: list[str], seeds: list[int], **settings: object) -> list[np.ndarray]:
    return [image.pixels for image in sample(pipeline, prompts, seeds, steps=3, **settings)]


def eight_bits(images: list[np.ndarray]) -> list[bytes]:
    return [np.rint(image * 255).astype(np.uint8).tobytes() for image in images]


def of_the_stock_pipeline(folder: Path, prompt: str, seed: int, **settings: object) -> np.ndarray:
    from diffusers import StableDiffusionPipeline

    from gen.model.parts import quiet

    with quiet():
        stock = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True, safety_checker=None)
    stock.set_progress_bar_config(disable=True)
    shape = stock.unet.config.in_channels, 16, 16
    latents = torch.from_numpy(standard_normal(shape, seed))[None]
    image = stock(
        prompt, latents=latents, height=32, width=32, num_inference_steps=3, output_type="np", **settings
    ).images[0]
    return image.mean(-1)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_the_stock_pipeline_gives_the_same_picture(toy_model: Path, pipeline: TorchPipeline, guidance: float) -> None:
    [ours] = pixels(pipeline, PROMPTS[:1], [11], guidance=guidance, negative="pneumonia" if guidance > 1 else "")
    negative = {"negative_prompt": "pneumonia"} if guidance > 1 else {}
    theirs = of_the_stock_pipeline(toy_model, PROMPTS[0], 11, guidance_scale=guidance, **negative)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_folders_in_the_layouts_of_stable_diffusion_give_the_stock_pictures(stable_diffusion: Path) -> None:
    loaded = load_pipeline(stable_diffusion, device="cpu", dtype="float32")
    [ours] = pixels(loaded, ["a chest"], [5], guidance=3.0)
    theirs = of_the_stock_pipeline(stable_diffusion, "a chest", 5, guidance_scale=3.0)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_saved_and_loaded_a_model_makes_the_same_pixels(pipeline: TorchPipeline, tmp_path: Path) -> None:
    denoiser = Denoiser(pipeline.unet, pipeline.text_encoder)
    fixtures = Fixtures(pipeline.vae, pipeline.tokenizer, pipeline.scheduler, {"canonical_language": True})
    write_model_folder(tmp_path, denoiser, fixtures)
    again = load_pipeline(tmp_path, device="cpu", dtype="float32")
    for before, after in zip(*(pixels(each, PROMPTS, SEEDS) for each in (pipeline, again)), strict=True):
        assert np.array_equal(before, after)
    assert again.capabilities == {"canonical_language": True}


def test_saved_in_half_precision_a_model_is_loaded_in_float32_and_makes_nearly_the_same(
    pipeline: TorchPipeline, tmp_path: Path
) -> None:
    denoiser = Denoiser(pipeline.unet, pipeline.text_encoder)
    fixtures = Fixtures(pipeline.vae, pipeline.tokenizer, pipeline.scheduler, {})
    write_model_folder(tmp_path, denoiser, fixtures, torch.float16)
    assert {value.dtype for value in load_file(tmp_path / "text_encoder" / "model.safetensors").values()} == {
        torch.float16
    }
    again = load_pipeline(tmp_path, device="cpu", dtype="float32")
    for part in (again.unet, again.vae, again.text_encoder):
        assert {weight.dtype for weight in part.parameters()} == {torch.float32}
    [before], [after] = (pixels(each, PROMPTS[:1], [3]) for each in (pipeline, again))
    np.testing.assert_allclose(before, after, atol=0.02)
    assert next(pipeline.unet.parameters()).dtype == torch.float32, "what was saved from stays as it was"


def test_whitened_latents_decode_in_the_stock_pipeline_as_before(
    toy_model: Path, broken_model: Path, pipeline: TorchPipeline
) -> None:
    # With the same latents in another scale and place the stock pipeline, which knows one factor, shows the same image.
    from diffusers import StableDiffusionPipeline

    from gen.model.folder import load_autoencoder
    from gen.model.parts import quiet

    vae = load_autoencoder(toy_model)
    mean, std = torch.tensor([0.3, -1, 2, 0]), torch.tensor([0.5, 2, 1, 3])
    whiten(vae, mean, std)
    vae.save_pretrained(broken_model / "vae")
    with quiet():
        stocks = [
            StableDiffusionPipeline.from_pretrained(at, local_files_only=True) for at in (toy_model, broken_model)
        ]
    raw = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    white = (raw - mean[:, None, None]) / std[:, None, None]
    shown = []
    for stock, latents in zip(stocks, (raw, white), strict=True):
        with torch.no_grad():
            shown.append(stock.vae.decode(latents / stock.vae.config.scaling_factor).sample)
    torch.testing.assert_close(shown[0], shown[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("rows", [1, 2, 4, 8])
def test_an_image_is_the_same_alone_and_among_others_whatever_passes_together(
    toy_model: Path, rows: int, dtype: str
) -> None:
    wide = dataclasses.replace(load_pipeline(toy_model, device="cpu", dtype=dtype), rows=rows)
    together = eight_bits(pixels(wide, PROMPTS, SEEDS))
    for k, (prompt, seed) in enumerate(zip(PROMPTS, SEEDS, strict=True)):
        assert eight_bits(pixels(wide, [prompt], [seed])) == [together[k]]
    backwards = eight_bits(pixels(wide, PROMPTS[::-1], SEEDS[::-1]))
    assert backwards[::-1] == together
    assert len(set(together)) == 4


def test_texts_beyond_those_kept_change_nothing_and_take_no_more_memory(pipeline: TorchPipeline) -> None:
    wide = dataclasses.replace(pipeline, rows=8, text_states={})
    expected = eight_bits(pixels(wide, PROMPTS, SEEDS))
    state = wide.text_states[PROMPTS[0]]
    for kept in (TEXTS_KEPT - 2, TEXTS_KEPT - 1, TEXTS_KEPT):
        # Full, or nearly, with one of the prompts among the others: it must outlive the making of room.
        wide.text_states.clear()
        wide.text_states.update({f"{k}": state for k in range(kept - 1)} | {PROMPTS[0]: state})
        assert eight_bits(pixels(wide, PROMPTS, SEEDS)) == expected
        assert len(wide.text_states) <= TEXTS_KEPT


def test_prompts_and_seeds_of_unequal_number_are_refused(pipeline: TorchPipeline) -> None:
    for prompts, seeds in ((["AP view."], [1, 2]), (["AP view.", "PA view."], [1]), ([], [1])):
        with pytest.raises(BadInput, match=f"{len(prompts)} prompts and {len(seeds)} seeds are given"):
            pixels(pipeline, prompts, seeds)


@pytest.mark.parametrize("guidance", [float("nan"), float("inf"), float("-inf")])
def test_a_guidance_that_is_no_number_is_refused(pipeline: TorchPipeline, guidance: float) -> None:
    with pytest.raises(BadInput, match=f"guidance is {guidance}"):
        pixels(pipeline, ["AP view."], [1], guidance=guidance)


def test_provenance_names_the_threads_of_a_cpu(pipeline: TorchPipeline) -> None:
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            [image] = sample(pipeline, ["AP view."], [1], steps=1)
            assert image.provenance["network"] == f"cpu float32 sdpa, {threads} threads"
    finally:
        torch.set_num_threads(before)


def test_rows_that_pass_together_change_no_eighth_bit(pipeline: TorchPipeline) -> None:
    alone, wide = (dataclasses.replace(pipeline, rows=rows) for rows in (1, 4))
    for one, other in zip(*(pixels(each, PROMPTS, SEEDS) for each in (alone, wide)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_prompt_negative_guidance_and_seed_each_matter(pipeline: TorchPipeline) -> None:
    [base] = pixels(pipeline, ["AP view."], [1])
    for prompts, seeds, settings in (
        (["PA view."], [1], {}),
        (["AP view."], [2], {}),
        (["AP view."], [1], {"guidance": 7.0}),
        (["AP view."], [1], {"negative": "Pneumonia."}),
    ):
        assert not np.array_equal(pixels(pipeline, prompts, seeds, **settings)[0], base)
    assert np.array_equal(pixels(pipeline, ["AP view."], [1])[0], base)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers with NumPy 2
@pytest.mark.parametrize(
    "name",
    [
        "DDPMScheduler",
        "DPMSolverMultistepScheduler",
        "EDMEulerScheduler",  # it knows no alphas
        "EulerAncestralDiscreteScheduler",
        "EulerDiscreteScheduler",
    ],
)
def test_whatever_the_scheduler_an_image_is_decided_by_its_seed(
    toy_model: Path, pipeline: TorchPipeline, name: str
) -> None:
    import diffusers

    options = {"algorithm_type": "sde-dpmsolver++"} if name == "DPMSolverMultistepScheduler" else {}
    scheduler = getattr(diffusers, name)(prediction_type="v_prediction", **options)
    noisy = dataclasses.replace(pipeline, scheduler=scheduler)
    both = eight_bits(pixels(noisy, PROMPTS[:2], SEEDS[:2]))
    torch.rand(3)  # the global generator has no say
    assert eight_bits(pixels(noisy, PROMPTS[:1], SEEDS[:1])) == both[:1]
    assert eight_bits(pixels(noisy, PROMPTS[1:2], SEEDS[1:2])) == both[1:]


def test_images_of_any_possible_size_and_others_are_refused(pipeline: TorchPipeline) -> None:
    assert pixels(pipeline, ["AP view."], [0], size=48)[0].shape == (48, 48)
    for size in (30, 8, 12):
        with pytest.raises(BadInput, match=f"size {size} is not possible with this model; use a multiple of 4 pixels"):
            pixels(pipeline, ["AP view."], [0], size=size)


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_a_number_of_steps_that_the_scheduler_has_not_is_refused(pipeline: TorchPipeline, steps: int) -> None:
    with pytest.raises(BadInput, match=f"steps is {steps}; use 1 to 1000"):
        next(sample(pipeline, ["AP view."], [0], steps=steps))


def test_provenance_says_synthetic_and_all_that_decided_the_image(pipeline: TorchPipeline, tmp_path: Path) -> None:
    [image] = sample(pipeline, ["AP view."], [12], steps=2, guidance=2.5, negative="Pneumonia.")
    told = image.provenance
    assert told["synthetic"] == "yes"
    assert told["prompt"] == "AP view."
    assert told["negative_prompt"] == "Pneumonia."
    assert told["image_seed"] == "12"
    assert told["model_hash"] == pipeline.fingerprint
    assert told["sampler"] == "DDIMScheduler"
    assert (told["steps"], told["guidance"]) == ("2", "2.5")
    write_png(tmp_path / "a.png", image)
    back = read_radiograph(tmp_path / "a.png")
    assert told.items() <= dict(back.provenance).items()
    np.testing.assert_allclose(back.pixels, image.pixels, atol=0.5 / 255 + 1e-6)


def test_steps_are_told_with_the_number_of_images_that_took_them(pipeline: TorchPipeline) -> None:
    told: list[int] = []
    list(sample(dataclasses.replace(pipeline, rows=2), PROMPTS[:3], SEEDS[:3], steps=2, on_step=told.append))
    assert told == [2, 2, 1, 1]


def test_how_it_runs_is_said_in_one_line(pipeline: TorchPipeline) -> None:
    line = describe(pipeline)
    assert re.fullmatch(r"model toy \([0-9a-f]{16}\), device cpu \(\d+ threads\), float32, attention sdpa", line)


def test_a_prompt_beyond_the_encoders_positions_is_cut_and_not_an_error(broken_model: Path) -> None:
    path = broken_model / "tokenizer" / "tokenizer_config.json"
    config = json.loads(path.read_text())
    del config["model_max_length"]  # then transformers takes 10**30
    path.write_text(json.dumps(config))
    long = load_pipeline(broken_model, device="cpu", dtype="float32")
    assert long.tokenizer.model_max_length == 77
    assert pixels(long, ["pneumonia " * 200], [0])[0].shape == (32, 32)


def test_the_encoder_reads_as_many_tokens_as_the_warning_counts(broken_model: Path) -> None:
    for part, name, key in (
        ("tokenizer", "tokenizer_config.json", "model_max_length"),
        ("text_encoder", "config.json", "max_position_embeddings"),
    ):
        path = broken_model / part / name
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: 248}))
    file = broken_model / "text_encoder" / "model.safetensors"
    tensors = load_file(file)
    [positions] = [key for key in tensors if key.endswith("position_embedding.weight")]
    tensors[positions] = tensors[positions].repeat(4, 1)[:248].contiguous()
    tensors = {key: value for key, value in tensors.items() if not key.endswith("position_ids")}
    save_file(tensors, file, {"format": "pt"})
    long = load_pipeline(broken_model, device="cpu", dtype="float32")
    assert long.tokenizer.model_max_length == token_counter(broken_model / "tokenizer")[1] == 248
    one, other = (pixels(long, ["pneumonia " * 100 + last], [0])[0] for last in ("", "Cardiomegaly."))
    assert not np.array_equal(one, other)


def test_loading_and_saving_say_nothing_and_leave_the_libraries_as_they_were(
    toy_denoiser: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
) -> None:
    import diffusers
    import transformers

    loggers = diffusers.logging, transformers.logging
    before = [(each.get_verbosity(), each.is_progress_bar_enabled()) for each in loggers]
    folder = toy_denoiser / "checkpoints" / "images-000000096" / "model"
    loaded = load_pipeline(
        folder, device="cpu", dtype="float32"
    )  # with an AutoencoderTiny, of which diffusers has much to say
    denoiser = Denoiser(loaded.unet, loaded.text_encoder)
    write_model_folder(tmp_path, denoiser, Fixtures(loaded.vae, loaded.tokenizer, loaded.scheduler, {}))
    list(sample(loaded, ["AP view."], [0], steps=2))
    written = capfd.readouterr()
    assert (written.out, written.err) == ("", "")
    assert caplog.messages == []
    assert [str(warning.message) for warning in recwarn] == []
    assert [(each.get_verbosity(), each.is_progress_bar_enabled()) for each in loggers] == before


def test_radiographs_lie_between_black_and_white(pipeline: TorchPipeline) -> None:
    for image in sample(pipeline, PROMPTS, SEEDS, steps=2, guidance=20.0):
        assert isinstance(image, Radiograph)
        assert image.pixels.dtype == np.float32
        assert image.pixels.min() >= 0
        assert image.pixels.max() <= 1


def test_guidance_acts_inside_its_interval_only(pipeline: TorchPipeline) -> None:
    def picture(**settings: object) -> np.ndarray:
        return pixels(pipeline, PROMPTS[:1], [11], **settings)[0]

    plain, everywhere = picture(guidance=1.0), picture(guidance=3.0)
    assert np.array_equal(picture(guidance=3.0, guidance_interval=(0.0, math.inf)), everywhere)
    assert np.array_equal(picture(guidance=3.0, guidance_interval=(1e6, 2e6)), plain)
    some = picture(guidance=3.0, guidance_interval=(0.0, 5.0))
    assert not np.array_equal(some, plain)
    assert not np.array_equal(some, everywhere)
    # A model may name its own.
    tuned = dataclasses.replace(pipeline, capabilities={"guidance_interval": [0.0, 5.0]})
    assert np.array_equal(pixels(tuned, PROMPTS[:1], [11], guidance=3.0)[0], some)
    with pytest.raises(BadInput, match="guidance_interval"):
        picture(guidance_interval=(5.0, 1.0))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers with NumPy 2
@pytest.mark.parametrize("name", ["DPMSolverMultistepScheduler", "EulerAncestralDiscreteScheduler"])
def test_all_bits_of_a_seed_decide_the_noise_of_the_steps(
    pipeline: TorchPipeline, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    import diffusers

    from gen.model.sampling import torch_backend as module

    options = {"algorithm_type": "sde-dpmsolver++"} if name == "DPMSolverMultistepScheduler" else {}
    solver = getattr(diffusers, name).from_config(pipeline.scheduler.config, **options)
    tuned = dataclasses.replace(pipeline, scheduler=solver)
    # The initial noise is made the same for both, so that only the steps can tell them apart.
    drawn = module.standard_normal
    monkeypatch.setattr(module, "standard_normal", lambda shape, seed: drawn(shape, 5 if seed == 5 + 2**32 else seed))
    one, other = pixels(tuned, PROMPTS[:1] * 2, [5, 5 + 2**32])
    assert not np.array_equal(one, other)
    assert np.array_equal(pixels(tuned, PROMPTS[:1], [5 + 2**32])[0], other)


def test_a_model_that_learnt_looks_is_asked_for_one(pipeline: TorchPipeline) -> None:
    styled = dataclasses.replace(pipeline, capabilities={"style": ["source toy", "high sharpness"]}, text_states={})
    [image] = sample(styled, PROMPTS[:1], [3], steps=2)
    assert image.provenance["prompt"] == PROMPTS[0]
    assert image.provenance["style"] == "source toy, high sharpness"
    assert f"{PROMPTS[0]} Source toy, high sharpness." in styled.text_states
    assert "" in styled.text_states, "what guidance leads away from has no look"


def test_a_decoder_gets_the_noise_that_it_draws_from_and_each_image_its_own(pipeline: TorchPipeline) -> None:
    sizes = [0.0, 0.5, 0.0, 0.25]
    told = dataclasses.replace(pipeline, capabilities={"decoder_noise": sizes})
    prompts, decoded = PROMPTS[:1] * 3, []
    whole = pipeline.vae.decode

    def decode(latents: torch.Tensor) -> object:
        decoded.append(latents * pipeline.vae.config.scaling_factor)
        return whole(latents)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.vae, "decode", decode)
        for each in (pipeline, told):
            pixels(each, prompts, [3, 3, 4])
    plain, noisy = torch.cat(decoded[:3]), torch.cat(decoded[3:])
    added = [decoder_noise(told.capabilities, tuple(plain.shape[1:]), seed) for seed in (3, 3, 4)]
    torch.testing.assert_close(noisy - plain, torch.from_numpy(np.stack(added)), atol=1e-5, rtol=0)
    assert not np.array_equal(added[0], added[2])
    spread = decoder_noise(told.capabilities, (4, 64, 64), 3).std((1, 2))
    np.testing.assert_allclose(spread, sizes, rtol=0.05)


def test_the_seed_of_an_image_draws_its_look_where_the_model_leaves_a_choice(pipeline: TorchPipeline) -> None:
    style = ["high sharpness", ["low contrast", "high contrast"]]
    styled = dataclasses.replace(pipeline, capabilities={"style": style}, text_states={})
    seeds = list(range(8))
    images = list(sample(styled, PROMPTS[:1] * 8, seeds, steps=1))
    looks = [image.provenance["style"] for image in images]
    assert set(looks) == {"high sharpness, low contrast", "high sharpness, high contrast"}
    [again] = sample(styled, PROMPTS[:1], [seeds[5]], steps=1)
    assert again.provenance["style"] == looks[5]
    assert np.array_equal(again.pixels, images[5].pixels)
    fixed = dataclasses.replace(pipeline, capabilities={"style": looks[5].split(", ")}, text_states={})
    [same] = sample(fixed, PROMPTS[:1], [seeds[5]], steps=1)
    assert np.array_equal(same.pixels, again.pixels), "the words reach the network, and nothing else does"
