"""A projection holds together: shares add up, twins differ by bone alone, noise and pose are decided by the seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drr.geometry import VIEWS
from drr.insert.request import parse_lesion
from drr.physics.materials import MATERIALS
from drr.physics.technique import Technique, technique_of
from drr.projection import Projection, line_integrals, render
from drr.projector import prepare, project
from drr.scene import Scene, insert
from gen.core.errors import BadInput

SIZE = 128


def exposed(scene: Scene, view: str = "PA", *, seed: int | None = 0, twins: bool = False) -> Projection:
    rng = None if seed is None else np.random.default_rng(seed)
    return render(scene, VIEWS[view], technique_of(VIEWS[view]), size=SIZE, rng=rng, twins=twins)


@pytest.mark.parametrize("view", ["PA", "AP", "lateral", "LAO"])
def test_the_shares_of_the_paths_are_the_path_through_the_patient(scene: Scene, view: str) -> None:
    projection = exposed(scene, view)
    number = np.maximum(scene.volume.hu + np.int16(1000), 0)
    stack = prepare(number, scene.volume.spacing_mm, scene.volume.direction, scene.volume.origin_mm)
    [whole] = project([stack], projection.geometry)
    added = sum(projection.paths_mm[name] for name in MATERIALS)
    assert np.abs(added - whole).max() <= 1e-6 * whole.max()


def test_the_soft_twin_differs_from_the_image_where_there_is_bone_and_only_there(scene: Scene) -> None:
    projection = exposed(scene, seed=None, twins=True)
    assert projection.soft is not None
    difference = projection.image - projection.soft
    # Scatter and unsharp masking reach beyond the bone, and soften the difference there.
    inside, far = projection.paths_mm["bone"] > 4, projection.paths_mm["bone"] == 0
    assert difference[inside].mean() > 10 * abs(difference[far].mean())


def test_the_soft_twin_is_the_image_of_a_patient_without_bone(scene: Scene) -> None:
    bare = replace(scene.shares, total=scene.shares.total - scene.shares.bone, bone=np.zeros_like(scene.shares.bone))
    volume = scene.volume
    stacks = {
        name: prepare(getattr(bare, name), volume.spacing_mm, volume.direction, volume.origin_mm)
        for name in ("total", "bone", "iodine", "metal")
    }
    projection = exposed(scene, twins=True)
    boneless = line_integrals(replace(scene, stacks=stacks), projection.geometry)
    assert np.abs(boneless["soft"] - projection.paths_mm["soft"]).max() <= 1e-6 * boneless["soft"].max()


def test_the_bone_image_is_black_where_there_is_no_bone_and_grows_with_it(scene: Scene) -> None:
    projection = exposed(scene, twins=True)
    assert projection.bone is not None
    path = projection.paths_mm["bone"]
    assert projection.bone[path == 0].max() <= 1e-3
    order = [projection.bone[(path > low) & (path <= 2 * low)].mean() for low in (0.5, 1, 2, 4, 8)]
    assert order == sorted(order)


def test_the_seed_decides_the_noise_and_nothing_else(scene: Scene) -> None:
    first, again, other, none = (exposed(scene, seed=seed) for seed in (1, 1, 2, None))
    assert np.array_equal(first.image, again.image)
    assert 0 < np.abs(first.image - other.image).mean() < 0.02
    assert np.abs(first.image - none.image).mean() < 0.02


def test_images_are_in_range_and_bone_is_bright(scene: Scene) -> None:
    projection = exposed(scene, seed=None)
    assert 0 <= projection.image.min() <= projection.image.max() <= 1
    water = sum(projection.paths_mm.values())
    thin, thick = (projection.image[mask].mean() for mask in (water < 5, water > np.percentile(water, 95)))
    assert thin < 0.05
    assert thick > 0.5


def test_a_lying_patient_is_exposed_as_at_the_bedside() -> None:
    assert technique_of(VIEWS["PA"]) == Technique()
    bedside = technique_of(VIEWS["AP"])
    assert (bedside.kvp, bedside.grid) == (90, "none")
    assert technique_of(VIEWS["AP"], 110).kvp == 110
    with pytest.raises(BadInput, match="20 kV"):
        technique_of(VIEWS["PA"], 20)


def test_the_mask_of_a_lesion_is_where_it_shows(scene: Scene) -> None:
    request = parse_lesion("effusion right moderate")
    ill = insert(scene, [request], np.random.default_rng(0))
    before, after = exposed(scene, seed=None), exposed(ill, seed=None)
    [(name, mask)] = after.masks.items()
    assert name == "pleural_effusion_right"
    change = np.abs(after.paths_mm["soft"] - before.paths_mm["soft"])
    assert change[mask].sum() > 0.95 * change.sum()
    columns = np.nonzero(mask)[1]
    assert columns.mean() < mask.shape[1] / 2  # the patient's right hangs at the left
    assert after.truth["study"]["findings"]["Pleural Effusion"]["side"] == "right"


def test_a_device_is_added_and_takes_nothing_away(scene: Scene) -> None:
    fitted = insert(scene, [parse_lesion("pacemaker left")], np.random.default_rng(0))
    before, after = (line_integrals(each, exposed(scene).geometry) for each in (scene, fitted))
    change = {name: after[name] - before[name] for name in MATERIALS}
    assert all(part.min() >= 0 for part in change.values())
    assert change["metal"].max() > 5
    assert np.array_equal(after["bone"], before["bone"])
    assert fitted.volume is scene.volume
