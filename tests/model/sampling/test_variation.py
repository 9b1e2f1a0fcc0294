"""Pose and exposure are drawn from the image's seed alone, and show nothing that the image does not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen.core.radiograph import Radiograph
from gen.data.clean import normalise_exposure, put_exposure
from gen.model.sampling.variation import draw_variation, vary

SEEDS = st.integers(0, 2**64 - 1)


def chest(side: int = 96) -> np.ndarray:
    down, across = np.mgrid[:side, :side] / side
    lungs = np.exp(-(((across - 0.3) / 0.12) ** 2) - ((down - 0.5) / 0.3) ** 2)
    lungs += np.exp(-(((across - 0.7) / 0.12) ** 2) - ((down - 0.5) / 0.3) ** 2)
    return normalise_exposure((0.9 - 0.7 * lungs + 0.05 * down).astype(np.float32))


@given(SEEDS)
def test_nothing_from_outside_the_image_is_shown(seed: int) -> None:
    framed = np.full((64, 64), 0.5, np.float32)
    framed[[0, -1], :] = framed[:, [0, -1]] = 0.0
    grey = draw_variation(seed)
    inner = put_exposure(np.full((1, 1), 0.5, np.float32), grey.low, grey.median, grey.high).item()
    moved = vary(Radiograph(framed, None, {}), seed).pixels
    # The black rim is one pixel wide; a spline rings by two more.
    assert np.abs(moved[3:-3, 3:-3] - inner).max() < 0.02


@given(SEEDS)
def test_an_image_of_normal_exposure_gets_the_median_that_was_drawn(seed: int) -> None:
    drawn = draw_variation(seed)
    assert 0 <= drawn.low < drawn.median < drawn.high <= 1
    image = put_exposure(chest(), drawn.low, drawn.median, drawn.high)
    # Its outer percentiles are near the drawn ones only: the gamma that normalised it moved them as well.
    assert np.median(image[12:84, 12:84]) == pytest.approx(drawn.median, abs=0.01)


@given(st.floats(0.05, 0.3), st.floats(0.35, 0.65), st.floats(0.5, 0.65))
def test_putting_an_exposure_undoes_its_normalisation(low: float, middle: float, span: float) -> None:
    raw = put_exposure(chest(), low, low + middle * span, low + span)
    again = put_exposure(normalise_exposure(raw), *np.quantile(raw[12:84, 12:84], (0.03, 0.5, 0.97)))
    shown = (raw > 0.01) & (raw < 0.99)  # what was clipped is gone
    assert np.abs(again - raw)[shown].max() < 1e-3


def test_the_seed_decides() -> None:
    image = Radiograph(chest(), None, {"synthetic": "yes"})
    one, again, other = vary(image, 7), vary(image, 7), vary(image, 8)
    assert np.array_equal(one.pixels, again.pixels)
    assert np.abs(one.pixels - other.pixels).mean() > 0.01
    assert one.provenance == again.provenance != other.provenance
    assert one.provenance["synthetic"] == "yes"
    assert {"pose", "exposure"} <= set(one.provenance)
