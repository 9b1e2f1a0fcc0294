"""Voxels of any number type -> int16 HU; what is not in Hounsfield units is refused, with what it looks like."""

from __future__ import annotations

import math

import numpy as np

from gen.core.errors import BadInput

_INT16 = np.iinfo(np.int16)
_PADDING_HU = -1100  # below it no scanner measures anything: noise of air stays above
_AIR_AND_LUNG_HU, _SOFT_HU = (-1100, -600), (-200, 200)  # fat at -100 to enhanced tissue
_MIN_SHARE = 0.02  # of the voxels, of each; real chests have 0.4 to 0.8 and 0.2 to 0.5, a baby in a wide field less
_MAX_AIR_MODE_HU = -750  # lungs alone, where the field ends inside the body, peak near -850
_SAMPLE = 2_000_000  # voxels are enough for a histogram


def whole_numbers(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """int16 (z, y, x), contiguous and ours to write, a copy only where ``values`` are not so already; and remarks.

    NaN from the border of the grid inwards is padding, and becomes the lowest number, which is padding too. BadInput
    for NaN that tissue encloses, for infinite values and for normalised ones.
    """
    if values.dtype == np.int16:
        return np.require(values, requirements=["C", "W"]), []
    low, high = float(np.fmin.reduce(values, axis=None)), float(np.fmax.reduce(values, axis=None))  # NaN left out
    if math.isnan(low):
        raise BadInput("every voxel is NaN", hint="give the CT itself, in HU")
    if math.isinf(low) or math.isinf(high):
        raise BadInput("the file holds infinite values", hint="replace them, for air by -1000")
    if values.dtype.kind == "f" and high - low <= 10:
        raise BadInput(f"values from {low:g} to {high:g} are normalised, not HU", hint="give the CT as it was in HU")
    padding = _nan_padding(values) if values.dtype.kind == "f" and math.isnan(float(values.min())) else None
    whole = np.empty(values.shape, np.int16)
    for index, (plane, source) in enumerate(zip(whole, values, strict=True)):  # so that no second volume is made
        rounded = np.rint(source).clip(_INT16.min, _INT16.max)
        plane[...] = rounded if padding is None else np.where(padding[index], _INT16.min, rounded)
    if padding is None:
        return whole, []
    return whole, [f"{padding.mean():.1%} of the voxels are NaN, at the border of the scan: they are read as air"]


def _nan_padding(values: np.ndarray) -> np.ndarray:
    """Where ``values`` are NaN, bool (z, y, x); BadInput where a piece of that does not reach the border."""
    from scipy import ndimage

    missing = np.isnan(values)
    pieces, count = ndimage.label(missing)
    faces = [np.unique(pieces.take(end, axis)) for axis in range(3) for end in (0, -1)]
    if enclosed := count - np.count_nonzero(np.unique(np.concatenate(faces))):
        raise BadInput(
            f"the file holds NaN inside the scan ({enclosed} place(s)), not only as padding around it",
            hint="replace them, for air by -1000",
        )
    return np.asarray(missing)


def require_hu(hu: np.ndarray) -> float:
    """Refuse values that are not HU, with what they look like; returns the share of padding.

    HU are known by their two modes: air or lung near -1000, and soft tissue near 0 to 100.
    """
    stride = max(1, round((hu.size / _SAMPLE) ** (1 / 3)))
    sample = hu[::stride, ::stride, ::stride].ravel()
    counts = np.bincount(sample - np.int32(_INT16.min), minlength=2**16) / sample.size
    if _looks_like_hu(counts, 0):
        return float(counts[: _PADDING_HU - _INT16.min].sum())
    low, high = int(hu.min()), int(hu.max())
    if low == high:
        raise BadInput(f"every voxel is {low}, so there is nothing to see")
    modes = " and ".join(map(str, _modes(counts)))
    found = f"values run from {low} to {high}, most often near {modes}"
    wanted = "not HU, which have air near -1000 and soft tissue near 50"
    if low >= 0 and high <= 255:
        hint = "a label map is given as such, beside its CT; of a CT that was saved as grey the HU are lost"
        raise BadInput(f"{found}: grey levels, a mask or a label map, {wanted}", hint=hint)
    for shift in (-1024, -1000, 1024):
        if _looks_like_hu(counts, shift):
            cause = "the rescale intercept is missing" if shift < 0 else "the rescale intercept was applied twice"
            raise BadInput(f"{found}: {wanted}; {cause}", hint=f"add {shift} to every voxel, if that is so")
    cause = "MR or PET, perhaps, or a CT cut to a window" if low > _AIR_AND_LUNG_HU[1] else "or no chest is in them"
    raise BadInput(f"{found}: {wanted} ({cause})", hint="give the CT itself, in HU")


def _looks_like_hu(counts: np.ndarray, shift: int) -> bool:
    """Whether values with these shares (by value from -32768) would be HU once ``shift`` were added to them."""

    def between(low: int, high: int) -> np.ndarray:
        return counts[low - shift - _INT16.min : high - shift - _INT16.min]

    def mode(low: int, high: int) -> int:
        return int(np.convolve(between(low, high), np.ones(32), "valid").argmax()) + low + 16

    shares = between(*_AIR_AND_LUNG_HU).sum(), between(*_SOFT_HU).sum()
    in_place = mode(*_AIR_AND_LUNG_HU) <= _MAX_AIR_MODE_HU and _SOFT_HU[0] <= mode(-500, 500) <= _SOFT_HU[1]
    return bool(in_place and min(shares) >= _MIN_SHARE)


def _modes(counts: np.ndarray) -> list[int]:
    """The most common value and the most common one at least 300 from it, where there is one; smallest first."""
    first = int(counts.argmax())
    far = counts.copy()
    far[max(first - 300, 0) : first + 300] = 0
    modes = [first, int(far.argmax())] if far.any() else [first]
    return sorted(mode + _INT16.min for mode in modes)
