"""The program as a user meets it: quick help, one-line errors, exit codes; and packages that stand alone."""

from __future__ import annotations

import errno
import importlib
import json
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import CliRunner

import gen
from gen import cli
from gen.core.errors import BadInput, EnvironmentLacks, GenError
from gen.core.run import open_run

COMMANDS = sorted(point.name for point in entry_points(group=cli.COMMAND_GROUP))
HEAVY = {"torch", "diffusers", "transformers", "datasets", "gradio", "matplotlib", "pandas", "scipy", "accelerate"}
PACKAGES = sorted(
    {"gen", "gradio_app"}
    | {f"gen.{module.name}" for module in pkgutil.iter_modules(gen.__path__) if module.name != "bundled"}
)


def run_python(code: str, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )


def run_gen(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_python("from gen.cli import main; main()", *args, **environment)


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)], ids=lambda words: " ".join(words) or "gen")
def test_help_is_given_without_importing_anything_heavy(command: tuple[str, ...]) -> None:
    code = (
        "import sys, json\n"
        "from gen.cli import main\n"
        "try: main([*sys.argv[1:], '--help'])\n"
        "except SystemExit as end: print('\\n' + json.dumps([end.code, sorted(sys.modules)]))\n"
    )
    result = run_python(code, *command)
    exit_code, modules = json.loads(result.stdout.splitlines()[-1])
    assert exit_code == 0, result.stderr
    assert HEAVY.isdisjoint(modules)
    assert result.stdout.startswith(f"Usage: {' '.join(('gen', *command))} ")


def test_every_command_is_there_and_says_what_it_is() -> None:
    result = run_gen("--help")
    assert {"sample", "train", "prompt", "data", "doctor", "demo"} <= set(COMMANDS)
    assert all(f"\n  {name} " in result.stdout for name in COMMANDS)
    assert "not available" not in result.stdout
    assert "not for clinical use" in result.stdout


def test_the_version_is_the_packages_own() -> None:
    result = run_gen("--version")
    assert (result.returncode, result.stdout) == (0, f"gen {gen.__version__}\n")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("smaple",), "Did you mean 'sample'"),
        (("xyzzy",), "No such command 'xyzzy'"),
        (("--bug",), "--debug"),
        (("doctor", "--jsn"), "--json"),
        (("demo", "--port", "many"), "--port"),
    ],
)
def test_a_usage_error_is_one_line_with_a_suggestion_and_exits_2(args: tuple[str, ...], words: str) -> None:
    result = run_gen(*args)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert words in result.stderr


def test_gen_alone_shows_its_help_and_exits_2() -> None:
    result = run_gen()
    assert result.returncode == 2
    assert "Usage: gen" in result.stderr


def test_shell_completion_offers_the_commands() -> None:
    result = run_gen(_GEN_COMPLETE="bash_complete", COMP_WORDS="gen d", COMP_CWORD="1")
    assert set(result.stdout.split()) == {f"plain,{name}" for name in COMMANDS if name.startswith("d")}
    assert "complete" in run_gen(_GEN_COMPLETE="bash_source").stdout


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Another distribution that adds commands to ``gen``: ``fail`` raises ``plug_in.error``, ``broken`` cannot load."""
    (tmp_path / "gen_plug_in.py").write_text(
        "import click\n\n@click.command()\ndef fail():\n    'Fail as told.'\n    raise error\n"
    )
    info = tmp_path / "gen_plug_in-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gen-plug-in\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        f"[{cli.COMMAND_GROUP}]\nfail = gen_plug_in:fail\nbroken = no_such_package.cli:broken\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("gen_plug_in")
    del sys.modules["gen_plug_in"]


class TorchOutOfMemory(RuntimeError):
    """Stands for torch's exception of the same name, which cli must know without importing torch."""


