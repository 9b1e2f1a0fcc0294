"""The classifier's network: a stock image classifier of transformers with a head a finding, and its folder.

The folder opens in ``AutoModelForImageClassification`` and as a judge (`gen.judge.plugins`): what a user trains here is
what `gen describe --judge` and `gen evaluate --judge` take.
"""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from augment.classify.config import KINDS, Backbone
from gen.core.errors import BadInput
from gen.core.files import read_json, write_json
from gen.core.terms import require_choice
from gen.data.loader import to_model_range
from gen.judge.plugins import preprocessing
from gen.model.folder import check_weights
from gen.model.parts import load_part, quiet
from gen.model.training.session import refused_by_the_library

HEAD = "classifier"  # the attribute that every image classifier of transformers has its last layers in
_BLOCK = re.compile(r"\.(?:stages|layers?|blocks)\.(\d+)\.")


@dataclass(frozen=True)
class Classifier:
    """``network`` with an output for each of ``findings``, for images of ``size`` pixels of ``mean`` and ``std``."""

    network: nn.Module
    findings: tuple[str, ...]
    size: int
    mean: torch.Tensor  # (C,), of pixels in [0, 1]; C channels, all of them the same grey
    std: torch.Tensor

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """(N, F) of images (N, 1, H, W) in [-1, 1]."""
        place = images.device
        grey = (images + 1) / 2
        inputs = (grey - self.mean.to(place)[:, None, None]) / self.std.to(place)[:, None, None]
        found: torch.Tensor = self.network(inputs).logits
        return found.float()


@quiet()
def make_classifier(backbone: Backbone, findings: Sequence[str], size: int) -> Classifier:
    """A classifier for ``findings``; new weights are drawn from torch's global generator.

    BadInput for a folder that holds no whole network or one for another size, and for numbers that make no network.
    """
    from transformers import AutoConfig, AutoModelForImageClassification

    labels = dict(enumerate(findings))
    named = {
        "id2label": labels,
        "label2id": {name: i for i, name in labels.items()},
        "problem_type": "multi_label_classification",
    }
    if backbone.folder is not None:
        return _from_folder(Path(backbone.folder), findings, size, named)
    require_choice("backbone.kind", backbone.kind, KINDS)
    with refused_by_the_library("the classifier"):
        config = AutoConfig.for_model(backbone.kind, num_channels=1, **_numbers(backbone, size), **named)
        network = AutoModelForImageClassification.from_config(config)
    half = torch.tensor([0.5])
    return Classifier(network, tuple(findings), size, half, half)


def _numbers(backbone: Backbone, size: int) -> dict[str, Any]:
    widths, depths = list(backbone.hidden_sizes), list(backbone.depths)
    if not widths or not depths:
        raise BadInput("backbone.hidden_sizes and backbone.depths need a number each, at least")
    if backbone.kind == "vit":
        if size % backbone.patch:
            raise BadInput(f"size is {size}", hint=f"backbone.patch asks for a multiple of {backbone.patch} pixels")
        numbers = {"hidden_size": widths[0], "num_hidden_layers": depths[0], "num_attention_heads": backbone.heads}
        return {**numbers, "intermediate_size": 4 * widths[0], "image_size": size, "patch_size": backbone.patch}
    if len(widths) != len(depths):
        raise BadInput(f"backbone.hidden_sizes has {len(widths)} stages and backbone.depths {len(depths)}")
    stages: dict[str, Any] = {"hidden_sizes": widths, "depths": depths}
    if backbone.kind == "resnet":
        return {**stages, "embedding_size": widths[0], "layer_type": "basic"}
    return {**stages, "num_stages": len(widths)}


