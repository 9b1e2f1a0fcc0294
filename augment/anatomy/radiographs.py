"""Real radiographs to learn from, whose masks are a network's own: those where it agrees with itself (self-training).

A network that saw projections alone reads an easy film well and a pale one badly. So its masks of easy films are learnt
under the hard changes of films.py (Xie et al. 2020, arXiv:1911.04252, "noisy student"). Easy is what the rules of
`gen.anatomy.reading` accept and what stays where it is when the film is moved and toned.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from augment.anatomy.config import AnatomyConfig
from augment.anatomy.pairs import MARGIN, record_type
from gen.anatomy.folder import Anatomy, load_anatomy
from gen.anatomy.measure import EVEN, pieces
from gen.anatomy.network import ORGANS
from gen.anatomy.reading import RULES, interpret
from gen.core.errors import BadInput
from gen.core.files import atomic_file
from gen.core.manifest import Row, read_manifest
from gen.core.run import derived_seed
from gen.data.clean import content_box
from gen.data.loader import pixel_cache
from gen.data.split import data_digest, patient_of, split_rows

# The changes under which masks are to agree: a zoom, a turn in degrees, an exponent of the grey levels.
_CHANGES = ((1.0, 0.0, 1.0), (0.85, 5.0, 0.75), (0.92, -5.0, 1.35))
_AGREED = 0.9  # Dice of each changed film's mask with the mean's: an organ with less is unknown in this film
_WHOLE = tuple(
    ORGANS.index(organ) for organ in ("right lung", "left lung", "heart")
)  # without these it is no easy film


def rows_of(config: AnatomyConfig) -> list[Row]:
    """The radiographs that masks are looked for in: frontal ones of training patients, one a patient.

    None without a folder. BadInput for a folder that cannot be used, as of `split_rows`.
    """
    if not config.radiographs:
        return []
    first: dict[str, Row] = {}
    for row in split_rows(read_manifest(config.radiographs))["train"]:
        if row.view != "lateral":
            first.setdefault(patient_of(row), row)
    drawn = sorted(first, key=lambda patient: derived_seed(config.seed, f"radiograph of {patient}"))
    return [first[patient] for patient in drawn[: config.most_radiographs]]


def digest_of_radiographs(config: AnatomyConfig) -> str:
    """Of the radiographs and of the network whose masks they get; "" where none are learnt from."""
    rows = rows_of(config)
    if not rows:
        return ""
    teacher = load_anatomy(config.teacher).fingerprint
    facts = data_digest({"train": rows}), teacher, RULES, _CHANGES, _AGREED, config.size
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def radiograph_pool(config: AnatomyConfig) -> np.ndarray:
    """The records of the radiographs that are easy, memory-mapped from ``config.pool``, where they are made at first.

    They are those of `record_type`, (N,), with the organs as known that agree; none without a folder of radiographs.
    BadInput where the teacher reads none of them clearly.
    """
    rows = rows_of(config)
    if not rows:
        return np.empty(0, record_type(config.size))
    path = Path(config.pool) / f"radiographs-{digest_of_radiographs(config)}.npy"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = list(_records(config, rows))
        if not made:
            raise BadInput(
                f"{config.teacher or 'the bundled network'} reads none of {len(rows)} radiographs in "
                f"{config.radiographs} clearly enough to learn from",
                hint="name another teacher, or leave radiographs empty",
            )
        with atomic_file(path) as stream:
            np.save(stream, np.stack(made))
    records: np.ndarray = np.load(path, mmap_mode="r")
    return records


def _records(config: AnatomyConfig, rows: Sequence[Row]) -> Iterator[np.ndarray]:
    from tqdm import tqdm

    teacher = load_anatomy(config.teacher)
    pixels = pixel_cache(rows, round(config.size * MARGIN), config.pool)
    for row, image in zip(rows, tqdm(pixels, desc="masks of radiographs", unit="image", leave=False), strict=True):
        record = record_of(teacher, image, config.size)
        if record is not None:
            record["view"] = row.view
            yield record


def record_of(teacher: Anatomy, pixels: np.ndarray, size: int) -> np.ndarray | None:
    """The record of one radiograph uint8 (P, P), P as of `record_type`, with the masks of ``teacher``.

    None where the mean of its masks is refused, or where lungs or heart do not agree.
    """
    image = pixels.astype(np.float32) / 255
    found = np.stack([_changed_and_back(teacher, image, *change) for change in _CHANGES])
    reading = interpret(found.mean(0), image)
    agreed = _agreement(found, reading.masks) >= _AGREED
    if reading.refused or not agreed[[*_WHOLE]].all():
        return None
    masks = reading.masks.copy()
    for k in _WHOLE:
        masks[k] = pieces(masks[k])[0]
    record = np.zeros((), record_type(size))
    record["image"] = pixels
    bits = (1 << np.arange(len(ORGANS), dtype=np.uint16))[:, None, None]
    record["masks"] = (masks * bits).sum(0)
    top, left, bottom, right = content_box(image)
    record["frame"] = top, bottom, left, right
    record["known"] = (agreed * bits[:, 0, 0]).sum()
    return record


def _agreement(found: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The least Dice of each organ's mask in ``found`` (K, 10, H, W) with that in ``masks`` (10, H, W); 0 if empty."""
    each = found >= EVEN
    total = each.sum((2, 3)) + masks.sum((1, 2))
    least: np.ndarray = np.where(total > 0, 2 * (each & masks).sum((2, 3)) / np.maximum(total, 1), 0).min(0)
    return least


def _changed_and_back(teacher: Anatomy, image: np.ndarray, zoom: float, degrees: float, gamma: float) -> np.ndarray:
    """The probabilities (10, H, W) of ``image`` (H, W) found in it turned, smaller and toned, brought back."""
    turn = math.radians(degrees)
    there = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]], np.float32) / zoom
    changed = _sampled(image[None] ** np.float32(gamma), there)
    return _sampled(teacher.probabilities(changed)[0], np.linalg.inv(there))


def _sampled(maps: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """``maps`` (C, H, W) under the linear ``matrix`` (2, 2) about the middle; the edge is repeated outwards."""
    import torch
    from torch.nn import functional

    if np.array_equal(matrix, np.eye(2)):
        return maps
    theta = torch.from_numpy(np.hstack([matrix, np.zeros((2, 1))]).astype(np.float32))
    source = torch.from_numpy(np.ascontiguousarray(maps, np.float32))[None]
    grid = functional.affine_grid(theta[None], list(source.shape), align_corners=False)
    moved: np.ndarray = functional.grid_sample(source, grid, padding_mode="border", align_corners=False)[0].numpy()
    return moved
