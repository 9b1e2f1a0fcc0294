"""Body, lungs and field of a CT: on a made trunk of known shape, with a table, lines, gas and arms about it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drr.ct.body import describe_field, find_body, find_lungs, require_chest, without_table
from drr.ct.volume import Volume
from gen.core.errors import BadInput

SPACING_MM = (5.0, 3.9, 3.9)
SHAPE = (56, 77, 103)  # 280 x 300 x 400 mm


def grid() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z, y, x in mm from the middle of the grid."""
    axes = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(SHAPE, SPACING_MM, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    return z, y, x


def trunk_mask() -> np.ndarray:
    z, y, x = grid()
    return (x / 165) ** 2 + (y / 105) ** 2 + 0 * z < 1


def lung_mask(side: int, apart_mm: float = 75.0) -> np.ndarray:
    """An ellipsoid at the patient's right (1, low x) or left (2)."""
    z, y, x = grid()
    x0 = -apart_mm if side == 1 else apart_mm
    return ((x - x0) / 62) ** 2 + (y / 80) ** 2 + (z / 115) ** 2 < 1


def chest(apart_mm: float = 75.0) -> Volume:
    hu = np.full(SHAPE, -1000, np.int16)
    hu[trunk_mask()] = 40
    for side in (1, 2):
        hu[lung_mask(side, apart_mm)] = -850
    return Volume(hu, SPACING_MM, name="made.nii")


def with_table(volume: Volume, row: int) -> Volume:
    """A hollow couch of 4 mm walls whose top is at ``row``."""
    hu = volume.hu.copy()
    hu[:, row, 10:93] = hu[:, row + 7, 10:93] = -50
    hu[:, row : row + 8, 10] = hu[:, row : row + 8, 92] = -50
    return replace(volume, hu=hu)


def share(found: np.ndarray, truth: np.ndarray) -> float:
    """Dice."""
    return 2 * float((found & truth).sum()) / float(found.sum() + truth.sum())


def test_the_body_is_the_trunk_with_its_lungs_and_without_the_table() -> None:
    volume = with_table(chest(), 68)
    body = find_body(volume)
    assert share(body, trunk_mask()) > 0.995
    assert not body[:, 67:].any()
    assert set(np.unique(without_table(volume, body).hu[~body])) == {-1000}
    np.testing.assert_array_equal(without_table(volume, body).hu[body], volume.hu[body])


def test_a_table_that_touches_the_back_stays_out_but_for_its_wall_under_the_skin() -> None:
    body = find_body(with_table(chest(), 65))
    extra = body & ~trunk_mask()
    assert (trunk_mask() & ~body).sum() < 0.005 * body.sum()
    assert extra[:, 67:].sum() == 0
    assert extra.sum() < 0.02 * body.sum()


def test_lines_blankets_and_small_objects_beside_the_patient_are_no_body() -> None:
    volume = chest()
    hu = volume.hu.copy()
    hu[:, 3, 20:80] = 0  # a blanket
    hu[:, 12:14, 12:14] = 1500  # a line
    hu[30:33, 40:43, 2:5] = 2500  # a connector
    np.testing.assert_array_equal(find_body(replace(volume, hu=hu)), find_body(volume))


def test_raised_arms_are_body_and_are_named() -> None:
    volume = chest()
    z, y, x = grid()
    above = z > 100
    arms = above & ((abs(x) - 140) ** 2 + y**2 < 35**2)
    neck = above & (x**2 + y**2 < 60**2)
    hu = volume.hu.copy()
    hu[lung_mask(1) | lung_mask(2)] = 40
    for x0 in (-75, 75):
        hu[((x - x0) / 62) ** 2 + (y / 80) ** 2 + ((z + 10) / 95) ** 2 < 1] = -850
    hu[np.broadcast_to(above, SHAPE)] = -1000
    hu[arms | neck] = 40
    volume = replace(volume, hu=hu)
    body = find_body(volume)
    assert share(body, hu > -1000) > 0.99
    assert describe_field(volume, body, find_lungs(volume, body)).arms == "up"


def test_lungs_are_told_apart_by_side_and_gas_in_the_bowel_is_none() -> None:
    volume = chest()
    z, y, x = grid()
    hu = volume.hu.copy()
    hu[((z + 122) / 14) ** 2 + ((y + 55) / 25) ** 2 + ((x - 60) / 30) ** 2 < 1] = -1000
    volume = replace(volume, hu=hu)
    body = find_body(volume)
    assert body[hu == -1000].sum() == (trunk_mask() & (hu == -1000)).sum()
    lungs = find_lungs(volume, body)
    for side in (1, 2):
        assert share(lungs == side, lung_mask(side)) > 0.995


def test_lungs_that_touch_are_parted_between_them() -> None:
    volume = chest(apart_mm=59)
    lungs = find_lungs(volume, find_body(volume))
    assert share(lungs == 1, lung_mask(1, 59)) > 0.97
    assert share(lungs == 2, lung_mask(2, 59)) > 0.97


def test_windpipe_is_no_lung_and_vessels_in_the_lung_are() -> None:
    volume = chest()
    z, y, x = grid()
    hu = volume.hu.copy()
    pipe = (x**2 + y**2 < 10**2) & (z > -20)
    vessel = (abs(x - 75) < 6) & (abs(y) < 6) & (abs(z) < 60)
    hu[pipe], hu[vessel] = -1000, 50
    volume = replace(volume, hu=hu)
    lungs = find_lungs(volume, find_body(volume))
    assert not lungs[pipe].any()
    assert (lungs[vessel] == 2).all()


def test_one_lung_alone_keeps_its_side() -> None:
    volume = chest()
    hu = volume.hu.copy()
    hu[lung_mask(2)] = 20
    volume = replace(volume, hu=hu)
    lungs = find_lungs(volume, find_body(volume))
    assert share(lungs == 1, lung_mask(1)) > 0.995
    assert not (lungs == 2).any()


def test_a_whole_chest_passes_and_its_field_is_described() -> None:
    volume = chest()
    body = find_body(volume)
    lungs = find_lungs(volume, body)
    require_chest(volume, body, lungs)
    field = describe_field(volume, body, lungs)
    assert (field.cut, field.lungs_cut, field.arms) == ((), (), "")
    assert field.lungs_mm == pytest.approx((24, 252), abs=8)


def test_cut_sides_and_cut_lungs_are_named() -> None:
    whole = chest()
    volume = Volume(np.ascontiguousarray(whole.hu[12:, :, 13:]), SPACING_MM, name="cut")
    body = find_body(volume)
    field = describe_field(volume, body, find_lungs(volume, body))
    assert (field.cut, field.lungs_cut) == (("right",), ("bottom",))


def test_a_circular_field_that_cuts_the_body_is_seen() -> None:
    volume = chest()
    _, y, x = grid()
    hu = volume.hu[:, :, 13:90].copy()  # square
    hu[:, (y**2 + x**2)[0, :, 13:90] > 150**2] = -1000
    volume = replace(volume, hu=hu)
    body = find_body(volume)
    assert {"left", "right"} == set(describe_field(volume, body, find_lungs(volume, body)).cut)


def refusal(volume: Volume) -> str:
    body = find_body(volume)
    with pytest.raises(BadInput) as caught:
        require_chest(volume, body, find_lungs(volume, body))
    assert str(caught.value).startswith(f"{volume.name}: ")
    return str(caught.value)


def test_what_is_no_chest_is_refused_with_its_numbers() -> None:
    whole = chest()
    assert "12 slices cover 60 mm" in refusal(replace(whole, hu=np.ascontiguousarray(whole.hu[20:32])))
    assert "0 ml of lung" in refusal(replace(whole, hu=np.where(trunk_mask(), np.int16(0), np.int16(-1000))))
    assert "not HU" in refusal(replace(whole, hu=whole.hu + np.int16(1024)))
    assert "no body" in refusal(replace(whole, hu=np.where(abs(grid()[0]) < 3, whole.hu, np.int16(-1000))))
    head = np.where((grid()[0] > -20) & trunk_mask(), np.int16(40), whole.hu)  # the lungs end half way up
    assert "mm high" in refusal(replace(whole, hu=head))


def test_a_wrong_unit_of_length_is_refused() -> None:
    tenfold = tuple(10 * step for step in SPACING_MM)
    assert "mm" in refusal(replace(chest(), spacing_mm=tenfold))
    tenth = tuple(step / 10 for step in SPACING_MM)
    assert "28 mm from foot to head" in refusal(replace(chest(), spacing_mm=tenth))
