"""How strongly body materials attenuate X-rays: elements by xraydb, compositions by ICRU, and the four shares of a CT.

A CT number says how much a voxel attenuates at the scanner's energy; a share of it (soft tissue, bone, iodine, metal)
says how that changes with energy. Everything a radiograph needs stands in ``data/attenuation.csv``, written by
scripts/spectra.py, because xraydb takes longer to import than a radiograph takes to compute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from gen.core.errors import BadInput

MATERIALS = ("soft", "bone", "iodine", "metal")

# The energy at which a body scanner at 120 kV sees water: 65 to 76 keV by scanner (McCullough, Med Phys 1975;2:307;
# Millner et al., Med Phys 1978;5:543). A share attenuates as the CT number says at this energy, whatever it is.
CT_ENERGY_KEV = 70.0


@dataclass(frozen=True)
class Substance:
    """What something is made of: density in g/cm3 and the weight of each element (any scale)."""

    density: float
    weights: Mapping[str, float]


# Tissues and air as in ICRU Report 44 (1989), tabulated by NIST (Hubbell & Seltzer, NISTIR 5632, table 2).
SUBSTANCES: dict[str, Substance] = {
    "water": Substance(1.0, {"H": 0.111894, "O": 0.888106}),
    "soft": Substance(
        1.06,
        {"H": 0.102, "C": 0.143, "N": 0.034, "O": 0.708, "Na": 0.002, "P": 0.003, "S": 0.003, "Cl": 0.002, "K": 0.003},
    ),
    "cortical bone": Substance(
        1.92,
        {
            "H": 0.034,
            "C": 0.155,
            "N": 0.042,
            "O": 0.435,
            "Na": 0.001,
            "Mg": 0.002,
            "P": 0.103,
            "S": 0.003,
            "Ca": 0.225,
        },
    ),
    "iodine": Substance(4.93, {"I": 1}),
    "titanium": Substance(4.506, {"Ti": 1}),
    "aluminium": Substance(2.699, {"Al": 1}),
    "copper": Substance(8.96, {"Cu": 1}),
    "caesium iodide": Substance(4.51, {"Cs": 0.511549, "I": 0.488451}),
    "air": Substance(0.001205, {"C": 0.000124, "N": 0.755268, "O": 0.231781, "Ar": 0.012827}),
}


def attenuation(energies_kev: np.ndarray) -> np.ndarray:
    """1/mm of each share per water-equivalent mm, at energies (E,): float64 (4, E) in the order of `MATERIALS`.

    Bone and metal are cortical bone and titanium less the soft tissue that they displace, iodine is the element (in
    solution it displaces next to nothing). All four equal water at `CT_ENERGY_KEV`, which is what a CT number means.
    """
    at = np.append(np.asarray(energies_kev, np.float64), CT_ENERGY_KEV)
    soft = linear_attenuation("soft", at)
    shares = np.stack(
        [
            soft,
            linear_attenuation("cortical bone", at) - soft,
            linear_attenuation("iodine", at),
            linear_attenuation("titanium", at) - soft,
        ]
    )
    water = linear_attenuation("water", np.array([CT_ENERGY_KEV]))
    return np.asarray(water * shares[:, :-1] / shares[:, -1:])


def linear_attenuation(substance: str, energies_kev: np.ndarray) -> np.ndarray:
    """1/mm of one of `SUBSTANCES` at its density, float64 of the shape of ``energies_kev``."""
    return mass_attenuation(substance, energies_kev) * SUBSTANCES[substance].density / 10


def mass_attenuation(substance: str, energies_kev: np.ndarray) -> np.ndarray:
    """µ/ρ in cm2/g, coherent scatter included, of one of `SUBSTANCES`; BadInput outside 10 to 150 keV.

    "air transfer" is µ_tr/ρ of air. Exact at whole and half keV; between them log-log interpolation, better than 1e-3
    but in the half keV that holds a K edge (iodine at 33.17, caesium at 35.98 keV).
    """
    energies = np.asarray(energies_kev, np.float64)
    table = _table()
    grid = table["keV"]
    if energies.size and not (grid[0] <= energies.min() <= energies.max() <= grid[-1]):
        raise BadInput(
            f"no attenuation of {substance} at {energies.min():g} to {energies.max():g} keV",
            hint=f"the table goes from {grid[0]:g} to {grid[-1]:g} keV",
        )
    return np.exp(np.interp(np.log(energies), np.log(grid), np.log(table[substance])))


def compute_mass_attenuation(substance: str, energies_kev: np.ndarray) -> np.ndarray:
    """What `mass_attenuation` tabulates, from the elements' cross sections of Elam et al. (2002) in xraydb."""
    import xraydb

    energies = np.asarray(energies_kev, np.float64)
    weights = SUBSTANCES[substance.removesuffix(" transfer")].weights
    if substance.endswith(" transfer"):  # a photo-electron takes all of the energy (air hardly fluoresces)
        each = {
            element: xraydb.mu_elam(element, energies * 1e3, kind="photo")
            + _recoil_transfer(energies) * xraydb.atomic_number(element) / xraydb.atomic_mass(element)
            for element in weights
        }
    else:
        each = {element: xraydb.mu_elam(element, energies * 1e3, kind="total") for element in weights}
    return np.asarray(sum(weights[element] * each[element] for element in weights) / sum(weights.values()))


def _recoil_transfer(energies_kev: np.ndarray) -> np.ndarray:
    """cm2 per mole of free electrons for the energy that Compton electrons take over (Klein and Nishina)."""
    cosine, weight = np.polynomial.legendre.leggauss(32)
    kept = 1 / (1 + energies_kev[..., None] / 510.999 * (1 - cosine))
    section = kept**2 * (kept + 1 / kept - (1 - cosine**2))
    return np.asarray(np.pi * 0.0478206 * ((1 - kept) * section) @ weight)  # Avogadro x (electron radius)^2


@cache
def _table() -> Mapping[str, np.ndarray]:
    return read_table("attenuation.csv")


def read_table(name: str) -> dict[str, np.ndarray]:
    """The columns by name of a CSV in ``drr/data``; lines that start with # say where it comes from."""
    text = (files("drr") / "data" / name).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return dict(zip(lines[0].split(","), np.loadtxt(lines[1:], delimiter=",", unpack=True), strict=True))
