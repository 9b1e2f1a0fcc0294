"""The view ends before the scan does: no ray that is kept leaves the body through a face of the scan."""

from __future__ import annotations

import numpy as np
import pytest

from drr.ct.volume import Volume
from drr.framing import scanned_part
from drr.geometry import VIEWS, Geometry, View, place
from gen.core.errors import BadInput

# A block of 300 x 220 x 240 mm (x, y, z) in 4 mm voxels; the body fills it from face to face but for x and y margins.
SHAPE = (60, 55, 75)
VOLUME = Volume(np.zeros(SHAPE, np.int16), (4.0, 4.0, 4.0), name="block")
CENTRE = VOLUME.to_mm((np.array(SHAPE) - 1) / 2)
BOX = (0, 5, 5), (59, 49, 69)
OBLIQUE = View("oblique", 25, 10, roll_deg=3)


def steps_in_body(geometry: Geometry, pixel: np.ndarray) -> np.ndarray:
    """Points (n, 3) in order z, y, x, as fractions of the index, where the ray runs between the body's sides."""
    points = geometry.source_mm + np.linspace(0, 1, 4000)[:, None] * (pixel - geometry.source_mm)
    index = VOLUME.to_index(points)
    return index[((index[:, 1:] >= BOX[0][1:]) & (index[:, 1:] <= BOX[1][1:])).all(axis=1)]


@pytest.mark.parametrize("view", [VIEWS["PA"], VIEWS["AP"], VIEWS["lateral"], OBLIQUE], ids=lambda view: view.name)
def test_every_ray_that_is_kept_stays_in_the_scan_while_it_is_in_the_body(view: View) -> None:
    geometry = scanned_part(place(view, CENTRE, 128), VOLUME, BOX, (), view.name)
    pixels = geometry.pixels_mm()
    for pixel in (*pixels[0, ::10], *pixels[-1, ::10]):
        index = steps_in_body(geometry, pixel)
        assert (index[:, 0] >= BOX[0][0]).all()
        assert (index[:, 0] <= BOX[1][0]).all()


@pytest.mark.parametrize(("name", "depth_mm"), [("PA", 176), ("lateral", 256)])
def test_little_more_is_cropped_than_has_to_be(name: str, depth_mm: float) -> None:
    whole = place(VIEWS[name], CENTRE, 512)
    kept = scanned_part(whole, VOLUME, BOX, (), name)
    height_mm = kept.shape[0] * kept.pitch_mm[0]
    # The steepest ray that is kept grazes the end of the scan at the side of the body that is nearest to the detector.
    assert 0.95 < height_mm / (236 * whole.sdd_mm / (VIEWS[name].sod_mm + depth_mm / 2)) <= 1.0
    assert kept.shape[1] >= 511  # the sides show air, and are kept


def test_only_a_cut_side_crops_columns_and_only_where_rays_run_along_it() -> None:
    whole = place(VIEWS["PA"], CENTRE, 512)
    cut = scanned_part(whole, VOLUME, BOX, ("left",), "PA")
    right = whole.pixel_of(VOLUME.to_mm(np.array([30, 27, 69])))[1]
    last = cut.pixel_of(whole.pixels_mm()[0, 0])[1] * -1 + cut.shape[1] - 1
    assert right - 30 < last < right
    lateral = scanned_part(place(VIEWS["lateral"], CENTRE, 512), VOLUME, BOX, ("left", "right"), "lateral")
    assert lateral.shape[1] >= 511


def test_a_view_that_shows_too_little_is_refused_by_name() -> None:
    away = place(VIEWS["PA"], CENTRE + np.array([0, 0, 260.0]), 128)
    with pytest.raises(BadInput, match=r"block: view PA shows .* too little"):
        scanned_part(away, VOLUME, BOX, (), "PA")


def test_a_turned_grid_is_framed_as_the_same_grid_upright() -> None:
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    turned = Volume(VOLUME.hu, VOLUME.spacing_mm, turn)
    upright = place(VIEWS["PA"], CENTRE, 128)
    geometry = Geometry(
        *(turn @ v for v in (upright.source_mm, upright.corner_mm, upright.row_mm, upright.column_mm)), upright.shape
    )
    assert (
        scanned_part(geometry, turned, BOX, ("left",), "PA").shape
        == scanned_part(upright, VOLUME, BOX, ("left",), "PA").shape
    )
