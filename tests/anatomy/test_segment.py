from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from gen.anatomy.cli import segment as command
from gen.anatomy.network import ORGANS
from gen.anatomy.reading import RULES
from gen.anatomy.twin import organs
from gen.core.dicom import dicom_bytes
from gen.core.manifest import read_manifest
from gen.core.radiograph import Radiograph, write_png
from tests.anatomy.drawn import Drawn, DrawnAnatomy, film

CHEST = Drawn()


@pytest.fixture(autouse=True)
def _drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gen.anatomy.folder.load_anatomy", lambda *_: DrawnAnatomy(CHEST))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two films, one of them not square and DICOM, and a grey picture that shows no chest."""
    folder = tmp_path / "images"
    folder.mkdir()
    whole = film(CHEST.masks(300))
    write_png(folder / "film.png", Radiograph(whole, provenance={"synthetic": "yes"}))
    narrow = Radiograph(np.ascontiguousarray(whole[:, 20:280]))
    scan = dicom_bytes(narrow, photometric="MONOCHROME1", patient={"id": "1"}, attributes={})
    (folder / "scan").write_bytes(scan)
    grey = np.linspace(0.3, 0.5, 300 * 300, dtype=np.float32).reshape(300, 300)
    write_png(folder / "wall.png", Radiograph(grey))
    return folder


def _run(*arguments: object) -> tuple[int, str, str]:
    ended = CliRunner().invoke(command, [*map(str, arguments), "--quiet"])
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return ended.exit_code, ended.stdout, ended.stderr


def _read_mask(path: Path, shape: tuple[int, int]) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.size == shape[::-1]
        return np.asarray(picture, np.float32) / 255


