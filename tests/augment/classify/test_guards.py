"""What would leak from a test set, or tell real from synthetic by the file, is refused before anything is trained."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augment.classify import data, guards
from augment.classify.config import ClassifierConfig
from augment.classify.data import choose_rows, few_patients, hashed_order, part, read_sources, short
from augment.classify.guards import exposure_notes, guarded, near_images, require_other_patients, require_parity
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
    tests = {"the test images": rows["test"]}
    assert near_images(rows["train"], tests, tmp_path) == (set(), [])
    near, same = changed(rows["test"][3], tmp_path), rows["test"][4]
    found, lines = near_images([*rows["train"], near, same], tests, tmp_path)
    assert found == {near.file, same.file}
    assert lines[0].startswith(f"near.png is nearly {rows['test'][3].file_name}")
    assert "pixel for pixel" in lines[1]
    copies = [near, dataclasses.replace(near, file=shutil.copy(near.file, tmp_path / "second.png")), rows["test"][3]]
    found, lines = near_images([*rows["train"], *copies], tests, tmp_path)
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
    with pytest.raises(
        BadInput, match=r"1 image\(s\) to learn from or to validate on show held-out ones: near.png is nearly"
    ):
        guarded(read_sources(refusing, which, []), refusing)
    dropping = dataclasses.replace(refusing, near_duplicates="drop", synthetic=which)
    learnt = choose_rows(dropping, guarded(read_sources(dropping, which, []), dropping))
    assert copy.file not in {row.file for row in learnt.train}
    assert learnt.synthetic.sum() == 24
    assert len(learnt.notes) == 1


def test_what_shows_a_validation_image_is_not_learnt_from_and_a_validation_image_is_no_test_image(
    rows: dict[str, list[Row]], synthetic: Path, config: Config, tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    learnt = dataclasses.replace(changed(rows["validation"][0], tmp_path / "set"), patient_id="", source="toy")
    write_manifest(tmp_path / "set", [learnt])
    dropping = config(tmp_path / "run", "findings=[Pneumonia]", "near_duplicates=drop")
    read = read_sources(dropping, [str(synthetic), str(tmp_path / "set")], [])
    twin = changed(rows["test"][1], tmp_path)
    sources = dataclasses.replace(read, real={**read.real, "validation": [*read.real["validation"], twin]})
    left = guarded(sources, dropping)
    assert [len(listed) for listed in left.synthetic.values()] == [24, 0]
    assert list(left.real["validation"]) == list(read.real["validation"])
    assert len(left.real["train"]) == len(read.real["train"])
    assert [line.partition(" is nearly ")[2] for line in left.notes] == [
        f"{rows['test'][1].file_name} of the test images",
        f"{rows['validation'][0].file_name} of the validation images",
    ]
    with pytest.raises(BadInput, match=r"2 image\(s\) to learn from or to validate on"):
        guarded(sources, dataclasses.replace(dropping, near_duplicates="refuse"))
    hidden = dataclasses.replace(rows["validation"][0], file=learnt.file)
    leaking = dataclasses.replace(read, synthetic={"set": [hidden]})
    with pytest.raises(BadInput, match=r"1 patient\(s\) of the validation images are also learnt from"):
        guarded(leaking, dropping)


def test_a_dropped_image_bars_nothing_and_each_set_is_searched_alone(
    rows: dict[str, list[Row]], synthetic: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = rows["validation"][0].file  # shows a test image, as the search is made to say
    searched: list[tuple[set[Path], set[Path]]] = []

    def search(
        learnt: Sequence[Row], held_out: Mapping[str, Sequence[Row]], cache: Path
    ) -> tuple[set[Path], list[str]]:
        files = {row.file for row in learnt}
        searched.append((files, {row.file for listed in held_out.values() for row in listed}))
        return files & {twin}, ["a line"] * (twin in files)

    monkeypatch.setattr(guards, "near_images", search)
    dropping = config(tmp_path / "run", "findings=[Pneumonia]", "near_duplicates=drop")
    left = guarded(read_sources(dropping, [str(synthetic)], []), dropping)
    assert twin not in {row.file for row in left.real["validation"]}
    made = {row.file for row in read_manifest(synthetic).rows}
    of = {split: {row.file for row in listed} for split, listed in rows.items()}
    assert searched == [
        *((learnt, of["test"]) for learnt in (of["train"], made, of["validation"])),
        *((learnt, of["validation"] - {twin}) for learnt in (of["train"], made)),
    ]


def test_derived_images_are_those_of_the_chosen_patients_and_go_with_their_originals(
    real: Path, rows: dict[str, list[Row]], config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soft = tmp_path / "soft"
    for row in [*rows["train"][1:], *rows["test"]]:  # one was refused; what is held out is there, and never used
        file = soft / row.file.relative_to(real)
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(row.file, file)
    half = config(tmp_path / "run", "findings=[Pneumonia]", f"derived=[{soft}]", "fraction=0.5")
    sources = guarded(read_sources(half, [], half.derived), half)
    assert sources.notes == (f"{short(str(soft))} lacks 1 of the 32 training images of {short(str(real))}",)
    assert str(tmp_path) not in sources.notes[0]  # it goes into cards and reports
    learnt = choose_rows(half, sources)
    mine = {patient_of(row) for row in part(rows["train"], half)}
    for own in (True, False):
        seen = [row for row in learnt.train if row.file.is_relative_to(soft) != own]
        assert {patient_of(row) for row in seen} == mine - (set() if own else {patient_of(rows["train"][0])})
    assert not learnt.synthetic.any()
    assert all(np.isfinite(learnt.labels["train"]).all(1))
    alone = choose_rows(dataclasses.replace(half, originals=False), sources)
    assert all(row.file.is_relative_to(soft) for row in alone.train)
    with pytest.raises(BadInput, match="originals is false, derived and synthetic is empty"):
        choose_rows(dataclasses.replace(half, originals=False, derived=[]), sources)
    copied = dataclasses.replace(
        rows["train"][2], file=changed(rows["test"][0], tmp_path).file
    )  # its original is a test image
    leaking = dataclasses.replace(sources, real={**sources.real, "train": [*rows["train"][:2], copied]})
    left = guarded(leaking, dataclasses.replace(half, near_duplicates="drop"))
    assert rows["train"][2].file_name not in {row.file_name for row in left.derived[str(soft)]}
    second = dataclasses.replace(rows["test"][0], file=rows["train"][0].file.with_suffix(".jpg"), file_name="x.jpg")
    everything = dataclasses.replace(read_manifest(real), rows=(*rows["train"], *rows["validation"], second))
    monkeypatch.setattr(data, "read_manifest", lambda folder: everything)
    with pytest.raises(BadInput, match=r"\d+.png and x.jpg would have one derived image"):
        read_sources(half, [], half.derived)
    monkeypatch.undo()
    with pytest.raises(BadInput, match=r"holds none of the 32 training images .*gen suppress .* --out OUT"):
        read_sources(half, [], [str(tmp_path)])


def test_a_finding_of_one_class_is_refused_or_accepted_and_told(
    synthetic: Path, config: Config, tmp_path: Path
) -> None:
    wanted = config(tmp_path / "run", "findings=[Pneumonia,Edema]", f"synthetic=[{synthetic}]", "fraction=0")
    sources = read_sources(wanted, wanted.synthetic, [])
    held_out = [
        dataclasses.replace(row, study="", absent=("Edema",) * (i % 2), findings=("Edema",) * (1 - i % 2))
        for i, row in enumerate(sources.real["validation"])
    ]
    both = [*held_out, *sources.real["validation"]]
    sources = dataclasses.replace(sources, real={**sources.real, "validation": both})
    with pytest.raises(BadInput, match=r"the training set has only one class for Edema \(0 with, 12 without\)"):
        choose_rows(wanted, sources)
    accepting = dataclasses.replace(wanted, accept=["findings"])
    assert choose_rows(accepting, sources).notes == (
        "accepted: the training set has only one class for Edema (0 with, 12 without)",
    )
    with pytest.raises(BadInput, match="only one class for Edema"):  # of all: then nothing can be learnt
        choose_rows(dataclasses.replace(accepting, findings=["Edema"]), sources)


def test_a_patient_on_two_sides_is_refused_by_name(rows: dict[str, list[Row]]) -> None:
    stranger = dataclasses.replace(rows["train"][0], file=Path("elsewhere.png"), source="another hospital")
    require_other_patients(rows["train"], {"test": rows["test"], "abroad": [stranger]})
    moved = dataclasses.replace(rows["train"][0], file=Path("elsewhere.png"))
    with pytest.raises(BadInput, match=rf"1 patient\(s\) of abroad .*the first is {moved.patient_id}"):
        require_other_patients(rows["train"], {"abroad": [moved]})
    with pytest.raises(BadInput, match="of abroad"):
        require_other_patients(rows["train"], {"abroad": [dataclasses.replace(rows["train"][0], patient_id="")]})


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


@pytest.mark.parametrize("percent", range(101))
def test_a_share_is_of_the_number_that_is_written(percent: int, config: Config, tmp_path: Path) -> None:
    patients = [Row(file=Path(f"{k}.png"), file_name=f"{k}.png", patient_id=f"patient {k}") for k in range(100)]
    share = dataclasses.replace(config(tmp_path / "run"), fraction=percent / 100)
    assert len(part(patients, share)) == percent


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("weights_may_learn", False, "has no row with weights_may_learn = yes"),
        ("findings", (), "none of the 24 rows of .* has a label"),
        ("findings", ("Edema",), "set: no finding has 2 images with it and 2 without it"),
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
        choose_rows(wanted, read_sources(wanted, wanted.synthetic, []))


def test_an_exposure_that_tells_the_two_apart_is_noted(rows: dict[str, list[Row]], tmp_path: Path) -> None:
    real = rows["train"]
    assert exposure_notes(real, "as they are", real[::2], tmp_path) == []
    flat = []
    for row in real:
        file = tmp_path / f"{row.file.stem}.png"
        Image.fromarray((np.asarray(Image.open(row.file)) // 4 + 90).astype(np.uint8)).save(file)
        flat.append(dataclasses.replace(row, file=file, sha256=""))
    [line] = exposure_notes(real, "flat", flat, tmp_path)
    assert line.startswith("the grey levels of flat span")
    assert "vary=false" in line
