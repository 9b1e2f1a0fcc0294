"""`gen dataset` as it is typed."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from toy_job import ROWS, toy_job

from augment.dataset.cli import dataset
from augment.dataset.config import DatasetConfig
from augment.dataset.dry_run import Trial
from augment.dataset.job import make_dataset
from augment.dataset.prepare import plan_job
from augment.dataset.verify import UNFILLED
from gen.core.config import load_config, to_dict, to_yaml
from gen.core.errors import BadInput, GenError
from gen.core.run import changed

CONFIGS = Path(__file__).parents[3] / "configs"


def call(*words: object) -> Result:
    return CliRunner().invoke(dataset, [str(word) for word in words])


@pytest.fixture
def config(toy_model: Path, tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(toy_job(tmp_path / "set", toy_model)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def made(toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sets") / "made"
    make_dataset(toy_job(out, toy_model), quiet=True)
    return out


@pytest.mark.parametrize("name", ["balanced.yaml", "balanced_toy.yaml"])
def test_the_configs_can_be_made_with_the_bundled_model(name: str) -> None:
    config = load_config(DatasetConfig, CONFIGS / name)
    plan = plan_job(config)
    assert sum(stratum.quota for stratum in plan.strata) == config.images
    assert plan.warnings == ()


def test_the_config_lists_every_key_with_its_default() -> None:
    text = (CONFIGS / "balanced.yaml").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^#   ([a-z_.]+): (.+?)(?:  .*)?$", text, re.MULTILINE))
    pairs = changed({}, to_dict(DatasetConfig("", 0)))
    default = {key: value for key, (_, value) in pairs.items()}
    set_there = {key for key in changed({}, yaml.safe_load(text)) if key not in listed}
    assert listed.keys() | set_there == default.keys()
    assert {key: yaml.safe_load(value) for key, value in listed.items()} == {key: default[key] for key in listed}


def test_the_result_is_the_folder_and_all_else_is_on_the_other_stream(config: Path, tmp_path: Path) -> None:
    ended = call("make", config)
    assert (ended.exit_code, ended.stdout) == (0, f"{tmp_path / 'set'}\n")
    assert f"{ROWS} image(s), of {ROWS} made, are in" in ended.stderr


def test_json_has_a_line_a_shard_and_one_at_the_end(config: Path) -> None:
    ended = call("make", config, "--json", "--quiet", "shard_size=5")
    *shards, end = map(json.loads, ended.stdout.splitlines())
    assert [(line["event"], line["shard"], line["committed"]) for line in shards] == [("shard", 0, 5), ("shard", 1, 10)]
    assert (end["event"], end["complete"], end["committed"], end["missing"]) == ("end", True, ROWS, 0)
    assert not ended.stderr


def test_a_dry_run_shows_plan_and_cost_and_writes_nothing(config: Path, tmp_path: Path) -> None:
    ended = call("make", config, "--dry-run")
    assert ended.exit_code == 0
    assert "Pleural Effusion" in ended.stdout
    assert f"{ROWS} images, " in ended.stdout
    facts = json.loads(call("make", config, "--dry-run", "--json").stdout)
    assert sum(row["quota"] for row in facts["plan"]) == facts["images"] == ROWS
    assert facts["seconds"] > 0
    assert facts["bytes"] > 0
    assert (facts["passed"], facts["tried"]) == (None, 8)  # nothing looked
    assert facts["seconds_low"] == facts["seconds"] == facts["seconds_high"]
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("name", ["balanced", "balanced_toy"])
def test_the_first_answer_of_a_dry_run_imports_nothing_heavy(name: str, tmp_path: Path) -> None:
    code = """
import sys, click
heavy = {"torch", "diffusers", "transformers", "numba", "SimpleITK", "pandas", "openvino"}
said = []
def echo(text, **more):
    said.append(text)
    if text.startswith("making trial images"):
        print(len(said), said[0].count("\\n") > 5, "of disk" in said[0], sorted(heavy & set(sys.modules)))
        sys.exit()
