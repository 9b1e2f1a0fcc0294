"""Write JUDGE.csv in augment/dataset/gates/data: scores of held-out images, which the gates' thresholds come from.

Each image is judged in all framings that a data set may show (`gen.judge.framings`), and has a line for each. Run it
again whenever the bundled judge, its index or the anatomy network changes; the table before is then of
no use.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

import click

from augment.dataset.gates.calibration import RealImage
from augment.dataset.gates.scores import TABLES, measure, reference_of, unlearnt, write_table
from gen.anatomy.folder import load_anatomy
from gen.core.errors import BadInput
from gen.core.manifest import Row, read_manifest
from gen.core.radiograph import write_png
from gen.core.run import derived_seed
from gen.data.sources import COMPLETE
from gen.data.split import split_rows
from gen.images.reader import read_radiograph
from gen.judge.framings import AS_IT_IS, PREPARED, VARIED
from gen.judge.judge import load_judge
from gen.model.sampling.variation import vary


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default="../shared/data/cxr", show_default=True)
@click.option("--prepared", type=click.Path(path_type=Path), default="runs/cxr", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=TABLES)
def write_gates(data: Path, prepared: Path, out: Path) -> None:
    """Judge the validation and test images of DATA, and those that `gen data prepare` made of them, in PREPARED."""
    judge, anatomy = load_judge(), load_anatomy()
    as_they_are, in_frame = (_held_out(folder) for folder in (data, prepared))
    for rows in (as_they_are, in_frame):
        if reference_of(judge) is None or len(unlearnt(judge, rows)) < len(rows):
            raise BadInput("the judge has no reference index, or one with held-out images in it", hint="train it again")
    with tempfile.TemporaryDirectory() as folder:
        varied = [_varied(row, Path(folder) / f"{i}.png") for i, row in enumerate(in_frame)]
        rows = [*as_they_are, *in_frame, *varied]
        measured = iter(measure(judge, rows, COMPLETE, anatomy))
    plain, prepared, moved = (list(islice(measured, len(some))) for some in (as_they_are, in_frame, varied))
    # Copies are looked for in an image as the model painted it: of a varied one, in the prepared one that it was.
    images = [
        *(_framed(image, AS_IT_IS, {}) for image in plain),
        *(_framed(image, PREPARED, image.scores) for image in prepared),
        *(_framed(image, VARIED, of.scores) for image, of in zip(moved, prepared, strict=True)),
    ]
    # In the order of a hash: the order of the data's own table would name the images.
    order = sorted(range(len(rows)), key=lambda i: derived_seed(0, f"{rows[i].sha256} {i}"))
    images = _renumbered([images[i] for i in order])
    patients = len({image.patient for image in images})
    path = out / f"{judge.fingerprint}.csv"
    write_table(
        path,
        images,
        f"scores by scripts/gates.py of {len(as_they_are)} real images of {patients} patients, {len(in_frame)} of them "
        f"also prepared, and varied, that {judge.name} ({judge.fingerprint}) and {anatomy.name} "
        f"({anatomy.fingerprint}) did not learn from; sources and licences in README.md",
    )
    click.echo(path)


def _held_out(folder: Path) -> list[Row]:
    splits = split_rows(read_manifest(folder))
    return [*splits["validation"], *splits["test"]]


def _varied(row: Row, path: Path) -> Row:
    """``row`` with its image in a pose and exposure drawn at random, written to ``path``."""
    write_png(path, vary(read_radiograph(row.file), derived_seed(0, row.sha256)))
    return replace(row, file=path)


def _framed(image: RealImage, framing: str, copy: Mapping[str, float]) -> RealImage:
    """``image`` as one in ``framing``, with the score for copies of the scores ``copy``, if they have one."""
    others = {kind: score for kind, score in image.scores.items() if kind != "copy"}
    near = {kind: score for kind, score in copy.items() if kind == "copy"}
    return replace(image, framing=framing, scores=others | near)


def _renumbered(images: list[RealImage]) -> list[RealImage]:
    """``images``, their patients numbered in this order."""
    numbers: dict[str, str] = {}
    return [replace(image, patient=numbers.setdefault(image.patient, str(len(numbers) + 1))) for image in images]


if __name__ == "__main__":
    write_gates()
