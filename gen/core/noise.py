"""The initial noise of everything that is sampled: a function of a 64-bit seed, the same on every device and back end.

Bits come from Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", SC'11), keyed by the
seed, and become normal by Box and Muller (1958). Unlike torch's CPU generator, which keeps 32 bits of a seed, and
numpy's `standard_normal`, whose stream may change between versions.
"""

from __future__ import annotations

import math

import numpy as np

NOISE_VERSION = 1  # of the map from seed to noise; a job that was begun with another one cannot go on


def standard_normal(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Independent standard normal numbers, float32 of ``shape``, decided by ``seed`` in [0, 2**64).

    Raises ValueError for another seed. No number exceeds 6.7 in size.
    """
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed {seed} is not in [0, 2**64)")
    count = math.prod(shape)
    words = np.random.Philox(key=seed).random_raw((count + 1) // 2)
    # The upper half of a word gives the radius (never of 0), the lower half the angle.
    radius = np.sqrt(-2 * np.log(((words >> np.uint64(32)) + 1.0) / 2**32))
    angle = (words & np.uint64(0xFFFFFFFF)) * (2 * np.pi / 2**32)
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)
    return pairs.reshape(-1)[:count].astype(np.float32).reshape(shape)
