"""Cleaning a radiograph: borders cut, exposure normalised, burnt-in marks outside the thorax painted over.

Pure functions of float32 (H, W) arrays in [0, 1], bone bright.
"""

from __future__ import annotations

import numpy as np

DARK, BRIGHT = 12 / 255, 245 / 255  # nine tenths of a border line lie below the one or above the other
MOST_BORDER = 0.3  # of a side, that may be cut
LOW, HIGH, MIDDLE = 0.06, 0.94, 0.55  # where the 3rd, 97th and 50th percentile of the chest come to lie
_SPAN = HIGH - LOW
# The ellipse of the thorax in the canonical frame, in parts of the side: centre x, y, radii. Nothing in it is painted.
THORAX = (0.5, 0.58, 0.45, 0.6)
_MARK = 0.18  # how much brighter than its surroundings a mark is
_MARK_WIDTH = 0.065  # of the side: a mark is narrower in one direction
_MARK_AREA = 0.006  # of the picture, at most


def content_box(pixels: np.ndarray) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of what is left when uniform dark or bright border lines are cut off."""
    bounds = []
    for lines in (pixels, pixels.T):
        border = ((lines < DARK).mean(1) > 0.9) | ((lines > BRIGHT).mean(1) > 0.9)
        most = int(MOST_BORDER * len(lines))
        start = next((i for i in range(most) if not border[i : i + 3].any()), 0)
        end = next((i for i in range(most) if not border[len(lines) - i - 3 : len(lines) - i].any()), 0)
        bounds.append((start, len(lines) - end))
    (top, bottom), (left, right) = bounds
    return top, left, bottom, right


def normalise_exposure(
    pixels: np.ndarray, where: np.ndarray | None = None, like: np.ndarray | None = None
) -> np.ndarray:
    """Bring the middle three quarters of ``pixels`` to a standard exposure; nothing is clipped, tails are compressed.

    The 3rd and 97th percentile become LOW and HIGH, the median MIDDLE by a gamma between 1/2 and 2. ``where`` is true
    for the pixels that count. With ``like``, of the same shape, the exposure of that image is the one that is changed,
    and ``pixels`` goes with it.
    """
    rows, columns = (slice(n // 8, n - n // 8) for n in pixels.shape)
    middle = (pixels if like is None else like)[rows, columns]
    counted = middle if where is None or not where[rows, columns].any() else middle[where[rows, columns]]
    low, median, high = np.quantile(counted, (0.03, 0.5, 0.97))
    scaled = (pixels - low) / max(high - low, 1e-3)
    # Slope and value are continuous where the straight part ends.
    below = LOW * np.exp(np.minimum(scaled, 0) * _SPAN / LOW)
    above = 1 - (1 - HIGH) * np.exp(-np.maximum(scaled - 1, 0) * _SPAN / (1 - HIGH))
    straight = LOW + _SPAN * scaled
    curve = np.where(scaled < 0, below, np.where(scaled > 1, above, straight))
    return np.asarray(curve ** _gamma(low, median, high), np.float32)


def put_exposure(pixels: np.ndarray, low: float, median: float, high: float) -> np.ndarray:
    """Undo `normalise_exposure` of an image whose 3rd, 50th and 97th percentile were ``low``, ``median``, ``high``.

    Exactly the inverse, but for what then lies outside [0, 1], which is clipped.
    """
    curve = np.clip(pixels, 1e-4, 1 - 1e-4) ** (1 / _gamma(low, median, high))
    below = np.log(np.minimum(curve, LOW) / LOW) * LOW / _SPAN
    above = 1 - np.log((1 - np.maximum(curve, HIGH)) / (1 - HIGH)) * (1 - HIGH) / _SPAN
    scaled = np.where(curve < LOW, below, np.where(curve > HIGH, above, (curve - LOW) / _SPAN))
    return np.asarray(low + scaled * max(high - low, 1e-3), np.float32).clip(0, 1)


def _gamma(low: float, median: float, high: float) -> float:
    """The exponent that brings ``median`` to MIDDLE once ``low`` and ``high`` are LOW and HIGH."""
    centre = LOW + _SPAN * (median - low) / max(high - low, 1e-3)
    return float(np.clip(np.log(MIDDLE) / np.log(np.clip(centre, 0.05, 0.95)), 0.5, 2))


def paint_marks(pixels: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Paint over small bright marks (letters, arrows, wires, edges) outside the thorax of a canonical image.

    They are what a white top-hat finds; their place, and what is not ``inside`` the picture, is filled smoothly from
    around it.
    """
    from scipy import ndimage

    side = len(pixels)
    width = max(3, round(_MARK_WIDTH * side))
    # What lies outside the picture is neither a dark surrounding nor an edge.
    known = _filled(pixels, ~inside, 0.01 * side)
    raised = known - ndimage.grey_opening(known, (width, width))
    x, y, wide, high = THORAX
    down, across = np.mgrid[:side, :side] / side
    outside = ((across - x) / wide) ** 2 + ((down - y) / high) ** 2 > 1
    labels, _ = ndimage.label((raised > _MARK) & outside, np.ones((3, 3)))
    small = np.bincount(labels.ravel()) <= _MARK_AREA * side * side
    small[0] = False
    marked = ndimage.binary_dilation(small[labels], iterations=max(1, round(0.01 * side)))
    return _filled(pixels, marked | ~inside, 0.01 * side)


def fill_outside(pixels: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Fill what is not ``inside`` the picture smoothly from around it."""
    return _filled(pixels, ~inside, 0.01 * len(pixels))


def sharpness(pixels: np.ndarray) -> float:
    """Mean absolute difference of neighbours in the middle half of ``pixels``, whose exposure is normalised."""
    middle = _middle(pixels)
    return float(np.abs(np.diff(middle, axis=0)).mean() + np.abs(np.diff(middle, axis=1)).mean())


def contrast(pixels: np.ndarray) -> float:
    """Mean absolute value of structures of 2 to 8 pixels of 256 in the middle half of ``pixels``."""
    from scipy import ndimage

    scale = len(pixels) / 256
    band = ndimage.gaussian_filter(pixels, 2 * scale) - ndimage.gaussian_filter(pixels, 8 * scale)
    return float(np.abs(_middle(band)).mean())


def _middle(pixels: np.ndarray) -> np.ndarray:
    rows, columns = (slice(n // 4, n - n // 4) for n in pixels.shape)
    return pixels[rows, columns]


def _filled(pixels: np.ndarray, hole: np.ndarray, sigma: float) -> np.ndarray:
    """``pixels`` with ``hole`` filled by normalised convolution, wider and wider until everything is reached.

    Where all is hole, ``pixels`` as they are.
    """
    from scipy import ndimage

    known = (~hole).astype(np.float32)
    filled, missing = pixels.copy(), hole.copy()
    enough = min(0.05, float(known.mean()) / 2)  # the widest filter sees the mean everywhere
    while enough and missing.any():
        weight = ndimage.gaussian_filter(known, sigma)
        reached = missing & (weight > enough)
        value = ndimage.gaussian_filter(pixels * known, sigma)
        filled[reached] = value[reached] / weight[reached]
        missing &= ~reached
        sigma *= 2
    return filled
