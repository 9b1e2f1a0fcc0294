"""Lung boxes of the anatomy network beside those of lungs-finder (HOG, Haar and LBP detectors) on NIH's test patients.

A cross-check only: neither of the two is the truth. lungs-finder and OpenCV are no dependencies; `--peers` names a
folder that has them: pip install --no-deps --target FOLDER lungs-finder "opencv-python-headless<5"
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
from scipy import ndimage

from benchmarks import common
from benchmarks.anatomy.outlines import SIZE, seen
from gen.anatomy.folder import load_anatomy
from gen.core.errors import EnvironmentLacks
from gen.data.sources import NIH
from gen.statistics.intervals import mean_of, share

SIDES = ("right", "left")
FINDERS = ("hog", "haar", "lbp")  # the first that finds a lung is taken, as in lungs_finder.get_lungs

Box = tuple[float, float, float, float]  # left, top, right and bottom edge, in pixels


def box_of(mask: np.ndarray) -> Box | None:
    """The box of the largest connected part of a bool mask (H, W); None of an empty one."""
    parts, count = ndimage.label(mask)
    if not count:
        return None
    largest = 1 + int(np.argmax(ndimage.sum_labels(mask, parts, range(1, count + 1))))
    rows, columns = ndimage.find_objects(parts)[largest - 1]
    return float(columns.start), float(rows.start), float(columns.stop), float(rows.stop)


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    width, height = (max(0.0, min(one[k + 2], other[k + 2]) - max(one[k], other[k])) for k in (0, 1))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def found_by(finders: Any, pixels_u8: np.ndarray, side: str) -> Box | None:
    """The box that lungs-finder gives the lung of ``side`` in uint8 ``pixels_u8`` (H, W); None where it finds none."""
    for finder in FINDERS:
        rectangle = getattr(finders, f"find_{side}_lung_{finder}")(pixels_u8)
        if rectangle is not None:
            left, top, width, height = map(float, rectangle)
            return left, top, left + width, top + height
    return None


@click.command()
@common.data_option
@click.option("--anatomy", type=click.Path(path_type=Path), help="Network's folder [default: the bundled].")
@click.option("--peers", type=click.Path(path_type=Path, exists=True), help="Folder with lungs_finder and cv2.")
@click.option("--count", type=click.IntRange(1), help="Patients [default: all of NIH's test patients].")
def main(data: Path, anatomy: Path | None, peers: Path | None, count: int | None) -> None:
    """Print by lung how far the boxes of both overlap, and how often one finds none; an image of each patient."""
    if peers is not None:
        sys.path.append(str(peers))
    try:
        finders = importlib.import_module("lungs_finder")
    except ImportError as error:
        raise EnvironmentLacks(
            f"lungs_finder cannot be imported: {error}", hint="name its folder by --peers"
        ) from error
    rows = [row for row in common.read_splits(data)["test"] if row.source == NIH and row.view in ("PA", "AP")]
    rows = common.one_image_a_patient(rows, count)
    network, pixels = load_anatomy(anatomy), common.pixels_of(rows, SIZE)
    boxes: dict[str, list[tuple[Box | None, Box | None]]] = {side: [] for side in SIDES}
    for image in pixels:
        masks = seen(network.probabilities(image[None].astype(np.float32) / 255)[0] >= 0.5)
        for side in SIDES:
            boxes[side].append((box_of(masks[f"{side} lung"]), found_by(finders, np.ascontiguousarray(image), side)))
    print(f"{network.name} ({network.fingerprint}), {len(rows)} radiographs of as many patients")
    lines = []
    for side, pairs in boxes.items():
        both = np.array([overlap(one, other) for one, other in pairs if one is not None and other is not None])
        units = [str(k) for k in range(len(both))]
        none = [share([pair[who] is None for pair in pairs], [str(k) for k in range(len(pairs))]) for who in (0, 1)]
        lines.append(
            (
                side,
                len(both),
                mean_of(both, units).text(2),
                f"{np.median(both):.2f}" if len(both) else "n/a",
                share(both >= 0.5, units).text(2),
                *(one.text(2) for one in none),
            )
        )
    header = (
        "lung",
        "found by both",
        "mean IoU",
        "median",
        "IoU of 0.5 or more",
        "none by ours",
        "none by lungs-finder",
    )
    common.print_table(header, lines)


if __name__ == "__main__":
    common.launch(main)
