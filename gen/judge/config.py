"""The configuration of `gen train judge`; what its cards and figures quote of a training comes from here too."""

from __future__ import annotations

from dataclasses import dataclass, field

from gen.core.config import number
from gen.data.loader import Augmentation
from gen.data.sources import COMPLETE
from gen.judge.network import JudgeShape
from gen.model.training.session import TrainingConfig


def _moves() -> Augmentation:
    return Augmentation(turn_degrees=3.0, zoom=0.04, shift=0.02, log_gamma=0.15)


@dataclass(frozen=True)
class JudgeConfig(TrainingConfig):
    """`gen train judge`: everything that decides the weights. There are no flips: the heart is on the left."""

    # A model folder, whose autoencoder makes fakes; None: the bundled one. The reference index holds the training
    # images of ``data``, so that is where it should have learnt from.
    generator: str | None = None
    # A folder that `gen data prepare` made of ``data``: half of the views show an image as it is there, and half of
    # these in another pose and exposure. None: images as they are alone.
    prepared: str | None = None
    samples: str | None = None  # a folder that `gen sample` wrote, fakes too; None: without them
    shape: JudgeShape = field(default_factory=JudgeShape)
    size: int = number(256, above=0)  # pixels
    crop: int = number(128, above=0)  # pixels, the side of what the texture branch learns from
    # Sources that name every one of NIH's 14 findings that an image has: there, what is not named is absent.
    complete: list[str] = field(default_factory=lambda: list(COMPLETE))
    # Sources to learn nothing from, so that the figures say how the judge does where it has never been.
    leave_out: list[str] = field(default_factory=list)
    # Images with a finding, and without it, in one source: below that it gets no head.
    least_images: int = number(40, above=0)
    images: int = number(34_000, above=0)  # each is seen twice
    learning_rate: float = number(2e-3, above=0)
    warmup: int = number(2_000, least=0)
    cooldown: float = number(0.6, above=0, share=True)
    weight_decay: float = number(0.05, least=0)
    ema: float = number(0.995, below=1)
    age_weight: float = number(0.5, least=0)  # of the smooth L1 error in decades
    contrast_weight: float = number(0.2, least=0)
    contrast_temperature: float = number(0.1, above=0)
    augmentation: Augmentation = field(default_factory=_moves)
    reconstructions: int = number(400, least=0)  # images through the autoencoder and back
    images_per_patient: int = number(4, least=0)  # in an epoch
    checkpoint_every: int = number(5_000, above=0)
