"""What reaches the detector: the energy-integrated signal of a whole spectrum behind the paths of several materials.

The signal of a pixel is the sum over energies of photons x response x exp(-attenuation), as a share of the open field.
Soft tissue and bone, which every pixel has, are read from a table of log signal; iodine and metal, which few pixels
have, are summed energy by energy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from drr.backends.compiled import compiled
from drr.backends.tiles import processors
from drr.physics.materials import MATERIALS, attenuation
from drr.physics.spectrum import Spectrum

_STEPS_MM = (1.0, 0.25, 0.5, 0.5)  # of the tables, by material; linear interpolation of log signal is then good to 1e-4


def transmit(paths_mm: Mapping[str, np.ndarray], spectrum: Spectrum, response: np.ndarray) -> np.ndarray:
    """The primary signal, float32 (H, W), 1 in the open field.

    ``paths_mm`` holds water-equivalent mm by name of `MATERIALS`, each (H, W); a missing one is zero, and negative
    ones (rounding of a difference of projections) count as zero. ``response`` (E,) is the signal of a photon at the
    energies of ``spectrum``, such as `drr.physics.detector.Detector.response`. The log signal is within 1e-4 of
    `transmit_exactly` from 50 to 150 kV behind 3 mm of aluminium or more.
    """
    weights, attenuations = _weights(spectrum, response), attenuation(spectrum.energies_kev)
    nothing = np.zeros_like(next(iter(paths_mm.values())), np.float32)
    paths = [np.require(paths_mm.get(name, nothing), np.float32, ["C", "W"]) for name in MATERIALS]
    factors = [
        _factors(path.max(), step, rates) for path, step, rates in zip(paths, _STEPS_MM, attenuations, strict=True)
    ]
    soft, bone, iodine, metal = factors
    table = np.log((soft * weights) @ bone.T).astype(np.float32)
    signal = np.empty_like(paths[0])

    def look_up(band: slice) -> None:
        _look_up(paths[0][band], paths[1][band], table, *_STEPS_MM[:2], signal[band])

    _in_bands(look_up, len(signal))
    rare = np.flatnonzero(np.maximum(paths[2], paths[3]) > 0)
    if rare.size:
        few = np.maximum(np.stack([path.ravel()[rare] for path in paths], axis=1), 0)
        steps = np.array(_STEPS_MM, np.float32)
        index = np.rint(few / steps)
        whole, rest, sums = index.astype(np.int32), few - index * steps, np.empty(rare.size, np.float32)
        rows = [factor.astype(np.float32) for factor in (soft * weights, bone, iodine, metal, attenuations)]

        def add_up(band: slice) -> None:
            _sum(whole[band], rest[band], *rows, sums[band])

        _in_bands(add_up, rare.size)
        signal.ravel()[rare] = sums
    return signal


def transmit_exactly(paths_mm: Mapping[str, np.ndarray], spectrum: Spectrum, response: np.ndarray) -> np.ndarray:
    """As `transmit`, float64 and summed energy by energy: the oracle, and what other detectors can be built on."""
    attenuations = dict(zip(MATERIALS, attenuation(spectrum.energies_kev), strict=True))
    depth = sum(np.maximum(path, 0.0)[..., None] * attenuations[name] for name, path in paths_mm.items())
    return np.asarray(np.exp(-depth) @ _weights(spectrum, response))


def _weights(spectrum: Spectrum, response: np.ndarray) -> np.ndarray:
    weights = spectrum.fluence * response
    return np.asarray(weights / weights.sum())


def _factors(longest_mm: float, step_mm: float, rates: np.ndarray) -> np.ndarray:
    """What is left at each energy (columns) after every step of a material (rows), two past the longest path."""
    steps = np.arange(max(longest_mm, 0) // step_mm + 3) * step_mm
    return np.asarray(np.exp(-np.outer(steps, rates)))


def _in_bands(fill: Callable[[slice], None], rows: int) -> None:
    """Call ``fill`` with a band of rows for each processor, at once.

    The threads are ours, since not all of numba's may be started from two threads. A row is computed alike in any band,
    so the result does not depend on how many processors there are.
    """
    edges = np.linspace(0, rows, processors() + 1).astype(int).tolist()
    with ThreadPoolExecutor(processors()) as pool:
        list(pool.map(fill, map(slice, edges[:-1], edges[1:])))


@compiled("void(f4[:, ::1], f4[:, ::1], f4[:, ::1], f8, f8, f4[:, ::1])", fastmath=True)
def _look_up(
    soft: np.ndarray, bone: np.ndarray, table: np.ndarray, soft_step: float, bone_step: float, signal: np.ndarray
) -> None:
    """Fill ``signal`` with the exponential of ``table`` (soft, bone), interpolated linearly in both."""
    for i in range(soft.shape[0]):
        for j in range(soft.shape[1]):
            s = max(soft[i, j], np.float32(0)) / np.float32(soft_step)
            b = max(bone[i, j], np.float32(0)) / np.float32(bone_step)
            k, m = int(s), int(b)
            ds, db = s - np.float32(k), b - np.float32(m)
            near = table[k, m] + db * (table[k, m + 1] - table[k, m])
            far = table[k + 1, m] + db * (table[k + 1, m + 1] - table[k + 1, m])
            signal[i, j] = np.exp(near + ds * (far - near))


@compiled(
    "void(i4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[::1])", fastmath=True
)
def _sum(
    index: np.ndarray,
    rest: np.ndarray,
    soft: np.ndarray,
    bone: np.ndarray,
    iodine: np.ndarray,
    metal: np.ndarray,
    rates: np.ndarray,
    signal: np.ndarray,
) -> None:
    """Fill ``signal`` (N,): rows ``index`` (N, 4) of the factors, times exp of minus ``rest`` mm (N, 4) to third order.

    Products of tabulated rows vectorise; an exponential for every pixel and energy would take several times as long.
    """
    for i in range(len(index)):
        s, b, c, m = index[i, 0], index[i, 1], index[i, 2], index[i, 3]
        ds, db, dc, dm = rest[i, 0], rest[i, 1], rest[i, 2], rest[i, 3]
        total = np.float32(0)
        for e in range(rates.shape[1]):
            x = ds * rates[0, e] + db * rates[1, e] + dc * rates[2, e] + dm * rates[3, e]
            left = np.float32(1) - x * (np.float32(1) - x * (np.float32(1 / 2) - x * np.float32(1 / 6)))
            total += soft[s, e] * bone[b, e] * iodine[c, e] * metal[m, e] * left
        signal[i] = total
