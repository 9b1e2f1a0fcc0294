"""Write drr/data/scatter.csv: photons through slabs of water and a grid by Monte Carlo, as sums of Gaussians.

A pencil beam meets a slab of water; what leaves it is followed over an air gap and through a parallel-strip grid to the
detector. Photo-absorption, Compton (Klein-Nishina, free electrons) and Rayleigh scatter (independent atoms) with the
cross sections and form factors of xraydb. Columns: the scatter per primary that each Gaussian holds, by grid.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import click
import numpy as np
from numba import njit, prange
from scipy.optimize import nnls

from drr.physics.detector import Detector
from drr.physics.materials import SUBSTANCES
from drr.physics.scatter import GRIDS, SIGMAS_MM
from drr.physics.spectrum import tube_spectrum
from gen.core.files import atomic_file

THICKNESSES_MM = (0, 20, 50, 100, 150, 200, 250, 300, 400)
GAP_MM = 50.0  # from the patient's skin to the scintillator, grid between
RADII_MM = np.concatenate([[0], np.geomspace(2, 1200, 60)])
# Strips of lead 0.05 mm thick, 40 to the centimetre, paper (0.7 g/cm3) between, covers that amount to 0.2 mm Al.
LEAD_MM, PERIOD_MM, COVER_MM_AL = 0.05, 0.25, 0.2


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default="drr/data", show_default=True)
@click.option("--photons", type=int, default=20_000_000, show_default=True)
def write_kernels(out: Path, photons: int) -> None:
    """Write scatter.csv into OUT; a minute or two."""
    spectrum, tables, grids = tube_spectrum(120), _tables(), _grid_tables()
    weights = np.cumsum(spectrum.fluence) / spectrum.fluence.sum()
    response = Detector().response(spectrum.energies_kev)
    detected = np.interp(_KEV, spectrum.energies_kev, response)
    ratios = np.array(list(GRIDS.values()))
    rows = []
    for thickness in THICKNESSES_MM:
        tallies = _trace(
            photons, thickness, GAP_MM, spectrum.energies_kev, weights, detected, *tables, RADII_MM, ratios, *grids,
            LEAD_MM, PERIOD_MM,
        )  # fmt: skip
        per_primary = [scattered / primary for scattered, primary in zip(*tallies, strict=True)]
        rows.append([float(thickness), *np.concatenate([_gaussians(ratio) for ratio in per_primary])])
        click.echo(f"{thickness} mm: scatter to primary {', '.join(f'{ratio.sum():.3f}' for ratio in per_primary)}")
    names = ["mm", *(f"{grid} {sigma:g}" for grid in GRIDS for sigma in SIGMAS_MM)]
    lines = [
        f"# scatter per primary in Gaussians of the given standard deviation (mm), by grid and mm of water; 120 kV, "
        f"3 mm Al, {GAP_MM:g} mm air; {photons} photons each by scripts/scatter.py, xraydb {version('xraydb')}",
        ",".join(names),
        *(",".join(f"{value:.5g}" for value in row) for row in rows),
    ]
    with atomic_file(out / "scatter.csv") as stream:
        stream.write(("\n".join(lines) + "\n").encode())


_KEV = np.arange(0.5, 150.0)  # tables of cross sections in bins of 1 keV, those of the spectrum; index = int(keV)
_X2 = np.linspace(0, 12.2**2, 4097)  # squared momentum transfer (sin(theta/2)/wavelength)^2 in 1/angstrom^2


def _tables() -> tuple[np.ndarray, ...]:
    """Photo, incoherent and coherent attenuation of water in 1/mm, and the integral of its form factor squared."""
    import xraydb

    ev = np.maximum(_KEV, 2) * 1e3
    kinds = [
        sum(w * xraydb.mu_elam(element, ev, kind=kind) for element, w in SUBSTANCES["water"].weights.items()) / 10
        for kind in ("photo", "incoh", "coh")
    ]
    x = np.sqrt((_X2[1:] + _X2[:-1]) / 2)
    factor = 2 * xraydb.f0("H", np.minimum(x, 6)) ** 2 + xraydb.f0("O", np.minimum(x, 6)) ** 2
    return (*kinds, np.concatenate([[0], np.cumsum(factor)]))


def _grid_tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Attenuation by keV in 1/mm of lead and interspace, and the exponent of the covers."""
    import xraydb

    ev = np.maximum(_KEV, 2) * 1e3
    lead = xraydb.mu_elam("Pb", ev) * 11.35 / 10
    paper = xraydb.mu_elam("C", ev) * 0.7 / 10
    return lead, paper, xraydb.mu_elam("Al", ev) * 2.7 / 10 * COVER_MM_AL


