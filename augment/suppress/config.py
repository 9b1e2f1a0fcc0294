"""The configurations of `gen train suppress` and of `gen train suppress-latent`."""

from __future__ import annotations

from dataclasses import dataclass, field

from augment.suppress.examples import Drawing
from augment.suppress.latent import LatentShape
from augment.suppress.network import SuppressShape
from gen.core.config import number
from gen.model.training.losses import NoiseDraw
from gen.model.training.session import TrainingConfig


@dataclass(frozen=True)
class PairsConfig(TrainingConfig):
    """Which pairs are learnt from, and how examples are drawn from them. Images are counted in examples."""

    # CTs with an index.csv that says which of them weights may learn from; None: phantoms alone.
    data: str | None = "${oc.env:CXR_DATA,../shared/data}/ct"  # type: ignore[assignment]  # None: phantoms alone
    phantoms: int = number(8, least=0)
    leave_out: list[str] = field(default_factory=list)  # files of ``data`` that show no whole chest
    # Patients that are validated on and never learnt from: files of ``data``, which count where there is data, and
    # phantoms such as phantom-001. None named: one patient in eight.
    validation: list[str] = field(default_factory=list)
    # Of a patient: as they are, and with drawn findings and devices; and how each is posed and exposed.
    scenes: int = number(3, above=0)
    poses: int = number(16, above=0)
    detector: int = number(768, above=0)  # pixels of 43 cm
    drawing: Drawing = field(default_factory=Drawing)
    images: int = number(40_000, above=0)
    batch_size: int = number(8, above=0)
    learning_rate: float = number(1e-3, above=0)
    warmup: int = number(400, least=0)
    cooldown: float = number(0.4, share=True)
    weight_decay: float = number(0.01, least=0)
    checkpoint_every: int = number(2_000, above=0)
    validate_every: int = number(2_000, above=0)
    validation_pairs: int = number(8, above=0)


@dataclass(frozen=True)
class SuppressConfig(PairsConfig):
    """`gen train suppress`: everything that decides the weights of the network that finds bone in one step."""

    side: int = number(640, above=0)  # pixels: the shorter side of an image when the network is used
    shape: SuppressShape = field(default_factory=SuppressShape)
    crop: int = number(320, above=0)  # pixels
    gradient_weight: float = number(1.0, least=0)  # of the differences between neighbours, beside those of pixels
    ema: float = number(0.995, below=1)


@dataclass(frozen=True)
class LatentConfig(PairsConfig):
    """`gen train suppress-latent`: everything that decides the weights of the conditional latent diffusion model."""

    autoencoder: str | None = None  # a model folder, or that of an autoencoder; None: that of the bundled model
    side: int = number(256, above=0)  # pixels: of an example, and the shorter side of an image when it is used
    shape: LatentShape = field(default_factory=LatentShape)
    # Examples show most of a chest: they are drawn at twice the size, then averaged.
    drawing: Drawing = field(default_factory=lambda: Drawing(least_zoom=1.0, most_zoom=1.6))
    noise: NoiseDraw = field(default_factory=NoiseDraw)
    steps: int = number(8, above=0)  # of the solver when the model is used
    learning_rate: float = number(5e-4, above=0)
    ema: float = number(0.998, below=1)
