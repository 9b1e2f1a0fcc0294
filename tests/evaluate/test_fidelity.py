"""Figures against closed forms and independent implementations; intervals that cover; an order that holds."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from gen.core.manifest import Row
from gen.evaluate.extractors import Extractor
from gen.evaluate.fidelity import (
    FEWEST_IN_GROUP,
    LOWER_IS_BETTER,
    METRICS,
    compare,
    distances,
    fidelity,
    frechet_distance,
    halves,
    kid,
    neighbour_figures,
)
from gen.evaluate.images import ImageSet, digests


def units(count: int, images: int = 1) -> list[str]:
    return [str(k // images) for k in range(count)]


def gaussian(seed: int, count: int, size: int, mean: float = 0, spread: float = 1) -> np.ndarray:
    return mean + spread * np.random.default_rng(seed).standard_normal((count, size))


def exact_gaussian(seed: int, count: int, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Features whose own mean and covariance are exactly these."""
    rough = gaussian(seed, count, len(mean))
    rough -= rough.mean(0)
    white = rough @ np.linalg.inv(np.linalg.cholesky(np.cov(rough.T))).T
    return white @ np.linalg.cholesky(covariance).T + mean


# Closed forms


def test_fid_of_gaussians_is_the_closed_form() -> None:
    """For covariances that commute: |m - n|^2 + sum (sqrt a - sqrt b)^2 over their eigenvalues."""
    generator = np.random.default_rng(0)
    turn, _ = np.linalg.qr(generator.standard_normal((6, 6)))
    a, b = generator.uniform(0.2, 3, (2, 6))
    m, n = generator.standard_normal((2, 6))
    first, second = (
        exact_gaussian(k, count, mean, turn * spread @ turn.T)
        for k, (count, mean, spread) in enumerate([(80, m, a), (50, n, b)])
    )
    wanted = float(np.square(m - n).sum() + np.square(np.sqrt(a) - np.sqrt(b)).sum())
    assert compare(first, units(80), second, units(50)).fid.value == pytest.approx(wanted, abs=1e-6)
    assert frechet_distance(first, second) == pytest.approx(wanted, abs=1e-6)


def test_kid_of_gaussians_is_on_average_the_closed_form() -> None:
    """In one dimension the kernel is (xy + 1)^3, so the squared distance is d3^2 + 3 d2^2 + 3 d1^2, with the
    differences d of the raw moments; of a Gaussian these are m, m^2 + s^2 and m^3 + 3 m s^2."""
    (m, s), (n, t) = (0.3, 0.8), (-0.2, 1.1)
    raw = [np.asarray([mean, mean**2 + spread**2, mean**3 + 3 * mean * spread**2]) for mean, spread in ((m, s), (n, t))]
    wanted = float(np.square(raw[0] - raw[1]) @ [3, 3, 1])
    found = [
        kid(gaussian(k, 60, 1, m, s), units(60), gaussian(1000 + k, 90, 1, n, t), units(90)).value for k in range(600)
    ]
    assert np.mean(found) == pytest.approx(wanted, abs=4 * np.std(found) / 600**0.5)
    assert np.std(found) / 600**0.5 < wanted / 10  # or the line above says nothing


def test_density_and_coverage_of_equal_distributions_are_on_average_the_papers() -> None:
    """Naeem et al. 2020, section 4: E density = 1 and E coverage = 1 - (N-1)...(N-k) / (M+N-1)...(M+N-k)."""
    n, m, k = 40, 30, 5
    wanted = 1 - math.prod((n - i) / (m + n - i) for i in range(1, k + 1))
    found = []
    for run in range(400):
        real, other = gaussian(run, n, 3), gaussian(5000 + run, m, 3)
        found.append(neighbour_figures(distances(real, real), distances(other, other), distances(other, real))[2:])
    errors = 4 * np.std(found, axis=0) / 400**0.5
    np.testing.assert_array_less(np.abs(np.mean(found, axis=0) - [1, wanted]), errors)
    assert errors.max() < 0.03


