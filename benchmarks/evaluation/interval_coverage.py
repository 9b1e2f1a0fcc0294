"""Do the intervals of the fidelity figures cover as often as they say? Many pairs of sets of known distribution.

Each pair is drawn anew from two normal distributions, with one image or three alike to a patient, and compared as
`gen evaluate` does. An interval covers where it holds the figure's mean over all pairs, its expectation at this N.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks import common
from gen.evaluate.fidelity import METRICS, compare
from gen.statistics.intervals import proportion

SIZE = 6  # numbers of a feature
LIKENESS = 0.8  # standard deviation that the images of a patient share, of 1
CASES = {"one distribution": (0.0, 1), "apart": (0.4, 1), "apart, three images a patient": (0.4, 3)}


def drawn(seed: tuple[int, int], count: int, per_patient: int, shift: float) -> np.ndarray:
    """Features (count, SIZE) about ``shift`` of spread 1, ``per_patient`` of them to a patient."""
    generator = np.random.default_rng(seed)
    patients = np.repeat(generator.standard_normal((count // per_patient, SIZE)), per_patient, 0)
    own = generator.standard_normal((count // per_patient * per_patient, SIZE))
    return shift + (LIKENESS * patients + (1 - LIKENESS**2) ** 0.5 * own if per_patient > 1 else own)


def covered(count: int, runs: int, shift: float, per_patient: int) -> dict[str, dict[str, Any]]:
    """Of each metric the share of intervals that cover [95 %], and their width: 1 is what the figure's spread asks."""
    units = [str(k // per_patient) for k in range(count // per_patient * per_patient)]
    found = np.empty((runs, len(METRICS), 3))
    for run in range(runs):
        result = compare(
            drawn((run, 0), count, per_patient, 0), units, drawn((run, 1), count, per_patient, shift), units
        )
        figures = [getattr(result, name) for name in METRICS]
        found[run] = [(figure.value, figure.low, figure.high) for figure in figures]
    table = {}
    for name, (values, low, high) in zip(METRICS, np.moveaxis(found, 0, 2), strict=True):
        hits = proportion(int(((low <= values.mean()) & (values.mean() <= high)).sum()), runs)
        wide = float((high - low).mean() / (2 * 1.96 * values.std()))
        table[name] = {"coverage": hits, "width": wide}
    return table


@click.command(help=__doc__)
@click.option("-n", "count", type=click.IntRange(12), default=60, show_default=True, help="Images a set.")
@click.option("--runs", type=click.IntRange(20), default=300, show_default=True, help="Pairs of sets a case.")
@common.json_option
def main(count: int, runs: int, json_file: Path | None) -> None:
    found = {case: covered(count, runs, shift, per_patient) for case, (shift, per_patient) in CASES.items()}
    print(f"Share of 95 % intervals that cover [95 %], of {runs} pairs of {count} images; after it how wide they are\n")
    table = [
        [name, *(f"{of[name]['coverage'].text()}, {of[name]['width']:.2f}" for of in found.values())]
        for name in METRICS
    ]
    common.print_table(["", *CASES], table)
    common.save_json(json_file, {"n": count, "runs": runs, "cases": found})


if __name__ == "__main__":
    common.launch(main)
