"""Write drr/data: µ/ρ by xraydb and the spectra of a tungsten tube by spekpy; `pip install 'cxr-gen[spectra]'` first.

The tables change only when those packages do: the versions that made them stand in the files' first lines.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import click
import numpy as np

from drr.physics.materials import SUBSTANCES, compute_mass_attenuation
from drr.physics.spectrum import ANODE_DEG, KVPS, spekpy_spectrum
from gen.core.files import atomic_file

ENERGIES_KEV = np.arange(10, 150.5, 0.5)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default="drr/data", show_default=True)
def write_tables(out: Path) -> None:
    """Write attenuation.csv and spectra.csv into OUT."""
    substances = [*SUBSTANCES, "air transfer"]
    columns = [ENERGIES_KEV, *(compute_mass_attenuation(name, ENERGIES_KEV) for name in substances)]
    xraydb = f"xraydb {version('xraydb')}, cross sections of Elam et al., Radiat Phys Chem 2002;63:121 (public domain)"
    _write(
        out / "attenuation.csv",
        f"mass attenuation in cm2/g by scripts/spectra.py, from {xraydb}; compositions in drr/physics/materials.py",
        ["keV", *substances],
        columns,
    )
    spectra = [spekpy_spectrum(kvp, aluminium_mm=0) for kvp in KVPS]
    energies = spectra[-1].energies_kev
    fluence = [np.pad(spectrum.fluence, (0, energies.size - spectrum.fluence.size)) for spectrum in spectra]
    _write(
        out / "spectra.csv",
        "photons per mm2 and keV for 1 uGy of air kerma, bins of 1 keV about the energy, by kilovoltage, unfiltered; "
        f"tungsten, {ANODE_DEG:g} degrees, by scripts/spectra.py with spekpy {version('spekpy')} (MIT), model kqp: "
        "Poludniowski et al., Med Phys 2021;48:3630",
        ["keV", *(f"{kvp:g}" for kvp in KVPS)],
        [energies, *fluence],
    )


def _write(path: Path, provenance: str, names: list[str], columns: list[np.ndarray]) -> None:
    lines = [f"# {provenance}", ",".join(names)]
    lines += [",".join(f"{value:.6g}" for value in row) for row in zip(*columns, strict=True)]
    with atomic_file(path) as stream:
        stream.write(("\n".join(lines) + "\n").encode())
    click.echo(path)


if __name__ == "__main__":
    write_tables()
