"""Preparing: borders go, exposure and place no longer matter, marks are painted over; what does not fit is named."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gen.core.bundled import bundled_frame
from gen.core.errors import BadInput, GenError
from gen.core.manifest import Manifest, Row, read_manifest, write_manifest
from gen.core.radiograph import Radiograph, resize, write_png
from gen.data import clean
from gen.data.cli import data
from gen.data.frame import LIMITS, SIDE, Frame, align, fit_frame, matrices, to_canonical
from gen.data.prepare import LEFT_OUT, MEASURED_AT, PrepareConfig, prepare, small_image
from gen.images.reader import read_radiograph


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
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty chests, a lateral and a picture of noise."""
    folder = tmp_path_factory.mktemp("radiographs")
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
def prepared(radiographs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, list[tuple[str, str]]]:
    manifest, left, unread = prepare(
        PrepareConfig(str(radiographs), size=64, new_frame=True), tmp_path_factory.mktemp("runs") / "prepared"
    )
    assert unread == []
    return manifest, left


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


@pytest.mark.parametrize("seen", [0, 1, 64])
def test_an_image_that_shows_next_to_nothing_is_filled_too(seen: int) -> None:
    pixels, inside = np.full((64, 64), 0.5, np.float32), np.zeros((64, 64), bool)
    inside.flat[:seen] = True
    np.testing.assert_allclose(clean.paint_marks(np.where(inside, pixels, 0.5), inside), 0.5, atol=1e-5)


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
    other = tmp_path / "other.npz"
    whole = (tmp_path / "frame.npz").read_bytes()
    for content in (b"", b"nothing", whole[:-100]):
        other.write_bytes(content)
        with pytest.raises(BadInput, match="no canonical frame"):
            Frame.load(other)
    with other.open("wb") as stream:
        np.save(stream, frame.mean)
    with pytest.raises(BadInput, match="no canonical frame"):
        Frame.load(other)
    Frame(frame.mean[1:], frame.basis, 0.5).save(other)
    with pytest.raises(BadInput, match=r"its arrays are \(47, 48\)"):
        Frame.load(other)


def test_every_image_is_prepared_or_named(radiographs: Path, prepared: tuple[Manifest, list[tuple[str, str]]]) -> None:
    manifest, left = prepared
    assert {name for name, _ in left} | {Path(row.file_name).name for row in manifest.rows} == {
        path.name for path in radiographs.glob("*.png")
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
    radiographs: Path, prepared: tuple[Manifest, list[tuple[str, str]]]
) -> None:
    manifest, _ = prepared
    assert prepare(PrepareConfig(str(radiographs), size=64, new_frame=True), manifest.folder)[0] == manifest
    with pytest.raises(BadInput, match="size: 64 -> 48"):
        prepare(PrepareConfig(str(radiographs), size=48, new_frame=True), manifest.folder)


def test_other_images_are_brought_to_the_frame_of_a_prepared_set(
    radiographs: Path, prepared: tuple[Manifest, list[tuple[str, str]]], tmp_path: Path
) -> None:
    manifest, _ = prepared
    few = tmp_path / "few"
    few.mkdir()
    write_png(few / "a.png", read_radiograph(radiographs / "05.png"))
    write_manifest(few, [Row(file=few / "a.png", patient_id="q", view="PA")])
    with pytest.raises(BadInput, match="a frame needs"):
        prepare(PrepareConfig(str(few), size=64, new_frame=True), tmp_path / "alone")
    again, _, _ = prepare(PrepareConfig(str(few), size=64, like=str(manifest.folder)), tmp_path / "like")
    [row] = [row for row in manifest.rows if row.file.name == "05.png"]
    mine, theirs = read_radiograph(again.rows[0].file).pixels, read_radiograph(row.file).pixels
    np.testing.assert_allclose(mine, theirs, atol=0.01)
    assert again.rows[0].extra["sharpness"] == row.extra["sharpness"]
    other = shutil.copytree(manifest.folder, tmp_path / "other")
    prepare(PrepareConfig(str(few), size=64, like=str(other)), tmp_path / "twice")
    frame = Frame.load(other / "frame.npz")
    replace(frame, residual=2 * frame.residual).save(other / "frame.npz")
    with pytest.raises(BadInput, match="like: "):
        prepare(PrepareConfig(str(few), size=64, like=str(other)), tmp_path / "twice")


