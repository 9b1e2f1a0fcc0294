"""Sampling: any stock Stable Diffusion folder in, radiographs out, image k decided by its own seed alone.

The network always runs in the same shape (a short batch is filled up), so that an image does not depend on the batch
it was made in; noise is drawn on the CPU, so that every device starts from the same. Latents and scheduler are float32.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gen import __version__
from gen.core.errors import BadInput, GenError
from gen.core.files import read_json
from gen.core.noise import standard_normal
from gen.core.radiograph import Radiograph, pad_to_square, resize
from gen.core.run import derived_seed
from gen.language.render import with_style
from gen.language.tokens import token_limit
from gen.model import DEFAULT_GUIDANCE, DEFAULT_STEPS, DEFAULT_STRENGTH
from gen.model.capabilities import read_capabilities
from gen.model.device import describe_device, pick_attention, pick_device, pick_dtype, set_attention
from gen.model.folder import check_model_folder, load_autoencoder, model_hash
from gen.model.parts import load_part, load_tokenizer, load_weights, quiet
from gen.model.scheduler import check_scheduler

if TYPE_CHECKING:
    import torch


TEXTS_KEPT = 256  # whose states are kept: a call has a few prompts, a dataset job as many as images
FLAT = 1e-3  # standard deviation of a whole image, in [0, 1], below which nothing was painted


@dataclass(frozen=True)
class Pipeline:
    """A loaded model; ``rows`` images pass through the network together, always."""

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any
    device: torch.device
    dtype: torch.dtype
    attention: str
    rows: int
    fingerprint: str  # hash of weights and configs
    capabilities: Mapping[str, Any] | None = None
    name: str = ""
    text_states: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)  # by prompt, filled as they come

    @property
    def style(self) -> tuple[str, ...]:
        """Words on the look of an image that follow every prompt, where the model learnt such words."""
        return tuple((self.capabilities or {}).get("style", ()))

    @property
    def size(self) -> int:
        """Pixels a side that the model was trained at."""
        return int(self.unet.config.sample_size) * self.factor

    @property
    def factor(self) -> int:
        """Pixels a side that one latent stands for."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))


@quiet()
def load_pipeline(
    folder: str | Path, *, device: str = "auto", dtype: str = "auto", attention: str = "auto"
) -> Pipeline:
    """Load a stock text-to-image folder (Stable Diffusion 1.x and 2.x layouts; epsilon and v-prediction).

    Raises BadInput, naming the culprit, for a folder that is not whole, holds pickles only, or is another kind of
    model; EnvironmentLacks for a device or an attention that is not there.
    """
    import torch

    folder = Path(folder)
    check_model_folder(folder)
    place = pick_device(device)
    number = pick_dtype(dtype, place)
    kernel = pick_attention(attention, place, number)
    scheduler = _load_scheduler(folder / "scheduler")  # first: it costs nothing, and may be refused
    unet, text_encoder = _load_unet(folder / "unet"), _load_text_encoder(folder / "text_encoder")
    vae = load_autoencoder(folder)
    if unet.config.in_channels != vae.config.latent_channels:
        raise BadInput(
            f"{folder / 'unet'} takes {unet.config.in_channels} channels and the autoencoder has "
            f"{vae.config.latent_channels}: this is no text-to-image model",
            hint="inpainting and other special models are not supported",
        )
    tokenizer = load_tokenizer(folder / "tokenizer")
    tokenizer.model_max_length = token_limit(folder / "tokenizer")
    if len(tokenizer) > text_encoder.config.vocab_size:
        raise BadInput(
            f"{folder}: the tokenizer knows {len(tokenizer)} tokens, the text encoder {text_encoder.config.vocab_size}",
            hint="copy the model again, whole",
        )
    set_attention(unet, kernel)
    for part in (unet, text_encoder, vae):
        part.requires_grad_(False).eval()
    # The decoder stays in float32: in half precision it may overflow to black.
    return Pipeline(
        unet=unet.to(place, number),
        vae=vae.to(place, torch.float32),
        text_encoder=text_encoder.to(place, torch.float32),
        tokenizer=tokenizer,
        scheduler=scheduler,
        device=place,
        dtype=number,
        attention=kernel,
        rows=8 if place.type == "cuda" else 1,
        fingerprint=model_hash(folder),
        capabilities=read_capabilities(folder),
        name=folder.resolve().name,
    )


def describe(pipeline: Pipeline) -> str:
    """One line on where and how the model runs."""
    where = describe_device(pipeline.device, pipeline.dtype, pipeline.attention)
    return f"model {pipeline.name} ({pipeline.fingerprint}), {where}"


