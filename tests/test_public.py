"""The public surface: what README imports, and no more; it loads nothing heavy before it is asked for."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("augment", "drr", "gen")
ROOMS = {("augment", "suppress")}  # packages inside them that are public themselves
HEAVY = {"torch", "diffusers", "transformers", "numba", "scipy", "SimpleITK", "matplotlib", "pydicom", "numpy"}


def public(package: str) -> list[str]:
    return getattr(import_module(package), "__all__", [])


def read_me() -> set[tuple[str, str]]:
    """Each name that a Python snippet of README imports from us, with where from."""
    snippets = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.M)
    statements = (node for snippet in snippets for node in ast.walk(ast.parse(snippet)))
    return {
        (node.module, alias.name)
        for node in statements
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES
        for alias in node.names
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_sorted_and_exist(package: str) -> None:
    names = public(package)
    assert names == sorted(names)
    for name in names:
        assert getattr(import_module(package), name).__class__.__name__ != "module"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_name_that_is_not_public_is_missing_as_python_says_it(package: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'no_such_name'"):
        import_module(package).no_such_name  # noqa: B018


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_hides_a_public_name(package: str) -> None:
    """For once a module is imported, Python puts it under its own name into the package."""
    assert [name for name in public(package) if find_spec(f"{package}.{name}")] == []


def test_readme_imports_what_is_public_and_all_of_it() -> None:
    assert read_me() == {(package, name) for package in PACKAGES for name in public(package)} | ROOMS


def test_no_module_inside_a_package_has_a_list_of_exports() -> None:
    lists = [path.relative_to(ROOT) for name in PACKAGES for path in (ROOT / name).rglob("*.py") if listed(path)]
    assert sorted(map(str, lists)) == ["drr/__init__.py", "gen/__init__.py"]


def listed(path: Path) -> bool:
    return re.search(r"^__all__\b", path.read_text(encoding="utf-8"), re.MULTILINE) is not None


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imported_alone_loads_nothing_heavy(package: str) -> None:
    code = f"import sys, json, {package}; print(json.dumps(sorted(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert HEAVY.isdisjoint(json.loads(ended.stdout))
