"""What `gen describe` says of test images, beside what their labels say; and what other rules would have said.

The rules: a finding is said from the threshold of best F1 on; the same, without what the judge was not shown to tell;
and that of `gen describe`: from even odds on, without these. Labels were mined from reports, so they err too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

from benchmarks import common
from gen.core.config import load_config
from gen.evaluate.images import read_images
from gen.judge.config import JudgeConfig
from gen.judge.describe import EVEN, unreliable
from gen.judge.judge import load_judge
from gen.judge.labels import targets_of
from gen.statistics.intervals import Figure, bootstrap

NORMAL = "No Finding"


def figures_of(
    said: np.ndarray, labels: np.ndarray, normal: np.ndarray, patients: tuple[str, ...]
) -> dict[str, Figure]:
    """``said`` bool (N, F), ``labels`` (N, F) of 0, 1 and NaN, both without "No Finding"; ``normal`` bool (N,).

    Each with its 95 % interval, by patient.
    """
    known = ~np.isnan(labels)
    there = labels == 1

    def share(of: np.ndarray, among: np.ndarray) -> Callable[[np.ndarray], float]:
        return lambda chosen: float(of[chosen].sum() / among[chosen].sum()) if among[chosen].any() else float("nan")

    return {
        "findings said an image": bootstrap(patients, lambda chosen: float(said[chosen].sum(1).mean())),
        "of those, there": bootstrap(patients, share(said & there, said & known)),
        "of those there, said": bootstrap(patients, share(said & there, there)),
        "normal images with one": bootstrap(patients, share(said.any(1) & normal, normal)),
    }


@click.command(help=__doc__)
@common.data_option
@common.json_option
def main(data: Path, json_file: Path | None) -> None:
    images = read_images(data, split="test", cache=common.CACHE)
    judge = load_judge()
    seen = judge.read(images.pixels_u8)
    complete = load_config(JudgeConfig, Path("configs/judge.yaml"), []).complete  # sources that name all they have
    labels = targets_of(images.rows, seen.names, complete).binary[:, : len(seen.names)]
    others = [j for j, name in enumerate(seen.names) if name != NORMAL]
    names = [seen.names[j] for j in others]
    normal = labels[:, seen.names.index(NORMAL)] == 1
    thresholds = np.array([judge.calibration.thresholds[name] for name in names])
    told = ~np.isin(names, unreliable(judge.figures))
    likely = seen.findings[:, others]
    rules = {
        "threshold of best F1": likely >= thresholds,
        "the same, if it can be told": (likely >= thresholds) & told,
        "gen describe": (likely >= EVEN) & told,
    }
    found = {rule: figures_of(said, labels[:, others], normal, images.units) for rule, said in rules.items()}
    print(
        f"{len(images.rows)} test images of {len(set(images.units))} patients, "
        f"{int(normal.sum())} of them normal [95 %]"
    )
    print(f"cannot be told: {', '.join(name for name, can in zip(names, told, strict=True) if not can)}\n")
    table = [[rule, *(figure.text(2) for figure in of.values())] for rule, of in found.items()]
    common.print_table(["said", *next(iter(found.values()))], table)
    common.save_json(json_file, {"images": len(images.rows), "rules": found})


if __name__ == "__main__":
    common.launch(main)
