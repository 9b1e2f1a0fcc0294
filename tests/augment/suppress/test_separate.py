"""Soft tissue and bone add up to the image, at any size and strength."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.suppress.folder import Suppressor, suppressor_of
from augment.suppress.separate import separate
from gen.core.errors import BadInput
from tests.augment.suppress.conftest import drawn_image, drawn_network


@settings(max_examples=20)
@given(st.integers(128, 300), st.integers(128, 300), st.floats(0, 1))
def test_soft_and_bone_add_up_to_the_image(
    toy_suppressor: Suppressor, height: int, width: int, strength: float
) -> None:
    image = drawn_image((height, width))
    parts = separate(toy_suppressor, image, strength)
    assert parts.soft.shape == parts.bone.shape == image.shape
    assert parts.soft.dtype == parts.bone.dtype == np.float32
    np.testing.assert_allclose(parts.soft + parts.bone, image, atol=1e-7)
    for part in (parts.soft, parts.bone):
        assert 0 <= part.min() <= part.max() <= 1


def test_strength_is_the_share_that_is_taken(toy_suppressor: Suppressor) -> None:
    image = 0.2 + 0.6 * drawn_image((150, 170))
    whole, half, none = (separate(toy_suppressor, image, strength) for strength in (1.0, 0.5, 0.0))
    assert whole.bone.max() > 0.01
    inside = whole.soft > 0  # where more was found than there is, half of it need not be half of what was taken
    np.testing.assert_allclose(half.bone[inside], whole.bone[inside] / 2, atol=1e-6)
    np.testing.assert_array_equal(none.soft, image)


def test_the_tile_does_not_show() -> None:
    image = drawn_image((300, 420))
    whole, tiled = (separate(suppressor_of(drawn_network(), 144, tile=tile), image) for tile in (4096, 64))
    np.testing.assert_allclose(tiled.soft, whole.soft, atol=1e-4)


@pytest.mark.parametrize(
    ("image", "strength", "why"),
    [
        (np.zeros((127, 300), np.float32), 1.0, "too few"),
        (np.zeros((200, 200), np.float64), 1.0, "float32"),
        (np.zeros((200, 200, 3), np.float32), 1.0, "float32"),
        (np.full((200, 200), 1.5, np.float32), 1.0, "lie in"),
        (np.full((200, 200), np.nan, np.float32), 1.0, "lie in"),
        (np.zeros((200, 200), np.float32), 1.5, "strength"),
    ],
)
def test_what_is_no_radiograph_is_refused(
    toy_suppressor: Suppressor, image: np.ndarray, strength: float, why: str
) -> None:
    with pytest.raises(BadInput, match=why):
        separate(toy_suppressor, image, strength)


def test_the_package_gives_what_is_public_and_nothing_else() -> None:
    from augment import suppress
    from augment.suppress.separate import suppress_bone

    assert suppress.suppress_bone is suppress_bone
    with pytest.raises(AttributeError, match="no attribute 'anything'"):
        _ = suppress.anything
