"""The photons of a diagnostic X-ray tube by energy: a shipped table of tungsten spectra, filters, half-value layers.

The table (``data/spectra.csv``) is the unfiltered beam of a 12 degree tungsten anode by spekpy; scripts/spectra.py
writes it. Aluminium and copper are added here, so one table serves every filtration.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from drr.physics.materials import linear_attenuation, mass_attenuation, read_table
from gen.core.bundled import pip_install
from gen.core.errors import BadInput, EnvironmentLacks

ANODE_DEG = 12.0
KVPS = tuple(range(50, 151, 5))
_LOWEST_KEV = 10.0  # below it 1 mm of aluminium lets through less than one photon in a thousand
_GRAY_PER = 1.602177e-16 * 1e3 * 1e2  # Gy of one photon per mm2 of 1 keV where µ_tr/ρ is 1 cm2/g


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A beam: ``fluence`` (E,) is photons per mm2 and keV for 1 µGy of air kerma, in bins of 1 keV about the energies.

    ``kvp`` is the tube voltage in kV; ``filtration`` says what the beam has passed, for provenance.
    """

    kvp: float
    filtration: str
    energies_kev: np.ndarray
    fluence: np.ndarray

    @property
    def photons_mm2(self) -> float:
        """Photons per mm2 for 1 µGy of air kerma."""
        return float(self.fluence.sum())

    @property
    def mean_kev(self) -> float:
        """The mean energy of a photon."""
        return float(self.fluence @ self.energies_kev / self.fluence.sum())


def tube_spectrum(kvp: float = 120.0, *, aluminium_mm: float = 3.0, copper_mm: float = 0.0) -> Spectrum:
    """The beam of a tungsten tube behind a total filtration; BadInput where the table has no such tube voltage.

    3 mm of aluminium and 100 to 150 kV are the European criteria for a chest (EUR 16260, 1996). Between the voltages
    of the table (5 kV apart) spectra are interpolated at equal photon energy.
    """
    if not KVPS[0] <= kvp <= KVPS[-1]:
        raise BadInput(f"no spectrum of {kvp:g} kV", hint=f"the shipped tubes have {KVPS[0]} to {KVPS[-1]} kV")
    if not (0 <= aluminium_mm <= 50 and 0 <= copper_mm <= 5):
        raise BadInput(
            f"a filter of {aluminium_mm:g} mm Al and {copper_mm:g} mm Cu", hint="0 to 50 mm Al, 0 to 5 mm Cu"
        )
    energies, table = _tubes()
    beam = np.array([np.interp(kvp, KVPS, row) for row in table]) * (energies < kvp)
    return _filtered(kvp, energies[energies < kvp], beam[energies < kvp], aluminium_mm, copper_mm)


def spekpy_spectrum(
    kvp: float, *, aluminium_mm: float = 3.0, copper_mm: float = 0.0, anode_deg: float = ANODE_DEG
) -> Spectrum:
    """As `tube_spectrum`, computed by spekpy for any anode angle; EnvironmentLacks where it is not installed."""
    try:
        import spekpy
    except ImportError as error:
        raise EnvironmentLacks("spekpy is not installed", hint=pip_install("cxr-gen[spectra]")) from error
    energies, fluence = spekpy.Spek(kvp=kvp, th=anode_deg, dk=1.0, physics="kqp").get_spectrum()
    used = energies > _LOWEST_KEV
    return _filtered(kvp, energies[used], fluence[used], aluminium_mm, copper_mm)


def half_value_layer_mm_al(spectrum: Spectrum) -> float:
    """The millimetres of aluminium that halve the air kerma of the beam."""
    from scipy.optimize import brentq

    kerma = spectrum.fluence * _kerma_weights(spectrum.energies_kev)
    attenuation = linear_attenuation("aluminium", spectrum.energies_kev)
    return float(brentq(lambda mm: kerma @ np.exp(-attenuation * mm) - kerma.sum() / 2, 0, 100))


@cache
def _tubes() -> tuple[np.ndarray, np.ndarray]:
    table = read_table("spectra.csv")
    return table["keV"], np.stack([table[f"{kvp}"] for kvp in KVPS], axis=1)


def _kerma_weights(energies_kev: np.ndarray) -> np.ndarray:
    """µGy of air kerma per photon/mm2 at each energy."""
    return 1e6 * _GRAY_PER * energies_kev * mass_attenuation("air transfer", energies_kev)


def _filtered(kvp: float, energies: np.ndarray, beam: np.ndarray, aluminium_mm: float, copper_mm: float) -> Spectrum:
    passed = beam * np.exp(
        -linear_attenuation("aluminium", energies) * aluminium_mm - linear_attenuation("copper", energies) * copper_mm
    )
    filtration = f"{aluminium_mm:g} mm Al" + (f" + {copper_mm:g} mm Cu" if copper_mm else "")
    return Spectrum(kvp, filtration, energies, passed / (passed @ _kerma_weights(energies)))
