"""prompt_INFO.csv: each of the board's scripts finds its columns, and reads what the rows say."""

from __future__ import annotations

import ast
import csv
from pathlib import Path

import pytest

from gen.core.errors import BadInput
from gen.core.manifest import Row
from gen.core.terms import CHEXPERT_14
from gen.evaluate.chexgenbench import PROMPT_INFO, write_prompt_info

PROMPT = 'Erect, "portable" view. Cardiomegaly. No pneumothorax. Possible edema.'


def test_every_script_of_the_board_finds_the_prompt_and_the_image_under_its_own_names(tmp_path: Path) -> None:
    rows = [
        Row(file=tmp_path / "a.png", file_name="images/a.b.png", prompt=PROMPT),
        Row(file=tmp_path / "c.png", file_name="c.png", split="train", prompt="No finding."),
        Row(file=tmp_path / "d.png", file_name="d.png"),
    ]
    path = tmp_path / PROMPT_INFO
    assert write_prompt_info(path, rows) == 2
    with path.open(encoding="utf-8", newline="") as stream:
        read = list(csv.DictReader(stream))
    for prompt, image in (
        ("prompt", "img_savename"),  # the README
        ("annotated_prompt", "img_savename"),  # fid.py
        ("annotated_prompt", "synthetic_filename"),  # img_text_alignment_scores.py, downstream_classification.py
    ):
        assert [(row[prompt], row[image]) for row in read] == [
            (PROMPT, "images/a.b.png"),
            ("No finding.", "train/c.png"),
        ]
    assert [row["id"] for row in read] == ["images/a.b", "train/c"]
    labels = ast.literal_eval(read[0]["chexpert_labels"])
    assert tuple(labels) == CHEXPERT_14
    said = {"Cardiomegaly": 1, "Pneumothorax": 0, "Edema": -1}
    assert labels == {name: said.get(name) for name in CHEXPERT_14}


def test_a_set_without_prompts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no row has a prompt"):
        write_prompt_info(tmp_path / PROMPT_INFO, [Row(file=tmp_path / "a.png", file_name="a.png")])
    assert not (tmp_path / PROMPT_INFO).exists()
