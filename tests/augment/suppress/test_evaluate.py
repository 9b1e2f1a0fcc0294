"""Evaluation on projections of a phantom: the truth is perfect, doing nothing leaves all of the bone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from augment.suppress.cli import suppress
from augment.suppress.evaluate import evaluate
from augment.suppress.scores import BETTER, NAMES, Scores
from drr.job import Job, run_job
from gen.core.errors import BadInput
from gen.core.manifest import read_manifest, write_manifest
from gen.images.reader import read_radiograph


@pytest.fixture(scope="module")
def projected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs") / "set"
    job = Job(
        sex="M", age=50, habitus="slim", views=("PA", "AP"), pairs=True, masks="auto", size=256, bits=16,
        lesions=("Mass:right,severe",),
    )  # fmt: skip
    run_job(job, folder, on_image=lambda path, truth: None, quiet=True)
    return folder


@pytest.fixture(scope="module")
def scores(projected: Path) -> Scores:
    rows = read_manifest(projected).rows
    truth = {
        read_radiograph(row.file).pixels.tobytes(): read_radiograph(projected / row.extra["soft_file_name"]).pixels
        for row in rows
    }
    methods = {
        "truth": lambda pixels: truth[pixels.tobytes()],
        "nothing": lambda pixels: pixels,
        "too much": lambda pixels: 2 * truth[pixels.tobytes()] - pixels,
    }
    return evaluate(projected, methods)


def test_the_truth_is_perfect(scores: Scores) -> None:
    values = scores.values["truth"]
    assert np.isinf(values["psnr"]).all()
    for name, best in {"ssim": 1, "residual": 0, "detail_loss": 0, "lesion": 1, "published": 1}.items():
        assert values[name] == pytest.approx(best, abs=1e-6), name


def test_doing_nothing_leaves_all_of_the_bone_and_too_much_takes_it_twice(scores: Scores) -> None:
    assert scores.values["nothing"]["residual"] == pytest.approx(1, abs=1e-4)
    assert scores.values["too much"]["residual"] == pytest.approx(-1, abs=1e-4)
    assert (scores.values["nothing"]["psnr"] < 40).all()


def test_a_difference_is_paired(scores: Scores) -> None:
    found = scores.difference("nothing", "too much", "residual")
    assert found.value == pytest.approx(2, abs=1e-3)
    assert found.n == 1  # patient


def test_the_command_tells_every_measure(projected: Path, toy_suppressor_folder: Path) -> None:
    arguments = ["--evaluate", str(projected), "--model", str(toy_suppressor_folder), "--quiet"]
    page = CliRunner().invoke(suppress, arguments, catch_exceptions=False).stdout
    assert all(text in page for _, text in NAMES.values())
    figures = json.loads(CliRunner().invoke(suppress, [*arguments, "--json"], catch_exceptions=False).stdout)
    assert figures["do nothing"]["residual"]["value"] == pytest.approx(1, abs=1e-4)
    assert set(figures) == {"network", "do nothing", "blur"}
    assert {name: figure["better"] for name, figure in figures["blur"].items()} == BETTER


def test_no_method_is_better_than_the_truth_in_the_direction_that_is_told(scores: Scores) -> None:
    assert set(BETTER) == set(NAMES)
    for name, better in BETTER.items():
        how_bad = {
            "higher": np.negative,
            "lower": lambda value: value,
            "nearer to 0": np.abs,
            "nearer to 1": lambda value: np.abs(np.subtract(value, 1)),
        }[better]
        for values in scores.values.values():
            assert (how_bad(scores.values["truth"][name]) <= how_bad(values[name]) + 1e-6).all(), name


def test_pairs_without_twins_or_masks_are_refused(projected: Path, tmp_path: Path) -> None:
    shutil.copytree(projected, tmp_path / "set")
    shutil.rmtree(tmp_path / "set/masks")
    with pytest.raises(BadInput, match="no mask of the lungs"):
        evaluate(tmp_path / "set", {})
    rows = read_manifest(tmp_path / "set").rows
    write_manifest(tmp_path / "set", [replace(row, extra={}) for row in rows])
    with pytest.raises(BadInput, match="no image without bone"):
        evaluate(tmp_path / "set", {})


def test_pairs_that_do_not_say_their_range_are_refused_by_name(projected: Path, tmp_path: Path) -> None:
    shutil.copytree(projected, tmp_path / "set")
    row = read_manifest(tmp_path / "set").rows[0]
    soft = tmp_path / "set" / row.extra["soft_file_name"]
    with Image.open(soft) as picture:
        picture.copy().save(soft)  # 16 bits without what we wrote beside them
    with pytest.raises(BadInput, match=rf"{soft.name}: .*range"):
        evaluate(tmp_path / "set", {"nothing": lambda pixels: pixels})
