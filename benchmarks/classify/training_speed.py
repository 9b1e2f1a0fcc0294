"""Images a second of `gen classify train` beside torchxrayvision's own epoch, with one network, in turn in one process.

Both read the same files. torchxrayvision decodes, resizes and moves each image anew, as its script's defaults have it;
ours reads a cache, built before the clock starts, and keeps averaged weights beside. `--peers` names a folder with
torchxrayvision and with train_utils.py, which stands in scripts/ of its repository and in no wheel.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import click
import numpy as np
import torch

from augment.classify import train
from augment.classify.config import ClassifierConfig
from augment.classify.data import Learnt, choose_rows, read_sources
from augment.classify.network import make_classifier
from benchmarks import common
from gen.core.config import load_config
from gen.core.errors import EnvironmentLacks
from gen.statistics.intervals import mean_of


class PeerImages(torch.utils.data.Dataset[dict[str, Any]]):
    """``count`` training images as torchxrayvision's data sets give them: {"img": (1, S, S), "lab": (F,)}."""

    def __init__(self, learnt: Learnt, count: int, size: int, xrv: Any) -> None:
        from torchvision import transforms

        self.rows, self.labels, self.xrv = learnt.train[:count], learnt.labels["train"][:count], xrv
        self.resized = transforms.Compose([xrv.datasets.XRayCenterCrop(), xrv.datasets.XRayResizer(size)])
        moved = transforms.RandomAffine(45, translate=(0.15, 0.15), scale=(0.85, 1.15))
        self.moved = transforms.Compose([xrv.datasets.ToPILImage(), moved, transforms.ToTensor()])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = {"img": self.xrv.utils.load_image(str(self.rows[index].file)), "lab": self.labels[index]}
        for transform in (self.resized, self.moved):
            sample = self.xrv.datasets.apply_transforms(sample, transform)
        return sample


class Logits(torch.nn.Module):
    """A network of transformers that gives its logits, as torchxrayvision's loop wants them."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(images).logits
        return logits


def seconds_of_ours(config: ClassifierConfig, sources: Any) -> float:
    """Seconds of a new run from its first batch to its validation, which stands at the end."""
    began, ended = [], []
    moved, scores = train.augment, train.validation_scores

    def first(*arguments: Any) -> Any:
        began.append(time.perf_counter())
        return moved(*arguments)

    def last(*arguments: Any) -> Any:
        ended.append(time.perf_counter())
        return scores(*arguments)

    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(train, "augment", first),
        patch.object(train, "validation_scores", last),
    ):
        train.train_classifier(replace(config, out=f"{folder}/run"), (), sources)
    return ended[-1] - began[0]


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Prepared radiographs.")
@click.option("--peers", type=click.Path(path_type=Path, exists=True), help="Folder with torchxrayvision.")
@click.option("--config", default="classify_experiment", show_default=True, help="Whose network and size are taken.")
@click.option("--images", type=click.IntRange(32), default=640, show_default=True, help="In an epoch.")
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True)
def main(data: Path, peers: Path | None, config: str, images: int, repeats: int) -> None:
    """Print images a second of both and the ratio of each turn, with its interval over the turns."""
    if peers is not None:
        sys.path.append(str(peers))
    try:
        xrv, script = (importlib.import_module(name) for name in ("torchxrayvision", "train_utils"))
    except ImportError as error:
        raise EnvironmentLacks(f"{error.name} cannot be imported", hint="name its folder by --peers") from error
    from augment.classify.arms import CompareConfig

    like = load_config(CompareConfig, config)
    keys = [f"data={data}", f"images={images}", f"validate_every={2 * images}", f"checkpoint_every={2 * images}"]
    ours = replace(
        load_config(
            ClassifierConfig, "classify", [*keys, f"cache={common.WORK / 'cache'}", "device=cpu", "dtype=float32"]
        ),
        backbone=like.backbone,
        size=like.size,
    )
    sources = read_sources(ours, [], [])
    learnt = choose_rows(ours, sources)
    loader = torch.utils.data.DataLoader(PeerImages(learnt, images, ours.size, xrv), ours.batch_size, shuffle=True)
    network = Logits(make_classifier(ours.backbone, learnt.findings, ours.size).network)
    adam = torch.optim.Adam(network.parameters(), weight_decay=1e-5, amsgrad=True)
    cfg = SimpleNamespace(taskweights=True, label_concat_reg=False, featurereg=False, weightreg=False)

    def theirs() -> None:
        script.train_epoch(cfg, 0, network, "cpu", loader, adam, torch.nn.BCEWithLogitsLoss())

    seconds_of_ours(ours, sources)  # builds the cache
    speeds = np.array(
        [[images / seconds_of_ours(ours, sources), images / common.timed(theirs)[0]] for _ in range(repeats)]
    )
    turns = [str(k) for k in range(repeats)]
    print(f"{common.processor()}, {torch.get_num_threads()} threads, torchxrayvision {xrv.__version__}")
    print(f"{ours.backbone.kind}, {ours.size} pixels, {images} images an epoch, {repeats} turns")
    named = {
        "ours, images/s": speeds[:, 0],
        "torchxrayvision, images/s": speeds[:, 1],
        "ratio": speeds[:, 0] / speeds[:, 1],
    }
    common.print_table(("", "mean [95 %]"), [(name, mean_of(values, turns).text(2)) for name, values in named.items()])


if __name__ == "__main__":
    common.launch(main)
