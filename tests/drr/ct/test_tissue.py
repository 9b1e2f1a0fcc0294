"""Shares of soft tissue, bone, iodine and metal on a made chest with ribs, spine, heart, veins and a wire."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from drr.ct.body import find_body
from drr.ct.tissue import SOFT_NUMBER, Shares, separate
from drr.ct.volume import Volume

SPACING_MM = (3.0, 2.0, 2.0)
SHAPE = (80, 130, 160)  # 240 x 260 x 320 mm
FINE = 2  # samples along each axis of a voxel


@cache
def places() -> dict[str, np.ndarray]:
    """The share of each voxel (0 to 1) that lies within each structure, float32 (z, y, x)."""
    axes = []
    for n, step in zip(SHAPE, SPACING_MM, strict=True):
        axes.append((np.arange(n * FINE) / FINE + 0.5 / FINE - n / 2) * step)
    z, y, x = np.meshgrid(*(axis.astype(np.float32) for axis in axes), indexing="ij", sparse=True)
    ribs, marrow = np.zeros((2, *(n * FINE for n in SHAPE)), bool)
    for height in (-70, -35, 0, 35, 70):  # hoops about the lungs, inclined, closed by spine and sternum
        ring = abs(np.hypot(x / 1.3, y) - 92)
        away = abs(z - height - 0.3 * y)
        ribs |= (ring < 6) & (away < 7)
        marrow |= (ring < 3.5) & (away < 4.5)
    spine = np.hypot(x, y - 72)
    whole = {
        "trunk": (x / 150) ** 2 + (y / 115) ** 2 + 0 * z < 1,
        "lungs": ((abs(x) - 62) / 40) ** 2 + (y / 78) ** 2 + (z / 100) ** 2 < 1,
        "bone": ribs | ((spine < 17) & (abs(z) < 119)),
        "marrow": marrow | ((spine < 14) & (abs(z % 25 - 12) < 10)),
        "heart": ((x - 4) / 20) ** 2 + ((y + 25) / 30) ** 2 + ((z + 20) / 45) ** 2 < 1,
        "aorta": (np.hypot(x - 14, y - 40) < 11) & (abs(z) < 118),
        "vein": (np.hypot(x + 12, y + 12) < 7) & (z > 10),
        "wire": (np.hypot(y + 70, z - 40) < 1.6) & (abs(x) < 12),
    }
    blocks = [(n, FINE) for n in SHAPE]
    shape = tuple(k for pair in blocks for k in pair)
    return {
        name: np.broadcast_to(mask, tuple(n * FINE for n in SHAPE))
        .reshape(shape)
        .mean(axis=(1, 3, 5), dtype=np.float32)
        for name, mask in whole.items()
    }


def chest(*, blood: float = 45, vein: float = 45, metal: bool = False) -> Volume:
    """HU with the partial volume of every edge, and a little noise; blood and vein as asked for."""
    hu = np.full(SHAPE, -1000, np.float32)
    values = {"trunk": 45, "lungs": -850, "bone": 1000, "marrow": 180, "heart": blood, "aorta": blood, "vein": vein}
    for name, value in (*values.items(), *([("wire", 9000.0)] if metal else [])):
        hu += places()[name] * (value - hu)
    hu += np.random.default_rng(1).normal(0, 8, SHAPE)
    return Volume(np.clip(hu, -1000, 3071).astype(np.int16), SPACING_MM, name="made")


@cache
def shares_of(blood: float = 45, vein: float = 45, metal: bool = False) -> tuple[Volume, np.ndarray, Shares]:
    volume = chest(blood=blood, vein=vein, metal=metal)
    body = find_body(volume)
    return volume, body, separate(volume, body)


def excess(volume: Volume, where: np.ndarray) -> float:
    return float(np.maximum(volume.hu.astype(np.int64) + 1000 - SOFT_NUMBER, 0)[where].sum())


CASES = [(45, 45, False), (45, 45, True), (300, 300, False), (250, 2800, False), (250, 900, True)]


@pytest.mark.parametrize("case", CASES)
def test_the_shares_add_up_to_the_number_exactly_and_none_is_negative(case: tuple[float, float, bool]) -> None:
    volume, body, shares = shares_of(*case)
    number = np.where(body, volume.hu.astype(np.int64) + 1000, 0)
    np.testing.assert_array_equal(shares.soft.astype(np.int64) + shares.bone + shares.iodine + shares.metal, number)
    for share in (shares.soft, shares.bone, shares.iodine, shares.metal):
        assert share.dtype == np.int16
        assert share.min() >= 0
    assert shares.total.max() <= 4095


def test_values_beyond_what_the_projector_sums_are_metal() -> None:
    volume, body, _ = shares_of()
    hu = volume.hu.copy()
    hu[40, 60:63, 100:103] = 30000
    shares = separate(replace(volume, hu=hu), body)
    assert shares.total.max() <= 4095
    assert shares.metal[40, 61, 101] >= 30000 + 1000 - 4095


def test_nothing_above_soft_tissue_has_no_share_but_soft() -> None:
    volume = chest()
    flat = replace(volume, hu=np.minimum(volume.hu, np.int16(SOFT_NUMBER - 1000)))
    shares = separate(flat, find_body(flat))
    for share in (shares.bone, shares.iodine, shares.metal):
        assert not share.any()


@pytest.mark.parametrize("case", CASES)
def test_bone_has_its_whole_excess_rims_and_marrow_included(case: tuple[float, float, bool]) -> None:
    volume, _, shares = shares_of(*case)
    where = (places()["bone"] > 0) & (places()["wire"] == 0) & (places()["aorta"] == 0)
    assert float(shares.bone[where].sum()) > 0.97 * excess(volume, where)


def test_without_contrast_there_is_no_iodine_and_no_metal() -> None:
    _, _, shares = shares_of()
    assert not shares.iodine.any()
    assert not shares.metal.any()


@pytest.mark.parametrize(("blood", "vein"), [(300, 300), (250, 900), (250, 2800)])
def test_contrast_in_heart_aorta_and_vein_is_iodine_and_not_bone(blood: float, vein: float) -> None:
    volume, _, shares = shares_of(blood, vein, vein == 900)
    for name in ("heart", "aorta", "vein"):
        where = (places()[name] > 0.5) & (places()["bone"] == 0)
        assert float(shares.iodine[where].sum()) > 0.97 * excess(volume, where), name
        assert float(shares.bone[where].sum()) < 0.01 * excess(volume, where), name
        assert not shares.metal[where].any()


@pytest.mark.parametrize(("blood", "vein"), [(45, 45), (250, 900)])
def test_a_wire_is_metal(blood: float, vein: float) -> None:
    volume, _, shares = shares_of(blood, vein, True)
    where = places()["wire"] > 0.3
    assert float(shares.metal[where].sum()) > 0.97 * excess(volume, where)
    assert not shares.metal[places()["bone"] > 0.99].any()


def test_an_empty_body_has_no_shares() -> None:
    volume = chest()
    shares = separate(volume, np.zeros(SHAPE, bool))
    assert not shares.total.any()
    assert not shares.metal.any()


def test_thinner_voxels_give_the_same_amounts() -> None:
    _, _, coarse = shares_of(300, 300, False)
    volume = chest(blood=300, vein=300)
    fine = Volume(volume.hu.repeat(2, axis=1).repeat(2, axis=2), (3.0, 1.0, 1.0), name="fine")
    shares = separate(fine, find_body(fine))
    for name in ("bone", "iodine"):
        assert getattr(shares, name).sum(dtype=np.int64) / 4 == pytest.approx(
            float(getattr(coarse, name).sum(dtype=np.int64)), rel=0.02
        )
