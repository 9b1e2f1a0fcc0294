"""From a patient and a view to a `Projection`: line integrals, spectrum, scatter, detector, grey levels, truth."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from drr.backends.plan import OutOfView
from drr.backends.tiles import Stack, processors
from drr.framing import scanned_part
from drr.geometry import FIELD_MM, Geometry, View, place, stand_clear
from drr.masks import mask_stack, project_masks
from drr.physics.detector import expose
from drr.physics.display import clahe, fit_window, log_attenuation, unsharp
from drr.physics.exposure import transmit
from drr.physics.materials import MATERIALS
from drr.physics.scatter import scatter
from drr.physics.technique import Technique
from drr.projector import project
from drr.scene import Scene
from drr.truth import truth_of

_IN_THE_BEAM_MM = 20.0  # of water: what is behind more is the patient, and the grey levels are fitted to it
_BONE_WHITE, _LEAST_WHITE = 99.9, 0.1  # percentile of the bone image that becomes white, and what is too faint to


@dataclass(frozen=True, eq=False)
class Projection:
    """``image``, ``soft`` and ``bone`` float32 (H, W) in [0, 1], bone bright; the twins are None unless asked for.

    ``paths_mm`` are the line integrals by material, water-equivalent mm, float32 (H, W): soft + bone + iodine + metal
    is the whole. ``soft`` is in the grey levels of ``image``, with soft tissue where the bone was; ``bone`` shows what
    bone adds to the log attenuation of the primary, without noise and scatter. ``masks`` bool (H, W) by structure.
    ``truth`` is what JSON can hold of all this.
    """

    image: np.ndarray
    soft: np.ndarray | None
    bone: np.ndarray | None
    paths_mm: Mapping[str, np.ndarray]
    masks: Mapping[str, np.ndarray]
    geometry: Geometry
    view: View
    truth: Mapping[str, Any]

    @property
    def labels(self) -> Mapping[str, Any]:
        """State, side, severity and zone of each finding that is known, by its standard name."""
        findings: Mapping[str, Any] = self.truth["study"]["findings"]
        return findings

    @property
    def provenance(self) -> dict[str, str]:
        """What the picture file says of itself."""
        return {
            "synthetic": "yes",
            "made_by": f"cxr-gen {version('cxr-gen')} drr",
            "patient": str(self.truth["patient_id"]),
            "view": self.view.name,
            "kvp": f"{self.truth['technique']['kvp']:g}",
            "notes": str(self.truth["notes"]),
            "threads": str(self.truth["threads"]),
        }


def line_integrals(scene: Scene, geometry: Geometry, *, threads: int | None = None) -> dict[str, np.ndarray]:
    """Water-equivalent mm by material, float32 (H, W); their sum is the path through the patient and the devices.

    ``threads`` are the projector's; sums in another number of parts differ in their last bits.
    """
    names = ("total", "bone", "iodine", "metal")
    total, bone, iodine, metal = project([scene.stacks[name] for name in names], geometry, threads=threads)
    paths = {"soft": total - bone - iodine, "bone": bone, "iodine": iodine, "metal": metal}
    for material, stack in scene.parts:
        with suppress(OutOfView):  # a part of a device that falls beside the detector
            paths[material] += project([stack], geometry, threads=threads)[0]
    return paths


def render(
    scene: Scene,
    view: View,
    technique: Technique,
    *,
    size: int,
    field_mm: float = FIELD_MM,
    rng: np.random.Generator | None,
    twins: bool = False,
    equalize: bool = False,
    masks: Mapping[str, Stack] | None = None,
    threads: int | None = None,
) -> Projection:
    """Expose ``scene`` on a detector of ``size`` pixels and ``field_mm`` a side, cropped to what was scanned.

    A wide patient stands farther from the detector than ``view`` says, and the truth tells how far. Without noise where
    ``rng`` is None. ``equalize`` adds CLAHE to the image, not to its twins. ``masks`` are projected beside the masks of
    what was inserted. ``threads`` as of `line_integrals`; None is one for each processor. BadInput, naming the patient,
    for a view that shows too little of the scan.
    """
    threads = threads or processors()
    view = stand_clear(view, scene.reach_mm(view.towards))
    geometry = place(view, scene.centre_mm, size, field_mm)
    geometry = scanned_part(geometry, scene.volume, scene.field.body, scene.field.cut, view.name)
    paths = line_integrals(scene, geometry, threads=threads)
    without = {name: path for name, path in paths.items() if name != "bone"}
    spectrum, pitch_mm = technique.spectrum(), geometry.pitch_mm[0]
    response = technique.detector.response(spectrum.energies_kev)
    water_mm = np.asarray(sum(paths[name] for name in MATERIALS))
    primary = transmit(paths, spectrum, response)
    scattered = scatter(primary, water_mm, pitch_mm, technique.grid)
    seed = None if rng is None else int(rng.integers(2**63))

    def log_image(unscattered: np.ndarray) -> np.ndarray:
        """Log attenuation as the detector reads it; the twins share the scatter and the draws of the noise."""
        noise = None if seed is None else np.random.default_rng(seed)
        magnification = view.sdd_mm / view.sod_mm
        signal = unscattered + scattered
        signal = expose(signal, spectrum, technique.detector, pitch_mm, magnification=magnification, rng=noise)
        return unsharp(log_attenuation(signal), pitch_mm)

    log = log_image(primary)
    window = fit_window(log, water_mm > _IN_THE_BEAM_MM)
    image, soft, bone, bone_white = window(log), None, None, None
    if twins:
        boneless = transmit(without, spectrum, response)
        soft = window(log_image(boneless))
        added = log_attenuation(primary) - log_attenuation(boneless)
        bone_white = max(float(np.percentile(added, _BONE_WHITE)), _LEAST_WHITE)
        bone = np.clip(added / bone_white, 0, 1).astype(np.float32)
    wanted = dict(masks or {})
    for inserted in scene.inserted:
        wanted[_mask_name(inserted.label, wanted)] = mask_stack(inserted.mask, scene.volume)
    return Projection(
        image=clahe(image) if equalize else image,
        soft=soft,
        bone=bone,
        paths_mm=paths,
        masks=project_masks(wanted, geometry, threads),
        geometry=geometry,
        view=view,
        truth=truth_of(scene, view, geometry, technique)
        | {"threads": threads, "display": {**asdict(window), "equalized": equalize, "bone_white": bone_white}},
    )


def _mask_name(label: Mapping[str, Any], taken: Mapping[str, Any]) -> str:
    """The finding or the device in lower case, with its side, numbered where there are several."""
    words = [label.get("device") or label["finding"], label.get("side")]
    name = "_".join(word.lower().replace(" ", "_") for word in words if word)
    numbers = (k for k in range(1, len(taken) + 2))
    return next(each for k in numbers if (each := name if k == 1 else f"{name}_{k}") not in taken)
