"""What a radiograph costs from a CT in memory: each step once for a patient, then the whole chain of a view at 1024 px.

The chain is projection, spectrum, scatter, blur and noise, grey levels, and both twins. The projector's back ends take
turns; a view that was not seen before pays for its group sums once, and is timed apart. Last, what it saves that a
phantom knows its own body, lungs and bone: the same phantoms once more, searched as any CT is.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import click
import numpy as np

from augment.bodies.scenes import phantom_of
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
from gen.language.study import Study

SIZE = 1024
SMALL = 256  # pixels a side, for which phantoms are prepared


def without_c() -> Any:
    """Inside, there is no C extension, so that "auto" is numba."""
    return mock.patch.object(native, "load", side_effect=EnvironmentLacks("switched off"))


def preparation(seed: int) -> list[str]:
    """The voxels of a phantom, and the seconds of processor time to load it as what it is and as any CT."""
    phantom, _ = phantom_of(Study(), seed, SMALL)
    unlabelled = {key: value for key, value in phantom.facts.items() if key != "phantom"}
    seconds = []
    for volume in (phantom, replace(phantom, facts=unlabelled)):
        start = time.process_time()
        load_scene(volume, "phantom")
        seconds.append(f"{time.process_time() - start:.2f}")
    return [" x ".join(str(n) for n in phantom.hu.shape), *seconds]


@click.command(help=__doc__)
@common.ct_option
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True)
@click.option("--phantoms", type=click.IntRange(0), default=3, show_default=True, help="Individuals to prepare.")
def main(ct: Path, rounds: int, phantoms: int) -> None:
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
    print()
    prepared = [preparation(seed) for seed in range(phantoms)]
    common.print_table([f"phantom at {SMALL} pixels", "as a phantom, s of processor", "as any CT"], prepared)


if __name__ == "__main__":
    common.launch(main)
