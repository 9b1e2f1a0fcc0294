"""Bone suppression on real dual-energy pairs: what it takes away beside what a second exposure takes away.

Test images only: nothing is tuned on them, and their pictures are not committed. Their grey levels are processed, so
the measures are of structure: detail is the difference to a blur of 15 pixels.
"""

from __future__ import annotations

import csv
from pathlib import Path

import click
import numpy as np
from scipy import ndimage

from augment.suppress.evaluate import BLUR
from augment.suppress.folder import load_suppressor
from augment.suppress.separate import separate
from benchmarks import common
from benchmarks.suppress.lungs import lungs_of
from gen.images.reader import read_radiograph

_DETAIL = 15.0
_EDGES, _FREE = 80, 50  # percentiles of the gradient of bone: above lie its edges, below it is free of them


def detail_of(image: np.ndarray) -> np.ndarray:
    """What is finer than a blur of _DETAIL pixels."""
    return image - ndimage.gaussian_filter(image, _DETAIL)


def edge_energy(detail: np.ndarray, where: np.ndarray) -> float:
    down, across = np.gradient(ndimage.gaussian_filter(detail, 1.5))
    return float((down**2 + across**2)[where].mean())


def measures_of(image: np.ndarray, soft: np.ndarray, predicted: np.ndarray, lungs: np.ndarray) -> dict[str, float]:
    """``soft`` is brought to the image's tone by a line through the lungs' detail where bone has no edges."""
    own, des, ours = (detail_of(each) for each in (image, soft, predicted))
    slope = float((own[lungs] @ des[lungs]) / (des[lungs] @ des[lungs]))
    bone = own - slope * des
    strength = np.hypot(*np.gradient(ndimage.gaussian_filter(bone, 1.5)))
    ribs = lungs & (strength >= np.percentile(strength[lungs], _EDGES))
    free = lungs & (strength <= np.percentile(strength[lungs], _FREE))
    before, wanted, after = (edge_energy(each, ribs) for each in (own, slope * des, ours))
    # Detail as a sum of that of the soft image and that of bone
    base = np.stack([des[lungs], bone[lungs]], axis=1)
    left = np.linalg.lstsq(base, ours[lungs], rcond=None)[0][1]
    return {
        "taken": (before - after) / (before - wanted),
        "left": float(left),
        "vessels": float(np.corrcoef(ours[free], own[free])[0, 1]),
        "dual vessels": float(np.corrcoef(des[free], own[free])[0, 1]),
    }


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=common.DATA / "bone", show_default=True)
@click.option("--model", type=click.Path(path_type=Path), help="Bone suppression [default: the bundled].")
@click.option("--look", type=click.Path(path_type=Path), help="A folder for pictures to look at, which stay there.")
def main(data: Path, model: Path | None, look: Path | None) -> None:
    """Compare with dual-energy soft images."""
    suppressor = load_suppressor(model)
    with (data / "index.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    lines = []
    for row in rows:
        image, soft = (read_radiograph(data / row[f"{name}_file"]).pixels for name in ("cxr", "soft"))
        lungs = lungs_of(image)
        ways = {
            "network": separate(suppressor, image).soft,
            "do nothing": image,
            "blur": ndimage.gaussian_filter(image, BLUR * min(image.shape) / 1000),
        }
        for name, predicted in ways.items():
            found = measures_of(image, soft, predicted, lungs)
            lines.append([row["name"], name, *(f"{found[key]:.2f}" for key in found), f"{lungs.mean():.2f}"])
        if look is not None:
            save_look(look / f"{row['name']}.png", image, ways["network"], soft, lungs)
    header = ["pair", "way", "rib-edge energy taken, of what dual energy takes", "bone's detail left"]
    common.print_table([*header, "vessels: correlation", "of dual energy", "lungs, share of the picture"], lines)


def save_look(path: Path, image: np.ndarray, ours: np.ndarray, soft: np.ndarray, lungs: np.ndarray) -> None:
    from PIL import Image

    edge = lungs & ~ndimage.binary_erosion(lungs, iterations=3)
    row = np.hstack([np.where(edge, 1, image), ours, soft, np.clip((image - ours) * 4, 0, 1)])
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((row * 255).astype(np.uint8)).save(path)


if __name__ == "__main__":
    common.launch(main)
