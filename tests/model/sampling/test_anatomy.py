"""`gen sample --anatomy`: images of bodies, with their truth beside them; what no body can show is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gen.core.manifest import read_manifest
from gen.core.radiograph import Radiograph
from gen.images.reader import read_radiograph
from gen.language.study import Study
from gen.model.sampling.anatomy import Body, bone_share, finished, held_region

PROMPT = "60 year old female. PA view. Moderate right pleural effusion."


@pytest.fixture
def sample(gen: Callable[..., Any], toy_model: Path, tmp_path: Path) -> Callable[..., Any]:
    return lambda *more: gen("sample", "--model", toy_model, "--steps", 4, "--out", tmp_path / "out", *more)


def test_an_image_of_a_body_comes_with_its_truth(sample: Callable[..., Any], tmp_path: Path) -> None:
    ended = sample("--anatomy", "phantom", "--prompt", PROMPT, "-n", 2, "--strength", 0.5)
    assert ended.code == 0, ended.err
    rows = read_manifest(tmp_path / "out").rows
    assert [str(row.file) for row in rows] == ended.out.split()
    assert len({row.patient_id for row in rows}) == 2
    for row in rows:
        image = read_radiograph(row.file)
        assert image.provenance["anatomy"].startswith("from physics")
        assert (image.provenance["strength"], image.provenance["synthetic"]) == ("0.5", "yes")
        study = Study.from_json_dict(json.loads(row.study))
        effusion = study.findings["Pleural Effusion"]
        assert (study.age, study.sex, effusion.side, effusion.severity) == (60, "F", "right", "moderate")
        assert not row.weights_may_learn  # the toy does not say that they may
        assert "Apache-2.0" in row.licence
        soft = read_radiograph(tmp_path / "out" / row.extra["soft_file_name"])
        assert soft.pixels.shape == image.pixels.shape
        folder = tmp_path / "out" / row.extra["masks_folder"]
        mask, lung = (
            np.asarray(Image.open(folder / f"{name}.png")) for name in ("pleural_effusion_right", "right_lung")
        )
        assert set(np.unique(mask)) == {0, 255}
        assert (lung[mask > 0] == 255).mean() > 0.5
    with (tmp_path / "out" / "metadata.csv").open(encoding="utf-8", newline="") as stream:
        assert all(line["notes"].startswith("from physics") for line in csv.DictReader(stream))


def test_image_k_is_decided_by_seed_and_k_alone(sample: Callable[..., Any]) -> None:
    asked = ("--anatomy", "phantom", "--prompt", PROMPT, "--seed", 5)
    many = sample(*asked, "-n", 2).out.split()
    assert sample(*asked).out.split() == many[:1]


def test_what_a_body_shows_the_model_need_not_have_been_shown(sample: Callable[..., Any]) -> None:
    asked = ("--prompt", "Severe left mass. PA view.", "--dry-run")
    assert "never shown" in sample(*asked).err
    assert "never shown" not in sample(*asked, "--anatomy", "phantom").err


@given(st.integers(0, 2**64 - 1))
def test_what_is_varied_takes_its_truth_along(seed: int) -> None:
    down, across = np.mgrid[:64, :64]
    disc = (down - 26) ** 2 + (across - 36) ** 2 < 15**2
    image = Radiograph(np.where(disc, 0.8, 0.3).astype(np.float32), None, {})
    bone = np.where(across > 32, 0.1, 0).astype(np.float32)
    body = Body(image, bone, {"disc": disc}, disc, Study(), "nobody", "", False, {})
    plain, moved = finished(image, body), finished(image, body, vary_by=seed)
    assert np.array_equal(plain.soft.pixels, (image.pixels - bone).clip(0, 1))
    assert plain.masks["disc"] is disc
    level = (moved.image.pixels[0, 0] + moved.image.pixels[moved.masks["disc"]].mean()) / 2
    assert ((moved.image.pixels > level) == moved.masks["disc"]).mean() > 0.98
    assert (moved.soft.pixels <= moved.image.pixels + 0.03).all()  # but for ringing beside an edge


@given(st.floats(-0.5, 1.5), st.floats(0, 1))
def test_the_share_of_the_ribs_is_found_whatever_is_behind_them(share: float, behind: float) -> None:
    lung = np.zeros((64, 64), bool)
    lung[8:56, 8:28] = True
    ribs = np.where(np.arange(64)[:, None] % 8 < 3, 0.1, 0).astype(np.float32).repeat(64, 1)
    plain = Radiograph(np.full((64, 64), 0.5, np.float32), None, {})
    body = Body(plain, ribs, {"right lung": lung}, ~lung, Study(), "nobody", "", False, {})
    assert bone_share(behind + share * ribs, body) == pytest.approx(share, abs=1e-3)


@pytest.mark.parametrize(("views", "all_of_it"), [({"PA": 1}, True), ({"lateral": 1}, False)])
def test_all_of_a_view_that_the_model_was_never_shown_is_held(views: dict[str, int], all_of_it: bool) -> None:
    held = np.eye(8, dtype=bool)
    image = Radiograph(np.full((8, 8), 0.5, np.float32), None, {})
    body = Body(image, image.pixels, {}, held, Study(view="lateral"), "nobody", "", False, {})
    assert held_region(body, {"views": views}).all() == all_of_it
    assert np.array_equal(held_region(body, None), held)  # a model that does not say may be asked anything


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--anatomy", "phantom", "--prompt", "Pneumonia. AP view."), "Pneumonia cannot be put into a CT"),
        (("--anatomy", "phantom", "--prompt", "5 year old female. AP view."), "the phantom is an adult"),
        (("--anatomy", "phantom", "--prompt", "Possible edema."), "not known to be uncertain"),
        (("--anatomy", "phantom", "--raw-prompt", "--prompt", "zzz"), "needs a prompt that can be read"),
        (("--anatomy", "gone.nii", "--prompt", PROMPT), "no such file or folder"),
        (("--anatomy", "phantom", "--init", "a.png", "--prompt", PROMPT), "--anatomy and --init are both given"),
        (("--anatomy", "phantom", "--strength", "0.1", "--prompt", PROMPT), "--strength 0.1 of 4 steps is none"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    sample: Callable[..., Any], tmp_path: Path, options: tuple[str, ...], reason: str
) -> None:
    ended = sample(*options)
    assert ended.code == 2, ended
    assert ended.out == ""
    line = ended.err.splitlines()[-1]
    assert line.startswith("error: ")
    assert reason in line
    assert not (tmp_path / "out").exists()


def test_a_prompts_file_names_the_line_that_no_body_can_show(sample: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text(f"{PROMPT}\nPneumonia.\n", encoding="utf-8")
    ended = sample("--anatomy", "phantom", "--prompts-file", tmp_path / "prompts.txt")
    assert ended.code == 2
    assert "prompts.txt, line 2: " in ended.err.splitlines()[-1]
