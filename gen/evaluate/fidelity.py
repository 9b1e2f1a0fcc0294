"""Distance of the synthetic images from the real ones, beside that of one half of the real ones from the other.

FID, precision and recall are torch-fidelity's; density and coverage, KID by patient, and all intervals are added here.
Every figure but KID depends on the number of images, so sets are compared at equal N only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gen.core.run import derived_seed
from gen.data.rows import study_of
from gen.evaluate.extractors import Extractor, embed, extractor_of, one_thread
from gen.evaluate.images import ImageSet
from gen.statistics.groups import findings_of, groups_of
from gen.statistics.intervals import Figure, jackknife, members_of, proportion, unknown, with_error

METRICS = ("fid", "kid", "precision", "recall", "density", "coverage")
LOWER_IS_BETTER = frozenset({"fid", "kid"})
MOST = 2500  # images of a set that are compared: N x N distances are made of them
BALL = 3  # the k of precision and recall: Kynkaanniemi et al. 2019 (arXiv:1904.06991), section 3
NEAR = 5  # the k of density and coverage: Naeem et al. 2020 (arXiv:2002.09797), section 4
FEWEST_IN_GROUP = 32  # images with a finding or of a subgroup, real and synthetic each
_BLOCK = 512  # rows of a kernel matrix that are in memory


@dataclass(frozen=True)
class Comparison:
    """One set beside another. An interval covers the figure's expectation at this N, with other patients drawn."""

    fid: Figure
    kid: Figure
    precision: Figure
    recall: Figure
    density: Figure
    coverage: Figure


@dataclass(frozen=True)
class GroupFidelity:
    """KID of the images with one finding or of a subgroup, and of two halves of its real ones (NaN where too few)."""

    kid: Figure
    floor: Figure
    n_real: int
    n_synthetic: int


@dataclass(frozen=True)
class Fidelity:
    """Synthetic against real, and real against other patients' real (the floor), at ``n`` images a set."""

    extractor: str
    note: str  # what the extractor has seen
    n: int
    synthetic: Comparison
    floor: Comparison
    groups: Mapping[str, GroupFidelity]


def fidelity(
    real: ImageSet, synthetic: ImageSet, extractor: str | Extractor, cache: str | Path | None = None
) -> Fidelity:
    """Compare the two sets in ``extractor`` (or that of a spec, see `extractors.EXTRACTORS`).

    The real patients fall into halves A and B by a fixed seed, and the synthetic images into S and T, all cut to the
    smallest of them. The floor compares B with A. ``synthetic`` is the mean of S with A and T with B: so it uses all
    images, and each figure stands beside one of the same N. Only KID, unbiased at any N, takes all against all at once.
    """
    extractor = extractor_of(extractor) if isinstance(extractor, str) else extractor
    x, y = embed(real.pixels_u8, extractor, cache), embed(synthetic.pixels_u8, extractor, cache)
    of_real, of_synthetic = np.asarray(real.units), np.asarray(synthetic.units)
    parts = (*halves(real.units), *halves(synthetic.units))
    n = min(MOST, *(len(part) for part in parts))
    a, b, s, t = (part[:n] for part in parts)
    pairs = [compare(x[r], of_real[r], y[m], of_synthetic[m]) for r, m in ((a, s), (b, t))]
    most_real, most_synthetic = _at_most(len(x)), _at_most(len(y))
    return Fidelity(
        extractor=extractor.name,
        note=extractor.note,
        n=n,
        synthetic=dataclasses.replace(
            _mean_of_two(*pairs),
            kid=kid(x[most_real], of_real[most_real], y[most_synthetic], of_synthetic[most_synthetic]),
        ),
        floor=compare(x[a], of_real[a], x[b], of_real[b]),
        groups=_by_group(real, synthetic, x, y),
    )


