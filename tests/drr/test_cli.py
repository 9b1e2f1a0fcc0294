"""`gen drr` as a user meets it: a data set with its truth, resumed where it stopped, one line for what is wrong."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from drr import job
from drr.cli import drr
from gen.core.errors import BadInput, GenError
from gen.core.manifest import read_manifest
from gen.data.rows import labels_of, study_of
from gen.images.reader import read_radiograph
from gen.language.render import render as say
from tests.dciodvfy import dicom_errors


def run(*arguments: object) -> list[str]:
    """The lines on stdout of a run that ends well; its error is raised."""
    result = CliRunner().invoke(drr, [str(argument) for argument in ("--size", 96, *arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def fails(*arguments: object) -> GenError:
    with pytest.raises(GenError) as caught:
        run(*arguments)
    return caught.value


def snapshot(folder: Path) -> dict[str, bytes]:
    files = (
        path for path in folder.rglob("*") if path.is_file() and path.name not in ("run.json", "log.jsonl", ".lock")
    )
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_ct_becomes_a_data_set_with_its_truth(ct_file: Path, labels_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    lines = run(ct_file, "--view", "PA", "--view", "lateral", "--pairs", "--masks", labels_file, "--out", out)
    assert len(lines) == 2
    rows = read_manifest(out).rows
    assert {row.view for row in rows} == {"PA", "lateral"}
    for row in rows:
        truth = json.loads((out / "truth" / f"{row.file.stem}.json").read_text(encoding="utf-8"))
        image = read_radiograph(row.file)
        assert image.pixels.shape == (truth["geometry"]["rows"], truth["geometry"]["columns"])
        assert image.provenance["synthetic"] == "yes"
        for twin in ("soft", "bone"):
            assert read_radiograph(out / row.extra[f"{twin}_file_name"]).pixels.shape == image.pixels.shape
        masks = {path.stem for path in (out / "masks" / row.file.stem).iterdir()}
        assert {"heart", "lung_left", "lung_right", "aorta"} <= masks
        assert row.findings == ()  # of a real patient nothing is known
        assert not row.weights_may_learn


def test_left_is_left_in_the_picture(ct_file: Path, labels_file: Path, tmp_path: Path) -> None:
    run(ct_file, "--masks", labels_file, "--out", tmp_path / "out")
    middles = {
        name: np.nonzero(read_radiograph(next((tmp_path / "out" / "masks").rglob(f"{name}.png"))).pixels)[1].mean()
        for name in ("lung_left", "lung_right", "heart", "liver")
    }
    assert middles["lung_right"] < middles["heart"] < middles["lung_left"]
    assert middles["liver"] < middles["heart"]


def test_gen_reads_the_labels_and_says_them_as_a_prompt(ct_file: Path, tmp_path: Path) -> None:
    run(
        ct_file,
        "--view",
        "AP",
        "--lesion",
        "effusion right moderate",
        "--lesion",
        "nodule left",
        "--out",
        tmp_path / "o",
    )
    [row] = read_manifest(tmp_path / "o").rows
    assert set(row.findings) == {"Pleural Effusion", "Nodule"}
    labels = labels_of(study_of(row))  # drr, which knows no Study, writes the same columns
    assert {column: getattr(row, column) for column in labels} == labels
    said = say(study_of(row))
    assert "AP supine view." in said
    assert "oderate right pleural effusion." in said


def test_the_datasets_library_loads_it_with_its_twins(ct_file: Path, tmp_path: Path) -> None:
    import datasets

    run(ct_file, "-n", 2, "--jitter", "--pairs", "--masks", "auto", "--out", tmp_path / "out")
    loaded = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert len(loaded["train"]) == 2
    assert loaded["train"][0]["soft"].size == loaded["train"][0]["image"].size


def test_the_same_command_goes_on_where_it_was_stopped(ct_file: Path, tmp_path: Path) -> None:
    wanted = (ct_file, "-n", 3, "--jitter", "--lesion", "pneumothorax")
    run(*wanted, "--out", tmp_path / "whole")
    stopped = tmp_path / "stopped"
    shutil.copytree(tmp_path / "whole", stopped)
    whole = snapshot(stopped)
    lines = (stopped / "log.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (stopped / "log.jsonl").write_text("".join(lines[:2]) + lines[2][:40], encoding="utf-8")  # torn by a crash
    next((stopped / "images").glob("*0000.png")).write_bytes(b"half")
    (stopped / "metadata.csv").unlink()
    assert len(run(*wanted, "--out", stopped)) == 2  # the torn one and the damaged one
    assert snapshot(stopped) == whole
    assert run(*wanted, "--out", stopped) == []


def test_another_job_in_the_same_folder_is_refused_with_the_difference(ct_file: Path, tmp_path: Path) -> None:
    run(ct_file, "--out", tmp_path / "out")
    error = fails(ct_file, "--kvp", 90, "--out", tmp_path / "out")
    assert isinstance(error, BadInput)
    assert "kvp" in str(error)


def test_a_batch_goes_on_past_a_bad_file_and_ends_with_it(ct_file: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"not a CT")
    result = CliRunner().invoke(drr, ["--size", "96", str(bad), str(ct_file), "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, GenError)
    assert result.exception.exit_code == 1
    assert "failed: bad: " in result.stderr
    assert len(result.stdout.splitlines()) == 1
    assert len(read_manifest(tmp_path / "out").rows) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no CT was given"),
        (("CT", "--phantom"), "exclude each other"),
        (("CT", "--sex", "F"), "for the phantom"),
        (("CT", "--view", "sideways"), "unknown view"),
        (("CT", "--lesion", "effusoin"), "did you mean"),
        (("CT", "--kvp", "0"), "kV"),
        (("CT", "--mask-names", "CT"), "give both"),
        (("CT", "--lesion", "effusion left small", "--lesion", "large left effusion"), "asked for twice"),
        (("CT", "CT"), "two CTs are called"),
        (("missing.nii.gz",), "missing.nii.gz"),
        (("CT", "--masks", "CT"), "label"),
        (("CT", "--sod", "1900"), "between source and detector"),
        (("CT", "--view", "PA", "--lesion", "effusion right supine"), "leave the position out"),
        (("--phantom", "--masks", "seg.nii.gz"), "phantom has labels"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_image(
    arguments: tuple[str, ...], words: str, ct_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = fails(*(ct_file if argument == "CT" else argument for argument in arguments), "--out", tmp_path / "out")
    assert isinstance(error, BadInput)
    assert words in str(error)
    assert "\n" not in str(error)
    assert not list(tmp_path.rglob("*.png"))


def test_a_patient_who_breaks_a_library_does_not_end_a_batch(
    ct_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = shutil.copy(ct_file, tmp_path / "other.nii.gz")
    whole = job.read_volume
    monkeypatch.setattr(job, "read_volume", lambda path: whole(path) if path == ct_file else [][0])
    result = CliRunner().invoke(drr, ["--size", "96", str(other), str(ct_file), "--out", str(tmp_path / "out")])
    assert "failed: other: IndexError: " in result.stderr
    assert len(read_manifest(tmp_path / "out").rows) == 1


def test_images_are_named_after_their_ct_whatever_it_is_called(ct_file: Path, tmp_path: Path) -> None:
    for folder in ("s1", "s2"):
        (tmp_path / folder).mkdir()
        shutil.copy(ct_file, tmp_path / folder / "ct.1.nii.gz")
    run(tmp_path / "s1" / "ct.1.nii.gz", tmp_path / "s2" / "ct.1.nii.gz", "--out", tmp_path / "out")
    assert {row.patient_id for row in read_manifest(tmp_path / "out").rows} == {"s1-ct.1", "s2-ct.1"}
    run(tmp_path / "s1" / "ct.1.nii.gz", "--view", "pa", "--view", "PA", "--out", tmp_path / "one")
    [row] = read_manifest(tmp_path / "one").rows
    assert row.patient_id == "ct.1"


def test_the_line_integrals_and_the_grey_scale_are_kept_on_demand(ct_file: Path, tmp_path: Path) -> None:
    run(ct_file, "--pairs", "--paths", "--out", tmp_path / "out")
    [row] = read_manifest(tmp_path / "out").rows
    with np.load(next((tmp_path / "out" / "paths").iterdir())) as paths:
        assert set(paths) == {"soft", "bone", "iodine", "metal"}
        assert paths["bone"].shape == (row.height, row.width)
    truth = json.loads(next((tmp_path / "out" / "truth").iterdir()).read_text(encoding="utf-8"))
    assert truth["display"]["bone_white"] > 0
    assert truth["display"]["width"] > 0


def test_the_masks_of_organs_move_with_what_is_inserted(ct_file: Path, labels_file: Path, tmp_path: Path) -> None:
    width = {}
    for name, lesions in (("plain", ()), ("ill", ("--lesion", "cardiomegaly severe"))):
        run(ct_file, "--masks", labels_file, *lesions, "--out", tmp_path / name)
        mask = read_radiograph(next((tmp_path / name / "masks").rglob("heart.png"))).pixels
        width[name] = np.ptp(np.nonzero(mask)[1])
    assert width["ill"] > 1.1 * width["plain"]


def test_json_has_one_object_an_image(ct_file: Path, tmp_path: Path) -> None:
    [line] = run(ct_file, "--json", "--out", tmp_path / "out")
    said: dict[str, Any] = json.loads(line)
    assert Path(said["file"]).is_file()
    assert said["view"]["name"] == "PA"


def test_a_dicom_twin_shows_the_same(ct_file: Path, tmp_path: Path) -> None:
    run(ct_file, "--dicom", "MONOCHROME1", "--bits", 16, "--out", tmp_path / "out")
    [png], [dicom] = (list((tmp_path / "out" / kind).iterdir()) for kind in ("images", "dicom"))
    assert read_radiograph(dicom).pixels == pytest.approx(read_radiograph(png).pixels, abs=1 / 4095)


def test_a_validator_finds_no_error_in_a_dicom_twin(ct_file: Path, tmp_path: Path) -> None:
    run(ct_file, "--view", "PA", "--view", "20/0", "--dicom", "MONOCHROME2", "--out", tmp_path / "out")
    first, second = (tmp_path / "out" / "dicom").iterdir()
    assert dicom_errors(first) == dicom_errors(second) == []


def test_the_phantom_needs_no_file_and_says_who_it_is(coarse_phantom: None, tmp_path: Path) -> None:
    run("--phantom", "--sex", "F", "--age", 63, "--habitus", "slim", "--masks", "auto", "--out", tmp_path / "out")
    with (tmp_path / "out" / "metadata.csv").open(encoding="utf-8", newline="") as stream:
        [row] = csv.DictReader(stream)
    assert (row["sex"], float(row["age"]), row["findings"], row["weights_may_learn"]) == ("F", 63, "No Finding", "yes")


def test_an_oblique_says_which_one_and_both_have_a_name(coarse_phantom: None, tmp_path: Path) -> None:
    def ends(view: str) -> Result:
        return CliRunner().invoke(drr, ["--phantom", "--size", "96", "--out", str(tmp_path / "out"), "--view", view])

    assert "oblique is taken as LAO" in ends("Oblique").stderr
    assert "oblique is" not in ends("lao").stderr
    [image] = (tmp_path / "out/images").iterdir()
    assert read_radiograph(image).provenance["view"] == "LAO"
    assert "RAO" in str(ends("RAO").exception)  # in this folder it is another job


def test_the_number_of_threads_is_recorded_and_does_not_make_another_job(ct_file: Path, tmp_path: Path) -> None:
    run(ct_file, "--view", "PA", "--view", "AP", "--threads", 2, "--out", tmp_path / "out")
    first, second = sorted((tmp_path / "out/images").iterdir())
    kept = first.read_bytes()
    second.unlink()
    run(ct_file, "--view", "PA", "--view", "AP", "--threads", 1, "--out", tmp_path / "out")
    assert first.read_bytes() == kept
    assert [read_radiograph(path).provenance["threads"] for path in (first, second)] == ["2", "1"]
    truths = (json.loads((tmp_path / f"out/truth/{path.stem}.json").read_bytes()) for path in (first, second))
    assert [truth["threads"] for truth in truths] == [2, 1]


def test_help_is_quick_to_come_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from drr.cli import drr\n"
        "try: drr(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'numba', 'scipy', 'SimpleITK', 'torch', 'xraydb', 'pydicom'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
