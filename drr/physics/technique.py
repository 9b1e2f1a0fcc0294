"""How an exposure is made, and how the usual one of a view is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from drr.geometry import View
from drr.physics.detector import Detector
from drr.physics.spectrum import Spectrum, tube_spectrum


@dataclass(frozen=True)
class Technique:
    """How an exposure is made: tube voltage in kV, total filtration in mm, anti-scatter grid (scatter.py)."""

    kvp: float = 120.0
    aluminium_mm: float = 3.0
    copper_mm: float = 0.1
    grid: str = "12:1"
    detector: Detector = field(default_factory=Detector)

    def spectrum(self) -> Spectrum:
        """The beam that meets the patient; BadInput for a tube voltage that there is no table of."""
        return tube_spectrum(self.kvp, aluminium_mm=self.aluminium_mm, copper_mm=self.copper_mm)


def technique_of(view: View, kvp: float | None = None) -> Technique:
    """The usual technique of a view: 120 kV with a grid, and for a supine patient in bed 90 kV without one.

    BadInput for a tube voltage that there is no table of.
    """
    bedside = view.position == "supine"
    technique = Technique(kvp=90.0, copper_mm=0.0, grid="none") if bedside else Technique()
    technique = technique if kvp is None else replace(technique, kvp=kvp)
    technique.spectrum()
    return technique
