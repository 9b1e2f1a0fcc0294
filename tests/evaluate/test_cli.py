"""`gen evaluate` from folders to files: it ends well on tiny sets, and refuses or names what cannot be scored."""

from __future__ import annotations

import csv
import dataclasses
import html
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from scipy.ndimage import gaussian_filter

from gen.core.errors import BadInput, GenError
from gen.evaluate import privacy
from gen.evaluate.chexgenbench import PROMPT_INFO
from gen.evaluate.cli import NUMBERS, REPORT, _made, evaluate
from gen.evaluate.evaluation import Request
from gen.evaluate.images import read_images
from gen.judge.calibrate import CALIBRATION, HEADS, Calibration, write_calibration
from gen.judge.folder import write_network
from gen.judge.judge import load_judge
from gen.judge.network import JudgeNetwork, JudgeShape
from gen.judge.reference import REFERENCE, index_of, write_reference

COUNT = 66
SIDE = 64
PROMPTS = ("40 year old male. PA view. Cardiomegaly.", "50 year old female. AP view. No finding.")


def write_set(folder: Path, seed: int, count: int = COUNT, prompts: tuple[str, ...] = PROMPTS) -> Path:
    """Smooth random pictures of ``count`` patients, with labels and, where there are any, prompts in turn."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    fields = gaussian_filter(generator.standard_normal((count, SIDE, SIDE)), (0, 4, 4))
    pixels_u8 = np.rint((fields / fields.std() * 40 + 128).clip(0, 255)).astype(np.uint8)
    rows = [["file_name", "patient_id", "age", "sex", "view", "findings", "prompt"]]
    for k, image in enumerate(pixels_u8):
        Image.fromarray(image).save(folder / f"{k}.png")
        labels = (["40", "M", "PA", "Cardiomegaly"], ["50", "F", "AP", "No Finding"])[k % 2]
        told = [prompts[k % len(prompts)]] if prompts else [""]
        rows.append([f"{k}.png", f"{folder.name}-{k}", *(labels if prompts else [""] * 4), *told])
    with (folder / "metadata.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return folder


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sets")
    return {name: write_set(folder / name, seed) for seed, name in enumerate(("real", "synthetic", "train"))}


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A judge of the real classes with random weights."""
    folder = tmp_path_factory.mktemp("judges") / "toy"
    network = JudgeNetwork(JudgeShape(stem=4, hidden_sizes=[4, 8], depths=[1, 1], texture=[2, 2]), ["Cardiomegaly"])
    write_network(folder, network, 64)
    write_calibration(folder / CALIBRATION, Calibration(dict.fromkeys(HEADS, 1.0), {}, None))
    return folder


@pytest.fixture(autouse=True)
def _small(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "evaluate-cache"))
    monkeypatch.setattr(privacy, "PLANTED_COPIES", 2)


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(evaluate, [str(argument) for argument in arguments], catch_exceptions=True)
    if isinstance(result.exception, GenError):
        raise result.exception
    assert result.exception is None, result.exception
    return result


def figures_of(value: Any) -> list[dict[str, Any]]:
    """Every figure anywhere in the results."""
    if isinstance(value, dict):
        if {"value", "low", "high", "n"} <= set(value):
            return [value]
        return [figure for item in value.values() for figure in figures_of(item)]
    return [figure for item in value for figure in figures_of(item)] if isinstance(value, list) else []


def test_a_whole_evaluation_writes_its_three_files_and_names_them_on_stdout(
    sets: dict[str, Path], judge: Path, tmp_path: Path
) -> None:
    out, train = tmp_path / "report", tmp_path / "train"
    shutil.copytree(sets["train"], train)
    shutil.copy(sets["real"] / "0.png", train / "of a real patient.png")
    with (train / "metadata.csv").open("a") as table:
        table.write("of a real patient.png,under another name,40,M,PA,Cardiomegaly,\n")
    folders = ("--real", sets["real"], "--synthetic", sets["synthetic"], "--train", train)
    result = run(*folders, "--judge", judge, "--out", out, "--no-real-images")
    assert result.stdout.split() == [str(out / name) for name in (REPORT, NUMBERS, PROMPT_INFO)]
    numbers = json.loads((out / NUMBERS).read_text())
    page = (out / REPORT).read_text()
    assert numbers["verdict"][0] in page
    assert [one["extractor"] for one in numbers["fidelity"]] == ["judge", "texture"]
    assert list(numbers["privacy"]["channels"]) == ["pixels after alignment", "judge", "layout"]
    assert numbers["privacy"]["n_training"] == numbers["sets"]["train"]["images"] == COUNT + 1
    assert numbers["privacy"]["n_held_out"] == COUNT - 1
    assert 'alt="real"' not in page
    found = figures_of(numbers)
    assert len(found) > 50
    assert {figure["better"] for figure in found} == {
        "higher",
        "lower",
        "nearer to 0",
        "nearer to that of real images",
        "neither",
    }
    for one in numbers["fidelity"]:
        for side in ("synthetic", "floor"):
            assert {name for name, figure in one[side].items() if figure["better"] == "lower"} == {"fid", "kid"}
        assert {of["better"] for group in one["groups"].values() for of in figures_of(group)} <= {"lower"}
    for figure in found:
        known = [figure[key] for key in ("low", "value", "high")]
        assert None in known or known == sorted(known), figure
    with (out / PROMPT_INFO).open() as stream:
        assert len(list(csv.DictReader(stream))) == COUNT
    assert str(sets["real"].parent) not in page + (out / NUMBERS).read_text()  # a report travels: no places
    shared = "1 of 66 real images stand in the training set too", "1 patients of the real set stand in the training set"
    for words in ("warning: only 66 real images", numbers["verdict"][0], *shared):
        assert words in result.stderr


