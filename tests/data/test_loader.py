"""Pixels for training: what is on disk, whole and unflipped; augmentation moves gently and keeps left left."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gen.core.errors import BadInput
from gen.core.manifest import Row
from gen.core.radiograph import Radiograph, write_png
from gen.data.loader import Augmentation, augment, evenly, pixel_cache, to_model_range, to_pixels_u8

STILL = Augmentation(0, 0, 0, 0)


def image_row(folder: Path, name: str, pixels: np.ndarray, sha256: str = "") -> Row:
    write_png(folder / name, Radiograph(pixels.astype(np.float32), None, {}))
    return Row(file=folder / name, file_name=name, sha256=sha256)


def left_bright(count: int = 1, side: int = 32) -> torch.Tensor:
    images = torch.full((count, 1, side, side), -0.8)
    images[..., : side // 2] = 0.8
    return images


def test_levels_are_the_pixels_padded_to_a_square_and_rounded() -> None:
    pixels = np.random.default_rng(0).random((16, 16)).astype(np.float32)
    np.testing.assert_array_equal(to_pixels_u8(pixels, 16), np.rint(pixels * 255))
    wide = to_pixels_u8(np.ones((8, 16), np.float32), 16)
    assert (wide[4:12] == 255).all()
    assert (wide[:4] == 0).all()
    assert (wide[12:] == 0).all()


@given(st.integers(0, 255))
def test_model_range_is_minus_one_to_one(level: int) -> None:
    images = to_model_range(np.full((2, 3, 3), level, np.uint8))
    assert images.shape == (2, 1, 3, 3)
    assert images.dtype == torch.float32
    torch.testing.assert_close(images, torch.full((2, 1, 3, 3), level / 255 * 2 - 1))


def test_the_cache_holds_the_images_in_the_order_of_the_rows(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16))
    rows = [image_row(tmp_path, f"{i}.png", image / 255) for i, image in enumerate(pixels)]
    cache = pixel_cache(rows[::-1], 16, tmp_path / "cache")
    np.testing.assert_array_equal(cache, pixels[::-1])
    assert cache.dtype == np.uint8
    assert pixel_cache([], 16, tmp_path / "cache").shape == (0, 16, 16)


def test_the_cache_is_built_once_and_anew_when_size_rows_or_files_change(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    ramp = np.linspace(0, 0.5, 256).reshape(16, 16)
    rows = [image_row(tmp_path, f"{i}.png", ramp + i / 10) for i in range(3)]
    pixel_cache(rows, 16, folder)
    [first] = folder.iterdir()
    stamp = first.stat().st_mtime_ns
    pixel_cache(rows, 16, folder)
    assert [path.stat().st_mtime_ns for path in folder.iterdir()] == [stamp]
    pixel_cache(rows, 8, folder)
    pixel_cache(rows[:2], 16, folder)
    assert len(list(folder.iterdir())) == 3
    image_row(tmp_path, "0.png", ramp + 0.4)
    os.utime(tmp_path / "0.png", ns=(1, stamp + 10**9))
    assert pixel_cache(rows, 16, folder)[0, 0, 0] == round(0.4 * 255)


def test_what_is_shown_otherwise_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [image_row(tmp_path, "a.png", np.eye(8))]
    pixel_cache(rows, 8, tmp_path / "cache")
    monkeypatch.setattr("gen.data.loader.DISPLAY", -1)
    pixel_cache(rows, 8, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_file_that_is_no_image_is_named_and_leaves_no_cache(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    rows = [image_row(tmp_path, "good.png", np.eye(8)), Row(file=tmp_path / "bad.png", file_name="bad.png")]
    with pytest.raises(BadInput, match=r"bad\.png"):
        pixel_cache(rows, 8, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_no_augmentation_is_the_identity() -> None:
    images = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(augment(images, [1, 2, 3], STILL), images, atol=1e-4, rtol=0)


@given(st.integers(0, 2**64 - 1))
def test_the_left_half_stays_on_the_left_and_the_top_on_top(seed: int) -> None:
    moved = augment(left_bright(), [seed], Augmentation())
    assert float(moved[..., :12].mean()) > 0.6
    assert float(moved[..., 20:].mean()) < -0.6
    turned = augment(left_bright().transpose(2, 3), [seed], Augmentation())
    assert float(turned[..., :12, :].mean()) > 0.6
    assert float(turned[..., 20:, :].mean()) < -0.6


@given(st.integers(0, 2**64 - 1))
def test_pixels_stay_in_range_and_edges_are_repeated_and_never_black(seed: int) -> None:
    images = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(seed % 1000)) * 2 - 1
    moved = augment(images, [seed], Augmentation(turn_degrees=10, zoom=0.2, shift=0.1))
    assert float(moved.min()) >= -1
    assert float(moved.max()) <= 1
    white = augment(torch.ones(1, 1, 16, 16), [seed], Augmentation(turn_degrees=10, zoom=0.2, shift=0.1))
    torch.testing.assert_close(white, torch.ones(1, 1, 16, 16))


def test_each_image_is_moved_by_its_own_seed() -> None:
    images = left_bright(3)
    together = augment(images, [1, 2, 3], Augmentation())
    torch.testing.assert_close(augment(images[:1], [2], Augmentation()), together[1:2])
    assert not torch.equal(together[0], together[1])


def test_gamma_alone_keeps_every_pixel_in_its_place() -> None:
    images = torch.linspace(-1, 1, 256).reshape(1, 1, 16, 16)
    moved = augment(images, [5], Augmentation(0, 0, 0, 0.3))
    assert (moved.flatten().diff() > -1e-4).all()
    assert float(moved[0, 0, 0, 0]) == pytest.approx(-1, abs=1e-3)
    assert float(moved[0, 0, -1, -1]) == pytest.approx(1, abs=1e-3)
    assert not torch.allclose(moved, images, atol=1e-3)


def test_a_choice_is_spread_over_the_whole_and_in_order() -> None:
    for count in (1, 3, 64, 65, 1000):
        chosen = evenly(np.arange(count), 64)
        assert len(chosen) == min(count, 64)
        assert np.diff(chosen).max(initial=0) - np.diff(chosen).min(initial=count) <= 1
        assert chosen[-1] >= count - count // 32 - 1


def test_augmentation_moves_an_edge_by_as_much_as_its_docstring_says() -> None:
    how = Augmentation(turn_degrees=0, log_gamma=0)
    ramp = torch.linspace(-1, 1, 201).expand(1, 1, 201, 201)
    edges = [float(augment(ramp, [seed], how)[0, 0, 100, 0]) for seed in range(3000)]
    assert 0.02 < (max(edges) + 1) / 2 <= 0.051