def test_a_like_of_another_kind_or_size_is_refused_before_any_work(
    radiographs: Path, prepared: tuple[Manifest, list[tuple[str, str]]], tmp_path: Path
) -> None:
    folder = prepared[0].folder
    with pytest.raises(BadInput, match="no canonical frame"):
        prepare(PrepareConfig(str(radiographs), size=64, like=str(radiographs)), tmp_path / "out")
    without = tmp_path / "without"
    shutil.copytree(folder, without)
    (without / "scales.json").write_text("{}")
    with pytest.raises(BadInput, match="does not hold the terciles"):
        prepare(PrepareConfig(str(radiographs), size=64, like=str(without)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_all_that_is_said_of_an_image_stays_true(
    radiographs: Path, prepared: tuple[Manifest, list[tuple[str, str]]], tmp_path: Path
) -> None:
    """Reached by a link, with one name twice, synthetic: nothing is overwritten, mixed up, or taken for real."""
    real, link = tmp_path / "real", tmp_path / "link"
    (real / "test").mkdir(parents=True)
    link.symlink_to(real)
    one, other = (read_radiograph(radiographs / name).pixels for name in ("05.png", "06.png"))
    write_png(real / "test/a.png", Radiograph(one, None, {"synthetic": "yes", "prompt": "PA view."}))
    Image.fromarray(np.rint(other * 255).astype(np.uint8)).save(real / "test/a.jpg", quality=100)
    write_png(real / "test/b.png", Radiograph(one))
    views = {"a.png": "PA", "a.jpg": "PA", "b.png": "lateral"}
    write_manifest(real, [Row(file=real / "test" / n, patient_id=n, view=v, split="test") for n, v in views.items()])
    like = str(prepared[0].folder)
    manifest, left, _ = prepare(PrepareConfig(str(link), size=64, like=like), tmp_path / "out")
    assert left == [("test/b.png", "a lateral view: the frame is of frontal ones")]
    theirs = {row.file.name: read_radiograph(row.file) for row in prepared[0].rows}
    found = {row.patient_id: read_radiograph(row.file) for row in manifest.rows}
    np.testing.assert_allclose(found["a.png"].pixels, theirs["05.png"].pixels, atol=0.01)
    np.testing.assert_allclose(found["a.jpg"].pixels, theirs["06.png"].pixels, atol=0.05)
    assert found["a.png"].provenance["synthetic"] == "yes"
    assert "synthetic" not in found["a.jpg"].provenance


def test_a_set_of_which_nothing_fits_is_refused_and_the_list_says_why(
    prepared: tuple[Manifest, list[tuple[str, str]]], tmp_path: Path
) -> None:
    folder, out = tmp_path / "data", tmp_path / "out"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no image")
    write_manifest(folder, [Row(file=folder / "a.png", patient_id="q", view="PA")])
    with pytest.raises(BadInput, match="says why"):
        prepare(PrepareConfig(str(folder), size=64, like=str(prepared[0].folder)), out)
    assert "a.png" in (out / LEFT_OUT).read_text()
    (folder / "a.png").write_bytes(b"another")
    with pytest.raises(BadInput, match="started with another config"):
        prepare(PrepareConfig(str(folder), size=64, like=str(prepared[0].folder)), out)


def test_a_frame_learns_from_what_weights_may_learn_and_what_can_be_read(radiographs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(radiographs, folder)
    rows = read_manifest(folder).rows
    write_manifest(folder, [replace(row, weights_may_learn=False) for row in rows])
    with pytest.raises(BadInput, match="has 0 frontal images of training patients"):
        prepare(PrepareConfig(str(folder), size=64, new_frame=True), tmp_path / "out")
    write_manifest(folder, rows)
    for row in rows[3:]:
        row.file.write_bytes(b"no image")
    with pytest.raises(BadInput, match=r"has [0-3] frontal images of training patients"):
        prepare(PrepareConfig(str(folder), size=64, new_frame=True), tmp_path / "out")


def test_what_cannot_be_read_is_named_and_the_others_are_done(
    radiographs: Path, prepared: tuple[Manifest, list[tuple[str, str]]], tmp_path: Path
) -> None:
    table = read_manifest(radiographs)
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    contents = {name: (radiographs / name).read_bytes() for name in ("01.png", "02.png", "03.png", "04.png")}
    contents |= {"01.png": b"", "03.png": contents["03.png"][:-100]}
    for name, content in contents.items():
        (mixed / name).write_bytes(content)
    rows = [replace(row, file=mixed / row.file.name, sha256="") for row in table.rows if row.file.name in contents]
    write_manifest(mixed, rows)
    like, out = str(prepared[0].folder), tmp_path / "out"
    outcome = CliRunner().invoke(data, ["prepare", str(mixed), "--size", "64", "--like", like, "--out", str(out)])
    assert isinstance(outcome.exception, GenError)
    assert outcome.exception.exit_code == 1
    assert "2 of 4 images could not be read" in outcome.exception.message
    assert [line.split(":")[1].strip() for line in outcome.stderr.splitlines() if line.startswith("error")] == [
        str(mixed / "01.png"),
        str(mixed / "03.png"),
    ]
    assert [Path(row.file_name).name for row in read_manifest(out).rows] == ["02.png", "04.png"]


def test_the_command_says_what_it_did(radiographs: Path, tmp_path: Path) -> None:
    table = read_manifest(radiographs)
    few = tmp_path / "few"
    few.mkdir()
    (few / "x.png").write_bytes((radiographs / "01.png").read_bytes())
    write_manifest(few, [replace(table.rows[1], file=few / "x.png", sha256="")])
    outcome = CliRunner().invoke(data, ["prepare", str(few), "--out", str(tmp_path / "out"), "--new-frame"])
    assert isinstance(outcome.exception, BadInput)
    assert "a frame needs 32" in outcome.exception.message
    assert not (tmp_path / "out").exists()


def test_without_a_word_the_frame_of_the_package_is_used(radiographs: Path, tmp_path: Path) -> None:
    table = read_manifest(radiographs)
    few = tmp_path / "few"
    few.mkdir()
    (few / "x.png").write_bytes((radiographs / "01.png").read_bytes())
    write_manifest(few, [replace(table.rows[1], file=few / "x.png", sha256="")])
    manifest, left, _ = prepare(PrepareConfig(str(few), size=64), tmp_path / "out")
    assert len(manifest.rows) + len(left) == 1
    assert (tmp_path / "out" / "frame.npz").read_bytes()
    stored, shipped = Frame.load(tmp_path / "out" / "frame.npz"), Frame.load(bundled_frame() / "frame.npz")
    assert (stored.mean == shipped.mean).all()
    # Its basis is orthonormal, and the mean is what a chest looks like: two dark lungs beside a bright mediastinum.
    flat = shipped.basis.reshape(len(shipped.basis), -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-4)
    row = shipped.mean[SIDE // 3]
    assert row[SIDE // 4 : SIDE // 3].mean() + 0.2 < row[SIDE // 2 - 2 : SIDE // 2 + 2].mean()
    with pytest.raises(BadInput, match="both given"):
        prepare(PrepareConfig(str(few), like=str(few), new_frame=True), tmp_path / "both")


def test_detail_too_fine_for_the_prepared_size_is_averaged_and_makes_no_pattern() -> None:
    down, across = np.mgrid[:1536, :1536]
    stripes = np.asarray((across // 3 + down // 3) % 2, np.float32)
    pixels, inside = to_canonical(stripes, np.zeros(5, np.float32), 64)
    assert inside.all()
    assert float(np.abs(pixels - 0.5).max()) < 0.05


def test_sharpness_is_compared_at_one_size() -> None:
    pixels = chest(3, 512)
    large, small_ = (clean.sharpness(resize(resize(pixels, side), MEASURED_AT)) for side in (512, 256))
    assert large == pytest.approx(small_, rel=0.1)
