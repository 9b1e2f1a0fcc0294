"""A model folder: stock diffusers and transformers parts in safetensors.

Pickles are refused, and a missing part is named.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from gen.core.errors import BadInput
from gen.core.files import newest_verified, read_json, sha256_file
from gen.model.capabilities import DECIDING, read_capabilities
from gen.model.scheduler import check_scheduler

INDEX, CARD = "model_index.json", "README.md"
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
WEIGHTED = ("unet", "vae", "text_encoder")
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle")


def check_model_folder(folder: Path) -> None:
    """Raise BadInput, naming the culprit, for a folder that is not a whole text-to-image folder in safetensors.

    So is one whose scheduler cannot be run.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder", hint="a model is a folder in the layout of diffusers")
    if not (folder / INDEX).is_file():
        hint = "a model is a folder in the layout of diffusers"
        if (newest := newest_model(folder)) != folder:
            hint = f"it is the run folder of a training, whose newest model is {newest}"
        raise BadInput(f"{folder} holds no {INDEX}", hint=hint)
    index = read_json(folder / INDEX)
    for part in PARTS:
        if part not in index or not (folder / part).is_dir():
            raise BadInput(f"{folder}: the part '{part}' is missing", hint="copy the model again, whole")
    check_scheduler(folder / "scheduler")
    for part in WEIGHTED:
        check_weights(folder / part)


def newest_model(folder: Path) -> Path:
    """The newest model in the run folder of a denoiser; ``folder`` itself where it is no such folder."""
    newest, _ = newest_verified(folder / "checkpoints", "images-*")
    return newest / "model" if newest is not None and (newest / "model").is_dir() else folder


def check_weights(part: Path) -> None:
    """Raise BadInput where ``part`` has no config.json or no safetensors; name what stands there instead of them."""
    if not (part / "config.json").is_file():
        raise BadInput(f"{part} holds no config.json", hint="copy the model again, whole")
    if weight_file(part) is None:
        if variants := sorted(path.name for path in part.glob("*.safetensors")):
            wanted = "model" if part.name == "text_encoder" else "diffusion_pytorch_model"
            raise BadInput(
                f"{part} holds {variants[0]} and no {wanted}.safetensors",
                hint=f"rename it to {wanted}.safetensors if it holds all weights, or get the model without a variant",
            )
        if found := pickles(part):
            raise BadInput(
                f"{found[0]} is a pickle, which can run code when it is loaded, and there are no safetensors",
                hint="convert it with safetensors, or get the .safetensors of the same model",
            )
        raise BadInput(f"{part} holds no weights (*.safetensors)", hint="copy the model again, whole")


def pickles(folder: Path) -> list[Path]:
    """The pickles anywhere in ``folder``: never loaded, and a fault only where a part has nothing else."""
    return sorted(path for path in folder.rglob("*") if path.suffix in _PICKLES)


def weight_file(part: Path) -> Path | None:
    """The safetensors file of a part, or the index of a sharded one; None without either."""
    for stem in ("diffusion_pytorch_model", "model"):
        for name in (f"{stem}.safetensors", f"{stem}.safetensors.index.json"):
            if (part / name).is_file():
                return part / name
    return None


def model_hash(folder: Path) -> str:
    """SHA-256, 16 hexadecimal digits, of all that decides an image: the fingerprint of a model.

    That is the weights' and the configs' own digests, and what the capabilities say that sampling does.
    """
    files = sorted(
        path for part in PARTS for path in (folder / part).glob("*") if path.suffix in (".json", ".safetensors")
    )
    listed = "\n".join(f"{path.relative_to(folder).as_posix()} {sha256_file(path)}" for path in files)
    told = read_capabilities(folder) or {}
    if deciding := {key: told[key] for key in sorted(DECIDING) if key in told}:
        listed += f"\n{json.dumps(deciding)}"
    return hashlib.sha256(listed.encode()).hexdigest()[:16]


def cache_folder() -> Path:
    """The folder of what can be made again: ``cxr-gen`` in ``$XDG_CACHE_HOME``, or in ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "cxr-gen"


def _autoencoder_folder(folder: Path) -> Path:
    trained, _ = newest_verified(folder / "checkpoints", "images-*") if folder.is_dir() else (None, [])
    return trained or folder


def decoder_noise_of(folder: Path) -> dict[str, Any]:
    """What the capabilities of a model must say of the autoencoder in ``folder``, named as for `load_autoencoder`."""
    folder = _autoencoder_folder(folder).resolve()
    told = read_capabilities(folder.parent if folder.name == "vae" else folder) or {}
    return {key: told[key] for key in ("decoder_noise",) if key in told}


def load_autoencoder(folder: Path) -> Any:
    """The autoencoder in a model folder (its part ``vae``), a folder of its own, or its run folder; float32."""
    from diffusers import AutoencoderKL, AutoencoderTiny

    from gen.model.parts import load_weights

    folder = _autoencoder_folder(folder)
    part = folder / "vae" if (folder / "vae").is_dir() else folder
    if part is folder and not (part / "config.json").is_file():
        raise BadInput(
            f"{folder}: there is no autoencoder in it",
            hint=f"train one with `gen train autoencoder autoencoder out={folder}`, or name a folder that holds one",
        )
    check_weights(part)
    name = read_json(part / "config.json").get("_class_name")
    classes = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}
    if name not in classes:
        raise BadInput(f"{part}: autoencoder class {name!r} is not supported", hint=f"supported: {', '.join(classes)}")
    return load_weights(classes[name], part)
