"""The search for copies: exact correlation, a distance in the right order, and nothing that depends on blocks."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist

from gen.evaluate import copies
from gen.evaluate.copies import aligned_ncc, band_pass, nearest_aligned, nearest_embedded, planted


def pictures(count: int, seed: int, side: int = 128) -> np.ndarray:
    """Smooth random pictures over one common shape, as chests are: uint8 (count, side, side)."""
    generator = np.random.default_rng(seed)
    fields = generator.standard_normal((count + 1, side, side))
    smooth = gaussian_filter(fields, (0, side / 40, side / 40)) + 2 * gaussian_filter(fields, (0, side / 12, side / 12))
    spread = (smooth - smooth.mean((1, 2), keepdims=True)) / smooth.std((1, 2), keepdims=True)
    common = gaussian_filter(np.random.default_rng(99).standard_normal((side, side)), side / 8)
    mixed = spread[:count] + 1.5 * common / common.std()
    return np.rint((mixed * 25 + 128).clip(0, 255)).astype(np.uint8)


def test_the_correlation_is_that_of_a_plain_loop_over_all_shifts_and_movements() -> None:
    image, other = band_pass(pictures(2, 0))
    window, best = copies._window(), -1.0
    for moved in copies._movements(image):
        own = np.sqrt((window * moved**2).sum())
        for y in range(-copies.REACH, copies.REACH + 1):
            for x in range(-copies.REACH, copies.REACH + 1):
                target = np.roll(other, (-y, -x), (0, 1))
                best = max(best, (window * moved * target).sum() / (own * np.sqrt((window * target**2).sum())))
    assert aligned_ncc(image, other[None])[0] == pytest.approx(best, abs=1e-4)


def test_the_band_is_that_of_scipys_filters() -> None:
    pixels_u8 = pictures(3, 10, 256)
    image = pixels_u8.reshape(3, 64, 4, 64, 4).mean((2, 4)) / 255
    narrow, wide = (gaussian_filter(image, (0, sigma, sigma)) for sigma in (copies.NARROW, copies.WIDE))
    contrast = np.sqrt(gaussian_filter((narrow - wide) ** 2, (0, copies.LOCAL, copies.LOCAL)))
    np.testing.assert_allclose(band_pass(pixels_u8), (narrow - wide) / (contrast + copies.FAINT), atol=1e-4)


def test_the_window_is_zero_wherever_a_shift_reaches_over_the_edge() -> None:
    window = copies._window()
    edge = np.ones_like(window, bool)
    edge[copies.REACH : -copies.REACH, copies.REACH : -copies.REACH] = False
    assert not window[edge].any()
    assert (window[~edge] > 0).all()


def test_identical_nearly_identical_and_planted_copies_are_nearer_than_any_other() -> None:
    training, others = pictures(24, 1), pictures(24, 2)
    near = nearest_aligned(others, training).distance.min()
    one_level = np.where(training < 255, training + 1, training - 1).astype(np.uint8)  # uint8 differences wrap
    sets = {"itself": training, "one grey level": one_level, **planted(training)}
    worst = {}
    for kind, pixels_u8 in sets.items():
        found = nearest_aligned(pixels_u8, training)
        worst[kind] = found.distance.max()
        assert (found.index == np.arange(24)).mean() > 0.98, kind
        assert np.mean(found.distance < near) > 0.95, kind
    assert worst["itself"] == pytest.approx(0, abs=1e-3)
    assert nearest_aligned(training, training).distance.min() >= 0
    assert worst["itself"] <= worst["one grey level"] < near


def test_brightness_and_contrast_do_not_matter_and_the_negative_is_no_copy() -> None:
    training = pictures(20, 3)
    dim = np.rint(training * 0.6 + 60).astype(np.uint8)
    assert nearest_aligned(dim, training).distance.max() < 0.02
    assert (aligned_ncc(band_pass(255 - training[:1])[0], band_pass(training[:1])) < 0.7).all()


def test_the_result_depends_neither_on_the_blocks_nor_on_what_else_is_searched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training, queries = pictures(50, 4), pictures(9, 5)
    whole = nearest_aligned(queries, training)
    monkeypatch.setattr(copies, "BLOCK", 4)
    parts = nearest_aligned(queries, training)
    np.testing.assert_array_equal(whole.index, parts.index)
    np.testing.assert_allclose(whole.distance, parts.distance, atol=1e-6)
    alone = nearest_aligned(queries[3:4], training)
    assert alone.index[0] == whole.index[3]


def test_a_proposed_candidate_is_registered_even_where_the_shortlist_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    training = pictures(30, 6)
    monkeypatch.setattr(copies, "SHORTLIST", 1)
    monkeypatch.setattr(copies, "_shortlist", lambda block, known: np.full((len(block), 1), 7))
    monkeypatch.setattr(copies, "BLOCK", 2)
    proposed = np.arange(3)[:, None]
    assert nearest_aligned(training[:3], training, [proposed]).index.tolist() == [0, 1, 2]


def test_memory_does_not_grow_with_the_training_set() -> None:
    queries = pictures(2, 7, 64)
    peaks = []
    for count in (600, 2400):
        training = np.lib.stride_tricks.as_strided(  # as a memory map: many images that take no memory
            np.tile(pictures(1, 8, 64), (2, 1, 1)), (count, 64, 64), (0, 64, 1)
        )
        tracemalloc.start()
        nearest_aligned(queries, training)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_nearest_in_an_embedding_is_that_of_the_full_distance_matrix() -> None:
    generator = np.random.default_rng(0)
    queries, training = generator.standard_normal((7, 5)), generator.standard_normal((5000, 5))
    every = cdist(queries, training)
    distances, indices = nearest_embedded(queries.astype(np.float32), training.astype(np.float32), 3)
    np.testing.assert_array_equal(indices, np.argsort(every, 1)[:, :3])
    np.testing.assert_allclose(distances, np.sort(every, 1)[:, :3], atol=1e-5)


@pytest.mark.parametrize("barred", [False, True])
def test_memory_of_the_nearest_in_an_embedding_does_not_grow_with_the_queries(barred: bool) -> None:
    training = np.random.default_rng(2).standard_normal((2048, 4)).astype(np.float32)
    peaks = []
    for count in (300, 2048):
        tracemalloc.start()
        if barred:
            nearest_embedded(np.arange(count), training, 1, barred=np.arange(2048))
        else:
            nearest_embedded(training[:count], training, 1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_a_barred_neighbour_does_not_count() -> None:
    generator = np.random.default_rng(1)
    training, patients = generator.standard_normal((40, 3)), generator.integers(12, size=40)
    every = cdist(training, training)
    every[patients[:, None] == patients] = np.inf
    distances, indices = nearest_embedded(np.arange(40), training, 1, barred=patients)
    np.testing.assert_array_equal(indices[:, 0], every.argmin(1))
    np.testing.assert_allclose(distances[:, 0], every.min(1), atol=1e-9)


def test_planted_copies_are_a_function_of_the_seed_and_differ_from_their_source() -> None:
    training = pictures(4, 9)
    first, again = planted(training, 1), planted(training, 1)
    assert tuple(first) == copies.PLANTED
    for kind, pixels_u8 in first.items():
        np.testing.assert_array_equal(pixels_u8, again[kind])
        assert pixels_u8.shape == training.shape
        assert (pixels_u8 != training).any((1, 2)).all(), kind
