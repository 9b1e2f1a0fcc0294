"""Contrast of inserted nodules and masses after bone suppression, by their size and by whether bone lies over them."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np

from augment.suppress.evaluate import BONE, Method, read_masks
from augment.suppress.measures import contrast
from benchmarks import common
from benchmarks.suppress.heldout import make_pairs
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
    assert image.spacing_mm is not None
    area_mm2 = image.spacing_mm[0] * image.spacing_mm[1]
    taken = {name: apply(image.pixels) for name, apply in ways.items()}
    found = []
    for name, mask in read_masks(pairs, row).items():
        true = contrast(soft.pixels, mask) if name.startswith(("nodule", "mass")) else 0.0
        diameter_mm = 2 * float(np.sqrt(mask.sum() * area_mm2 / np.pi))
        sizes = [size for size, (least, most) in SIZES_MM.items() if least <= diameter_mm < most]
        if not sizes or not abs(true) >= _LEAST:
            continue
        place = PLACES[bool((added >= BONE)[mask].mean() >= _COVERED)]
        found.append((sizes[0], place, {way: contrast(each, mask) / true for way, each in taken.items()}))
    return found


def table_rows(pairs: Path, ways: dict[str, Method]) -> list[list[str]]:
    """A row a size and place: how many lesions there are, and by way the mean, the least and the most."""
    known = [each for row in read_manifest(pairs).rows for each in lesions_of(pairs, row, ways)]
    lines = []
    for size in SIZES_MM:
        for place in PLACES:
            group = [kept for s, p, kept in known if (s, p) == (size, place)]
            columns = [np.array([kept[way] for kept in group]) for way in ways]
            told = [
                f"{each.mean():.2f} ({each.min():.2f} to {each.max():.2f})" if len(each) else "" for each in columns
            ]
            lines.append([f"{size}, {place}", str(len(group)), *told])
    return lines


@click.command()
@common.cts_option
@ways_options
@click.option("--pairs", type=click.Path(path_type=Path), default=common.WORK / "suppress-heldout", show_default=True)
def main(cts: Path, model: Path | None, peer: Path | None, latent: Path | None, pairs: Path) -> None:
    """Tell the contrast of lesions by size and place."""
    ways = ways_of(model, peer, latent)
    common.print_table(["lesion", "N", *ways], table_rows(make_pairs(cts, pairs, 6), ways))


if __name__ == "__main__":
    common.launch(main)