def test_what_cannot_be_scored_is_left_out_named_and_counted(
    sets: dict[str, Path], judge: Path, tmp_path: Path
) -> None:
    synthetic = write_set(tmp_path / "broken", 7, COUNT + 4, prompts=())
    (synthetic / "0.png").write_bytes((synthetic / "0.png").read_bytes()[:60])
    Image.new("L", (SIDE, SIDE), 90).save(synthetic / "1.png")
    Image.open(synthetic / "3.png").save(synthetic / "2.png")
    Image.open(synthetic / "4.png").resize((SIDE * 2, SIDE * 3)).save(synthetic / "4.png")
    folders = ("--real", sets["real"], "--synthetic", synthetic, "--out", tmp_path / "out", "--judge", judge)
    (synthetic / "6.png").unlink()
    result = run(*folders, "--extractor", "texture")
    numbers = json.loads((tmp_path / "out" / NUMBERS).read_text())
    excluded = {"corrupt": 1, "constant": 1, "duplicate": 1, "unreadable": 1}
    assert numbers["sets"]["synthetic"]["excluded"] == excluded
    assert numbers["sets"]["synthetic"]["images"] == COUNT
    page = (tmp_path / "out" / REPORT).read_text()
    for reason, name in (("corrupt", "0.png"), ("constant", "1.png"), ("unreadable", "6.png")):
        [line] = [row for row in numbers["sets"]["synthetic"]["excluded_rows"] if row.startswith(reason)]
        assert name in line
        assert html.escape(line) in page
        assert f"not scored: synthetic, {line}" in result.stderr
    assert str(tmp_path) not in page + json.dumps(numbers)  # a report travels: no places
    warnings = " ".join(numbers["warnings"])
    for words in ("4 synthetic rows are not scored", "66 of 66 synthetic images have no prompt", "many sizes"):
        assert words in warnings
    assert "no synthetic image has a prompt" in numbers["missing"]["alignment"]
    assert "no --train folder was given" in numbers["missing"]["privacy"]
    assert not (tmp_path / "out" / PROMPT_INFO).exists()


def test_one_folder_as_real_and_training_set_means_its_splits(
    judge: Path, sets: dict[str, Path], tmp_path: Path
) -> None:
    both = tmp_path / "both"
    for seed, (split, count) in enumerate((("train", 8), ("validation", 5), ("test", COUNT))):
        write_set(both / split, 20 + seed, count)
    synthetic = shutil.copytree(sets["synthetic"], tmp_path / "synthetic")
    shutil.copy(both / "train" / "5.png", synthetic / "9.png")  # a copy of a patient
    folders = ("--real", both, "--train", both, "--synthetic", synthetic, "--out", tmp_path / "out")
    result = run(*folders, "--extractor", "texture", "--judge", judge, "--gallery", "--json", "--quiet")
    assert result.stderr == ""
    numbers = json.loads(result.stdout)
    assert numbers == json.loads((tmp_path / "out" / NUMBERS).read_text())
    assert (numbers["sets"]["real"]["images"], numbers["sets"]["train"]["images"]) == (COUNT, 8)
    assert numbers["verdict"][0].startswith("It holds copies of patients; ")
    page = (tmp_path / "out" / REPORT).read_text()
    side_by_side, closest = page.split("<h2>Closest pairs</h2>")
    assert 'alt="real"' in side_by_side
    figure = closest[: closest.index("</figure>")]
    assert "distance 0.000, 9.png and training image" in figure
    assert len(set(re.findall(r'src="([^"]*)"', figure))) == 1  # the copy and what it copies


