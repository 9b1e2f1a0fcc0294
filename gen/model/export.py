"""Writing a model folder: stock parts in safetensors, and capabilities.json that says what the model was shown."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen.core.files import write_json
from gen.language.study import Study
from gen.model.folder import CAPABILITIES, read_json
from gen.model.parts import quiet
from gen.model.tokenizer import save_for_older_readers

if TYPE_CHECKING:
    import torch

    from gen.model.denoiser import Denoiser


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


def capabilities_of(studies: Iterable[Study], canonical: bool, unread: int = 0) -> dict[str, Any]:
    """What a model trained on ``studies`` was shown: each value with its number of images; keys as in DESIGN nouns.

    ``canonical`` says that the captions were in the canonical language, so that prompts should be rendered to it;
    ``unread`` is the number of further images, whose captions no Study could be read from.
    """
    studies = list(studies)
    found = [finding for study in studies for finding in study.findings.values()]
    ages = [study.age for study in studies if study.age is not None]
    return {
        "canonical_language": canonical,
        "images": len(studies) + unread,
        "unread": unread,
        "findings": _counts(n for study in studies for n, f in study.findings.items() if f.state == "present"),
        "absent": _counts(n for study in studies for n, f in study.findings.items() if f.state == "absent"),
        "uncertain": _counts(n for study in studies for n, f in study.findings.items() if f.state == "uncertain"),
        "sides": _counts(finding.side for finding in found),
        "severities": _counts(finding.severity for finding in found),
        "zones": _counts(finding.zone for finding in found),
        "views": _counts(study.view for study in studies),
        "positions": _counts(study.position for study in studies),
        "sexes": _counts(study.sex for study in studies),
        "races": _counts(study.race for study in studies),
        "devices": _counts(device for study in studies for device in study.devices),
        "children": sum(study.is_child for study in studies),
        "ages": len(ages),
        "age_range": [min(ages), max(ages)] if ages else None,
    }


def _counts(values: Iterable[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(value for value in values if value is not None).items()))