TorchOutOfMemory.__name__ = "OutOfMemoryError"


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (GenError("2 of 4 images are missing", hint="run it again"), 1, "2 of 4 images are missing; run it again"),
        (BadInput("a.csv: no column file_name"), 2, "a.csv: no column file_name"),
        (EnvironmentLacks("no CUDA"), 3, "no CUDA"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 1, "out of memory"),
        (TorchOutOfMemory("CUDA out of memory.\nTried to allocate 2 GiB"), 1, "Tried to allocate 2 GiB"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/0.png"), 1, "no space left on the disk: out/0.png"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), "out"), 1, "Permission denied: out"),
        (ModuleNotFoundError("No module named 'ray'", name="ray"), 3, "package 'ray' is not installed"),
        (ValueError("first\nsecond"), 1, "ValueError: first second"),
        (click.UsageError("--view lateral contradicts\nthe prompt"), 2, "--view lateral contradicts the prompt"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
@pytest.mark.parametrize("debug", [False, True])
def test_an_error_ends_in_one_line_and_its_code_and_shows_a_traceback_only_when_asked(
    error: BaseException,
    code: int,
    words: str,
    debug: bool,
    plug_in: ModuleType,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plug_in.error = error
    with pytest.raises(SystemExit) as end:
        cli.main(["--debug", "fail"] if debug else ["fail"])
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (code, "")
    assert words in err.splitlines()[-1]
    assert ("Traceback" in err) == debug
    assert debug or err.strip().count("\n") == 0


def test_an_interrupted_run_says_that_the_same_command_goes_on(
    plug_in: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        with open_run(tmp_path / "run", {"size": 1}), open_run(tmp_path / "run/part", {"size": 1}):
            raise KeyboardInterrupt

    monkeypatch.setattr(plug_in.fail, "callback", work)
    with pytest.raises(SystemExit) as end:
        cli.main(["fail"])
    assert end.value.code == 130
    assert capsys.readouterr().err.split("\n")[1:] == ["interrupted; the same command goes on", ""]
    assert (tmp_path / "run/part/run.json").exists()


def test_a_command_that_cannot_be_loaded_leaves_the_help_of_the_others(
    plug_in: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    help_text = " ".join(capsys.readouterr().out.split())
    assert end.value.code == 0
    assert all(words in help_text for words in ("no_such_package", "Check this machine", "Fail as told."))
    with pytest.raises(SystemExit) as end:
        cli.main(["broken"])
    assert end.value.code == 3
    assert "no_such_package" in capsys.readouterr().err


def test_a_reader_that_stops_reading_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "from gen.cli import main; main(['--help'])"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_can_be_imported_alone_and_is_light(package: str) -> None:
    code = f"import sys, json, {package}; print(json.dumps(sorted(sys.modules)))"
    result = run_python(code)
    assert result.returncode == 0, result.stderr
    assert HEAVY.isdisjoint(json.loads(result.stdout))


def test_doctor_names_the_model_that_it_cannot_use(tmp_path: Path) -> None:
    result = run_gen("doctor", "--json", "--model", str(tmp_path))
    report = json.loads(result.stdout)
    assert result.returncode == 3
    assert not report["ok"]
    assert [problem for problem in report["problems"] if str(tmp_path) in problem and "model_index.json" in problem]
    assert report["checks"]["python"].startswith("CPython 3.")


def test_doctor_refuses_pickles_and_finds_changed_bytes(toy_model: Path, tmp_path: Path) -> None:
    import shutil

    from gen.core.files import staged_folder
    from gen.doctor import _model

    with staged_folder(tmp_path / "model") as staged:
        shutil.copytree(toy_model, staged, dirs_exist_ok=True)
    folder = tmp_path / "model"
    assert _model(folder).problem is None
    config = folder / "unet" / "config.json"
    config.write_text(config.read_text().replace("16", "17", 1))
    assert "unet/config.json" in str(_model(folder).problem)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(BadInput, match=r"unet/diffusion_pytorch_model\.bin is a pickle"):
        _model(folder)


def test_doctor_remarks_on_a_pickle_beside_safetensors(toy_model: Path, tmp_path: Path) -> None:
    import shutil

    from gen.doctor import _model

    folder = shutil.copytree(toy_model, tmp_path / "model")
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    found = _model(folder)
    assert found.problem is None
    assert "holds pickles, which are never loaded: unet/diffusion_pytorch_model.bin" in found.detail


def test_clean_keeps_what_jobs_wrote() -> None:
    recipe = (Path(__file__).parents[1] / "Makefile").read_text().partition("\nclean:\n")[2]
    assert "rm -rf" in recipe
    assert {"runs", "outputs"}.isdisjoint(recipe.split())


def test_doctor_passes_a_whole_model(toy_model: Path) -> None:
    result = run_gen("doctor", "--json", "--model", str(toy_model))
    report = json.loads(result.stdout)
    assert (report["problems"], result.returncode) == ([], 0)
    assert "self-test" in report["checks"]


@pytest.mark.parametrize(
    ("module", "function", "patience_s", "detail", "words"),
    [("os", "abort", 120, "died", "SIGABRT on"), ("signal", "pause", 1, "hangs", "within 1 s on")],
)
def test_doctor_names_the_processor_on_which_a_trial_does_not_end_well(
    module: str, function: str, patience_s: float, detail: str, words: str
) -> None:
    from gen.doctor import _in_child, _processor

    check = _in_child("training", module, function, patience_s=patience_s)
    assert (check.name, check.detail) == ("training", detail)
    assert f"{words} {_processor()}" in str(check.problem)


def test_the_help_cuts_no_sentence() -> None:
    listed = "".join(CliRunner().invoke(cli.gen, ["--help"], obj={}).output.split())  # lines end at hyphens too
    for name in cli.gen.list_commands(click.Context(cli.gen)):
        command = cli.gen.get_command(click.Context(cli.gen), name)
        assert command is not None
        first = " ".join((command.help or "").split("\n\n")[0].split()).split(". ")[0].rstrip(".")
        assert "".join(first.split()) in listed
    assert "..." not in listed.replace("COMMAND[ARGS]...", "")


def test_versions_that_drifted_from_the_tested_set_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from gen import doctor

    versions = {"torch": "2.15.0", "numpy": doctor._version("numpy")}
    monkeypatch.setattr(doctor, "_version", versions.get)
    drifted = doctor._pins()
    assert drifted.problem is None
    assert "1 drifted from the tested set: torch 2.15.0 (tested: " in drifted.detail
    assert "constraints.txt" in drifted.detail
    monkeypatch.setattr(doctor, "_version", {"numpy": versions["numpy"]}.get)
    assert doctor._pins().detail == "all 1 packages have the tested versions"


def test_the_file_of_tested_versions_is_the_one_that_hints_to_install_name() -> None:
    from gen.core.bundled import pip_install
    from gen.doctor import doctor

    [path] = CliRunner().invoke(doctor, ["--pins"], catch_exceptions=False).stdout.splitlines()
    assert f" -c {path} " in pip_install("datasets")
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    pinned = [line for line in lines if line and not line.startswith("#")]
    assert "numpy" in {line.partition("==")[0] for line in pinned}
