"""Exact masks of projected phantoms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from drr.geometry import VIEWS, place
from drr.insert.request import LesionRequest
from drr.masks import label_stacks, project_masks
from drr.phantom.chest import make_phantom
from drr.scene import Scene, insert, load_scene
from tests.anatomy.drawn import organs_of

Project = Callable[..., np.ndarray]


@pytest.fixture(scope="session")
def bodies() -> dict[str | None, Scene]:
    """One phantom by the grade of its cardiomegaly; None: a heart of usual size."""
    plain = load_scene(make_phantom("M", "average", 50, 0, (4.0, 3.0, 3.0)), "phantom")
    grades = ("mild", "moderate", "severe")
    requests = {grade: LesionRequest("Cardiomegaly", severity=grade) for grade in grades}
    return {None: plain} | {
        grade: insert(plain, [request], np.random.default_rng(0)) for grade, request in requests.items()
    }


@pytest.fixture(scope="session")
def project(bodies: dict[str | None, Scene]) -> Project:
    """``project(grade, view, **pose)``: the organ masks, bool (10, 256, 256)."""

    def call(grade: str | None = None, view: str = "PA", **pose: float) -> np.ndarray:
        scene = bodies[grade]
        geometry = place(replace(VIEWS[view], **pose), scene.centre_mm, 256, 430.0)
        return organs_of(project_masks(label_stacks(scene.volume), geometry))

    return call
