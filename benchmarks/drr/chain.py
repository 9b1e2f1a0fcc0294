"""What a radiograph costs from a CT in memory: each step once for a patient, then the whole chain of a view at 1024 px.

The chain is projection, spectrum, scatter, blur and noise, grey levels, and both twins. The projector's back ends take
turns; a view that was not seen before pays for its group sums once, and is timed apart.
"""

from __future__ import annotations

import os
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import click
import numpy as np

from benchmarks import common
from drr.backends import native
from drr.ct.body import find_body, find_lungs, without_table
from drr.ct.tissue import separate
from drr.geometry import VIEWS
from drr.phantom.chest import make_phantom
from drr.physics.technique import technique_of
from drr.projection import render
from drr.reader import read_volume
from drr.scene import load_scene
from gen.core.errors import EnvironmentLacks

SIZE = 1024


def without_c() -> Any:
    """Inside, there is no C extension, so that "auto" is numba."""
    return mock.patch.object(native, "load", side_effect=EnvironmentLacks("switched off"))


@click.command(help=__doc__)
@common.ct_option
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True)
def main(ct: Path, rounds: int) -> None:
    print(f"{common.processor()}; load before the start {os.getloadavg()[0]:.1f}\n")
    steps: dict[str, float] = {}
    steps["make the phantom"], phantom = common.timed(lambda: make_phantom("F", "average", 50))
    steps["read the CT"], volume = common.timed(lambda: read_volume(ct))
    steps["find the body"], body = common.timed(lambda: find_body(volume))
    steps["find the lungs"], lungs = common.timed(lambda: find_lungs(volume, body))
    steps["tell bone, contrast and metal apart"], _ = common.timed(
        lambda: separate(without_table(volume, body), body, lungs)
    )
    common.print_table(
        [f"once, {volume.hu.shape[::-1]} voxels", "s"], [[step, f"{s:.2f}"] for step, s in steps.items()]
    )

    rows = []
    for name, scene in (("CT", load_scene(volume, "ct")), ("phantom", load_scene(phantom, "phantom"))):
        for view in ("PA", "lateral"):
            pose, technique = VIEWS[view], technique_of(VIEWS[view])

            def expose(twins: bool, pose: Any = pose, technique: Any = technique, scene: Any = scene) -> Any:
                return render(scene, pose, technique, size=SIZE, rng=np.random.default_rng(0), twins=twins)

            first, shown = common.timed(lambda: expose(True))
            seconds: dict[str, list[float]] = {}
            for _ in range(rounds):
                seconds.setdefault("c", []).append(common.timed(lambda: expose(True))[0])
                seconds.setdefault("c, image alone", []).append(common.timed(lambda: expose(False))[0])
                with without_c():
                    seconds.setdefault("numba", []).append(common.timed(lambda: expose(True))[0])
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
    common.print_table(["", "view", "pixels", "", "first view, s", "s: least", "median"], rows)


if __name__ == "__main__":
    common.launch(main)
