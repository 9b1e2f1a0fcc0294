"""Diversity of the images of one prompt over their seeds, beside real radiographs of one label.

A generator that draws the same chest again and again may still score well on fidelity; here it does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gen.core.errors import BadInput
from gen.core.manifest import Row
from gen.data.rows import study_of
from gen.evaluate.extractors import Extractor, embed, extractor_of, one_thread
from gen.evaluate.images import ImageSet
from gen.statistics.groups import attributes_of
from gen.statistics.intervals import Figure, mean_of_means

# Wang et al. 2003 (Asilomar), section 3: weights of the five scales, window of 11 pixels and 1.5 pixels of deviation.
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW, DEVIATION = 11, 1.5
STEADY = (0.01**2, 0.03**2)  # K1 and K2 squared, for images in [0, 1]

FEWEST_LABELS = 8  # that real and synthetic images share; with fewer, labels are made coarser
MOST_LABELS, MOST_PAIRS = 100, 3  # groups of a set, and pairs of a group, that enter
APART = 150  # pairs from different groups
_BLOCK = 8  # pairs that are in memory as floats

Pairs = list[tuple[int, int, str]]  # two images and the group that both are in


@dataclass(frozen=True)
class Spread:
    """A figure of pairs: ``synthetic`` of one prompt and ``real`` of one label; ``*_apart`` of different ones."""

    synthetic: Figure
    real: Figure
    synthetic_apart: Figure
    real_apart: Figure


@dataclass(frozen=True)
class Diversity:
    """MS-SSIM (1: the same picture) and distance in the extractor (0: the same), both over the same pairs.

    ``within`` says what a synthetic pair shares, "prompt" or (where hardly any prompt has two images) "label", and
    ``label`` what a real pair shares. Intervals are over prompts or labels; N counts pairs.
    """

    extractor: str
    within: str
    label: str
    ms_ssim: Spread
    distance: Spread


def diversity(
    real: ImageSet, synthetic: ImageSet, extractor: str | Extractor, cache: str | Path | None = None
) -> Diversity:
    """Compare the spread within prompts over seeds to that between different patients' images of the same label.

    Real labels are those of the prompts, as fine as leaves `FEWEST_LABELS` of them with two patients. BadInput where
    the images are too small for MS-SSIM.
    """
    extractor = extractor_of(extractor) if isinstance(extractor, str) else extractor
    x, y = embed(real.pixels_u8, extractor, cache), embed(synthetic.pixels_u8, extractor, cache)
    prompts = [row.prompt or f"image {index}" for index, row in enumerate(synthetic.rows)]
    of_real, of_synthetic, label = _labels(real, synthetic)
    repeated, labelled = (len(_repeated(some, synthetic.units)) for some in (prompts, of_synthetic))
    within = "prompt" if repeated >= min(FEWEST_LABELS, max(1, labelled)) else "label"
    groups = prompts if within == "prompt" else of_synthetic
    pairs = _pairs(groups, synthetic.units)
    wanted = {of_synthetic[first] for first, _, _ in pairs}
    real_pairs = _pairs([name if name in wanted else None for name in of_real], real.units)
    chosen = [pairs, real_pairs, _apart(groups, synthetic.units), _apart(of_real, real.units)]
    sets = [(synthetic, y), (real, x)] * 2
    similar = [
        _figure(_similarities(images.pixels_u8, some), some) for (images, _), some in zip(sets, chosen, strict=True)
    ]
    far = [_figure(_lengths(features, some), some) for (_, features), some in zip(sets, chosen, strict=True)]
    return Diversity(extractor.name, within, label, ms_ssim=Spread(*similar), distance=Spread(*far))


def ms_ssim(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Multi-scale structural similarity of pairs of uint8 (N, H, W), (N,): 1 for equal images, 0 for opposite ones.

    Wang et al. 2003, equation 7, with windows that lie inside the image, and 2 x 2 means from scale to scale. Negative
    terms, which have no real power, count as 0. BadInput for images under 176 pixels a side.
    """
    import torch
    from torch.nn import functional

    least = WINDOW * 2 ** (len(SCALES) - 1)
    if min(first.shape[1:]) < least:
        raise BadInput(f"MS-SSIM needs images of {least} pixels a side or more, not {min(first.shape[1:])}")
    line = torch.exp(-((torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2) ** 2) / (2 * DEVIATION**2))

    def smooth(images: torch.Tensor) -> torch.Tensor:
        # As two products with a band matrix: seven times as fast on a CPU as the convolution of doubles.
        for axis in (2, 3):
            side = images.shape[axis]
            band = torch.zeros(side - WINDOW + 1, side, dtype=images.dtype)
            for offset, weight in enumerate(line / line.sum()):
                band.diagonal(offset).fill_(float(weight))
            images = band @ images if axis == 2 else images @ band.T
        return images

    # As floats first: the difference of two uint8 wraps around.
    x, y = (torch.from_numpy(np.asarray(images, np.float64) / 255)[:, None] for images in (first, second))
    product = torch.ones(len(first), dtype=torch.float64)
    for scale, weight in enumerate(SCALES):
        mean_x, mean_y = smooth(x), smooth(y)
        spread_x, spread_y = smooth(x * x) - mean_x**2, smooth(y * y) - mean_y**2
        shared = smooth(x * y) - mean_x * mean_y
        term = (2 * shared + STEADY[1]) / (spread_x + spread_y + STEADY[1])
        if scale == len(SCALES) - 1:
            term = term * (2 * mean_x * mean_y + STEADY[0]) / (mean_x**2 + mean_y**2 + STEADY[0])
        product *= term.mean((1, 2, 3)).clamp(min=0) ** weight
        x, y = functional.avg_pool2d(x, 2), functional.avg_pool2d(y, 2)
    return np.asarray(product.numpy())


