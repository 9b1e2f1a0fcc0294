"""What the network is shown: crops of pairs with small objects, noise and grey levels drawn anew for every example.

Whatever is drawn is a function of (seed, place in the run). Both images of a pair go through one monotone curve, and
bone is their difference after it: matched to a histogram each on its own, the sign of bone would be lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from augment.suppress.pairs import ADDED, BONE, CLEAR, LEFT_OUT, LUNG, REGIONS, SOFT
from gen.core.config import number
from gen.core.run import derived_seed


@dataclass(frozen=True)
class Drawing:
    """How far examples differ from their pair. There are flips, unlike elsewhere: bone is bone on either side.

    ``zoom``: pixels of a pair to one of the example, at least and at most. ``lung_weight``: of the lungs in the loss,
    where everything else in the picture has 1; ``bone_weight`` times that where bone lies over them: bone is rare, and
    an error in absolute terms is least where too little of it is found.
    """

    least_zoom: float = number(0.7, above=0)
    most_zoom: float = number(1.6, above=0)
    turn_degrees: float = number(6.0, least=0)
    objects: float = number(3.0, least=0)  # a crop, on average
    lung_weight: float = number(3.0, least=0)
    bone_weight: float = number(3.0, least=0)


@dataclass(frozen=True, eq=False)
class Example:
    """``display`` float32 (H, W) in [0, 1], the ``bone`` in it, and the map of ``regions``, uint8, of its pair."""

    display: np.ndarray
    bone: np.ndarray
    regions: np.ndarray


def draw_example(paths: Sequence[Path], place: int, seed: int, size: int, how: Drawing) -> Example:
    """The example at a ``place`` of the run, ``size`` pixels a side, from one of the pairs at ``paths``."""
    rng = np.random.default_rng(derived_seed(seed, f"example {place}"))
    pair = np.load(paths[int(rng.integers(len(paths)))], mmap_mode="r")
    curve = draw_curve(pair, rng)
    planes = _crop(pair, size, rng, how)
    soft, added, regions = (
        planes[SOFT],
        planes[ADDED] * np.float32(rng.uniform(0.7, 1.3)),
        planes[REGIONS].astype(np.uint8),
    )
    for _ in range(rng.poisson(how.objects)):
        _put_object(soft, rng)
    return Example(*_display(soft, added, curve, rng), regions)


def whole_image(pair: np.ndarray, rng: np.random.Generator) -> Example:
    """A whole pair as an example: validation looks at all of it, without objects."""
    soft, added, regions = (plane.astype(np.float32) for plane in pair)
    return Example(*_display(soft, added, draw_curve(pair, rng), rng), regions.astype(np.uint8))


def _crop(pair: np.ndarray, size: int, rng: np.random.Generator, how: Drawing) -> np.ndarray:
    """float32 (3, size, size): turned, zoomed, flipped at random, from inside the pair as far as that goes."""
    zoom = np.exp(rng.uniform(np.log(how.least_zoom), np.log(how.most_zoom)))
    shape = np.array(pair.shape[1:])
    zoom = min(zoom, float(shape.min()) / size)
    turn = np.deg2rad(rng.uniform(-how.turn_degrees, how.turn_degrees))
    half = zoom * size / 2
    centre = [rng.uniform(half, n - half) if n > 2 * half else n / 2 for n in shape]
    matrix = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    if rng.random() < 0.5:
        matrix[:, 1] *= -1
    # Only what the crop can reach is read from the disk.
    reach = int(np.ceil(half * 1.2)) + 2
    low = [max(0, int(c) - reach) for c in centre]
    part = torch.from_numpy(np.asarray(pair[:, low[0] : int(centre[0]) + reach, low[1] : int(centre[1]) + reach], "f4"))
    steps = np.arange(size) - (size - 1) / 2
    places = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1) @ matrix.T + np.array(centre) - low
    grid = torch.from_numpy((2 * places / (np.array(part.shape[1:]) - 1) - 1)[..., ::-1].astype(np.float32))[None]

    def at_places(planes: torch.Tensor, mode: str) -> torch.Tensor:
        return functional.grid_sample(planes[None], grid, mode=mode, padding_mode="border", align_corners=True)[0]

    planes = at_places(part[: ADDED + 1], "bilinear"), at_places(part[REGIONS:], "nearest")
    return torch.cat(planes).numpy()


def _put_object(soft: np.ndarray, rng: np.random.Generator) -> None:
    """Add what is no bone to log attenuation (size, size): nodules, soft or calcified, clips, wires and tubes, air."""
    size = len(soft)
    y, x = rng.uniform(0, size, 2)
    kind = rng.choice(["nodule", "calcified", "clip", "wire", "air"], p=[0.5, 0.1, 0.1, 0.2, 0.1])
    if kind == "wire":
        soft += _wire(size, rng)
        return
    radius = rng.uniform(2, 7) if kind in ("calcified", "clip") else np.exp(rng.uniform(np.log(3), np.log(28)))
    around = tuple(slice(max(0, int(c - 2 * radius) - 1), int(c + 2 * radius) + 2) for c in (y, x))
    rows, columns = np.mgrid[around[0], around[1]][:, : size - around[0].start, : size - around[1].start]
    turn = rng.uniform(0, np.pi)
    u = (rows - y) * np.sin(turn) + (columns - x) * np.cos(turn)
    v = (columns - x) * np.sin(turn) - (rows - y) * np.cos(turn)
    if kind == "clip":
        shape = rng.uniform(0.5, 2.5) * _edge(radius - abs(u)) * _edge(rng.uniform(0.6, 1.5) - abs(v))
    else:  # a ball, flattened and lobed
        flat = rng.uniform(0.75, 1.3)
        u, v = u * flat, v / flat
        lobes = 1 + rng.uniform(0, 0.2) * np.cos(rng.integers(2, 6) * np.arctan2(u, v) + rng.uniform(0, 6.3))
        chord = np.sqrt(np.maximum(1 - (u * u + v * v) / np.square(radius * lobes), 0))
        if rng.random() < 0.3:
            chord = ndimage.gaussian_filter(chord, radius / 4)
        # A ball of 10 mm in the lung attenuates like some 9 mm of water: 0.2; a pixel is about 0.6 mm
        shape = rng.uniform(0.012, 0.05) * radius * {"calcified": 3.0, "air": -0.4}.get(str(kind), 1.0) * chord
    soft[around] += shape


def _wire(size: int, rng: np.random.Generator) -> np.ndarray:
    """A smooth curve through the crop: a filled wire, or the two walls of a tube."""
    ends = rng.uniform(-0.1 * size, 1.1 * size, (4, 2))
    t = np.linspace(0, 1, 4 * size)[:, None]
    points = (1 - t) ** 3 * ends[0] + 3 * t * (1 - t) ** 2 * ends[1] + 3 * t**2 * (1 - t) * ends[2] + t**3 * ends[3]
    inside = points[((points >= 0) & (points < size)).all(axis=1)].astype(int)
    if not len(inside):
        return np.zeros((size, size))
    free = np.ones((size, size), bool)
    free[inside[:, 0], inside[:, 1]] = False
    distance = ndimage.distance_transform_edt(free)
    radius, height = rng.uniform(0.8, 5), rng.uniform(0.05, 0.6)
    if rng.random() < 0.5:
        return np.asarray(height * _edge(0.8 - abs(distance - radius)))
    return np.asarray(height * _edge(radius / 2 - distance))


def _edge(inside: np.ndarray) -> np.ndarray:
    """1 inside, 0 outside, over one pixel."""
    return np.clip(inside + 0.5, 0, 1)


def _display(
    soft: np.ndarray, added: np.ndarray, curve: Curve, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Log attenuation without bone and what bone adds -> the display and the bone in it, float32 (H, W)."""
    if rng.random() < 0.5:  # more of the edges that a detector's software enhances
        sigma, strength = np.exp(rng.uniform(np.log(1), np.log(20))), rng.uniform(0, 0.8)
        soft = soft + strength * (soft - ndimage.gaussian_filter(soft, sigma, truncate=2.5))
        added = added + strength * (added - ndimage.gaussian_filter(added, sigma, truncate=2.5))
    if rng.random() < 0.5:
        sigma = rng.uniform(0.3, 1.2)
        soft, added = ndimage.gaussian_filter(soft, sigma), ndimage.gaussian_filter(added, sigma)
    total = soft + added
    if rng.random() < 0.3:  # a haze of scatter that no grid held back
        haze = rng.uniform(0, 0.6) * np.exp(-np.percentile(total, 75))
        soft, total = -np.log(np.exp(-soft) + haze), -np.log(np.exp(-total) + haze)
    # Quantum noise grows with attenuation; the twins share it, so that the network need not take it away
    noise = rng.standard_normal(total.shape, np.float32)
    if rng.random() < 0.5:
        noise = ndimage.gaussian_filter(noise, 0.7) * 2.5
    noise *= np.exp(rng.uniform(np.log(0.002), np.log(0.03))) * np.exp((total - np.median(total)) / 4)
    display, boneless = curve(total + noise), curve(soft + noise)
    return display.astype(np.float32), (display - boneless).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Curve:
    """Log attenuation -> [0, 1], monotone: a window from ``low`` to ``high``, a sigmoid of ``bend`` about ``middle``
    (0: none), then ``levels`` at even steps."""

    low: float
    high: float
    bend: float
    middle: float
    levels: np.ndarray

    def __call__(self, log: np.ndarray) -> np.ndarray:
        """Grey levels of ``log``, of its shape."""
        share = (log - self.low) / (self.high - self.low)
        if self.bend > 0:
            low, high, share = (1 / (1 + np.exp(-self.bend * (value - self.middle))) for value in (0.0, 1.0, share))
            share = (share - low) / (high - low)
        return np.asarray(np.interp(share, np.linspace(0, 1, len(self.levels)), self.levels))


