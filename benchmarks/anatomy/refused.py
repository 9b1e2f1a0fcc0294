"""What is no upright frontal chest, made of test radiographs, one a patient: how often it is refused, and by what.

No limit of `gen.anatomy.reading` was chosen on these patients. A mirrored chest is listed although no picture can tell
it from situs inversus.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import click
import numpy as np

from benchmarks import common
from benchmarks.anatomy.ladder import of_images
from gen.anatomy.folder import load_anatomy
from gen.statistics.intervals import proportion

SIZE = 256
ABDOMEN = "no abdomen"  # how the reason of the rule begins that comes after all others

Change = Callable[[np.ndarray], np.ndarray]  # uint8 (N, S, S) to uint8 (N, H, W)


def _side_by_side(images: np.ndarray) -> np.ndarray:
    """Each with its neighbour, both at half size, in a square."""
    both = np.concatenate([images[:, ::2, ::2], np.roll(images, 1, 0)[:, ::2, ::2]], 2)
    return np.pad(both, ((0, 0), (SIZE // 4, SIZE // 4), (0, 0)))


CHANGES: Mapping[str, Change] = {
    "as it is": lambda images: images,
    "upside down": lambda images: images[:, ::-1],
    "turned by 180 degrees": lambda images: images[:, ::-1, ::-1],
    "turned by 90 degrees": lambda images: np.rot90(images, axes=(1, 2)),
    "turned by 270 degrees": lambda images: np.rot90(images, -1, axes=(1, 2)),
    "mirrored": lambda images: images[:, :, ::-1],
    "inverted": lambda images: 255 - images,
    "two chests side by side": _side_by_side,
    "four panels in a row": lambda images: np.tile(images[:, ::2, ::2], (1, 1, 4)),
    "upper half alone": lambda images: images[:, : SIZE // 2],
    "left half alone": lambda images: images[:, :, : SIZE // 2],
    "white": lambda images: np.random.default_rng(0).integers(235, 256, images.shape, np.uint8),
    "noise": lambda images: np.random.default_rng(1).integers(0, 256, images.shape, np.uint8),
}


@click.command(help=__doc__)
@click.option("--network", type=click.Path(path_type=Path), help="An anatomy network's folder [default: the bundled].")
@common.data_option
@common.json_option
@click.option("-n", "count", type=click.IntRange(2), default=300, show_default=True, help="Radiographs, at most.")
def main(network: Path | None, data: Path, json_file: Path | None, count: int) -> None:
    anatomy = load_anatomy(network)
    pixels = common.pixels_of(common.one_image_a_patient(common.read_splits(data)["test"], count), SIZE)
    rows, figures = [], {}
    for name, change in CHANGES.items():
        reasons = [reading.refused for reading in of_images(anatomy, np.ascontiguousarray(change(pixels)))]
        others = sum(bool(reason) and not reason.startswith(ABDOMEN) for reason in reasons)
        found = proportion(sum(map(bool, reasons)), len(reasons)), proportion(others, len(reasons))
        figures[name] = {"refused": found[0], "without the abdomen": found[1], "reasons": Counter(reasons)}
        rows.append([name, *(figure.text(3) for figure in found), len(reasons)])
    print(f"{anatomy.name} ({anatomy.fingerprint}): share refused [95 %]\n")
    common.print_table(["", "refused", "by all rules but that of the abdomen", "N"], rows)
    common.save_json(json_file, figures)


if __name__ == "__main__":
    common.launch(main)