# What two real images share, from the finest label to the coarsest.
_LABELS = ("findings, view, sex and age band", "findings, view and adult or child", "findings")


def label_of(row: Row, detail: int = 0) -> str:
    """The label of an image, as fine as ``_LABELS[detail]``."""
    study = study_of(row)
    findings = ";".join(name for name, finding in study.findings.items() if finding.state == "present")
    if detail == 2:
        return findings
    group = "child" if study.is_child else "adult"
    if detail == 1:
        return f"{findings}|{study.view}|{group}"
    return f"{findings}|{study.view}|{study.sex}|{attributes_of(study).get('age', group)}"


def _labels(real: ImageSet, synthetic: ImageSet) -> tuple[list[str], list[str], str]:
    """The labels of real and of synthetic images, and what they are made of: the finest that enough are shared of."""
    for detail in range(len(_LABELS)):
        of_real, of_synthetic = ([label_of(row, detail) for row in images.rows] for images in (real, synthetic))
        patients = set(zip(of_real, real.units, strict=True))
        several = {group for group, count in Counter(group for group, _ in patients).items() if count > 1}
        if len(several.intersection(of_synthetic)) >= FEWEST_LABELS:
            break
    return of_real, of_synthetic, _LABELS[detail]


def _repeated(groups: Sequence[str | None], units: Sequence[str]) -> dict[str, list[int]]:
    """The images of each group that holds more than one unit; what has no group (None) is in none."""
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        if group is not None:
            members.setdefault(group, []).append(index)
    return {group: images for group, images in members.items() if len({units[index] for index in images}) > 1}


def _pairs(groups: Sequence[str | None], units: Sequence[str]) -> Pairs:
    """Up to `MOST_PAIRS` pairs of each of up to `MOST_LABELS` groups, never of one unit, by a fixed seed."""
    generator = np.random.default_rng(0)
    members = _repeated(groups, units)
    names = list(members)
    found: Pairs = []
    for group in (names[k] for k in generator.permutation(len(names))[:MOST_LABELS]):
        images = generator.permutation(members[group])[:50]
        pairs = [(a, b) for k, a in enumerate(images) for b in images[:k] if units[a] != units[b]]
        found += [(int(pairs[k][0]), int(pairs[k][1]), group) for k in generator.permutation(len(pairs))[:MOST_PAIRS]]
    return found


def _apart(groups: Sequence[str], units: Sequence[str]) -> Pairs:
    """Up to `APART` pairs of different groups and units, no image in two of them."""
    order = np.random.default_rng(0).permutation(len(groups))
    pairs = list(zip(order[::2], order[1::2], strict=False))
    different = [(int(a), int(b)) for a, b in pairs if groups[a] != groups[b] and units[a] != units[b]]
    return [(a, b, f"pair {k}") for k, (a, b) in enumerate(different[:APART])]


def _similarities(pixels_u8: np.ndarray, pairs: Pairs) -> np.ndarray:
    from tqdm import tqdm

    blocks = [pairs[start : start + _BLOCK] for start in range(0, len(pairs), _BLOCK)]
    shown = tqdm(blocks, desc="comparing pairs", unit="block", leave=False)
    with one_thread():
        found = [ms_ssim(pixels_u8[[a for a, _, _ in some]], pixels_u8[[b for _, b, _ in some]]) for some in shown]
    return np.concatenate(found) if found else np.empty(0)


def _lengths(features: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Root mean square difference over the dimensions, (pairs,)."""
    if not pairs:
        return np.empty(0)
    first, second = features[[a for a, _, _ in pairs]], features[[b for _, b, _ in pairs]]
    return np.asarray(np.sqrt(np.square(first - second).mean(1)))


def _figure(values: np.ndarray, pairs: Pairs) -> Figure:
    """The mean over groups of each group's mean, which is not negative: a prompt of many seeds weighs as any other."""
    found = mean_of_means(values, [group for _, _, group in pairs])
    return replace(found, low=max(found.low, 0.0))
