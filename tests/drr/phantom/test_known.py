"""What the phantom says of itself is what a search finds in it, and its bone is that of its labels."""

from __future__ import annotations

import numpy as np
import pytest

from drr.ct.body import find_body, find_lungs
from drr.ct.tissue import SOFT_NUMBER
from drr.ct.volume import Volume
from drr.phantom.chest import make_phantom
from drr.phantom.known import known_body, known_lungs, known_shares

BONES = ("rib_", "vertebrae_", "sternum", "scapula_", "clavicula_", "humerus_")


@pytest.fixture(scope="module", params=[("F", 30), ("M", 85)], ids=str)
def person(request: pytest.FixtureRequest) -> Volume:
    sex, age = request.param
    return make_phantom(sex, "average", age, 0, (5.0, 3.0, 3.0))


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def test_body_and_lungs_are_those_that_a_search_finds(person: Volume) -> None:
    assert person.labels is not None
    body, lungs = known_body(person, person.labels), known_lungs(person.labels)
    found = find_body(person)
    assert overlap(body, found) > 0.995
    for side in (1, 2):
        assert overlap(lungs == side, find_lungs(person, found) == side) > 0.97


def test_shares_add_up_and_all_excess_of_labelled_bone_is_bone(person: Volume) -> None:
    assert person.labels is not None
    body = known_body(person, person.labels)
    shares = known_shares(person, body)
    number = np.where(body, person.hu.astype(np.int64) + 1000, 0)
    np.testing.assert_array_equal(shares.soft.astype(np.int64) + shares.bone + shares.iodine + shares.metal, number)
    assert shares.soft.min() >= 0
    numbers = [number for number, name in person.labels.names.items() if name.startswith(BONES)]
    excess = np.maximum(number - SOFT_NUMBER, 0)[np.isin(person.labels.ids, numbers)]
    assert shares.bone[np.isin(person.labels.ids, numbers)].sum() > 0.97 * excess.sum()
    heart = [number for number, name in person.labels.names.items() if name == "heart"]
    assert shares.bone[np.isin(person.labels.ids, heart)].sum() < 0.01 * shares.bone.sum()
