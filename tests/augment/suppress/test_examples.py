"""Examples: bone is what a monotone curve makes of what bone adds, drawn by seed and place alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.suppress.examples import Drawing, draw_example, region, weights_of, whole_image
from augment.suppress.pairs import BONE, CLEAR, LEFT_OUT, LUNG
from tests.augment.suppress.conftest import drawn_image


def pair(added: float) -> np.ndarray:
    regions = np.full((200, 240), LUNG)
    regions[:, 120:] = CLEAR
    return np.stack([4 * drawn_image((200, 240)), np.full((200, 240), added), regions]).astype(np.float16)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[float, Path]:
    folder = tmp_path_factory.mktemp("pairs")
    for added in (0.0, 0.5):
        np.save(folder / f"{added}.npy", pair(added))
    return {added: folder / f"{added}.npy" for added in (0.0, 0.5)}


@settings(max_examples=40)
@given(place=st.integers(0, 10**6))
def test_bone_has_the_sign_of_what_bone_adds_under_any_curve(paths: dict[float, Path], place: int) -> None:
    some, none = (draw_example([paths[added]], place, 0, 96, Drawing()) for added in (0.5, 0.0))
    for example in (some, none):
        assert example.display.shape == example.bone.shape == example.regions.shape == (96, 96)
        assert 0 <= example.display.min() <= example.display.max() <= 1
        assert example.display.dtype == example.bone.dtype == np.float32
    assert not none.bone.any()
    assert some.bone.min() >= -1e-6
    assert some.bone.max() > 0


def test_an_example_is_a_function_of_seed_and_place(paths: dict[float, Path]) -> None:
    def draw(place: int, seed: int) -> np.ndarray:
        return draw_example(list(paths.values()), place, seed, 64, Drawing()).display

    np.testing.assert_array_equal(draw(5, 1), draw(5, 1))
    assert not np.array_equal(draw(5, 1), draw(6, 1))
    assert not np.array_equal(draw(5, 1), draw(5, 2))


def test_what_is_left_out_has_no_weight(tmp_path: Path) -> None:
    made = pair(0.5)
    made[2, :100] = LUNG | LEFT_OUT
    made[2, 150:] = LUNG | BONE
    np.save(tmp_path / "pair.npy", made)
    how = Drawing(lung_weight=3, bone_weight=2)
    drawn = [draw_example([tmp_path / "pair.npy"], place, 0, 64, how).regions for place in range(20)]
    assert set(np.unique(weights_of(np.stack(drawn), how))) == {0.0, 1.0, 3.0, 6.0}


def test_regions_of_the_lungs_are_told_apart() -> None:
    regions = np.array([[LUNG, LUNG | BONE, LUNG | CLEAR, BONE, CLEAR]], np.uint8)
    assert region(regions, "lungs").tolist() == [[True, True, True, False, False]]
    assert region(regions, "bone").tolist() == [[False, True, False, False, False]]
    assert region(regions, "free").tolist() == [[False, False, True, False, False]]


def test_a_whole_image_keeps_its_size() -> None:
    example = whole_image(pair(0.5), np.random.default_rng(0))
    assert example.display.shape == (200, 240)
    assert example.regions.dtype == np.uint8