def test_precision_and_recall_of_modes_are_counted() -> None:
    """Modes far apart: precision is the share of others in a real mode, recall that of real ones in a mode drawn."""
    sites = 1000.0 * np.eye(5)
    real = np.concatenate([gaussian(0, 30, 5, spread=0.01), gaussian(1, 10, 5, spread=0.01) + sites[0]])
    near_real = real[:24] + 1e-6
    other = np.concatenate([near_real, gaussian(3, 8, 5, spread=0.01) + sites[1]])  # a quarter far from all
    found = compare(real, units(40), other, units(32))
    assert found.precision.value == pytest.approx(24 / 32)
    assert 24 / 40 <= found.recall.value <= 30 / 40  # of the second mode nothing
    assert found.coverage.value <= 30 / 40
    apart = compare(real, units(40), other + 10 * sites[2], units(32))
    assert [getattr(apart, name).value for name in ("precision", "recall", "density", "coverage")] == [0, 0, 0, 0]
    for share in (apart.precision, apart.recall, apart.coverage):
        assert 0 < share.high < 0.2  # none of 32 is not a proof of none


# Independent implementations


@pytest.mark.parametrize(("n", "m", "size"), [(80, 80, 5), (40, 60, 50), (30, 30, 100)])
def test_fid_is_torch_fidelitys_and_scipys(n: int, m: int, size: int) -> None:
    first, second = gaussian(0, n, size), gaussian(1, m, size, 0.2, 1.3)
    root = sqrtm(np.cov(first.T) @ np.cov(second.T) + (1e-10 * np.eye(size) if size > min(n, m) else 0)).real
    apart = np.square(first.mean(0) - second.mean(0)).sum()
    plain = apart + np.trace(np.cov(first.T) + np.cov(second.T) - 2 * root)
    statistics = [fid_features_to_statistics(torch.from_numpy(features)) for features in (first, second)]
    theirs = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(first, second) == pytest.approx(theirs, abs=1e-3)
    assert compare(first, units(n), second, units(m)).fid.value == pytest.approx(theirs, abs=1e-9)
    assert plain == pytest.approx(theirs, abs=1e-3 if size < min(n, m) else 0.05)  # scipy's root of a singular matrix


@pytest.mark.parametrize("images", [1, 3])
def test_kid_is_the_sum_over_pairs_of_different_patients_and_with_one_image_each_torch_fidelitys(images: int) -> None:
    first, second = gaussian(0, 60, 7), gaussian(1, 60, 7, 0.3)
    patients = np.asarray(units(60, images))

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / 7 + 1) ** 3

    different = patients[:, None] != patients[None, :]
    within = sum(kernel(x, x)[different].mean() for x in (first, second))
    found = kid(first, patients, second, patients).value
    assert found == pytest.approx(within - 2 * kernel(first, second).mean(), abs=1e-9)
    if images == 1:
        theirs = kid_features_to_metric(
            *map(torch.from_numpy, (first, second)), kid_subsets=1, kid_subset_size=60, verbose=False
        )
        assert found == pytest.approx(theirs["kernel_inception_distance_mean"], abs=1e-9)


@pytest.mark.parametrize("images", [1, 2])
def test_the_error_of_kid_is_that_of_leaving_each_patient_out_in_turn(images: int) -> None:
    from scipy.stats import t

    first, second = gaussian(0, 20, 3), gaussian(1, 26, 3, 0.4)
    patients = [np.asarray(units(len(x), images)) for x in (first, second)]
    variance = 0.0
    for side in (0, 1):
        values = []
        for patient in np.unique(patients[side]):
            kept = [patients[k] != patient if k == side else np.full(len(patients[k]), True) for k in (0, 1)]
            left = kid(first[kept[0]], patients[0][kept[0]], second[kept[1]], patients[1][kept[1]])
            values.append(left.value)
        variance += (len(values) - 1) * np.var(values)
    found = kid(first, patients[0], second, patients[1])
    half = t.ppf(0.975, 20 // images - 1) * variance**0.5
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=1e-9)


