"""Labels that one body gets from another."""

from __future__ import annotations

from dataclasses import replace

from augment.anatomy.atlas import carry_over, with_labels
from augment.anatomy.measure import dice
from augment.bodies.organs import organ_masks
from drr.phantom.chest import make_phantom
from drr.scene import Scene, load_scene


def test_labels_are_carried_over_to_another_body(phantom: Scene) -> None:
    other = load_scene(make_phantom("F", "large", 70, 5, spacing_mm=(5.0, 4.0, 4.0)), "other")
    carried = with_labels(other, carry_over(phantom, replace(other, volume=replace(other.volume, labels=None))))
    found, true = organ_masks(carried), organ_masks(other)
    for organ, least in {"heart": 0.75, "right lung": 0.9, "left lung": 0.9}.items():
        assert dice(found[organ], true[organ]) > least, organ
    bone = other.shares.bone > 0  # where it is, the CT says; what it is called, the atlas
    for organ in ("ribs", "spine"):
        assert not (found[organ] & ~bone).any()
        assert found[organ][true[organ] & bone].mean() > 0.8, organ
