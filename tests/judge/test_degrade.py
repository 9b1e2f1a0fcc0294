"""Damage does what its name says, is decided by its generator, and leaves no rounding that gives it away."""

from __future__ import annotations

import numpy as np
import pytest

from gen.judge.degrade import (
    BREAKING,
    KINDS,
    SHARES,
    SPOILS,
    UNSEEN_SPOILS,
    blur,
    degrade,
    draw_kind,
    spoil,
)
from gen.judge.network import QUALITIES


def picture(seed: int = 0, side: int = 48) -> np.ndarray:
    """float32 (side, side) in [0, 1], smooth with some texture, different in every direction."""
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[:side, :side] / side
    rough = blur(rng.random((side, side)), 1.0)
    return np.clip(0.15 + 0.5 * down**2 + 0.2 * across + 0.3 * (rough - 0.5), 0, 1).astype(np.float32)


def detail(image: np.ndarray) -> float:
    """Energy of the differences of neighbours."""
    return float(np.square(np.diff(image)).sum() + np.square(np.diff(image, axis=0)).sum())


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_decided_by_its_generator_and_comes_on_8_bit_levels(kind: str) -> None:
    image = picture()
    before = image.copy()
    one, again = (degrade(image, np.random.default_rng(3), kind) for _ in range(2))
    np.testing.assert_array_equal(one.image, again.image)
    np.testing.assert_array_equal(image, before)
    assert one.image.shape == image.shape
    assert one.image.dtype == np.float32
    np.testing.assert_allclose(one.image * 255, np.rint(one.image * 255), atol=1e-4)
    assert 0 <= one.image.min() <= one.image.max() <= 1
    assert one.same_image == (kind not in BREAKING)
    assert (one.quality[QUALITIES.index("anatomy")] == 0) == (kind in BREAKING)


@pytest.mark.parametrize("seed", range(6))
def test_worse_blur_and_noise_are_called_worse(seed: int) -> None:
    """Of many drawings, each called bad is blurrier (noisier) than each that is called good."""
    image = picture(seed, 96)
    for kind, sign in (("blur", -1), ("noise", 1)):
        drawn = [degrade(image, np.random.default_rng(100 * seed + i), kind) for i in range(40)]
        by_grade = {grade: [sign * detail(d.image) for d in drawn if d.quality[1] == grade] for grade in (0, 1)}
        assert by_grade[0]
        assert by_grade[1]
        assert min(by_grade[0]) > max(by_grade[1])


def test_a_shuffled_image_has_the_same_tones_in_other_places_and_a_turned_one_turns_back() -> None:
    image = np.rint(picture() * 255).astype(np.float32) / 255  # 48 pixels: any of the tilings fits
    for seed in range(8):
        shuffled = degrade(image, np.random.default_rng(seed), "shuffled").image
        np.testing.assert_allclose(np.sort(shuffled, None), np.sort(image, None), atol=1e-6)
        assert (shuffled != image).mean() > 0.2
        turned = degrade(image, np.random.default_rng(seed), "turned").image
        assert any(np.allclose(np.rot90(turned, k), image) for k in (1, 2, 3))
        assert not np.allclose(turned, image)


def test_every_kind_is_drawn_as_often_as_its_share() -> None:
    assert sum(SHARES.values()) == pytest.approx(1)
    assert SHARES.keys() == KINDS.keys()
    rng = np.random.default_rng(0)
    drawn = [draw_kind(rng) for _ in range(3000)]
    for kind, share in SHARES.items():
        assert drawn.count(kind) / 3000 == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("kind", [*SPOILS, *UNSEEN_SPOILS])
def test_a_forgery_still_shows_the_image_and_differs_from_it(kind: str) -> None:
    image = picture(side=96)
    made = spoil(image, np.random.default_rng(1), kind)
    assert np.corrcoef(made.ravel(), image.ravel())[0, 1] > 0.8
    assert np.abs(made - image).mean() > 0.5 / 255
    np.testing.assert_allclose(made * 255, np.rint(made * 255), atol=1e-4)


def test_smoothing_forgeries_lose_detail_and_rough_ones_add_it() -> None:
    image = picture(side=96)
    change = {kind: detail(spoil(image, np.random.default_rng(1), kind)) / detail(image) for kind in
              ("blur", "enlarged", "median", "noise", "checkerboard", "ringing")}  # fmt: skip
    assert max(change[kind] for kind in ("blur", "enlarged", "median")) < 1
    assert min(change[kind] for kind in ("noise", "checkerboard", "ringing")) > 1
