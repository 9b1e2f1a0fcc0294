"""The measures say what they claim of images for which the answer is known, whatever the image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.suppress.measures import contrast, detail_loss, psnr, published_ratio, signed_residual, ssim
from tests.augment.suppress.conftest import drawn_image

SOFT = 0.2 + 0.5 * drawn_image((90, 80))
BONE = np.where(drawn_image((90, 80), 1) > 0.55, 0.15, 0).astype(np.float32)
IMAGE = SOFT + BONE
EVERYWHERE = np.ones(SOFT.shape, bool)


@given(st.floats(-1, 2))
def test_the_residual_is_the_share_of_the_bone_that_is_left(left: float) -> None:
    assert signed_residual(SOFT + np.float32(left) * BONE, SOFT, BONE, EVERYWHERE) == pytest.approx(left, abs=1e-5)


@given(st.floats(-0.3, 0.3))
def test_the_residual_sees_a_shift_that_the_published_ratio_forgives(shift: float) -> None:
    shifted = SOFT + np.float32(shift)
    expected = shift * BONE.sum() / np.square(BONE).sum()
    assert signed_residual(shifted, SOFT, BONE, EVERYWHERE) == pytest.approx(expected, abs=1e-4)
    assert published_ratio(shifted, SOFT, BONE) == pytest.approx(1, abs=1e-5)


def test_the_published_ratio_rewards_doing_nothing_and_whiteness() -> None:
    assert published_ratio(SOFT, SOFT, BONE) == 1
    assert published_ratio(IMAGE, SOFT, BONE) > 0.5
    assert signed_residual(IMAGE, SOFT, BONE, EVERYWHERE) == pytest.approx(1, abs=1e-5)


@given(st.floats(0.001, 0.5))
def test_psnr_of_a_shift_is_that_of_the_formula(shift: float) -> None:
    assert psnr(SOFT + np.float32(shift), SOFT, EVERYWHERE) == pytest.approx(-20 * np.log10(shift), abs=0.01)


def test_the_truth_is_perfect_by_every_measure() -> None:
    assert psnr(SOFT, SOFT, EVERYWHERE) == float("inf")
    assert ssim(SOFT, SOFT, EVERYWHERE) == pytest.approx(1)
    assert detail_loss(SOFT, SOFT, EVERYWHERE) == 0


@pytest.mark.filterwarnings("error")
def test_nothing_is_known_of_an_empty_region() -> None:
    nowhere = ~EVERYWHERE
    for measure in (psnr, ssim, detail_loss):
        assert np.isnan(measure(IMAGE, SOFT, nowhere))
    assert np.isnan(signed_residual(IMAGE, SOFT, BONE, nowhere))
    assert np.isnan(signed_residual(SOFT, SOFT, np.zeros_like(BONE), EVERYWHERE))
    assert np.isnan(published_ratio(SOFT, SOFT, np.zeros_like(BONE)))


@pytest.mark.parametrize("worse", [np.zeros_like(SOFT), np.ones_like(SOFT), 1 - SOFT, SOFT[::-1]])
def test_other_images_are_worse_by_every_measure(worse: np.ndarray) -> None:
    assert psnr(worse, SOFT, EVERYWHERE) < 20
    assert ssim(worse, SOFT, EVERYWHERE) < 0.9
    assert detail_loss(worse, SOFT, EVERYWHERE) > 0.9


@given(st.floats(0, 2), st.floats(-0.2, 0.2))
def test_detail_loss_is_the_share_of_detail_that_changed(kept: float, shift: float) -> None:
    changed = np.float32(kept) * SOFT + np.float32(shift)
    assert detail_loss(changed, SOFT, EVERYWHERE) == pytest.approx(abs(kept - 1), abs=1e-3)


@given(st.floats(-0.3, 0.3), st.floats(0, 0.5))
def test_contrast_is_the_height_of_a_lesion_above_its_surroundings(height: float, level: float) -> None:
    lesion = np.hypot(*np.mgrid[-40:40, -40:40]) < 9
    image = (level + height * lesion).astype(np.float32)
    assert contrast(image, lesion) == pytest.approx(height, abs=1e-5)
    assert np.isnan(contrast(image, np.zeros_like(lesion)))
    far = np.hypot(*np.mgrid[-40:40, -40:40]) > 21  # beyond the ring
    assert contrast(np.where(far, 1, image), lesion) == contrast(image, lesion)
