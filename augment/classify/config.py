"""The configuration of `gen classify train`: what a classifier learns from, how, and from which weights it starts."""

from __future__ import annotations

from dataclasses import dataclass, field

from gen.core.config import number
from gen.data.loader import Augmentation
from gen.data.sources import COMPLETE
from gen.model.training.session import TrainingConfig

KINDS = ("convnext", "resnet", "vit")
LEARN = ("full", "probe", "progressive")
BALANCES = ("none", "weights", "sampler", "mix")
NEAR = ("refuse", "drop")
ACCEPTABLE = ("codec", "size", "findings")


@dataclass(frozen=True)
class Backbone:
    """The network: a stock architecture of transformers with random weights, or the weights in a folder."""

    # A transformers folder, classifier or encoder, whose weights are the start; its size must be that of the images.
    folder: str | None = None
    kind: str = "convnext"  # one of KINDS, where there is no folder
    hidden_sizes: list[int] = field(default_factory=lambda: [40, 80, 160, 320])  # channels by stage; vit: the first
    depths: list[int] = field(default_factory=lambda: [2, 2, 6, 2])  # blocks by stage; vit: the first
    heads: int = number(4, above=0)  # vit
    patch: int = number(16, above=0)  # pixels, vit


def _moves() -> Augmentation:
    return Augmentation(turn_degrees=3.0, zoom=0.04, shift=0.02, log_gamma=0.15)


@dataclass(frozen=True)
class ClassifierConfig(TrainingConfig):
    """`gen classify train`: everything that decides the weights. There are no flips: the heart is on the left."""

    synthetic: list[str] = field(default_factory=list)  # folders to learn from beside the real images of ``data``
    # Folders that hold the real training images once more, under their names, as `gen suppress` makes them (its soft/).
    derived: list[str] = field(default_factory=list)
    originals: bool = True  # learn from the real images of ``data`` themselves, not from derived ones alone
    fraction: float = number(1.0, share=True)  # of the real training patients; 0: none, only synthetic images
    shots: int = number(0, least=0)  # patients with each finding, instead of ``fraction``; 0: no such limit
    shuffle_labels: bool = False  # of the synthetic images: a control, which must not help
    findings: list[str] = field(default_factory=list)  # to learn; empty: all with ``least_images`` in every set
    least_images: int = number(20, above=0)  # with a finding, and without it
    # Sources that name every one of NIH's 14 findings that an image has: there, what is not named is absent.
    complete: list[str] = field(default_factory=lambda: list(COMPLETE))
    leave_out: list[str] = field(default_factory=list)  # sources to learn nothing from: the test set has them still
    # What to do where a test or validation image stands under another patient too: refuse, or drop what is learnt from.
    near_duplicates: str = "refuse"
    # What is accepted and reported: synthetic files of another codec or size; findings of one class only, which teach
    # nothing.
    accept: list[str] = field(default_factory=list)
    backbone: Backbone = field(default_factory=Backbone)
    size: int = number(128, least=16)  # pixels
    learn: str = "full"  # all weights; "probe": the head alone; "progressive": from the head down, stage by stage
    layer_rate: float = number(1.0, above=0)  # learning rate of a stage against that of the one above it
    # Against rare findings: "weights" of the loss, a "sampler" of images, or "mix" embeddings of one finding.
    balance: str = "none"
    patience: int = number(0, least=0)  # validations without a better one, after which it stops; 0: never
    cache: str | None = None  # folder of decoded images, which several runs may share; None: the user's
    images: int = number(20_000, above=0)
    learning_rate: float = number(1e-3, above=0)
    warmup: int = number(1_000, least=0)
    cooldown: float = number(0.5, above=0, share=True)
    weight_decay: float = number(0.05, least=0)
    ema: float = number(0.99, below=1)
    augmentation: Augmentation = field(default_factory=_moves)
    images_per_patient: int = number(4, least=0)  # in an epoch
    checkpoint_every: int = number(5_000, above=0)
    validate_every: int = number(1_000, above=0)