def compare(
    real: np.ndarray, real_units: Sequence[str] | np.ndarray, other: np.ndarray, other_units: Sequence[str] | np.ndarray
) -> Comparison:
    """All figures of features ``other`` (N, D) against features ``real`` (N, D), with intervals by unit."""
    import torch
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

    real, other = np.asarray(real, np.float64), np.asarray(other, np.float64)
    tensors = torch.from_numpy(real), torch.from_numpy(other)
    statistics = [fid_features_to_statistics(features) for features in tensors]
    balls = prc_features_to_metric(tensors[1], tensors[0], prc_neighborhood=BALL, verbose=False)
    within_real, within_other, between = distances(real, real), distances(other, other), distances(other, real)

    def statistic(kept_real: np.ndarray, kept_other: np.ndarray) -> np.ndarray:
        near = neighbour_figures(
            within_real[np.ix_(kept_real, kept_real)],
            within_other[np.ix_(kept_other, kept_other)],
            between[np.ix_(kept_other, kept_real)],
        )
        return np.asarray([frechet_distance(real[kept_real], other[kept_other]), *near])

    _, _, _, density, coverage = statistic(np.arange(len(real)), np.arange(len(other)))
    values = (
        fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID],
        balls[KEY_METRIC_PRECISION],
        balls[KEY_METRIC_RECALL],
        float(density),
        float(coverage),
    )
    with one_thread():
        errors, freedom = jackknife(statistic, list(real_units), list(other_units))
    n = min(len(real), len(other))
    fid, precision, recall, of_density, of_coverage = (
        with_error(value, float(error), n, freedom) for value, error in zip(values, errors, strict=True)
    )
    return Comparison(
        fid=fid,
        kid=kid(real, real_units, other, other_units),
        precision=_share(precision),
        recall=_share(recall),
        density=dataclasses.replace(of_density, low=max(0.0, of_density.low)),
        coverage=_share(of_coverage),
    )


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """The Frechet distance of two Gaussians with the means and covariances of features (N, D) and (M, D).

    The same number as torch-fidelity's (Heusel et al. 2017, arXiv:1706.08500, equation 6), and fast enough to be had
    forty times: with covariances R'R and S'S, by QR, the trace of the root of their product is the nuclear norm of RS'.
    """
    means = [features.mean(0) for features in (first, second)]
    roots = [
        np.asarray(np.linalg.qr((features - mean) / math.sqrt(len(features) - 1), mode="r"))
        for features, mean in zip((first, second), means, strict=True)
    ]
    traces = sum(float(np.square(root).sum()) for root in roots)
    shared = float(np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum())
    return float(np.square(means[0] - means[1]).sum()) + traces - 2 * shared


def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Euclidean distances (N, M) of features (N, D) and (M, D)."""
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(first, second))


def neighbour_figures(
    within_real: np.ndarray, within_other: np.ndarray, between: np.ndarray
) -> tuple[float, float, float, float]:
    """Precision, recall, density and coverage from distances (N, N), (M, M) and other to real (M, N).

    Precision: the share of the others in the ball of some real image, whose radius reaches its k-th real neighbour;
    recall, the reverse (Kynkaanniemi et al. 2019, equations 1 and 2). Density: the mean number of real balls that an
    other is in, over k; coverage: the share of real balls with an other in them (Naeem et al. 2020, equations 4 and 6).
    """
    # Of its own row an image is the nearest (distance 0), hence k and not k - 1.
    radius_real = np.partition(within_real, (BALL, NEAR), axis=1)
    radius_other = np.partition(within_other, BALL, axis=1)[:, BALL]
    near = between <= radius_real[:, NEAR]
    return (
        float((between <= radius_real[:, BALL]).any(1).mean()),
        float((between <= radius_other[:, None]).any(0).mean()),
        float(near.sum(1).mean()) / NEAR,
        float(near.any(0).mean()),
    )


def kid(
    first: np.ndarray,
    first_units: Sequence[str] | np.ndarray,
    second: np.ndarray,
    second_units: Sequence[str] | np.ndarray,
) -> Figure:
    """The kernel distance of features (N, D) and (M, D), unbiased at any N and M: Binkowski et al. 2018, section 3.

    The paper is arXiv:1801.01401, the kernel (x.y / D + 1)^3. Pairs within a unit do not count: two images of a patient
    would make any set look like itself. With one image a unit this is torch-fidelity's number for the whole sets. The
    interval is the jackknife's over units; where the two distributions are the same, the U-statistic is degenerate, and
    it is too wide rather than too narrow.
    """
    groups = [np.unique(np.asarray(units), return_inverse=True)[1] for units in (first_units, second_units)]
    within = [_pair_sums(features, group) for features, group in zip((first, second), groups, strict=True)]
    cross = [np.bincount(groups[0], _kernel_sums(first, second)), np.bincount(groups[1], _kernel_sums(second, first))]
    total = float(cross[0].sum())
    sizes = [np.bincount(group).astype(np.float64) for group in groups]
    counts = [float(size.sum()) for size in sizes]
    if min(len(size) for size in sizes) < 3:
        return unknown(int(min(counts)))

    means = [
        sums.sum() / (count**2 - np.square(size).sum()) for sums, count, size in zip(within, counts, sizes, strict=True)
    ]
    value = float(means[0] + means[1] - 2 * total / (counts[0] * counts[1]))
    variance = 0.0
    for k in (0, 1):
        left = counts[k] - sizes[k]
        # A pair of units is in the sum twice, once from each side, so without a unit it lacks twice the unit's sum.
        own = (within[k].sum() - 2 * within[k]) / (left**2 - (np.square(sizes[k]).sum() - np.square(sizes[k])))
        without = own + means[1 - k] - 2 * (total - cross[k]) / (left * counts[1 - k])
        variance += (len(sizes[k]) - 1) * float(np.var(without))
    freedom = min(len(size) for size in sizes) - 1
    return with_error(value, math.sqrt(variance), int(min(counts)), freedom)


def halves(units: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The indices of two random halves, no unit in both: they differ by no more than the images of one patient."""
    images = {units[of_unit[0]]: of_unit.tolist() for of_unit in members_of(units)}
    sides: tuple[list[int], list[int]] = ([], [])
    for unit in sorted(images, key=lambda unit: derived_seed(0, unit)):
        min(sides, key=len).extend(images[unit])
    return np.asarray(sides[0], np.int64), np.asarray(sides[1], np.int64)


