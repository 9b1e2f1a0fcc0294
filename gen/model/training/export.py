"""Writing a model folder: stock parts in safetensors, and capabilities.json that says what the model was shown."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen.core.files import read_json, write_json
from gen.model.capabilities import CAPABILITIES
from gen.model.parts import quiet
from gen.model.training.tokenizer import save_for_older_readers

if TYPE_CHECKING:
    import torch

    from gen.model.training.denoiser_network import Denoiser


@dataclass(frozen=True)
class Fixtures:
    """The parts of a model folder that denoiser training does not change, and what the model is shown meanwhile."""

    vae: Any
    tokenizer: Any
    scheduler: Any
    capabilities: dict[str, Any]


@quiet()
def write_model_folder(folder: Path, denoiser: Denoiser, fixtures: Fixtures, dtype: torch.dtype | None = None) -> None:
    """Fill the existing ``folder`` so that the stock `StableDiffusionPipeline` opens it; weights in ``dtype`` if given.

    ``denoiser`` and ``fixtures`` stay as they are.
    """
    from diffusers import StableDiffusionPipeline

    parts = {"unet": denoiser.unet, "text_encoder": denoiser.text_encoder, "vae": fixtures.vae}
    if dtype is not None:
        parts = {name: copy.deepcopy(part).to(dtype) for name, part in parts.items()}
    pipeline = StableDiffusionPipeline(
        **parts,
        tokenizer=fixtures.tokenizer,
        scheduler=fixtures.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    for part in ("unet", "vae", "text_encoder"):
        config = read_json(folder / part / "config.json")
        config.pop(
            "_name_or_path", None
        )  # where it was loaded from, which is one machine's business and changes on resume
        if part == "text_encoder":
            # transformers loads it in the dtype of its config, diffusers the rest in float32: keep them equal.
            config["dtype"] = "float32"
        write_json(folder / part / "config.json", config)
    save_for_older_readers(folder / "tokenizer")
    write_json(folder / CAPABILITIES, fixtures.capabilities)
