"""Which rows may be learnt from, which patient stands in which split, and in what order a run sees the images.

Everything is a function of the rows, the seed and a position, so that a resumed run continues without saved state.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from gen.core.errors import BadInput
from gen.core.manifest import SPLITS, Manifest, Row, split_of
from gen.core.run import derived_seed
from gen.core.terms import standard_name

if TYPE_CHECKING:
    import numpy as np


def split_rows(manifest: Manifest) -> dict[str, list[Row]]:
    """The rows by split; rows whose ``weights_may_learn`` is not yes are in no split.

    The folders of the manifest decide where it has them, the bands of `split_of` otherwise. A row without a patient
    is a patient of its own. BadInput where one patient stands in two splits.
    """
    splits: dict[str, list[Row]] = {name: [] for name in SPLITS}
    home: dict[str, str] = {}
    for row in manifest.rows:
        if not row.weights_may_learn:
            continue
        patient = patient_of(row)
        split = row.split or split_of(patient)
        if home.setdefault(patient, split) != split:
            raise BadInput(f"{manifest.folder}: patient {patient!r} stands in {home[patient]} and in {split}")
        splits[split].append(row)
    for name, use in (("train", "learn from"), ("validation", "validate on")):
        if not splits[name]:
            raise BadInput(
                f"{manifest.folder} has no row to {use}",
                hint="training takes rows with weights_may_learn = yes, and needs patients for both "
                "(folders train/ and validation/ decide, or the hash of patient_id)",
            )
    return splits


def patient_of(row: Row) -> str:
    """The patient that a row belongs to; a file without one stands for itself (the splits may share a file name)."""
    return row.patient_id or (f"file:{row.split}/{row.file_name}" if row.split else f"file:{row.file_name}")


# The columns that a training reads, beside the image itself.
_LEARNT = ("file_name", "patient_id", "age", "sex", "race", "view", "findings", "absent", "uncertain", "prompt")


def data_digest(splits: Mapping[str, Sequence[Row]]) -> str:
    """SHA-256, 16 hexadecimal digits, of what ``splits`` hold: which images (by digest, or size and time of change),
    in which split and order, with which labels. The same for the same data set in another place.
    """
    digest = hashlib.sha256()
    for split, rows in splits.items():
        for row in rows:
            stat = None if row.sha256 else row.file.stat()
            image = row.sha256.lower() if stat is None else (stat.st_size, stat.st_mtime_ns)
            labels = [getattr(row, column) for column in (*_LEARNT, "study", "notes")]
            digest.update(repr((split, image, labels)).encode())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Order:
    """The endless order in which a run sees images: each epoch a new permutation with at most ``cap`` images a patient.

    A patient with more images shows another choice of them in each epoch; ``cap`` 0 means all of them.
    """

    patients: tuple[str, ...]  # of each image
    seed: int
    cap: int
    weights: tuple[float, ...] = ()  # how often each image is to be seen, against the others; none: equally often

    @cached_property
    def epoch_length(self) -> int:
        """Images in one epoch."""
        return sum(min(len(images), self.cap or len(images)) for images in self._by_patient)

    def index(self, position: int) -> int:
        """Which image stands at ``position`` = 0, 1, ... of the order."""
        epoch, place = divmod(position, self.epoch_length)
        if epoch not in self._epochs:
            self._epochs.clear()
            self._epochs[epoch] = self._permutation(epoch)
        return int(self._epochs[epoch][place])

    @cached_property
    def _epochs(self) -> dict[int, np.ndarray]:
        return {}

    def _permutation(self, epoch: int) -> np.ndarray:
        import numpy as np

        generator = np.random.default_rng(derived_seed(self.seed, f"epoch {epoch}"))
        chosen: list[int] = []
        for images in self._by_patient:
            many = self.cap and len(images) > self.cap
            chosen += generator.choice(images, self.cap, replace=False).tolist() if many else images
        epoch_images = np.asarray(chosen)
        if self.weights:  # as many as before, each by its weight: systematic resampling
            ends, count = np.cumsum(np.asarray(self.weights)[epoch_images]), len(epoch_images)
            places = (np.arange(count) + generator.random()) / count * ends[-1]
            epoch_images = epoch_images[np.searchsorted(ends, places)]
        return generator.permutation(epoch_images)

    @cached_property
    def _by_patient(self) -> list[list[int]]:
        images: dict[str, list[int]] = {}
        for image, patient in enumerate(self.patients):
            images.setdefault(patient, []).append(image)
        return list(images.values())


def order_of(rows: Sequence[Row], seed: int, images_per_patient: int, balanced: bool = False) -> Order:
    """The order of ``rows``, at most ``images_per_patient`` of one patient in an epoch, `balance` if asked for."""
    weights = tuple(balance(rows)) if balanced else ()
    return Order(tuple(patient_of(row) for row in rows), seed, images_per_patient, weights)


def balance(rows: Sequence[Row], most: float = 3.0) -> list[float]:
    """Weights, from 1 / ``most`` to ``most``, that even out sexes, views and findings.

    For each attribute a row has the root of (mean count of its values) / (count of its own), its rarest finding's for
    findings; the product of the three is clipped. The root leaves common things common.
    """
    import numpy as np

    weights = np.ones(len(rows))
    for column in ("sex", "view", "findings"):
        values = [(value,) if isinstance(value, str) else value for value in (getattr(row, column) for row in rows)]
        if column == "findings":
            values = [tuple(standard_name(name) or name for name in names) for names in values]
        counts = Counter(name for names in values for name in set(names) if name)
        if counts:
            mean = sum(counts.values()) / len(counts)
            rarest = [min((counts[name] for name in names if name), default=mean) for names in values]
            weights *= np.sqrt(mean / np.asarray(rarest, float))
    return [float(weight) for weight in np.clip(weights, 1 / most, most)]
