"""The repository itself: what is tracked, what is packaged, and what the README promises."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import gen

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def tracked() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


def test_no_tracked_text_names_a_place_of_one_machine() -> None:
    place = re.compile(r"(?<![\w.~/-])/(work|farm|root|home|Users)/\w")
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {line.strip()}" for line in text.splitlines() if place.search(line)]
    assert found == []


def test_the_tracked_tree_travels_well() -> None:
    assert sum(path.stat().st_size for path in tracked()) < 50e6


def test_the_ground_floor_is_small_and_imports_nothing_heavy_at_its_top() -> None:
    modules = sorted((ROOT / "gen" / "core").glob("*.py"))
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in modules) < 1400
    heavy = {"torch", "scipy", "pydicom", "SimpleITK", "omegaconf", "matplotlib", "diffusers", "transformers"}
    names = ", ".join(f"gen.core.{path.stem}" for path in modules if path.stem != "__init__")
    code = f"import sys, {names}; print(*sorted({heavy!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_exactly_the_packages_that_exist_are_installed() -> None:
    exist = {
        ".".join(init.parent.relative_to(ROOT).parts)
        for top in ("gen", "drr", "augment")
        for init in (ROOT / top).rglob("__init__.py")
    }
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == exist


def test_every_file_that_the_code_reads_is_installed() -> None:
    data = PYPROJECT["tool"]["setuptools"]["package-data"]
    folders = {ROOT / package.replace(".", "/"): patterns for package, patterns in data.items()}
    installed = {path for folder, patterns in folders.items() for one in patterns for path in folder.glob(one)}
    tops = {ROOT / top for top in ("gen", "drr", "augment")}
    others = [path for path in tracked() if path.suffix not in {".py", ".c"} and tops.intersection(path.parents)]
    assert [path for path in others if not installed.intersection((path, *path.parents))] == []


def test_every_dependency_has_a_tested_pin_within_its_range() -> None:
    from packaging.requirements import Requirement

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    extras = PYPROJECT["project"]["optional-dependencies"]
    wanted = [*PYPROJECT["project"]["dependencies"], *extras["dev"], *extras["xformers"]]
    for requirement in map(Requirement, (line for line in wanted if not line.startswith("cxr-gen["))):
        assert requirement.specifier.contains(pins[requirement.name.lower()]), requirement


def test_the_versions_agree() -> None:
    assert f"version: {gen.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["make demo", "make test"])
def test_the_readme_shows_the_two_commands(command: str) -> None:
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")


def test_ci_runs_the_readmes_test_command() -> None:
    run = ROOT / ".ci" / "run"
    assert run.stat().st_mode & 0o111
    assert "make test" in run.read_text(encoding="utf-8")


def test_every_config_that_a_text_names_is_there() -> None:
    found = []
    for path in tracked():
        if path.suffix in {".md", ".py", ".yaml", ".json", ".sh"}:
            named = re.findall(r"\bconfigs/[\w/]+\.ya?ml", path.read_text(encoding="utf-8"))
            found += [f"{path.relative_to(ROOT)}: {name}" for name in named if not (ROOT / name).is_file()]
    assert found == []


def test_every_config_is_yaml_with_a_mapping_at_the_top() -> None:
    import yaml

    for path in sorted((ROOT / "configs").rglob("*.y*ml")):
        assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict), path
