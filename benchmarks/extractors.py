"""Feature extractors that no training and no gate of ours has seen; each is fitted, if at all, on training images only.

``random net``: a convolutional net with untrained weights of a fixed seed, channel means and spreads at five scales.
``texture``: log energy of five band-pass levels on a 4 x 4 grid, and a histogram of gradient magnitudes at each level.
``layout``: the first 32 principal components of 16 x 16 pixel means.
They are no Inception net, whose weights cannot be had offline, so the figures compare with nobody else's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Extractor = Callable[[np.ndarray], np.ndarray]  # uint8 (N, H, W) -> float32 (N, D)

LEVELS, GRID, BINS = 5, 4, 12
COMPONENTS = 32


def fit_extractors(training: np.ndarray) -> dict[str, Extractor]:
    """The extractors by name; their features have mean 0 and mean square 1 over ``training`` (N, H, W) uint8."""
    return {
        "random net": _standardised(random_net(), training, each=True),
        "texture": _standardised(texture, training, each=True),
        "layout": _standardised(_fit_layout(training), training, each=False),
    }


def random_net(widths: tuple[int, ...] = (16, 32, 64, 128, 256), seed: int = 0) -> Extractor:
    """Strided 3 x 3 convolutions with He-normal weights and leaky ReLUs; features are (N, 2 * sum(widths))."""
    import torch
    from torch.nn import functional

    generator = torch.Generator().manual_seed(seed)
    weights = [
        torch.randn(wide, narrow, 3, 3, generator=generator) * (2 / (9 * narrow)) ** 0.5
        for narrow, wide in zip((1, *widths), widths, strict=False)
    ]
    weights[0] -= weights[0].mean((2, 3), keepdim=True)  # sees edges, not brightness, which `layout` sees

    def extract(levels: np.ndarray) -> np.ndarray:
        parts = []
        with torch.inference_mode():
            for start in range(0, len(levels), 16):
                x = torch.from_numpy(levels[start : start + 16].astype(np.float32))[:, None] / 127.5 - 1
                pooled = []
                for weight in weights:
                    x = functional.leaky_relu(functional.conv2d(x, weight, stride=2, padding=1), 0.2)
                    pooled += [x.mean((2, 3)), x.std((2, 3))]
                parts.append(torch.cat(pooled, 1).numpy())
        return np.concatenate(parts)

    return extract


def texture(levels: np.ndarray) -> np.ndarray:
    """(N, H, W) uint8 -> (N, LEVELS * (GRID**2 + BINS)) float32."""
    image = np.asarray(levels, np.float32) / 255
    edges = np.geomspace(1e-3, 0.5, BINS - 1)
    features = []
    for _ in range(LEVELS):
        coarse = block_mean(image, image.shape[1] // 2)
        band = image - coarse.repeat(2, 1).repeat(2, 2)
        features.append(np.log(block_mean(band**2, GRID).reshape(len(image), -1) + 1e-8))
        slope = np.hypot(*np.gradient(image, axis=(1, 2))).reshape(len(image), -1)
        bins = np.searchsorted(edges, slope)
        features.append(np.stack([(bins == k).mean(1) for k in range(BINS)], 1))
        image = coarse
    return np.concatenate(features, 1).astype(np.float32)


def block_mean(images: np.ndarray, side: int) -> np.ndarray:
    """(N, S, S) -> (N, side, side), each the mean of a block; S must be a multiple of ``side``."""
    count, size, _ = images.shape
    block = size // side
    return images.reshape(count, side, block, side, block).mean((2, 4), dtype=np.float32)


def _fit_layout(training: np.ndarray) -> Extractor:
    def pixels(levels: np.ndarray) -> np.ndarray:
        return block_mean(levels / np.float32(255), 16).reshape(len(levels), -1)

    known = pixels(training)
    mean = known.mean(0)
    _, _, directions = np.linalg.svd(known - mean, full_matrices=False)
    basis = directions[:COMPONENTS].T
    return lambda levels: (pixels(levels) - mean) @ basis


def _standardised(extract: Extractor, training: np.ndarray, each: bool) -> Extractor:
    """Shift and scale as over ``training``: ``each`` feature by its own spread, or all of them by their common one."""
    known = extract(training)
    mean = known.mean(0)
    spread = (known - mean).std(0) if each else np.sqrt(np.square(known - mean).mean())
    return lambda levels: ((extract(levels) - mean) / (spread + 1e-6)).astype(np.float32)
