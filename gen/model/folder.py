"""A model folder: stock diffusers and transformers parts in safetensors, and what the model has learnt.

Pickles are refused, a missing part is named, and ``capabilities.json`` says what may be asked of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gen.core.errors import BadInput
from gen.core.files import newest_verified, sha256_file
from gen.language.study import Study

INDEX, CAPABILITIES, CARD = "model_index.json", "capabilities.json", "README.md"
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
WEIGHTED = ("unet", "vae", "text_encoder")
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle")


def bundled_model() -> Path:
    """The folder of the model that travels with the package."""
    folders = sorted((Path(__file__).parent.parent / "bundled").glob(f"*/{INDEX}"))
    if not folders:
        raise BadInput("no bundled model in this installation", hint="name a model folder with --model")
    return folders[-1].parent


def check_model_folder(folder: Path) -> None:
    """Raise BadInput, naming the culprit, for a folder that is not a whole stock text-to-image folder in safetensors."""
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder", hint="a model is a folder in the layout of diffusers")
    if not (folder / INDEX).is_file():
        raise BadInput(f"{folder} holds no {INDEX}", hint="a model is a folder in the layout of diffusers")
    index = read_json(folder / INDEX)
    for part in PARTS:
        if part not in index or not (folder / part).is_dir():
            raise BadInput(f"{folder}: the part '{part}' is missing", hint="copy the model again, whole")
    for part in WEIGHTED:
        check_weights(folder / part)


def check_weights(part: Path) -> None:
    """Raise BadInput where ``part`` has no config.json or no safetensors, and name a pickle that stands there instead."""
    if not (part / "config.json").is_file():
        raise BadInput(f"{part} holds no config.json", hint="copy the model again, whole")
    if weight_file(part) is None:
        pickles = sorted(path.name for path in part.iterdir() if path.suffix in _PICKLES)
        if pickles:
            raise BadInput(
                f"{part / pickles[0]} is a pickle, which can run code when it is loaded, and there are no safetensors",
                hint="convert it with safetensors, or get the .safetensors of the same model",
            )
        raise BadInput(f"{part} holds no weights (*.safetensors)", hint="copy the model again, whole")


def weight_file(part: Path) -> Path | None:
    """The safetensors file (or the index of a sharded one) of a part; variants such as fp16 only where nothing else is."""
    for stem in ("diffusion_pytorch_model", "model"):
        for name in (f"{stem}.safetensors", f"{stem}.safetensors.index.json"):
            if (part / name).is_file():
                return part / name
    return None


def model_hash(folder: Path) -> str:
    """SHA-256 over the weights' and the configs' own digests, 16 hexadecimal digits: the identity of a model."""
    files = sorted(
        path for part in PARTS for path in (folder / part).glob("*") if path.suffix in (".json", ".safetensors")
    )
    listed = "\n".join(f"{path.relative_to(folder).as_posix()} {sha256_file(path)}" for path in files)
    return hashlib.sha256(listed.encode()).hexdigest()[:16]


def load_autoencoder(folder: Path) -> Any:
    """The autoencoder in a model folder (its part ``vae``), a folder of its own, or its run folder; float32."""
    from diffusers import AutoencoderKL, AutoencoderTiny

    trained, _ = newest_verified(folder / "checkpoints", "images-*") if folder.is_dir() else (None, [])
    folder = trained or folder
    part = folder / "vae" if (folder / "vae").is_dir() else folder
    if not part.is_dir():
        raise BadInput(f"{folder} is not a folder, so there is no autoencoder in it")
    check_weights(part)
    name = read_json(part / "config.json").get("_class_name")
    classes = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}
    if name not in classes:
        raise BadInput(f"{part}: autoencoder class {name!r} is not supported", hint=f"supported: {', '.join(classes)}")
    try:
        return classes[name].from_pretrained(part, use_safetensors=True, local_files_only=True)
    except Exception as error:  # truncated safetensors, shapes that differ: each library has its own
        raise BadInput(f"{part} cannot be loaded: {str(error).splitlines()[0]}") from error


def read_json(path: Path) -> Any:
    """Parsed JSON of ``path``; BadInput where it is not readable."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} is not readable JSON: {error}") from error


def read_capabilities(folder: Path) -> dict[str, Any] | None:
    """What the model says that it has learnt; None for a folder that says nothing (a user's own checkpoint)."""
    path = folder / CAPABILITIES
    return dict(read_json(path)) if path.is_file() else None


def capability_warnings(capabilities: Mapping[str, Any] | None, study: Study) -> list[str]:
    """A line for everything in ``study`` that the model was never shown; nothing for a model that says nothing."""
    if capabilities is None:
        return []
    lines = [
        f"the model has seen no {what}, so {value!r} will have no effect"
        for what, value in _asked(study)
        if value not in capabilities.get(_KEYS[what], {})
    ]
    ages = capabilities.get("age_range")
    if study.age is not None and ages and not ages[0] <= study.age <= ages[1]:
        lines.append(f"the model has seen ages {ages[0]} to {ages[1]}, and {study.age} lies outside")
    return lines


_KEYS = {
    "finding of this kind": "findings",
    "side of a finding": "sides",
    "severity of a finding": "severities",
    "zone of a finding": "zones",
    "view of this kind": "views",
    "position": "positions",
    "sex of this kind": "sexes",
    "race": "races",
    "device of this kind": "devices",
}


def _asked(study: Study) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str | None]] = [
        ("view of this kind", study.view),
        ("position", study.position),
        ("sex of this kind", study.sex),
        ("race", study.race),
    ]
    for name, finding in study.findings.items():
        pairs.append(("finding of this kind", name))
        pairs += [("side of a finding", finding.side), ("severity of a finding", finding.severity)]
        pairs.append(("zone of a finding", finding.zone))
    pairs += [("device of this kind", device) for device in study.devices]
    return [(what, value) for what, value in dict.fromkeys(pairs) if value is not None]
