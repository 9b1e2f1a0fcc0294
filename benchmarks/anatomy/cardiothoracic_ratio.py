"""Measured cardiothoracic ratios beside the published ones of Wingspan's radiographs.

No network of ours learnt from a published ratio. Radiographs of training patients may have been learnt from, with masks
of the network's own, so held-out patients are told apart.
"""

from __future__ import annotations

import re
from pathlib import Path

import click
import numpy as np

from benchmarks import common
from gen.anatomy.folder import load_anatomy
from gen.anatomy.measure import measure
from gen.core.manifest import read_manifest
from gen.data.loader import pixel_cache
from gen.data.split import patient_of, split_rows
from gen.statistics.intervals import bootstrap, mean_of
from gen.statistics.scores import auroc

SOURCE, PUBLISHED = "wingspan-ctr", re.compile(r"Cardiothoracic ratio (0\.\d+)")
LARGE = 0.5  # a heart above counts as large (Danzer 1919)
SIZE = 256


@click.command()
@common.data_option
@click.option("--anatomy", type=click.Path(path_type=Path), help="Network's folder [default: the bundled].")
def main(data: Path, anatomy: Path | None) -> None:
    """Print how the ratios agree; rows without a published ratio are left out."""
    network, manifest = load_anatomy(anatomy), read_manifest(data)
    notes = [(row, PUBLISHED.search(row.notes)) for row in manifest.rows if row.source == SOURCE]
    found = [(row, float(match[1])) for row, match in notes if match]
    learnt = {row.file for row in split_rows(manifest)["train"]}
    rows, published = [row for row, _ in found], np.array([ratio for _, ratio in found])
    pixels = pixel_cache(rows, SIZE, common.CACHE)
    masks = (network.probabilities(image[None].astype(np.float32) / 255)[0] >= 0.5 for image in pixels)
    measured = np.array([measure(mask).cardiothoracic_ratio for mask in masks])
    held_out = np.array([row.file not in learnt for row in rows])
    print(f"{network.name} ({network.fingerprint})")
    for group, chosen in (("all patients", np.full(len(rows), True)), ("held-out patients", held_out)):
        patients = [patient_of(row) for row, one in zip(rows, chosen, strict=True) if one]
        print(f"\n{group}:")
        _print(published[chosen], measured[chosen], patients)


def _print(published: np.ndarray, measured: np.ndarray, patients: list[str]) -> None:
    large = (published > LARGE).astype(float)
    known = ~np.isnan(measured)
    score = np.where(known, measured, LARGE)  # what cannot be measured is a coin's toss
    print(f"{len(published)} radiographs, {int(large.sum())} above {LARGE}, measured: {int(known.sum())}")
    print(f"AUROC of a ratio above {LARGE}: {bootstrap(patients, lambda i: auroc(score[i], large[i])).text()}")
    correlation = bootstrap(patients, lambda i: float(np.corrcoef(score[i], published[i])[0, 1]))
    print(f"correlation: {correlation.text()}")
    print(f"measured - published: {mean_of(score - published, patients).text()}")
    print(f"absolute difference: {mean_of(abs(score - published), patients).text()}")


if __name__ == "__main__":
    common.launch(main)
