"""Of which images `gen describe` says that they are unlike those the judge learnt from, and by which signal.

Test images as they are (false alarms); some of them, one a patient, turned, inverted and so on; and the projections in
folders of `gen drr`, whose limits were set on neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from benchmarks import common
from gen.core.manifest import read_manifest
from gen.data.split import patient_of
from gen.images.reader import read_radiograph
from gen.judge.familiar import signals_of, soundness_of
from gen.judge.judge import Judge, load_judge
from gen.statistics.intervals import bootstrap

SIGNALS = ("distance", "artefact", "anatomy", "any")


def given_by(judge: Judge, images: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
    """Which of SIGNALS each of ``images`` gives: bool (N, 4)."""
    assert judge.familiar is not None
    assert judge.known is not None
    limits = judge.familiar
    signals = signals_of(judge.read(images), soundness_of(images), judge.known)
    given = signals > (limits.distance, limits.artefact, -limits.soundness)
    return np.concatenate([given, given.any(1, keepdims=True)], 1)


@click.command(help=__doc__)
@click.argument("projections", nargs=-1, type=click.Path(path_type=Path))
@common.data_option
@common.json_option
@click.option("-n", "count", default=40, show_default=True, help="Test images to change, one a patient.")
def main(projections: tuple[Path, ...], data: Path, json_file: Path | None, count: int) -> None:
    judge = load_judge(device="cpu")
    rows = common.read_splits(data)["test"]
    some = common.one_image_a_patient(rows, count)
    images = {
        "test images": ([patient_of(row) for row in rows], common.pixels_of(rows, judge.size)),
    }
    pixels_u8, patients = common.pixels_of(some, judge.size), [patient_of(row) for row in some]
    rng = np.random.default_rng(0)
    changed = {
        "turned by 90 degrees": np.rot90(pixels_u8, axes=(1, 2)),
        "upside down": pixels_u8[:, ::-1],
        "inverted": 255 - pixels_u8,
        "a quarter of the image": pixels_u8[:, : judge.size // 2, : judge.size // 2],
        "noise": rng.integers(256, size=pixels_u8.shape, dtype=np.uint8),
    }
    images |= {name: (patients, np.ascontiguousarray(array)) for name, array in changed.items()}
    for folder in projections:
        shown = [read_radiograph(row.file).pixels for row in read_manifest(folder).rows]
        images[f"projections, {folder.name}"] = ([str(i) for i in range(len(shown))], shown)
    table, figures = [], {}
    for name, (units, group) in images.items():
        given = given_by(judge, group)
        if len(set(units)) < 20:  # too few for an interval
            cells = [f"{int(of.sum())} of {len(of)}" for of in given.T]
        else:
            shares = [bootstrap(units, lambda chosen, of=of: float(of[chosen].mean())) for of in given.T]
            cells = [share.text(2) for share in shares]
        table.append([name, len(given), *cells])
        figures[name] = {"images": len(given), **dict(zip(SIGNALS, cells, strict=True))}
    common.print_table(["images", "N", *SIGNALS], table)
    common.save_json(json_file, figures)


if __name__ == "__main__":
    common.launch(main)
