from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen.anatomy.network import ORGANS
from gen.anatomy.reading import LEAST_CONFIDENCE, ONE_PIECE, Reading, clearness, interpret
from tests.anatomy.conftest import Project
from tests.anatomy.drawn import Drawn, film, mirrored

SIDE = 256


def _seen(masks: np.ndarray, image: np.ndarray | None = None) -> Reading:
    return interpret(masks.astype(np.float32), film(masks) if image is None else image)


def test_a_whole_chest_is_found() -> None:
    seen = _seen(Drawn().masks(SIDE))
    assert (seen.refused, seen.confidence) == ("", pytest.approx(1))


def test_frontal_phantoms_are_found_and_lateral_ones_are_not(project: Project) -> None:
    assert _seen(project()).refused == ""
    assert _seen(project("severe", "AP")).refused == ""
    assert "lateral" in _seen(project(view="lateral")).refused


@given(row=st.integers(2, 20), column=st.integers(2, 250), organ=st.sampled_from(ONE_PIECE))
def test_a_small_patch_apart_from_an_organ_in_one_piece_is_none_of_it(row: int, column: int, organ: str) -> None:
    masks = Drawn().masks(SIDE)
    k = ORGANS.index(organ)
    patched = masks.copy()
    patched[k, row : row + 3, column : column + 3] = True
    alone = not masks[k, row - 1 : row + 4, column - 1 : column + 4].any()
    assert alone
    whole, seen = _seen(masks), _seen(patched, film(masks))
    assert np.array_equal(seen.masks, whole.masks)
    assert seen.measurements == whole.measurements


def _without(organ: str) -> Callable[[np.ndarray], np.ndarray]:
    def call(masks: np.ndarray) -> np.ndarray:
        masks = masks.copy()
        masks[ORGANS.index(organ)] = False
        return masks

    return call


def _twice(masks: np.ndarray) -> np.ndarray:
    small = masks[:, ::2, ::2]
    both = np.concatenate([small, small], axis=2)
    return np.pad(both, ((0, 0), (0, SIDE // 2), (0, 0)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_without("left lung"), "only one lung"),
        (_without("heart"), "no heart"),
        (np.zeros_like, "no lung"),
        (_twice, "4 lungs"),
        (lambda masks: masks[:, ::-1], "heart is above"),
        (_without("abdomen"), "upside down, or cut off"),
        (lambda masks: masks[:, :, ::-1], "mirrored"),
        (lambda masks: masks[:, :170], "cuts the lungs"),
        (lambda masks: np.pad(masks, ((0, 0), (0, 0), (0, 150))), "off the middle"),
    ],
)
def test_what_is_not_one_upright_frontal_chest_is_refused_in_words(
    change: Callable[[np.ndarray], np.ndarray], words: str
) -> None:
    assert words in _seen(change(Drawn().masks(SIDE))).refused


def test_an_inverted_film_is_refused() -> None:
    masks = Drawn().masks(SIDE)
    for bad in (1 - film(masks), np.random.default_rng(0).random(masks.shape[1:]).astype(np.float32)):
        assert "inverted, white" in _seen(masks, bad).refused
    assert _seen(mirrored(masks)).refused == ""


def test_a_strip_of_panels_is_refused_by_its_shape() -> None:
    masks = Drawn().masks(SIDE).astype(np.float32)
    assert "panels" in interpret(masks, film(masks > 0), (256, 1024)).refused


def test_an_abdomen_that_is_in_doubt_alters_the_verdict_and_not_the_grade() -> None:
    masks = Drawn().masks(SIDE)
    doubtful = masks.astype(np.float32)
    doubtful[ORGANS.index("abdomen")] *= 0.6
    whole, seen = _seen(masks), interpret(doubtful, film(masks))
    assert "upside down" in seen.refused
    assert (seen.soundness, seen.confidence) == (whole.soundness, whole.confidence)


def test_confidence_falls_with_the_doubt_of_the_network() -> None:
    masks = Drawn().masks(SIDE)
    scores = [clearness(np.clip(masks * (1 - doubt) + ~masks * doubt, 0, 1)) for doubt in (0.0, 0.1, 0.3, 0.45)]
    assert scores == sorted(scores, reverse=True)
    doubtful = interpret(np.where(masks, 0.55, 0.45).astype(np.float32), film(masks))
    assert doubtful.confidence < LEAST_CONFIDENCE
    assert "not clear" in doubtful.refused
