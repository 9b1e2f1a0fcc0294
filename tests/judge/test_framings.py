"""Framings: an image is paired with what was prepared of it, whatever the order, and a seed decides what is shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen.core.errors import BadInput
from gen.core.manifest import Row
from gen.core.radiograph import Radiograph, write_png
from gen.judge.framings import FRAMINGS, PREPARED_SHARE, VARIED_SHARE, Framings, framings_of, varied_u8

SIDE = 16


def rows_in(folder: Path, numbers: list[int], *, grey: float, suffix: str = "") -> list[Row]:
    """An image of each number, its corner the lighter the higher that is; two images a patient."""
    rows = []
    for number in numbers:
        file = folder / f"{number}{suffix}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.linspace(0.2, 0.8, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
        pixels[0, 0] = grey + number / 100
        write_png(file, Radiograph(pixels, None, {}))
        rows.append(Row(file=file, file_name=f"images/{number}.jpg", patient_id=f"patient {number // 2}"))
    return rows


@pytest.fixture(scope="module")
def framings() -> Framings:
    """Images of grey 10, 11, ...; prepared ones of 100, 101, ...; of the last image none."""
    images = np.stack([np.full((SIDE, SIDE), 10 + i, np.uint8) for i in range(5)])
    return Framings(images, images[:4][::-1] + 90, np.array([3, 2, 1, 0, -1]))


def test_a_prepared_image_belongs_to_the_image_that_it_was_made_of(tmp_path: Path) -> None:
    rows = rows_in(tmp_path / "raw", [0, 1, 2, 3], grey=0.1)
    prepared = rows_in(tmp_path / "prepared", [3, 0, 9, 1], grey=0.5)  # of 2 there is none, and 9 is of another set
    found = framings_of(rows, prepared, SIDE, tmp_path / "cache")
    assert [place >= 0 for place in found.places] == [True, True, False, True]
    shown = found.all()["prepared"]
    assert shown.which.tolist() == [0, 1, 3]
    assert shown.pixels_u8[:, 0, 0].tolist() == [round(255 * (0.5 + number / 100)) for number in (0, 1, 3)]


def test_the_same_name_in_another_folder_is_another_image(tmp_path: Path) -> None:
    row, *_ = rows_in(tmp_path / "raw", [0], grey=0.1)
    names = ("images/study1/frontal.jpg", "images/study2/frontal.jpg")
    rows = [replace(row, file_name=name) for name in names]
    (made,) = rows_in(tmp_path / "prepared", [7], grey=0.5)
    made = replace(made, file_name="train/images/study2/frontal.png", patient_id=row.patient_id)
    assert framings_of(rows, [made], SIDE, tmp_path / "cache").places.tolist() == [-1, 0]


def test_two_images_that_differ_in_the_suffix_alone_are_refused(tmp_path: Path) -> None:
    row, *_ = rows_in(tmp_path / "raw", [0], grey=0.1)
    rows = [replace(row, file_name=f"images/a.{suffix}") for suffix in ("jpg", "png")]
    with pytest.raises(BadInput, match=r"images/a\.jpg and images/a\.png differ in the suffix alone"):
        framings_of(rows, [], SIDE, tmp_path / "cache")


def test_the_same_name_of_another_patient_is_another_image(tmp_path: Path) -> None:
    rows = rows_in(tmp_path / "raw", [0, 1], grey=0.1)
    strangers = [Row(file=row.file, file_name=row.file_name, patient_id="a stranger") for row in rows]
    assert set(framings_of(rows, strangers, SIDE, tmp_path / "cache").all()) == {FRAMINGS[0]}


@given(seeds=st.lists(st.integers(0, 2**63 - 1), min_size=2, max_size=6), data=st.data())
def test_what_is_drawn_is_decided_by_image_and_seed_and_not_by_the_batch(
    framings: Framings, seeds: list[int], data: st.DataObject
) -> None:
    chosen = [data.draw(st.integers(0, 4)) for _ in seeds]
    together = framings.draw(chosen, seeds)
    for image, i, seed in zip(together, chosen, seeds, strict=True):
        np.testing.assert_array_equal(image, framings.draw([i], [seed])[0])
        whole = (
            framings.images[i],
            framings.prepared[framings.places[i]],
            varied_u8(framings.prepared[3 - i % 4], seed),
        )
        assert any(np.array_equal(image, one) for one in (whole[:1] if i == 4 else whole))


def test_each_framing_comes_as_often_as_its_share(framings: Framings) -> None:
    count = 1000
    drawn = framings.draw([0] * count, list(range(count)))
    prepared = (drawn == framings.prepared[3]).all((1, 2)).mean()
    as_it_is = (drawn == framings.images[0]).all((1, 2)).mean()
    assert as_it_is == pytest.approx(1 - PREPARED_SHARE, abs=0.05)
    assert prepared == pytest.approx(PREPARED_SHARE * (1 - VARIED_SHARE), abs=0.05)


def test_together_has_every_image_once_a_framing(framings: Framings) -> None:
    every = framings.together()
    assert np.bincount(every.which).tolist() == [3, 3, 3, 3, 1]
    assert every.of("abcde")[:5] == list("abcde")
    for shown in framings.all().values():
        assert len(shown.which) == len(shown.pixels_u8)