@dataclass(frozen=True)
class Settings:
    """How the network is run; names as in diffusers' pipelines."""

    steps: int = DEFAULT_STEPS
    guidance: float = DEFAULT_GUIDANCE  # 1: none (Ho and Salimans 2022, arXiv:2207.12598)
    # Sigmas (noise over signal), least and most, between which guidance acts (Kynkäänniemi et al. 2024,
    # arXiv:2404.07724); None: those of the model's capabilities, where it names them, or all.
    guidance_interval: tuple[float, float] | None = None
    negative: str = ""
    size: int | None = None  # pixels; None: what the model was trained at
    strength: float = DEFAULT_STRENGTH  # with ``init``: the share of the steps that are taken, 0 to 1


def sample(
    pipeline: Pipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    init: Sequence[Radiograph] = (),
    on_step: Callable[[int], object] = lambda images: None,
    **settings: Any,
) -> Iterator[Radiograph]:
    """Yield radiographs (size, size) for ``prompts`` and ``seeds``, one each, in order, as they are finished.

    ``settings`` are the fields of `Settings`. With ``init``, one radiograph a prompt, sampling starts from these
    images and as much noise as ``strength`` says (Meng et al. 2022, SDEdit, arXiv:2108.01073).
    ``on_step`` is called with the number of images after each network step.
    Raises BadInput for a size or a number of steps that the model cannot make, a guidance that is no number, and
    prompts, seeds and images of unequal number; GenError for an image that came out broken.
    """
    for image in sample_each(pipeline, prompts, seeds, init=init, on_step=on_step, **settings):
        if isinstance(image, GenError):
            raise image.__cause__ or image
        yield image


def sample_each(
    pipeline: Pipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    init: Sequence[Radiograph] = (),
    on_step: Callable[[int], object] = lambda images: None,
    **settings: Any,
) -> Iterator[Radiograph | GenError]:
    """As `sample`, but an image that came out broken is a GenError in its place, and the others go on.

    So is every image of a batch in which something went wrong, such as memory that ran out.
    """
    how = Settings(**settings)
    if len(prompts) != len(seeds):
        raise BadInput(f"{len(prompts)} prompts and {len(seeds)} seeds are given", hint="give one seed a prompt")
    if init and len(init) != len(prompts):
        raise BadInput(f"{len(prompts)} prompts and {len(init)} images to start from are given", hint="give one each")
    if init and not (0 < how.strength <= 1 and round(how.steps * how.strength)):
        raise BadInput(f"strength is {how.strength}", hint="use a number above 0, at most 1; 0.5 is usual")
    if not math.isfinite(how.guidance):
        raise BadInput(f"guidance is {how.guidance}", hint="use a number such as 1.5; 1 is no guidance")
    check_settings(pipeline.unet.config, pipeline.vae.config, pipeline.scheduler.config, how.size, how.steps)
    if how.guidance_interval is None:
        told = (pipeline.capabilities or {}).get("guidance_interval")
        how = replace(how, guidance_interval=tuple(told) if told else None)
    if how.guidance_interval and not 0 <= how.guidance_interval[0] < how.guidance_interval[1]:
        raise BadInput(f"guidance_interval is {how.guidance_interval}", hint="give two sigmas, such as 0.3 and 6")
    if how.guidance_interval and not hasattr(pipeline.scheduler, "alphas_cumprod"):
        sampler = type(pipeline.scheduler).__name__
        raise BadInput(f"guidance_interval is not possible with {sampler}", hint="leave it out")
    for start in range(0, len(prompts), pipeline.rows):
        wanted = slice(start, start + pipeline.rows)
        texts, numbers, images = list(prompts[wanted]), list(seeds[wanted]), list(init[wanted])
        missing = pipeline.rows - len(texts)
        filled = (
            texts + texts[-1:] * missing,
            numbers + numbers[-1:] * missing,
            images + images[-1:] * missing,
        )
        try:
            pixels = _sample_rows(pipeline, *filled, how, lambda: on_step(len(texts)))  # noqa: B023
        except Exception as error:  # torch and its back ends have no class of their own for what they meet
            yield from (_failed(text, number, error) for text, number in zip(texts, numbers, strict=True))
            continue
        for row, (text, number, image) in enumerate(zip(texts, numbers, pixels, strict=False)):
            finite = bool(np.isfinite(image).all())
            if finite and image.std() >= FLAT:
                begun = _origin(images[row], how.strength) if images else {}
                yield Radiograph(image, None, {**_provenance(pipeline, text, number, how), **begun})
            else:
                yield GenError(
                    f"the image of seed {number} for {text[:80]!r} came out {'flat' if finite else 'not finite'}",
                    hint="try --dtype float32, or lower --guidance; if all are, the model is damaged",
                )


