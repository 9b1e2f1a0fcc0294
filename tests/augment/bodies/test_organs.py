"""Which voxels are an organ, and where they fall: sides, order from top to bottom, and what is unknown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from augment.anatomy.measure import dice
from augment.bodies.organs import organ_masks, organ_stacks, project_organs
from drr.geometry import VIEWS, place
from drr.scene import Scene
from gen.anatomy.network import ORGANS


def _middle(mask: np.ndarray) -> np.ndarray:
    return np.argwhere(mask).mean(axis=0)


def _projected(scene: Scene, view: str) -> dict[str, np.ndarray]:
    geometry = place(VIEWS[view], scene.centre_mm, 96)
    return dict(zip(ORGANS, project_organs(organ_stacks(scene, organ_masks(scene)), geometry), strict=True))


@pytest.mark.parametrize("view", ["PA", "AP"])
def test_a_frontal_view_hangs_as_radiographs_do(phantom: Scene, view: str) -> None:
    masks = _projected(phantom, view)
    at = {organ: _middle(mask) for organ, mask in masks.items()}
    assert at["right lung"][1] < at["spine"][1] < at["left lung"][1]
    assert at["right clavicle"][1] < at["spine"][1] < at["left clavicle"][1]
    assert at["heart"][1] > at["spine"][1]
    assert at["left clavicle"][0] < at["left lung"][0] < at["abdomen"][0]
    for organ in ORGANS:
        assert not (masks[organ] & ~masks["body"]).sum() > 0.02 * masks[organ].sum()
    assert not (masks["heart"] & ~masks["mediastinum"]).sum() > 0.02 * masks["heart"].sum()


def test_the_abdomen_lies_under_the_lungs(phantom: Scene) -> None:
    masks = organ_masks(phantom)
    lungs = masks["right lung"] | masks["left lung"]
    assert not (masks["abdomen"] & lungs).sum() > 0.05 * masks["abdomen"].sum()
    bottom = np.argwhere(lungs)[:, 0].min()
    assert masks["abdomen"][bottom - 1][phantom.body[bottom - 1]].all()


def test_without_labels_what_the_scan_does_not_show_is_unknown(phantom: Scene) -> None:
    bare = replace(phantom, volume=replace(phantom.volume, labels=None))
    masks = organ_masks(bare)
    assert list(masks) == ["right lung", "left lung", "abdomen", "body"]
    labelled = organ_masks(phantom)
    for organ in masks:
        assert dice(masks[organ], labelled[organ]) > 0.9
    assert "left lung" not in organ_masks(bare, ["left lung"])
