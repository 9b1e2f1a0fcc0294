"""Do the evaluation's figures climb with damage, and what does it cost: a sanity ladder, and time and memory by N.

The ladder compares half A of the real patients with half B as it is, mildly blurred, with noise added, and replaced by
noise; a figure that does not get worse from rung to rung measures nothing. The cost is that of the command on a set of
real images and as many others (real ones with a little noise, two to a prompt), both PNG files.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import numpy as np
from common import WORK, data_option, json_option, launch, print_table, save_json
from PIL import Image

from gen.core.errors import GenError
from gen.core.manifest import write_manifest
from gen.data.texts import texts_of
from gen.evaluate.extractors import embed, extractor_of
from gen.evaluate.fidelity import LOWER_IS_BETTER, METRICS, Comparison, compare, halves
from gen.evaluate.images import ImageSet, read_images

BLUR, NOISE = 0.5, 0.02  # standard deviations: pixels of 256 a side, and parts of the range
RUNGS = ("real half", f"blurred, {BLUR} px", f"noise, {NOISE:.0%}", "noise images")


def damaged(levels: np.ndarray) -> dict[str, np.ndarray]:
    """The rungs of the ladder, each uint8 (N, H, W); made in blocks, so that few are in memory as floats."""
    from scipy.ndimage import gaussian_filter

    generator = np.random.default_rng(0)
    rungs: dict[str, list[np.ndarray]] = {name: [] for name in RUNGS}
    for start in range(0, len(levels), 64):
        image = np.asarray(levels[start : start + 64], np.float32)
        noise = generator.standard_normal(image.shape, dtype=np.float32)
        whole = image.mean() + image.std() * generator.standard_normal(image.shape, dtype=np.float32)
        for name, rung in zip(
            RUNGS, (image, gaussian_filter(image, (0, BLUR, BLUR)), image + 255 * NOISE * noise, whole), strict=True
        ):
            rungs[name].append(np.rint(rung).clip(0, 255).astype(np.uint8))
    return {name: np.concatenate(parts) for name, parts in rungs.items()}


def climb(real: ImageSet, extractor: str, n: int, cache: Path) -> dict[str, Comparison]:
    """Each rung of half B against half A, ``n`` images each."""
    features = embed(real.levels, extractor, cache)
    units = np.asarray(real.units)
    a, b = (half[:n] for half in halves(real.units))
    return {
        name: compare(features[a], units[a], embed(levels, extractor, cache), units[b])
        for name, levels in damaged(real.levels[b]).items()
    }


def in_order(rungs: dict[str, Comparison], metric: str) -> bool:
    """Whether ``metric`` gets worse from rung to rung."""
    sign = 1 if metric in LOWER_IS_BETTER else -1
    values = [sign * getattr(rung, metric).value for rung in rungs.values()]
    return all(before < after for before, after in pairwise(values))


def write_stand_ins(images: ImageSet, chosen: np.ndarray, folder: Path, synthetic: bool) -> None:
    """A data set in ``folder`` of ``chosen`` images; as ``synthetic`` ones, two noisy ones of every other prompt."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(1)
    rows = [images.rows[index] for index in chosen]
    if synthetic:
        rows = [rows[k - k % 2] for k in range(len(rows))]
    prompts = texts_of(rows, "study", 0, 0).fixed()
    listed = []
    for k, (index, row, prompt) in enumerate(zip(chosen, rows, prompts, strict=True)):
        levels = images.levels[index]
        if synthetic:
            noise = 0.01 * 255 * generator.standard_normal(levels.shape, dtype=np.float32)
            levels, row = np.rint(levels + noise).clip(0, 255).astype(np.uint8), replace(row, prompt=prompt)
            row = replace(row, source="synthetic:stand-in", patient_id=f"stand-in-{k}")
        Image.fromarray(levels).save(folder / f"{k}.png")
        listed.append(replace(row, file=folder / f"{k}.png", width=None, height=None, sha256="", split=None))
    write_manifest(folder, listed)


def run(real: Path, synthetic: Path, out: Path, cache: Path) -> dict[str, float]:
    """Seconds on the clock and of processors, and the peak of memory in MB, of `gen evaluate` in a fresh process."""
    # Its own peak, from /proc: what wait4 tells counts the memory of this process before the fork too.
    peak = "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    code = f"from gen.evaluate.cli import evaluate; evaluate(standalone_mode=False); {peak}"
    command = [sys.executable, "-c", code, "--real", real, "--synthetic", synthetic, "--out", out, "--quiet"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    start = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), env=environment, stdout=subprocess.PIPE, text=True)
    said = process.stdout.read() if process.stdout else ""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise GenError(f"gen evaluate failed on {real} and {synthetic}")
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_mb": int(said.split()[-1]) / 1024,
    }


@click.command(help=__doc__)
@data_option
@click.option("-n", "count", type=click.IntRange(64), default=500, show_default=True, help="Images a half.")
@click.option("--extractor", "specs", multiple=True, default=("texture", "random"), show_default=True)
@click.option("--cost", "sizes", type=int, multiple=True, default=(250, 1000), show_default=True, help="Images a set.")
@json_option
def main(data: Path, count: int, specs: tuple[str, ...], sizes: tuple[int, ...], json_file: Path | None) -> None:
    cache = WORK / "evaluation"
    real = read_images(data, cache=cache)
    count = min(count, *(len(half) for half in halves(real.units)))
    found: dict[str, Any] = {"n": count, "ladder": {}, "cost": []}
    for spec in specs:
        rungs = climb(real, spec, count, cache)
        print(f"\n{spec}: {extractor_of(spec).note}. {count} images a half, values [95 %]\n")
        table = [[name, *(getattr(rung, m).text() for m in METRICS)] for name, rung in rungs.items()]
        order = {metric: in_order(rungs, metric) for metric in METRICS}
        print_table(["", *METRICS], [*table, ["in order", *("yes" if order[m] else "NO" for m in METRICS)]])
        found["ladder"][spec] = {
            name: {m: getattr(rung, m).as_dict() for m in METRICS} for name, rung in rungs.items()
        } | {"in order": order}

    print("\n`gen evaluate --real ... --synthetic ...` of N + N images at 256 x 256, start of Python included\n")
    table = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as place:
            order = np.random.default_rng(0).permutation(len(real.rows))
            size = min(size, len(order) // 2)
            folders = [Path(place) / name for name in ("real", "synthetic")]
            for folder, chosen in zip(folders, (order[:size], order[size : 2 * size]), strict=True):
                write_stand_ins(real, chosen, folder, folder.name == "synthetic")
            for label in ("first", "again, from the cache"):
                cost = run(*folders, Path(place) / "report", Path(place) / "cache")
                found["cost"].append({"n": size, "run": label, **cost})
                table.append([size, label, *(f"{value:.0f}" for value in cost.values())])
    print_table(["N", "run", "time, s", "CPU, s", "peak memory, MB"], table)
    save_json(json_file, found)


if __name__ == "__main__":
    launch(main)
