"""A folder of bone suppression: the network's weights, what shape it has, at which scale it works, and its card."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from augment.suppress.network import SuppressNetwork, SuppressShape
from gen.core.bundled import bundled_suppressor
from gen.core.errors import BadInput
from gen.core.files import read_json, write_json

FACTS, WEIGHTS = "suppress.json", "network.safetensors"


@dataclass(frozen=True, eq=False)
class Suppressor:
    """A frozen network; ``side`` is the shorter side in pixels of the images that it is shown."""

    network: SuppressNetwork
    side: int
    digest: str


def write_network(folder: Path, network: SuppressNetwork, side: int, dtype: torch.dtype | None = None) -> None:
    """Fill ``folder`` with ``network``, its weights in ``dtype`` if given."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().to(dtype or value.dtype) for name, value in network.state_dict().items()}
    save_file({name: value.contiguous() for name, value in state.items()}, folder / WEIGHTS)
    write_json(folder / FACTS, {"shape": dataclasses.asdict(network.shape), "side": side})


def load_suppressor(folder: str | Path | None = None, device: torch.device | str = "cpu") -> Suppressor:
    """The suppressor in ``folder`` (None: the bundled one), float32; BadInput names what is amiss."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    folder = bundled_suppressor() if folder is None else Path(folder)
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder, so there is no bone suppression in it")
    facts = read_json(folder / FACTS)
    try:
        network = SuppressNetwork(SuppressShape(**facts["shape"]))
        data = (folder / WEIGHTS).read_bytes()
        network.load_state_dict({name: value.float() for name, value in load(data).items()})
        side = int(facts["side"])
    except (KeyError, TypeError, ValueError, RuntimeError, OSError, SafetensorError) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise BadInput(f"{folder} is not a whole bone suppression: {what}", hint="copy it again, whole") from error
    network.eval().requires_grad_(False).to(device)
    return Suppressor(network, side, hashlib.sha256(data).hexdigest()[:16])