def check_settings(
    unet: Mapping[str, Any], vae: Mapping[str, Any], scheduler: Mapping[str, Any], size: int | None, steps: int
) -> None:
    """Raise BadInput for a size (None: the model's) or a number of steps that a model with these configs cannot make.

    The configs are those of its parts, in memory or as their JSON files have them.
    """
    factor = 2 ** (len(vae["block_out_channels"]) - 1)
    grid = factor * 2 ** (len(unet["block_out_channels"]) - 1)
    trained = int(unet["sample_size"]) * factor
    side = trained if size is None else size
    if side < 8 * factor or side % grid:
        raise BadInput(
            f"size {side} is not possible with this model",
            hint=f"use a multiple of {grid} pixels, {8 * factor} or more; it was trained at {trained}",
        )
    most = int(scheduler["num_train_timesteps"])
    if not 1 <= steps <= most:
        raise BadInput(f"steps is {steps}", hint=f"use 1 to {most}; 20 is usual")


def _failed(text: str, number: int, error: Exception) -> GenError:
    if isinstance(error, GenError):
        return error
    reason = " ".join(str(error).split())[:200]
    failure = GenError(f"the image of seed {number} for {text[:80]!r} failed: {type(error).__name__}: {reason}")
    failure.__cause__ = error
    return failure


def _sample_rows(
    pipeline: Pipeline,
    prompts: list[str],
    seeds: list[int],
    init: list[Radiograph],
    how: Settings,
    on_step: Callable[[], object],
) -> np.ndarray:
    """One fixed batch from noise to pixels, float32 (rows, side, side) in [0, 1], or NaN."""
    import torch

    unet, vae = pipeline.unet, pipeline.vae
    with quiet():
        scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)  # it holds state while it samples
        scheduler.set_timesteps(how.steps, device=pipeline.device)
    side = (how.size or pipeline.size) // pipeline.factor
    shape = (unet.config.in_channels, side, side)
    noise = _noise(shape, seeds).to(pipeline.device)
    skipped = how.steps - round(how.steps * how.strength) if init else 0
    # Some solvers take several passes for a step, and some start over when they do not know where they stand.
    timesteps = scheduler.timesteps[skipped * getattr(scheduler, "order", 1) :]
    if init:
        latents = scheduler.add_noise(_encode(pipeline, init, side * pipeline.factor), noise, timesteps[:1])
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(skipped * getattr(scheduler, "order", 1))
    else:
        latents = noise * scheduler.init_noise_sigma
    states = _text_states(pipeline, [with_style(prompt, pipeline.style) for prompt in prompts])
    everywhere = how.guidance_interval is None  # asked first: not every scheduler knows its sigmas
    least, most = how.guidance_interval or (0.0, math.inf)
    if how.guidance != 1:
        both = torch.cat([_text_states(pipeline, [how.negative] * len(prompts)), states])
    # Schedulers that add noise as they go take it from us, or a generator. That keeps the low half of its seed only,
    # so it gets one that all bits of ours decide.
    taken = inspect.signature(scheduler.step).parameters
    extra: dict[str, Any] = {}
    if "variance_noise" not in taken and "generator" in taken:
        extra["generator"] = [torch.Generator().manual_seed(derived_seed(seed, "steps")) for seed in seeds]
    with torch.inference_mode():
        for step, timestep in enumerate(timesteps):
            if "variance_noise" in taken:
                fresh = _noise(shape, [derived_seed(seed, f"step {step}") for seed in seeds])
                extra["variance_noise"] = fresh.to(pipeline.device)
            guided = how.guidance != 1 and (everywhere or least <= _sigma(scheduler, timestep) <= most)
            given = scheduler.scale_model_input(torch.cat([latents, latents]) if guided else latents, timestep)
            predicted = unet(given.to(pipeline.dtype), timestep, both if guided else states).sample.float()
            if guided:
                without, with_text = predicted.chunk(2)
                predicted = without + how.guidance * (with_text - without)
            latents = scheduler.step(predicted, timestep, latents, **extra).prev_sample
            on_step()
        images = vae.decode(latents / vae.config.scaling_factor).sample
    # A grey image in three channels (Stable Diffusion's own autoencoder) is their mean. What overflowed is no white.
    images = images.float().masked_fill(images.isinf(), torch.nan).clamp(-1, 1)
    return (images.mean(1).cpu().numpy() + 1) / 2


