"""Outlines of organs on random radiographs of NIH's test patients, to be looked at and counted; NIH's may be shown.

A lung is drawn where it is seen: without what lies behind the heart, the mediastinum and the domes of the diaphragm.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from benchmarks import common
from gen.anatomy.folder import load_anatomy
from gen.anatomy.network import ORGANS
from gen.anatomy.reading import read_anatomy
from gen.core.files import atomic_file
from gen.core.manifest import read_manifest
from gen.data.loader import pixel_cache
from gen.data.sources import NIH
from gen.data.split import split_rows

SIZE = 256
TILE, ACROSS = 176, 8  # pixels of an image on the sheet, images in a row
LINE = 2.0  # pixels
COLOURS = {
    "right lung": (80, 200, 255),
    "left lung": (120, 255, 120),
    "heart": (255, 90, 90),
    "right clavicle": (255, 220, 80),
    "left clavicle": (255, 120, 255),
}


def seen(masks: np.ndarray) -> dict[str, np.ndarray]:
    """What is outlined of masks bool (10, H, W), by organ."""
    named = dict(zip(ORGANS, masks, strict=True))
    covered = named["heart"] | named["mediastinum"] | named["abdomen"]
    lungs = {organ: named[organ] & ~covered for organ in ("right lung", "left lung")}
    return {organ: lungs.get(organ, named[organ]) for organ in COLOURS}


def outlined(pixels: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3): the image with the rim of each mask in its colour."""
    picture = np.repeat(pixels[..., None], 3, axis=2)
    for organ, mask in seen(masks).items():
        depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        picture[(depth > 0) & (depth <= LINE)] = COLOURS[organ]
    return picture


@click.command()
@common.data_option
@click.option("--anatomy", type=click.Path(path_type=Path), help="Network's folder [default: the bundled].")
@click.option("--count", type=click.IntRange(1), default=48, show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the choice of images.")
@common.figure_option("docs/anatomy.png")
def main(data: Path, anatomy: Path | None, count: int, seed: int, figure: Path) -> None:
    """Draw FIGURE; each image has its number, from 1, in a corner."""
    rows = [row for row in split_rows(read_manifest(data))["test"] if row.source == NIH]
    rows.sort(key=lambda row: hashlib.sha256(f"{seed} {row.file.name}".encode()).hexdigest())
    pixels = pixel_cache(rows[:count], SIZE, common.CACHE)
    found = read_anatomy(load_anatomy(anatomy), pixels)
    tiles = []
    for k, (image, reading) in enumerate(zip(pixels, found, strict=True), start=1):
        tile = Image.fromarray(outlined(image, reading.masks)).resize((TILE, TILE), Image.Resampling.BOX)
        ImageDraw.Draw(tile).text((4, 2), str(k), fill=(255, 255, 255))
        tiles.append(np.asarray(tile))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % ACROSS)
    lines = [np.hstack(tiles[i : i + ACROSS]) for i in range(0, len(tiles), ACROSS)]
    with atomic_file(figure) as stream:
        sheet = Image.fromarray(np.vstack(lines)).quantize(96, dither=Image.Dither.NONE)
        sheet.save(stream, "PNG", optimize=True)
    print(f"{len(rows)} test radiographs of NIH, {min(count, len(rows))} drawn: {figure}")


if __name__ == "__main__":
    common.launch(main)
