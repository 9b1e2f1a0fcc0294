"""From a projection to what a film of it could look like: moved, warped, in any grey levels, with borders and letters.

A network that shall read real films from projections must not lean on their tone (Dhont et al. 2020, RadRotator,
doi:10.1186/s41747-020-00155-7, was one that had to be taught so). A chest is never turned over: the heart is on the
left. Every draw comes from the generator that is given.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from torch.nn import functional

from gen.anatomy.network import ORGANS

_BODY = ORGANS.index("body")
_GOES_ON = np.uint16(sum(1 << ORGANS.index(organ) for organ in ("spine", "abdomen", "body")))
_LUNGS = ORGANS.index("right lung"), ORGANS.index("left lung")
_WORDS = ("L", "R", "PA", "AP", "PORTABLE", "ERECT", "SUPINE", "SEMI UPRIGHT", "12:45", "LEFT", "R 07")


def film(record: np.ndarray, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Image float32 (size, size) in [0, 1], and bits uint16 (size, size), of one record (augment/anatomy/pairs.py)."""
    image, bits, scanned, lit = _moved(record, size, rng)
    for change, chance in _CHANGES:
        if rng.random() < chance:
            image = change(image, bits, rng)
    image = np.clip(_toned(image, rng), 0, 1)
    if rng.random() < 0.4:  # neck, shoulders and belly go on beyond the scan, as far as one can tell
        bits, shown = np.where(scanned, bits, bits & _GOES_ON), lit
    else:
        shown = lit & scanned
    background = 0.0 if rng.random() < 0.8 else rng.uniform(0, 1)
    image = np.where(shown, image, np.float32(background))
    for last, chance in _LAST:
        if rng.random() < chance:
            image = last(image, rng)
    return image.clip(0, 1).astype(np.float32), np.where(shown, bits, np.uint16(0))


