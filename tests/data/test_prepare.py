"""Preparing: borders go, exposure and place no longer matter, marks are painted over; what does not fit is named."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from gen.core.errors import BadInput
from gen.core.manifest import Manifest, Row, read_manifest, write_manifest
from gen.core.radiograph import Radiograph, read_radiograph, write_png
from gen.data import clean
from gen.data.cli import data
from gen.data.frame import LIMITS, SIDE, Frame, align, fit_frame, matrices
from gen.data.prepare import LEFT_OUT, PrepareConfig, prepare, small_image


def chest(seed: int, side: int = 96) -> np.ndarray:
    """Something like a chest at a random place, size, turn and exposure: a bright body with two dark lungs."""
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[:side, :side] / side - 0.5
    scale, turn = np.exp(rng.uniform(-0.15, 0.15)), rng.uniform(-0.06, 0.06)
    x0, y0 = rng.uniform(-0.05, 0.05, 2)
    x = (across * np.cos(turn) + down * np.sin(turn) - x0) / scale
    y = (down * np.cos(turn) - across * np.sin(turn) - y0) / scale
    pixels = 0.15 + 0.6 / (1 + np.exp(40 * (np.abs(x) - 0.42))) * (1 - 0.2 * y)
    for middle in (-0.18, 0.18):
        pixels -= 0.45 / (1 + np.exp(30 * (np.hypot((x - middle) / 0.13, y / 0.26) - 1)))
    pixels += 0.02 * rng.standard_normal(pixels.shape)
    return np.asarray((0.1 + rng.uniform(0.5, 0.9) * pixels).clip(0, 1), np.float32)


@pytest.fixture(scope="module")
def small() -> tuple[np.ndarray, np.ndarray]:
    pairs = [small_image(chest(seed)) for seed in range(48)]
    return np.stack([image for image, _ in pairs]), np.stack([mask for _, mask in pairs])


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty chests, a lateral and a picture of noise."""
    folder = tmp_path_factory.mktemp("films")
    rows = []
    for number in range(62):
        path = folder / f"{number:02}.png"
        noise = np.random.default_rng(number).random((96, 96), np.float32)
        write_png(path, Radiograph(noise if number == 61 else chest(number)))
        view = "lateral" if number == 60 else "PA"
        rows.append(Row(file=path, patient_id=f"p{number}", source="toy", weights_may_learn=True, view=view))
    write_manifest(folder, rows)
    return folder


@pytest.fixture(scope="module")
def prepared(films: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, list[tuple[str, str]]]:
    return prepare(PrepareConfig(str(films), size=64), tmp_path_factory.mktemp("runs") / "prepared")


@given(st.tuples(*[st.integers(0, 12)] * 4), st.booleans())
def test_borders_are_cut_to_the_line(margins: tuple[int, int, int, int], bright: bool) -> None:
    top, left, bottom, right = margins
    inner = chest(1, 64) * 0.8 + 0.1
    framed = np.pad(inner, ((top, bottom), (left, right)), constant_values=1.0 if bright else 0.0)
    assert clean.content_box(framed) == (top, left, top + 64, left + 64)


@given(st.floats(0.2, 1), st.floats(0, 0.3), st.integers(0, 50))
def test_exposure_does_not_depend_on_gain_and_offset(gain: float, offset: float, seed: int) -> None:
    pixels = chest(seed)
    one, other = clean.normalise_exposure(pixels), clean.normalise_exposure(pixels * gain + offset)
    assert 0 < one.min() <= one.max() < 1
    np.testing.assert_allclose(one, other, atol=2e-3)
    # It is one rising curve for all pixels: what is brighter stays brighter.
    order = np.argsort(pixels, axis=None)
    assert (np.diff(one.ravel()[order]) >= -1e-6).all()


def test_a_letter_beside_the_thorax_is_painted_over_and_the_thorax_is_not_touched() -> None:
    down, across = np.mgrid[:128, :128] / 128
    plain = np.asarray(0.3 + 0.2 * across + 0.1 * down, np.float32)
    marked = plain.copy()
    marked[6:12, 110:113] = marked[6:8, 110:118] = 1.0  # a letter L on its side
    marked[60:64, 60:64] = 1.0  # a clip in the chest
    everywhere = np.ones_like(plain, bool)
    painted = clean.paint_marks(marked, everywhere)
    np.testing.assert_allclose(painted[:20, 100:], plain[:20, 100:], atol=0.02)
    assert (painted[60:64, 60:64] == 1).all()
    assert (clean.paint_marks(plain, everywhere) == plain).all()


def test_what_lies_outside_the_picture_is_continued_smoothly() -> None:
    pixels = np.full((64, 64), 0.5, np.float32)
    inside = np.ones((64, 64), bool)
    pixels[:, 50:], inside[:, 50:] = 0, False
    np.testing.assert_allclose(clean.paint_marks(pixels, inside), 0.5, atol=1e-5)


