"""The phantom is one person: deterministic, whole, of human size and order, and its voxels agree with its solids."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from drr.ct.volume import Volume
from drr.phantom.chest import HABITUS, make_phantom, make_solids
from drr.phantom.solids import line_integrals
from gen.core.errors import BadInput

COARSE = (5.0, 3.0, 3.0)


@cache
def person(sex: str = "F", habitus: str = "average", age: int = 50, seed: int = 0) -> Volume:
    return make_phantom(sex, habitus, age, seed, COARSE)


def mask(volume: Volume, name: str) -> np.ndarray:
    assert volume.labels is not None
    wanted = [number for number, known in volume.labels.names.items() if known == name]
    return np.isin(volume.labels.ids, wanted)


def millilitres(volume: Volume, *names: str) -> float:
    return sum(mask(volume, name).sum() for name in names) * float(np.prod(volume.spacing_mm)) / 1000


def middle_mm(volume: Volume, name: str) -> np.ndarray:
    return volume.to_mm(np.argwhere(mask(volume, name)).mean(0))


def test_the_same_arguments_give_the_same_bytes_and_other_seeds_other_people() -> None:
    first, again, other = person("M"), make_phantom("M", spacing_mm=COARSE), person("M", seed=1)
    assert first.labels is not None
    assert again.labels is not None
    assert first.hu.tobytes() == again.hu.tobytes()
    assert first.labels.ids.tobytes() == again.labels.ids.tobytes()
    assert (first.hu != other.hu).mean() > 0.02
    assert first.facts == {"phantom": True, "sex": "M", "age": 50, "habitus": "average", "seed": 0}


def test_the_volume_is_canonical_and_centred() -> None:
    volume = person()
    assert volume.name == "phantom"
    np.testing.assert_array_equal(volume.direction, np.eye(3))
    np.testing.assert_allclose(volume.to_mm((np.array(volume.hu.shape) - 1) / 2), 0, atol=1e-9)


@pytest.mark.parametrize("sex", ["F", "M"])
def test_every_organ_is_there_on_its_side(sex: str) -> None:
    volume = person(sex)
    assert volume.labels is not None
    pairs = [f"rib_{{}}_{number}" for number in range(1, 13)]
    pairs += ["lung_{}", "scapula_{}", "clavicula_{}", "humerus_{}", "bronchus_{}"]
    pairs += ["breast_{}"] if sex == "F" else []
    for name in pairs:
        assert middle_mm(volume, name.format("left"))[0] > 8, name
        assert middle_mm(volume, name.format("right"))[0] < -8, name
    spine = [f"vertebrae_{name}" for name in ("C7", *(f"T{number}" for number in range(1, 13)), "L1")]
    heights = [middle_mm(volume, name)[2] for name in spine]
    assert heights == sorted(heights, reverse=True)
    assert {"heart", "aorta", "trachea", "sternum", "liver", "stomach", "spleen"} <= {*volume.labels.names.values()}
    assert ("breast_left" in volume.labels.names.values()) == (sex == "F")
    assert middle_mm(volume, "liver")[0] < 0 < middle_mm(volume, "spleen")[0]
    assert middle_mm(volume, "sternum")[1] < middle_mm(volume, "heart")[1] < middle_mm(volume, "vertebrae_T7")[1]


@pytest.mark.parametrize(("sex", "habitus"), [("M", "average"), *(("F", habitus) for habitus in HABITUS)])
def test_volumes_and_ratios_are_human(sex: str, habitus: str) -> None:
    volume = person(sex, habitus)
    lungs = millilitres(volume, "lung_left", "lung_right")
    assert (3600 if sex == "F" else 4800) < lungs < (5800 if sex == "F" else 7200)
    assert millilitres(volume, "lung_right") > millilitres(volume, "lung_left")
    assert 400 < millilitres(volume, "heart") < 1100
    assert 800 < millilitres(volume, "liver") < 2600
    heart, lung = (np.flatnonzero(mask(volume, name).any((0, 1))) for name in ("heart", "lung_left"))
    other = np.flatnonzero(mask(volume, "lung_right").any((0, 1)))
    assert 0.38 < (heart[-1] - heart[0]) / (lung[-1] - other[0]) < 0.52  # cardiothoracic ratio
    right, left = (np.flatnonzero(mask(volume, name).any((1, 2)))[-1] for name in ("liver", "stomach"))
    assert right > left  # the right dome of the diaphragm is the higher one


@pytest.mark.parametrize(("habitus", "age"), [("slim", 50), ("large", 50), ("large", 100)])
def test_nothing_but_neck_belly_and_arms_leaves_the_scan(habitus: str, age: int) -> None:
    outside = person("F", habitus, age).hu <= -990
    assert outside[:, [0, 1, -2, -1]].all()
    assert not outside[-1].all()
    assert not outside[0].all()


def test_women_men_and_years_differ_as_they_should() -> None:
    young, old = person("F", age=25), person("F", age=85)
    neck, chest = (middle_mm(old, name)[1] - middle_mm(young, name)[1] for name in ("vertebrae_T1", "vertebrae_T9"))
    assert neck < chest - 10  # kyphosis
    density = [float(np.median(volume.hu[mask(volume, "vertebrae_L1")])) for volume in (young, old)]
    assert density[0] > density[1] + 80
    assert millilitres(person("M"), "lung_left") > 1.15 * millilitres(person("F"), "lung_left")
    fat = [millilitres(person("F", habitus), "subcutaneous_fat") for habitus in HABITUS]
    assert fat == sorted(fat)
    assert fat[2] > 2 * fat[0]


def test_lungs_have_vessels_and_bones_a_cortex() -> None:
    volume = make_phantom("M", "average", 40, 0, (3.0, 2.0, 2.0))
    lung = volume.hu[mask(volume, "lung_left")]
    assert -900 < np.median(lung) < -800
    assert 0.01 < (lung > -500).mean() < 0.12
    rib = volume.hu[mask(volume, "rib_left_6")]
    assert np.percentile(rib, 95) > 500
    assert np.percentile(rib, 20) < 350


def test_voxels_project_to_the_exact_line_integrals_of_the_solids() -> None:
    volume, solids = person("M"), make_solids("M", "average", 50, 0)
    source = np.array([0.0, -1600.0, 0.0])
    x, z = np.meshgrid(np.linspace(-150, 150, 16), np.linspace(-140, 140, 16))
    targets = np.stack([x, 0 * x + 200, z], -1)
    exact = line_integrals(solids, source, targets)
    steps = 1 - 400 / 1800 * (np.arange(1600)[:, None, None, None] + 0.5) / 1600
    points = volume.to_index(source + steps * (targets - source))
    numbers = (volume.hu + 1000.0) / 1000
    sampled = map_coordinates(numbers, points.reshape(-1, 3).T, order=1, mode="grid-constant").reshape(
        points.shape[:-1]
    )
    found = sampled.mean(0) * np.linalg.norm(targets - source, axis=-1) * 400 / 1800
    error = (found - exact) / exact.mean()
    assert np.sqrt((error**2).mean()) < 0.03  # 1 % at the default spacing
    assert abs(error.mean()) < 0.015


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: make_phantom(sex="X"), "sex F or M"),
        (lambda: make_phantom(habitus="huge"), "slim, average, large"),
        (lambda: make_phantom(age=12), "18 to 100"),
        (lambda: make_phantom(age=101), "18 to 100"),
        (lambda: make_phantom(seed=-1), "seed"),
        (lambda: make_phantom(spacing_mm=(0.0, 1.0, 1.0)), "spacing"),
        (lambda: make_phantom(spacing_mm=(1.0, 1.0, 0.01)), "spacing"),
        (lambda: make_phantom(spacing_mm=(1.0, 50.0, 1.0)), "spacing"),
        (lambda: make_phantom(spacing_mm=(1.0, float("nan"), 1.0)), "spacing"),
    ],
)
def test_nobody_is_made_of_bad_input(make: Callable[[], Volume], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        make()