def test_without_training_images_the_reference_index_of_the_judge_serves(
    judge: Path, sets: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "judge"
    shutil.copytree(judge, folder)
    train, real, synthetic = (read_images(sets[name]) for name in ("train", "real", "synthetic"))
    ill = load_judge(folder, device="cpu").read(synthetic.pixels_u8).findings[:, 0]
    threshold = float(np.median(ill))
    write_calibration(folder / CALIBRATION, Calibration(dict.fromkeys(HEADS, 1.0), {"Cardiomegaly": threshold}, None))
    seen = load_judge(folder, device="cpu")
    # Beside the training set it holds the first synthetic image, under the name of the first real patient.
    rows = [*train.rows, real.rows[0]]
    known = np.concatenate([train.pixels_u8, synthetic.pixels_u8[:1]])
    index = index_of(seen.read(known).embedding, rows, seen.read(real.pixels_u8[1:]).embedding, seen.fingerprint)
    write_reference(folder / REFERENCE, index)
    arguments = ("--real", sets["real"], "--synthetic", sets["synthetic"], "--out", tmp_path / "out", "--judge", folder)
    result = run(*arguments, "--extractor", "texture", "--false-alarms", "0.001", "--json", "--quiet")
    numbers = json.loads(result.stdout)
    right = (ill >= threshold) == (np.arange(COUNT) % 2 == 0)
    called = numbers["alignment"]["findings"]["Cardiomegaly"]["balanced_accuracy"]["synthetic"]["value"]
    assert called == pytest.approx((right[::2].mean() + right[1::2].mean()) / 2, abs=1e-5)
    channel = numbers["privacy"]["channels"]["reference index"]
    assert numbers["privacy"]["n_training"] == COUNT + 1
    assert "0.png" in [alarm["file_name"] for alarm in channel["alarms"]]
    warnings = " ".join(numbers["warnings"])
    assert "1 patients of the real set are in the reference index" in warnings
    assert f"{COUNT - 1} held-out images allow a false-alarm rate of 1.5 % at the least, and not of 0.1 %" in warnings
    assert f"among the {COUNT + 1} images of the judge's index alone" in warnings
    # What another judge saw has nothing to do with what this one sees: no distance between them says anything.
    write_reference(folder / REFERENCE, dataclasses.replace(index, key="another"))
    numbers = json.loads(run(*arguments, "--extractor", "texture", "--json", "--quiet").stdout)
    assert "privacy" not in numbers
    assert numbers["missing"]["privacy"].endswith("the judge's reference index is another judge's")


def test_the_command_on_the_report_names_no_place(sets: dict[str, Path]) -> None:
    places = [sets["real"].parent / name for name in ("judge@home", "w:1.safetensors")]
    request = Request(sets["real"], sets["synthetic"], judge=f"xrv:net@{places[1]}", extractors=(f"judge:{places[0]}",))
    command = _made(request)["command"]
    assert str(sets["real"].parent) not in command
    assert "--extractor judge:judge@home --judge xrv:net@w:1.safetensors" in command
    assert "--judge judge@home" in _made(dataclasses.replace(request, judge=str(places[0])))["command"]


CASES = ["too few", "same folder", "trained on", "overlap", "swapped", "gallery", "no folder", "judge", "extractor"]


@pytest.mark.parametrize("case", [*CASES, "few in the split"])
def test_what_no_figure_can_be_had_from_is_refused_in_one_line_before_anything_is_written(
    case: str, sets: dict[str, Path], tmp_path: Path
) -> None:
    real, synthetic = sets["real"], sets["synthetic"]
    more: list[str | Path] = []
    if case == "too few":
        synthetic, words = write_set(tmp_path / "few", 3, 20), "too few"
    elif case == "same folder":
        synthetic, words = real, "real and as the synthetic folder"
    elif case == "trained on":
        more, words = ["--train", synthetic], "--train and as --synthetic"
    elif case == "few in the split":
        more, words = ["--train", real], "usable real test images"
    elif case == "overlap":
        synthetic, words = write_set(tmp_path / "mixed", 4), "pixel for pixel"
        (synthetic / "5.png").write_bytes((real / "9.png").read_bytes())
    elif case == "swapped":
        table = (real / "metadata.csv").read_text().replace("file_name", "source,file_name", 1)
        real, words = write_set(tmp_path / "posing", 5), "swapped"
        (real / "metadata.csv").write_text(re.sub(r"(?m)^(\d+\.png)", r"synthetic:x,\1", table))
    elif case == "gallery":
        more, words = ["--gallery", "--no-real-images"], "--gallery"
    elif case == "no folder":
        synthetic, words = tmp_path / "nowhere", "nowhere"
    else:  # met before the images are read, of which there are none here
        real = tmp_path / "nowhere"
        more = ["--judge", tmp_path] if case == "judge" else ["--extractor", "nothing"]
        words = "no judge at" if case == "judge" else "no extractor 'nothing'"
    with pytest.raises(BadInput, match=re.escape(words)) as refused:
        run("--real", real, "--synthetic", synthetic, "--out", tmp_path / "out", *more)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()
