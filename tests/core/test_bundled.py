"""Configs and pins travel with the package, and are found by name from anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from gen.cli import main
from gen.core.bundled import PINS, find_config, packaged_config, packaged_configs
from gen.core.errors import BadInput

ROOT = Path(__file__).parents[2]


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0)


def test_what_travels_is_what_the_repository_has() -> None:
    assert set(packaged_configs()) == {path.stem for path in (ROOT / "configs").glob("*.yaml")}
    assert PINS.read_bytes() == (ROOT / "constraints.txt").read_bytes()


@pytest.mark.parametrize("name", sorted(packaged_configs()))
def test_a_config_is_found_by_name_and_a_slip_names_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()  # a folder of that name is no config
    assert find_config(name) == packaged_config(name)
    for slip in (name[:-1], f"{name}.yaml", f"configs/{name}.yaml"):
        if slip not in packaged_configs():
            with pytest.raises(BadInput) as refusal:
                find_config(slip)
            assert f"did you mean {name!r}?" in str(refusal.value)
            assert all(each in str(refusal.value) for each in packaged_configs())


def test_a_file_of_the_users_comes_before_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("finetune").write_text("out: mine")
    assert find_config("finetune") == Path("finetune")


def test_init_lists_writes_and_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("init") == 0
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} == set(packaged_configs())
    assert call("init", "finetune") == 0
    written = Path("finetune.yaml").read_text(encoding="utf-8")
    assert written == packaged_config("finetune").read_text(encoding="utf-8")
    Path("finetune.yaml").write_text("out: mine")
    assert call("init", "finetune") == 2
    assert Path("finetune.yaml").read_text() == "out: mine"
    assert call("init", "finetoon") == 2
    assert "did you mean 'finetune'?" in capsys.readouterr().err