def _from_folder(folder: Path, findings: Sequence[str], size: int, named: dict[str, Any]) -> Classifier:
    """The weights in ``folder``, with its head where that is for the same findings, else with a new one."""
    from transformers import AutoModelForImageClassification

    check_weights(folder)
    facts = read_json(folder / "config.json")
    own, mean, std = preprocessing(folder, facts)
    if own != size:
        raise BadInput(f"{folder} is for images of {own} pixels, and size is {size}", hint=f"use size={own}")
    # Tensors of another shape are left out and drawn anew, which is right for the head alone.
    network, report = load_part(
        AutoModelForImageClassification,
        folder,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        **named,
    )
    fresh = {
        *report["missing_keys"],
        *(item if isinstance(item, str) else item[0] for item in report["mismatched_keys"]),
    }
    if lacking := sorted(key for key in fresh if not key.startswith(f"{HEAD}.")):
        raise BadInput(f"{folder} lacks {len(lacking)} tensors, the first of them {lacking[0]}", hint="copy it again")
    before = [str(name) for _, name in sorted((facts.get("id2label") or {}).items(), key=lambda item: int(item[0]))]
    if before != list(findings):
        for part in getattr(network, HEAD).modules():
            if isinstance(part, nn.Linear):
                nn.init.normal_(part.weight, std=0.02)
                nn.init.zeros_(part.bias)
    channels = int(getattr(network.config, "num_channels", 3))
    return Classifier(network.float(), tuple(findings), size, mean[:channels], std[:channels])


@quiet()
def write_classifier(folder: Path, classifier: Classifier) -> None:
    """Fill the new ``folder`` with ``classifier`` in float32."""
    folder.mkdir(parents=True, exist_ok=True)
    network: Any = copy.deepcopy(classifier.network).cpu()
    for weights in network.parameters():
        weights.data = weights.data.contiguous()  # training may have put the channels last
    network.save_pretrained(folder)
    size = {"height": classifier.size, "width": classifier.size}
    mean, std = classifier.mean.tolist(), classifier.std.tolist()
    write_json(folder / "preprocessor_config.json", {"size": size, "image_mean": mean, "image_std": std})


def read_classifier(folder: Path) -> Classifier:
    """The classifier that `write_classifier` wrote; BadInput names what is amiss."""
    facts = read_json(folder / "config.json")
    findings = [str(name) for _, name in sorted((facts.get("id2label") or {}).items(), key=lambda item: int(item[0]))]
    size, _, _ = preprocessing(folder, facts)
    return make_classifier(Backbone(folder=str(folder)), findings, size)


def weights_hash(network: nn.Module) -> str:
    """SHA-256, 16 hexadecimal digits, of the names and bytes of all weights and buffers."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def groups_of(network: nn.Module) -> list[list[nn.Parameter]]:
    """The weights in the order in which fine-tuning frees them: the head, the last block or stage, ..., the stem."""
    places: dict[str, int] = {}
    for name, _ in network.named_parameters():
        block = _BLOCK.search(f".{name}")
        places[name] = int(block[1]) if block else -1
    last = max(places.values())
    groups: list[list[nn.Parameter]] = [[] for _ in range(last + 3)]
    for name, weight in network.named_parameters():
        head, stem = name.startswith(f"{HEAD}."), "embed" in name
        place = places[name] if places[name] >= 0 else -1 if stem else last  # norms after the blocks go with the last
        groups[0 if head else last - place + 1].append(weight)
    return [group for group in groups if group]


@torch.inference_mode()
def raw_logits(classifier: Classifier, pixels_u8: np.ndarray, batch_size: int = 32) -> np.ndarray:
    """The logits, float32 (N, F), of uint8 ``pixels_u8`` (N, H, W), in evaluation mode."""
    place = next(classifier.network.parameters()).device
    was_training = classifier.network.training
    classifier.network.eval()
    parts = [
        classifier.logits(to_model_range(np.asarray(pixels_u8[start : start + batch_size])).to(place)).cpu().numpy()
        for start in range(0, len(pixels_u8), batch_size)
    ]
    classifier.network.train(was_training)
    return np.concatenate(parts) if parts else np.empty((0, len(classifier.findings)), np.float32)
