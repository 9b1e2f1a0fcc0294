"""From detector signal to grey levels: logarithm, multi-scale unsharp masking, window, S-curve, CLAHE where wanted.

A `Window` is fitted to one image and then applied to it and to its bone-free twin, so that equal signal has equal grey.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.fft import dctn, idctn

from gen.core.errors import BadInput

_FLOOR = 1e-6  # of the open field: less is read-out noise in every detector
# Percentiles behind the patient and their grey levels: projections of CTs then have the histogram of erect PA
# radiographs.
_LUNG, _DENSE = (15, 0.24), (75, 0.74)
_SCALES_MM = (2.0, 4.0, 8.0, 16.0)  # of the unsharp mask: standard deviations at the detector


@dataclass(frozen=True)
class Window:
    """DICOM's sigmoid VOI function (PS3.3 C.11.2.1.3.1) of log attenuation, stretched so that the open field is 0."""

    centre: float
    width: float

    def __post_init__(self) -> None:
        if not self.width > 0:
            raise BadInput(f"a display window of width {self.width:g}", hint="widths are positive")

    def __call__(self, log: np.ndarray) -> np.ndarray:
        """Log attenuation -> float32 in [0, 1], monotone, bone bright (MONOCHROME2)."""
        slope = np.float32(4 / self.width)
        grey = 1 / (1 + np.exp(slope * (np.float32(self.centre) - log)))
        black = np.float32(1 / (1 + np.exp(4 * self.centre / self.width)))
        return np.clip((grey - black) / (1 - black), 0, 1)


def log_attenuation(signal: np.ndarray) -> np.ndarray:
    """-ln of the signal as a share of the open field: 0 in the open field, about 2 in lungs, 4 behind the heart."""
    return -np.log(np.maximum(signal, np.float32(_FLOOR)))


def fit_window(log: np.ndarray, region: np.ndarray | None = None) -> Window:
    """The window that shows lungs and dense tissue at the grey of real radiographs; both are percentiles of the body.

    ``region`` (H, W) bool says where to look; without it, wherever less than half of the open field arrives.
    """
    body = log[log > np.log(2) if region is None else region]
    if body.size == 0:
        raise BadInput(
            "there is nothing in the beam, so no window can be fitted", hint="is the view beside the patient?"
        )
    lung, dense = np.percentile(body, [_LUNG[0], _DENSE[0]])
    low, high = (np.log(grey / (1 - grey)) / 4 for _, grey in (_LUNG, _DENSE))
    width = max((dense - lung) / (high - low), 0.5)
    return Window(float((lung + dense) / 2 - width * (low + high) / 2), float(width))


def unsharp(log: np.ndarray, pitch_mm: float, strength: float = 0.5) -> np.ndarray:
    """``log`` plus ``strength`` of the detail that is finer than each of four scales, 2 to 16 mm; float32.

    Linear, so twins still add up: vessels gain 1 + 4 x strength, the outline of a lung next to nothing. The scales are
    those at which CT has less detail than radiographs. The borders are mirrors.
    """
    if strength == 0:
        return log
    waves = dctn(log, norm="ortho", workers=2)
    rows, columns = (np.square(np.arange(n, dtype=np.float32) / np.float32(2 * n * pitch_mm)) for n in log.shape)
    gain = np.full(log.shape, 1 + strength * len(_SCALES_MM), np.float32)
    for scale in _SCALES_MM:
        fall = np.float32(-2 * (np.pi * scale) ** 2)
        gain -= np.float32(strength) * np.exp(fall * rows)[:, None] * np.exp(fall * columns)
    waves *= gain
    return np.asarray(idctn(waves, norm="ortho", workers=2, overwrite_x=True))


def clahe(grey: np.ndarray, tiles: int = 8, limit: float = 2.0) -> np.ndarray:
    """Contrast-limited adaptive histogram equalisation (Zuiderveld, Graphics Gems IV, 1994), float32 in [0, 1].

    ``tiles`` a side, 256 levels; a tile's slope is cut at ``limit``, and what is cut (less than 1) goes to all levels.
    Between the centres of tiles the four mappings are interpolated. It is not monotone over the image.
    """
    if not (tiles >= 1 and limit >= 1):
        raise BadInput(f"CLAHE with {tiles} tiles a side and a limit of {limit:g}", hint="both are at least 1")
    level = np.minimum((grey * 256).astype(np.int32), 255)
    places, shares, maps = [], [], np.empty((tiles, tiles, 256), np.float32)
    edges = [np.linspace(0, n, tiles + 1).astype(int) for n in grey.shape]
    for i, j in np.ndindex(tiles, tiles):
        part = level[edges[0][i] : edges[0][i + 1], edges[1][j] : edges[1][j + 1]]
        counts = np.bincount(part.ravel(), minlength=256) * (256 / max(part.size, 1))
        kept = np.minimum(counts, limit)
        maps[i, j] = np.cumsum(kept + (counts - kept).sum() / 256) / 256
    for n in grey.shape:
        at = np.clip((np.arange(n) + 0.5) * tiles / n - 0.5, 0, tiles - 1)
        first = np.minimum(at.astype(int), max(tiles - 2, 0))
        places.append((first, np.minimum(first + 1, tiles - 1)))
        shares.append((at - first).astype(np.float32))
    down, right = shares[0][:, None], shares[1]
    (top, bottom), (left, far) = places
    above, below = (
        maps[row[:, None], left, level] * (1 - right) + maps[row[:, None], far, level] * right for row in (top, bottom)
    )
    return np.clip(above * (1 - down) + below * down, 0, 1)
