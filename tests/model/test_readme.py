"""The README's commands, run as they stand at toy size: the toy model and data, and the toy twins of the configs."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.model.conftest import CONFIGS, Ended

README = CONFIGS.parent / "README.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
COMMANDS = [
    line for language, text in BLOCKS if language == "sh" for line in text.splitlines() if line.startswith("gen ")
]
TOY_TRAINING = ["data=my-data", "device=cpu", "dtype=float32"]
TOY_DATASET = ["model=my-model", "device=cpu", "dtype=float32"]
TOY_FINETUNING = ["size=32", "images=8", "batch_size=4", "accumulate=1", "variants=1", "preview_every=0"]


@pytest.fixture
def sandbox(
    toy_model: Path,
    toy_data: Path,
    toy_autoencoder: Path,
    toy_denoiser: Path,
    chest_files: Path,
    coarse_phantom: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A folder that holds what the README takes for granted, small."""
    shutil.copytree(toy_model, tmp_path / "my-model")
    shutil.copytree(toy_data, tmp_path / "my-data")
    shutil.copytree(toy_autoencoder, tmp_path / "runs" / "autoencoder-toy")
    shutil.copytree(toy_denoiser, tmp_path / "runs" / "denoiser-toy")
    for name in ("nii.gz", "seg.nii.gz", "seg.labels.csv"):
        shutil.copy(chest_files / f"chest.{name}", tmp_path / f"my-ct.{name.replace('seg.labels', 'labels')}")
    shutil.copy(chest_files / "chest.nii.gz", tmp_path / "another-ct.nii.gz")
    (tmp_path / "prompts.txt").write_text("PA view. Normal chest.\nAP view. Pneumonia.\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def at_toy_size(command: str) -> list[str]:
    words = shlex.split(command)[1:]
    if words[0] in ("train", "dataset") and (CONFIGS / f"{words[2]}_toy.yaml").exists():
        words[2] += "_toy"
    if words[0] == "sample":
        few = ["--steps", "4", "--size", "32"] if "--anatomy" in words else ["--steps", "1"]  # of which a part is taken
        return [*("2" if word == "4" else word for word in words), "--model", "my-model", *few]
    if words[0] == "drr":
        return [*("2" if word in ("4", "50") else word for word in words), "--size", "96"]
    if words[0] == "doctor":
        return [*words, "--model", "my-model"]
    # A page serves until it is stopped, the others want more images than a toy has: their own tests run them for real.
    shown = (["train", "judge"], ["train", "suppress"], ["train", "suppress-latent"], ["data", "prepare"])
    if words[0] in ("classify", "demo", "evaluate", "suppress") or words[:2] in shown:
        return [*words, "--help"]
    if words[0] == "describe":
        return ["describe", "my-data/images/0.png"]
    if words[:2] == ["dataset", "make"]:
        return [*words, *TOY_DATASET] if "ray" not in words else [*words, "--help"]
    if words[:2] in (["train", "autoencoder"], ["train", "distill"]):
        return [*words, *TOY_TRAINING, "out=runs/from-readme"]
    if words[:2] == ["train", "denoiser"]:
        return [
            *words,
            *TOY_TRAINING,
            *(TOY_FINETUNING if "finetune" in words[2] else ["out=runs/from-readme"]),
        ]
    return words


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_works(command: str, sandbox: Path, gen: Callable[..., Ended]) -> None:
    if command.startswith(("gen dataset verify", "gen dataset replay")):  # of what was made before
        assert gen("dataset", "make", "balanced_toy", *TOY_DATASET).code == 0
    ended = gen(*at_toy_size(command))
    assert ended.code == 0, ended.err
    assert ended.out


def test_the_readme_shows_every_command(gen: Callable[..., Ended]) -> None:
    listed = re.findall(r"^  (\w+)  ", gen("--help").out.partition("Commands:")[2], re.MULTILINE)
    assert set(listed) <= {shlex.split(command)[1] for command in COMMANDS}


def test_nothing_in_the_readme_is_left_open_or_leads_nowhere() -> None:
    text = README.read_text(encoding="utf-8")
    assert not re.findall(r"@[A-Z_]+@", text)
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []


def test_the_python_of_the_readme_works() -> None:
    scope: dict[str, Any] = {}
    for language, text in BLOCKS:
        if language == "python":
            exec(text, scope)
    radiograph, projection = scope["radiograph"], scope["projection"]
    assert radiograph.pixels.shape == (256, 256)
    assert radiograph.provenance["synthetic"] == "yes"
    assert projection.image.shape == projection.soft.shape == projection.bone.shape == projection.paths_mm["bone"].shape
