"""What is put in together stays what it is: no mask goes stale, nothing floats in air, the order asked for is free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import combinations

import numpy as np
import pytest

from drr.insert.request import parse_lesion
from drr.phantom.chest import make_phantom
from drr.scene import Scene, insert, load_scene
from gen.core.errors import BadInput

# Of the final HU inside the mask: what is measured, and between which values it lies for each kind.
HU: dict[str, tuple[Callable[[np.ndarray], float], float, float]] = {
    "pneumothorax left severe": (lambda hu: float(np.median(hu)), -1000, -950),
    "effusion left moderate": (lambda hu: float(np.mean(hu)), -50, 60),
    "nodule left severe": (lambda hu: float(np.median(hu)), -300, 80),
    "consolidation left moderate": (lambda hu: float(np.mean(hu)), -500, 60),
    "atelectasis left severe": (lambda hu: float(np.mean(hu)), -300, 80),
    "edema mild": (lambda hu: float(np.median(hu)), -900, -400),
    "cardiomegaly mild": (lambda hu: float(np.median(hu)), 0, 80),
}


@pytest.fixture(scope="module")
def chest() -> Scene:
    return load_scene(replace(make_phantom("M", "average", 50, 0, (6.0, 4.0, 4.0)), labels=None, name="chest"), "chest")


@pytest.fixture(scope="module")
def put_in(chest: Scene):
    @cache
    def put(*texts: str) -> Scene:
        return insert(chest, [parse_lesion(text) for text in texts], np.random.default_rng(3))

    return put


@pytest.mark.parametrize("pair", list(combinations(HU, 2)), ids=" and ".join)
def test_of_two_lesions_on_one_side_each_has_its_own_density_in_its_mask(put_in, pair: tuple[str, str]) -> None:
    scene = put_in(*pair)
    expected = {parse_lesion(text).finding: HU[text] for text in pair}
    assert {str(inserted.label["finding"]) for inserted in scene.inserted} == set(expected)
    for inserted in scene.inserted:
        measure, low, high = expected[str(inserted.label["finding"])]
        assert low <= measure(scene.volume.hu[inserted.mask]) <= high, inserted.label
    if not expected.keys() & {"Edema", "Cardiomegaly"}:  # the one is all over the lung, the heart has fluid beside it
        first, second = scene.inserted
        assert not (first.mask & second.mask).any()


def test_the_order_asked_for_does_not_matter(chest: Scene, put_in) -> None:
    texts = ("pneumothorax left severe", "nodule left mild", "chest tube left", "nodule right mild")
    one, other = put_in(*texts), put_in(*reversed(texts))
    assert one.volume.hu.tobytes() == other.volume.hu.tobytes()
    assert [dict(a.label) for a in one.inserted] == [dict(b.label) for b in other.inserted]
    assert one.inserted[0].label["finding"] == "Pneumothorax"
    assert one.lungs is chest.lungs  # framing and masks of organs are those of the patient


def test_labels_keep_what_was_asked_for(put_in) -> None:
    scene = put_in("mass left mild", "effusion right severe", "edema mild")
    said = {(each.label["finding"], each.label["side"], each.label["severity"]) for each in scene.inserted}
    assert said == {
        ("Mass", "left", "mild"),
        ("Pleural Effusion", "right", "severe"),
        ("Edema", "bilateral", "mild"),
    }


def test_two_nodules_have_places_of_their_own(chest: Scene) -> None:
    scene = insert(chest, [parse_lesion("nodule left upper severe")] * 2, np.random.default_rng(1))
    first, second = scene.inserted
    assert not (first.mask & second.mask).any()


def test_where_no_room_is_left_it_is_said(chest: Scene) -> None:
    requests = [parse_lesion(text) for text in ("mass left severe", "pneumothorax left severe", "effusion left severe")]
    with pytest.raises(BadInput, match="no room"):
        insert(chest, requests, np.random.default_rng(0))


def test_a_tube_a_fracture_and_a_pacemaker_have_a_place_where_little_lung_is_left(put_in) -> None:
    scene = put_in("effusion left severe", "chest tube left", "fracture left lower", "pacemaker left")
    names = [each.label.get("device") or each.label["finding"] for each in scene.inserted]
    assert names[:2] == ["Pleural Effusion", "Fracture"]
    assert set(names[2:]) == {"chest tube", "pacemaker"}


def test_whole_numbers_are_lengths_as_floats_are() -> None:
    of_ints, of_floats = (make_phantom("M", spacing_mm=spacing) for spacing in ((6, 4, 4), (6.0, 4.0, 4.0)))
    assert of_ints.spacing_mm == of_floats.spacing_mm
    assert all(isinstance(step, float) for step in of_ints.spacing_mm)
    ours, theirs = (load_scene(volume, "chest") for volume in (of_ints, of_floats))
    assert np.array_equal(ours.lungs, theirs.lungs)
    moved = replace(of_ints, origin_mm=(0, 0, 0), direction=np.eye(3, dtype=int))
    assert [type(x) for x in moved.origin_mm] == [float] * 3
    assert moved.direction.dtype == np.float64
