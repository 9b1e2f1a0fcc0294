"""Controlled damage to real images: what the quality heads and the texture branch learn from.

Each function is decided by its generator alone. Images are float32 (H, W) in [0, 1] and come back on 8-bit levels, as
images are stored, so that no rounding gives the damage away.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gen.core.radiograph import resize
from gen.judge.network import QUALITIES

Degradation = Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, dict[str, float]]]

# Severity at which an image counts as bad, and below which it still counts as good; between them it counts as neither.
BAD_GAMMA, GOOD_GAMMA = 0.7, 0.35  # |log gamma|
BAD_CONTRAST, GOOD_CONTRAST = 0.35, 0.7  # share of the contrast that is left
BAD_BLUR, GOOD_BLUR = 1.5, 0.75  # pixels at 256 a side, standard deviation
BAD_NOISE, GOOD_NOISE = 0.08, 0.03  # of full scale, standard deviation


@dataclass(frozen=True)
class Damaged:
    """A damaged image: its image, quality targets (1 good, 0 bad, NaN unknown), whether it still shows the patient."""

    image: np.ndarray
    quality: np.ndarray  # float32, in the order of QUALITIES
    same_image: bool


def degrade(image: np.ndarray, rng: np.random.Generator, kind: str) -> Damaged:
    """``image`` with damage of ``kind``, one of KINDS, of a severity that ``rng`` draws."""
    damaged, known = KINDS[kind](image, rng)
    broken = kind in BREAKING
    start = dict.fromkeys(QUALITIES, np.nan) | {"anatomy": 0.0} if broken else dict.fromkeys(QUALITIES, 1.0)
    quality = np.array([(start | known)[name] for name in QUALITIES], np.float32)
    return Damaged(to_eight_bits(damaged), quality, not broken)


def to_eight_bits(image: np.ndarray) -> np.ndarray:
    """float (H, W) -> float32 on the levels k / 255, clipped to [0, 1]."""
    return (np.rint(np.clip(image, 0, 1) * 255) / 255).astype(np.float32)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of ``sigma`` pixels, the edge repeated outwards."""
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(image, sigma, mode="nearest"))


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """``image`` through JPEG of ``quality`` (1 to 95) and back."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream), np.float32) / 255


def _nothing(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    return image, {}


def _gamma(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    power = rng.uniform(0.1, 1.4) * rng.choice([-1, 1])
    return image ** np.exp(power), {"exposure": _grade(abs(power), GOOD_GAMMA, BAD_GAMMA)}


def _contrast(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    left, middle = rng.uniform(0.1, 0.9), rng.uniform(0.2, 0.8)
    return middle + (image - image.mean()) * left, {"exposure": _grade(1 - left, 1 - GOOD_CONTRAST, 1 - BAD_CONTRAST)}


def _clipped(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    """A third or more of the picture burnt to white or sunk in black."""
    share = rng.uniform(0.35, 0.7)
    if rng.random() < 0.5:
        return (image - np.quantile(image, share)) / (1 - np.quantile(image, share) + 1e-3), {"exposure": 0.0}
    return image / (np.quantile(image, 1 - share) + 1e-3), {"exposure": 0.0}


def _inverted(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    return 1 - image, {"exposure": 0.0}


def _blurred(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    sigma = float(np.exp(rng.uniform(np.log(0.4), np.log(5))))
    return blur(image, sigma), {"sharpness": _grade(sigma, GOOD_BLUR, BAD_BLUR)}


def _noisy(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    sigma = float(np.exp(rng.uniform(np.log(0.01), np.log(0.3))))
    grain = rng.standard_normal(image.shape)
    if rng.random() < 0.3:  # quantum noise and scatter correlate over a pixel or two
        grain = blur(grain, 0.7)
        grain /= grain.std()
    return image + sigma * grain, {"sharpness": _grade(sigma, GOOD_NOISE, BAD_NOISE)}


def _shuffled(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    """The picture cut into tiles, and these put back in another order."""
    across = int(rng.choice([2, 3, 4, 6, 8]))
    side = image.shape[0] // across
    tiles = [image[y * side : (y + 1) * side, x * side : (x + 1) * side] for y in range(across) for x in range(across)]
    order = np.roll(rng.permutation(len(tiles)), 1)
    while (order == np.arange(len(tiles))).all():
        order = rng.permutation(len(tiles))
    rows = [np.concatenate([tiles[i] for i in order[y * across : (y + 1) * across]], 1) for y in range(across)]
    return resize(np.concatenate(rows).astype(np.float32), image.shape[0]), {}


def _cropped(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    """A quarter to a half of the side, enlarged to the whole."""
    side = int(rng.uniform(0.25, 0.5) * image.shape[0])
    y, x = rng.integers(image.shape[0] - side + 1, size=2)
    return resize(image[y : y + side, x : x + side], image.shape[0]), {}


def _turned(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    return np.rot90(image, int(rng.integers(1, 4))).copy(), {}


def _no_chest(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    """No image at all: noise of some smoothness, a gradient, or discs.

    Half the time with the image's mean and spread, so that brightness alone does not tell.
    """
    side = image.shape[0]
    down, across = np.mgrid[:side, :side] / side
    what = rng.integers(3)
    if what == 0:
        made = blur(rng.standard_normal(image.shape), float(np.exp(rng.uniform(np.log(0.3), np.log(40)))))
    elif what == 1:
        made = np.cos(rng.uniform(0, 2 * np.pi)) * down + np.sin(rng.uniform(0, 2 * np.pi)) * across
        made = made + 0.3 * rng.random() * blur(rng.standard_normal(image.shape), 1.0)
    else:
        made = np.zeros(image.shape)
        for _ in range(int(rng.integers(1, 8))):
            y, x, radius = rng.random(), rng.random(), rng.uniform(0.03, 0.4)
            made[(down - y) ** 2 + (across - x) ** 2 < radius**2] += rng.standard_normal()
        made = blur(made, rng.uniform(0.3, 6))
    made = (made - made.mean()) / (made.std() + 1e-6)
    mean, spread = (
        (image.mean(), image.std()) if rng.random() < 0.5 else (rng.uniform(0.2, 0.8), rng.uniform(0.05, 0.3))
    )
    return mean + spread * made, {}


def _grade(severity: float, good: float, bad: float) -> float:
    return 1.0 if severity <= good else 0.0 if severity >= bad else np.nan


KINDS: dict[str, Degradation] = {
    "none": _nothing,
    "gamma": _gamma,
    "contrast": _contrast,
    "clipped": _clipped,
    "inverted": _inverted,
    "blur": _blurred,
    "noise": _noisy,
    "shuffled": _shuffled,
    "cropped": _cropped,
    "turned": _turned,
    "no chest": _no_chest,
}
BREAKING = frozenset({"shuffled", "cropped", "turned", "no chest"})
# How often each kind is drawn for the second view of an image, in all 1.
SHARES = {
    "none": 0.25,
    "gamma": 0.08,
    "contrast": 0.05,
    "clipped": 0.05,
    "inverted": 0.03,
    "blur": 0.17,
    "noise": 0.12,
    "shuffled": 0.07,
    "cropped": 0.07,
    "turned": 0.05,
    "no chest": 0.06,
}


def draw_kind(rng: np.random.Generator) -> str:
    """One of KINDS, as often as SHARES says."""
    return str(rng.choice(list(SHARES), p=list(SHARES.values())))


# Ways to spoil a texture. The branch learns from the first; the others it meets only when it is measured.
SPOILS = ("blur", "noise", "JPEG", "enlarged")
UNSEEN_SPOILS = ("median", "checkerboard", "ringing")


def spoil(image: np.ndarray, rng: np.random.Generator, kind: str) -> np.ndarray:
    """``image`` with a texture that no detector makes: one of SPOILS or UNSEEN_SPOILS, on 8-bit levels."""
    from scipy.ndimage import median_filter

    side = image.shape[0]
    if kind == "blur":
        made = blur(image, rng.uniform(0.6, 2.5))
    elif kind == "noise":
        made = image + rng.uniform(0.015, 0.1) * rng.standard_normal(image.shape)
    elif kind == "JPEG":
        made = jpeg(image, int(rng.integers(5, 40)))
    elif kind == "enlarged":
        made = resize(resize(image, int(side * rng.uniform(0.3, 0.7))), side)
    elif kind == "median":
        made = median_filter(image, 3)
    elif kind == "checkerboard":  # of transposed convolutions: Odena et al. 2016, distill.pub
        made = image + rng.uniform(0.01, 0.03) * (np.indices(image.shape).sum(0) % 2 * 2 - 1)
    elif kind == "ringing":  # too much sharpening
        made = image + rng.uniform(1, 2) * (image - blur(image, 1.0))
    else:
        raise ValueError(f"unknown way to spoil an image {kind!r}")
    return to_eight_bits(made)
