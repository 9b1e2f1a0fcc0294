"""The search for copies: the nearest training image of each query after shift, turn and zoom, whatever its contrast.

Coarse to fine. Every training image is compared with every query at 32 pixels a side over a window of shifts; the best
few (and those that embeddings propose) are registered at 64: shifts by Fourier transform, turns and zooms on a grid.
What is compared is the locally normalised band-pass image, in which two chests share little unless they are one
picture: a gamma, a window, noise and JPEG leave it nearly as it was. A mirrored copy is not looked for.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

SIDE, COARSE = 64, 32  # pixels a side at which images are registered, and at which all are compared
REACH = 6  # pixels of SIDE that an image may be shifted to each side: 9 %
TURNS_DEGREES = (-4.0, -2.0, 0.0, 2.0, 4.0)
ZOOMS = (0.94, 0.97, 1.0, 1.03, 1.06)
SHORTLIST = 12  # training images, for each query, that are registered
FINALISTS = 6  # of them that are turned and zoomed too
BLOCK = 256  # images that are in memory at a time
NARROW, WIDE, LOCAL = 0.8, 2.0, 5.0  # Gaussian sigmas, in pixels of SIDE: the band, and over what its contrast is taken
FAINT = 0.01  # of the grey range: less local contrast than this is not blown up (black margins, collimation)
PLANTED = ("JPEG", "shifted", "other contrast", "noise", "turned and zoomed", "all of these")

Progress = Callable[[int], object]  # called with the number of queries that are done


@dataclass(frozen=True)
class Nearest:
    """For each query the training image that is nearest: ``index`` (n,) and ``distance`` (n,) to it."""

    distance: np.ndarray
    index: np.ndarray


def nearest_aligned(
    queries: np.ndarray,
    training: np.ndarray,
    proposed: Sequence[np.ndarray] = (),
    progress: Progress = lambda done: None,
) -> Nearest:
    """The nearest of ``training`` (N, S, S) to each of ``queries`` (n, S, S), both uint8; S is a multiple of 64.

    The distance is 1 - NCC (normalised cross-correlation), in [0, 2], at the best alignment. ``proposed`` are arrays
    (n, k) of indices that are registered beside the shortlist. Both may be memory maps: they are read in blocks.
    """
    distance, index = np.empty(len(queries), np.float32), np.empty(len(queries), np.int64)
    for start in range(0, len(queries), BLOCK):
        block = band_pass(queries[start : start + BLOCK])
        shortlist = _shortlist(block, training)
        for k, image in enumerate(block):
            candidates = np.unique(np.concatenate([shortlist[k], *(some[start + k] for some in proposed)]))
            bands = band_pass(training[candidates])
            if len(candidates) > FINALISTS:
                finalists = np.argsort(-aligned_ncc(image, bands, movements=False), kind="stable")[:FINALISTS]
                candidates, bands = candidates[finalists], bands[finalists]
            scores = aligned_ncc(image, bands)
            best = int(scores.argmax())
            distance[start + k], index[start + k] = max(0, 1 - scores[best]), candidates[best]
            progress(1)
    return Nearest(distance, index)


def nearest_embedded(
    queries: np.ndarray, training: np.ndarray, count: int = 1, barred: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Distances (n, count), nearest first, of ``queries`` (n, D) to their nearest of ``training`` (N, D); and indices.

    Euclidean. ``barred`` are numbers (N,): queries are then training images, given by ``queries`` indices (n,), and a
    training image with the number of the query (its own patient) does not count.
    """
    count = min(count, len(training))
    distances = np.full((len(queries), count), np.inf)
    indices = np.zeros((len(queries), count), np.int64)
    for first in range(0, len(queries), BLOCK):
        part = slice(first, first + BLOCK)
        points = np.asarray(queries[part] if barred is None else training[queries[part]], np.float64)
        squares = np.square(points).sum(1)[:, None]
        for start in range(0, len(training), 2048):
            block = np.asarray(training[start : start + 2048], np.float64)
            found = np.sqrt(np.maximum(squares + np.square(block).sum(1) - 2 * points @ block.T, 0))
            if barred is not None:
                found[barred[queries[part]][:, None] == barred[start : start + 2048]] = np.inf
            distances[part], indices[part] = _keep_smallest(distances[part], indices[part], found, start, count)
    return distances, indices


