"""Pairs of a projection and its masks, made once: many bodies, each in many poses, with and without findings.

A body leaves one file of records, which is memory-mapped and named after what was read of it. What is done to an image
while the network learns is in films.py; here is what takes physics.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from augment.anatomy.atlas import carry_over, with_labels
from augment.anatomy.bodies import Body, digest_of
from augment.anatomy.config import AnatomyConfig
from augment.bodies.organs import organ_masks, organ_stacks, project_organs
from drr.backends.tiles import Stack
from drr.ct.volume import Volume
from drr.geometry import VIEWS, View
from drr.insert.request import parse_lesion
from drr.phantom.chest import AGES, HABITUS, SEXES, make_phantom
from drr.physics.technique import technique_of
from drr.projection import render
from drr.reader import read_labels, read_volume
from drr.scene import Scene, insert, load_scene
from gen.anatomy.network import ORGANS
from gen.core.errors import BadInput, GenError
from gen.core.files import atomic_file, read_json, write_json
from gen.core.run import derived_seed

_POOL = "pool.json"
# What decides a record, beside the body itself.
_DECIDING = ("size", "spacing_mm", "scenes", "ct_scenes", "poses", "seed")
_ATTEMPTS = 100  # views that are drawn for a projection before the scan is taken to be no chest
MARGIN = 1.125  # pixels of a record beside those that the network sees, so that moving it keeps detail

# What a scene is given, by draw: texts of `parse_lesion`. The first row hides a lung, and its mask stays a lung.
_FINDINGS = (
    ("Pleural Effusion:{side},severe", "Consolidation:{side},severe"),
    ("Pleural Effusion:{side}",),
    ("Pleural Effusion:bilateral",),
    ("Consolidation:{side},severe",),
    ("Consolidation:{side}",),
    ("Atelectasis:{side},severe",),
    ("Edema:severe",),
    ("Mass:{side}",),
    ("Pneumothorax:{side}",),
)
_DEVICES = ("pacemaker", "central venous catheter", "endotracheal tube", "chest tube")
_ENLARGED = 0.4  # of the phantoms' scenes with findings have a large heart
# The chance of each view, and the half ranges of its angles in degrees (primary, secondary, roll).
_VIEWS = ((0.5, "PA", (10, 8, 5)), (0.36, "AP", (12, 14, 7)), (0.09, "lateral", (10, 5, 5)), (0.05, "LAO", (95, 6, 4)))


def record_type(size: int) -> np.dtype:
    """One projection: ``image`` uint8 (P, P), ``masks`` uint16 (P, P) with bit i for ORGANS[i], ``frame`` the first and
    the last + 1 row and column that the projection fills, ``known`` the organs that are known, as bits."""
    side = round(size * MARGIN)
    return np.dtype(
        [
            ("image", "u1", (side, side)),
            ("masks", "u2", (side, side)),
            ("frame", "i2", 4),
            ("known", "u2"),
            ("view", "U8"),
        ]
    )


def pool(config: AnatomyConfig, body: Body) -> np.ndarray:
    """The records of ``body``, memory-mapped from ``config.pool``, where they are made if they are not there."""
    path = _path(config, body)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not (path.parent / _POOL).is_file():
            write_json(path.parent / _POOL, _deciding(config))
        made = np.stack(list(_records(config, body)))
        with atomic_file(path) as stream:
            np.save(stream, made)
    records: np.ndarray = np.load(path, mmap_mode="r")
    return records


def superseded(config: AnatomyConfig, bodies: Iterable[Body]) -> list[str]:
    """The names of ``bodies`` whose projections lie in the pool, but not as they are now: they are made again.

    They were made of other files, or by a version that named no digest.
    """
    held = {path.name for path in Path(config.pool).glob("*.npy")}

    def is_old(body: Body) -> bool:
        pattern = re.compile(rf"{re.escape(body.name)}(-[0-9a-f]{{16}})?\.npy")
        return any(map(pattern.fullmatch, held)) and _path(config, body).name not in held

    return [body.name for body in bodies if is_old(body)]


def _path(config: AnatomyConfig, body: Body) -> Path:
    # By the digest: a CT that was replaced, or that is held out now and gets no labels of an atlas, is another body.
    return Path(config.pool) / f"{body.name}-{digest_of(body)}.npy"


def check_pool(config: AnatomyConfig) -> None:
    """BadInput where the folder of the pool holds other projections than ``config`` asks for."""
    path = Path(config.pool) / _POOL
    wanted = _deciding(config)
    held = read_json(path) if path.is_file() else wanted
    if other := [name for name in _DECIDING if held.get(name) != wanted[name]]:
        raise BadInput(f"the projections in {config.pool} were made with another {other[0]}", hint="name another pool")


def _deciding(config: AnatomyConfig) -> dict[str, object]:
    return {name: getattr(config, name) for name in _DECIDING}


def _records(config: AnatomyConfig, body: Body) -> Iterator[np.ndarray]:
    """Projections of ``body``: each scene in each pose."""
    plain = load_scene(_volume(config, body), body.name)
    if plain.volume.labels is None and body.atlas is not None:
        plain = with_labels(plain, carry_over(_atlas(body.atlas), plain))
    masks = organ_masks(plain, body.unknown)
    stacks = organ_stacks(plain, masks)
    for k in range(config.ct_scenes if body.number is None else config.scenes):
        rng = np.random.default_rng(derived_seed(config.seed, f"{body.name} scene {k}"))
        scene = _with_findings(plain, rng, phantom=body.number is not None) if k else plain
        own = stacks
        if scene.volume.labels is not plain.volume.labels:  # a heart that was enlarged
            own = organ_stacks(scene, organ_masks(scene, body.unknown))
        for _ in range(config.poses):
            yield _project(config, scene, own, rng)


def _volume(config: AnatomyConfig, body: Body) -> Volume:
    if body.ct is not None:
        return _ct(body)
    assert body.number is not None
    seed = derived_seed(config.seed, body.name)
    rng = np.random.default_rng(seed)
    depth, height, width = config.spacing_mm
    return make_phantom(
        sex=str(rng.choice(SEXES)),
        habitus=str(rng.choice(list(HABITUS))),
        age=int(rng.integers(*AGES, endpoint=True)),
        seed=seed,
        spacing_mm=(depth, height, width),
    )


@lru_cache(maxsize=1)
def _atlas(body: Body) -> Scene:
    return load_scene(_ct(body), body.name)


def _ct(body: Body) -> Volume:
    assert body.ct is not None
    volume = read_volume(body.ct)
    return volume if body.labels is None else replace(volume, labels=read_labels(body.labels, volume))


def _with_findings(plain: Scene, rng: np.random.Generator, *, phantom: bool) -> Scene:
    """``plain`` with findings, or devices, or both; what has no place there is left out."""
    side = str(rng.choice(("right", "left")))
    texts = list(_FINDINGS[rng.choice(len(_FINDINGS))]) if rng.random() < 0.8 else []
    if phantom and rng.random() < _ENLARGED:
        texts.append("Cardiomegaly")
    if not texts or rng.random() < 0.5:
        texts.append(str(rng.choice(_DEVICES)))
    scene = plain
    for text in texts:
        request = parse_lesion(text.format(side=side))
        try:
            scene = insert(scene, [replace(request, position=str(rng.choice(("erect", "supine"))))], rng)
        except GenError:  # no room for it in this patient
            continue
    return scene


def draw_view(rng: np.random.Generator) -> View:
    """A frontal view, mostly, as badly set as they come; some laterals and obliques."""
    chances = [chance for chance, _, _ in _VIEWS]
    _, name, half = _VIEWS[rng.choice(len(_VIEWS), p=chances)]
    view = VIEWS[name]
    primary, secondary, roll = (rng.triangular(-most, 0, most) for most in half)
    scale = rng.uniform(0.9, 1.1)
    return replace(
        view,
        primary_deg=view.primary_deg + primary,
        secondary_deg=view.secondary_deg + secondary,
        roll_deg=roll,
        sdd_mm=view.sdd_mm * scale,
        sod_mm=view.sod_mm * scale,
        shift_mm=tuple(rng.uniform(-25, 25, 2).tolist()),
    )


def _project(config: AnatomyConfig, scene: Scene, stacks: Mapping[str, Stack], rng: np.random.Generator) -> np.ndarray:
    record = np.zeros((), record_type(config.size))
    side = record["image"].shape[0]
    for attempt in range(_ATTEMPTS):
        view = draw_view(rng)
        technique = technique_of(view, float(rng.integers(60, 126)))
        try:
            made = render(scene, view, technique, size=side, field_mm=float(rng.uniform(340, 460)), rng=rng, threads=1)
            break
        except BadInput:  # too little of the scan in this view
            if attempt + 1 == _ATTEMPTS:
                raise
    rows, columns = made.image.shape
    top, left = (side - rows) // 2, (side - columns) // 2
    part = slice(top, top + rows), slice(left, left + columns)
    record["image"][part] = np.rint(made.image * 255)
    bits = (1 << np.arange(len(ORGANS), dtype=np.uint16))[:, None, None]
    record["masks"][part] = (project_organs(stacks, made.geometry) * bits).sum(0)
    record["frame"] = top, top + rows, left, left + columns
    record["known"] = sum(1 << ORGANS.index(organ) for organ in stacks)
    record["view"] = view.name
    return record
