"""Lesions lie where they were asked for, grow with severity, and leave the rest of the CT alone."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from drr.ct.body import find_lungs
from drr.ct.volume import Volume
from drr.insert.lesions import insert_lesion
from drr.insert.request import KINDS, Inserted, parse_lesion
from drr.insert.thorax import hemithorax
from drr.insert.warp import Heart, find_heart
from gen.core.errors import BadInput, GenError
from gen.core.terms import FINDINGS, SEVERITIES

LESIONS = [kind.finding for kind in KINDS if kind.device is None]
ONE_SIDED = [kind.finding for kind in KINDS if kind.device is None and "left" in kind.sides]


@pytest.fixture(scope="module")
def put_in(chest: Volume, body: np.ndarray, lungs: np.ndarray):
    @cache
    def put(text: str, seed: int = 1) -> Inserted:
        return insert_lesion(chest, body, lungs, parse_lesion(text), np.random.default_rng(seed))

    return put


def asked(finding: str, severity: str) -> str:
    """On the left where there are sides: the same words, so that an insertion is made once."""
    return f"{finding} left {severity}" if finding in ONE_SIDED else f"{finding} {severity}"


def ml(chest: Volume, voxels: np.ndarray) -> float:
    return float(voxels.sum() * np.prod(chest.spacing_mm)) / 1000


@pytest.mark.parametrize("finding", LESIONS)
@pytest.mark.parametrize("severity", ["mild", "severe"])
def test_nothing_changes_outside_the_mask_or_the_box_that_the_label_tells(
    chest: Volume, put_in, finding: str, severity: str
) -> None:
    before = chest.hu.copy()
    inserted = put_in(asked(finding, severity))
    allowed = inserted.mask.copy()
    for name, (low, high) in ((name, value) for name, value in inserted.label.items() if name.endswith("moved_box")):
        assert finding in ("Cardiomegaly", "Pneumothorax"), name
        allowed[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))] = True
    changed = inserted.volume.hu != chest.hu
    assert inserted.mask.any()
    assert changed.any()
    assert not (changed & ~allowed).any()
    assert inserted.volume.hu.dtype == np.int16
    assert inserted.volume.hu.min() >= -1000
    assert np.array_equal(chest.hu, before)


@pytest.mark.parametrize("finding", ONE_SIDED)
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_lesion_lies_on_the_side_that_was_asked_for(
    chest: Volume, lungs: np.ndarray, put_in, finding: str, side: str
) -> None:
    inserted = put_in(f"{finding} {side} moderate")
    x = chest.to_mm(np.argwhere(inserted.mask))[:, 0]
    middle = chest.to_mm(np.argwhere(lungs > 0))[:, 0].mean()
    assert np.mean(x > middle if side == "left" else x < middle) > 0.97
    other = lungs == (1 if side == "left" else 2)
    assert np.array_equal(inserted.volume.hu[other], chest.hu[other])
    assert inserted.label["side"] == side


@pytest.mark.parametrize("finding", [name for name in LESIONS if name != "Fracture"])
def test_severity_is_monotone(chest: Volume, put_in, finding: str) -> None:
    sizes = []
    for severity in SEVERITIES:
        label = put_in(asked(finding, severity)).label
        sizes.append(sum(v for k, v in label.items() if k.endswith(("volume_ml", "water_ml", "_ratio"))))
    assert sizes[0] < sizes[1] < sizes[2]


@pytest.mark.parametrize("finding", LESIONS)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    chest: Volume, body: np.ndarray, lungs: np.ndarray, put_in, finding: str
) -> None:
    text = asked(finding, "moderate")
    first, other = put_in(text), put_in(text, 6)
    again = insert_lesion(chest, body, lungs, parse_lesion(text), np.random.default_rng(1))
    assert first.volume.hu.tobytes() == again.volume.hu.tobytes()
    assert first.label == again.label
    assert first.volume.hu.tobytes() != other.volume.hu.tobytes()


@pytest.mark.parametrize("finding", LESIONS)
def test_labels_are_in_standard_terms(put_in, finding: str) -> None:
    label = put_in(asked(finding, "moderate")).label
    assert label["finding"] == finding
    assert finding in FINDINGS
    assert label["severity"] == "moderate"
    assert set(label) >= {"side", "zone"}


@pytest.mark.parametrize("zone", ["upper", "middle", "lower"])
def test_a_nodule_lies_in_its_zone_with_the_volume_of_its_diameter(
    chest: Volume, lungs: np.ndarray, put_in, zone: str
) -> None:
    inserted = put_in(f"nodule severe left {zone}", 2)
    z = np.argwhere(inserted.mask)[:, 0].mean()
    heights = np.flatnonzero((lungs == 2).any(axis=(1, 2)))
    share = 3 * (z - heights[0]) / (heights[-1] - heights[0])
    assert ("lower", "middle", "upper").index(zone) == pytest.approx(share - 0.5, abs=0.6)
    radius = inserted.label["diameter_mm"] / 2
    assert inserted.label["volume_ml"] == pytest.approx(4.19 * radius**3 / 1000, rel=0.35)  # spicules, vessels


def test_an_effusion_is_water_at_the_bottom_when_erect_and_at_the_back_when_supine(
    chest: Volume, lungs: np.ndarray, put_in
) -> None:
    lung = chest.to_mm(np.argwhere(lungs == 1)).mean(axis=0)
    erect, supine = put_in("effusion right moderate"), put_in("effusion right moderate supine")
    assert chest.to_mm(np.argwhere(erect.mask)).mean(axis=0)[2] < lung[2] - 40
    behind = chest.to_mm(np.argwhere(supine.mask)).mean(axis=0)
    assert behind[1] > lung[1] + 20
    assert abs(behind[2] - lung[2]) < 60
    deep = erect.volume.hu[erect.mask]
    assert 0 < np.median(deep) < 25
    assert ml(chest, erect.mask) == pytest.approx(erect.label["volume_ml"], rel=0.1)


def test_a_larger_effusion_covers_a_smaller_one(put_in) -> None:
    mild, severe = put_in("effusion left mild"), put_in("effusion left severe")
    assert not (mild.mask & ~severe.mask).any()


def test_a_mild_effusion_blunts_the_costophrenic_angle_and_leaves_the_hilum(
    chest: Volume, lungs: np.ndarray, put_in
) -> None:
    inserted = put_in("effusion left mild")
    left = lungs == 2
    lateral = np.argwhere(left)[:, 2].max()
    lowest = np.flatnonzero(left[:, :, lateral - 4 : lateral].any(axis=(1, 2)))[0]
    assert inserted.mask[lowest : lowest + 3, :, lateral - 5 : lateral + 1].any()
    heights = np.flatnonzero(left.any(axis=(1, 2)))
    assert not inserted.mask[round(0.6 * heights[0] + 0.4 * heights[-1]) + 12 :].any()


def test_a_pneumothorax_is_air_at_the_side_and_the_lung_keeps_its_texture(
    chest: Volume, lungs: np.ndarray, put_in
) -> None:
    inserted = put_in("pneumothorax left moderate")
    deep = inserted.mask & (hemithorax_depth(chest, lungs) > 6)
    assert np.percentile(inserted.volume.hu[deep], 25) < -955  # voxels of 4 mm: many hold some of the pleura
    air, lung = (chest.to_mm(np.argwhere(mask)).mean(axis=0) for mask in (inserted.mask, lungs == 2))
    assert air[0] > lung[0]  # at the patient's left, away from the hilum
    heights = np.flatnonzero((lungs == 2).any(axis=(1, 2)))
    apex, base = slice(heights[-1] - 5, None), slice(0, heights[0] + 10)
    filled = [(inserted.mask & (lungs == 2))[part].sum() / (lungs == 2)[part].sum() for part in (apex, base)]
    assert filled[0] > 0.8 > filled[1]  # it is highest that air gathers
    assert ml(chest, inserted.mask) / ml(chest, lungs == 2) == pytest.approx(inserted.label["fraction"], abs=0.06)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_in_a_pneumothorax_the_lung_stays_on_the_diaphragm_under_it(
    chest: Volume, lungs: np.ndarray, put_in, severity: str
) -> None:
    inserted = put_in(f"pneumothorax left {severity}")
    kept = (lungs == 2) & ~inserted.mask
    hilum = np.rint(chest.to_index(hemithorax(chest, lungs, "left").hilum_mm)).astype(int)
    beside = slice(hilum[2] - round(8 / chest.spacing_mm[2]), hilum[2] + round(8 / chest.spacing_mm[2]))
    columns = (lungs == 2)[: hilum[0], hilum[1], beside]
    lowest = np.argmax(columns, axis=0)[columns.any(axis=0)]
    assert lowest.size
    assert kept[: hilum[0], hilum[1], beside][lowest, np.flatnonzero(columns.any(axis=0))].all()


def test_in_a_pneumothorax_what_a_voxel_holds_of_the_wall_stays(chest: Volume, lungs: np.ndarray, put_in) -> None:
    changed = put_in("pneumothorax left severe").volume.hu
    side = hemithorax(chest, lungs, "left")
    rim = side.cavity & ~ndimage.binary_erosion(side.cavity)
    half = rim & (side.hu > -450) & (side.hu < -350)
    assert half.sum() > 10
    lost = side.hu[half].astype(int) - changed[side.box][half]
    assert lost.max() < 0.7 * (1000 + np.median(side.hu[side.cavity]))  # half of the lung's 150, not 600 down to air


def hemithorax_depth(chest: Volume, lungs: np.ndarray) -> np.ndarray:
    side = hemithorax(chest, lungs, "left")
    depth = np.full(chest.hu.shape, -1.0, np.float32)
    depth[side.box] = side.rim_mm
    return depth


def test_opacities_only_add_density_and_stay_in_the_lung(chest: Volume, lungs: np.ndarray, put_in) -> None:
    for text in ("consolidation left severe", "atelectasis left severe", "mass left mild"):
        inserted = put_in(text)
        added = inserted.volume.hu.astype(int) - chest.hu
        assert added[inserted.mask].mean() > 300
        assert hemithorax_depth(chest, lungs)[inserted.mask].min() > -6


def test_oedema_is_on_both_sides_and_densest_at_the_hilum(chest: Volume, lungs: np.ndarray, put_in) -> None:
    inserted = put_in("edema severe")
    added = (inserted.volume.hu.astype(int) - chest.hu).astype(float)
    for side, name in ((1, "right"), (2, "left")):
        part = hemithorax(chest, lungs, name)
        box, cavity = part.box, part.cavity & (part.hu < -500)
        distance = np.sqrt(
            (part.x_mm - part.hilum_mm[0]) ** 2
            + (part.y_mm - part.hilum_mm[1]) ** 2
            + (part.z_mm - part.hilum_mm[2]) ** 2
        )
        inner, outer = (added[box][cavity & mask].mean() for mask in (distance < 50, distance > 90))
        assert inner > 1.3 * outer > 0, (side, inner, outer)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_the_heart_reaches_the_ratio_that_the_label_tells(
    chest: Volume, body: np.ndarray, put_in, severity: str
) -> None:
    inserted = put_in(f"cardiomegaly {severity}")
    lungs_after = find_lungs(inserted.volume, body)
    measured = find_heart(inserted.volume, lungs_after).ratio
    assert measured == pytest.approx(inserted.label["cardiothoracic_ratio"], abs=0.025)
    assert inserted.label["cardiothoracic_ratio"] > inserted.label["cardiothoracic_ratio_before"] + 0.02


def test_the_map_that_stretches_a_heart_is_one_to_one_and_still_at_its_edges() -> None:
    heart = Heart(floor=20, top=60, front=10, back=50, middle=55.0, right=5.0, left=115.0, ratio=0.45)
    columns = np.linspace(0, 120, 2401)
    shape = heart.stretch(columns)
    most = 0.95 * min(heart.left - heart.middle, heart.middle - heart.right) / 2.8349
    weights = np.array([0.0, 0.5, 1.0])[:, None, None]
    assert np.gradient(heart.sources(columns, most * weights), columns, axis=2).min() > 0
    assert abs(shape).max() == pytest.approx(1, abs=1e-4)
    assert abs(shape[(columns <= heart.right) | (columns >= heart.left)]).max() < 1e-6
    weights = heart.weights(np.arange(90), np.arange(70), (3.0, 3.0, 3.0))
    assert weights.min() == 0
    assert weights.max() == 1


def test_a_fracture_moves_bone_and_keeps_its_mass(chest: Volume, put_in) -> None:
    for seed in range(3):
        inserted = put_in("fracture right severe", seed)
        around = tuple(
            slice(max(low - 2, 0), high + 3)
            for low, high in zip(np.argwhere(inserted.mask).min(0), np.argwhere(inserted.mask).max(0), strict=True)
        )
        before, after = (np.maximum(hu[around] - 100.0, 0).sum() for hu in (chest.hu, inserted.volume.hu))
        assert after == pytest.approx(before, rel=0.15)  # slices of 6 mm
        assert abs(inserted.volume.hu.astype(int) - chest.hu).max() > 100


def test_bilateral_means_one_on_each_side(lungs: np.ndarray, put_in) -> None:
    inserted = put_in("nodule bilateral severe")
    assert (inserted.mask & (lungs == 1)).any()
    assert (inserted.mask & (lungs == 2)).any()
    assert {"right_diameter_mm", "left_diameter_mm"} <= set(inserted.label)


def test_a_side_without_air_and_a_device_are_refused(chest: Volume, body: np.ndarray, lungs: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    airless = np.where(lungs == 2, np.uint8(0), lungs)
    with pytest.raises(BadInput, match="no room in the left side"):
        insert_lesion(chest, body, airless, parse_lesion("effusion left"), rng)
    with pytest.raises(BadInput, match="not outlined by air on both sides"):
        insert_lesion(chest, body, airless, parse_lesion("cardiomegaly"), rng)
    with pytest.raises(GenError, match="is a device"):
        insert_lesion(chest, body, lungs, parse_lesion("needle"), rng)


def test_a_heart_that_is_large_already_is_refused(chest: Volume, body: np.ndarray, put_in) -> None:
    large = put_in("cardiomegaly severe").volume
    with pytest.raises(BadInput, match="cardiothoracic ratio is"):
        insert_lesion(large, body, find_lungs(large, body), parse_lesion("cardiomegaly mild"), np.random.default_rng(0))


def test_an_oblique_grid_takes_the_same_fluid(chest: Volume, body: np.ndarray, lungs: np.ndarray) -> None:
    angle = np.deg2rad(20)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    oblique = replace(chest, direction=turn)
    request = parse_lesion("effusion left moderate")
    straight, leaning = (
        insert_lesion(each, body, lungs, request, np.random.default_rng(1)) for each in (chest, oblique)
    )
    assert leaning.label["volume_ml"] == pytest.approx(straight.label["volume_ml"], rel=0.05)
    # Fluid stays low in the room, whichever way the grid leans: its surface follows the patient's z.
    height = oblique.to_mm(np.argwhere(leaning.mask))[:, 2]
    lung = oblique.to_mm(np.argwhere(lungs == 2))[:, 2]
    assert height.mean() < lung.mean() - 40
