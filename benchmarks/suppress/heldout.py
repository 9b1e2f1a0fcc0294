"""Bone suppression on CTs that no training saw, beside doing nothing, a blur and a small autoencoder.

Two of the CTs chose between networks (validation), the others did not (test). Each is projected in PA and AP, jittered,
with two nodules and a mass put in. `--peer` is a network of `benchmarks.suppress.peer`, `--latent` one of
`gen train suppress-latent`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from augment.suppress.evaluate import NAMES, Scores, evaluate, table_of
from benchmarks import common
from benchmarks.suppress.ways import ways_of, ways_options
from drr.job import Job, run_job
from gen.core.manifest import read_manifest

VALIDATION = ("qin-lsc-0028.nii.gz", "qin-lsc-0049.nii.gz")
TEST = ("lung1-008.nii.gz", "lung1-013.nii.gz")
LESIONS = ("Nodule", "Nodule", "Mass")


def make_pairs(cts: Path, out: Path, variants: int) -> Path:
    """The pairs of all four CTs, made where they are missing."""
    files = tuple(cts / name for name in (*VALIDATION, *TEST))
    job = Job(
        cts=files, views=("PA", "AP"), variants=variants, jitter=True, pairs=True, masks="auto", bits=16, seed=11,
        lesions=LESIONS,
    )  # fmt: skip
    run_job(job, out, on_image=lambda path, truth: None)
    return out


def part_of(scores: Scores, names: tuple[str, ...]) -> Scores:
    """The scores of the patients whose CT is one of ``names``."""
    keys = {name.removesuffix(".nii.gz") for name in names}
    kept = np.flatnonzero([patient in keys for patient in scores.patients])
    values = {method: {name: column[kept] for name, column in each.items()} for method, each in scores.values.items()}
    return replace(scores, patients=tuple(scores.patients[i] for i in kept), values=values)


@click.command()
@common.cts_option
@ways_options
@click.option("-n", "variants", type=click.IntRange(1), default=6, show_default=True, help="Poses of each view.")
@click.option("--pairs", type=click.Path(path_type=Path), default=common.WORK / "suppress-heldout", show_default=True)
@common.json_option
def main(
    cts: Path,
    model: Path | None,
    peer: Path | None,
    latent: Path | None,
    variants: int,
    pairs: Path,
    json_file: Path | None,
) -> None:
    """Measure bone suppression on held-out CTs."""
    from tqdm import tqdm

    methods = ways_of(model, peer, latent)
    make_pairs(cts, pairs, variants)
    with tqdm(total=len(read_manifest(pairs).rows), unit="image") as bar:
        scores = evaluate(pairs, methods, bar.update)
    figures = {}
    for title, names in {"validation": VALIDATION, "test": TEST}.items():
        part = part_of(scores, names)
        print(f"\n{title}: {', '.join(names)}, {len(part.patients)} images\n")
        print(table_of(part))
        figures[title] = {
            method: {name: part.figure(method, name).as_dict() for name in NAMES} for method in part.values
        }
    common.save_json(json_file, figures)


if __name__ == "__main__":
    common.launch(main)