def band_pass(pixels_u8: np.ndarray) -> np.ndarray:
    """uint8 (N, S, S) -> float32 (N, 64, 64): band-pass, each place divided by the contrast around it."""
    count, size, _ = pixels_u8.shape
    part = size // SIDE
    # Sums of whole numbers, rows first: three times as fast as a mean over both axes.
    rows = pixels_u8.reshape(count, SIDE, part, size).sum(2, dtype=np.uint16)
    image = rows.reshape(count, SIDE, SIDE, part).sum(3, dtype=np.uint32) / np.float32(255 * part**2)
    narrow, wide, local = _smoothing(NARROW), _smoothing(WIDE), _smoothing(LOCAL)
    band = narrow @ image @ narrow.T - wide @ image @ wide.T
    contrast = np.sqrt(local @ band**2 @ local.T)
    return np.asarray(band / (contrast + FAINT), np.float32)


def aligned_ncc(image: np.ndarray, candidates: np.ndarray, movements: bool = True) -> np.ndarray:
    """The highest NCC of band-pass ``image`` (64, 64) with each of ``candidates`` (K, 64, 64) over alignments, (K,).

    For an alignment of shift s it is sum w q(x) t(x + s) / sqrt(sum w q(x)^2 * sum w t(x + s)^2), with the window w of
    `_window`: exact for every shift, since w is 0 where a shift would reach over the edge. Without ``movements`` there
    are shifts only.
    """
    from scipy.fft import rfft2

    window, (rows, columns) = _window(), _shifts()
    moved = _movements(image) if movements else image[None]
    queries = np.conj(rfft2(window * moved))
    energy = (window * moved**2).sum((1, 2))
    weights = np.conj(rfft2(window))
    best = np.empty(len(candidates), np.float32)
    for k, (spectrum, power) in enumerate(zip(rfft2(candidates), rfft2(candidates**2), strict=True)):
        cross = (rows @ (queries * spectrum) @ columns).real
        other = (rows @ (weights * power) @ columns).real
        best[k] = (cross / np.sqrt(energy[:, None, None] * np.maximum(other, 0) + 1e-12)).max()
    return best


