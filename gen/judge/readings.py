"""Predictions of a judge: `Judgement` of one image, `Readings` of many, and `AnyJudge`, which every judge is.

A judge of your own needs a name, a fingerprint, its findings and `read`; see `gen.judge.plugins` for three of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Protocol

import numpy as np

from gen.core.errors import BadInput
from gen.data.loader import to_pixels_u8

BATCH = 32  # images that pass a network together; the numbers do not depend on it but in their last bits


@dataclass(frozen=True)
class Judgement:
    """The predictions for one image. Probabilities in [0, 1]; None or an empty mapping: this judge does not say.

    ``female``, ``ap`` (else PA) and ``child`` (under 18) are probabilities, ``age`` is in years. ``quality`` has 1 for
    good: "exposure" (neither dark, light, flat nor inverted), "sharpness" (neither blurred nor noisy) and
    "anatomy" (one whole, upright chest). ``artefact`` is the probability that its small patches, each seen alone,
    come from no detector. ``embedding`` (E,) float32 has length 1.
    """

    findings: Mapping[str, float]
    embedding: np.ndarray
    female: float | None = None
    ap: float | None = None
    child: float | None = None
    age: float | None = None
    quality: Mapping[str, float] = field(default_factory=dict)
    artefact: float | None = None


@dataclass(frozen=True)
class Readings:
    """The same of N images in arrays, float32: ``findings`` (N, F) in the order of ``names``, ``quality`` (N, Q) in
    that of ``qualities``, ``embedding`` (N, E), the others (N,); NaN: this judge does not say."""

    names: tuple[str, ...]
    findings: np.ndarray
    embedding: np.ndarray
    female: np.ndarray
    ap: np.ndarray
    child: np.ndarray
    age: np.ndarray
    qualities: tuple[str, ...]
    quality: np.ndarray
    artefact: np.ndarray

    def __len__(self) -> int:
        return len(self.embedding)

    def judgement(self, i: int) -> Judgement:
        """The predictions for image ``i``."""
        single = {name: _known(getattr(self, name)[i]) for name in ("female", "ap", "child", "age", "artefact")}
        found = dict(zip(self.names, map(float, self.findings[i]), strict=True))
        quality = dict(zip(self.qualities, map(float, self.quality[i]), strict=True))
        return Judgement(found, self.embedding[i], quality=quality, **single)


class AnyJudge(Protocol):
    """Whatever predicts what radiographs show; ``fingerprint`` is a hash of its weights, ``findings`` what it knows."""

    name: str
    fingerprint: str
    findings: tuple[str, ...]

    def read(
        self, pixels: np.ndarray | Sequence[np.ndarray], *, on_images: Callable[[int], object] = lambda count: None
    ) -> Readings:
        """Predict what each of ``pixels`` shows: arrays (H, W), float in [0, 1] or uint8, bone bright, of any size.

        Memory is bounded by the batch. ``on_images`` is called with the number of images after each batch. BadInput
        for an array that is no such image.
        """
        ...

    def predict(self, pixels: np.ndarray | Sequence[np.ndarray]) -> list[Judgement]:
        """The same, image by image."""
        readings = self.read(pixels)
        return [readings.judgement(i) for i in range(len(readings))]


def join(parts: Sequence[Readings]) -> Readings:
    """Readings of one judge, one after another; BadInput where what it says is not finite.

    NaN stands for what a judge does not say, so no caller would take it for a fault.
    """
    first = parts[0]
    arrays = {
        f.name: np.concatenate([getattr(part, f.name) for part in parts])
        for f in fields(Readings)
        if f.name not in ("names", "qualities")
    }
    for name in ("embedding", "findings"):
        if not np.isfinite(arrays[name]).all():
            image = int(np.flatnonzero(~np.isfinite(arrays[name]).all(1))[0])
            raise BadInput(
                f"the judge gives numbers that are not finite for image {image} ({name})",
                hint="its weights or its preprocessing may be damaged: copy its folder again, whole",
            )
    return Readings(names=first.names, qualities=first.qualities, **arrays)


def blank(count: int, embedding: np.ndarray, names: Sequence[str] = (), findings: np.ndarray | None = None) -> Readings:
    """Readings of a judge that says nothing but these; embeddings are brought to length 1."""
    nothing = np.full(count, np.nan, np.float32)
    length = np.linalg.norm(embedding, axis=1, keepdims=True)
    return Readings(
        names=tuple(names),
        findings=np.empty((count, 0), np.float32) if findings is None else findings.astype(np.float32),
        embedding=(embedding / np.maximum(length, 1e-12)).astype(np.float32),
        female=nothing,
        ap=nothing,
        child=nothing,
        age=nothing,
        qualities=(),
        quality=np.empty((count, 0), np.float32),
        artefact=nothing,
    )


def batches(pixels: np.ndarray | Sequence[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """uint8 (n, size, size), n <= BATCH: padded to squares, scaled, on 8 bits, which is what a judge learnt from."""
    for start in range(0, len(pixels), BATCH):
        yield np.stack([_as_u8(pixels[i], i, size) for i in range(start, min(start + BATCH, len(pixels)))])


def _as_u8(image: np.ndarray, index: int, size: int) -> np.ndarray:
    if image.ndim != 2 or not image.size or (image.dtype != np.uint8 and image.dtype.kind != "f"):
        raise BadInput(f"image {index} is {image.dtype} {image.shape}", hint="give (H, W), float in [0, 1] or uint8")
    if image.dtype == np.uint8:
        if image.shape == (size, size):
            return image
        image = image.astype(np.float32) / 255
    if not 0 <= image.min() <= image.max() <= 1:  # also refuses NaN
        raise BadInput(f"image {index} lies in [{image.min():g}, {image.max():g}]", hint="its range is [0, 1]")
    return to_pixels_u8(image.astype(np.float32), size)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
