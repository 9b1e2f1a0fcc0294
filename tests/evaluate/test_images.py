"""A folder of radiographs becomes an array: what is left out is named and counted, and nothing passes for another."""

from __future__ import annotations

import dataclasses
import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gen.core.errors import BadInput
from gen.core.manifest import split_of
from gen.core.radiograph import Radiograph, write_png
from gen.data.loader import to_pixels_u8
from gen.evaluate.images import ImageSet, digests, mismatches, overlap, read_images, require_apart, require_enough


def noise(seed: int, side: int = 128) -> np.ndarray:
    return np.random.default_rng(seed).random((side, side), np.float32)


def make(folder: Path, images: Mapping[str, np.ndarray], **columns: str) -> Path:
    """A data set of PNG files with a table; every image is of its own patient."""
    folder.mkdir(parents=True)
    for name, pixels in images.items():
        write_png(folder / name, Radiograph(pixels))
    header = ["file_name", "patient_id", *columns]
    lines = [[name, f"{folder.name}-{name}", *columns.values()] for name in images]
    (folder / "metadata.csv").write_text("\n".join(",".join(cells) for cells in [header, *lines]) + "\n")
    return folder


def read(folder: Path, tmp_path: Path, split: str | None = None) -> ImageSet:
    return read_images(folder, 128, split=split, cache=tmp_path / "cache")


def test_the_levels_are_those_of_each_file_in_the_order_of_the_table(tmp_path: Path) -> None:
    images = {f"{k}.png": noise(k, side) for k, side in enumerate((128, 200, 90))}
    found = read(make(tmp_path / "real", images), tmp_path)
    eight_bit = [np.rint(pixels * 255).astype(np.float32) / np.float32(255) for pixels in images.values()]
    np.testing.assert_array_equal(found.pixels_u8, [to_pixels_u8(pixels, 128) for pixels in eight_bit])
    assert (found.sides, found.sha256) == ((128, 200, 90), digests(found.pixels_u8))
    again = read(tmp_path / "real", tmp_path)
    assert again.sha256 == found.sha256
    np.testing.assert_array_equal(again.pixels_u8, found.pixels_u8)


def test_corrupt_constant_duplicate_and_missing_images_are_named_counted_and_left_out(tmp_path: Path) -> None:
    flat, faint = np.full((128, 128), 0.5, np.float32), (0.5 + 0.01 * noise(9)).astype(np.float32)
    images = {"a.png": noise(0), "torn.png": noise(1), "flat.png": flat, "faint.png": faint, "twin.png": noise(0)}
    folder = make(tmp_path / "real", images)
    (folder / "torn.png").write_bytes((folder / "torn.png").read_bytes()[:200])
    Image.open(folder / "twin.png").save(folder / "twin.png", optimize=True, compress_level=1)  # other bytes
    with (folder / "metadata.csv").open("a") as table:
        table.write("gone.png,p\n")
    found = read(folder, tmp_path)
    assert [row.file_name for row in found.rows] == ["a.png"]
    assert dict(found.counts) == {"corrupt": 1, "constant": 2, "duplicate": 1, "unreadable": 1}
    for name in ("torn.png", "flat.png", "faint.png", "twin.png", "gone.png"):
        assert sum(name in line for line in found.excluded) == 1


def test_the_cache_follows_the_bytes_and_not_the_name(tmp_path: Path) -> None:
    """The peers' mistake: features cached under a folder's name and count, then read for another set."""
    folder = make(tmp_path / "real", {"a.png": noise(0), "b.png": noise(1)})
    before = read(folder, tmp_path)
    write_png(folder / "b.png", Radiograph(noise(2)))
    after = read(folder, tmp_path)
    assert before.sha256[0] == after.sha256[0]
    assert before.sha256[1] != after.sha256[1]


