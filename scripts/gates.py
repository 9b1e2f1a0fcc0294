"""Write JUDGE.csv in augment/dataset/gates/data: scores of held-out images, which the gates' thresholds come from.

Run it again whenever the bundled judge or anatomy network changes; the table of the one before is then of no use.
"""

from __future__ import annotations

from pathlib import Path

import click

from augment.dataset.gates.scores import TABLES, measure, reference_of, unlearnt, write_table
from gen.anatomy.folder import load_anatomy
from gen.core.errors import BadInput
from gen.core.manifest import read_manifest
from gen.core.run import derived_seed
from gen.data.sources import COMPLETE
from gen.data.split import split_rows
from gen.judge.judge import load_judge


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default="../shared/data/cxr", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=TABLES)
def write_gates(data: Path, out: Path) -> None:
    """Judge the validation and test images of DATA."""
    judge, anatomy = load_judge(), load_anatomy()
    splits = split_rows(read_manifest(data))
    # In the order of a hash: the order of the data's own table would name the images.
    rows = sorted([*splits["validation"], *splits["test"]], key=lambda row: derived_seed(0, row.sha256))
    if reference_of(judge) is None or len(unlearnt(judge, rows)) < len(rows):
        raise BadInput("the judge has no reference index, or one with held-out images in it", hint="train it again")
    images = measure(judge, rows, COMPLETE, anatomy)
    patients = len({image.patient for image in images})
    path = out / f"{judge.fingerprint}.csv"
    write_table(
        path,
        images,
        f"scores by scripts/gates.py of {len(images)} real images of {patients} patients that {judge.name} "
        f"({judge.fingerprint}) and {anatomy.name} ({anatomy.fingerprint}) did not learn from; sources and licences in "
        "README.md",
    )
    click.echo(path)


if __name__ == "__main__":
    write_gates()