def _by_group(real: ImageSet, synthetic: ImageSet, x: np.ndarray, y: np.ndarray) -> dict[str, GroupFidelity]:
    members: list[dict[str, list[int]]] = [{}, {}]
    for of_set, images in zip(members, (real, synthetic), strict=True):
        for index, row in enumerate(images.rows):
            study = study_of(row)
            for group in (*groups_of(study)[1:], *findings_of(study)):  # without "all"
                of_set.setdefault(group, []).append(index)
    found = {}
    units = [np.asarray(images.units) for images in (real, synthetic)]
    for group in sorted(members[0].keys() & members[1].keys()):
        a, b = (np.asarray(of_set[group]) for of_set in members)
        if min(len(a), len(b)) >= FEWEST_IN_GROUP:
            a, b = a[_at_most(len(a))], b[_at_most(len(b))]
            first, second = (a[half] for half in halves(list(units[0][a])))
            found[group] = GroupFidelity(
                kid=kid(x[a], units[0][a], y[b], units[1][b]),
                floor=kid(x[first], units[0][first], x[second], units[0][second]),
                n_real=len(a),
                n_synthetic=len(b),
            )
    return found


def _at_most(count: int) -> np.ndarray:
    """Indices of ``count`` items, or of ``MOST`` of them by a fixed seed."""
    return np.sort(np.random.default_rng(0).permutation(count)[:MOST])


def _mean_of_two(first: Comparison, second: Comparison) -> Comparison:
    """Two independent comparisons as one: the errors of their figures add up as variances do."""

    def mean(one: Figure, two: Figure) -> Figure:
        value = (one.value + two.value) / 2
        below = math.hypot(one.value - one.low, two.value - two.low) / 2
        above = math.hypot(one.high - one.value, two.high - two.value) / 2
        return Figure(value, value - below, value + above, min(one.n, two.n))

    return Comparison(**{name: mean(getattr(first, name), getattr(second, name)) for name in METRICS})


def _share(figure: Figure) -> Figure:
    """A share's interval, inside [0, 1], and where no item differs from another not narrower than a proportion's."""
    least = proportion(round(figure.value * figure.n), figure.n)
    low, high = max(0.0, min(figure.low, least.low)), min(1.0, max(figure.high, least.high))
    return dataclasses.replace(figure, low=low, high=high)


def _kernel_sums(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """For each row the sum of its kernel values with all columns, (N,)."""
    return np.concatenate([block.sum(1) for block in _kernel_blocks(rows, columns)])


def _pair_sums(features: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """For each unit the sum of the kernel values between its images and those of other units, (units,)."""
    sums = np.zeros(len(features))
    start = 0
    for block in _kernel_blocks(features, features):
        own = groups[start : start + len(block), None] == groups[None, :]
        sums[start : start + len(block)] = np.where(own, 0, block).sum(1)
        start += len(block)
    return np.bincount(groups, sums)


def _kernel_blocks(rows: np.ndarray, columns: np.ndarray) -> Iterator[np.ndarray]:
    """The cubic kernel's matrix (N, M), some rows at a time."""
    columns = np.asarray(columns, np.float64)
    for start in range(0, len(rows), _BLOCK):
        yield (np.asarray(rows[start : start + _BLOCK], np.float64) @ columns.T / columns.shape[1] + 1) ** 3
