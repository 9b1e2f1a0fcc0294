"""The course of a training, read from the log of its run folder: losses, nearest-training distance, reconstruction.

A denoiser's training loss is weighted (min-SNR) and its validation loss is not, so only the shapes compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks import common
from gen.core.errors import BadInput
from gen.core.run import read_log

WINDOW = 15  # rows of the log in the running mean of the training loss


def running_mean(values: Sequence[float], window: int) -> np.ndarray:
    """Mean over ``window`` neighbours, fewer at the ends: as long as ``values``."""
    ones = np.ones(window)
    sums, counts = np.convolve(values, ones, "same"), np.convolve(np.ones(len(values)), ones, "same")
    return (sums / counts)[: len(values)]


def series(rows: Sequence[dict[str, Any]], event: str, *keys: str) -> tuple[list[int], list[float]]:
    """Images and the value under the nested ``keys`` in the rows of ``event``; rows without one are left out.

    A run that was killed repeats the rows since its last checkpoint: the later one counts.
    """
    found: dict[int, float] = {}
    for row in rows:
        value: Any = row if row.get("event") == event else None
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            found[int(row["images"])] = float(value)
    images = sorted(found)
    return images, [found[count] for count in images]


PANELS: tuple[tuple[str, tuple[tuple[str, tuple[str, ...]], ...]], ...] = (
    ("loss", (("train", ("loss",)), ("validation", ("loss",)))),
    ("nearest training image", (("preview", ("nearest", "synthetic")), ("preview", ("nearest", "held_out")))),
    ("PSNR, dB", (("validation", ("psnr",)),)),
    ("gradient energy ratio", (("validation", ("gradient_ratio",)),)),
)


@click.command(help=__doc__)
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@common.figure_option("docs/training_curve.png")
def main(run: Path, figure: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    rows = read_log(run)
    panels = [(title, [(spec, *series(rows, spec[0], *spec[1])) for spec in specs]) for title, specs in PANELS]
    panels = [(title, drawn) for title, curves in panels if (drawn := [curve for curve in curves if curve[1]])]
    if not panels:
        raise BadInput(f"{run} has no log of a training yet", hint="wait for its first rows")
    _, axes = pyplot.subplots(1, len(panels), figsize=(5 * len(panels), 3.6), squeeze=False, layout="constrained")
    for axis, (title, curves) in zip(axes[0], panels, strict=True):
        for (event, keys), images, values in curves:
            noisy = event == "train"
            label = f"{event}, mean of {WINDOW}" if noisy else {"preview": keys[-1].replace("_", "-")}.get(event, event)
            axis.plot(
                images, running_mean(values, WINDOW) if noisy else values, "-" if noisy else "o-", ms=3, label=label
            )
        axis.set(title=title, xlabel="images learnt from")
        axis.legend(frameon=False)
        axis.grid(alpha=0.3)
    figure.parent.mkdir(parents=True, exist_ok=True)
    pyplot.savefig(figure, dpi=110)

    columns = {
        "training loss (smoothed)": series(rows, "train", "loss"),
        "validation loss": series(rows, "validation", "loss"),
        "PSNR, dB": series(rows, "validation", "psnr"),
        "gradient energy ratio": series(rows, "validation", "gradient_ratio"),
        "nearest, synthetic": series(rows, "preview", "nearest", "synthetic"),
        "nearest, held-out": series(rows, "preview", "nearest", "held_out"),
    }
    columns = {name: of for name, of in columns.items() if of[0]}
    images, losses = columns.get("training loss (smoothed)", ([], []))
    smooth = running_mean(losses, WINDOW) if images else np.zeros(0)
    moments = (
        sorted({count for name, of in columns.items() if "training" not in name for count in of[0]}) or images[-1:]
    )
    table = []
    for moment in moments:
        cells = [f"{moment:,}"]
        for name, (counts, values) in columns.items():
            if "training" in name:
                near = int(np.searchsorted(counts, moment))
                cells.append(f"{smooth[min(near, len(counts) - 1)]:.4f}" if moment else "")
            else:
                cells.append(f"{values[counts.index(moment)]:.4f}" if moment in counts else "")
        table.append(cells)
    common.print_table(["images", *columns], table)
    print(f"\npicture: {figure}")


if __name__ == "__main__":
    common.launch(main)