def test_a_cache_that_lost_its_pixels_is_filled_again(tmp_path: Path) -> None:
    folder = make(tmp_path / "real", {"a.png": noise(0)})
    before = read(folder, tmp_path)
    for path in (tmp_path / "cache").glob("pixels-*.u8"):  # as what tidies a disk does: the largest files first
        path.unlink()
    np.testing.assert_array_equal(read(folder, tmp_path).pixels_u8, before.pixels_u8)


def test_a_split_is_the_folder_or_the_band_of_the_patient(tmp_path: Path) -> None:
    folder = make(tmp_path / "real", {f"{k}.png": noise(k) for k in range(40)})
    names = {split: {row.patient_id for row in read(folder, tmp_path, split).rows} for split in ("train", "test")}
    assert names["test"] == {
        row.patient_id for row in read(folder, tmp_path).rows if split_of(row.patient_id) == "test"
    }
    assert not names["test"] & names["train"]
    split = tmp_path / "split"
    for name in ("train", "test"):
        make(split / name, {f"{k}.png": noise(k + len(name)) for k in range(2)})
    assert {row.split for row in read(split, tmp_path, "test").rows} == {"test"}


def test_memory_does_not_grow_with_the_set(tmp_path: Path) -> None:
    folder = make(tmp_path / "real", {f"{k}.png": noise(k, 256) for k in range(60)})
    tracemalloc.start()
    found = read_images(folder, 256, cache=tmp_path / "cache")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < found.pixels_u8.nbytes / 2  # of uint8; as float32 it would be eight times this


def test_sets_that_are_too_small_are_refused_and_small_ones_warned_of(tmp_path: Path) -> None:
    found = read(make(tmp_path / "real", {f"{k}.png": noise(k) for k in range(20)}), tmp_path)
    assert require_enough(found, "real", 20, 20) == []
    [warning] = require_enough(found, "real", 20, 21)
    assert "20 real images" in warning
    with pytest.raises(BadInput, match="20 usable real images of 20 patients are too few: at least 21"):
        require_enough(found, "real", 21)
    one = dataclasses.replace(found, rows=tuple(dataclasses.replace(row, patient_id="p") for row in found.rows))
    with pytest.raises(BadInput, match="of 1 patients"):
        require_enough(one, "real", 20)


def test_a_set_is_never_scored_against_itself(tmp_path: Path) -> None:
    real = read(make(tmp_path / "real", {f"{k}.png": noise(k) for k in range(4)}), tmp_path)
    mixed = read(make(tmp_path / "mixed", {"x.png": noise(2), "y.png": noise(50)}), tmp_path)
    apart = read(make(tmp_path / "apart", {"z.png": noise(60)}, source="synthetic:model"), tmp_path)
    assert overlap(mixed, real) == (("x.png", "2.png"),)
    require_apart(real, apart)
    for first, second, words in (
        (real, real, "as the real and as the synthetic folder"),
        (real, mixed, "1 of 2 images .* are real ones"),
        (apart, real, "that they are synthetic"),
    ):
        with pytest.raises(BadInput, match=words):
            require_apart(first, second)


def test_sizes_that_differ_are_told(tmp_path: Path) -> None:
    large = read(make(tmp_path / "large", {"a.png": noise(0, 256), "b.png": noise(1, 256)}), tmp_path)
    small = read(make(tmp_path / "small", {"a.png": noise(2, 64), "b.png": noise(3, 128)}), tmp_path)
    assert mismatches(large, large) == []
    lines = "\n".join(mismatches(large, small))
    for words in ("many sizes, 64 to 128", "1 of 2 synthetic images were enlarged", "reduced 2 fold"):
        assert words in lines


@pytest.mark.parametrize("broken", ["no table", "nothing usable", "no such split"])
def test_a_folder_without_usable_images_is_bad_input(tmp_path: Path, broken: str) -> None:
    folder = make(tmp_path / "real", {"flat.png": np.zeros((128, 128), np.float32)})
    if broken == "no table":
        (folder / "metadata.csv").unlink()
    with pytest.raises(BadInput, match="real"):
        read(folder, tmp_path, "test" if broken == "no such split" else None)
