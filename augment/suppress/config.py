"""The configuration of `gen train suppress`."""

from __future__ import annotations

from dataclasses import dataclass, field

from augment.suppress.examples import Drawing
from augment.suppress.network import SuppressShape
from gen.core.config import number
from gen.model.training.session import TrainingConfig


@dataclass(frozen=True)
class SuppressConfig(TrainingConfig):
    """Everything that decides the weights. Images are counted in crops."""

    # CTs with an index.csv that says which of them weights may learn from; None: phantoms alone.
    data: str | None = "${oc.env:CXR_DATA,../shared/data}/ct"  # type: ignore[assignment]  # None: phantoms alone
    phantoms: int = number(8, least=0)
    # Files of ``data``, or phantoms, that are validated on and never learnt from.
    validation: list[str] = field(default_factory=lambda: ["qin-lsc-0028.nii.gz", "qin-lsc-0049.nii.gz"])
    # Of a patient: as they are, and with drawn findings and devices; and how each is posed and exposed.
    scenes: int = number(3, above=0)
    poses: int = number(16, above=0)
    detector: int = number(768, above=0)  # pixels of 43 cm
    side: int = number(640, above=0)  # pixels: the shorter side of an image when the network is used
    shape: SuppressShape = field(default_factory=SuppressShape)
    drawing: Drawing = field(default_factory=Drawing)
    crop: int = number(320, above=0)  # pixels
    gradient_weight: float = number(1.0, least=0)  # of the differences between neighbours, beside those of pixels
    images: int = number(40_000, above=0)
    batch_size: int = number(8, above=0)
    learning_rate: float = number(1e-3, above=0)
    warmup: int = number(400, least=0)
    cooldown: float = number(0.4, share=True)
    weight_decay: float = number(0.01, least=0)
    ema: float = number(0.995, below=1)
    checkpoint_every: int = number(2_000, above=0)
    validate_every: int = number(2_000, above=0)
    validation_pairs: int = number(8, above=0)
