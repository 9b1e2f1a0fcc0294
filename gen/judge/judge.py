"""Opening a judge: the bundled one, or a folder that `gen train judge` wrote; its probabilities are calibrated."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gen.core.bundled import bundled_judge, bundled_model
from gen.core.files import read_json, sha256_file
from gen.judge.calibrate import CALIBRATION, Calibration, read_calibration
from gen.judge.familiar import FAMILIAR, Familiar, read_familiar
from gen.judge.folder import HEADS, JUDGE, TRUNK, read_network
from gen.judge.network import QUALITIES, JudgeNetwork, raw_scores
from gen.judge.readings import AnyJudge, Readings, batches, blank, join
from gen.judge.reference import REFERENCE, Reference, read_reference

FIGURES = "figures.json"


@dataclass(frozen=True)
class Judge(AnyJudge):
    """A judge of ours. ``figures`` are its own on held-out images. ``reference`` is the index of a generator's training
    images, ``known`` that of the judge's folder; ``familiar`` are the limits of what it knows, by ``known``."""

    name: str
    fingerprint: str
    findings: tuple[str, ...]
    network: JudgeNetwork
    size: int
    calibration: Calibration
    figures: Mapping[str, Any]
    reference: Reference | None
    known: Reference | None
    familiar: Familiar | None

    def read(
        self, pixels: np.ndarray | Sequence[np.ndarray], *, on_images: Callable[[int], object] = lambda count: None
    ) -> Readings:
        """As of `AnyJudge`; probabilities are calibrated."""
        parts = [_nothing(self)]
        for pixels_u8 in batches(pixels, self.size):
            parts.append(self.calibration.readings(raw_scores(self.network, pixels_u8), self.findings))
            on_images(len(pixels_u8))
        return join(parts)


def load_judge(folder: str | Path | None = None, *, device: str = "auto") -> Judge:
    """The judge in ``folder``, or the bundled one, in float32, on ``device``.

    The bundled judge, by its path or not, looks for copies among the images of the bundled model, whose folder has
    their index (`reference_in`). BadInput, naming the culprit, for a folder that is no whole judge; EnvironmentLacks
    for a device that is not there.
    """
    from gen.model.device import pick_device

    folder = bundled_judge() if folder is None else Path(folder)
    is_bundled = folder.resolve() == bundled_judge().resolve()
    place = pick_device(device)
    network, size = read_network(folder)
    fingerprint = judge_hash(folder)
    known = read_reference(folder / REFERENCE) if (folder / REFERENCE).is_file() else None
    return Judge(
        name=folder.resolve().name,
        fingerprint=fingerprint,
        findings=network.findings,
        network=network.to(place),
        size=size,
        calibration=read_calibration(folder / CALIBRATION),
        figures=read_json(folder / FIGURES) if (folder / FIGURES).is_file() else {},
        reference=(reference_in(bundled_model(), fingerprint) if is_bundled else None) or known,
        known=known,
        familiar=read_familiar(folder / FAMILIAR) if (folder / FAMILIAR).is_file() else None,
    )


def reference_in(model: Path, fingerprint: str) -> Reference | None:
    """The index of its training images that the folder ``model`` has by the judge of that ``fingerprint``, if any."""
    path = model / REFERENCE
    reference = read_reference(path) if path.is_file() else None
    return reference if reference is not None and reference.key == fingerprint else None


def judge_hash(folder: Path) -> str:
    """SHA-256 over the digests of weights, names and calibration, 16 hexadecimal digits: the fingerprint of a judge."""
    files = [*sorted((folder / TRUNK).glob("*")), folder / HEADS, folder / JUDGE, folder / CALIBRATION]
    listed = "\n".join(f"{path.relative_to(folder).as_posix()} {sha256_file(path)}" for path in files if path.is_file())
    return hashlib.sha256(listed.encode()).hexdigest()[:16]


def _nothing(judge: Judge) -> Readings:
    """Readings of no image."""
    names = judge.findings
    none = blank(0, np.empty((0, judge.network.shape.embedding)), names, np.empty((0, len(names))))
    return Readings(**{**vars(none), "qualities": QUALITIES, "quality": np.empty((0, len(QUALITIES)), np.float32)})
