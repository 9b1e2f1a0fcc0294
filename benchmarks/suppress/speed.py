"""Seconds and memory of bone suppression by the size of the image, one process a size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click

from benchmarks import common

CHILD = """
import json, resource, sys, time
import numpy as np, torch
torch.set_num_threads(int(sys.argv[2]))
from augment.suppress.folder import load_suppressor
from augment.suppress.separate import separate
folder, side, repeats = sys.argv[1] or None, int(sys.argv[3]), int(sys.argv[4])
suppressor = load_suppressor(folder)
image = np.random.default_rng(0).random((side, side), np.float32)
separate(suppressor, image)
seconds, work = [], []
for _ in range(repeats):
    start, before = time.perf_counter(), time.process_time()
    separate(suppressor, image)
    seconds.append(time.perf_counter() - start)
    work.append(time.process_time() - before)
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps([sorted(seconds), sorted(work)[len(work) // 2], memory]))
"""


@click.command()
@click.option("--model", type=click.Path(path_type=Path), help="Bone suppression [default: the bundled].")
@click.option("--side", "sides", multiple=True, type=int, default=(256, 512, 1024, 2048, 3000), show_default=True)
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True)
def main(model: Path | None, sides: tuple[int, ...], threads: int, repeats: int) -> None:
    """Time bone suppression of square images."""
    print(common.processor())
    rows = []
    for side in sides:
        command = [sys.executable, "-c", CHILD, str(model or ""), str(threads), str(side), str(repeats)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        seconds, work, memory = json.loads(said)
        spread = f"{seconds[len(seconds) // 2]:.2f} [{seconds[0]:.2f}, {seconds[-1]:.2f}]"
        rows.append([f"{side}²", spread, f"{work:.2f}", f"{memory:.2f}"])
    header = ["image", "seconds, median [least, most]", "CPU seconds, median", "peak memory, GB"]
    common.print_table(header, rows)


if __name__ == "__main__":
    common.launch(main)
