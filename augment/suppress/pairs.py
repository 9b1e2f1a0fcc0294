"""Pairs to learn from: log exposures of a patient with and without bone, rendered from CTs and phantoms.

A pair is float16 (3, H, W): log attenuation without bone, what bone adds to it, and a map of regions. Images with and
without bone share scatter, detector blur and unsharp masking. Contrast medium is taken out of
both: few radiographs have any, and dense veins look like bone. Noise, grey levels and small objects come later, for
every example anew (`augment.suppress.examples`).
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy import ndimage

from drr.ct.volume import Volume
from drr.framing import scanned_part
from drr.geometry import FIELD_MM, Geometry, View, jitter, parse_view, place, stand_clear
from drr.insert.request import LesionRequest
from drr.masks import mask_stack
from drr.phantom.chest import HABITUS, SEXES, make_phantom
from drr.physics.detector import Detector, expose
from drr.physics.display import log_attenuation, unsharp
from drr.physics.exposure import transmit
from drr.physics.materials import MATERIALS
from drr.physics.scatter import GRIDS, scatter
from drr.physics.technique import Technique
from drr.projection import line_integrals
from drr.projector import project
from drr.reader import read_volume
from drr.scene import Scene, insert, load_scene
from gen.core.errors import BadInput
from gen.core.files import atomic_file
from gen.core.run import derived_seed

SOFT, ADDED, REGIONS = range(3)  # planes of a pair
LUNG, BONE, CLEAR, LEFT_OUT = 1, 2, 4, 8  # bits of the map of regions
BONE_MM, CLEAR_MM = 1.0, 0.2  # of water that bone adds: from there on it is bone, and up to there free of it
PHANTOM = "phantom-"  # begins the key of one
_LUNG_MM = 10.0  # a shorter way through lung is its rim
_WIDER = 2.0  # than an ordinary jitter of the view
# What is put into a scene, one or two at a time: it lies on both sides of the pair, so that the network lets it be.
_FINDINGS = (
    LesionRequest("Mass"),
    LesionRequest("Nodule"),
    LesionRequest("Consolidation"),
    LesionRequest("Pleural Effusion"),
    LesionRequest("Pneumothorax"),
    LesionRequest("Atelectasis"),
    LesionRequest("Support Devices", "pacemaker"),
    LesionRequest("Support Devices", "central venous catheter"),
    LesionRequest("Support Devices", "chest tube"),
    LesionRequest("Support Devices", "endotracheal tube"),
)


@dataclass(frozen=True)
class Patient:
    """A patient whose pairs are made: ``read`` gives the volume."""

    key: str
    read: Callable[[], Volume]
    position: str | None = None  # what the patient is exposed in whatever the view says; None: as the view says
    source: str = ""  # as index.csv has them
    licence: str = ""
    sha256: str = ""


def patients_of(folder: Path | None, phantoms: int, seed: int) -> list[Patient]:
    """The CTs of ``folder`` whose row of index.csv says that weights may learn from them, then drawn phantoms.

    Raises BadInput where the folder has no readable index.csv.
    """
    found = [] if folder is None else _learnable(folder)
    return found + [Patient(f"{PHANTOM}{k:03d}", partial(_phantom, seed, k), "erect") for k in range(phantoms)]


def _learnable(folder: Path) -> list[Patient]:
    """CTs: a map of labels, which has .seg. in its name, is none."""
    try:
        with (folder / "index.csv").open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        return [
            Patient(
                row["file"],
                partial(read_volume, folder / row["file"]),
                source=row.get("source", ""),
                licence=row.get("licence", ""),
                sha256=row.get("sha256", ""),
            )
            for row in rows
            if row["weights_may_learn"] == "yes" and ".seg." not in row["file"]
        ]
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise BadInput(
            f"{folder / 'index.csv'}: not readable as a table of CTs ({error})",
            hint="it needs the columns file and weights_may_learn; data=null learns from phantoms alone",
        ) from error


def _phantom(seed: int, k: int) -> Volume:
    rng = np.random.default_rng(derived_seed(seed, f"phantom {k}"))
    return make_phantom(
        sex=str(rng.choice(SEXES)),
        habitus=str(rng.choice(list(HABITUS))),
        age=int(rng.integers(20, 90)),
        seed=derived_seed(seed, f"phantom {k} individual"),
    )


def make_pairs(patient: Patient, folder: Path, *, scenes: int, poses: int, size: int, seed: int) -> list[Path]:
    """Write the pairs of ``patient`` that ``folder`` lacks; the paths of all of them.

    scenes: the patient as they are, and then with drawn findings and devices. poses: of each scene. size: pixels of a
    43 cm detector. Raises BadInput where the CT is no chest that can be projected.
    """
    names = [[folder / f"{patient.key}-{i:02d}-{k:03d}.npy" for k in range(poses)] for i in range(scenes)]
    plain: Scene | None = None
    for i, group in enumerate(names):
        missing = [path for path in group if not path.exists()]
        if not missing:
            continue
        plain = plain or load_scene(patient.read(), patient.key)
        rng = np.random.default_rng(derived_seed(seed, f"{patient.key} scene {i}"))
        scene = _with_findings(plain, rng) if i else plain
        for path in missing:
            rng = np.random.default_rng(derived_seed(seed, path.stem))
            pair = render_pair(scene, _pose(rng, patient.position), draw_technique(rng), size, rng)
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(path) as stream:
                np.save(stream, pair)
    return [path for group in names for path in group]


def _with_findings(scene: Scene, rng: np.random.Generator) -> Scene:
    for _ in range(3):
        chosen = rng.choice(len(_FINDINGS), size=2, replace=False)
        try:
            return insert(scene, [_FINDINGS[i] for i in chosen], rng)
        except BadInput:  # this patient has no place for it
            continue
    return scene


def _pose(rng: np.random.Generator, position: str | None) -> View:
    view = parse_view("PA" if rng.random() < 0.6 else "AP")
    drawn = jitter(view, rng)
    wider = {
        name: getattr(view, name) + _WIDER * (getattr(drawn, name) - getattr(view, name))
        for name in ("primary_deg", "secondary_deg")
    }
    return replace(drawn, **wider, position=position or view.position)


def draw_technique(rng: np.random.Generator) -> Technique:
    """Any exposure that a chest is taken with: 60 to 130 kV, all grids."""
    return Technique(
        kvp=float(rng.uniform(60, 130)),
        copper_mm=float(rng.choice([0.0, 0.1, 0.2])),
        grid=str(rng.choice(list(GRIDS))),
        detector=Detector(focal_spot_mm=float(rng.uniform(0.6, 1.5))),
    )


def render_pair(
    scene: Scene, view: View, technique: Technique, size: int, rng: np.random.Generator | None = None
) -> np.ndarray:
    """One pair, float16 (3, H, W), without noise.

    ``rng`` draws how dense and how sharp the bones are, and the strength of the unsharp mask: CTs are blurred over
    millimetres, and the bones of a radiograph are not. Without it they are as the CT has them, and the mask is that of
    `drr.projection.render`.
    """
    view = stand_clear(view, scene.reach_mm(view.towards))
    geometry = place(view, scene.centre_mm, size, FIELD_MM)
    geometry = scanned_part(geometry, scene.volume, scene.field.body, scene.field.cut, view.name)
    paths = line_integrals(scene, geometry, threads=1)
    paths["soft"] = paths["soft"].clip(0)
    bone_mm, pitch_mm = paths["bone"], geometry.pitch_mm[0]
    strength = 0.5
    if rng is not None:
        blurred = ndimage.gaussian_filter(bone_mm, rng.uniform(0.8, 2.0) / pitch_mm)
        sharper = bone_mm + rng.uniform(0, 1.5) * (bone_mm - blurred)
        paths["bone"] = (sharper * rng.uniform(0.7, 1.4)).clip(0)
        strength = float(rng.uniform(0, 0.6))
    paths["iodine"] = np.zeros_like(bone_mm)
    spectrum = technique.spectrum()
    response = technique.detector.response(spectrum.energies_kev)
    primary = transmit(paths, spectrum, response)
    boneless = transmit({name: path for name, path in paths.items() if name != "bone"}, spectrum, response)
    scattered = scatter(primary, np.asarray(sum(paths[name] for name in MATERIALS)), pitch_mm, technique.grid)

    def log_image(unscattered: np.ndarray) -> np.ndarray:
        magnification = view.sdd_mm / view.sod_mm
        signal = expose(
            unscattered + scattered, spectrum, technique.detector, pitch_mm, magnification=magnification, rng=None
        )
        return unsharp(log_attenuation(signal), pitch_mm, strength)

    soft = log_image(boneless)
    return np.stack([soft, log_image(primary) - soft, regions(scene, geometry, bone_mm)]).astype(np.float16)


def regions(scene: Scene, geometry: Geometry, bone_mm: np.ndarray) -> np.ndarray:
    """A map of bits, uint8 (H, W): LUNG, BONE (of any kind), CLEAR of bone, and what is LEFT_OUT of the loss.

    Left out is what no radiograph of a standing patient looks like: beside and above the lungs of a patient whose arms
    are up lie shoulder blades and upper arms.
    """
    [through_lung] = project([mask_stack(scene.lungs > 0, scene.volume)], geometry, threads=1)
    lung = through_lung >= _LUNG_MM
    marks = LUNG * lung + BONE * (bone_mm >= BONE_MM) + CLEAR * (bone_mm <= CLEAR_MM)
    if not scene.healthy and scene.field.arms != "down" and lung.any():
        rows, columns = np.nonzero(lung)
        height = rows.max() - rows.min()
        beyond = np.ones(lung.shape, bool)
        beyond[:, columns.min() : columns.max() + 1] = False
        beyond[: rows.min()] = True
        beyond[rows.min() + height // 2 :] = False
        marks = marks + LEFT_OUT * beyond
    return marks.astype(np.uint8)


def digest_of_names(paths: Sequence[Path]) -> str:
    """What decides which pairs there are, for the record of a run."""
    return hashlib.sha256("\n".join(path.name for path in paths).encode()).hexdigest()[:16]
