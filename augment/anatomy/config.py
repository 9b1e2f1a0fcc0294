"""The configuration of `gen train anatomy`: bodies, poses, findings, and what every training is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from gen.anatomy.network import AnatomyShape
from gen.core.config import number
from gen.model.training.session import TrainingConfig


@dataclass(frozen=True)
class AnatomyConfig(TrainingConfig):
    """`gen train anatomy`: everything that decides the weights.

    ``data`` is a folder of CTs with an index.csv (file, source, licence, weights_may_learn), or "" for phantoms alone.
    """

    data: str = "${oc.env:CXR_DATA,../shared/data}/ct"
    pool: str = "runs/anatomy-pool"  # folder of the projections, which several runs may share
    # CTs by the names of their files, without suffix: their images are never learnt from (the labels of an atlas are),
    # and the figures are measured on them.
    held_out: list[str] = field(default_factory=list)
    # The labelled CT whose labels are carried over to the others; None: what they do not show stays unknown.
    atlas: str | None = None
    leave_out: list[str] = field(default_factory=list)  # CTs that show no whole chest
    # Organs of a CT that nothing in it tells, such as a lung without air, by the CT's name.
    unknown: dict[str, list[str]] = field(default_factory=dict)
    shape: AnatomyShape = field(default_factory=AnatomyShape)
    size: int = number(256, above=0)  # pixels that the network sees
    phantoms: int = number(40, above=0)  # individuals
    held_out_phantoms: int = number(5, above=0)  # further ones, for validation
    spacing_mm: list[float] = field(default_factory=lambda: [3.0, 2.0, 2.0])  # of the phantoms: z, y, x
    scenes: int = number(3, above=0)  # of a phantom: one as it is, the others with findings and devices put in
    ct_scenes: int = number(4, above=0)  # and of a CT
    poses: int = number(12, above=0)  # projections of each scene
    ct_share: float = number(0.4, share=True)  # of the projections that are shown, from CTs
    # Folder of real radiographs with metadata.csv: those of training patients get masks from `teacher`. "": none.
    radiographs: str = ""
    most_radiographs: int = number(1_000, above=0)
    teacher: str | None = None  # an anatomy network's folder; None: the bundled one
    radiograph_share: float = number(0.4, share=True)  # of the images, where there are radiographs
    images: int = number(30_000, above=0)
    batch_size: int = number(8, above=0)
    learning_rate: float = number(1.5e-3, above=0)
    warmup: int = number(1_000, least=0)
    cooldown: float = number(0.4, above=0, share=True)
    weight_decay: float = number(0.01, least=0)
    ema: float = number(0.998, below=1)
    checkpoint_every: int = number(2_000, above=0)
    validate_every: int = number(2_000, above=0)
