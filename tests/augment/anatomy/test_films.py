"""What is done to a projection to look like a film: image and masks move together, and nobody is turned over."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.anatomy import films
from augment.anatomy.pairs import record_type

SIZE = 64
SEEDS = st.integers(0, 2**32)


def _record(seed: int = 0) -> np.ndarray:
    """A disc at the patient's right (bit 0), a smaller one at the left (bit 1); the image is what the masks are."""
    record = np.zeros((), record_type(SIZE))
    side = record["image"].shape[0]
    down, across = np.mgrid[:side, :side] / side
    right = np.hypot(down - 0.5, across - 0.3) < 0.16
    left = np.hypot(down - 0.5, across - 0.7) < 0.12
    record["masks"] = right + 2 * left
    record["image"] = np.where(right | left, 200, 40)
    record["frame"], record["known"] = (2, side - 2, 0, side), 3
    return record


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_masks_stay_on_what_they_mark_and_right_stays_right(seed: int) -> None:
    image, bits, scanned, lit = films._moved(_record(), SIZE, np.random.default_rng(seed))
    inside = scanned & lit
    marked = (bits > 0) & inside
    seen = (image > 0.47) & inside
    assert np.count_nonzero(marked ^ seen) <= 0.15 * np.count_nonzero(seen) + 12
    discs = [np.argwhere((bits >> i) & 1 > 0) for i in range(2)]
    if all(len(disc) > 20 for disc in discs):
        assert discs[0][:, 1].mean() < discs[1][:, 1].mean()


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_grey_levels_keep_their_order(seed: int) -> None:
    levels = np.sort(np.random.default_rng(seed).random((16, 16)).ravel()).reshape(16, 16)
    toned = films._toned(levels, np.random.default_rng(seed)).ravel()
    assert (np.diff(toned) >= 0).all()
    assert toned[-1] > toned[0]


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_a_film_is_an_image_and_a_function_of_its_seed(seed: int) -> None:
    one, other = (films.film(_record(), SIZE, np.random.default_rng(seed)) for _ in range(2))
    image, bits = one
    assert image.shape == bits.shape == (SIZE, SIZE)
    assert image.dtype == np.float32
    assert ((image >= 0) & (image <= 1)).all()
    assert np.array_equal(image, other[0])
    assert np.array_equal(bits, other[1])


def test_a_lung_that_is_white_is_brighter_and_a_lung_all_the_same() -> None:
    record = _record()
    bits = record["masks"]
    dark = np.where(bits > 0, 0.1, 0.6).astype(np.float32)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        before = bits.copy()
        white = films._white_out(dark, bits, rng)
        assert (white >= dark - 1e-6).all()
        assert np.array_equal(bits, before)


def test_a_projection_as_it_was_rendered_fills_the_square() -> None:
    image, bits = films.plain(_record(), SIZE)
    assert image.shape == (SIZE, SIZE)
    share = np.count_nonzero(bits) / bits.size
    assert abs(share - np.pi * (0.16**2 + 0.12**2)) < 0.02