click.echo = echo
from gen.cli import main
main(["dataset", "make", sys.argv[1], "--dry-run", "--out", sys.argv[2]])
"""
    command = [sys.executable, "-c", code, name, str(tmp_path / "set")]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.split(maxsplit=1)[1] == "True True []\n"


def test_a_dry_run_counts_what_the_gates_refuse_and_warns_of_rows_that_may_stay_empty(config: Path) -> None:
    ended = call("make", config, "--dry-run", "gates.names=[quality,view]")  # which no noise of a toy model passes
    assert "Of 8 trial images by the model 0 passed the gates" in ended.stdout
    assert ": more than " in ended.stdout
    assert "none of 8 trial images by the model passed the gates" in ended.stderr


def test_what_is_tried_again_takes_its_time() -> None:
    likely, least, most = Trial("model", 1.0, 8, 4, 1.0, 1.0).tries()
    assert likely == 2
    assert 1 < least < likely < most < 8
    assert Trial("model", 1.0, 8, 0, 1.0, 1.0).tries()[2] == math.inf
    assert Trial("model", 1.0, 8, None, 1.0, 1.0).tries() == (1, 1, 1)


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "1/2/3", "a/b", "-1/2"])
def test_what_is_no_part_is_refused(config: Path, part: str) -> None:
    ended = call("make", config, "--shard", part)
    assert isinstance(ended.exception, BadInput)
    assert "is not a part" in str(ended.exception)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["imges=5"], "imges"),
        (["images=many"], "images"),
        (["target.kind=even"], "'even'"),
        (["target.sex=[F,X]"], "'X'"),
        (["gates.names=[finding,likeness]"], "'likeness'"),
        (["target.kind=margins", "target.margins={sex: {F: 0.7}}"], "margins"),
        (["projections.use=maybe"], "'maybe'"),
        (["gates.judge=nowhere", "gates.names=[sex]"], "nowhere"),
        (["--workers", "2"], "--executor ray"),
        (["guidance=.inf"], "guidance is inf"),
        (["--dry-run", "--shard", "9/2"], "--shard 9/2"),
        (["--dry-run", "gates.real=nowhere", "gates.names=[sex]"], "nowhere"),
        (["--executor", "ray", "device=cuda:1"], "'cuda:1'"),
    ],
)
def test_what_cannot_be_meant_is_one_line_that_names_it(
    config: Path, tmp_path: Path, words: list[str], named: str
) -> None:
    ended = call("make", config, *words)
    assert isinstance(ended.exception, BadInput), ended.exception
    assert named in str(ended.exception)
    assert "\n" not in str(ended.exception)
    assert not (tmp_path / "set").exists()


def test_a_whole_set_verifies_and_a_damaged_one_does_not(made: Path, tmp_path: Path) -> None:
    import shutil

    assert call("verify", made).stdout == f"{made} is whole\n"
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    tar = copy / "data" / "shard-000000.tar"
    content = bytearray(tar.read_bytes())
    content[3000] ^= 1
    tar.write_bytes(content)
    ended = call("verify", copy)
    assert isinstance(ended.exception, GenError)
    assert "shard-000000.tar" in ended.stdout
    assert json.loads(call("verify", copy, "--json").stdout)["problems"]
    assert isinstance(call("verify", tmp_path).exception, GenError)


def test_what_is_not_finished_and_what_lacks_rows_are_told_apart_from_damage(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    copy = Path(shutil.copytree(made, tmp_path / "copy"))
    (copy / "_SUCCESS").unlink()
    assert "run the same" in str(call("verify", copy).exception)
    next(copy.rglob("shard-000001.json")).unlink()
    ended = call("verify", copy)
    assert "1 of 3 shards are not there (1)" in ended.stdout
    assert "run the same" in str(ended.exception)
    assert "delete" not in str(ended.exception)
    unfilled = [f"set: 2 of 12 rows {UNFILLED}"]
    monkeypatch.setattr("augment.dataset.verify.verify_dataset", lambda *those, **options: unfilled)
    assert "raise gates.substitutes" in str(call("verify", copy).exception)


def test_no_image_is_made_again_into_a_data_set(made: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (made, tmp_path / "file"):
        assert isinstance(call("replay", made, "2", "--out", out).exception, BadInput)


def test_a_row_is_made_again(made: Path, tmp_path: Path) -> None:
    ended = call("replay", made, "2", "--out", tmp_path, "--device", "cpu")
    assert ended.exit_code == 0, ended.exception
    assert Path(ended.stdout.strip()).is_file()
    assert "identical, byte for byte" in ended.stderr


@pytest.mark.parametrize("other_pixels", [False, True])
def test_other_software_is_told_from_other_pixels(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other_pixels: bool
) -> None:
    from augment.dataset import replay
    from augment.dataset.shards.samples import radiograph_of
    from gen.core.radiograph import png_bytes

    record, png = replay.find(made, "2")
    old = radiograph_of(png)
    provenance = {**old.provenance, "software": "cxr-gen 0.0.1, torch 2.15.0"}
    pixels = old.pixels.copy()
    if other_pixels:
        pixels[0, 0] = 1 - pixels[0, 0]
    stored = png_bytes(dataclasses.replace(old, pixels=pixels, provenance=provenance))
    monkeypatch.setattr(replay, "find", lambda folder, row: ({**record, "provenance": provenance}, stored))
    ended = call("replay", made, "2", "--out", tmp_path, "--device", "cpu")
    if other_pixels:
        assert isinstance(ended.exception, GenError)
        assert ended.exception.exit_code == 1
        assert "has other pixels" in str(ended.exception)
        assert "software 'cxr-gen 0.0.1" in str(ended.exception)
    else:
        assert ended.exit_code == 0, ended.exception
        assert ended.stderr.startswith("same pixels, other software: software 'cxr-gen 0.0.1, torch 2.15.0' -> ")
