"""Where the X-ray source and the detector stand: named chest views, any other pose, jitter, cropping to the scan.

Everything is in patient coordinates (drr/ct/volume.py): x to the left, y to the back, z to the head, mm. Angles are
DICOM's: PositionerPrimaryAngle 0 has the detector in front of the patient and 90 at the patient's left;
PositionerSecondaryAngle is positive towards the head.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from gen.core.errors import BadInput, GenError
from gen.core.terms import suggestion


@dataclass(frozen=True, eq=False)
class Geometry:
    """One exposure, resolved. Pixel (i, j) is centred at ``corner_mm + i * row_mm + j * column_mm``.

    All four are float64 (3,) in patient coordinates; ``row_mm`` is the step from a row of pixels to the one below,
    ``column_mm`` from a column to the one at its right; ``shape`` is (H, W). The rays start at ``source_mm``.
    """

    source_mm: np.ndarray
    corner_mm: np.ndarray
    row_mm: np.ndarray
    column_mm: np.ndarray
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        if min(self.shape) < 1:
            raise GenError(f"a detector has pixels, not {self.shape[0]} x {self.shape[1]}")
        if abs(self.row_mm @ self.column_mm) > 1e-6 * np.linalg.norm(self.row_mm) * np.linalg.norm(self.column_mm):
            raise GenError("the rows and columns of a detector are perpendicular")

    @property
    def pitch_mm(self) -> tuple[float, float]:
        """The size of a pixel (row, column) on the detector."""
        return float(np.linalg.norm(self.row_mm)), float(np.linalg.norm(self.column_mm))

    @property
    def normal(self) -> np.ndarray:
        """The unit normal of the detector, pointing away from the source."""
        normal = np.cross(self.row_mm, self.column_mm)
        normal /= np.linalg.norm(normal)
        return normal if normal @ (self.corner_mm - self.source_mm) > 0 else -normal

    @property
    def sdd_mm(self) -> float:
        """The distance from the source to the plane of the detector."""
        return float(self.normal @ (self.corner_mm - self.source_mm))

    def pixels_mm(self) -> np.ndarray:
        """The centres of all pixels: float64 (H, W, 3)."""
        rows, columns = (np.arange(n, dtype=np.float64)[:, None] for n in self.shape)
        return self.corner_mm + (rows * self.row_mm)[:, None] + (columns * self.column_mm)[None]

    def pixel_of(self, points_mm: np.ndarray) -> np.ndarray:
        """Where points (..., 3) fall on the detector: fractional (row, column), float64 (..., 2)."""
        rays = np.asarray(points_mm, np.float64) - self.source_mm
        on_plane = self.source_mm + rays * (self.sdd_mm / (rays @ self.normal))[..., None] - self.corner_mm
        steps = np.stack([self.row_mm, self.column_mm])
        return on_plane @ (steps / (steps**2).sum(axis=1, keepdims=True)).T

    def crop(self, rows: slice, columns: slice) -> Geometry:
        """The same exposure on a part of the detector; slices with start and stop, no step."""
        corner = self.corner_mm + rows.start * self.row_mm + columns.start * self.column_mm
        shape = rows.stop - rows.start, columns.stop - columns.start
        return Geometry(self.source_mm, corner, self.row_mm, self.column_mm, shape)


MOST_TILT_DEG = 60


@dataclass(frozen=True)
class View:
    """A pose of source and detector about a centre in the patient: distances in mm, angles in degrees.

    ``sdd_mm`` is DICOM's DistanceSourceToDetector, ``sod_mm`` the distance from the source to the centre. ``roll_deg``
    turns the detector in its plane; ``shift_mm`` (column, row) moves the detector and the source together. A radiograph
    taken from the front is ``turned_over`` to be hung, so that the patient's left is at the right, as in a PA.
    """

    name: str
    primary_deg: float
    secondary_deg: float = 0.0
    sdd_mm: float = 1800.0
    sod_mm: float = 1600.0
    position: str = "erect"
    roll_deg: float = 0.0
    shift_mm: tuple[float, float] = (0.0, 0.0)
    turned_over: bool = False

    @property
    def towards(self) -> np.ndarray:
        """The unit vector from the centre to the detector, in patient coordinates."""
        primary, secondary = np.deg2rad([self.primary_deg, self.secondary_deg])
        across = np.cos(secondary)
        return np.array([across * np.sin(primary), -across * np.cos(primary), np.sin(secondary)])

    def __post_init__(self) -> None:
        if not 0 < self.sod_mm < self.sdd_mm:
            raise BadInput(
                f"view {self.name}: the patient must stand between source and detector, not at {self.sod_mm:g} of "
                f"{self.sdd_mm:g} mm",
                hint="0 < sod < sdd",
            )
        if abs(self.secondary_deg) > MOST_TILT_DEG:
            raise BadInput(
                f"view {self.name}: a tilt of {self.secondary_deg:g} degrees",
                hint=f"at most {MOST_TILT_DEG} either way",
            )


# Erect radiographs are taken at 1.8 m (European guidelines, EUR 16260: 180 (140-200) cm) with the chest near the
# detector; a supine AP radiograph at the bedside has the tube about a metre above the mattress.
VIEWS = {
    "PA": View("PA", 0),
    "AP": View("AP", 180, sdd_mm=1100, sod_mm=940, position="supine", turned_over=True),
    "lateral": View("lateral", 90, sdd_mm=1800, sod_mm=1550),
    "LAO": View("LAO", 45),
    "RAO": View("RAO", -45),
}
OBLIQUE = "LAO"  # what "oblique" alone means
FIELD_MM = 430.0  # a 43 cm square detector
CLEARANCE_MM = 30.0  # from the skin to the detector: its cover and the grid

# Half ranges of the uniform jitter: how far positioning strays in practice (rotation and tilt of a few degrees).
_JITTER = {"primary_deg": 4.0, "secondary_deg": 3.0, "roll_deg": 2.0}
_JITTER_SHIFT_MM, _JITTER_DISTANCE = 12.0, 0.03


def parse_view(text: str) -> View:
    """A name of `VIEWS` in any letter case, or "PRIMARY/SECONDARY" in degrees, such as "30/10"; BadInput otherwise."""
    by_name = {name.casefold(): view for name, view in VIEWS.items()} | {"oblique": VIEWS[OBLIQUE]}
    if view := by_name.get(text.strip().casefold()):
        return view
    if angles := re.fullmatch(r"\s*([+-]?\d+(?:\.\d+)?)\s*/\s*([+-]?\d+(?:\.\d+)?)\s*", text):
        primary, secondary = (float(angle) for angle in angles.groups())
        around = (primary + 180) % 360 - 180
        return View(f"{around:g}/{secondary:g}", around, secondary, turned_over=abs(around) > 90)
    otherwise = f"use {', '.join(VIEWS)}, oblique, or degrees such as 30/10"
    raise BadInput(f"unknown view {text!r}", hint=suggestion(text, [*VIEWS, "oblique"], otherwise))


def stand_clear(view: View, reach_mm: float) -> View:
    """``view`` with the centre moved towards the source where a patient who reaches so far would touch the detector."""
    return replace(view, sod_mm=min(view.sod_mm, view.sdd_mm - reach_mm - CLEARANCE_MM))


def jitter(view: View, rng: np.random.Generator) -> View:
    """``view`` as another radiographer would have set it: a few degrees, millimetres and per cent off."""
    angles = {name: getattr(view, name) + rng.uniform(-half, half) for name, half in _JITTER.items()}
    angles["secondary_deg"] = min(max(angles["secondary_deg"], -MOST_TILT_DEG), MOST_TILT_DEG)
    scale = 1 + rng.uniform(-_JITTER_DISTANCE, _JITTER_DISTANCE)
    shift = tuple(rng.uniform(-_JITTER_SHIFT_MM, _JITTER_SHIFT_MM, size=2).tolist())
    return replace(view, sdd_mm=view.sdd_mm * scale, sod_mm=view.sod_mm * scale, shift_mm=shift, **angles)


def place(view: View, centre_mm: np.ndarray, pixels: int, field_mm: float = FIELD_MM) -> Geometry:
    """``view`` about a point of the patient, on a square detector of ``pixels`` a side that is ``field_mm`` wide.

    The rows run from head to foot. The columns run to the patient's left in PA and, turned over, in AP, and to the back
    in a left lateral, as radiographs are hung.
    """
    roll, towards = np.deg2rad(view.roll_deg), view.towards
    up = np.array([0.0, 0.0, 1.0]) - towards[2] * towards
    up /= np.linalg.norm(up)
    right = np.cross(up, towards)
    if view.turned_over:
        right = -right
    down = -up
    right, down = np.cos(roll) * right + np.sin(roll) * down, np.cos(roll) * down - np.sin(roll) * right
    pitch = field_mm / pixels
    offset = view.shift_mm[0] * right + view.shift_mm[1] * down
    centre = np.asarray(centre_mm, np.float64) + offset + (view.sdd_mm - view.sod_mm) * towards
    corner = centre - (pixels - 1) / 2 * pitch * (right + down)
    source = np.asarray(centre_mm, np.float64) + offset - view.sod_mm * towards
    return Geometry(source, corner, pitch * down, pitch * right, (pixels, pixels))