def test_neighbour_figures_are_torch_fidelitys_and_the_definitions() -> None:
    real, other = gaussian(0, 70, 4), gaussian(1, 50, 4, 0.5)
    found = compare(real, units(70), other, units(50))
    theirs = prc_features_to_metric(*map(torch.from_numpy, (other, real)), prc_neighborhood=3, verbose=False)
    own = neighbour_figures(cdist(real, real), cdist(other, other), cdist(other, real))
    assert own[:2] == pytest.approx((theirs["precision"], theirs["recall"]))
    assert (found.precision.value, found.recall.value) == pytest.approx(own[:2])
    radii = [sorted(math.dist(x, y) for y in real)[5] for x in real]
    inside = [[math.dist(y, x) <= radius for x, radius in zip(real, radii, strict=True)] for y in other]
    assert found.density.value == pytest.approx(sum(map(sum, inside)) / (5 * 50))
    assert found.coverage.value == pytest.approx(sum(map(any, zip(*inside, strict=True))) / 70)


# Intervals


@pytest.mark.parametrize(("shift", "images"), [(0.0, 1), (0.4, 1), (0.4, 3)])
def test_intervals_cover_at_the_stated_rate(shift: float, images: int) -> None:
    """Each figure's expectation at this N; too wide is allowed (neighbours, and KID at no distance), too narrow not."""
    count, runs = 60, 80
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in METRICS}
    for run in range(runs):
        sets = []
        for side in (0, 1):
            generator = np.random.default_rng((run, side))
            patient = np.repeat(generator.standard_normal((count // images, 6)), images, 0)
            image = generator.standard_normal((count, 6))
            sets.append((0.8 * patient + 0.6 * image if images > 1 else image) + side * shift)
        result = compare(sets[0], units(count, images), sets[1], units(count, images))
        for name in METRICS:
            figure = getattr(result, name)
            found[name].append((figure.value, figure.low, figure.high))
    for name, figures in found.items():
        values, low, high = np.asarray(figures).T
        assert ((low <= values.mean()) & (values.mean() <= high)).mean() >= 0.87, name  # 95 % less 3 errors of 2.4 %
        assert (high - low).mean() < 8 * values.std(), name  # 3.9 would be exact


# Order


def test_every_figure_falls_as_the_distance_grows() -> None:
    real, fresh = gaussian(0, 100, 6), gaussian(1, 100, 6)
    rungs = [compare(real, units(100), fresh + shift, units(100)) for shift in (0, 0.6, 1.2, 2.4)]
    for name in METRICS:
        values = [getattr(rung, name).value * (1 if name in LOWER_IS_BETTER else -1) for rung in rungs]
        assert values == sorted(values), name


def test_a_collapsed_set_keeps_its_precision_and_loses_recall_and_coverage() -> None:
    real = gaussian(0, 100, 6)
    collapsed = compare(real, units(100), gaussian(1, 100, 6, spread=0.2), units(100))
    assert collapsed.precision.value > 0.95
    assert collapsed.recall.value < 0.3
    assert collapsed.coverage.value < 0.6


# Sets of images


def image_set(seed: int, count: int, prefix: str, wave: float = 0.0, findings: tuple[str, ...] = ()) -> ImageSet:
    """Images of 128 x 128 whose pixels at the top left carry six numbers, which `numbers` reads."""
    pixels_u8 = np.random.default_rng((seed, count)).integers(0, 256, (count, 128, 128)).astype(np.uint8)
    pixels_u8[:, 0, :6] = np.clip(128 + 30 * (gaussian(seed, count, 6) + wave), 0, 255)
    rows = tuple(
        Row(
            file=Path(f"{prefix}{k}.png"),
            file_name=f"{prefix}{k}.png",
            patient_id=f"{prefix}{k // 2}",
            findings=findings,
        )
        for k in range(count)
    )
    return ImageSet(Path(prefix), rows, pixels_u8, digests(pixels_u8))


numbers = Extractor("numbers", "numbers", "", lambda pixels_u8: (pixels_u8[:, 0, :6].astype(np.float32) - 128) / 30)


def test_the_floor_is_what_a_perfect_generator_reaches_and_never_mixes_patients(tmp_path: Path) -> None:
    real = image_set(0, 160, "real")
    perfect, worse = (fidelity(real, image_set(1, 130, "made", wave), numbers, tmp_path) for wave in (0, 1))
    assert perfect.floor == worse.floor
    assert perfect.n == 64  # whole patients of two images, half of 130 at most
    for name in METRICS:
        ours, floor, bad = (getattr(some, name) for some in (perfect.synthetic, perfect.floor, worse.synthetic))
        assert ours.low <= floor.value <= ours.high or floor.low <= ours.value <= floor.high
        assert not bad.low <= floor.value <= bad.high
        assert ours.n == (130 if name == "kid" else 64)


def test_the_figures_are_the_mean_over_both_halves_with_the_error_of_a_mean(tmp_path: Path) -> None:
    real, made = image_set(0, 160, "real"), image_set(1, 130, "made", 0.5)
    found = fidelity(real, made, numbers, tmp_path).synthetic.fid
    x, y = (numbers.extract(images.pixels_u8) for images in (real, made))
    sides = [[half[:64] for half in halves(images.units)] for images in (real, made)]
    parts = [
        compare(x[of], [real.units[k] for k in of], y[to], [made.units[k] for k in to]).fid
        for of, to in zip(*sides, strict=True)
    ]
    assert found.value == pytest.approx(np.mean([part.value for part in parts]))
    assert found.high - found.value == pytest.approx(math.hypot(*(part.high - part.value for part in parts)) / 2)
    assert found.value - found.low == pytest.approx(math.hypot(*(part.value - part.low for part in parts)) / 2)


def test_halves_share_no_patient_use_every_image_and_do_not_depend_on_order() -> None:
    generator = np.random.default_rng(0)
    patients = [f"p{k}" for k in range(50) for _ in range(generator.integers(1, 5))]
    first, second = halves(patients)
    sides = [{patients[index] for index in side} for side in (first, second)]
    assert not sides[0] & sides[1]
    assert sorted([*first, *second]) == list(range(len(patients)))
    assert abs(len(first) - len(second)) <= 4
    again, _ = halves(patients[::-1])
    assert {patients[::-1][index] for index in again} == sides[0]


def test_groups_large_enough_on_both_sides_have_their_own_distance_and_floor(tmp_path: Path) -> None:
    def mixed(prefix: str, seed: int, mass_wave: float, few: int) -> ImageSet:
        parts = [
            image_set(seed, 80, f"{prefix}-mass-", mass_wave, ("Mass",)),
            image_set(seed + 1, 80, f"{prefix}-no-", 0, ("No Finding",)),
            image_set(seed + 2, few, f"{prefix}-few-", 0, ("Hernia",)),
        ]
        rows = tuple(row for part in parts for row in part.rows)
        return ImageSet(
            Path(prefix),
            rows,
            np.concatenate([part.pixels_u8 for part in parts]),
            tuple(sha256 for part in parts for sha256 in part.sha256),
        )

    found = fidelity(mixed("real", 0, 0, 60), mixed("made", 5, 1.5, FEWEST_IN_GROUP - 1), numbers, tmp_path).groups
    assert list(found) == ["finding=Mass", "finding=No Finding"]
    assert found["finding=Mass"].kid.low > found["finding=Mass"].floor.high
    assert found["finding=No Finding"].kid.low < 0.05
    assert (found["finding=Mass"].n_real, found["finding=Mass"].n_synthetic) == (80, 80)
