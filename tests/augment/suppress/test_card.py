"""The cards of networks: whose CTs they learnt from under which licences, and what was measured; all by the command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from augment.suppress.card import write_card
from augment.suppress.cli import suppress
from augment.suppress.finish import write_measured
from augment.suppress.folder import FIGURES, WEIGHTS
from augment.suppress.scores import NAMES, Scores
from drr.ct.collections import collection_of
from drr.job import Job, run_job
from gen.core.bundled import bundled_suppressor
from gen.core.errors import BadInput
from gen.core.files import read_json, sha256_file, verify_folder
from gen.core.markdown import section
from gen.core.run import RUN
from gen.model.folder import CARD


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs") / "set"
    job = Job(sex="F", age=40, habitus="slim", views=("PA",), pairs=True, masks="auto", size=256, bits=16)
    run_job(job, folder, on_image=lambda path, truth: None, quiet=True)
    return folder


def called(*arguments: object) -> None:
    CliRunner().invoke(suppress, [str(each) for each in arguments], catch_exceptions=False)


def told(figures: dict[str, Any]) -> Iterator[str]:
    """The figures of a test as a card words them."""
    for row in figures["methods"].values():
        for name, (digits, _) in NAMES.items():
            if row[name]["value"] is not None:
                yield f"{row[name]['value']:.{digits}f}"


def test_the_bundled_card_is_what_the_command_writes_of_the_folder() -> None:
    assert (bundled_suppressor() / CARD).read_text(encoding="utf-8") == write_card(bundled_suppressor())


def test_the_bundled_card_names_licence_and_citation_of_every_ct() -> None:
    card = (bundled_suppressor() / CARD).read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in section(card, "What it learnt from") if line.startswith("| ")]
    assert len(rows) > 8
    for _, source, licence, cite in rows[1:]:
        collection = collection_of(source)
        assert collection is not None, source
        assert licence == collection.licence
        assert cite == collection.citation


def test_the_bundled_card_tells_every_figure_of_the_test_and_none_of_whom_it_learnt_from() -> None:
    card = (bundled_suppressor() / CARD).read_text(encoding="utf-8")
    figures = read_json(bundled_suppressor() / FIGURES)
    assert all(text in card for text in told(figures["test"]))
    learnt = {each["key"].removesuffix(".nii.gz") for each in figures["patients"]["train"]}
    assert not learnt & set(figures["test"]["patients"])


def test_a_measured_copy_has_the_same_weights_and_the_new_figures(pairs: Path, tmp_path: Path) -> None:
    called("--evaluate", pairs, "--out", tmp_path / "copy", "--quiet")
    assert not verify_folder(tmp_path / "copy")
    assert sha256_file(tmp_path / "copy" / WEIGHTS) == sha256_file(bundled_suppressor() / WEIGHTS)
    old, new = (read_json(folder / FIGURES) for folder in (bundled_suppressor(), tmp_path / "copy"))
    assert {**old, "test": None} == {**new, "test": None}
    assert new["test"]["images"] == 1
    assert np.isclose(new["test"]["methods"]["do nothing"]["residual"]["value"], 1, atol=1e-4)
    assert all(text in (tmp_path / "copy" / CARD).read_text(encoding="utf-8") for text in told(new["test"]))


def test_a_copy_that_cannot_be_written_is_refused_before_anything_is_measured(pairs: Path, tmp_path: Path) -> None:
    shutil.copytree(bundled_suppressor(), tmp_path / "bare", ignore=shutil.ignore_patterns(FIGURES))
    with pytest.raises(BadInput, match=rf"no {FIGURES}"):
        called("--evaluate", pairs, "--model", tmp_path / "bare", "--out", tmp_path / "copy")
    with pytest.raises(BadInput, match="exists already"):
        called("--evaluate", pairs, "--out", tmp_path / "bare")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bare"]


@pytest.mark.parametrize("part", ["train", "validation"])
def test_a_copy_owns_up_to_the_patients_that_the_network_knows(tmp_path: Path, part: str) -> None:
    nobody = np.zeros(2)
    values = {method: dict.fromkeys(NAMES, nobody) for method in ("network", "do nothing", "blur")}
    first = read_json(bundled_suppressor() / FIGURES)["patients"][part][0]
    alike = {"by name": (first["key"].removesuffix(".nii.gz"), ""), "by content": ("renamed", first["sha256"])}
    for how, (name, digest) in {**alike, "stranger": ("renamed", "0" * 64)}.items():
        pairs = tmp_path / how / "pairs"
        pairs.mkdir(parents=True)
        (pairs / RUN).write_text(json.dumps({"inputs": {"file a.nii.gz": digest, "images": 2}}))
        write_measured(tmp_path / how / "copy", bundled_suppressor(), Scores((name, "another"), values), pairs)
        card = (tmp_path / how / "copy" / CARD).read_text(encoding="utf-8")
        assert ("None of these patients" in card) == (how == "stranger")
        assert ("flatter" in card) == (how in alike)
        assert card.count(f"Of these patients it learnt from {first['key']}") == (how in alike and part == "train")


def test_figures_that_are_not_known_leave_the_card_whole(tmp_path: Path) -> None:
    shutil.copytree(bundled_suppressor(), tmp_path / "folder")
    figures = read_json(tmp_path / "folder" / FIGURES)
    figures["test"]["methods"]["network"]["lesion"] = {"value": None, "low": None, "high": None, "n": 0}
    (tmp_path / "folder" / FIGURES).write_text(json.dumps(figures))
    assert "| n/a |" in write_card(tmp_path / "folder")
    del figures["test"]
    (tmp_path / "folder" / FIGURES).write_text(json.dumps(figures))
    assert "95 %" not in write_card(tmp_path / "folder")
