"""How far projections are from exact line integrals: our back ends and RTK's Joseph on a thorax of eleven ellipsoids.

The voxels (512 x 512 x 320, 0.7 x 0.7 x 1.0 mm) are means of 6 x 6 x 6 points at surfaces; SDD 1800 mm, SOD 1600 mm.
Errors are over the pixels that the thorax covers, in per cent of the mean path there. Most of them are the silhouettes
of surfaces in voxels, which all projectors share.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from tqdm import tqdm

from benchmarks import common
from benchmarks.drr.projector_scan import (
    available_backends,
    errors_percent,
    exact_path,
    python_option,
    start_peers,
    thorax,
)
from drr.projector import prepare, project

# Once around the patient, then tilts: primary and secondary angle in degrees.
VIEWS = [(angle, 0) for angle in (0, 5, 15, 30, 45, 60, 90, 135, 180, 225, 270, 315)]
VIEWS += [(0, 15), (5, 3), (15, 10), (30, -20), (90, 10), (200, 25)]
FIGURES = ("rms", "mean abs", "p99", "max", "bias")


@click.command(help=__doc__)
@python_option
@click.option("--size", "sizes", type=click.IntRange(16), multiple=True, default=(512, 1024), show_default=True)
@click.option("--oracle/--no-oracle", default=True, show_default=True, help="Numpy in float64, at the first size only.")
@common.json_option
def main(python: Path, sizes: tuple[int, ...], oracle: bool, json_file: Path | None) -> None:
    scan = thorax()
    stack = prepare(scan.numbers, scan.spacing_mm, scan.direction, scan.origin_mm)
    backends, notes = available_backends()
    peers, absent = start_peers(python, ["rtk"], scan)
    figures: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for size in sizes:
        names = [*backends, "reference"] if oracle and size == sizes[0] else backends
        by_view = figures[f"{size} x {size}"] = {}
        for angles in tqdm(VIEWS, f"{size} x {size}", unit="view"):
            geometry = scan.view(*angles, 1600, size)
            images = {f"RTK Joseph {peer.version}": peer.image(geometry) for peer in peers}
            images |= {name: project([stack], geometry, backend=name)[0] for name in names}
            exact = exact_path(geometry)
            by_view[f"{angles[0]}/{angles[1]}"] = {name: errors_percent(image, exact) for name, image in images.items()}
        _print(size, by_view)
    for peer in peers:
        peer.close()
    print("\n".join(["", *notes, *absent]))
    common.save_json(json_file, figures)


def _print(size: int, by_view: dict[str, dict[str, dict[str, float]]]) -> None:
    """All figures for the first view and over all views, then the rms error of each view."""
    names = list(next(iter(by_view.values())))
    first = next(iter(by_view))
    print(
        f"\n{size} x {size}, % of the mean: PA ({first}), and over {len(by_view)} views (rms: their root mean square)\n"
    )
    rows: list[list[str]] = []
    for name in names:  # the peer's Joseph is the first where it runs
        each = {figure: np.array([errors[name][figure] for errors in by_view.values()]) for figure in FIGURES}
        over = {"rms": np.sqrt(np.mean(each["rms"] ** 2)), "mean abs": each["mean abs"].mean()}
        over |= {"p99": each["p99"].max(), "max": each["max"].max(), "bias": each["bias"].mean()}
        for views, figures in (("PA", by_view[first][name]), ("all", over)):
            ratio = figures["rms"] / float(rows[len(rows) % 2][2]) if rows[1:] else 1
            rows.append([name, views, *(f"{figures[figure]:.3f}" for figure in FIGURES), f"{ratio:.3f}"])
    common.print_table(["", "views", *FIGURES, "rms over the first's"], rows)

    print("\nrms of each view, degrees primary/secondary\n")
    common.print_table(
        ["view", *names],
        [[view, *(f"{errors[name]['rms']:.3f}" for name in names)] for view, errors in by_view.items()],
    )


if __name__ == "__main__":
    common.launch(main)
