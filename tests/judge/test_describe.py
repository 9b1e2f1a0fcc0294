"""Image to text: whatever the numbers, a Study that its own prompt reads back to; and `gen describe`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from gen.core.errors import BadInput, GenError
from gen.core.radiograph import Radiograph, write_png
from gen.core.terms import FINDINGS
from gen.judge.cli import describe as describe_command
from gen.judge.cli import train_judge
from gen.judge.describe import describe, lines_of, predicted_study, unreliable
from gen.judge.familiar import FAMILIAR, Familiar, write_familiar
from gen.judge.judge import load_judge
from gen.judge.readings import Judgement
from gen.language.prompt import read_prompt
from gen.language.render import render
from tests.anatomy.drawn import Drawn, DrawnAnatomy, film

from .conftest import CONFIG, image

PROBABILITY = st.floats(0, 1)
NAMES = [name for name in FINDINGS if name != "Support Devices"]
SEEN = st.builds(
    Judgement,
    findings=st.dictionaries(st.sampled_from(NAMES), PROBABILITY, max_size=6),
    embedding=st.just(np.ones(1, np.float32)),
    female=st.none() | PROBABILITY,
    ap=st.none() | PROBABILITY,
    child=st.none() | PROBABILITY,
    age=st.none() | st.floats(-30, 300),
    quality=st.dictionaries(st.sampled_from(["exposure", "sharpness", "anatomy"]), PROBABILITY),
    artefact=st.none() | PROBABILITY,
)
DOUBTFUL = st.sets(st.sampled_from(NAMES), max_size=4)


@given(SEEN, DOUBTFUL, st.floats(0.5, 1))
@settings(max_examples=150)
def test_whatever_is_seen_the_prompt_reads_back_to_the_study(seen: Judgement, doubtful: set[str], sure: float) -> None:
    study = predicted_study(seen, doubtful, sure)
    assert read_prompt(render(study)).study == study
    json.dumps(describe(seen, doubtful, sure), allow_nan=False)
    assert lines_of(describe(seen, doubtful, sure))[0] == render(study)


@given(SEEN, DOUBTFUL)
@settings(max_examples=60)
def test_a_finding_stands_in_the_study_if_and_only_if_it_is_likely_and_can_be_told(
    seen: Judgement, doubtful: set[str]
) -> None:
    likely = {name for name, p in seen.findings.items() if p >= 0.5} - doubtful
    if len(likely) > 1:
        likely.discard("No Finding")
    said = describe(seen, doubtful)
    assert set(said["study"]["findings"]) == likely
    found = [line for line in lines_of(said) if line.startswith(("  findings:", "  not reliable:"))]
    assert sum(line.count("*") for line in found) == len(likely)
    doubted = " ".join(line for line in found if line.startswith("  not reliable:"))
    assert "*" not in doubted
    assert all((f"{name} " in doubted) for name in doubtful & set(seen.findings))


def test_a_finding_is_doubtful_where_its_auroc_is_unknown_or_its_interval_reaches_chance() -> None:
    known = {"told": [0.8, 0.6, 0.9], "chance": [0.6, 0.5, 0.7], "worse": [0.4, 0.3, 0.6], "alone": [None, None, None]}
    figures = {"findings": {name: {"auroc": auroc} for name, auroc in known.items()}}
    assert unreliable(figures) == ("chance", "worse", "alone")
    assert unreliable({}) == ()


def test_the_bundled_judge_does_not_say_what_it_cannot_tell() -> None:
    judge = load_judge(device="cpu")
    doubtful = unreliable(judge.figures)
    assert "Consolidation" in doubtful
    assert "Cardiomegaly" not in doubtful
    everything = Judgement(dict.fromkeys(judge.findings, 0.9), np.ones(1, np.float32))
    assert set(predicted_study(everything, doubtful).findings) == set(judge.findings) - set(doubtful) - {"No Finding"}


@given(PROBABILITY, st.floats(0.51, 0.99))
def test_sex_is_said_when_it_is_sure_enough_only(p: float, sure: float) -> None:
    study = predicted_study(Judgement({}, np.ones(1), female=p), (), sure)
    assert study.sex == ("F" if p >= sure else "M" if 1 - p >= sure else None)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    write_png(tmp_path / "image.png", Radiograph(image(3, ill=True, female=False), None, {}))
    return tmp_path / "image.png"


def test_gen_describe_says_what_the_judge_sees(toy_judge: Path, picture: Path) -> None:
    arguments = [str(picture), str(picture), "--judge", str(toy_judge), "--device", "cpu"]
    said = CliRunner().invoke(describe_command, [*arguments, "--json"], catch_exceptions=False)
    first, second = (json.loads(line) for line in said.stdout.splitlines())
    assert first == second
    judge = load_judge(toy_judge, device="cpu")
    assert f"judge {judge.name} ({judge.fingerprint})" in said.stderr
    assert set(first["findings"]) == set(judge.findings)
    assert tuple(first["unreliable"]) == unreliable(judge.figures)
    plain = CliRunner().invoke(describe_command, [*arguments, "--quiet"], catch_exceptions=False)
    assert plain.stdout.count(f"{picture}: {lines_of(first)[0]}\n") == 2
    assert "sharpness" in plain.stdout
    assert plain.stderr == ""


def test_gen_describe_prints_the_measured_ratio_or_why_there_is_none(
    toy_judge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gen.anatomy.folder.load_anatomy", lambda *_: DrawnAnatomy(Drawn(heart=0.14)))
    write_png(tmp_path / "chest.png", Radiograph(film(Drawn().masks(128))))
    write_png(tmp_path / "wall.png", Radiograph(np.linspace(0.3, 0.5, 4096, dtype=np.float32).reshape(64, 64)))
    arguments = [str(tmp_path / "chest.png"), str(tmp_path / "wall.png"), "--judge", str(toy_judge), "--quiet"]
    plain = CliRunner().invoke(describe_command, arguments, catch_exceptions=False)
    assert "  measured: cardiothoracic ratio 0.40\n" in plain.stdout  # 2 x 0.14 of 0.7
    assert "  measured: cardiothoracic ratio not measured: no lung was found\n" in plain.stdout
    said = CliRunner().invoke(describe_command, [*arguments, "--json"], catch_exceptions=False)
    ratios = [json.loads(line)["chest"]["cardiothoracic_ratio"] for line in said.stdout.splitlines()]
    assert ratios == [pytest.approx(0.4, abs=0.01), None]


def test_what_the_judge_does_not_know_gets_no_prompt_and_the_reasons(
    toy_judge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gen.anatomy.folder.load_anatomy", lambda *_: DrawnAnatomy(Drawn()))
    write_png(tmp_path / "chest.png", Radiograph(film(Drawn().masks(128))))
    arguments = [str(tmp_path / "chest.png"), "--judge", str(tmp_path / "judge"), "--quiet"]
    shutil.copytree(toy_judge, tmp_path / "judge")
    for distance, soundness, reason in ((2.0, 0.0, ""), (-1.0, 0.0, "distance"), (2.0, 1.1, "soundness")):
        limits = Familiar(distance, 1.0, soundness, false_alarms=0.1, images=9, patients=9)
        write_familiar(tmp_path / "judge" / FAMILIAR, limits)
        plain = CliRunner().invoke(describe_command, arguments, catch_exceptions=False)
        said = json.loads(CliRunner().invoke(describe_command, [*arguments, "--json"], catch_exceptions=False).stdout)
        assert [why.split()[0] for why in said["unlike"]] == ([reason] if reason else [])
        assert (said["prompt"] in plain.stdout) == (not reason)
        assert ("unlike those the judge learnt from" in plain.stdout) == bool(reason)
        assert plain.exit_code == 0


def test_of_a_folder_what_cannot_be_read_is_named_and_the_others_are_described(
    toy_judge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gen.anatomy.folder.load_anatomy", lambda *_: DrawnAnatomy(Drawn()))
    folder = tmp_path / "films"
    folder.mkdir()
    for name in ("a.png", "c.png"):
        write_png(folder / name, Radiograph(film(Drawn().masks(128))))
    (folder / "b.png").write_bytes(b"")
    said = CliRunner().invoke(describe_command, [str(folder), "--judge", str(toy_judge), "--quiet", "--json"])
    assert [Path(json.loads(line)["file"]).name for line in said.stdout.splitlines()] == ["a.png", "c.png"]
    assert isinstance(said.exception, GenError)
    assert said.exception.exit_code == 1
    assert f"1 of 3 images could not be read: {folder / 'b.png'}" in said.exception.message


@given(SEEN)
@settings(max_examples=40)
def test_every_finding_is_judged_or_named_as_not_judged(seen: Judgement) -> None:
    not_judged = describe(seen)["not_judged"]
    assert not set(not_judged) & set(seen.findings)
    if seen.findings:
        assert set(FINDINGS) <= set(not_judged) | set(seen.findings)
    assert "lateral views" in not_judged


def test_gen_describe_names_a_file_that_is_no_radiograph(toy_judge: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("not an image")
    with pytest.raises(BadInput, match=r"a\.png"):
        CliRunner().invoke(
            describe_command, [str(tmp_path / "a.png"), "--judge", str(toy_judge)], catch_exceptions=False
        )


def test_gen_train_judge_prints_the_finished_folder(toy_run: Path, toy_data: Path) -> None:
    arguments = [str(CONFIG), f"out={toy_run}", f"data={toy_data}", "device=cpu", "dtype=float32"]
    said = CliRunner().invoke(train_judge, arguments, catch_exceptions=False)
    assert said.stdout == f"{toy_run / 'judge'}\n"
