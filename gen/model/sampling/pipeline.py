"""Sampling: any stock Stable Diffusion folder in, radiographs out, image k decided by its own seed alone.

The network always runs in the same shape (a short batch is filled up), so that an image does not depend on the batch
it was made in; noise comes from `gen.core.noise`, so that every device and back end starts from the same.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gen import __version__
from gen.core.errors import BadInput, EnvironmentLacks, GenError
from gen.core.radiograph import Radiograph
from gen.core.terms import require_choice
from gen.language.render import draw_style, with_style
from gen.model import BACKENDS
from gen.model.capabilities import sampling_defaults, style_of
from gen.model.sampling.settings import Configs, Settings, check_settings
from gen.model.sampling.variation import vary

FLAT = 1e-3  # standard deviation of a whole image, in [0, 1], below which nothing was painted


class Pipeline(Protocol):
    """A loaded model, whatever runs it; ``rows`` images pass through the network together, always."""

    @property
    def rows(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str:
        """Hash of weights and configs."""

    @property
    def capabilities(self) -> Mapping[str, Any] | None: ...
    @property
    def configs(self) -> Configs: ...
    @property
    def sampler(self) -> str:
        """The class of its scheduler."""

    @property
    def knows_sigmas(self) -> bool:
        """Whether the scheduler tells how noisy a step is, which a guidance interval asks."""

    @property
    def where(self) -> str:
        """Device, number format and attention, as a user reads them."""

    @property
    def network(self) -> str:
        """The same as provenance has it."""

    @property
    def software(self) -> str:
        """Library and version that runs the network."""

    def sigma_from(self, how: Settings) -> float:
        """Noise over signal where sampling from an image begins; NaN if unknown."""

    def run(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        init: Sequence[Radiograph],
        held: Sequence[np.ndarray],
        how: Settings,
        on_step: Callable[[], object],
    ) -> Sequence[np.ndarray | Exception]:
        """Images of ``rows`` prompts, each float32 (side, side) in [0, 1], or NaN, or why it alone could not be made.

        ``on_step`` is called after each pass, perhaps from another thread. What fails all of them is raised.
        """


def load_pipeline(
    folder: str | Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    attention: str = "auto",
    backend: str = "torch",
    log: Callable[[str], object] = lambda text: None,
) -> Pipeline:
    """Load a stock text-to-image folder (Stable Diffusion 1.x and 2.x layouts; epsilon and v-prediction).

    ``backend``: "torch", "openvino" (CPU only; nothing of torch is imported once the model was converted), or "auto",
    openvino where it is installed and can do what is asked; ``log`` is told of the conversion.
    Raises BadInput, naming the culprit, for a folder that is not whole, holds pickles only, or is another kind of
    model; EnvironmentLacks for a device, an attention or a back end that is not there.
    """
    if pick_backend(folder, backend, device=device, dtype=dtype, attention=attention) == "openvino":
        from gen.model.sampling.openvino_backend import load_openvino

        return load_openvino(Path(folder), dtype=dtype, log=log)
    from gen.model.sampling.torch_backend import load_torch

    return load_torch(Path(folder), device=device, dtype=dtype, attention=attention)


def pick_backend(
    folder: str | Path, backend: str, *, device: str = "auto", dtype: str = "auto", attention: str = "auto"
) -> str:
    """ "torch" or "openvino": what `load_pipeline` would load the model of ``folder`` by. Raises as it does."""
    require_choice("backend", backend, BACKENDS)
    if backend == "torch":
        return "torch"
    from gen.model.sampling.openvino_backend import why_not

    reason = why_not(Path(folder), device=device, dtype=dtype, attention=attention)
    if reason is not None and backend == "openvino":
        raise EnvironmentLacks(f"OpenVINO cannot run this: {reason}", hint="use --backend torch")
    return "torch" if reason else "openvino"


def describe(pipeline: Pipeline) -> str:
    """One line on where and how the model runs."""
    return f"model {pipeline.name} ({pipeline.fingerprint}), {pipeline.where}"


def sample(
    pipeline: Pipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    init: Sequence[Radiograph] = (),
    held: Sequence[np.ndarray] = (),
    on_step: Callable[[int], object] = lambda images: None,
    **settings: Any,
) -> Iterator[Radiograph]:
    """Yield radiographs (size, size) for ``prompts`` and ``seeds``, one each, in order, as they are finished.

    ``settings`` are the fields of `Settings`; steps and guidance that are not given are the model's. With ``init``, one
    radiograph a prompt, sampling starts from these images and as much noise as ``strength`` says (Meng et al. 2022,
    SDEdit, arXiv:2108.01073). Where ``held``, a mask bool (H, W) of each of them, is true, as ``held_strength`` says
    (Levin and Fried 2023, arXiv:2306.00950).
    ``on_step`` is called with the number of images after each network step, one call at a time; OpenVINO makes images
    on threads of its own and calls it from one of these.
    Raises BadInput for a size or a number of steps that the model cannot make, a guidance that is no number, and
    prompts, seeds and images of unequal number; GenError for an image that came out broken.
    """
    for image in sample_each(pipeline, prompts, seeds, init=init, held=held, on_step=on_step, **settings):
        if isinstance(image, GenError):
            raise image.__cause__ or image
        yield image


def sample_each(
    pipeline: Pipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    init: Sequence[Radiograph] = (),
    held: Sequence[np.ndarray] = (),
    on_step: Callable[[int], object] = lambda images: None,
    **settings: Any,
) -> Iterator[Radiograph | GenError]:
    """As `sample`, but an image that came out broken is a GenError in its place, and the others go on.

    So is one that failed alone, and every image of a batch that failed as a whole, such as by memory that ran out.
    """
    how, style = Settings(**{**sampling_defaults(pipeline.capabilities), **settings}), style_of(pipeline.capabilities)
    how = replace(how, held_strength=min(how.held_strength, how.strength))
    if len(prompts) != len(seeds):
        raise BadInput(f"{len(prompts)} prompts and {len(seeds)} seeds are given", hint="give one seed a prompt")
    if init and len(init) != len(prompts):
        raise BadInput(f"{len(prompts)} prompts and {len(init)} images to start from are given", hint="give one each")
    if init and not (0 < how.strength <= 1 and round(how.steps * how.strength)):
        raise BadInput(f"strength is {how.strength}", hint="use a number above 0, at most 1; 0.5 is usual")
    if held and [mask.shape for mask in held] != [image.pixels.shape for image in init]:
        raise BadInput("what is held are masks of the images to start from", hint="give one of its shape each")
    if not math.isfinite(how.guidance):
        raise BadInput(f"guidance is {how.guidance}", hint="use a number such as 1.5; 1 is no guidance")
    check_settings(pipeline.configs, how.size, how.steps)
    if how.guidance_interval is None:
        told = (pipeline.capabilities or {}).get("guidance_interval")
        how = replace(how, guidance_interval=tuple(told) if told else None)
    if how.guidance_interval and not 0 <= how.guidance_interval[0] < how.guidance_interval[1]:
        raise BadInput(f"guidance_interval is {how.guidance_interval}", hint="give two sigmas, such as 0.3 and 6")
    if how.guidance_interval and not pipeline.knows_sigmas:
        raise BadInput(f"guidance_interval is not possible with {pipeline.sampler}", hint="leave it out")
    for start in range(0, len(prompts), pipeline.rows):
        wanted = slice(start, start + pipeline.rows)
        texts, numbers = list(prompts[wanted]), list(seeds[wanted])
        images, masks = list(init[wanted]), list(held[wanted])
        missing = pipeline.rows - len(texts)
        given = texts + texts[-1:] * missing, numbers + numbers[-1:] * missing
        filled = (
            [with_style(text, draw_style(style, seed)) for text, seed in zip(*given, strict=True)],
            given[1],
            images + images[-1:] * missing,
            masks + masks[-1:] * missing,
        )
        try:
            pixels = pipeline.run(*filled, how, lambda: on_step(len(texts)))  # noqa: B023  # called at once
        except Exception as error:  # torch and its back ends have no class of their own for what they meet
            yield from (_failed(text, number, error) for text, number in zip(texts, numbers, strict=True))
            continue
        for row, (text, number, image) in enumerate(zip(texts, numbers, pixels, strict=False)):
            if isinstance(image, Exception):
                yield _failed(text, number, image)
                continue
            finite = bool(np.isfinite(image).all())
            if finite and image.std() >= FLAT:
                begun = _origin(pipeline, images[row], how, masks=bool(masks)) if images else {}
                made = Radiograph(image, None, {**_provenance(pipeline, text, number, how), **begun})
                yield vary(made, number) if how.vary else made
            else:
                yield GenError(
                    f"the image of seed {number} for {text[:80]!r} came out {'flat' if finite else 'not finite'}",
                    hint="try --dtype float32, or lower --guidance; if all are, the model is damaged",
                )


def _failed(text: str, number: int, error: Exception) -> GenError:
    if isinstance(error, GenError):
        return error
    reason = " ".join(str(error).split())[:200]
    failure = GenError(f"the image of seed {number} for {text[:80]!r} failed: {type(error).__name__}: {reason}")
    failure.__cause__ = error
    return failure


def _origin(pipeline: Pipeline, image: Radiograph, how: Settings, *, masks: bool) -> dict[str, str]:
    """What an image that sampling started from leaves in the provenance: whether it is synthetic, and a digest."""
    digest = hashlib.sha256(np.ascontiguousarray(image.pixels).tobytes()).hexdigest()
    sigma = pipeline.sigma_from(how)
    return {
        "strength": f"{how.strength:g}",
        **({} if math.isnan(sigma) else {"sigma": f"{sigma:.4g}"}),
        **({"held_strength": f"{how.held_strength:g}"} if masks else {}),
        "init_sha256": digest,
        "init_synthetic": image.provenance.get("synthetic", "unknown"),
    }


def _provenance(pipeline: Pipeline, prompt: str, seed: int, how: Settings) -> dict[str, str]:
    style = draw_style(style_of(pipeline.capabilities), seed)
    interval = {"guidance_interval": "{:g} {:g}".format(*how.guidance_interval)} if how.guidance_interval else {}
    return {
        "synthetic": "yes",
        "notice": "synthetic image made by a generative model; not for clinical use",
        "prompt": prompt,
        "negative_prompt": how.negative,
        **({"style": ", ".join(style)} if style else {}),
        "image_seed": str(seed),
        "model": pipeline.name,
        "model_hash": pipeline.fingerprint,
        "sampler": pipeline.sampler,
        "steps": str(how.steps),
        "guidance": f"{how.guidance:g}",
        **interval,
        "network": pipeline.network,
        "software": f"cxr-gen {__version__}, {pipeline.software}, python {sys.version.split()[0]}",
    }
