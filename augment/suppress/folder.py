"""A folder of bone suppression, of either kind, and what it is once loaded: a function that finds bone.

The folder of a network of one step has its weights, its shape and the scale it works at; that of a latent diffusion
model is described in `augment.suppress.latent`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from augment.suppress import latent
from augment.suppress.network import SuppressNetwork, SuppressShape
from augment.suppress.tiles import TILE, bone_of
from gen.core.bundled import bundled_suppressor
from gen.core.errors import BadInput
from gen.core.files import read_json, sha256_file, write_json

FACTS, WEIGHTS, FIGURES = "suppress.json", "network.safetensors", "figures.json"


@dataclass(frozen=True, eq=False)
class Suppressor:
    """``find_bone`` says what bone adds to a display float32 (H, W) in [0, 1] whose shorter side is ``side`` pixels."""

    find_bone: Callable[[np.ndarray], np.ndarray]
    side: int
    digest: str


def write_network(folder: Path, network: SuppressNetwork, side: int, dtype: torch.dtype | None = None) -> None:
    """Fill ``folder`` with ``network``, its weights in ``dtype`` if given."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().to(dtype or value.dtype) for name, value in network.state_dict().items()}
    save_file({name: value.contiguous() for name, value in state.items()}, folder / WEIGHTS)
    write_json(folder / FACTS, {"shape": dataclasses.asdict(network.shape), "side": side})


def read_network(folder: Path) -> tuple[SuppressNetwork, int]:
    """The network that `write_network` wrote, float32, and the shorter side of its images."""
    from safetensors.torch import load_file

    facts = read_json(folder / FACTS)
    network = SuppressNetwork(SuppressShape(**facts["shape"]))
    network.load_state_dict({name: value.float() for name, value in load_file(folder / WEIGHTS).items()})
    return network, int(facts["side"])


def load_suppressor(folder: str | Path | None = None, device: torch.device | str = "cpu") -> Suppressor:
    """The suppressor in ``folder`` (None: the bundled one), float32; BadInput names what is amiss."""
    from safetensors import SafetensorError

    folder = bundled_suppressor() if folder is None else Path(folder)
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder, so there is no bone suppression in it")
    if not any((folder / facts).is_file() for facts in (FACTS, latent.FACTS)):
        hint = f"its folder has {FACTS} or {latent.FACTS}; that of a training is RUN/suppress or RUN/suppress-latent"
        raise BadInput(f"{folder}: there is no bone suppression in it", hint=hint)
    try:
        if (folder / latent.FACTS).is_file():
            model, digest = latent.load_latent(folder, device)
            return Suppressor(model.find_bone, model.side, digest)
        network, side = read_network(folder)
    except (KeyError, TypeError, ValueError, RuntimeError, OSError, SafetensorError) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise BadInput(f"{folder} is not a whole bone suppression: {what}", hint="copy it again, whole") from error
    return suppressor_of(network.to(device), side, sha256_file(folder / WEIGHTS)[:16])


def suppressor_of(network: SuppressNetwork, side: int, digest: str = "", tile: int = TILE) -> Suppressor:
    """``network``, frozen, in tiles of ``tile`` pixels on images whose shorter side is ``side``."""
    network.eval().requires_grad_(False)
    return Suppressor(partial(bone_of, network, tile=tile), side, digest)
