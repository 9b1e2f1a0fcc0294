"""Radiographs with a network's own masks: of whom, and only where the network agrees with itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.anatomy import radiographs
from augment.anatomy.config import AnatomyConfig
from augment.anatomy.pairs import MARGIN
from augment.anatomy.radiographs import radiograph_pool, record_of, rows_of
from augment.anatomy.train import batch, train_anatomy
from augment.bodies.organs import organ_masks, organ_stacks, project_organs
from drr.geometry import VIEWS
from drr.physics.technique import technique_of
from drr.projection import render
from drr.scene import Scene
from gen.anatomy.folder import Anatomy, load_anatomy
from gen.anatomy.network import ORGANS
from gen.core.errors import BadInput
from gen.core.manifest import Row, split_of, write_manifest
from gen.core.radiograph import Radiograph, pad_to_square, resize, write_png
from gen.data.split import patient_of

SIZE = 256
SIDE = round(SIZE * MARGIN)
Config = Callable[..., AnatomyConfig]


@pytest.fixture(scope="module")
def teacher() -> Anatomy:
    return load_anatomy()


@pytest.fixture(scope="module")
def chest(phantom: Scene) -> tuple[np.ndarray, np.ndarray]:
    """A projection of the phantom, uint8 (P, P), and its true masks bool (10, P, P)."""
    made = render(
        phantom,
        VIEWS["PA"],
        technique_of(VIEWS["PA"]),
        size=SIDE,
        field_mm=400.0,
        rng=np.random.default_rng(0),
        threads=1,
    )
    masks = project_organs(organ_stacks(phantom, organ_masks(phantom)), made.geometry)
    square = [resize(pad_to_square(mask.astype(np.float32)), SIDE) > 0.5 for mask in masks]
    return np.rint(resize(pad_to_square(made.image), SIDE) * 255).astype(np.uint8), np.stack(square)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, chest: tuple[np.ndarray, np.ndarray]) -> Path:
    """Two radiographs of each of twenty patients; what a third of the patients show may not be learnt from."""
    path = tmp_path_factory.mktemp("radiographs")
    rows = []
    for k in range(40):
        file = path / f"{k}.png"
        write_png(file, Radiograph(chest[0].astype(np.float32) / 255))
        patient = f"patient-{k // 2}"
        rows.append(Row(file=file, patient_id=patient, source="nih-chestxray14", weights_may_learn=k // 2 % 3 > 0))
    write_manifest(path, rows)
    return path


def test_masks_are_those_of_the_chest_and_lie_on_it(teacher: Anatomy, chest: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, true = chest
    record = record_of(teacher, pixels, SIZE)
    assert record is not None
    assert np.array_equal(record["image"], pixels)
    for k in (ORGANS.index(organ) for organ in ("right lung", "left lung", "heart")):
        found = (record["masks"] >> k) & 1 > 0
        assert int(record["known"]) >> k & 1
        assert 2 * (found & true[k]).sum() / (found.sum() + true[k].sum()) > 0.85, ORGANS[k]


def test_what_is_no_chest_gets_no_record(teacher: Anatomy, chest: tuple[np.ndarray, np.ndarray]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), np.uint8)
    for pixels in (noise, np.full_like(noise, 90), 255 - chest[0], chest[0][::-1].copy()):
        assert record_of(teacher, pixels, SIZE) is None


@given(st.integers(0, 2**32))
def test_agreement_is_1_for_equal_masks_and_falls_with_any_that_differs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks = rng.random((len(ORGANS), 8, 8)) > 0.5
    masks[:, 0, 0], masks[0] = True, False
    equal = np.repeat(masks[None].astype(np.float32), 3, axis=0)
    agreed = radiographs._agreement(equal, masks)
    assert agreed[0] == 0  # of an organ that is nowhere nothing is known
    assert (agreed[1:] == 1).all()
    organ = int(rng.integers(1, len(ORGANS)))
    equal[rng.integers(3), organ, 0, 0] = 0
    other = radiographs._agreement(equal, masks)
    assert other[organ] < 1
    assert np.array_equal(np.delete(other, organ), np.delete(agreed, organ))


@given(st.floats(0.8, 1), st.floats(-6, 6))
def test_a_change_and_its_inverse_leave_a_smooth_map_where_it_was(zoom: float, degrees: float) -> None:
    class Mirror:  # what it finds is the image itself
        def probabilities(self, images: np.ndarray) -> np.ndarray:
            return np.repeat(images[:, None], len(ORGANS), axis=1)

    down, across = np.mgrid[:48, :48] / 48
    image = np.exp(-((down - 0.4) ** 2 + (across - 0.6) ** 2) / 0.02).astype(np.float32)
    # A stand-in for the network: the type checker does not know it.
    found = radiographs._changed_and_back(Mirror(), image, zoom, degrees, 1.0)  # type: ignore[arg-type]
    assert np.abs(found - image).max() < 0.05


def test_only_training_patients_that_may_be_learnt_from_and_one_radiograph_of_each(
    config: Config, folder: Path, tmp_path: Path
) -> None:
    rows = rows_of(config(tmp_path / "run", f"radiographs={folder}"))
    patients = [patient_of(row) for row in rows]
    wanted = {f"patient-{k}" for k in range(20) if k % 3 and split_of(f"patient-{k}") == "train"}
    assert sorted(patients) == sorted(wanted)
    assert all(row.weights_may_learn for row in rows)
    fewer = rows_of(config(tmp_path / "run", f"radiographs={folder}", "most_radiographs=3"))
    assert fewer == rows[:3]
    assert rows_of(config(tmp_path / "run")) == []


def test_a_share_of_the_images_are_radiographs(config: Config, folder: Path, tmp_path: Path, toy_run: Path) -> None:
    from augment.anatomy.bodies import bodies_of
    from augment.anatomy.train import make_pool

    wanted = config(tmp_path / "run", f"radiographs={folder}", "most_radiographs=2", f"pool={tmp_path / 'pool'}")
    shown = radiograph_pool(wanted)
    assert len(shown) == 2
    records = make_pool(config(tmp_path / "run"), bodies_of(wanted)["train"])
    for share in (0.0, 0.5, 1.0):
        own = config(tmp_path / "run", f"radiographs={folder}", f"radiograph_share={share}")
        names = batch(records, shown, range(64), own)[0]
        count = sum(name.startswith("radiograph ") for name in names)
        assert abs(count - 64 * share) <= 4 * np.sqrt(64 * share * (1 - share))
    alone = batch(records, shown[:0], range(8), wanted)
    assert not any(name.startswith("radiograph ") for name in alone[0])


def test_a_teacher_that_reads_no_radiograph_is_refused(
    config: Config, folder: Path, toy_run: Path, tmp_path: Path
) -> None:
    toy = toy_run / "anatomy"
    with pytest.raises(BadInput, match=r"reads none of 2 radiographs"):
        train_anatomy(config(tmp_path / "run", f"radiographs={folder}", "most_radiographs=2", f"teacher={toy}"))
