"""Measured cardiothoracic ratios beside the published ones of Wingspan's radiographs, none of which was learnt from."""

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
from gen.data.split import patient_of
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
    notes = [(row, PUBLISHED.search(row.notes)) for row in read_manifest(data).rows if row.source == SOURCE]
    found = [(row, float(match[1])) for row, match in notes if match]
    rows, published = [row for row, _ in found], np.array([ratio for _, ratio in found])
    network = load_anatomy(anatomy)
    pixels = pixel_cache(rows, SIZE, common.CACHE)
    masks = (network.probabilities(image[None].astype(np.float32) / 255)[0] >= 0.5 for image in pixels)
    measured = np.array([measure(mask).cardiothoracic_ratio for mask in masks])
    known = ~np.isnan(measured)
    patients = [patient_of(row) for row in rows]
    large = (published > LARGE).astype(float)
    score = np.where(known, measured, LARGE)  # what cannot be measured is a coin's toss
    print(f"{network.name} ({network.fingerprint}): {len(rows)} radiographs, {int(large.sum())} above {LARGE}")
    print(f"measured: {int(known.sum())}")
    print(f"AUROC of a ratio above {LARGE}: {bootstrap(patients, lambda i: auroc(score[i], large[i])).text()}")
    correlation = bootstrap(patients, lambda i: float(np.corrcoef(score[i], published[i])[0, 1]))
    print(f"correlation: {correlation.text()}")
    print(f"measured - published: {mean_of(score - published, patients).text()}")
    print(f"absolute difference: {mean_of(abs(score - published), patients).text()}")


if __name__ == "__main__":
    common.launch(main)
