"""Projections beside real radiographs: grey levels, the slope of the power spectrum, and a contact sheet.

Projected as `gen drr` does: every whole chest of the CT pack whose licence lets it be shown, and four phantoms; real:
PA radiographs of adult NIH test patients, one each. Grey levels are compared by the Wasserstein distance of pooled
histograms (0 to 1), sharpness and texture by the slope of log power over log frequency in the middle half of the image.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from scipy.stats import wasserstein_distance

from benchmarks import common
from drr.geometry import VIEWS
from drr.phantom.chest import make_phantom
from drr.physics.technique import technique_of
from drr.projection import Projection, render
from drr.reader import read_volume
from drr.scene import Scene, load_scene
from gen.core.radiograph import pad_to_square, resize
from gen.core.run import derived_seed
from gen.data.sources import NIH

SIZE = 512
BAND = (0.02, 0.25)  # cycles a pixel: from 50 pixels to 4


def shown_cts(folder: Path) -> list[Path]:
    """The whole chests of the pack under CC BY, which pictures of ours may show."""
    with (folder / "index.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [
        folder / row["file"]
        for row in rows
        if row["licence"].startswith("CC BY ")
        and ".seg." not in row["file"]
        and "NOT a whole chest" not in row["anatomy"]
    ]


def square(pixels: np.ndarray) -> np.ndarray:
    return resize(pad_to_square(pixels), SIZE)


def slope(image: np.ndarray) -> float:
    """Of log power over log frequency, in the middle half of the image behind a Hann window."""
    quarter = image.shape[0] // 4
    middle = image[quarter:-quarter, quarter:-quarter]
    taper = np.hanning(len(middle))
    power = np.abs(np.fft.fft2((middle - middle.mean()) * np.outer(taper, taper))) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(len(middle)), np.fft.fftfreq(len(middle))))
    edges = np.geomspace(*BAND, 20)
    rings = np.digitize(frequency, edges)
    means = [power[rings == k].mean() for k in range(1, len(edges))]
    return float(np.polyfit(np.log(np.sqrt(edges[1:] * edges[:-1])), np.log(means), 1)[0])


def body_levels(images: Sequence[np.ndarray]) -> np.ndarray:
    """The pooled grey levels of the middle three quarters of images, which leaves out most of what is not patient."""
    eighth = SIZE // 8
    return np.concatenate([image[eighth:-eighth, eighth:-eighth].ravel()[::7] for image in images])


def exposed(scene: Scene, name: str, *, twins: bool = False) -> Projection:
    rng = np.random.default_rng(derived_seed(0, f"{scene.key}:{name}"))
    return render(scene, VIEWS[name], technique_of(VIEWS[name]), size=1024, rng=rng, twins=twins)


@click.command(help=__doc__)
@common.data_option
@common.cts_option
@click.option("-n", "count", type=click.IntRange(2), default=64, show_default=True, help="Real radiographs.")
def main(data: Path, cts: Path, count: int) -> None:
    rows = [
        row
        for row in common.read_splits(data)["test"]
        if row.source == NIH and row.view == "PA" and (row.age or 0) >= 18
    ]
    rows = common.one_image_a_patient(rows, count)
    real = [level / np.float32(255) for level in common.pixels_of(rows, SIZE)]
    halves = real[::2], real[1::2]
    scenes = [load_scene(read_volume(path), path.name.split(".")[0]) for path in shown_cts(cts)]
    scenes += [
        load_scene(make_phantom(sex, habitus, age, seed), f"phantom {sex} {habitus} {age}")
        for seed, (sex, habitus, age) in enumerate(
            [("F", "slim", 25), ("M", "average", 45), ("F", "large", 60), ("M", "average", 75)]
        )
    ]
    made = {scene.key: square(exposed(scene, "PA").image) for scene in scenes}
    groups = {
        "real, other half": halves[1],
        "CT": [image for key, image in made.items() if not key.startswith("phantom")],
        "phantom": [image for key, image in made.items() if key.startswith("phantom")],
    }
    reference = halves[0]
    table = []
    for name, images in {"real, one half": reference, **groups}.items():
        slopes = [slope(image) for image in images]
        levels = body_levels(images)
        table.append(
            [
                name,
                len(images),
                f"{wasserstein_distance(body_levels(reference), levels):.3f}",
                " ".join(f"{value:.2f}" for value in np.percentile(levels, [5, 25, 50, 75, 95])),
                f"{np.mean(slopes):.2f} [{np.min(slopes):.2f}, {np.max(slopes):.2f}]",
            ]
        )
    common.print_table(["PA views", "N", "distance of grey levels", "5 25 50 75 95 %", "slope: mean [min, max]"], table)


if __name__ == "__main__":
    common.launch(main)
