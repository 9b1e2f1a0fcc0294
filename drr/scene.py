"""A patient ready for exposure: the volume without its table, the stacks that are projected, and what was inserted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from drr.body import Field, describe_field, find_body, find_lungs, require_chest, without_table
from drr.devices import insert_device
from drr.lesions import insert_lesion
from drr.projector import Stack, prepare
from drr.request import Inserted, LesionRequest
from drr.tissue import Shares, separate
from drr.volume import Volume

# A change above this number may concern bone, contrast or metal; below it, soft tissue alone has changed.
_DENSE = 1100


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
        """How far the patient reaches from the centre in the direction of a unit vector."""
        points_mm = self.volume.to_mm(self.stacks["total"].ends()[:, ::-1])
        return float(((points_mm - self.centre_mm) @ towards).max())


def load_scene(volume: Volume, key: str) -> Scene:
    """Find the patient in ``volume``; BadInput where it is not a chest that can be projected."""
    body = find_body(volume)
    lungs = find_lungs(volume, body)
    require_chest(volume, body, lungs)
    volume = without_table(volume, body)
    shares = separate(volume, body, lungs)
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
    """``scene`` with findings and devices put in, in the order asked for; BadInput where one has no place there."""
    for request in requests:
        put_in = insert_lesion if request.device is None else insert_device
        inserted = put_in(scene.volume, scene.body, scene.lungs, request, rng)
        parts = tuple(
            (part.material, prepare(part.numbers, part.spacing_mm, part.direction, part.origin_mm))
            for part in inserted.parts
        )
        scene = replace(scene, parts=scene.parts + parts, inserted=(*scene.inserted, inserted))
        if inserted.volume is not scene.volume:
            scene = _changed(scene, inserted.volume)
    return scene


def _changed(scene: Scene, volume: Volume) -> Scene:
    """``scene`` with the voxels of ``volume``; what is not soft tissue is looked for again only where it can differ."""
    differs = volume.hu != scene.volume.hu
    if max(volume.hu[differs].max(initial=-1000), scene.volume.hu[differs].max(initial=-1000)) + 1000 > _DENSE:
        shares = separate(volume, scene.body, scene.lungs)
        return replace(scene, volume=volume, shares=shares, stacks=_stacks(volume, shares))
    number = np.maximum(volume.hu + np.int16(1000), 0)
    shares = replace(scene.shares, total=number - scene.shares.metal)
    total = prepare(shares.total, volume.spacing_mm, volume.direction, volume.origin_mm)
    return replace(scene, volume=volume, shares=shares, stacks={**scene.stacks, "total": total})


def _stacks(volume: Volume, shares: Shares) -> dict[str, Stack]:
    return {
        name: prepare(getattr(shares, name), volume.spacing_mm, volume.direction, volume.origin_mm)
        for name in ("total", "bone", "iodine", "metal")
    }
