"""A judge's folder: the trunk as a stock transformers folder, the heads beside it, and what they are called."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import torch

from gen.core.errors import BadInput
from gen.core.files import read_json, write_json
from gen.judge.network import JudgeNetwork, JudgeShape
from gen.model.folder import check_weights
from gen.model.parts import load_weights, quiet

JUDGE, TRUNK, HEADS = "judge.json", "trunk", "heads.safetensors"


@quiet()
def write_network(folder: Path, network: JudgeNetwork, size: int, dtype: torch.dtype | None = None) -> None:
    """Fill the new ``folder`` with ``network``, its weights in ``dtype`` if given, for images of ``size`` pixels."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    frozen = copy.deepcopy(network).cpu()
    if dtype is not None:
        frozen = frozen.to(dtype)
    for weights in frozen.parameters():
        weights.data = weights.data.contiguous()  # training may have put the channels last
    frozen.trunk.save_pretrained(folder / TRUNK)
    config = read_json(folder / TRUNK / "config.json")
    write_json(folder / TRUNK / "config.json", {**config, "dtype": "float32"})
    save_file({name: value.contiguous() for name, value in frozen.rest().items()}, folder / HEADS)
    write_json(
        folder / JUDGE,
        {"shape": dataclasses.asdict(network.shape), "findings": list(network.findings), "size": size},
    )


def read_network(folder: Path) -> tuple[JudgeNetwork, int]:
    """The network in ``folder``, float32 and frozen, and the size of its images; BadInput names what is amiss."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers import ResNetModel

    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder, so there is no judge in it")
    facts = read_json(folder / JUDGE)
    check_weights(folder / TRUNK)
    try:
        network = JudgeNetwork(JudgeShape(**facts["shape"]), _names(facts))
        network.trunk = load_weights(ResNetModel, folder / TRUNK)
        rest = {name: value.float() for name, value in load_file(folder / HEADS).items()}
        network.load_state_dict(network.state_dict() | rest)
        if missing := network.rest().keys() - rest.keys():
            raise BadInput(f"{folder / HEADS} lacks {min(missing)}", hint="copy the judge again, whole")
        return network.eval().requires_grad_(False), int(facts["size"])
    except (KeyError, TypeError, ValueError, RuntimeError, OSError, SafetensorError) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise BadInput(f"{folder} is not a whole judge: {what}", hint="copy it again, whole") from error


def _names(facts: dict[str, Any]) -> list[str]:
    return [str(name) for name in facts["findings"]]
