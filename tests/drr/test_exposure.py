"""The polychromatic signal: the fast sum against the exact one, and what a spectrum must do."""

from __future__ import annotations

import numpy as np
import pytest

from drr.detector import Detector
from drr.exposure import transmit, transmit_exactly
from drr.materials import MATERIALS, attenuation
from drr.spectrum import Spectrum, tube_spectrum

LONGEST_MM = {"soft": 500, "bone": 120, "iodine": 60, "metal": 80}


def random_paths(rng: np.random.Generator, *names: str) -> dict[str, np.ndarray]:
    return {name: rng.uniform(0, LONGEST_MM[name], (64, 80)).astype(np.float32) for name in names}


def beam(kvp: float) -> tuple[Spectrum, np.ndarray]:
    spectrum = tube_spectrum(kvp)
    return spectrum, Detector().response(spectrum.energies_kev)


@pytest.mark.parametrize("kvp", [50, 80, 120, 150])
@pytest.mark.parametrize("names", [("soft",), ("soft", "bone"), MATERIALS])
def test_the_fast_sum_is_the_exact_one_to_1e_4_in_log_signal(kvp: float, names: tuple[str, ...]) -> None:
    paths = random_paths(np.random.default_rng(7), *names)
    exact = np.log(transmit_exactly(paths, *beam(kvp)))
    assert np.abs(np.log(transmit(paths, *beam(kvp))) - exact).max() < 1e-4


def test_one_energy_follows_beer_and_lambert() -> None:
    paths = random_paths(np.random.default_rng(3), *MATERIALS)
    mono = Spectrum(61, "none", np.array([60.0]), np.ones(1))
    rates = attenuation(np.array([60.0]))[:, 0]
    expected = sum(rate * paths[name].astype(float) for name, rate in zip(MATERIALS, rates, strict=True))
    assert -np.log(transmit(paths, mono, np.ones(1))) == pytest.approx(expected, abs=1e-4)


def test_the_open_field_is_one_and_negative_rounding_counts_as_nothing() -> None:
    rim = {name: np.full((2, 2), -1e-3, np.float32) for name in MATERIALS}
    signal = transmit(rim, *beam(120))
    assert signal.dtype == np.float32
    assert signal == pytest.approx(np.ones((2, 2)), abs=1e-6)


def test_a_beam_hardens_so_that_each_centimetre_takes_less() -> None:
    soft = np.arange(0, 400, 10, dtype=np.float32)[None]
    log = -np.log(transmit({"soft": soft}, *beam(120)))
    assert (np.diff(log[0], 2) < 0).all()


def test_bone_stands_out_less_at_a_higher_voltage() -> None:
    paths = {"soft": np.full((1, 2), 100, np.float32), "bone": np.array([[0, 20]], np.float32)}
    contrast = [float(np.log(np.divide(*transmit(paths, *beam(kvp))[0]))) for kvp in (60, 90, 120, 150)]
    assert contrast == sorted(contrast, reverse=True)


def test_a_missing_material_is_none_of_it() -> None:
    paths = random_paths(np.random.default_rng(5), "soft", "bone")
    padded = paths | {"iodine": np.zeros((64, 80), np.float32)}
    assert (transmit(paths, *beam(100)) == transmit(padded, *beam(100))).all()


def test_a_pixel_of_iodine_leaves_its_neighbours_alone() -> None:
    paths = random_paths(np.random.default_rng(5), "soft", "bone")
    iodine = np.zeros((64, 80), np.float32)
    iodine[10, 20] = 5
    change = transmit(paths | {"iodine": iodine}, *beam(100)) != transmit(paths, *beam(100))
    assert np.argwhere(change).tolist() == [[10, 20]]
