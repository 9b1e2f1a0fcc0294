"""What would leak from a test set, or tell real from synthetic by the file, is refused before anything is trained."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augment.classify.config import ClassifierConfig
from augment.classify.data import few_patients, hashed_order, learnt_of, part, read_sources
from augment.classify.guards import guarded, near_test_images, require_other_patients, require_parity
from gen.core.errors import BadInput
from gen.core.manifest import Row, read_manifest, write_manifest
from gen.core.radiograph import Radiograph, write_png
from gen.data.split import patient_of, split_rows
from gen.images.reader import read_radiograph

Config = Callable[..., ClassifierConfig]


@pytest.fixture
def rows(real: Path) -> dict[str, list[Row]]:
    return split_rows(read_manifest(real))


def changed(row: Row, folder: Path) -> Row:
    """A copy of the image, moved, with another contrast: what a look at the bytes would not find."""
    pixels = read_radiograph(row.file).pixels
    file = folder / "near.png"
    write_png(file, Radiograph(np.roll(pixels, 1, 1) ** 1.1, None, {}))
    return dataclasses.replace(row, file=file, file_name="near.png", patient_id="another", sha256="")


def test_images_of_other_patients_are_no_copies_and_a_moved_one_is_found(
    rows: dict[str, list[Row]], tmp_path: Path
) -> None:
    tests = {"test": rows["test"]}
    assert near_test_images(rows["train"], tests, tmp_path) == (set(), [])
    near, same = changed(rows["test"][3], tmp_path), rows["test"][4]
    found, lines = near_test_images([*rows["train"], near, same], tests, tmp_path)
    assert found == {near.file, same.file}
    assert lines[0].startswith(f"near.png is nearly {rows['test'][3].file_name}")
    assert "pixel for pixel" in lines[1]
    copies = [near, dataclasses.replace(near, file=shutil.copy(near.file, tmp_path / "second.png")), rows["test"][3]]
    found, lines = near_test_images([*rows["train"], *copies], tests, tmp_path)
    assert found == {row.file for row in copies}
    assert len(lines) == 3


def test_a_synthetic_copy_of_a_test_image_is_refused_or_dropped(
    rows: dict[str, list[Row]], synthetic: Path, config: Config, tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    copy = dataclasses.replace(changed(rows["test"][0], tmp_path / "set"), patient_id="", source="synthetic: toy")
    write_manifest(tmp_path / "set", [copy])
    which = [str(synthetic), str(tmp_path / "set")]
    refusing = config(tmp_path / "run", "findings=[Pneumonia]")
    with pytest.raises(BadInput, match=r"1 images to learn from show test images: near.png is nearly"):
        guarded(read_sources(refusing, which), refusing)
    dropping = dataclasses.replace(refusing, near_duplicates="drop", synthetic=which)
    learnt = learnt_of(dropping, guarded(read_sources(dropping, which), dropping))
    assert copy.file not in {row.file for row in learnt.train}
    assert learnt.synthetic.sum() == 24
    assert len(learnt.notes) == 1


def test_a_patient_on_two_sides_is_refused_by_name(rows: dict[str, list[Row]]) -> None:
    stranger = dataclasses.replace(rows["train"][0], file=Path("elsewhere.png"), source="another hospital")
    require_other_patients(rows["train"], {"test": rows["test"], "external": [stranger]})
    moved = dataclasses.replace(rows["train"][0], file=Path("elsewhere.png"))
    with pytest.raises(BadInput, match=f"1 patients of the test set external .*the first is {moved.patient_id}"):
        require_other_patients(rows["train"], {"external": [moved]})
    with pytest.raises(BadInput, match="of the test set external"):
        require_other_patients(rows["train"], {"external": [dataclasses.replace(rows["train"][0], patient_id="")]})


def test_codec_and_size_must_be_the_same_or_be_accepted(
    rows: dict[str, list[Row]], synthetic: Path, tmp_path: Path
) -> None:
    made = list(read_manifest(synthetic).rows)
    assert require_parity(rows["train"], made, []) == []
    as_jpeg = []
    for row in made[:4]:
        file = tmp_path / f"{row.file.stem}.png"  # a suffix may lie
        Image.open(row.file).resize((80, 80)).save(file, "JPEG")
        as_jpeg.append(dataclasses.replace(row, file=file, width=None, height=None))
    with pytest.raises(BadInput, match=r"real images are 100% PNG, synthetic ones 100% JPEG.*accept=\[codec\]"):
        require_parity(rows["train"], as_jpeg, [])
    with pytest.raises(BadInput, match=r"40 pixels a side and synthetic ones 80.*accept=\[codec,size\]"):
        require_parity(rows["train"], as_jpeg, ["codec"])
    assert len(require_parity(rows["train"], as_jpeg, ["codec", "size"])) == 2


def test_a_smaller_share_lies_within_a_larger_one_and_shots_are_patients(
    rows: dict[str, list[Row]], config: Config, tmp_path: Path
) -> None:
    base = config(tmp_path / "run", "findings=[Pneumonia]")
    shares = [
        {patient_of(row) for row in part(rows["train"], dataclasses.replace(base, fraction=share))}
        for share in (0.0, 0.1, 0.5, 1.0)
    ]
    assert [len(share) for share in shares] == [0, 4, 16, 32]
    assert all(one <= other for one, other in pairwise(shares))
    few = few_patients(rows["train"], ["Pneumonia"], dataclasses.replace(base, shots=3))
    assert sorted(row.findings for row in few) == [("No Finding",)] * 3 + [("Pneumonia",)] * 3
    assert hashed_order(["a", "b", "c", "d"], 0) != hashed_order(["a", "b", "c", "d"], 1)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("weights_may_learn", False, "has no row with weights_may_learn = yes"),
        ("findings", (), "none of the 24 rows of .* has a label"),
        ("findings", ("Edema",), "no finding has 2 images .* they have No Finding, Pneumonia and nothing"),
    ],
)
def test_a_synthetic_set_without_what_is_needed_is_refused(
    field: str, value: object, message: str, synthetic: Path, config: Config, tmp_path: Path
) -> None:
    shutil.copytree(synthetic, tmp_path / "set")
    made = [
        dataclasses.replace(row, file=tmp_path / "set" / row.file_name, **{field: value})
        for row in read_manifest(synthetic).rows
    ]
    write_manifest(tmp_path / "set", made)
    wanted = config(tmp_path / "run", f"synthetic=[{tmp_path / 'set'}]")
    with pytest.raises(BadInput, match=message):
        learnt_of(wanted, read_sources(wanted, wanted.synthetic))