def _gaussians(per_primary: np.ndarray) -> np.ndarray:
    """Non-negative shares of the Gaussians that give the tally in rings, weighted to fit near and far alike."""
    rings = np.stack([-np.diff(np.exp(-(RADII_MM**2) / (2 * sigma**2))) for sigma in SIGMAS_MM], axis=1)
    if not per_primary.any():
        return np.zeros(len(SIGMAS_MM))
    total = np.concatenate([rings, 3 * rings.sum(axis=0, keepdims=True)])
    return np.asarray(nnls(total, np.append(per_primary, 3 * per_primary.sum()))[0])


@njit(parallel=True, cache=True)
def _trace(
    photons: int,
    thickness: float,
    gap: float,
    energies: np.ndarray,
    cumulative: np.ndarray,
    response: np.ndarray,
    photo: np.ndarray,
    incoherent: np.ndarray,
    coherent: np.ndarray,
    form: np.ndarray,
    radii: np.ndarray,
    ratios: np.ndarray,
    lead: np.ndarray,
    paper: np.ndarray,
    cover: np.ndarray,
    lead_mm: float,
    period_mm: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Signal of scatter (grids, rings) and of primary photons (grids,)."""
    batches = 64
    scattered = np.zeros((batches, len(ratios), len(radii) - 1))
    primary = np.zeros((batches, len(ratios)))
    x2 = np.linspace(0, 12.2**2, len(form))
    for batch in prange(batches):
        np.random.seed(batch)  # noqa: NPY002 - numba's generator, one to a thread
        for _ in range(photons // batches):
            energy = energies[np.searchsorted(cumulative, np.random.random())]  # noqa: NPY002
            x = y = z = dx = dy = 0.0
            dz = 1.0
            orders = 0
            while True:
                k = int(energy)
                total = photo[k] + incoherent[k] + coherent[k]
                step = -np.log(1 - np.random.random()) / total  # noqa: NPY002
                z += step * dz
                if not 0 < z < thickness:
                    z -= step * dz
                    break
                x += step * dx
                y += step * dy
                orders += 1
                u = np.random.random() * total  # noqa: NPY002
                if u < photo[k]:
                    energy = 0.0
                    break
                if u < photo[k] + incoherent[k]:  # Compton, by rejection from a flat cosine
                    a = energy / 510.999
                    while True:
                        cosine = 2 * np.random.random() - 1  # noqa: NPY002
                        kept = 1 / (1 + a * (1 - cosine))
                        if np.random.random() * 2 < kept**2 * (kept + 1 / kept - 1 + cosine**2):  # noqa: NPY002
                            break
                    energy *= kept
                else:  # Rayleigh: form factor squared by inversion, Thomson's factor by rejection
                    top = (energy / 12.39842) ** 2
                    last = np.interp(top, x2, form)
                    while True:
                        cosine = 1 - 2 * np.interp(np.random.random() * last, form, x2) / top  # noqa: NPY002
                        if np.random.random() * 2 < 1 + cosine**2:  # noqa: NPY002
                            break
                if energy < 10:
                    energy = 0.0
                    break
                sine = np.sqrt(max(1 - cosine**2, 0.0))
                phi = 2 * np.pi * np.random.random()  # noqa: NPY002
                cos_phi, sin_phi = np.cos(phi), np.sin(phi)
                flat = np.sqrt(dx**2 + dy**2)
                if flat < 1e-9:
                    dx, dy, dz = sine * cos_phi, sine * sin_phi, np.sign(dz) * cosine
                else:
                    dx, dy, dz = (
                        dx * cosine + sine * (dx * dz * cos_phi - dy * sin_phi) / flat,
                        dy * cosine + sine * (dy * dz * cos_phi + dx * sin_phi) / flat,
                        dz * cosine - sine * flat * cos_phi,
                    )
            if energy == 0 or dz <= 1e-3:
                continue
            reach = (thickness + gap - z) / dz
            x += reach * dx
            y += reach * dy
            k = int(energy)
            # A slanting ray has a longer way through the scintillator.
            absorbed = response[k] / energy
            signal = energy * (1 - (1 - absorbed) ** (1 / dz)) if absorbed < 1 else energy
            ring = np.searchsorted(radii, np.sqrt(x**2 + y**2)) - 1
            phase = np.random.random() * period_mm  # noqa: NPY002
            for g in range(len(ratios)):
                left = signal
                if ratios[g] > 0:
                    height = ratios[g] * (period_mm - lead_mm)
                    width = height * abs(dx) / dz
                    if width < 1e-9:
                        share = 1.0 if phase < lead_mm else 0.0
                    else:
                        end = phase + width
                        whole = np.floor(end / period_mm)
                        in_lead = whole * lead_mm + min(end - whole * period_mm, lead_mm) - min(phase, lead_mm)
                        share = in_lead / width
                    way = height / dz
                    left *= np.exp(-way * (share * lead[k] + (1 - share) * paper[k]) - cover[k] / dz)
                if orders == 0:
                    primary[batch, g] += left
                elif ring < len(radii) - 1:
                    scattered[batch, g, max(ring, 0)] += left
    return scattered.sum(axis=0), primary.sum(axis=0)


if __name__ == "__main__":
    write_kernels()
