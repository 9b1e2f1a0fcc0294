"""``gen doctor``: what this machine has, what runs on it, and whether the model folder is whole; a line per problem."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import import_module, metadata
from pathlib import Path

import click

from gen import __version__
from gen.core.bundled import PINS, pins, pip_install
from gen.core.errors import EnvironmentLacks, GenError

PACKAGES = (
    *("torch", "torchvision", "diffusers", "transformers", "accelerate", "xformers", "openvino", "gradio", "pydicom"),
    "numpy",
)
NEEDED_GB = 1.0
PATIENCE_S = 300.0  # for a trial in a child process, which takes seconds
_CALMER = "use a GPU or another machine, or set ONEDNN_MAX_CPU_ISA=SSE41 (slower) and run gen doctor again"


@dataclass(frozen=True)
class Check:
    """One thing looked at: ``detail`` says what was found, ``problem`` (None: none) what is wrong and the remedy."""

    name: str
    detail: str
    problem: str | None = None


@click.command()
@click.option("--model", type=click.Path(path_type=Path), help="Model folder [default: the bundled model].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--pins", "only_pins", is_flag=True, help="Print the file of tested versions, for pip install -c; no more."
)
@click.pass_context
def doctor(ctx: click.Context, model: Path | None, as_json: bool, only_pins: bool) -> None:
    """Check this machine and the model.

    Versions, the device and which attention really runs on it, disk space, a tiny training step, the model folder's
    integrity, and a tiny sample. Exits 0 if nothing is wrong, else 3 with a line for each problem on stderr.
    """
    if only_pins:
        click.echo(str(pins()))
        return
    checks = []
    for check in examine(model):
        checks.append(check)
        if not as_json:
            click.echo(f"{check.name:<12} {check.detail}")
    problems = [f"{check.name}: {check.problem}" for check in checks if check.problem]
    if as_json:
        report = {"ok": not problems, "checks": {check.name: check.detail for check in checks}, "problems": problems}
        click.echo(json.dumps(report, indent=2))
    for problem in problems:
        click.echo(f"problem: {problem}", err=True)
    if problems:
        ctx.exit(EnvironmentLacks.exit_code)
    click.echo("no problem found", err=True)


def examine(model: Path | None) -> Iterator[Check]:
    """Yield the checks one by one, in the order in which a cause comes before its consequences."""
    yield _python()
    yield Check("platform", f"{platform.platform()}, {os.cpu_count()} cores, {_processor()}")
    yield Check("packages", ", ".join(f"{name} {_version(name) or '-'}" for name in PACKAGES))
    yield _guarded("pins", _pins)
    for name, look in (("torch", _torch), ("torchvision", _torchvision), ("device", _device), ("disk", _disk)):
        yield _guarded(name, look)
    yield _in_child("training", __name__, "_training")
    whole = _guarded("model", lambda: _model(_folder(model)))
    yield whole
    if whole.problem is None:
        yield _in_child("self-test", __name__, "_self_test", str(_folder(model)))


def _guarded(name: str, look: Callable[[], Check]) -> Check:
    """A check that itself fails is a finding, not the end of the examination."""
    try:
        return look()
    except Exception as error:
        text = str(error) if isinstance(error, GenError) else f"{type(error).__name__}: {error}"
        return Check(name, "failed", " ".join(text.split())[:300])


def _in_child(name: str, module: str, function: str, *arguments: str, patience_s: float = PATIENCE_S) -> Check:
    """What a ``function`` that returns a Check finds in a process of its own, since a faulty kernel kills its process.

    A death by a signal and a hang are problems that name the processor.
    """
    code = "import sys; from gen.doctor import _child; _child(*sys.argv[1:])"
    try:
        ended = subprocess.run(
            [sys.executable, "-c", code, name, module, function, *arguments],
            capture_output=True,
            text=True,
            timeout=patience_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Check(name, "hangs", f"no end within {patience_s:.0f} s on {_processor()}; {_CALMER}")
    if ended.returncode < 0:
        return Check(name, "died", f"{signal.Signals(-ended.returncode).name} on {_processor()}; {_CALMER}")
    if ended.returncode:
        return Check(name, "failed", " ".join(ended.stderr.split())[-300:])
    return Check(**json.loads(ended.stdout.splitlines()[-1]))


def _child(name: str, module: str, function: str, *arguments: str) -> None:
    """The other side of `_in_child`: print the Check as the last line."""
    check = _guarded(name, lambda: getattr(import_module(module), function)(*arguments))
    click.echo(json.dumps(asdict(check)))


def _processor() -> str:
    """Such as "AMD EPYC 7251 8-Core Processor (family 23 model 1, AVX2)"."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return platform.processor() or platform.machine()
    first = info.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    known = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    flags = known.get("flags", "").split()
    best = next((word for flag, word in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "no AVX2")
    if "model name" not in known:
        return platform.machine()
    return f"{known['model name']} (family {known.get('cpu family')} model {known.get('model')}, {best})"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _pins() -> Check:
    """Which packages have another version than the tested one: no problem by itself, and the first thing to look at."""
    lines = PINS.read_text(encoding="utf-8").splitlines()
    tested = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    found = {name: version.partition("+")[0] for name in tested if (version := _version(name)) is not None}
    drifted = [f"{name} {found[name]} (tested: {tested[name]})" for name in found if found[name] != tested[name]]
    if not drifted:
        return Check("pins", f"all {len(found)} packages have the tested versions")
    return Check("pins", f"{len(drifted)} drifted from the tested set: {', '.join(drifted)}; {pip_install('cxr-gen')}")


def _python() -> Check:
    found = f"{platform.python_implementation()} {platform.python_version()} ({sys.executable}), gen {__version__}"
    fits = (3, 11) <= sys.version_info[:2] < (3, 14)
    return Check("python", found, None if fits else "gen needs Python 3.11, 3.12 or 3.13")


def _torch() -> Check:
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    cuda = f"CUDA {torch.version.cuda}, {', '.join(gpus) or 'no GPU found'}" if torch.version.cuda else "no CUDA"
    return Check("torch", f"{torch.__version__}, {cuda}, MPS {'yes' if torch.backends.mps.is_available() else 'no'}")


def _torchvision() -> Check:
    """A torchvision of another build than torch breaks transformers and diffusers with words that mislead."""
    version = _version("torchvision")
    if version is None:
        return Check("torchvision", "not installed, and not needed")
    try:
        import torchvision.ops  # noqa: F401  (its import registers the operators, and that fails)
    except (ImportError, OSError, RuntimeError) as error:
        remedy = "torch and torchvision are of different builds; uninstall torchvision, or install two that match"
        return Check("torchvision", version, f"{' '.join(str(error).split())[:120]}; {remedy}")
    return Check("torchvision", version)


def _device() -> Check:
    from gen.model.device import describe_device, pick_attention, pick_device, pick_dtype, why_not_xformers

    device = pick_device("auto")
    dtype, training = pick_dtype("auto", device), pick_dtype("auto", device, training=True)
    attention = pick_attention("auto", device, dtype)
    detail = f"{describe_device(device, dtype, attention)}; training in {str(training).removeprefix('torch.')}"
    if attention != "xformers":
        detail += f" (xformers: {why_not_xformers(device, dtype)})"
    return Check("device", detail)


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    short = f"{free:.1f} GB are too few for a job; free some, or work in another folder"
    return Check("disk", f"{free:.1f} GB free here", short if free < NEEDED_GB else None)


def _folder(model: Path | None) -> Path:
    if model is not None:
        return model
    from gen.core.bundled import bundled_model

    return bundled_model()


def _model(folder: Path) -> Check:
    from gen.core.files import DIGESTS, verify_folder
    from gen.model.folder import check_model_folder, pickles

    check_model_folder(folder)
    found = [str(path.relative_to(folder)) for path in pickles(folder)]
    remark = f"; holds pickles, which are never loaded: {', '.join(found[:5])}" if found else ""
    if not (folder / DIGESTS).is_file():
        return Check("model", f"{folder}: no {DIGESTS}, so its integrity is unknown{remark}")
    problems = verify_folder(folder)
    verified = "digests differ" if problems else "digests verified"
    return Check("model", f"{folder}: {verified}{remark}", "; ".join(problems[:5]) or None)


def _training() -> Check:
    """A few training steps on the CPU, and on the device that training would take: gradients as in float64."""
    import torch

    from gen.model.cpu import STEPS, gradient_error
    from gen.model.device import pick_device, pick_dtype

    started = time.perf_counter()
    found, wrong = [], []
    for device in dict.fromkeys((torch.device("cpu"), pick_device("auto"))):
        dtype = pick_dtype("auto", device, training=True)
        error = max(gradient_error(device, dtype, channels) for channels in (4, 16))
        label = f"{device} {str(dtype).removeprefix('torch.')}"
        found.append(f"{label}: gradients to {error:.0e}")
        # bfloat16 gives 2e-2; GPUs round factors of float32 to TF32.
        if not error < (1e-3 if (device.type, dtype) == ("cpu", torch.float32) else 0.1):
            wrong.append(f"{label} computes wrong gradients on {_processor()}; {_CALMER}")
    took = f"{time.perf_counter() - started:.1f} s"
    return Check("training", f"{', '.join(found)}; {STEPS} steps each, {took}", "; ".join(wrong) or None)


def _self_test(folder: str) -> Check:
    """Two steps of sampling: finite pixels within [0, 1] that are not all the same."""
    import numpy as np

    from gen.model.sampling.pipeline import load_pipeline, sample

    started = time.perf_counter()
    pipeline = load_pipeline(folder, device="auto", dtype="auto", attention="auto")
    loaded = time.perf_counter()
    [radiograph] = sample(pipeline, ["PA view. No finding."], [0], steps=2)
    pixels = radiograph.pixels
    sound = bool(np.isfinite(pixels).all()) and 0 <= pixels.min() < pixels.max() <= 1
    took = f"loaded in {loaded - started:.1f} s, 2 steps in {time.perf_counter() - loaded:.1f} s"
    return Check(
        "self-test",
        f"{pixels.shape[0]}x{pixels.shape[1]}, {took}",
        None if sound else "the sampled image is constant or not finite",
    )
