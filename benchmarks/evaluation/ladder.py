"""Do the evaluation's figures climb with damage, and what does it cost: a sanity ladder, and time and memory by N.

The ladder compares half A of the real patients with half B as it is, mildly blurred, with noise added, and replaced by
noise; a figure that does not get worse from rung to rung measures nothing. Another rung deals the labels of test images
out anew: fidelity must not notice, and agreement with what is said must break. The cost is that of the command on two
sets of PNG files: real images with a little noise, which come again where N is larger than their number; in the second
set two to a prompt.
"""

from __future__ import annotations

import os
import re
import resource
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
from PIL import Image

from benchmarks import common
from gen.core.errors import GenError
from gen.core.manifest import write_manifest
from gen.evaluate.alignment import Side, alignment
from gen.evaluate.extractors import embed, extractor_of
from gen.evaluate.fidelity import LOWER_IS_BETTER, METRICS, Comparison, compare, fidelity, halves
from gen.evaluate.images import ImageSet, read_images
from gen.judge.judge import load_judge
from gen.statistics.intervals import Figure

# The columns of a row that say something of its image; notes may say that it is a child's.
SAID = ("age", "sex", "race", "view", "findings", "absent", "uncertain", "study", "prompt", "notes")
AGREEMENT = ("mean_auroc", "sex", "view", "child", "age_error")
DEALT = 20  # times that the labels are shuffled
BLUR, NOISE = 0.5, 0.02  # standard deviations: pixels of 256 a side, and parts of the range
RUNGS = ("real half", f"blurred, {BLUR} px", f"noise, {NOISE:.0%}", "noise images")


def damaged(pixels_u8: np.ndarray) -> dict[str, np.ndarray]:
    """The rungs of the ladder, each uint8 (N, H, W); made in blocks, so that few are in memory as floats."""
    from scipy.ndimage import gaussian_filter

    generator = np.random.default_rng(0)
    rungs: dict[str, list[np.ndarray]] = {name: [] for name in RUNGS}
    for start in range(0, len(pixels_u8), 64):
        image = np.asarray(pixels_u8[start : start + 64], np.float32)
        noise = generator.standard_normal(image.shape, dtype=np.float32)
        whole = image.mean() + image.std() * generator.standard_normal(image.shape, dtype=np.float32)
        for name, rung in zip(
            RUNGS, (image, gaussian_filter(image, (0, BLUR, BLUR)), image + 255 * NOISE * noise, whole), strict=True
        ):
            rungs[name].append(np.rint(rung).clip(0, 255).astype(np.uint8))
    return {name: np.concatenate(parts) for name, parts in rungs.items()}


def climb(real: ImageSet, extractor: str, n: int, cache: Path) -> dict[str, Comparison]:
    """Each rung of half B against half A, ``n`` images each."""
    features = embed(real.pixels_u8, extractor, cache)
    units = np.asarray(real.units)
    a, b = (half[:n] for half in halves(real.units))
    return {
        name: compare(features[a], units[a], embed(pixels_u8, extractor, cache), units[b])
        for name, pixels_u8 in damaged(real.pixels_u8[b]).items()
    }


def in_order(rungs: dict[str, Comparison], metric: str) -> bool:
    """Whether ``metric`` gets worse from rung to rung."""
    sign = 1 if metric in LOWER_IS_BETTER else -1
    values = [sign * getattr(rung, metric).value for rung in rungs.values()]
    return all(before < after for before, after in pairwise(values))


def shuffled(images: ImageSet, seed: int) -> ImageSet:
    """``images`` with what is said of them dealt out anew: pixels, files and patients stay where they are."""
    order = np.random.default_rng(seed).permutation(len(images.rows))
    told = [{name: getattr(images.rows[k], name) for name in SAID} for k in order]
    return replace(images, rows=tuple(replace(row, **said) for row, said in zip(images.rows, told, strict=True)))


def deal_anew(data: Path, specs: tuple[str, ...], cache: Path) -> tuple[dict[str, dict[str, Figure]], dict[str, bool]]:
    """Agreement of test images with their labels and with shuffled ones (mean, least and most of
    `DEALT`) in the bundled judge's eyes; and by extractor whether all figures of fidelity beside the validation images
    are the same for both, to the last bit."""
    real, images = (read_images(data, split=split, cache=cache) for split in ("validation", "test"))
    judge = load_judge()
    beside = Side(real.rows, real.units, judge.read(real.pixels_u8))
    seen, thresholds = judge.read(images.pixels_u8), judge.calibration.thresholds

    def agreement(images: ImageSet) -> dict[str, Figure]:
        found = alignment(Side(images.rows, images.units, seen), beside, thresholds)
        return {name: getattr(found, name).synthetic for name in AGREEMENT}

    # All findings are told from the same images without any, so what one dealing does to these moves all of them.
    dealt = [agreement(shuffled(images, seed)) for seed in range(DEALT)]
    own, values = agreement(images), {name: np.array([each[name].value for each in dealt]) for name in AGREEMENT}
    rows = {
        "labels of their own": own,
        "shuffled labels": {
            n: Figure(float(v.mean()), float(v.min()), float(v.max()), DEALT) for n, v in values.items()
        },
    }
    same = {
        spec: fidelity(real, images, spec, cache).synthetic
        == fidelity(real, shuffled(images, 0), spec, cache).synthetic
        for spec in specs
    }
    return rows, same


