"""How well bone is gone: measures of one image, each a plain function of arrays, in floating point.

Shown values of a pair are p (predicted without bone), s (truth without bone) and b = image - s (bone), all of them with
the grey levels of the image, whose range is 1. After the published ratio and why it is not enough: it forgives what is
left of the bone, and gives most of its marks to an image in which nothing was done. Where a region has nothing to
measure, a measure is NaN.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

_FINE = 2.0  # pixels: the standard deviation of the blur that takes detail away


def signed_residual(predicted: np.ndarray, soft: np.ndarray, bone: np.ndarray, where: np.ndarray) -> float:
    """Sum of (p - s) b over the sum of b squared: 1 where nothing was done, 0 where bone is gone, < 0 beyond that."""
    b = bone[where].astype(np.float64)
    return _ratio(float((predicted[where] - soft[where]) @ b), float(b @ b))


def detail_loss(predicted: np.ndarray, soft: np.ndarray, where: np.ndarray) -> float:
    """The share of fine detail (difference to a blur of 2 pixels) that was lost or changed: 0 is none, 1 all of it.

    The energy of the change of detail as a share of the energy of detail, square root taken.
    """
    fine_truth, fine = (image - ndimage.gaussian_filter(image, _FINE) for image in (soft, predicted))
    changed, energy = (np.square(fine[where], dtype=np.float64).sum() for fine in (fine - fine_truth, fine_truth))
    return float(np.sqrt(_ratio(float(changed), float(energy))))


def psnr(predicted: np.ndarray, soft: np.ndarray, where: np.ndarray) -> float:
    """Peak signal to noise in dB for a range of 1; infinite where nothing differs."""
    error = _mean(np.square(predicted[where] - soft[where], dtype=np.float64))
    return float("inf") if error == 0 else -10 * float(np.log10(error))


def ssim(predicted: np.ndarray, soft: np.ndarray, where: np.ndarray) -> float:
    """Mean structural similarity for a range of 1 (Wang et al. 2004, Gaussian window of 1.5 pixels)."""

    def mean(image: np.ndarray) -> np.ndarray:
        return np.asarray(ndimage.gaussian_filter(image.astype(np.float64), 1.5))

    p, s = mean(predicted), mean(soft)
    pp, ss = mean(np.square(predicted)) - p * p, mean(np.square(soft)) - s * s
    ps = mean(predicted * soft) - p * s
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * p * s + c1) * (2 * ps + c2) / ((p * p + s * s + c1) * (pp + ss + c2))
    return _mean(similarity[where])


def published_ratio(predicted: np.ndarray, soft: np.ndarray, bone: np.ndarray) -> float:
    """The "bone suppression ratio" of the literature over the whole image, to place us by: it is told the brightness.

    The prediction is shifted by the mean of s - p, and only where s is above it the difference counts.
    """
    difference = soft - predicted
    left = np.maximum(difference - difference.mean(), 0)
    return 1 - _ratio(*(float(np.square(each, dtype=np.float64).sum()) for each in (left, bone)))


def contrast(image: np.ndarray, lesion: np.ndarray) -> float:
    """Mean of a lesion over the mean of the ring around it, as wide as the lesion."""
    if not lesion.any():
        return float("nan")
    width = max(2, round(float(np.sqrt(lesion.sum() / np.pi))))
    around = tuple(  # all that the ring can reach
        slice(max(0, int(places.min()) - width - 3), int(places.max()) + width + 4) for places in np.nonzero(lesion)
    )
    image, lesion = image[around], lesion[around]
    distance = ndimage.distance_transform_edt(~lesion)
    ring = (distance > 2) & (distance <= 2 + width)
    return _mean(image[lesion]) - _mean(image[ring])


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 1e-12 else float("nan")