def _encode(pipeline: Pipeline, images: Sequence[Radiograph], side: int) -> torch.Tensor:
    """Latents (N, C, h, w) of ``images``, padded to squares and scaled to ``side`` pixels."""
    import torch

    squares = np.stack([resize(pad_to_square(image.pixels), side) for image in images])
    inputs = torch.from_numpy(squares).to(pipeline.device)[:, None] * 2 - 1
    with torch.inference_mode():
        encoded = pipeline.vae.encode(inputs.expand(-1, pipeline.vae.config.in_channels, -1, -1))
    mean: torch.Tensor = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mean
    return mean * pipeline.vae.config.scaling_factor


def _origin(image: Radiograph, strength: float) -> dict[str, str]:
    """What an image that sampling started from leaves in the provenance: whether it is synthetic, and a digest."""
    digest = hashlib.sha256(np.ascontiguousarray(image.pixels).tobytes()).hexdigest()
    return {
        "strength": f"{strength:g}",
        "init_sha256": digest,
        "init_synthetic": image.provenance.get("synthetic", "unknown"),
    }


def _sigma(scheduler: Any, timestep: Any) -> float:
    """Noise over signal at ``timestep``, whole or not."""
    alpha = float(scheduler.alphas_cumprod[round(float(timestep))])
    return math.sqrt((1 - alpha) / alpha) if alpha > 0 else math.inf


def _noise(shape: tuple[int, ...], seeds: Sequence[int]) -> torch.Tensor:
    """Standard normal noise (N, *shape), row i decided by ``seeds[i]`` alone, on the CPU."""
    import torch

    return torch.from_numpy(np.stack([standard_normal(shape, seed) for seed in seeds]))


def _text_states(pipeline: Pipeline, prompts: Sequence[str]) -> torch.Tensor:
    """Text states (N, T, D); each prompt is encoded once, alone, so that it never depends on its company."""
    import torch

    kept = pipeline.text_states
    states = {prompt: kept[prompt] for prompt in prompts if prompt in kept}
    for prompt in prompts:
        if prompt not in states:
            ids = pipeline.tokenizer(
                prompt,
                padding="max_length",
                truncation=True,
                max_length=pipeline.tokenizer.model_max_length,
                return_tensors="pt",
            ).input_ids
            with torch.inference_mode():
                state = pipeline.text_encoder(ids.to(pipeline.device))[0]
            states[prompt] = state.to(pipeline.dtype)
    if len(kept) + len(states) > TEXTS_KEPT:
        kept.clear()
    kept.update(states)
    return torch.cat([states[prompt] for prompt in prompts])


def _provenance(pipeline: Pipeline, prompt: str, seed: int, how: Settings) -> dict[str, str]:
    import torch

    # Sums over several threads differ in their last bits, which now and then turns one of 8.
    threads = f", {torch.get_num_threads()} threads" if pipeline.device.type == "cpu" else ""
    interval = {"guidance_interval": "{:g} {:g}".format(*how.guidance_interval)} if how.guidance_interval else {}
    network = f"{pipeline.device.type} {str(pipeline.dtype).removeprefix('torch.')} {pipeline.attention}{threads}"
    return {
        "synthetic": "yes",
        "notice": "synthetic image made by a generative model; not for clinical use",
        "prompt": prompt,
        "negative_prompt": how.negative,
        **({"style": ", ".join(pipeline.style)} if pipeline.style else {}),
        "image_seed": str(seed),
        "model": pipeline.name,
        "model_hash": pipeline.fingerprint,
        "sampler": type(pipeline.scheduler).__name__,
        "steps": str(how.steps),
        "guidance": f"{how.guidance:g}",
        **interval,
        "network": network,
        "software": f"cxr-gen {__version__}, torch {torch.__version__}, python {sys.version.split()[0]}",
    }


def _load_unet(part: Path) -> Any:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    name = read_json(part / "config.json").get("_class_name", "UNet2DConditionModel")
    if name != "UNet2DConditionModel":
        raise BadInput(f"{part} is a {name}, not a UNet2DConditionModel")
    return load_weights(UNet2DConditionModel, part)


def _load_text_encoder(part: Path) -> Any:
    from transformers.models.clip.modeling_clip import CLIPTextModel

    names = read_json(part / "config.json").get("architectures") or ["CLIPTextModel"]
    if "CLIPTextModel" not in names:
        raise BadInput(f"{part}: text encoder {names[0]!r} is not supported", hint="it must be CLIPTextModel")
    return load_weights(CLIPTextModel, part)


def _load_scheduler(part: Path) -> Any:
    name = check_scheduler(part)["_class_name"]
    return load_part(getattr(importlib.import_module("diffusers.schedulers"), name), part)