def test_each_image_has_masks_of_its_size_and_its_measurements(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, _, _ = _run(images / "film.png", images / "scan", "--out", out)
    assert code == 0
    rows = {row.extra["image"]: row for row in read_manifest(out).rows}
    assert set(rows) == {"film.png", "scan"}
    for name, columns in (("film", slice(0, 300)), ("scan", slice(20, 280))):
        for organ, exact in zip(ORGANS, CHEST.masks(300)[..., columns], strict=True):
            mask = _read_mask(out / "masks" / name / f"{organ.replace(' ', '_')}.png", exact.shape)
            assert mask.shape == exact.shape
            assert ((mask > 0.5) != exact).mean() < 0.02
    assert float(rows["film.png"].extra["cardiothoracic_ratio"]) == pytest.approx(0.4 / 0.7, abs=0.02)
    assert rows["film.png"].extra["right_costophrenic_degrees"] != "nan"
    with Image.open(rows["film.png"].file) as picture:
        assert picture.mode == "RGB"
        assert picture.text["synthetic"] == "yes"  # type: ignore[attr-defined]  # Pillow's PNG has it


def test_of_several_images_the_broken_one_is_named_and_the_others_are_done(images: Path, tmp_path: Path) -> None:
    (images / "torn.png").write_bytes((images / "film.png").read_bytes()[:400])
    code, stdout, stderr = _run(images, "--out", tmp_path / "out", "--json")
    assert code == 1
    assert "torn.png: " in stderr
    assert "wall.png: no lung was found" in stderr
    lines = {Path(line["file"]).name: line for line in map(json.loads, stdout.splitlines())}
    assert {name for name, line in lines.items() if line["problem"]} == {"torn.png", "wall.png"}
    assert not (tmp_path / "out" / "masks" / "wall").exists()
    with (tmp_path / "out" / "left_out.csv").open(newline="") as stream:
        assert {Path(row["file"]).name for row in csv.DictReader(stream)} == {"torn.png", "wall.png"}


def test_the_same_command_goes_on_and_changes_nothing(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _run(images / "film.png", "--out", out)
    first = {path: path.stat().st_mtime_ns for path in (out / "masks").rglob("*.png")}
    code, _, _ = _run(images / "film.png", images / "scan", "--out", out)
    assert code == 0
    assert {path: path.stat().st_mtime_ns for path in first} == first
    assert len(read_manifest(out).rows) == 2
    next(iter(first)).unlink()  # what is missing is made again
    _run(images / "film.png", "--out", out)
    assert all(path.exists() for path in first)
    assert len(read_manifest(out).rows) == 2


@pytest.mark.parametrize("bad", [b"no picture", None], ids=["broken", "no chest"])
def test_an_image_that_was_replaced_by_a_good_one_is_left_out_no_more(
    images: Path, tmp_path: Path, bad: bytes | None
) -> None:
    film_file, out = images / "film.png", tmp_path / "out"
    good = film_file.read_bytes()
    film_file.write_bytes(bad or (images / "wall.png").read_bytes())
    _run(film_file, images / "wall.png", "--out", out)
    film_file.write_bytes(good)
    assert _run(film_file, "--out", out)[0] == 0
    with (out / "left_out.csv").open(newline="") as stream:
        assert [Path(row["file"]).name for row in csv.DictReader(stream)] == ["wall.png"]


def test_other_rules_do_not_continue_a_folder(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _run(images / "film.png", "--out", out)
    config = (out / "config.yaml").read_text()
    (out / "config.yaml").write_text(config.replace(f"rules: {RULES}", f"rules: {RULES - 1}"))
    ended = CliRunner().invoke(command, [str(images / "film.png"), "--out", str(out)])
    assert "rules" in str(ended.exception)


def test_images_of_one_name_do_not_overwrite_each_other(images: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    write_png(tmp_path / "more" / "film.png", Radiograph(film(CHEST.masks(200))))
    code, _, _ = _run(images / "film.png", tmp_path / "more", "--out", tmp_path / "out")
    assert code == 0
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 2


def test_a_label_map_gives_each_pixel_the_organ_in_front(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert _run(images / "film.png", "--out", out, "--multilabel")[0] == 0
    names = json.loads((out / "labels.json").read_text())
    with Image.open(out / "masks" / "film.png") as picture:
        labels = np.asarray(picture)
    exact = dict(zip(ORGANS, CHEST.masks(300), strict=True))
    in_front = exact["heart"] & ~exact["ribs"] & ~exact["right clavicle"] & ~exact["left clavicle"]
    assert (labels[in_front] == names["heart"]).mean() > 0.97
    assert set(np.unique(labels)) <= {0, *names.values()}


def test_another_kind_of_masks_does_not_continue_a_folder(images: Path, tmp_path: Path) -> None:
    _run(images / "film.png", "--out", tmp_path / "out")
    ended = CliRunner().invoke(command, [str(images / "film.png"), "--out", str(tmp_path / "out"), "--multilabel"])
    assert "multilabel" in str(ended.exception)


def test_a_data_set_is_read_by_its_table(images: Path, tmp_path: Path) -> None:
    (images / "metadata.csv").write_text("file_name\nfilm.png\n")
    _run(images, "--out", tmp_path / "out")
    assert [row.extra["image"] for row in read_manifest(tmp_path / "out").rows] == ["film.png"]


def test_what_is_not_there_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, words in (("empty", "holds no image"), ("nowhere", "no such file")):
        ended = CliRunner().invoke(command, [str(tmp_path / name), "--out", str(tmp_path / "out")])
        assert words in str(ended.exception)
        assert not (tmp_path / "out").exists()


def test_the_organs_twin_is_the_label_map_or_says_why_it_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gen.anatomy.twin._network", lambda: DrawnAnatomy(CHEST))
    whole = organs(Radiograph(film(CHEST.masks(200)), (1.0, 1.0)))
    levels = np.rint(whole.pixels * 255).astype(int)
    assert (levels[CHEST.masks(200)[ORGANS.index("ribs")]] == ORGANS.index("ribs") + 1).mean() > 0.95
    assert "refused" not in whole.provenance
    empty = organs(Radiograph(np.linspace(0.3, 0.5, 4096, dtype=np.float32).reshape(64, 64)))
    assert not empty.pixels.any()
    assert empty.provenance["refused"] == "no lung was found"
