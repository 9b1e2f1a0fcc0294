"""What the number of CPU threads costs and changes: `gen sample` beside busy cores, and the same pixels or others.

(a) seconds of the whole of `gen sample -n 4`, alone and beside one and two cores that this script keeps busy: with two
threads that spin while they wait, as before, and with as many as are free, which sleep. Before each run it waits until
the load of the machine is what the busy cores alone make, so it wants a machine with nothing else to do. (b) how many
8-bit images differ between one thread and two, by back end and number format, and by how much.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import click
import numpy as np

from benchmarks import common
from gen.core.errors import GenError
from gen.images.reader import read_radiograph

IMAGES = 4
BUSY = (0, 1, 2)
PATIENCE_S = 600
NEAR = 0.4  # of the load that the busy cores make
SETTINGS = tuple((backend, dtype) for backend in ("torch", "openvino") for dtype in ("bfloat16", "float32"))
PROMPT = "63 year old female. AP view. Pleural effusion."
# libgomp's own number of turns before a thread that waits goes to sleep, where nobody names a policy.
SPINNING = {"GOMP_SPINCOUNT": "300000"}


def sampled(out: Path, n: int, *options: str, environment: Mapping[str, str] | None = None) -> list[Path]:
    """The files of `gen sample` in a process of its own, whose threads are told by ``options`` alone."""
    command = [sys.executable, "-m", "gen.cli", "sample", "--prompt", PROMPT, "-n", str(n), "--out", str(out)]
    own = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "MKL_", "GOMP_"))}
    done = subprocess.run(
        [*command, "--device", "cpu", "--quiet", *options],
        capture_output=True,
        text=True,
        env=own | {"HF_HUB_OFFLINE": "1"} | dict(environment or {}),
        check=False,
    )
    if done.returncode:
        raise click.ClickException(f"gen sample ended with {done.returncode}: {done.stderr[-500:]}")
    return [Path(line) for line in done.stdout.splitlines()]


@contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """Inside, ``count`` processes compute for nothing."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def settle(busy: int) -> None:
    """Wait until the load of the last minute is that of ``busy`` cores; GenError where other work keeps it away."""
    deadline = time.monotonic() + PATIENCE_S
    while abs(os.getloadavg()[0] - busy) > NEAR:
        if time.monotonic() > deadline:
            raise GenError(
                f"the load is {os.getloadavg()[0]:.1f} beside {busy} busy core(s) after {PATIENCE_S} s",
                hint="run this on a machine with nothing else to do",
            )
        time.sleep(1)


def beside(busy: int, backend: str, repeats: int, place: Path) -> tuple[dict[str, list[float]], list[str]]:
    """(a): seconds with two spinning threads and with chosen ones, and how the latter ran, by the files themselves."""
    settings = ("--backend", backend)
    chosen: list[str] = []

    def before() -> None:
        sampled(place / "before", IMAGES, *settings, "--threads", "2", environment=SPINNING)

    def after() -> None:
        paths = sampled(place / "after", IMAGES, *settings)
        chosen.append(str(read_radiograph(paths[0]).provenance["network"]))

    seconds: dict[str, list[float]] = {"two threads": [], "chosen threads": []}
    with busy_cores(busy):
        for _ in range(repeats):
            for name, work in (("two threads", before), ("chosen threads", after)):
                settle(busy)
                seconds[name].append(common.timed(work)[0])
    return seconds, chosen


def differences(one: Sequence[np.ndarray], two: Sequence[np.ndarray]) -> dict[str, float]:
    """Of pairs of uint8 images (H, W): how many are not alike, their share of pixels that differ, the most levels."""
    off = [np.abs(a.astype(np.int16) - b) for a, b in zip(one, two, strict=True)]
    return {
        "images": len(off),
        "images that differ": sum(bool(each.any()) for each in off),
        "pixels that differ": float(np.mean([each > 0 for each in off])),
        "most levels": int(max(each.max() for each in off)),
    }


def pixels(backend: str, dtype: str, n: int, place: Path) -> dict[str, float]:
    """(b): `differences` between one thread and two."""
    images = []
    for threads in ("1", "2"):
        out = place / f"{backend}-{dtype}-{threads}"
        paths = sampled(out, n, "--backend", backend, "--dtype", dtype, "--threads", threads)
        images.append(common.as_u8([read_radiograph(path) for path in paths]))
    return differences(*images)


def _shown(value: float) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)


@click.command(help=__doc__)
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True, help="Of (a).")
@click.option("-n", "count", type=click.IntRange(1), default=8, show_default=True, help="Images of (b).")
@click.option("--only", type=click.Choice(["seconds", "pixels"]), help="Only (a), or only (b).")
@common.json_option
def main(repeats: int, count: int, only: str | None, json_file: Path | None) -> None:
    print(common.processor())
    found: dict[str, object] = {"processor": common.processor()}
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if only != "pixels":
            for backend in ("torch", "openvino"):
                sampled(place / "warm", IMAGES, "--backend", backend)  # which converts and compiles what is kept
                for busy in BUSY:
                    seconds, ran = beside(busy, backend, repeats, place)
                    before, after = (median(of) for of in seconds.values())
                    cells = (f"{median(of):.1f} ({min(of):.1f} to {max(of):.1f})" for of in seconds.values())
                    rows.append([backend, busy, *cells, f"{before / after:.2f}", "; ".join(sorted(set(ran)))])
                    found[f"{backend}, {busy} busy"] = {**seconds, "ran": ran}
            print(
                f"\n(a) seconds of `gen sample -n {IMAGES}`, medians of {repeats} alternating rounds (least to most)\n"
            )
            common.print_table(["", "busy cores", "two threads", "chosen threads", "ratio", "chosen"], rows)
        if only != "seconds":
            alike = {setting: pixels(*setting, count, place) for setting in SETTINGS}
            print("\n(b) 8-bit images with one thread and with two\n")
            rows = [[" ".join(setting), *map(_shown, of.values())] for setting, of in alike.items()]
            common.print_table(["", *next(iter(alike.values()))], rows)
            found["pixels"] = {" ".join(setting): of for setting, of in alike.items()}
    common.save_json(json_file, found)


if __name__ == "__main__":
    common.launch(main)
