"""An image made again from its record."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from toy_job import toy_job

from augment.dataset.job import make_dataset
from augment.dataset.replay import find, replay_row, row_of
from augment.dataset.shards.folder import config_of, entries, read_shard
from gen.core.errors import BadInput
from gen.core.files import write_json


@pytest.fixture(scope="module")
def made(toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sets") / "replayed"
    make_dataset(toy_job(out, toy_model), quiet=True)
    return out


@pytest.mark.parametrize("number", [0, 7])
def test_the_image_is_the_same_byte_for_byte(made: Path, tmp_path: Path, number: int) -> None:
    again = replay_row(made, str(number), tmp_path, device="cpu")
    assert (again.same_file, again.of_record, again.of_pixels) == (True, (), "")
    stored = {record["number"]: files["png"] for entry in entries(made) for record, files in read_shard(made, entry)}
    assert again.file.read_bytes() == stored[number]
    record, _ = find(made, str(number))
    assert replay_row(made, record["id"], tmp_path, device="cpu").file == again.file


def test_another_torch_or_seed_would_be_noticed(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from augment.dataset import replay

    record, png = find(made, "3")
    changed = {**record, "seed": record["seed"] + 1, "provenance": {**record["provenance"], "network": "another"}}
    monkeypatch.setattr(replay, "find", lambda folder, row: (changed, png))
    again = replay_row(made, "3", tmp_path, device="cpu")
    assert any(change.startswith("network 'another' -> 'cpu float32") for change in again.of_record)
    assert "pixels, by up to" in again.of_pixels
    assert not again.same_file


def test_an_image_of_another_noise_is_not_made_again(made: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(made, tmp_path / "copy"))
    data = json.loads((copy / "dataset.json").read_bytes())
    del data["noise"]
    write_json(copy / "dataset.json", data)
    with pytest.raises(BadInput, match="seeds mean other images"):
        replay_row(copy, "3", tmp_path / "out", device="cpu")


def test_a_record_that_was_changed_is_refused(made: Path) -> None:
    record, _ = find(made, "3")
    assert row_of(record, config_of(made).seed).number == 3
    for key, value in (("prompt", "PA view."), ("number", 4), ("source", "drr")):
        with pytest.raises(BadInput, match="was changed"):
            row_of({**record, key: value}, config_of(made).seed)
    study = json.loads(json.dumps(record["study"]))
    study["sex"] = "M"
    with pytest.raises(BadInput, match="was changed"):
        row_of({**record, "study": study}, config_of(made).seed)


@pytest.mark.parametrize(
    ("folder", "row", "named"), [("made", "99", "no row '99'"), ("nowhere", "0", "not a data set")]
)
def test_what_is_not_there_is_said(made: Path, tmp_path: Path, folder: str, row: str, named: str) -> None:
    with pytest.raises(BadInput, match=named):
        replay_row(made if folder == "made" else tmp_path / folder, row, tmp_path)
