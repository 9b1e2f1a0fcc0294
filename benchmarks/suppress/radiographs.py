"""A contact sheet of bone suppression on real radiographs: 64 test patients of NIH ChestX-ray14, none picked.

Image and soft image lie side by side. What went wrong is counted by whoever looks at it; the order is that of a hash.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from PIL import Image

from augment.suppress.folder import load_suppressor
from augment.suppress.separate import separate
from benchmarks import common
from gen.core.radiograph import pad_to_square, resize
from gen.images.reader import read_radiograph

SOURCE = "nih-chestxray14"  # whose terms let its images be shown


@click.command()
@common.data_option
@click.option("--model", type=click.Path(path_type=Path), help="Bone suppression [default: the bundled].")
@click.option("-n", "count", type=click.IntRange(1), default=64, show_default=True)
@click.option("--columns", type=click.IntRange(1), default=4, show_default=True, help="Pairs in a row.")
@click.option("--size", type=click.IntRange(32), default=256, show_default=True, help="Pixels of a picture.")
@common.figure_option("docs/suppress.jpg")
def main(data: Path, model: Path | None, count: int, columns: int, size: int, figure: Path) -> None:
    """Draw the sheet."""
    from tqdm import tqdm

    suppressor = load_suppressor(model)
    rows = [row for row in common.read_splits(data)["test"] if row.source == SOURCE and row.view != "lateral"]
    pairs = []
    for row in tqdm(common.one_image_a_patient(rows, count), unit="image"):
        image = read_radiograph(row.file).pixels
        soft = separate(suppressor, image).soft
        pairs.append(np.hstack([resize(pad_to_square(each), size) for each in (image, soft)]))
    pairs += [np.zeros_like(pairs[0])] * (-len(pairs) % columns)
    lines = [np.hstack(pairs[start : start + columns]) for start in range(0, len(pairs), columns)]
    figure.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(np.vstack(lines) * 255).astype(np.uint8)).save(figure, quality=85)
    print(figure)


if __name__ == "__main__":
    common.launch(main)
