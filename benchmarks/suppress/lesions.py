"""Contrast of inserted nodules and masses after bone suppression, by their size and by whether bone lies over them.

Sizes are those of the lesions themselves: their masks in the image are wider by the magnification and a soft rim.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np

from augment.suppress.evaluate import BONE, Method, read_masks
from augment.suppress.measures import contrast
from benchmarks import common
from benchmarks.suppress.heldout import make_pairs, pairs_option
from benchmarks.suppress.ways import ways_of, ways_options
from gen.core.manifest import Row, read_manifest
from gen.images.reader import read_radiograph

SIZES_MM = {"5 to 10 mm": (5, 10), "10 to 20 mm": (10, 20), "20 to 30 mm": (20, 30), "over 30 mm": (30, 1000)}
PLACES = ("free of bone", "under bone")
_COVERED = 0.5  # share of a lesion's pixels from which on it counts as under bone
_LEAST = 0.01  # contrast of the range, below which no share of it can be told


def lesions_of(pairs: Path, row: Row, ways: dict[str, Method]) -> list[tuple[str, str, dict[str, float]]]:
    """Of each lesion of an image: its size, its place, and by way the share of its true contrast that is kept."""
    soft_name, bone_name = (row.extra[f"{name}_file_name"] for name in ("soft", "bone"))
    image, soft, shown = (read_radiograph(path) for path in (row.file, pairs / soft_name, pairs / bone_name))
    truth = json.loads((pairs / f"truth/{row.file.stem}.json").read_bytes())
    added = shown.pixels * truth["display"]["bone_white"]
    diameters_mm = diameters_of(truth)
    taken = {name: apply(image.pixels) for name, apply in ways.items()}
    found = []
    for name, mask in read_masks(pairs, row).items():
        true = contrast(soft.pixels, mask) if name in diameters_mm else 0.0
        sizes = [size for size, (least, most) in SIZES_MM.items() if least <= diameters_mm.get(name, 0) < most]
        if not sizes or not abs(true) >= _LEAST:
            continue
        place = PLACES[bool((added >= BONE)[mask].mean() >= _COVERED)]
        found.append((sizes[0], place, {way: contrast(each, mask) / true for way, each in taken.items()}))
    return found


def diameters_of(truth: Mapping[str, Any]) -> dict[str, float]:
    """Diameters in mm of the lesions of an image, by the names of their masks, which are counted in order."""
    seen: Counter[str] = Counter()
    diameters = {}
    for lesion in truth["inserted"]:
        name = f"{lesion['finding'].lower()}_{lesion['side']}"
        seen[name] += 1
        diameters[name if seen[name] == 1 else f"{name}_{seen[name]}"] = float(lesion["diameter_mm"])
    return diameters


def table_rows(folders: Iterable[Path], ways: dict[str, Method]) -> list[list[str]]:
    """A row a size and place: how many lesions there are, and by way the median with the quartiles.

    A faint lesion has so little contrast that vessels and ribs around it make any share of it: so no mean.
    """
    known = [each for pairs in folders for row in read_manifest(pairs).rows for each in lesions_of(pairs, row, ways)]
    lines = []
    for size in SIZES_MM:
        for place in PLACES:
            group = [kept for s, p, kept in known if (s, p) == (size, place)]
            columns = [[kept[way] for kept in group] for way in ways]
            lines.append([f"{size}, {place}", str(len(group)), *(_quartiles(each) for each in columns)])
    return lines


def _quartiles(values: list[float]) -> str:
    if not values:
        return ""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


@click.command()
@common.cts_option
@ways_options
@pairs_option
def main(cts: Path, model: Path | None, peer: Path | None, latent: Path | None, pairs: Path) -> None:
    """Tell the contrast of lesions by size and place."""
    ways = ways_of(model, peer, latent)
    common.print_table(["lesion", "N", *ways], table_rows(make_pairs(cts, pairs).values(), ways))


if __name__ == "__main__":
    common.launch(main)
