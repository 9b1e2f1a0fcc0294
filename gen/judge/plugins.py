"""Other people's judges behind the same face: transformers folders and torchxrayvision models, each from a local path.

A spec is text: "" the bundled judge; a folder with judge.json, one of ours; a folder with config.json, a transformers
image classifier or encoder (RAD-DINO and its like); "xrv:NAME@FILE", a model of torchxrayvision. Nothing is downloaded,
pickles are refused, and their probabilities are as they come: not calibrated here.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gen.core.bundled import pip_install
from gen.core.errors import BadInput, EnvironmentLacks
from gen.core.files import read_json, sha256_file
from gen.core.terms import standard_name
from gen.judge.folder import JUDGE
from gen.judge.judge import FIGURES, Judge, load_judge
from gen.judge.readings import AnyJudge, Readings, batches, blank, join
from gen.model.folder import check_weights
from gen.model.parts import load_weights, quiet

if TYPE_CHECKING:
    import torch

XRV = "xrv:"
THRESHOLDS = "thresholds.json"  # of a transformers folder that has some: finding -> probability
XRV_SIZE = 224  # pixels: torchxrayvision's DenseNets
_CONVERT = "save_file(xrv.models.DenseNet(weights=NAME).state_dict(), FILE) of safetensors.torch makes one"


@dataclass(frozen=True)
class ForeignJudge(AnyJudge):
    """A network that is no judge of ours. ``run`` takes uint8 (n, size, size) to findings (n, F), embeddings (n, E).

    ``thresholds`` and ``figures`` are empty but for the folder of `gen classify train`, which holds its own.
    """

    name: str
    fingerprint: str
    findings: tuple[str, ...]
    size: int
    run: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    thresholds: Mapping[str, float] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)

    def read(
        self, pixels: np.ndarray | Sequence[np.ndarray], *, on_images: Callable[[int], object] = lambda count: None
    ) -> Readings:
        """As of `AnyJudge`; it says findings and embedding only. BadInput also where there is no image."""
        if not len(pixels):
            raise BadInput("there is no image to look at")
        parts = []
        for pixels_u8 in batches(pixels, self.size):
            probabilities, embedding = self.run(pixels_u8)
            parts.append(blank(len(pixels_u8), embedding, self.findings, probabilities))
            on_images(len(pixels_u8))
        return join(parts)


def open_judge(spec: str = "", *, device: str = "auto") -> AnyJudge:
    """The judge that ``spec`` names. BadInput for a spec, folder or file that is none; EnvironmentLacks without the
    package or the device that it needs."""
    if spec.startswith(XRV):
        return _xrv(spec.removeprefix(XRV), device)
    folder = Path(spec) if spec else None
    if folder is None or (folder / JUDGE).is_file():
        return load_judge(folder, device=device)
    if (folder / "config.json").is_file():
        return _transformers(folder, device)
    raise BadInput(
        f"no judge at {spec!r}: neither {JUDGE} nor config.json stands there",
        hint=f"name a judge's folder, a folder of transformers, or {XRV}NAME@FILE",
    )


def thresholds_of(judge: AnyJudge) -> Mapping[str, float]:
    """The probability from which ``judge`` calls each finding present; of one without thresholds none: 0.5 counts."""
    if isinstance(judge, Judge):
        return judge.calibration.thresholds
    return judge.thresholds if isinstance(judge, ForeignJudge) else {}


@quiet()
def _transformers(folder: Path, device: str) -> ForeignJudge:
    """An image classifier, by the architecture in config.json, or else an encoder, which gives the embedding only."""
    import torch
    from transformers import AutoModel, AutoModelForImageClassification

    from gen.model.device import pick_device

    check_weights(folder)
    config = read_json(folder / "config.json")
    classifies = any("ForImageClassification" in name for name in config.get("architectures") or [])
    network = load_weights(AutoModelForImageClassification if classifies else AutoModel, folder).eval()
    place = pick_device(device)
    network.to(place)
    size, mean, std = preprocessing(folder, config)
    channels = int(getattr(network.config, "num_channels", 3))
    labels = [str(network.config.id2label[i]) for i in range(network.config.num_labels)] if classifies else []
    columns = _columns(labels)
    if classifies and not columns:
        raise BadInput(f"{folder}: none of its labels is a finding ({', '.join(labels[:5])})")
    # One label an image (softmax) only where the folder says so, or has no more than two.
    several = getattr(network.config, "problem_type", None) == "multi_label_classification"

    @torch.inference_mode()
    def run(pixels_u8: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        grey = torch.from_numpy(pixels_u8.astype(np.float32) / 255)[:, None].expand(-1, channels, -1, -1)
        images = ((grey - mean[:channels, None, None]) / std[:channels, None, None]).to(place)
        outputs = network(images, output_hidden_states=classifies)
        hidden = outputs.hidden_states[-1] if classifies else outputs.last_hidden_state
        pooled = None if classifies else getattr(outputs, "pooler_output", None)
        embedding = pooled.flatten(1) if pooled is not None else _pooled(hidden)
        if not classifies:
            return np.empty((len(pixels_u8), 0), np.float32), embedding.float().cpu().numpy()
        logits = outputs.logits.float()
        probabilities = logits.sigmoid() if several else logits.softmax(1)
        return probabilities[:, list(columns.values())].cpu().numpy(), embedding.float().cpu().numpy()

    # Size and mean decide the numbers too: a folder in which they changed is another judge.
    files = [folder / "config.json", folder / "preprocessor_config.json", *sorted(folder.glob("*.safetensors"))]
    fingerprint = _hash(*(path for path in (*files, folder / THRESHOLDS) if path.is_file()))
    figures = read_json(folder / FIGURES) if (folder / FIGURES).is_file() else {}
    return ForeignJudge(folder.resolve().name, fingerprint, tuple(columns), size, run, read_thresholds(folder), figures)


def read_thresholds(folder: Path) -> dict[str, float]:
    """Finding -> the probability from which it is called present, as ``folder`` says; empty where it is silent."""
    path = folder / THRESHOLDS
    found = read_json(path) if path.is_file() else {}
    if not all(isinstance(value, float) and 0 <= value <= 1 for value in found.values()):
        raise BadInput(f"{path} holds something else than probabilities", hint="copy the folder again, whole")
    return found


def _pooled(hidden: torch.Tensor) -> torch.Tensor:
    """Features (N, C, H, W) or tokens (N, T, C) -> (N, C): their mean, or for tokens the first one, the class token."""
    return hidden.mean((2, 3)) if hidden.ndim == 4 else hidden[:, 0]


def preprocessing(folder: Path, config: Mapping[str, Any]) -> tuple[int, torch.Tensor, torch.Tensor]:
    """Side in pixels, and what pixels in [0, 1] are centred on and divided by (3,), as ``folder`` was trained with.

    Where it is silent, that are the mean and standard deviation of ImageNet. A scale of its own, as "rescale_factor"
    says, and images that are left as they are ("do_rescale", "do_normalize") are folded into the two.
    """
    import torch

    path = folder / "preprocessor_config.json"
    facts = read_json(path) if path.is_file() else {}
    size: Any = facts.get("crop_size") or facts.get("size") or config.get("image_size") or XRV_SIZE
    if isinstance(size, Mapping):
        size = size.get("height") or size.get("shortest_edge")
    if isinstance(size, list):
        size = size[0]
    try:
        mean, std = (
            torch.tensor([float(value) for value in facts.get(key) or usual]).expand(3)
            for key, usual in (("image_mean", (0.485, 0.456, 0.406)), ("image_std", (0.229, 0.224, 0.225)))
        )
        if not facts.get("do_normalize", True):
            mean, std = torch.zeros(3), torch.ones(3)
        white = 255 * float(facts.get("rescale_factor", 1 / 255)) if facts.get("do_rescale", True) else 255.0
        if not (white > 0 and bool((std > 0).all())):
            raise ValueError("image_std and rescale_factor must be above 0")
        return int(size), mean / white, std / white
    except (TypeError, ValueError, RuntimeError) as error:
        what = "size, image_mean, image_std or rescale_factor"
        raise BadInput(f"{path}: {what} cannot be understood: {error}") from error


def _xrv(spec: str, device: str) -> ForeignJudge:
    """torchxrayvision's DenseNet NAME with the weights in FILE, a safetensors file of its state dict."""
    name, at, file = spec.partition("@")
    path = Path(file)
    if not at or not name or not file:
        raise BadInput(f"{XRV}{spec} names no weights", hint=f"write {XRV}NAME@FILE, FILE in safetensors: {_CONVERT}")
    if path.suffix != ".safetensors" or not path.is_file():
        raise BadInput(f"{path} is no safetensors file", hint=_CONVERT)
    try:
        models = importlib.import_module("torchxrayvision.models")
    except ImportError as error:
        raise EnvironmentLacks("torchxrayvision is not installed", hint=pip_install("cxr-gen[xrv]")) from error
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from gen.model.device import pick_device

    if name not in models.model_urls or not name.startswith("densenet"):
        known = sorted(key for key in models.model_urls if key.startswith("densenet"))
        raise BadInput(f"{name!r} is no DenseNet of torchxrayvision", hint=f"it knows {', '.join(known)}")
    labels = models.model_urls[name]["labels"]
    network = models.DenseNet(weights=None, num_classes=len(labels))
    try:
        weights = load_file(path)
        weights.pop("op_threshs", None)  # a monotone change of each output, and no calibration
        network.load_state_dict(weights)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise BadInput(f"{path} does not fit {name}: {' '.join(str(error).split())[:200]}", hint=_CONVERT) from error
    place = pick_device(device)
    network.eval().to(place)
    # An empty label is an output that this set of weights never learnt.
    columns = _columns(labels)

    @torch.inference_mode()
    def run(pixels_u8: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images = (torch.from_numpy(pixels_u8.astype(np.float32))[:, None] / 127.5 - 1) * 1024  # its own range
        embedding = network.features2(images.to(place))
        probabilities = network.classifier(embedding).sigmoid()
        return probabilities[:, list(columns.values())].cpu().numpy(), embedding.cpu().numpy()

    return ForeignJudge(f"{XRV}{name}", _hash(path), tuple(columns), XRV_SIZE, run)


def _columns(labels: Sequence[str]) -> dict[str, int]:
    """Finding -> the number of its output, for each of ``labels`` that is a finding; the first where two mean one."""
    columns: dict[str, int] = {}
    for i, label in enumerate(labels):
        if (name := standard_name(label)) is not None:
            columns.setdefault(name, i)
    return columns


def _hash(*files: Path) -> str:
    digests = "\n".join(f"{path.name} {sha256_file(path)}" for path in files)
    return hashlib.sha256(digests.encode()).hexdigest()[:16]