def draw_curve(pair: np.ndarray, rng: np.random.Generator) -> Curve:
    """Drawn so that the darkest and the brightest of the picture lie near the ends, as displays have them."""
    few = pair[: ADDED + 1, ::8, ::8].astype(np.float32).sum(axis=0)
    dark, bright = np.percentile(few, [rng.uniform(0, 4), rng.uniform(94, 100)])
    spread = max(bright - dark, 0.5)
    steps = rng.gamma(3.0, size=6)
    levels = np.interp(np.linspace(0, 1, 65), np.linspace(0, 1, 7), np.concatenate([[0], np.cumsum(steps)]))
    levels = ndimage.gaussian_filter1d(levels, 4, mode="nearest")
    levels = (levels - levels[0]) / (levels[-1] - levels[0])
    floor, top = (rng.uniform(0, 0.12), 1 - rng.uniform(0, 0.12)) if rng.random() < 0.4 else (0.0, 1.0)
    return Curve(
        low=dark - spread * rng.uniform(0, 0.25),
        high=bright + spread * rng.uniform(0, 0.3),
        bend=float(rng.uniform(2, 6)) if rng.random() < 0.6 else 0.0,
        middle=float(rng.uniform(0.35, 0.65)),
        levels=floor + (top - floor) * levels,
    )


def weights_of(regions: np.ndarray, how: Drawing) -> np.ndarray:
    """What each pixel counts in the loss, float32 of the shape of ``regions``."""
    lungs = np.where(region(regions, "lungs"), how.lung_weight, 1)
    weight = lungs * np.where(region(regions, "bone"), how.bone_weight, 1)
    return np.where(regions & LEFT_OUT, 0, weight).astype(np.float32)


def region(regions: np.ndarray, name: str) -> np.ndarray:
    """bool (H, W): "lungs", "bone" in the lungs, or lung "free" of bone."""
    inside = (regions & LUNG) > 0
    if name == "lungs":
        return inside
    return inside & ((regions & (BONE if name == "bone" else CLEAR)) > 0)