def write_stand_ins(images: ImageSet, chosen: np.ndarray, folder: Path, synthetic: bool) -> None:
    """A data set in ``folder`` of ``chosen`` images with a little noise, by which an image that is chosen twice is no
    duplicate; as ``synthetic`` ones, two of every other prompt."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(int(synthetic))
    rows = [images.rows[index] for index in chosen]
    if synthetic:
        rows = [rows[k - k % 2] for k in range(len(rows))]
    prompts = common.prompts_of(rows)
    listed = []
    for k, (index, row, prompt) in enumerate(zip(chosen, rows, prompts, strict=True)):
        noise = 0.01 * 255 * generator.standard_normal(images.pixels_u8.shape[1:], dtype=np.float32)
        pixels_u8 = np.rint(images.pixels_u8[index] + noise).clip(0, 255).astype(np.uint8)
        if synthetic:
            row = replace(row, prompt=prompt, source="synthetic:stand-in", patient_id=f"stand-in-{k}")
        Image.fromarray(pixels_u8).save(folder / f"{k}.png")
        listed.append(replace(row, file=folder / f"{k}.png", width=None, height=None, sha256="", split=None))
    write_manifest(folder, listed)


def run(real: Path, synthetic: Path, out: Path, cache: Path) -> dict[str, float]:
    """Seconds on the clock and of processors, and peaks of memory in MB, of `gen evaluate` in a fresh process.

    ``peak_mb`` counts the pages of mapped files (libraries, and the pixels of the sets) that happen to be in memory and
    that the system takes back when it needs them; ``own_mb`` is the process's own memory.
    """
    code = "from gen.evaluate.cli import evaluate; evaluate()"
    command = [sys.executable, "-c", code, "--real", real, "--synthetic", synthetic, "--out", out, "--quiet"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(list(map(str, command)), env=environment, stdout=subprocess.DEVNULL)
    peaks = dict.fromkeys(("VmHWM", "RssAnon"), 0)
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        for name in peaks:
            peaks[name] = max([peaks[name], *map(int, re.findall(rf"{name}:\s+(\d+)", status))])
        time.sleep(0.02)
    if process.returncode:
        raise GenError(f"gen evaluate failed on {real} and {synthetic}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_mb": peaks["VmHWM"] / 1024,
        "own_mb": peaks["RssAnon"] / 1024,
    }


@click.command(help=__doc__)
@common.data_option
@click.option("-n", "count", type=click.IntRange(64), default=500, show_default=True, help="Images a half.")
@click.option(
    "--extractor", "specs", multiple=True, default=("judge", "texture", "random", "layout"), show_default=True
)
@click.option(
    "--cost",
    "sizes",
    type=int,
    multiple=True,
    default=(250, 1000, 2500),
    show_default=True,
    help="Images a set; 0: none.",
)
@common.json_option
def main(data: Path, count: int, specs: tuple[str, ...], sizes: tuple[int, ...], json_file: Path | None) -> None:
    cache = common.CACHE
    real = read_images(data, cache=cache)
    count = min(count, *(len(half) for half in halves(real.units)))
    found: dict[str, Any] = {"n": count, "ladder": {}, "cost": []}
    for spec in specs:
        rungs = climb(real, spec, count, cache)
        print(f"\n{spec}: {extractor_of(spec).note}. {count} images a half, values [95 %]\n")
        table = [[name, *(getattr(rung, m).text() for m in METRICS)] for name, rung in rungs.items()]
        order = {metric: in_order(rungs, metric) for metric in METRICS}
        common.print_table(["", *METRICS], [*table, ["in order", *("yes" if order[m] else "NO" for m in METRICS)]])
        found["ladder"][spec] = {**rungs, "in order": order}

    agreement, same = deal_anew(data, specs, cache)
    print(
        "\nTest images as the bundled judge sees them: under their own labels [95 %], and under each other's (mean "
        f"[least, most] of {DEALT} dealings)\n"
    )
    common.print_table(["", *AGREEMENT], [[name, *(of[m].text(2) for m in of)] for name, of in agreement.items()])
    unmoved = ", ".join(f"{spec}: {'yes' if equal else 'NO'}" for spec, equal in same.items())
    print(f"\nEvery figure of fidelity the same for both, to the last bit: {unmoved}")
    found["shuffled"] = {"agreement": agreement, "fidelity the same": same}

    print("\n`gen evaluate --real ... --synthetic ...` of N + N images at 256 x 256, start of Python included\n")
    table = []
    for size in filter(None, sizes):
        with tempfile.TemporaryDirectory() as place:
            order = np.resize(np.random.default_rng(0).permutation(len(real.rows)), 2 * size)
            folders = [Path(place) / name for name in ("real", "synthetic")]
            for folder, chosen in zip(folders, (order[:size], order[size:]), strict=True):
                write_stand_ins(real, chosen, folder, folder.name == "synthetic")
            for label in ("first", "again, from the cache"):
                cost = run(*folders, Path(place) / "report", Path(place) / "cache")
                found["cost"].append({"n": size, "run": label, **cost})
                table.append([size, label, *(f"{value:.0f}" for value in cost.values())])
    common.print_table(["N", "run", "time, s", "CPU, s", "peak memory, MB", "of it own, MB"], table)
    common.save_json(json_file, found)


if __name__ == "__main__":
    common.launch(main)