def planted(pixels_u8: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """Make copies as a generator might leave them, by kind (`PLANTED`), of ``pixels_u8`` and like it (N, S, S).

    JPEG of quality 50; a shift of up to 4 % of the side; a gamma of 0.7 to 1.4 and a window; Gaussian noise of 3 % of
    the grey range; a turn of up to 3 degrees and a zoom of up to 4 %; and all of these together, each of half strength.
    """
    generator = np.random.default_rng(seed)
    made: dict[str, list[np.ndarray]] = {kind: [] for kind in PLANTED}
    for image in pixels_u8:
        side = image.shape[0]
        y, x, turn, zoom, tone, window = generator.uniform(-1, 1, 6)
        noise = generator.standard_normal(image.shape) * 0.03 * 255
        shift = np.array([y, x]) * 0.04 * side
        made["JPEG"].append(_as_jpeg(image, 50))
        made["shifted"].append(_moved(image, 0, 1, np.rint(shift)))
        made["other contrast"].append(_toned(image, tone, window))
        made["noise"].append(_as_u8(image + noise))
        made["turned and zoomed"].append(_moved(image, 3 * turn, 1 + 0.04 * zoom, np.zeros(2)))
        mixed = _toned(_moved(image, 1.5 * turn, 1 + 0.02 * zoom, shift / 2), tone / 2, window / 2)
        made["all of these"].append(_as_jpeg(_as_u8(mixed + noise / 2), 70))
    return {kind: np.stack(images) for kind, images in made.items()}


def _shortlist(block: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Indices (n, SHORTLIST) of the training images of highest NCC with ``block`` (n, 64, 64) at 32 pixels."""
    count = min(SHORTLIST, len(training))
    reach = REACH * COARSE // SIDE
    shifts = list(itertools.product(range(2 * reach + 1), repeat=2))
    small = _halved(block)
    inner = COARSE - 2 * reach
    crops = [_unit(small[:, y : y + inner, x : x + inner]) for y, x in shifts]
    distances = np.full((len(block), count), np.inf, np.float32)
    indices = np.zeros((len(block), count), np.int64)
    for start in range(0, len(training), BLOCK):
        known = _halved(band_pass(training[start : start + BLOCK]))
        middle = _unit(known[:, reach : reach + inner, reach : reach + inner]).T
        highest = crops[0] @ middle
        for crop in crops[1:]:
            np.maximum(highest, crop @ middle, out=highest)
        distances, indices = _keep_smallest(distances, indices, 1 - highest, start, count)
    return indices


def _keep_smallest(
    distances: np.ndarray, indices: np.ndarray, found: np.ndarray, start: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The ``count`` smallest, in order, of what was kept and of ``found`` (n, M), whose first column is ``start``."""
    places = np.broadcast_to(np.arange(start, start + found.shape[1]), found.shape)
    every, of = np.concatenate([distances, found], 1), np.concatenate([indices, places], 1)
    order = np.argsort(every, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(every, order, 1), np.take_along_axis(of, order, 1)


def _halved(band: np.ndarray) -> np.ndarray:
    return np.asarray(band.reshape(len(band), COARSE, 2, COARSE, 2).mean((2, 4), dtype=np.float32))


def _unit(crops: np.ndarray) -> np.ndarray:
    """(N, h, w) -> (N, h * w) of length 1."""
    flat = crops.reshape(len(crops), -1)
    return np.asarray(flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-9))


@cache
def _smoothing(sigma: float) -> np.ndarray:
    """The matrix (64, 64) of a Gaussian filter over a line: a product with it is much faster than filtering."""
    from scipy.ndimage import gaussian_filter1d

    return np.asarray(gaussian_filter1d(np.eye(SIDE), sigma, axis=0), np.float32)


@cache
def _window() -> np.ndarray:
    """Weights (64, 64): raised cosines, 0 within REACH of the edge, where letter-box margins and shifts would count."""
    place = (np.arange(SIDE) - REACH + 0.5) / (SIDE - 2 * REACH)
    line = np.where((place > 0) & (place < 1), np.sin(np.pi * np.clip(place, 0, 1)), 0)
    return np.asarray(np.outer(line, line), np.float32)


@cache
def _shifts() -> tuple[np.ndarray, np.ndarray]:
    """Matrices (13, 64) and (33, 13) that take a spectrum of `rfft2` to its image at the shifts within REACH alone.

    The inverse transform of all 64 x 64 places would cost three times as much. Of the half spectrum, columns that stand
    for two conjugate ones count twice.
    """
    shifts, half = np.arange(-REACH, REACH + 1), np.arange(SIDE // 2 + 1)
    rows = np.exp(2j * np.pi / SIDE * np.outer(shifts, np.arange(SIDE))) / SIDE
    twice = np.where((half == 0) | (half == SIDE // 2), 1, 2)
    columns = twice[:, None] * np.exp(2j * np.pi / SIDE * np.outer(half, shifts)) / SIDE
    return rows.astype(np.complex64), columns.astype(np.complex64)


def _movements(image: np.ndarray) -> np.ndarray:
    """``image`` (64, 64) in every turn and zoom of the grid, float32 (25, 64, 64)."""
    import torch
    from torch.nn import functional

    grid = _grid()
    source = torch.from_numpy(np.ascontiguousarray(image))[None, None].expand(len(grid), -1, -1, -1)
    moved = functional.grid_sample(source, grid, mode="bicubic", padding_mode="zeros", align_corners=False)
    return np.asarray(moved[:, 0].numpy())


@cache
def _grid() -> torch.Tensor:
    import torch
    from torch.nn import functional

    matrices = []
    for turn, zoom in itertools.product(np.radians(TURNS_DEGREES), ZOOMS):
        cos, sin = np.cos(turn) / zoom, np.sin(turn) / zoom
        matrices.append([[cos, -sin, 0.0], [sin, cos, 0.0]])
    theta = torch.tensor(matrices, dtype=torch.float32)
    return functional.affine_grid(theta, [len(matrices), 1, SIDE, SIDE], align_corners=False)


def _moved(image: np.ndarray, degrees: float, zoom: float, shift: np.ndarray) -> np.ndarray:
    """``image`` uint8 turned and zoomed about its middle, then shifted by ``shift`` pixels (row, column)."""
    from scipy.ndimage import affine_transform

    angle = np.radians(degrees)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
    middle = (np.array(image.shape) - 1) / 2
    return _as_u8(affine_transform(image.astype(np.float32), matrix, middle - matrix @ (middle + shift), order=1))


def _toned(image: np.ndarray, tone: float, window: float) -> np.ndarray:
    """``image`` uint8 with a gamma of 1.4**``tone`` and a window that is up to 15 % narrower or wider."""
    value = (image / 255) ** (1.4**tone)
    return _as_u8(255 * ((value - 0.5) * (1 + 0.15 * window) + 0.5))


def _as_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def _as_u8(values: np.ndarray) -> np.ndarray:
    return np.rint(values).clip(0, 255).astype(np.uint8)
