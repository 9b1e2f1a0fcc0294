"""A whole job on the toy model: quotas, resuming, slices, and what it refuses."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy_job import ROWS, SHARD, digests, toy_job
from whole_set import content

from augment.dataset import executors, finish, job
from augment.dataset.config import DatasetConfig, Gates, Target
from augment.dataset.generate import Work, Worker
from augment.dataset.job import Slice, make_dataset
from augment.dataset.shards.counts import FINAL, MISSING, TRIED
from augment.dataset.shards.folder import committed, entries
from augment.dataset.verify import verify_dataset
from gen.core.errors import BadInput, EnvironmentLacks, GenError


@pytest.fixture(scope="module")
def whole(toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy job, done in one go, with every format."""
    out = tmp_path_factory.mktemp("sets") / "whole"
    done = make_dataset(toy_job(out, toy_model, formats=["imagefolder", "parquet", "dicom"]), quiet=True)
    assert done.complete
    return out


def test_a_set_has_its_quotas_exactly_and_verifies(whole: Path) -> None:
    assert verify_dataset(whole) == []
    records = [record for entry in entries(whole) for record in entry.records]
    assert sorted(record["number"] for record in records) == list(range(ROWS))
    assert Counter(record["cell"].rpartition("=")[2] for record in records) == {"No Finding": 5, "Pleural Effusion": 5}
    assert json.loads((whole / "_SUCCESS").read_text())["images"] == ROWS


