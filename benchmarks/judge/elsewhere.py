"""The judge on sources that it never saw: trained without one, measured on all images of that one.

Train them first, one a source, about 15 minutes each on one core:

    gen train judge configs/judge.yaml leave_out=[SOURCE] out=runs/judge-without-SOURCE

Beside each figure stands that of the bundled judge, which learnt from the source, on the source's test images. Where a
source knows one sort of image only (all are children, all are AP), the figure is the share that is called so.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from benchmarks import common
from gen.core.config import load_config
from gen.core.errors import BadInput
from gen.core.manifest import Row
from gen.data.split import patient_of
from gen.images.reader import read_radiograph
from gen.judge.config import JudgeConfig
from gen.judge.judge import Judge, load_judge
from gen.judge.labels import targets_of
from gen.judge.measure import ENOUGH
from gen.judge.network import PATIENT
from gen.statistics.intervals import Figure, bootstrap
from gen.statistics.scores import auroc

RUNS = Path("runs")


def figures_of(judge: Judge, rows: Sequence[Row], complete: Sequence[str]) -> dict[str, Figure]:
    """By what is told: AUROC, or where all images are of one sort the share that is called so; and the age error."""
    seen = judge.read([read_radiograph(row.file).pixels for row in rows])
    patients = [patient_of(row) for row in rows]
    targets = targets_of(rows, judge.findings, complete)
    scores = np.concatenate([seen.findings, np.stack([seen.female, seen.ap, seen.child], 1)], 1)
    found = {}
    for j, name in enumerate([*judge.findings, *PATIENT]):
        known = np.flatnonzero(~np.isnan(targets.binary[:, j]))
        labels, score = targets.binary[known, j], scores[known, j]
        units = [patients[i] for i in known]
        one_sort = name in PATIENT and len(known) >= ENOUGH and len(set(labels)) == 1
        if one_sort:
            right = (score >= 0.5) == labels
            found[f"{name if labels[0] else 'not ' + name}: called so"] = bootstrap(units, lambda i: right[i].mean())  # noqa: B023
        elif min((labels == 1).sum(), (labels == 0).sum()) >= ENOUGH:
            found[f"{name}: AUROC"] = bootstrap(units, lambda i: auroc(score[i], labels[i]))  # noqa: B023
    known = np.flatnonzero(~np.isnan(targets.age))
    if len(known) >= ENOUGH:
        error = np.abs(seen.age - targets.age)[known]
        found["age: mean error, years"] = bootstrap([patients[i] for i in known], lambda i: error[i].mean())
    return found


@click.command(help=__doc__)
@common.data_option
@common.json_option
def main(data: Path, json_file: Path | None) -> None:
    complete = load_config(JudgeConfig, Path("configs/judge.yaml"), []).complete
    splits = common.read_splits(data)
    rows = [row for split in splits.values() for row in split]
    bundled = load_judge(device="cpu")
    table, figures = [], {}
    for source in sorted({row.source for row in rows}):
        folder = RUNS / f"judge-without-{source}" / "judge"
        if not folder.is_dir():
            continue
        images = [row for row in rows if row.source == source]
        own = [row for row in splits["test"] if row.source == source]
        unseen = figures_of(load_judge(folder, device="cpu"), images, complete)
        native = figures_of(bundled, own, complete)
        for what, figure in unseen.items():
            beside = native[what].text(2) if what in native else ""
            table.append([source, what, f"{figure.text(2)}, {figure.n} images", beside])
        figures[source] = unseen
    if not figures:
        raise BadInput(f"no judge in {RUNS}/judge-without-SOURCE/judge", hint="train them first, see --help")
    common.print_table(
        ["source, unseen", "what", "trained without it, all its images [95 %]", "with it, test images"], table
    )
    common.save_json(json_file, figures)


if __name__ == "__main__":
    common.launch(main)
