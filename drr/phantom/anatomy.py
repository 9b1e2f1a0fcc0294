"""The reference man of the phantom as tables, and the frame that scales and bends them to one person.

All coordinates are those of a man of 178 cm at full inspiration, standing as for a PA view, in mm: x to his left (0 is
the midline), y to the back, z to the head (0 is the carina). Tables give the left side where both are alike.

Sources: vertebral sizes after Panjabi et al. (Spine 16, 888, 1991) and Masharawi et al. (J. Anat. 208, 2008); thoracic
kyphosis by age and sex after Fon et al. (AJR 134, 979, 1980); trabecular HU by age after Jang et al. (Radiology 291,
360, 2019); aortic diameter by age after Hager et al. (J. Thorac. Cardiovasc. Surg. 123, 1060, 2002); cardiothoracic
ratio below 0.5 after Danzer (Am. J. Med. Sci. 157, 513, 1919); CT numbers of tissues from ICRU 46 densities at 120 kVp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from drr.phantom.loft import Loft
from drr.phantom.shapes import Vector

Table = Sequence[tuple[float, ...]]

SIDES = {"left": 1, "right": -1}
MIDDLE_Z, LENGTH_MM = -46, 344
"""The scan: its middle in the tables, and its length; from the sixth cervical to the second lumbar vertebra."""

HU = {
    "air": -1000.0, "lung": -868.0, "subcutaneous_fat": -100.0, "fat pad": -85.0, "visceral fat": -55.0,
    "mediastinum": -45.0, "gland": -20.0, "abdomen": 5.0, "bronchus": 20.0, "skin": 25.0, "stomach": 38.0,
    "vessel": 40.0, "blood": 42.0, "heart": 46.0, "spleen": 50.0, "muscle": 52.0, "liver": 60.0, "disc": 85.0,
    "cartilage": 95.0, "thin cortex": 650.0, "plaque": 700.0, "rib cortex": 950.0, "cortex": 1250.0,
}  # fmt: skip

# Rows of lofts: z, middle x, middle y, then the radii to -x, +x, the front and the back.
TRUNK: Table = [
    (-260, 0, 4, 152, 152, 98, 98),
    (-215, 0, 4, 154, 154, 100, 98),
    (-170, 0, 4, 160, 160, 105, 101),
    (-100, 0, 3, 168, 168, 110, 106),
    (-50, 0, 4, 170, 170, 108, 110),
    (0, 0, 6, 172, 172, 103, 110),
    (30, 0, 8, 172, 172, 94, 104),
    (52, 0, 9, 160, 160, 84, 95),
    (70, 0, 10, 134, 134, 77, 84),
    (88, 0, 11, 96, 96, 68, 71),
    (104, 0, 10, 69, 69, 59, 63),
    (125, 0, 9, 59, 59, 55, 60),
    (180, 0, 8, 56, 56, 52, 60),
]
TRUNK_SQUARE = 0.72

# The surface on which the middles of the ribs lie.
CAGE: Table = [
    (-260, 0, 0, 130, 130, 88, 86),
    (-215, 0, 0, 136, 136, 92, 88),
    (-190, 0, 0, 142, 142, 97, 91),
    (-165, 0, 0, 148, 148, 101, 94),
    (-140, 0, 0, 152, 152, 105, 96),
    (-100, 0, 1, 153, 153, 105, 96),
    (-50, 0, 3, 149, 149, 100, 94),
    (0, 0, 6, 140, 140, 91, 87),
    (45, 0, 9, 116, 116, 70, 75),
    (70, 0, 11, 90, 90, 59, 63),
    (88, 0, 13, 68, 68, 51, 54),
    (112, 0, 14, 46, 46, 42, 44),
]
CAGE_SQUARE = 0.5

# A lung is what the cage (less the ribs) and this have in common: apex, medial face and lower edge; left lung.
LUNG: Table = [
    (-186, 62, 30, 0, 0, 0, 0),
    (-180, 62, 30, 32, 64, 46, 56),
    (-165, 62, 15, 48, 108, 92, 96),
    (-140, 62, 5, 55, 130, 125, 110),
    (-60, 62, 5, 58, 130, 130, 110),
    (0, 60, 6, 56, 118, 116, 96),
    (40, 54, 8, 44, 86, 74, 78),
    (66, 48, 10, 32, 52, 46, 50),
    (82, 44, 12, 19, 28, 27, 29),
    (92, 42, 13, 0, 0, 0, 0),
]
LUNG_SQUARE = 0.3

# The soft wall between the lungs, painted over their medial faces.
MEDIASTINUM: Table = [
    (-215, 2, 10, 34, 36, 84, 62),
    (-132, 6, 0, 28, 34, 82, 56),
    (-85, 2, 0, 13, 15, 66, 50),
    (-35, 1, 0, 12, 13, 58, 46),
    (0, 0, 0, 14, 15, 52, 42),
    (30, 0, -2, 17, 18, 46, 36),
    (55, 0, -4, 20, 21, 40, 30),
    (80, 0, 0, 21, 22, 36, 28),
    (104, 0, 2, 0, 0, 0, 0),
]

VERTEBRAE: list[tuple[str, float, float, float, float, float, float]] = [
    # name, top of the body z, height of the body, half width, half depth, length of the spinous process, its slope
    ("C6", 150, 14.0, 12.5, 8.0, 32, 0.35),
    ("C7", 130, 15.0, 13.5, 8.5, 40, 0.45),
    ("T1", 107, 16.3, 15.0, 8.8, 42, 0.55),
    ("T2", 87, 17.2, 14.5, 9.6, 40, 0.8),
    ("T3", 66, 17.6, 13.8, 10.6, 40, 1.0),
    ("T4", 44, 17.9, 13.5, 11.4, 40, 1.2),
    ("T5", 22, 18.2, 13.6, 12.2, 40, 1.3),
    ("T6", 0, 18.7, 14.0, 13.0, 40, 1.4),
    ("T7", -23, 19.3, 14.5, 13.7, 40, 1.4),
    ("T8", -47, 19.8, 15.2, 14.3, 38, 1.3),
    ("T9", -71, 20.6, 16.0, 14.8, 36, 1.1),
    ("T10", -97, 21.8, 17.2, 15.2, 34, 0.9),
    ("T11", -124, 23.2, 18.6, 15.6, 32, 0.6),
    ("T12", -152, 25.0, 20.0, 15.8, 32, 0.4),
    ("L1", -183, 26.5, 21.0, 16.3, 34, 0.3),
    ("L2", -217, 27.5, 22.0, 16.8, 34, 0.25),
]  # fmt: skip

# Middle of the vertebral bodies in the sagittal plane: y over z (a cervical lordosis above the thoracic kyphosis).
SPINE_Y: Table = [
    (-260, 34),
    (-215, 38),
    (-170, 44),
    (-100, 52),
    (-50, 54),
    (0, 51),
    (50, 43),
    (100, 30),
    (130, 24),
    (170, 22),
]

RIBS: Table = [
    # z at the head, at the end of the bone, angle of that end (0 back, 180 front), half height, half thickness, twist
    (103, 50, 156, 8.0, 3.4, 1.2),
    (88, 16, 150, 6.8, 3.7, 0.7),
    (67, -14, 146, 7.0, 3.9, 0.35),
    (45, -42, 143, 7.4, 4.0, 0.2),
    (23, -68, 140, 7.7, 4.1, 0.1),
    (1, -95, 137, 7.9, 4.2, 0.1),
    (-22, -122, 133, 7.9, 4.2, 0.1),
    (-46, -142, 126, 7.7, 4.1, 0.1),
    (-70, -158, 118, 7.4, 4.0, 0.1),
    (-96, -171, 110, 7.0, 3.9, 0.1),
    (-128, -181, 92, 6.2, 3.6, 0.1),
    (-157, -190, 46, 5.4, 3.2, 0.1),
]

# Costal cartilages of ribs 1-7 end here on the sternum: x, y, z; those of 8-10 end on the cartilage above.
STERNAL_ENDS: Table = [
    (18, -61, 46),
    (14, -81, 19),
    (14, -87, -2),
    (14, -92, -23),
    (14, -96, -42),
    (13, -98, -59),
    (11, -99, -74),
]

AORTA: Table = [
    (6, -34, -46, 15.5), (-8, -38, -24, 15.5), (-15, -37, -2, 15.0), (-14, -30, 17, 14.5), (-7, -17, 30, 14.0),
    (4, -3, 35, 13.5), (14, 11, 34, 13.2), (22, 24, 26, 13.0), (26, 33, 12, 12.8), (27, 37, -8, 12.4),
    (26, 39, -40, 12.2), (24, 40, -75, 12.0), (18, 38, -110, 11.6), (11, 33, -145, 11.2), (4, 25, -180, 10.6),
    (1, 20, -225, 10.0), (1, 18, -260, 9.8),
]  # fmt: skip

# name, HU, then points x, y, z with a radius each.
VESSELS: list[tuple[str, str, Table]] = [
    ("pulmonary_artery", "blood", [(16, -48, -42, 14), (19, -40, -22, 13.5), (20, -22, -6, 12.5)]),
    ("pulmonary_artery", "blood", [(20, -22, -6, 12), (30, -4, -1, 11), (42, 12, -8, 9.5), (48, 18, -24, 8)]),
    ("pulmonary_artery", "blood", [(20, -22, -6, 11), (2, -10, -12, 10.5), (-22, -4, -14, 10), (-42, 6, -20, 8.5)]),
    ("pulmonary_artery", "blood", [(-42, 6, -20, 8), (-48, 14, -40, 7)]),
    ("superior_vena_cava", "blood", [(-23, -25, 46, 9), (-27, -24, 10, 9.5), (-26, -25, -32, 10)]),
    ("inferior_vena_cava", "blood", [(-20, -2, -95, 11), (-22, 4, -150, 11), (-20, 8, -230, 11)]),
    ("brachiocephalic_vein_left", "blood", [(34, -34, 58, 7), (8, -38, 50, 7.5), (-20, -28, 40, 8)]),
    ("brachiocephalic_vein_right", "blood", [(-34, -22, 66, 7), (-24, -25, 44, 8)]),
    ("brachiocephalic_trunk", "blood",
     [(-7, -18, 40, 7), (-18, -14, 58, 6.5), (-24, -12, 85, 5.5), (-26, -16, 150, 4)]),
    ("common_carotid_artery_left", "blood", [(5, -8, 44, 5), (14, -10, 70, 4.5), (22, -16, 110, 4), (26, -18, 150, 4)]),
    ("subclavian_artery_left", "blood", [(16, 8, 42, 5.5), (26, 6, 72, 5.5), (44, -2, 86, 5), (80, -16, 72, 4.5)]),
    ("subclavian_artery_right", "blood", [(-24, -12, 78, 5.5), (-44, -4, 86, 5), (-80, -16, 72, 4.5)]),
    ("esophagus", "muscle",
     [(3, 12, 140, 7), (4, 26, 60, 7), (5, 30, 0, 7), (8, 28, -70, 7.5), (14, 12, -130, 8), (34, 0, -158, 9)]),
]  # fmt: skip

AIRWAYS: list[tuple[str, Table]] = [
    ("trachea", [(0, -24, 160, 8.5), (0, -14, 110, 8.6), (1, -1, 60, 8.8), (-1, 9, 20, 9.0), (-1, 13, 2, 9.2)]),
    ("bronchus_right",
     [(-1, 13, 0, 7.6), (-16, 14, -13, 7.4), (-31, 15, -24, 6.8), (-40, 17, -42, 5.4), (-46, 22, -58, 4.4)]),
    ("bronchus_right", [(-29, 15, -22, 4.8), (-44, 14, -14, 4.4), (-54, 12, -4, 3.4)]),
    ("bronchus_left",
     [(-1, 13, 0, 6.8), (20, 18, -14, 6.6), (40, 20, -26, 6.0), (47, 24, -44, 4.8), (54, 30, -60, 4.0)]),
    ("bronchus_left", [(40, 20, -26, 4.6), (52, 12, -22, 4.0), (60, 4, -14, 3.2)]),
]  # fmt: skip

CLAVICLE: Table = [
    (12, -54, 57, 9.0), (24, -60, 58, 8.0), (46, -62, 61, 6.8), (70, -57, 66, 6.4), (94, -43, 72, 6.2),
    (116, -27, 77, 6.2), (138, -14, 80, 6.4), (156, -8, 80, 6.8), (172, -5, 77, 6.8),
]  # fmt: skip

# Middle of the head, neck, and elbow (out of the scan): hands on the hips, elbows to the front.
HUMERUS: list[Vector] = [(184, 8, 40), (202, 2, 28), (312, -56, -6)]

SCAPULA: dict[str, Vector] = {
    "superior": (92, 62, 70), "root": (104, 74, 45), "inferior": (124, 80, -66), "neck": (158, 26, 38),
    "glenoid": (166, 17, 36), "acromion": (186, -2, 74), "crest": (150, 44, 68), "coracoid": (160, -18, 52),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Frame:
    """One person beside the reference man: ``scale`` (x, y, z), ``round`` for radii, ``bend`` for extra kyphosis."""

    scale: tuple[float, float, float]
    bend: float = 0.0

    @property
    def size(self) -> float:
        """The scale of radii and thicknesses."""
        return float(np.prod(self.scale) ** (1 / 3))

    def at(self, x: float, y: float, z: float) -> Vector:
        """A point of the tables in this person; above the middle of the back, kyphosis carries it forward."""
        return x * self.scale[0], y * self.scale[1] + self.shift(z), self.height(z)

    def height(self, z: float) -> float:
        """A height of the tables in this person, whose 0 is the middle of the scan."""
        return (z - MIDDLE_Z) * self.scale[2]

    def shift(self, z: float) -> float:
        """How far extra kyphosis moves the level ``z`` of the tables to the back (negative: forward)."""
        return -self.bend * ((z + 60) / 150) ** 2 if z > -60 else 0.0

    def loft(self, rows: Table, square: float, mirror: int = 1, margin_mm: float = 0.0) -> Loft:
        """A loft of the tables in this person, on the right side where ``mirror`` is -1, grown by ``margin_mm``."""
        across, along, _ = self.scale
        fitted = []
        for z, x, y, right, left, front, back in rows:
            inner, outer = (right, left) if mirror > 0 else (left, right)
            middle = (mirror * x * across, y * along + self.shift(z))
            fitted.append((self.height(z), *middle, inner * across, outer * across, front * along, back * along))
        return Loft(fitted, square).grown(margin_mm) if margin_mm else Loft(fitted, square)
