"""Radiographs as arrays for training: a pixel cache on disk, and gentle augmentation without flips or random crops.

A flip would swap the sides of the body and a crop would cut the costophrenic angles, so the cache holds whole images,
and augmentation moves them by a few percent of the side only.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gen.core.files import atomic_file
from gen.core.radiograph import pad_to_square, resize
from gen.images.reader import DISPLAY, read_radiograph

if TYPE_CHECKING:
    import torch

    from gen.core.manifest import Row


@dataclass(frozen=True)
class Augmentation:
    """How far an image may move, as standard deviations: a turn, a zoom, a shift (parts of the side), a gamma.

    Draws end at 2.5 of them. So zoom inwards (2.5 %) and shift (2.5 %) together put up to 5 % of the side out of the
    picture at an edge, and the turn (3.75 degrees) 3 % more at its corners.
    """

    turn_degrees: float = 1.5
    zoom: float = 0.02
    shift: float = 0.01
    log_gamma: float = 0.06


def pixel_cache(rows: Sequence[Row], size: int, folder: str | Path) -> np.ndarray:
    """The images of ``rows``, padded to squares of ``size`` pixels, uint8 (N, size, size), memory-mapped.

    Built once, in ``folder``; its name holds a hash of the size, of the rows' digests (or times of change, where the
    manifest has no digest) and of how files are shown. BadInput for an image that cannot be read.
    """
    from tqdm import tqdm

    files = [(str(row.file), row.sha256 or row.file.stat().st_mtime_ns) for row in rows]
    key = hashlib.sha256(repr((DISPLAY, size, files)).encode()).hexdigest()[:16]
    path = Path(folder) / f"pixels-{key}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as stream:
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(rows), size, size)}
            np.lib.format.write_array_header_1_0(stream, header)
            for row in tqdm(rows, desc="reading images", unit="image", leave=False):
                stream.write(to_pixels_u8(read_radiograph(row.file).pixels, size).tobytes())
    return np.load(path, mmap_mode="r")


def to_pixels_u8(pixels: np.ndarray, size: int) -> np.ndarray:
    """(H, W) float in [0, 1] -> uint8 (size, size): padded to a square, resized, rounded."""
    return np.rint(resize(pad_to_square(pixels), size) * 255).astype(np.uint8)


def evenly(items: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` of ``items`` (N, ...), evenly spread over the whole: tables stand in the order of sources."""
    count = min(most, len(items))
    return items[(2 * np.arange(count) + 1) * len(items) // (2 * count)]


def to_model_range(pixels_u8: np.ndarray) -> torch.Tensor:
    """uint8 (N, H, W) -> float32 (N, 1, H, W) in the model's range [-1, 1]."""
    import torch

    return torch.from_numpy(pixels_u8.astype(np.float32)).unsqueeze(1) / 127.5 - 1


def augment(images: torch.Tensor, seeds: Sequence[int], how: Augmentation) -> torch.Tensor:
    """Turn, zoom, shift and change the gamma of ``images`` (N, 1, H, W) in [-1, 1], image i as ``seeds[i]`` decides.

    The edge is repeated outwards, so that no black wedge appears where there was none.
    """
    import torch
    from torch.nn import functional

    matrices, gammas = [], []
    for seed in seeds:
        turn, zoom_x, zoom_y, x, y, gamma = np.random.default_rng(seed).standard_normal(6).clip(-2.5, 2.5)
        angle = math.radians(how.turn_degrees * turn)
        wide, high = 1 + how.zoom * zoom_x, 1 + how.zoom * zoom_y
        rows = [
            [wide * math.cos(angle), -high * math.sin(angle), 2 * how.shift * x],
            [wide * math.sin(angle), high * math.cos(angle), 2 * how.shift * y],
        ]
        matrices.append(rows)
        gammas.append(math.exp(how.log_gamma * gamma))
    grid = functional.affine_grid(torch.tensor(matrices, dtype=torch.float32), list(images.shape), align_corners=False)
    moved = functional.grid_sample(images, grid, mode="bicubic", padding_mode="border", align_corners=False)
    unit = (moved.clamp(-1, 1) + 1) / 2
    return unit ** torch.tensor(gammas, dtype=torch.float32)[:, None, None, None] * 2 - 1