def plain(record: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The same of the projection as it was rendered, padded to a square and resampled."""
    top, bottom, left, right = record["frame"].astype(float)
    side = max(bottom - top, right - left)
    places = (np.arange(size) + 0.5) / size * side - side / 2 - 0.5
    rows, columns = np.meshgrid(places + (top + bottom) / 2, places + (left + right) / 2, indexing="ij")
    image, bits, inside = _sampled(record, rows, columns)
    return image * inside, bits * inside


def _moved(
    record: np.ndarray, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The record under a random affine and a smooth warp; which pixels were scanned, and which a tilted collimator
    leaves open."""
    top, bottom, left, right = record["frame"].astype(float)
    high, wide = bottom - top, right - left
    whole = rng.random() < 0.5
    side = (
        max(high, wide) * np.exp(rng.uniform(-0.1, 0.35))
        if whole
        else min(high, wide) * np.exp(rng.uniform(-0.2, 0.15))
    )
    angle = np.clip(rng.normal(0, 0.09), -0.3, 0.3)
    stretch = np.exp(rng.uniform(-0.07, 0.07))
    place = ((np.arange(size) + 0.5) / size - 0.5).astype(np.float32)
    down, across = np.meshgrid(place, place, indexing="ij")
    if rng.random() < 0.7:  # smooth: a few control points, whose cubic interpolation does not fold
        points = int(rng.integers(4, 8))
        draw = torch.from_numpy(rng.normal(0, rng.uniform(0.003, 0.018), (1, 2, points, points)).astype(np.float32))
        warp = functional.interpolate(draw, size=(size, size), mode="bicubic", align_corners=True)[0].numpy()
        down, across = down + warp[0], across + warp[1]
    cosine, sine = np.cos(angle), np.sin(angle)
    y = side * stretch * (cosine * down - sine * across)
    x = side / stretch * (sine * down + cosine * across)
    shift = rng.normal(0, 0.05, 2).clip(-0.12, 0.12) * side
    rows, columns = y + (top + bottom - 1) / 2 + shift[0], x + (left + right - 1) / 2 + shift[1]
    image, bits, scanned = _sampled(record, rows, columns)
    lit = np.ones_like(scanned)
    if rng.random() < 0.3:  # a collimator, turned against the patient
        turn = rng.normal(0, 0.05)
        u, v = np.cos(turn) * down - np.sin(turn) * across, np.sin(turn) * down + np.cos(turn) * across
        edges = 0.5 - rng.exponential(0.05, 4).clip(0, 0.2)
        lit = (u > -edges[0]) & (u < edges[1]) & (v > -edges[2]) & (v < edges[3])
    return image, bits, scanned, lit


def _sampled(record: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, bits (of the nearest pixel) and whether it is one of the frame, at fractional places; the edge goes on."""
    top, bottom, left, right = record["frame"]
    picture = record["image"][top:bottom, left:right].astype(np.float32)
    image = ndimage.map_coordinates(picture, [rows - top, columns - left], order=1, mode="nearest") / 255
    inside = (rows > top - 0.5) & (rows < bottom - 0.5) & (columns > left - 0.5) & (columns < right - 0.5)
    nearest = np.rint(rows).clip(top, bottom - 1).astype(int), np.rint(columns).clip(left, right - 1).astype(int)
    return image, record["masks"][nearest], inside


def _toned(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One monotone curve for all grey levels, of which the darkest may all be black and the brightest all white."""
    low, high = np.quantile(image[::4, ::4], [0.02, 0.99])
    low, high = low + rng.normal(0, 0.05), high + rng.normal(0, 0.07)
    level = np.clip((image - low) / max(high - low, 0.15), 0, 1)
    rises = rng.gamma(2.0, 1.0, 6) + 0.4
    curve = np.concatenate([[0], np.cumsum(rises)]) / rises.sum()
    level = np.interp(level, np.linspace(0, 1, 7), curve) ** np.exp(rng.normal(0, 0.35))
    black, white = rng.uniform(0, 0.3) * (rng.random() < 0.5), 1 - rng.uniform(0, 0.35) * (rng.random() < 0.5)
    toned: np.ndarray = (black + (white - black) * level).astype(np.float32)
    return toned


def _field(shape: tuple[int, ...], points: int, rng: np.random.Generator) -> np.ndarray:
    """A smooth random surface of mean 0 and about unit variance, from ``points`` a side."""
    draw = torch.from_numpy(rng.standard_normal((1, 1, points, points)).astype(np.float32))
    field: np.ndarray = functional.interpolate(draw, size=shape, mode="bicubic", align_corners=True)[0, 0].numpy()
    return field


def _blurred(image: np.ndarray, cells: int) -> np.ndarray:
    """``image`` as smooth as ``cells`` a side."""
    whole = torch.from_numpy(image.astype(np.float32))[None, None]
    small = functional.interpolate(whole, size=(cells, cells), mode="area")
    smooth: np.ndarray = functional.interpolate(small, size=image.shape, mode="bicubic", align_corners=False)[
        0, 0
    ].numpy()
    return smooth


def _white_out(image: np.ndarray, bits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A lung, or a part of it, as bright as what has no air; its mask stays."""
    lung = (bits >> rng.choice(_LUNGS)) & 1
    part = lung * (_field(image.shape, int(rng.integers(2, 5)), rng) > rng.uniform(-1.5, 0.8))
    share = ndimage.gaussian_filter(part.astype(np.float32), 3) * rng.uniform(0.4, 1.0)
    bright = np.quantile(image, rng.uniform(0.6, 0.95)) + 0.04 * _field(image.shape, 8, rng)
    white: np.ndarray = image + share * np.maximum(bright - image, 0)
    return white


def _local_contrast(image: np.ndarray, bits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As equalisation and multi-scale processing do: detail stronger, or weaker, than it was."""
    base = _blurred(image, int(rng.integers(4, 24)))
    local: np.ndarray = base * rng.uniform(0.5, 1.1) + (image - base) * rng.uniform(0.6, 2.0) + rng.uniform(0, 0.2)
    return local


def _pale(image: np.ndarray, bits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Scatter in a large patient: a bright haze over the body, under which little contrast is left."""
    body = ndimage.gaussian_filter(((bits >> _BODY) & 1).astype(np.float32), 2)
    lost = body * rng.uniform(0.3, 0.8)
    haze = np.quantile(image, rng.uniform(0.7, 0.95)) + 0.06 * _field(image.shape, int(rng.integers(2, 5)), rng)
    pale: np.ndarray = image + lost * (haze - image)
    return pale


def _air(image: np.ndarray, bits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Air beside the patient in any grey: a film is seldom as black there as a projection is."""
    air = 1 - ((bits >> _BODY) & 1)
    share = ndimage.gaussian_filter(air.astype(np.float32), rng.uniform(0.5, 4))
    grey = np.quantile(image, rng.uniform(0.05, 0.6)) + 0.04 * _field(image.shape, 4, rng)
    filled: np.ndarray = image + share * (grey - image)
    return filled


def _uneven(image: np.ndarray, bits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    uneven: np.ndarray = image + rng.uniform(0.03, 0.12) * _field(image.shape, int(rng.integers(2, 5)), rng)
    return uneven


def _clutter(image: np.ndarray, bits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Leads, lines and clips, which projections lack and films have."""
    size = image.shape[0]
    canvas = Image.new("L", (size, size))
    pen = ImageDraw.Draw(canvas)
    for _ in range(int(rng.integers(1, 5))):
        points = rng.uniform(0, size, 2) + np.cumsum(rng.normal(0, size / 9, (8, 2)), axis=0)
        pen.line(
            [tuple(p) for p in points.tolist()],
            fill=int(rng.integers(80, 256)),
            width=int(rng.integers(1, 4)),
            joint="curve",
        )
    for _ in range(int(rng.integers(0, 4))):
        x, y = rng.uniform(0, size, 2)
        r = rng.uniform(2, 7)
        pen.ellipse([x - r, y - r, x + r, y + r], fill=int(rng.integers(80, 256)))
    cluttered: np.ndarray = image + rng.uniform(0.15, 0.6) * np.asarray(canvas, np.float32) / 255
    return cluttered


def _shadows(image: np.ndarray, bits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Soft shadows of the chest wall, and texture: what a film has more of than a projection."""
    texture = sum(_field(image.shape, points, rng) for points in (12, 28, 60))
    shadowed: np.ndarray = image + rng.uniform(0.005, 0.025) * texture
    return shadowed


def _letters(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    size = image.shape[0]
    canvas = Image.new("L", (size, size))
    pen = ImageDraw.Draw(canvas)
    for _ in range(int(rng.integers(1, 4))):
        font = ImageFont.load_default(float(rng.uniform(8, 26)))
        x, y = rng.uniform(0.02, 0.85) * size, rng.choice([rng.uniform(0.01, 0.12), rng.uniform(0.01, 0.9)]) * size
        pen.text((x, y), str(rng.choice(_WORDS)), fill=int(rng.integers(150, 256)), font=font)
    lettered: np.ndarray = np.maximum(image, np.asarray(canvas, np.float32) / 255)
    return lettered


def _soft(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    soft: np.ndarray = ndimage.gaussian_filter(image, rng.uniform(0.4, 1.6))
    return soft


def _noisy(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal(image.shape).astype(np.float32)
    if rng.random() < 0.5:
        noise = ndimage.uniform_filter(noise, 2) * 2
    noisy: np.ndarray = image + rng.uniform(0.005, 0.05) * noise
    return noisy


def _coarse(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    levels = int(rng.integers(12, 64))
    return np.rint(image * levels) / levels


def _jpeg(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    stream = io.BytesIO()
    picture = Image.fromarray(np.rint(image.clip(0, 1) * 255).astype(np.uint8))
    picture.save(stream, "JPEG", quality=int(rng.integers(15, 75)))
    return np.asarray(Image.open(stream), np.float32) / 255


# What is done in this order, each with its chance: before the grey levels, and after them.
_CHANGES = (
    (_white_out, 0.15),
    (_air, 0.3),
    (_local_contrast, 0.5),
    (_pale, 0.25),
    (_uneven, 0.4),
    (_clutter, 0.3),
    (_shadows, 0.5),
)
_LAST = ((_letters, 0.4), (_soft, 0.35), (_noisy, 0.5), (_coarse, 0.1), (_jpeg, 0.2))
