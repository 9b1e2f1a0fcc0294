"""A flat-panel detector: what it absorbs, how it blurs, and the quantum and electronic noise of an exposure.

The signal is a share of the open field's, float32 (H, W). Blur is applied in the cosine domain, which mirrors the image
at its borders, by the modulation transfer functions of focal spot, pixel and scintillator.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.fft import dctn, idctn

from drr.physics.materials import linear_attenuation
from drr.physics.spectrum import Spectrum
from gen.core.errors import BadInput

_WORKERS = 2  # threads of a transform: more do not pay at a thousand pixels a side


@dataclass(frozen=True)
class Detector:
    """Caesium iodide on amorphous silicon, and the focal spot in front of it.

    ``dose_ugy`` is the air kerma at the detector behind the patient, where an automatic exposure control measures it:
    4 µGy is speed class 250. ``csi_mm`` is solid thickness (0.5 mm of needles packed to 80 %). ``light_mm`` is H in
    the scintillator's MTF 1 / (1 + (H f)^2); 0.75 mm gives 0.55 at 1.2 per mm. ``gain_noise`` is 1 / Swank factor
    beyond what the spectrum itself gives. ``electronic_photons`` is the standard deviation of the read-out in
    effective photons per pixel.
    """

    dose_ugy: float = 4.0
    csi_mm: float = 0.4
    light_mm: float = 0.75
    gain_noise: float = 1.1
    electronic_photons: float = 5.0
    focal_spot_mm: float = 1.0

    def __post_init__(self) -> None:
        if not self.dose_ugy > 0:
            raise BadInput(
                f"no photons reach the detector at a dose of {self.dose_ugy:g} µGy", hint="2.5 to 5 is usual"
            )
        if not (self.csi_mm > 0 and self.gain_noise >= 1):
            raise BadInput(f"a detector of {self.csi_mm:g} mm CsI and gain noise {self.gain_noise:g} detects nothing")
        if min(self.light_mm, self.electronic_photons, self.focal_spot_mm) < 0:
            raise BadInput("the blur and the noise of a detector are not negative")

    def response(self, energies_kev: np.ndarray) -> np.ndarray:
        """The mean signal of a photon, in keV, at energies (E,): its energy where it is absorbed.

        K fluorescence that leaves the scintillator (up to a tenth above 36 keV) and oblique rays are left out.
        """
        return np.asarray(energies_kev) * -np.expm1(-linear_attenuation("caesium iodide", energies_kev) * self.csi_mm)

    def photons(self, spectrum: Spectrum, pixel_mm2: float) -> float:
        """The effective photons of a pixel at 1 µGy, (sum of signal)^2 / sum of signal^2: its SNR^2 in this beam."""
        energies = np.asarray(spectrum.energies_kev)
        detected = spectrum.fluence * self.response(energies)
        return float(pixel_mm2 * detected.sum() ** 2 / (detected @ energies) / self.gain_noise)


def mtf(frequency: np.ndarray, *, light_mm: float = 0.0, focal_mm: float = 0.0) -> np.ndarray:
    """The share of a wave of ``frequency`` (1/mm, at the detector) that is left, float32 of its shape.

    Light spreading in the scintillator has 1 / (1 + (H f)^2) with H = ``light_mm`` (as Burgess, Med Phys 2004;31:364,
    fits indirect panels); a uniform focal spot whose image is ``focal_mm`` wide is taken as the Gaussian of equal
    variance, exp(-(pi f width)^2 / 6).
    """
    square = np.square(frequency, dtype=np.float32)
    left = np.exp(square * np.float32(-((np.pi * focal_mm) ** 2) / 6))
    return np.asarray(left / (1 + square * np.float32(light_mm**2)))


def expose(
    signal: np.ndarray,
    spectrum: Spectrum,
    detector: Detector,
    pitch_mm: float,
    *,
    magnification: float = 1.125,
    rng: np.random.Generator | None,
) -> np.ndarray:
    """The image of ``signal`` (scatter included), float32 (H, W), not below 0; without noise where ``rng`` is None.

    The focal spot blurs the signal by (magnification - 1) of its size, the scintillator blurs signal and noise.
    ``signal`` is sampled at the centres of pixels, and the mean over a pixel, sinc(pitch f) along rows and columns, is
    taken of those samples: detail finer than two pixels was aliased when they were taken, and stays so. Noise is normal
    with the variance of the photons of a whole pixel, right from some twenty photons up; it is white before the
    scintillator. ``dose_ugy`` is met by the mean of the pixels that get less than half of the open field, those behind
    the patient.
    """
    noise = None
    if rng is not None:
        photons = np.float32(detector.photons(spectrum, pitch_mm**2) * detector.dose_ugy / behind_patient(signal))
        noise = np.sqrt(np.maximum(signal, 0) / photons + np.square(detector.electronic_photons / photons))
        noise *= rng.standard_normal(signal.shape, np.float32)
    rows, columns = (np.arange(n, dtype=np.float32) / np.float32(2 * n * pitch_mm) for n in signal.shape)
    frequency = np.hypot(rows[:, None], columns)
    waves = dctn(signal, norm="ortho", workers=_WORKERS)
    waves *= mtf(frequency, focal_mm=detector.focal_spot_mm * (magnification - 1))
    waves *= np.sinc(pitch_mm * rows)[:, None]
    waves *= np.sinc(pitch_mm * columns)
    if noise is not None:
        waves += dctn(noise, norm="ortho", workers=_WORKERS, overwrite_x=True)
    waves *= mtf(frequency, light_mm=detector.light_mm)
    return np.maximum(idctn(waves, norm="ortho", workers=_WORKERS, overwrite_x=True), 0)


def behind_patient(signal: np.ndarray) -> float:
    """The mean of the signal where it is less than half of the open field's; 1 where nothing is in the beam."""
    behind = signal < 0.5
    count = np.count_nonzero(behind)
    return float(np.sum(signal, where=behind, dtype=np.float64) / count) if count else 1.0
