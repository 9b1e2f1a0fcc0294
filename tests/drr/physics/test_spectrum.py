"""Tube spectra: the standard beams of IEC 61267, spekpy's own numbers, dose and refusals."""

from __future__ import annotations

import builtins
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from drr.physics.materials import linear_attenuation, mass_attenuation
from drr.physics.spectrum import Spectrum, half_value_layer_mm_al, spekpy_spectrum, tube_spectrum
from gen.core.errors import BadInput, EnvironmentLacks


# IEC 61267 (2005), RQR qualities: the standard's half-value layer, and the filtration that gives it in a typical tube.
@pytest.mark.parametrize(("kvp", "aluminium_mm", "layer_mm"), [(100, 3.36, 3.97), (120, 3.73, 5.00), (150, 4.38, 6.57)])
def test_half_value_layers_are_those_of_the_standard_beams(kvp: float, aluminium_mm: float, layer_mm: float) -> None:
    spectrum = tube_spectrum(kvp, aluminium_mm=aluminium_mm)
    assert half_value_layer_mm_al(spectrum) == pytest.approx(layer_mm, rel=0.03)


# spekpy 2.5.4, Spek(kvp, th=12, physics="kqp") behind aluminium: get_hvl1() and get_emean().
@pytest.mark.parametrize(
    ("kvp", "aluminium_mm", "layer_mm", "mean_kev"),
    [(100, 3.25, 3.9846, 50.598), (120, 3.6, 5.0472, 56.471), (150, 4.3, 6.7178, 64.468)],
)
def test_the_table_is_spekpys_own_beam(kvp: float, aluminium_mm: float, layer_mm: float, mean_kev: float) -> None:
    spectrum = tube_spectrum(kvp, aluminium_mm=aluminium_mm)
    assert half_value_layer_mm_al(spectrum) == pytest.approx(layer_mm, rel=0.005)
    assert spectrum.mean_kev == pytest.approx(mean_kev, rel=0.005)


def test_a_half_value_layer_halves_and_hardens_the_beam() -> None:
    thin = tube_spectrum(90, aluminium_mm=3)
    layer = half_value_layer_mm_al(thin)
    assert half_value_layer_mm_al(tube_spectrum(90, aluminium_mm=3 + layer)) > layer


def test_the_half_value_layer_of_one_energy_is_the_closed_form() -> None:
    energies = np.array([60.0])
    beam = Spectrum(60, "none", energies, np.ones(1))
    expected = np.log(2) / linear_attenuation("aluminium", energies)[0]
    assert half_value_layer_mm_al(beam) == pytest.approx(expected, rel=1e-6)


def test_fluence_is_for_one_microgray_of_air_kerma() -> None:
    spectrum = tube_spectrum(70, aluminium_mm=23.5)  # IEC 62220-1's RQA 5: 30174 photons per mm2 and uGy
    joules_kg = spectrum.fluence * 100 * spectrum.energies_kev * 1.602177e-16 * 1000
    assert joules_kg @ mass_attenuation("air transfer", spectrum.energies_kev) == pytest.approx(1e-6)
    assert spectrum.photons_mm2 == pytest.approx(30174, rel=0.03)


def test_a_voltage_between_two_of_the_table_lies_between_them_and_no_photon_exceeds_it() -> None:
    layers = [half_value_layer_mm_al(tube_spectrum(kvp)) for kvp in (115, 117, 120)]
    assert layers == sorted(layers)
    assert tube_spectrum(117).energies_kev.max() < 117


def test_copper_hardens_more_than_as_much_aluminium() -> None:
    assert tube_spectrum(120, copper_mm=0.1).mean_kev > tube_spectrum(120, aluminium_mm=3.1).mean_kev
    assert tube_spectrum(120, copper_mm=0.1).filtration == "3 mm Al + 0.1 mm Cu"


@pytest.mark.parametrize("kvp", [0.0, 49.9, 151.0, float("nan")])
def test_a_voltage_that_the_table_lacks_is_refused_with_its_range(kvp: float) -> None:
    with pytest.raises(BadInput, match="50 to 150 kV"):
        tube_spectrum(kvp)


def test_a_filter_that_lets_the_light_of_nothing_through_is_refused() -> None:
    with pytest.raises(BadInput, match="mm Al"):
        tube_spectrum(aluminium_mm=-1)


def test_another_anode_needs_spekpy(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_spekpy(name: str, *rest: Any) -> Any:
        if name == "spekpy":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.delitem(sys.modules, "spekpy", raising=False)
    monkeypatch.setattr(builtins, "__import__", without_spekpy)
    with pytest.raises(EnvironmentLacks, match=r"pip install -c \S+constraints.txt 'cxr-gen\[spectra\]'"):
        spekpy_spectrum(120)


def test_what_spekpy_gives_is_filtered_and_normalised_like_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = tube_spectrum(80, aluminium_mm=0)
    whole = np.concatenate([[9.5], bare.energies_kev]), np.concatenate([[1.0], 7 * bare.fluence])
    stand_in = SimpleNamespace(Spek=lambda **_: SimpleNamespace(get_spectrum=lambda: whole))
    monkeypatch.setitem(sys.modules, "spekpy", stand_in)
    assert spekpy_spectrum(80, copper_mm=0.1).fluence == pytest.approx(tube_spectrum(80, copper_mm=0.1).fluence)
