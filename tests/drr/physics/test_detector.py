"""The detector: noise against photon counts, blur against its formula, and exactness without either."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drr.physics.detector import Detector, behind_patient, expose, mtf
from drr.physics.spectrum import Spectrum, tube_spectrum
from gen.core.errors import BadInput

SPECTRUM = tube_spectrum(120)
SHARP = Detector(light_mm=0, focal_spot_mm=0, electronic_photons=0)


def flat(level: float, pixels: int = 400) -> np.ndarray:
    return np.full((pixels, pixels), level, np.float32)


def noise_of(detector: Detector, level: float, pitch_mm: float = 0.4) -> np.ndarray:
    return expose(flat(level), SPECTRUM, detector, pitch_mm, rng=np.random.default_rng(1)) / level - 1


def test_without_noise_and_blur_a_pixel_is_the_mean_over_itself() -> None:
    """Each wave of the cosine domain, integrated here over each pixel in closed form."""
    k, m = 11, 25

    def over_pixels(k: int, pixels: int) -> np.ndarray:
        edges = np.sin(np.pi * k * np.arange(pixels + 1) / pixels) * pixels / (np.pi * k)
        return np.diff(edges)

    down, across = np.cos(np.pi * k * (np.arange(30) + 0.5) / 30), np.cos(np.pi * m * (np.arange(40) + 0.5) / 40)
    signal = (0.5 + 0.4 * np.outer(down, across)).astype(np.float32)
    expected = 0.5 + 0.4 * np.outer(over_pixels(k, 30), over_pixels(m, 40))
    assert expose(signal, SPECTRUM, SHARP, 0.4, rng=None) == pytest.approx(expected, abs=1e-6)


def test_an_even_field_keeps_its_level_whatever_blurs_it() -> None:
    assert expose(flat(0.3, 50), SPECTRUM, Detector(), 0.4, rng=None) == pytest.approx(flat(0.3, 50), abs=1e-6)


def test_the_pixel_is_no_part_of_the_noise_which_stays_white() -> None:
    power = np.abs(np.fft.rfft(noise_of(SHARP, 0.1), axis=0)[1:]) ** 2
    assert power[150:].mean() / power[:50].mean() == pytest.approx(1, rel=0.05)


def test_photons_of_one_energy_are_counted_one_by_one() -> None:
    mono = Spectrum(60, "none", np.array([60.0]), np.array([1000.0]))
    detector = Detector(csi_mm=1e3, gain_noise=1)  # absorbs all
    assert detector.photons(mono, 0.25) == pytest.approx(250)


def test_a_spectrum_makes_more_noise_than_its_mean_energy() -> None:
    absorbed = SPECTRUM.fluence * SHARP.response(SPECTRUM.energies_kev) / SPECTRUM.energies_kev
    assert 0.85 < SHARP.photons(SPECTRUM, 1.0) * SHARP.gain_noise / absorbed.sum() < 0.99


@pytest.mark.parametrize("level", [0.02, 0.2])
def test_relative_variance_behind_the_patient_is_one_over_the_photons(level: float) -> None:
    photons = SHARP.photons(SPECTRUM, 0.16) * SHARP.dose_ugy
    assert noise_of(SHARP, level).var() == pytest.approx(1 / photons, rel=0.02)
    assert noise_of(SHARP, level).mean() == pytest.approx(0, abs=3 / np.sqrt(photons) / 400)


def test_noise_power_falls_as_dose_and_area_rise() -> None:
    base = noise_of(SHARP, 0.1).var()
    assert noise_of(
        Detector(dose_ugy=16, light_mm=0, focal_spot_mm=0, electronic_photons=0), 0.1
    ).var() == pytest.approx(base / 4, rel=0.02)
    assert noise_of(SHARP, 0.1, pitch_mm=0.2).var() == pytest.approx(base * 4, rel=0.02)


def test_a_pixel_with_a_tenth_of_the_light_has_ten_times_the_relative_noise_power() -> None:
    signal = flat(0.2)
    signal[:200] = 0.02
    still, noisy = (expose(signal, SPECTRUM, SHARP, 0.4, rng=rng) for rng in (None, np.random.default_rng(2)))
    noise = (noisy - still) / signal
    assert noise[:200].var() / noise[200:].var() == pytest.approx(10, rel=0.05)


def test_the_scintillator_shapes_the_noise_like_the_signal() -> None:
    detector = Detector(electronic_photons=0, focal_spot_mm=0)
    power = np.abs(np.fft.rfft(noise_of(detector, 0.1), axis=0)) ** 2
    white = np.abs(np.fft.rfft(noise_of(SHARP, 0.1), axis=0)) ** 2
    frequency, across = np.arange(10, 191) / 160, np.arange(400) / 320
    expected = (mtf(np.hypot(frequency[:, None], across), light_mm=0.75) ** 2).mean(axis=1)
    assert (power.mean(axis=1) / white.mean(axis=1))[10:191] == pytest.approx(expected, rel=0.25)


@given(cycles=st.integers(1, 60), light_mm=st.floats(0, 1.5), spot_mm=st.floats(0, 2), magnification=st.floats(1, 1.5))
def test_a_wave_is_left_with_what_the_formula_says(
    cycles: int, light_mm: float, spot_mm: float, magnification: float
) -> None:
    wave = np.cos(np.pi * cycles * (np.arange(128) + 0.5) / 128).astype(np.float32)
    detector = Detector(light_mm=light_mm, focal_spot_mm=spot_mm)
    image = expose(0.5 + 0.4 * np.tile(wave, (16, 1)), SPECTRUM, detector, 0.5, magnification=magnification, rng=None)
    frequency = cycles / (2 * 128 * 0.5)
    left = np.exp(-((np.pi * frequency * spot_mm * (magnification - 1)) ** 2) / 6) / (1 + (frequency * light_mm) ** 2)
    left *= np.sin(np.pi * frequency * 0.5) / (np.pi * frequency * 0.5)
    assert image == pytest.approx(0.5 + 0.4 * left * np.tile(wave, (16, 1)), abs=2e-5)


def test_the_same_generator_gives_the_same_noise_and_another_does_not() -> None:
    images = [expose(flat(0.1, 20), SPECTRUM, Detector(), 0.4, rng=np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert (images[0] == images[1]).all()
    assert (images[0] != images[2]).any()


def test_the_dose_is_met_behind_the_patient_and_not_beside() -> None:
    signal = flat(1.0, 10)
    signal[:5] = 0.1
    assert behind_patient(signal) == pytest.approx(0.1)
    assert behind_patient(flat(1.0, 10)) == 1


@pytest.mark.parametrize("dose", [0.0, -1.0, float("nan")])
def test_zero_photons_are_refused(dose: float) -> None:
    with pytest.raises(BadInput, match="no photons"):
        Detector(dose_ugy=dose)


def test_a_detector_that_cannot_be_is_refused() -> None:
    with pytest.raises(BadInput, match="detects nothing"):
        Detector(csi_mm=0)
    with pytest.raises(BadInput, match="not negative"):
        Detector(light_mm=-1)
