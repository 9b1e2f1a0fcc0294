"""Which values are black and white where a file does not say, and what is odd about the greys of a picture.

Stored values are not greys. A file that says how to show them (a window, a VOI LUT) is shown so. Eight bits are what a
screen shows, so 8-bit values are taken for a display that somebody made, and stay as they are. Deeper values without
such words, 12 bits of a detector in 16-bit words above all, are shown over the range that they themselves use.
"""

from __future__ import annotations

import numpy as np

TAIL = 0.01  # share of the values at each end that may be outliers: dead pixels, burnt-in letters
MARGIN = 0.25  # of the range between the tails, by which a tail may reach further and still count in whole
# None of the 3,730 radiographs of our data is as odd as this: their 99th percentiles begin at 0.48 of white, their 1st
# ones end at 0.41, 0.25 lies between the two at least, 7 % of the pixels at most are full white and 45 % black.
DARK, BRIGHT = 0.35, 0.55
FLAT = 0.2
WHITE, BLACK = 0.1, 0.6


def own_range(values: np.ndarray) -> tuple[float, float]:
    """Black and white for ``values`` (any shape) that come without a window: their least and their greatest.

    Except where few lie far off: each end is held to within MARGIN of the range of all but the TAIL at either side.
    """
    least, low, high, greatest = (float(v) for v in np.quantile(values, (0, TAIL, 1 - TAIL, 1)))
    if low == high:
        return least, greatest
    margin = MARGIN * (high - low)
    return max(least, low - margin), min(greatest, high + margin)


def over(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """``values`` with ``low`` as 0 and ``high`` as 1, float32, clipped; all 0 where the two are equal."""
    return np.clip((values.astype(np.float64) - low) / ((high - low) or 1), 0, 1).astype(np.float32)


def remarks(pixels: np.ndarray) -> list[str]:
    """What is odd about the greys of ``pixels`` (H, W) in [0, 1], each a predicate; none of a usual radiograph."""
    low, high = (float(v) for v in np.quantile(pixels, (0.01, 0.99)))
    white, black = float((pixels == 1).mean()), float((pixels == 0).mean())
    odd = []
    if high < DARK:
        odd.append(f"is nearly black: 99 % of its pixels are darker than {high:.2f} of white")
    elif low > BRIGHT:
        odd.append(f"is nearly white: 99 % of its pixels are brighter than {low:.2f} of white")
    elif high - low < FLAT:
        odd.append(f"has hardly any contrast: 98 % of its pixels lie between {low:.2f} and {high:.2f} of white")
    if max(white / WHITE, black / BLACK) >= 1:
        odd.append(f"is clipped: {white:.0%} of its pixels are full white, {black:.0%} black")
    return odd
