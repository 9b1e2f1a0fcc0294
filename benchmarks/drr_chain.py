"""What a radiograph costs from a CT in memory: each step once for a patient, then the whole chain of a view at 1024 px.

The chain is projection, spectrum, scatter, blur and noise, grey levels, and both twins. The projector's back ends take
turns; a view that was not seen before pays for its group sums once, and is timed apart.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import click
import numpy as np
from common import launch, print_table
from sampling_speed import processor

from drr.backends import native
from drr.ct.body import find_body, find_lungs, without_table
from drr.ct.reader import read_volume
from drr.ct.tissue import separate
from drr.geometry import VIEWS
from drr.phantom.chest import make_phantom
from drr.physics.technique import technique_of
from drr.projection import render
from drr.scene import load_scene
from gen.core.errors import EnvironmentLacks

SIZE = 1024


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what ``work`` gave."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def without_c() -> Any:
    """Inside, there is no C extension, so that "auto" is numba."""
    return mock.patch.object(native, "load", side_effect=EnvironmentLacks("switched off"))


@click.command(help=__doc__)
@click.option(
    "--ct",
    type=click.Path(path_type=Path),
    default=Path(os.environ.get("CXR_DATA", "../shared/data")) / "ct" / "lidc-idri-0314.nii.gz",
    show_default=True,
)
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True)
def main(ct: Path, rounds: int) -> None:
    print(f"{processor()}; load before the start {os.getloadavg()[0]:.1f}\n")
    steps: dict[str, float] = {}
    steps["make the phantom"], phantom = timed(lambda: make_phantom("F", "average", 50))
    steps["read the CT"], volume = timed(lambda: read_volume(ct))
    steps["find the body"], body = timed(lambda: find_body(volume))
    steps["find the lungs"], lungs = timed(lambda: find_lungs(volume, body))
    steps["tell bone, contrast and metal apart"], _ = timed(lambda: separate(without_table(volume, body), body, lungs))
    print_table([f"once, {volume.hu.shape[::-1]} voxels", "s"], [[step, f"{s:.2f}"] for step, s in steps.items()])

    rows = []
    for name, scene in (("CT", load_scene(volume, "ct")), ("phantom", load_scene(phantom, "phantom"))):
        for view in ("PA", "lateral"):
            pose, technique = VIEWS[view], technique_of(VIEWS[view])

            def expose(twins: bool, pose: Any = pose, technique: Any = technique, scene: Any = scene) -> Any:
                return render(scene, pose, technique, size=SIZE, rng=np.random.default_rng(0), twins=twins)

            first, shown = timed(lambda: expose(True))
            seconds: dict[str, list[float]] = {}
            for _ in range(rounds):
                seconds.setdefault("c", []).append(timed(lambda: expose(True))[0])
                seconds.setdefault("c, image alone", []).append(timed(lambda: expose(False))[0])
                with without_c():
                    seconds.setdefault("numba", []).append(timed(lambda: expose(True))[0])
            for side, each in seconds.items():
                size = " x ".join(str(n) for n in shown.image.shape[::-1])
                rows.append(
                    [
                        name,
                        view,
                        size,
                        side,
                        f"{first:.2f}" if side == "c" else "",
                        f"{min(each):.3f}",
                        f"{median(each):.3f}",
                    ]
                )
    print()
    print_table(["", "view", "pixels", "", "first view, s", "s: least", "median"], rows)


if __name__ == "__main__":
    launch(main)
