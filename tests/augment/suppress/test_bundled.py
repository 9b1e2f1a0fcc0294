"""The network that travels with the package: whole, small, and better than doing nothing on a body it never saw."""

from __future__ import annotations

import numpy as np
import pytest

from augment.suppress.folder import load_suppressor
from augment.suppress.job import MARK
from augment.suppress.measures import psnr, signed_residual
from augment.suppress.separate import separate, twin_without_bone
from drr.geometry import VIEWS
from drr.masks import mask_stack
from drr.phantom.chest import make_phantom
from drr.physics.technique import technique_of
from drr.projection import Projection, render
from drr.scene import load_scene
from gen.core.bundled import bundled_suppressor
from gen.core.files import verify_folder
from gen.core.radiograph import Radiograph


@pytest.fixture(scope="module")
def projection() -> Projection:
    scene = load_scene(make_phantom("F", "slim", 44, seed=12345, spacing_mm=(2.0, 1.5, 1.5)), "nobody")
    masks = {"lungs": mask_stack(scene.lungs > 0, scene.volume)}
    rng = np.random.default_rng(0)
    return render(scene, VIEWS["PA"], technique_of(VIEWS["PA"]), size=640, rng=rng, twins=True, masks=masks)


def test_it_is_whole_and_small_and_its_card_tells_its_sources() -> None:
    folder = bundled_suppressor()
    assert verify_folder(folder) == []
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 4_000_000
    card = (folder / "README.md").read_text(encoding="utf-8")
    for told in ("CC BY 3.0", "CC BY 4.0", "LIDC-IDRI", "QIN LUNG CT", "Not for clinical use", "doi:"):
        assert told in card


def test_it_takes_bone_out_of_a_phantom_that_it_never_saw(projection: Projection) -> None:
    image, soft, lungs = projection.image, projection.soft, projection.masks["lungs"]
    assert soft is not None
    bone, ribs = image - soft, lungs & (projection.paths_mm["bone"] > 1)
    predicted = separate(load_suppressor(), image).soft
    assert abs(signed_residual(predicted, soft, bone, ribs)) < 0.6
    assert psnr(predicted, soft, lungs) > psnr(image, soft, lungs) + 2


def test_the_twin_of_a_data_set_is_marked_as_estimated(projection: Projection) -> None:
    image = Radiograph(projection.image, (0.6, 0.6), {"synthetic": "yes"})
    twin = twin_without_bone(image)
    assert twin.pixels.shape == image.pixels.shape
    assert (twin.pixels <= image.pixels).all()
    assert not np.array_equal(twin.pixels, image.pixels)
    assert twin.provenance[MARK] == "estimated"
    assert twin.provenance["synthetic"] == "yes"