def test_alignment_takes_most_of_the_variance(small: tuple[np.ndarray, np.ndarray]) -> None:
    images, inside = small
    frame, poses = fit_frame(images, inside)
    from gen.data.frame import warp

    moved = warp(torch.from_numpy(images)[:, None], torch.from_numpy(poses))[:, 0].numpy()
    middle = (slice(None), slice(8, -8), slice(8, -8))
    assert moved[middle].var(0).mean() < 0.4 * images[middle].var(0).mean()
    assert np.abs(poses.mean(0)).max() < 0.08  # as large as the images on average
    assert np.isfinite(frame.residual)


def test_an_image_is_aligned_alone_as_in_company(small: tuple[np.ndarray, np.ndarray]) -> None:
    images, inside = small
    frame, _ = fit_frame(images, inside, rounds=2)
    together, fits = align(images[:6], inside[:6], frame)
    alone, fit = align(images[3:4], inside[3:4], frame)
    np.testing.assert_allclose(alone[0], together[3], atol=1e-4)
    assert fit[0] == fits[3]


@settings(max_examples=30)
@given(st.lists(st.floats(-1, 1), min_size=5, max_size=5))
def test_a_pose_is_nearly_isotropic(draw: list[float]) -> None:
    pose = torch.tensor([[share * limit for share, limit in zip(draw, LIMITS, strict=True)]])
    sizes = torch.linalg.svdvals(matrices(pose)[0, :, :2])
    assert float(sizes[0] / sizes[1]) <= np.exp(2 * LIMITS[1]) * 1.0001


def test_a_frame_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = Frame(*(rng.random(shape).astype(np.float32) for shape in ((SIDE, SIDE), (12, SIDE, SIDE))), 0.5)
    frame.save(tmp_path / "frame.npz")
    again = Frame.load(tmp_path / "frame.npz")
    assert (again.mean == frame.mean).all()
    assert (again.basis == frame.basis).all()
    assert again.residual == frame.residual
    (tmp_path / "other.npz").write_bytes(b"nothing")
    with pytest.raises(BadInput, match="no canonical frame"):
        Frame.load(tmp_path / "other.npz")


def test_every_image_is_prepared_or_named(films: Path, prepared: tuple[Manifest, list[tuple[str, str]]]) -> None:
    manifest, left = prepared
    assert {name for name, _ in left} | {Path(row.file_name).name for row in manifest.rows} == {
        path.name for path in films.glob("*.png")
    }
    reasons = dict(left)
    assert "lateral" in reasons["60.png"]
    assert "does not look like" in reasons["61.png"]
    assert len(manifest.rows) >= 50
    with (manifest.folder / LEFT_OUT).open(newline="") as stream:
        assert [tuple(row) for row in csv.reader(stream)][1:] == left
    for row in manifest.rows:
        assert (row.width, row.height) == read_radiograph(row.file).pixels.shape == (64, 64)
        assert float(row.extra["coverage"]) >= 0.85
        assert {row.extra["sharpness"], row.extra["contrast"]} <= {"low", "medium", "high"}
        assert row.patient_id == f"p{int(row.file.stem)}"


def test_the_same_command_gives_the_same_and_another_is_refused(
    films: Path, prepared: tuple[Manifest, list[tuple[str, str]]]
) -> None:
    manifest, _ = prepared
    assert prepare(PrepareConfig(str(films), size=64), manifest.folder)[0] == manifest
    with pytest.raises(BadInput, match="size: 64 -> 48"):
        prepare(PrepareConfig(str(films), size=48), manifest.folder)


def test_other_images_are_brought_to_the_frame_of_a_prepared_set(
    films: Path, prepared: tuple[Manifest, list[tuple[str, str]]], tmp_path: Path
) -> None:
    manifest, _ = prepared
    few = tmp_path / "few"
    few.mkdir()
    write_png(few / "a.png", read_radiograph(films / "05.png"))
    write_manifest(few, [Row(file=few / "a.png", patient_id="q", view="PA")])
    with pytest.raises(BadInput, match="a frame needs"):
        prepare(PrepareConfig(str(few), size=64), tmp_path / "alone")
    again, _ = prepare(PrepareConfig(str(few), size=64, like=str(manifest.folder)), tmp_path / "like")
    [row] = [row for row in manifest.rows if row.file.name == "05.png"]
    mine, theirs = read_radiograph(again.rows[0].file).pixels, read_radiograph(row.file).pixels
    np.testing.assert_allclose(mine, theirs, atol=0.01)
    assert again.rows[0].extra["sharpness"] == row.extra["sharpness"]


def test_the_command_says_what_it_did(films: Path, tmp_path: Path) -> None:
    table = read_manifest(films)
    few = tmp_path / "few"
    few.mkdir()
    (few / "x.png").write_bytes((films / "01.png").read_bytes())
    write_manifest(few, [replace(table.rows[1], file=few / "x.png", sha256="")])
    outcome = CliRunner().invoke(data, ["prepare", str(few), "--out", str(tmp_path / "out")])
    assert isinstance(outcome.exception, BadInput)
    assert "a frame needs 32" in outcome.exception.message
    assert not (tmp_path / "out").exists()