def test_doing_it_again_changes_not_a_byte(whole: Path, toy_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(whole)
    monkeypatch.setattr(job, "open_worker", None)  # nothing is loaded where nothing is to be made
    done = make_dataset(toy_job(whole, toy_model, formats=["imagefolder", "parquet", "dicom"]), quiet=True)
    assert (done.complete, done.tally[FINAL], done.tally[TRIED]) == (True, ROWS, ROWS)
    assert content(whole) == before


def test_a_job_that_was_killed_anywhere_goes_on_to_the_same_set(
    whole: Path, toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy_job(tmp_path / "set", toy_model, formats=["imagefolder", "parquet", "dicom"])
    make = executors.make_shard

    def make_one_then_die(worker: Worker, shard: int, *rest: object) -> Work:
        if committed(worker.out):
            raise KeyboardInterrupt
        return make(worker, shard)

    with monkeypatch.context() as patched:
        patched.setattr(executors, "make_shard", make_one_then_die)
        with pytest.raises(KeyboardInterrupt):
            make_dataset(config, quiet=True)
    assert committed(tmp_path / "set") == {0}
    (tmp_path / "set" / "data" / "shard-000001.tar").write_bytes(b"half a tar")  # as a crash before the entry leaves it
    assert make_dataset(config, quiet=True).complete
    assert digests(tmp_path / "set") == digests(whole)
    assert verify_dataset(tmp_path / "set") == []


def test_what_vouches_for_a_file_comes_after_the_names_of_its_folders_are_on_the_disk(
    toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    out = tmp_path / "set"
    loose: set[Path] = set()  # folders that a power cut may take away
    vouched: list[str] = []
    mkdir, fsync, replace = os.mkdir, os.fsync, os.replace

    def made(path: Path, *rest: object) -> None:
        mkdir(path, *rest)
        loose.update([Path(path)] if out in Path(path).parents else [])

    def synced(handle: int) -> None:
        fsync(handle)
        folder = Path(f"/proc/self/fd/{handle}").readlink()
        loose.difference_update([path for path in loose if path.parent == folder])

    def named(old: Path, new: Path) -> None:
        kept = [path.relative_to(out).parts[0] for path in loose]
        if Path(new).name == "_SUCCESS":
            assert set(kept) <= {"run"}
            vouched.append("all")
        elif "manifest" in Path(new).parts:
            assert not {"data", "manifest"} & set(kept)
            vouched.append("shard")
        replace(old, new)

    monkeypatch.setattr(os, "mkdir", made)
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", named)
    make_dataset(toy_job(out, toy_model, formats=["imagefolder", "parquet", "dicom"]), quiet=True)
    assert vouched == ["shard", "shard", "shard", "all"]


@pytest.mark.parametrize("harm", [b"", b'{"images": ', b"\xff", None])
def test_a_success_that_cannot_be_read_vouches_for_nothing_and_is_written_again(
    whole: Path, toy_model: Path, tmp_path: Path, harm: bytes | None
) -> None:
    import shutil

    out = tmp_path / "set"
    shutil.copytree(whole, out)
    wanted = content(out)
    (out / "_SUCCESS").unlink() if harm is None else (out / "_SUCCESS").write_bytes(harm)
    config = toy_job(out, toy_model, formats=["imagefolder", "parquet", "dicom"])
    assert make_dataset(config, quiet=True).complete
    assert (out / "_SUCCESS").read_bytes() == wanted["_SUCCESS"]
    assert verify_dataset(out) == []


@pytest.mark.parametrize("damage", ["truncated", "gone", "entry"])
def test_a_damaged_shard_is_made_anew(whole: Path, toy_model: Path, tmp_path: Path, damage: str) -> None:
    config = toy_job(tmp_path / "set", toy_model)
    make_dataset(config, quiet=True)
    tar = tmp_path / "set" / "data" / "shard-000001.tar"
    if damage == "truncated":
        tar.write_bytes(tar.read_bytes()[:-700])
    elif damage == "gone":
        tar.unlink()
    else:
        (tmp_path / "set" / "manifest" / "000" / "shard-000001.json").write_text("{", encoding="utf-8")
    assert make_dataset(config, quiet=True).complete
    assert digests(tmp_path / "set") == digests(whole)
    assert verify_dataset(tmp_path / "set") == []


def test_parts_make_the_same_set_in_any_order_and_the_last_finishes_it(
    whole: Path, toy_model: Path, tmp_path: Path
) -> None:
    config = toy_job(tmp_path / "set", toy_model)
    assert not make_dataset(config, part=Slice(2, 2), quiet=True).complete
    assert not (tmp_path / "set" / "_SUCCESS").exists()
    assert make_dataset(config, part=Slice(1, 2), quiet=True).complete
    assert digests(tmp_path / "set") == digests(whole)
    assert verify_dataset(tmp_path / "set") == []


def test_a_damaged_shard_of_another_part_is_left_to_that_part_and_the_set_is_not_finished(
    whole: Path, toy_model: Path, tmp_path: Path
) -> None:
    config = toy_job(tmp_path / "set", toy_model)
    make_dataset(config, part=Slice(1, 3), quiet=True)
    tar = tmp_path / "set" / "data" / "shard-000000.tar"
    tar.write_bytes(tar.read_bytes()[:-700])
    assert not make_dataset(config, part=Slice(2, 3), quiet=True).complete
    assert not make_dataset(config, part=Slice(3, 3), quiet=True).complete
    assert committed(tmp_path / "set") == {0, 1, 2}
    assert make_dataset(config, part=Slice(1, 3), quiet=True).complete
    assert digests(tmp_path / "set") == digests(whole)
    assert verify_dataset(tmp_path / "set") == []


@pytest.mark.parametrize("name", ["index.parquet", "README.md", "croissant.json", "balance.png"])
def test_what_was_made_of_the_shards_is_made_again_where_it_is_gone(
    whole: Path, toy_model: Path, tmp_path: Path, name: str
) -> None:
    import shutil

    out = tmp_path / "whole"  # of the same name, which stands in the card
    shutil.copytree(whole, out)
    before = content(out)
    (out / name).unlink()
    config = toy_job(out, toy_model, formats=["imagefolder", "parquet", "dicom"])
    assert make_dataset(config, quiet=True).complete
    assert content(out) == before


def test_a_set_of_which_nothing_passes_still_lists_what_is_missing(
    toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from test_generate import Rule

    monkeypatch.setattr(job, "gate_set_for", lambda out, config: None)
    make = job.open_worker
    monkeypatch.setattr(job, "open_worker", lambda *those: make(*those[:3], Rule(256)))
    gates = Gates(names=[], attempts=1, substitutes=1)
    config = toy_job(tmp_path / "set", toy_model, gates=gates, formats=["imagefolder", "parquet", "dicom"])
    done = make_dataset(config, quiet=True)
    assert (done.complete, done.tally[FINAL], done.tally[MISSING]) == (True, 0, ROWS)
    card = (tmp_path / "set" / "README.md").read_text(encoding="utf-8")
    assert "finding No Finding: 5 (" in card
    assert "finding Pleural Effusion: 5 (" in card
    assert not (tmp_path / "set" / "_SUCCESS").exists()


def test_more_substitutes_fill_what_is_missing_and_leave_the_rest_as_it_is(
    toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from test_generate import Rule

    make = job.open_worker
    monkeypatch.setattr(job, "open_worker", lambda *those: make(*those[:3], Rule(200)))

    def gated(out: str, substitutes: int) -> DatasetConfig:
        return toy_job(tmp_path / out, toy_model, gates=Gates(names=[], attempts=2, substitutes=substitutes))

    assert make_dataset(gated("grown", 0), quiet=True).tally[MISSING]
    before = {record["number"]: record for entry in entries(tmp_path / "grown") for record in entry.records}
    assert not make_dataset(gated("grown", 30), quiet=True).tally[MISSING]
    assert verify_dataset(tmp_path / "grown") == []
    after = {record["number"]: record for entry in entries(tmp_path / "grown") for record in entry.records}
    assert {number: after[number] for number in before} == before
    make_dataset(gated("at once", 30), quiet=True)
    assert digests(tmp_path / "grown") == digests(tmp_path / "at once")
    whole = content(tmp_path / "grown")
    assert make_dataset(gated("grown", 0), quiet=True).complete  # the command that it was begun with
    assert content(tmp_path / "grown") == whole


def test_formats_may_be_added_to_a_set_that_is_finished(toy_model: Path, tmp_path: Path) -> None:
    make_dataset(toy_job(tmp_path / "grown", toy_model), quiet=True)
    for formats in (["dicom"], ["parquet"], []):
        make_dataset(toy_job(tmp_path / "grown", toy_model, formats=formats), quiet=True)
        assert verify_dataset(tmp_path / "grown") == []
    make_dataset(toy_job(tmp_path / "once", toy_model, formats=["dicom", "parquet"]), quiet=True)
    pictures = [
        {name: data for name, data in content(tmp_path / out).items() if name.startswith(("dicom", "parquet", "data/"))}
        for out in ("grown", "once")
    ]
    assert pictures[0] == pictures[1]


def test_a_damaged_index_is_made_anew(whole: Path, tmp_path: Path, toy_model: Path) -> None:
    make_dataset(toy_job(tmp_path / "set", toy_model), quiet=True)
    path = tmp_path / "set" / "index.parquet"
    before = path.read_bytes()
    path.write_bytes(before[:100])
    make_dataset(toy_job(tmp_path / "set", toy_model), quiet=True)
    assert path.read_bytes() == before


def test_a_shard_that_is_withdrawn_while_the_set_is_finished_leaves_it_unfinished(
    toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = finish.write_croissant

    def beside(out: Path, *those: Any, **options: Any) -> None:
        next(out.rglob("shard-000001.json")).unlink()  # as another job does that found it damaged
        write(out, *those, **options)

    monkeypatch.setattr(finish, "write_croissant", beside)
    with pytest.raises(GenError, match=r"shard-000001\.json"):
        make_dataset(toy_job(tmp_path / "set", toy_model), quiet=True)
    assert not (tmp_path / "set" / "_SUCCESS").exists()


@pytest.mark.parametrize("count", [1, 3, 7])
def test_parts_share_the_shards_among_them(count: int) -> None:
    parts = [Slice(number, 3).shards(count) for number in (1, 2, 3)]
    assert sorted(shard for part in parts for shard in part) == list(range(count))


def test_a_change_is_refused_with_the_difference_and_a_move_is_not(
    whole: Path, toy_model: Path, tmp_path: Path
) -> None:
    config = toy_job(tmp_path / "set", toy_model)
    make_dataset(config, part=Slice(1, 3), quiet=True)
    for changed, named in (
        (replace(config, seed=1), r"config\.seed: 0 -> 1"),
        (replace(config, steps=2), r"config\.steps: 1 -> 2"),
        (replace(config, images=11), r"config\.images: 10 -> 11"),
        (replace(config, gates=Gates(names=[], attempts=9)), r"config\.gates\.attempts: 4 -> 9"),
    ):
        with pytest.raises(BadInput, match=named):
            make_dataset(changed, quiet=True)
    (tmp_path / "set").rename(tmp_path / "moved")
    assert make_dataset(replace(config, out=str(tmp_path / "moved")), quiet=True).complete
    assert digests(tmp_path / "moved") == digests(whole)


def test_a_changed_model_is_refused(toy_model: Path, tmp_path: Path) -> None:
    import shutil

    model = tmp_path / "model"
    shutil.copytree(toy_model, model)
    config = toy_job(tmp_path / "set", model)
    make_dataset(config, part=Slice(1, 3), quiet=True)
    scheduler = model / "scheduler" / "scheduler_config.json"
    scheduler.write_text(scheduler.read_text().replace("0.012", "0.011"), encoding="utf-8")
    with pytest.raises(BadInput, match=r"inputs\.model_hash"):
        make_dataset(config, quiet=True)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"shard_size": 0}, "shard_size is 0"),
        ({"threads": 0}, "threads is 0"),
        ({"images": 0}, "images is 0"),
        ({"formats": ["tfrecord"]}, "tfrecord"),
        ({"size": 31}, "size 31 is not possible"),
        ({"steps": 5000}, "steps is 5000"),
        ({"twins": ["bone"]}, "bone"),
        ({"model": "nowhere"}, "nowhere is not a folder"),
        ({"target": Target(sex=["F"], age=[], view=["lateral"], finding=["Pneumonia"])}, "Pneumonia"),
        ({"target": Target(sex=["X"])}, "'X'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    toy_model: Path, tmp_path: Path, changes: dict[str, object], named: str
) -> None:
    with pytest.raises(BadInput, match=named):
        make_dataset(replace(toy_job(tmp_path / "set", toy_model), **changes), quiet=True)
    assert not (tmp_path / "set").exists()


def test_a_folder_of_something_else_is_refused_and_left_alone(toy_model: Path, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "thesis.tex").write_text("years of work", encoding="utf-8")
    with pytest.raises(BadInput, match=r"thesis\.tex"):
        make_dataset(toy_job(tmp_path / "set", toy_model), quiet=True)
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["thesis.tex"]


def test_too_little_room_is_known_before_the_start(
    toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(EnvironmentLacks, match="writing the images needs"):
        make_dataset(toy_job(tmp_path / "set", toy_model), quiet=True)


def test_rows_that_nothing_fills_are_listed_and_the_set_is_no_success(
    toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from test_generate import Rule

    make = job.open_worker
    monkeypatch.setattr(job, "open_worker", lambda *those: make(*those[:3], Rule(200)))
    config = toy_job(tmp_path / "set", toy_model, gates=Gates(names=[], attempts=2, substitutes=1))
    done = make_dataset(config, quiet=True)
    assert done.complete
    assert done.tally[MISSING]
    assert done.tally[FINAL] + done.tally[MISSING] == ROWS
    assert not (tmp_path / "set" / "_SUCCESS").exists()
    card = (tmp_path / "set" / "README.md").read_text(encoding="utf-8")
    missing = [row for entry in entries(tmp_path / "set") for row in entry.missing]
    for cell in {row["cell"] for row in missing}:
        numbers = [str(row["number"]) for row in missing if row["cell"] == cell]
        assert f"finding {cell.partition('finding=')[2]}: {len(numbers)} ({', '.join(numbers)})" in card
    assert verify_dataset(tmp_path / "set")


def test_the_disk_that_fills_up_during_the_work_stops_it_in_one_line_and_loses_nothing(
    whole: Path, toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import os

    config = toy_job(tmp_path / "set", toy_model)
    fsync, calls = os.fsync, []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) > 12:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(GenError, match="No space left on device; free some space"):
            make_dataset(config, quiet=True)
    assert 0 < len(committed(tmp_path / "set")) < -(-ROWS // SHARD)
    assert make_dataset(config, quiet=True).complete
    assert digests(tmp_path / "set") == digests(whole)
    assert verify_dataset(tmp_path / "set") == []
