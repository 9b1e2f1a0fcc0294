"""The configuration of `gen train judge`; what its cards and figures quote of a training comes from here too."""

from __future__ import annotations

from dataclasses import dataclass, field

from gen.data.loader import Augmentation
from gen.data.sources import COMPLETE
from gen.judge.network import JudgeShape


def _moves() -> Augmentation:
    return Augmentation(turn_degrees=3.0, zoom=0.04, shift=0.02, log_gamma=0.15)


@dataclass(frozen=True)
class JudgeConfig:
    """`gen train judge`: everything that decides the weights. There are no flips: the heart is on the left."""

    out: str
    data: str = "${oc.env:CXR_DATA,../shared/data}/cxr"
    # A model folder, whose autoencoder makes fakes; None: the bundled one. The reference index holds the training
    # images of ``data``, so that is where it should have learnt from.
    generator: str | None = None
    samples: str | None = None  # a folder that `gen sample` wrote, fakes too; None: without them
    shape: JudgeShape = field(default_factory=JudgeShape)
    size: int = 256  # pixels
    crop: int = 128  # pixels, the side of what the texture branch learns from
    # Sources that name every one of NIH's 14 findings that an image has: there, what is not named is absent.
    complete: list[str] = field(default_factory=lambda: list(COMPLETE))
    # Sources to learn nothing from, so that the figures say how the judge does where it has never been.
    leave_out: list[str] = field(default_factory=list)
    least_images: int = 40  # with a finding, and without it, in one source: below that it gets no head
    images: int = 34_000  # images to learn from, in all; each is seen twice
    batch_size: int = 32  # images a process
    learning_rate: float = 2e-3
    warmup: int = 2_000  # images
    cooldown: float = 0.6  # the last part of the run, over which the learning rate falls to 0
    weight_decay: float = 0.05
    ema: float = 0.995
    age_weight: float = 0.5  # of the smooth L1 error in decades
    contrast_weight: float = 0.2
    contrast_temperature: float = 0.1
    augmentation: Augmentation = field(default_factory=_moves)
    reconstructions: int = 400  # images through the autoencoder and back
    images_per_patient: int = 4  # in an epoch
    checkpoint_every: int = 5_000  # images
    validate_every: int = 5_000  # images
    device: str = "auto"
    dtype: str = "auto"
    seed: int = 0
