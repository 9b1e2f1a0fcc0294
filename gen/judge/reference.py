"""The reference index: a generator's training images as embeddings, so that copies are found without the data.

A row is an embedding in 8-bit numbers and two keyed hashes, of the image and of its patient. With it come the distances
of images of other patients to their nearest neighbour in the index: what "too near" is measured against.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gen.core.errors import BadInput
from gen.data.split import patient_of
from gen.images.reader import read_radiograph

if TYPE_CHECKING:
    from gen.core.manifest import Row
    from gen.judge.readings import AnyJudge

REFERENCE = "reference.safetensors"
_TENSORS = {"codes": "codes", "films": "images", "patients": "patients", "held_out": "held_out"}  # file to field
_BATCH = 16  # images in memory, each as large as its file has it


@dataclass(frozen=True)
class Reference:
    """``codes`` int8 (N, E), directions whose largest number is 127; ``images`` and ``patients``: keyed hashes (N,).

    ``held_out`` float32 (M,), ascending: distances of other patients' real images to their nearest row. ``key`` is
    the fingerprint of the judge whose embeddings they are.
    """

    codes: np.ndarray
    images: np.ndarray
    patients: np.ndarray
    held_out: np.ndarray
    key: str

    def nearest(self, embeddings: np.ndarray, block: int = 1024) -> tuple[np.ndarray, np.ndarray]:
        """Distance (1 - cosine) to the nearest row and that row's number, both (n,), of ``embeddings`` (n, E)."""
        known = _unit(self.codes.astype(np.float32))
        distances, places = [np.empty(0, np.float32)], [np.empty(0, np.int64)]
        for start in range(0, len(embeddings), block):
            similar = _unit(embeddings[start : start + block].astype(np.float32)) @ known.T
            places.append(similar.argmax(1))
            distances.append(1 - similar.max(1))
        return np.concatenate(distances), np.concatenate(places)

    def threshold(self, false_alarms: float = 0.01) -> float:
        """The distance below which a real image of another patient lies with a probability of ``false_alarms`` at most
        (`copy_threshold`)."""
        return copy_threshold(self.held_out, false_alarms)[0]


def copy_threshold(distances: np.ndarray, rate: float) -> tuple[float, float]:
    """Find the threshold below which an image of a new patient falls with a probability of at most ``rate``, and that.

    Of n + 1 exchangeable distances the new one is below the k-th smallest of the others with probability k / (n + 1)
    (Vovk et al. 2005, conformal prediction), and k is the largest that ``rate`` allows. Where that is none, the
    threshold is the smallest distance, and the rate 1 / (n + 1) is higher than wished. Exact for one image a patient;
    where a patient's images are near each other the rate is somewhat higher. It is one over draws of the
    held-out images too: behind a given threshold it is Beta(k, n + 1 - k), for small k wide.
    """
    if not len(distances):
        return math.nan, math.nan
    k = copy_rank(len(distances), rate)
    return float(np.partition(distances, k - 1)[k - 1]), k / (len(distances) + 1)


def copy_rank(count: int, rate: float) -> int:
    """Which of ``count`` distances, from the smallest, 1, on, is the threshold of `copy_threshold`."""
    return max(1, math.floor(rate * (count + 1) + 1e-9))


def build_reference(judge: AnyJudge, rows: Sequence[Row], held_out: Sequence[Row]) -> Reference:
    """The index of ``rows``, a generator's training images, with ``held_out`` images of other patients to measure by.

    A patient one of whose held-out images is an indexed one, pixel for pixel, is no other patient and is left out.
    BadInput where a patient stands in both, for an image that cannot be read, and where there is nothing to index or
    to measure by.
    """
    if not rows or not held_out:
        raise BadInput("a reference index needs images to index, and images of other patients")
    if shared := {patient_of(row) for row in rows} & {patient_of(row) for row in held_out}:
        raise BadInput(f"patient {min(shared)!r} is among the indexed and the held-out images")
    known, pictures = _embedded(judge, rows)
    others, of_others = _embedded(judge, held_out)
    indexed = set(pictures)
    posing = {patient_of(row) for row, picture in zip(held_out, of_others, strict=True) if picture in indexed}
    kept = [patient_of(row) not in posing for row in held_out]
    if not any(kept):
        raise BadInput("every held-out patient has an image that is indexed too, so there is nothing to measure by")
    return index_of(known, rows, others[kept], judge.fingerprint)


def index_of(embeddings: np.ndarray, rows: Sequence[Row], held_out: np.ndarray, key: str) -> Reference:
    """The index of ``embeddings`` (N, E) of ``rows``, measured by ``held_out`` (M, E)."""
    # Most numbers of a unit vector are small: its largest one gets the whole range.
    unit = _unit(embeddings)
    codes = np.rint(unit / np.abs(unit).max(1, keepdims=True) * 127).astype(np.int8)
    images = np.array([hashed(key, row.sha256 or row.file_name) for row in rows], np.uint64)
    patients = np.array([hashed(key, patient_of(row)) for row in rows], np.uint64)
    empty = Reference(codes, images, patients, np.empty(0, np.float32), key)
    distances, _ = empty.nearest(held_out)
    return Reference(codes, images, patients, np.sort(distances).astype(np.float32), key)


def _embedded(judge: AnyJudge, rows: Sequence[Row]) -> tuple[np.ndarray, list[bytes]]:
    """Embeddings (N, E) of the images of ``rows`` and digests of their pixels, read one batch after another."""
    from tqdm import tqdm

    parts, pictures = [], []
    with tqdm(total=len(rows), desc="embedding", unit="image", leave=False) as bar:
        for start in range(0, len(rows), _BATCH):
            images = [read_radiograph(row.file).pixels for row in rows[start : start + _BATCH]]
            parts.append(judge.read(images).embedding)
            pictures += [hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest() for image in images]
            bar.update(len(images))
    return np.concatenate(parts), pictures


def hashed(key: str, name: str) -> int:
    """The first 8 bytes of SHA-256 of "key:name": who has the data set finds an image again, nobody reads its name."""
    return int.from_bytes(hashlib.sha256(f"{key}:{name}".encode()).digest()[:8], "big")


def write_reference(path: Path, reference: Reference) -> None:
    """Write ``reference`` as one safetensors file."""
    from safetensors.numpy import save_file

    arrays = {name: np.ascontiguousarray(getattr(reference, field)) for name, field in _TENSORS.items()}
    save_file(arrays, path, {"key": reference.key})


def read_reference(path: Path) -> Reference:
    """Read what `write_reference` wrote. Raises BadInput for anything else."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as stored:
            arrays = {field: stored.get_tensor(name) for name, field in _TENSORS.items()}
            return Reference(**arrays, key=stored.metadata()["key"])
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is no reference index: {error}", hint="copy the judge again, whole") from error


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
