"""Sampling by torch: the parts of a stock folder, from noise to pixels. Latents and scheduler are float32."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gen.core.errors import BadInput
from gen.core.files import read_json
from gen.core.noise import standard_normal
from gen.core.radiograph import Radiograph
from gen.core.run import derived_seed
from gen.language.tokens import token_limit
from gen.model.capabilities import read_capabilities
from gen.model.device import describe_device, pick_attention, pick_device, pick_dtype, set_attention
from gen.model.folder import check_model_folder, load_autoencoder, model_hash
from gen.model.parts import load_part, load_tokenizer, load_weights, quiet
from gen.model.sampling.settings import Configs, Settings, decoder_noise
from gen.model.sampling.solver import sigma_of
from gen.model.sampling.start import cells_of, squares_of
from gen.model.scheduler import check_scheduler

if TYPE_CHECKING:
    import torch

TEXTS_KEPT = 256  # whose states are kept: a call has a few prompts, a dataset job as many as images


@dataclass(frozen=True)
class TorchPipeline:
    """A model loaded by torch; ``rows`` images pass through the network together, always."""

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
    def configs(self) -> Configs:
        return Configs(self.unet.config, self.vae.config, self.scheduler.config)

    @property
    def sampler(self) -> str:
        return type(self.scheduler).__name__

    @property
    def knows_sigmas(self) -> bool:
        return hasattr(self.scheduler, "alphas_cumprod")

    @property
    def where(self) -> str:
        return describe_device(self.device, self.dtype, self.attention)

    @property
    def network(self) -> str:
        import torch

        # Sums over several threads differ in their last bits, which now and then turns one of 8.
        threads = f", {torch.get_num_threads()} threads" if self.device.type == "cpu" else ""
        return f"{self.device.type} {str(self.dtype).removeprefix('torch.')} {self.attention}{threads}"

    @property
    def software(self) -> str:
        import torch

        return f"torch {torch.__version__}"

    def sigma_from(self, how: Settings) -> float:
        with quiet():
            scheduler = type(self.scheduler).from_config(self.scheduler.config)
            scheduler.set_timesteps(how.steps)
        return sigma_of(scheduler, scheduler.timesteps[how.skipped * getattr(scheduler, "order", 1)])

    def run(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        init: Sequence[Radiograph],
        held: Sequence[np.ndarray],
        how: Settings,
        on_step: Callable[[], object],
    ) -> list[np.ndarray]:
        import torch

        latents = sample_latents(self, prompts, seeds, init, how, on_step, held)
        noise = [decoder_noise(self.capabilities, tuple(latents.shape[1:]), seed) for seed in seeds]
        with torch.inference_mode():
            latents = latents + torch.from_numpy(np.stack(noise)).to(latents)
            images = self.vae.decode(latents / self.vae.config.scaling_factor).sample
        # A grey image in three channels (Stable Diffusion's own autoencoder) is their mean. Overflow is no white.
        images = images.float().masked_fill(images.isinf(), torch.nan).clamp(-1, 1)
        return list((images.mean(1).cpu().numpy() + 1) / 2)


@quiet()
def load_torch(folder: Path, *, device: str = "auto", dtype: str = "auto", attention: str = "auto") -> TorchPipeline:
    """Load a stock text-to-image folder (Stable Diffusion 1.x and 2.x layouts; epsilon and v-prediction).

    Raises BadInput, naming the culprit, for a folder that is not whole, holds pickles only, or is another kind of
    model; EnvironmentLacks for a device or an attention that is not there.
    """
    import torch

    check_model_folder(folder)
    place = pick_device(device)
    number = pick_dtype(dtype, place)
    kernel = pick_attention(attention, place, number)
    scheduler = load_scheduler(folder / "scheduler")  # first: it costs nothing, and may be refused
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
    return TorchPipeline(
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


def sample_latents(
    pipeline: TorchPipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    init: Sequence[Radiograph],
    how: Settings,
    on_step: Callable[[], object] = lambda: None,
    held: Sequence[np.ndarray] = (),
) -> torch.Tensor:
    """One batch from noise to latents, float32 (N, C, h, w) in diffusion range; arguments as of `Pipeline.run`."""
    import torch

    unet = pipeline.unet
    with quiet():
        scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)  # it holds state while it samples
        scheduler.set_timesteps(how.steps, device=pipeline.device)
    side = (how.size or pipeline.configs.size) // pipeline.configs.factor
    shape = (unet.config.in_channels, side, side)
    noise = _noise(shape, seeds).to(pipeline.device)
    skipped = how.skipped if init else 0
    # Some solvers take several passes for a step, and some start over when they do not know where they stand.
    order = getattr(scheduler, "order", 1)
    timesteps = scheduler.timesteps[skipped * order :]
    if init:
        begun = _encode(pipeline, squares_of(init, side * pipeline.configs.factor))
        latents = scheduler.add_noise(begun, noise, timesteps[:1])
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(skipped * order)
    else:
        latents = noise * scheduler.init_noise_sigma
    states = _text_states(pipeline, prompts)
    if how.guidance != 1:
        both = torch.cat([_text_states(pipeline, [how.negative] * len(prompts)), states])
    # Schedulers that add noise as they go take it from us, or a generator. That keeps the low half of its seed only,
    # so it gets one that all bits of ours decide.
    taken = inspect.signature(scheduler.step).parameters
    extra: dict[str, Any] = {}
    if "variance_noise" not in taken and "generator" in taken:
        extra["generator"] = [torch.Generator().manual_seed(derived_seed(seed, "steps")) for seed in seeds]
    fixed = torch.from_numpy(cells_of(held, side)).to(pipeline.device) if held else None
    holding = how.holding * order  # the pass that takes leave of it
    with torch.inference_mode():
        for step, timestep in enumerate(timesteps):
            if fixed is not None and 0 < step <= holding:
                latents = torch.where(fixed, scheduler.add_noise(begun, noise, timestep[None]), latents)
            if "variance_noise" in taken:
                fresh = _noise(shape, [derived_seed(seed, f"step {step}") for seed in seeds])
                extra["variance_noise"] = fresh.to(pipeline.device)
            guided = how.guides(sigma_of(scheduler, timestep))
            given = scheduler.scale_model_input(torch.cat([latents, latents]) if guided else latents, timestep)
            predicted = unet(given.to(pipeline.dtype), timestep, both if guided else states).sample.float()
            if guided:
                without, with_text = predicted.chunk(2)
                predicted = without + how.guidance * (with_text - without)
            latents = scheduler.step(predicted, timestep, latents, **extra).prev_sample
            on_step()
    if fixed is not None and holding >= len(timesteps):
        latents = torch.where(fixed, begun, latents)
    return latents


def encoded(vae: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Latents (N, C, h, w), their mean where they are drawn, of ``pixels`` (N, channels, H, W) in [-1, 1]."""
    found = vae.encode(pixels)
    latents: torch.Tensor = found.latents if hasattr(found, "latents") else found.latent_dist.mean
    return latents


def _encode(pipeline: TorchPipeline, squares: np.ndarray) -> torch.Tensor:
    """Latents (N, C, h, w) in diffusion range of ``squares``, float32 (N, 1, side, side) in [-1, 1]."""
    import torch

    vae, inputs = pipeline.vae, torch.from_numpy(squares).to(pipeline.device)
    with torch.inference_mode():
        return encoded(vae, inputs.expand(-1, vae.config.in_channels, -1, -1)) * vae.config.scaling_factor


def _noise(shape: tuple[int, ...], seeds: Sequence[int]) -> torch.Tensor:
    """Standard normal noise (N, *shape), row i decided by ``seeds[i]`` alone, on the CPU."""
    import torch

    return torch.from_numpy(np.stack([standard_normal(shape, seed) for seed in seeds]))


def _text_states(pipeline: TorchPipeline, prompts: Sequence[str]) -> torch.Tensor:
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


def load_scheduler(part: Path) -> Any:
    """The scheduler in ``part``; BadInput for one that cannot be sampled with."""
    name = check_scheduler(part)["_class_name"]
    return load_part(getattr(importlib.import_module("diffusers.schedulers"), name), part)
