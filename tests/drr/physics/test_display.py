"""Grey levels: monotone, the same for twins, bone bright, and fitted to lungs and dense tissue."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drr.physics.display import Window, clahe, fit_window, log_attenuation, unsharp
from gen.core.errors import BadInput

windows = st.builds(Window, st.floats(0.5, 5), st.floats(0.5, 8))


@given(window=windows)
def test_a_window_is_monotone_and_starts_black(window: Window) -> None:
    grey = window(np.linspace(0, 14, 500, dtype=np.float32))
    assert grey.dtype == np.float32
    assert grey[0] == pytest.approx(0, abs=1e-6)
    assert (np.diff(grey) >= 0).all()
    assert 0 <= grey.min() <= grey.max() <= 1


@given(window=windows, scale=st.floats(1.5, 3))
def test_a_fitted_window_shows_lungs_and_dense_tissue_at_their_greys(window: Window, scale: float) -> None:
    log = np.random.default_rng(0).uniform(1.5 * scale, 4 * scale, (60, 60)).astype(np.float32)
    fitted = fit_window(log)
    sigmoid = 1 / (1 + np.exp(-4 * (np.percentile(log, [15, 75]) - fitted.centre) / fitted.width))
    assert sigmoid == pytest.approx([0.24, 0.74], abs=1e-3)


def test_the_window_looks_behind_the_patient_or_where_it_is_told() -> None:
    log = np.random.default_rng(1).uniform(1, 5, (60, 60)).astype(np.float32)
    field = np.zeros((80, 60), np.float32)
    field[20:] = log
    assert fit_window(field) == fit_window(log)
    assert fit_window(field, field > 0) == fit_window(log)
    with pytest.raises(BadInput, match="nothing in the beam"):
        fit_window(np.zeros((5, 5), np.float32))


def test_an_even_body_is_grey_and_not_an_error() -> None:
    assert 0 < fit_window(np.full((9, 9), 2, np.float32))(np.float32(2)) < 1


def test_no_signal_is_bright_and_the_open_field_is_zero() -> None:
    log = log_attenuation(np.array([[1, 0.1, 0]], np.float32))
    assert log[0, 0] == 0
    assert log[0, 1] == pytest.approx(np.log(10))
    assert np.isfinite(log).all()


def test_unsharp_masking_keeps_sums_means_and_flat_fields() -> None:
    soft, bone = np.random.default_rng(2).random((2, 64, 96), np.float32)
    assert unsharp(soft, 0.4) + unsharp(bone, 0.4) == pytest.approx(unsharp(soft + bone, 0.4), abs=1e-4)
    assert unsharp(soft, 0.4).mean() == pytest.approx(soft.mean(), rel=1e-5)
    assert unsharp(np.full((20, 30), 3, np.float32), 0.4) == pytest.approx(np.full((20, 30), 3), rel=1e-5)
    assert unsharp(soft, 0.4, strength=0) is soft


@pytest.mark.parametrize("cycles", [1, 12, 100])
def test_unsharp_masking_gains_what_gaussians_leave(cycles: int) -> None:
    wave = np.tile(np.cos(np.pi * cycles * (np.arange(256) + 0.5) / 256), (16, 1)).astype(np.float32)
    frequency = cycles / (2 * 256 * 0.4)
    kept = np.exp(-2 * (np.pi * frequency * np.array([2, 4, 8, 16])) ** 2)
    assert unsharp(wave, 0.4, strength=0.5) == pytest.approx(wave * (1 + 0.5 * (1 - kept).sum()), abs=1e-4)


def test_clahe_stretches_a_faint_pattern_and_no_more_than_its_limit() -> None:
    faint = 0.5 + 0.05 * np.random.default_rng(3).random((128, 128), np.float32)
    assert np.ptp(clahe(faint)) > 1.5 * np.ptp(faint)
    assert np.ptp(clahe(faint)) < 3 * np.ptp(faint)


def test_clahe_of_one_tile_is_histogram_equalisation() -> None:
    grey = np.sqrt(np.random.default_rng(4).random((200, 200), np.float32))
    even = clahe(grey, tiles=1, limit=256.0)
    assert np.sort(even.ravel()) == pytest.approx(np.linspace(0, 1, 40_000), abs=0.02)


def test_clahe_fits_any_shape_and_refuses_no_tiles() -> None:
    assert clahe(np.zeros((37, 91), np.float32)).shape == (37, 91)
    with pytest.raises(BadInput, match="at least 1"):
        clahe(np.zeros((9, 9), np.float32), tiles=0)
