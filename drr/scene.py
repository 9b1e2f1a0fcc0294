"""A patient ready for exposure: the volume without its table, the stacks that are projected, and what was inserted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from drr.backends.tiles import Stack
from drr.ct.body import Field, describe_field, find_body, find_lungs, require_chest, without_table
from drr.ct.tissue import Shares, separate
from drr.ct.volume import Volume
from drr.insert.devices import insert_device
from drr.insert.lesions import insert_lesion
from drr.insert.request import Inserted, LesionRequest
from drr.insert.thorax import AERATED_HU, TAKEN_ID
from drr.phantom.known import is_phantom, known_body, known_lungs, known_shares
from drr.projector import prepare

# A change above this number may concern bone, contrast or metal; below it, soft tissue alone has changed.
_DENSE = 1100
# What findings are put in by: first what moves the lung or has a place of its own by gravity, then what is in the lung.
# Fluid before air, which lies on it. Devices come last.
_ORDER = (
    "Cardiomegaly",
    "Pleural Effusion",
    "Pneumothorax",
    "Edema",
    "Consolidation",
    "Atelectasis",
    "Mass",
    "Nodule",
    "Fracture",
)


@dataclass(frozen=True, eq=False)
class Scene:
    """``stacks`` by share: "total" (all but metal), "bone", "iodine", "metal"; ``parts`` are devices, by material.

    ``key`` is the patient's name in a data set; ``healthy`` tells that nothing is abnormal but what was inserted.
    """

    key: str
    volume: Volume
    body: np.ndarray
    lungs: np.ndarray
    field: Field
    shares: Shares
    stacks: Mapping[str, Stack]
    healthy: bool = False
    parts: tuple[tuple[str, Stack], ...] = ()
    inserted: tuple[Inserted, ...] = ()

    @property
    def centre_mm(self) -> np.ndarray:
        """Where the central ray goes: the middle of the body, at half the height of the lungs."""
        body, lungs = (np.mean(ends, axis=0) for ends in (self.field.body, self.field.lungs))
        return self.volume.to_mm(np.array([lungs[0], body[1], body[2]]))

    def reach_mm(self, towards: np.ndarray) -> float:
        """How far patient and devices reach from the centre in the direction of a unit vector."""
        stacks = [self.stacks["total"], *(stack for _, stack in self.parts)]
        points_mm = np.concatenate([stack.grid.to_mm(stack.ends()) for stack in stacks])
        return float(((points_mm - self.centre_mm) @ towards).max())


def load_scene(volume: Volume, key: str) -> Scene:
    """Find the patient in ``volume``; BadInput where it is not a chest that can be projected."""
    if volume.labels is not None and is_phantom(volume):
        body, lungs = known_body(volume, volume.labels), known_lungs(volume.labels)
    else:
        body = find_body(volume)
        lungs = find_lungs(volume, body)
    require_chest(volume, body, lungs)
    volume = without_table(volume, body)
    shares = _shares(volume, body, lungs)
    return Scene(
        key=key,
        volume=volume,
        body=body,
        lungs=lungs,
        field=describe_field(volume, body, lungs),
        shares=shares,
        stacks=_stacks(volume, shares),
        healthy=bool(volume.facts.get("phantom")),
    )


def insert(scene: Scene, requests: Sequence[LesionRequest], rng: np.random.Generator) -> Scene:
    """``scene`` with findings and devices put in; BadInput where one has no place there.

    The order is that of `_ORDER`, whatever the order asked for, and a later finding gets the lung that the earlier ones
    left aerated: it neither covers them nor lies in fluid or free air, and their masks stay true. A fracture and
    devices may touch fluid and air: they get the whole pleural space beside the heart. ``lungs`` stay as they were.
    """
    space, aerated = scene.lungs, scene.lungs
    for request in sorted(requests, key=_rank):
        finding = request.device is None and request.finding != "Fracture"
        put_in = insert_lesion if request.device is None else insert_device
        inserted = put_in(scene.volume, scene.body, aerated if finding else space, request, rng)
        parts = tuple(
            (part.material, prepare(part.numbers, part.spacing_mm, part.direction, part.origin_mm))
            for part in inserted.parts
        )
        if request.finding == "Cardiomegaly":
            space = aerated = np.where(_taken(scene, inserted), np.uint8(0), aerated)
        elif finding:
            aerated = np.where(_taken(scene, inserted), np.uint8(TAKEN_ID), aerated)
        scene = replace(scene, parts=scene.parts + parts, inserted=(*scene.inserted, inserted))
        if inserted.volume is not scene.volume:
            scene = _changed(scene, inserted.volume)
    return scene


def _rank(request: LesionRequest) -> tuple[int, str]:
    return _ORDER.index(request.finding) if request.finding in _ORDER else len(_ORDER), str(request)


def _taken(scene: Scene, inserted: Inserted) -> np.ndarray:
    """What is no longer aerated lung: a lesion's mask (of an oedema, which leaves air, what is dense), and where tissue
    that was moved now is: bool (z, y, x)."""
    dense = inserted.volume.hu > AERATED_HU
    moved_in = dense & (scene.volume.hu <= AERATED_HU)
    return moved_in if inserted.label["finding"] == "Edema" else inserted.mask | moved_in


def _changed(scene: Scene, volume: Volume) -> Scene:
    """``scene`` with the voxels of ``volume``; what is not soft tissue is looked for again only where it can differ."""
    differs = volume.hu != scene.volume.hu
    if max(volume.hu[differs].max(initial=-1000), scene.volume.hu[differs].max(initial=-1000)) + 1000 > _DENSE:
        shares = _shares(volume, scene.body, scene.lungs)
        return replace(scene, volume=volume, shares=shares, stacks=_stacks(volume, shares))
    number = np.maximum(volume.hu + np.int16(1000), 0)
    shares = replace(scene.shares, total=number - scene.shares.metal)
    total = prepare(shares.total, volume.spacing_mm, volume.direction, volume.origin_mm)
    return replace(scene, volume=volume, shares=shares, stacks={**scene.stacks, "total": total})


def _shares(volume: Volume, body: np.ndarray, lungs: np.ndarray) -> Shares:
    return known_shares(volume, body) if is_phantom(volume) else separate(volume, body, lungs)


def _stacks(volume: Volume, shares: Shares) -> dict[str, Stack]:
    return {
        name: prepare(getattr(shares, name), volume.spacing_mm, volume.direction, volume.origin_mm)
        for name in ("total", "bone", "iodine", "metal")
    }
