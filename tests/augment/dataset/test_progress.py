"""What a job says of itself while it runs is what its shards have."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from toy_set import toy_set

from augment.dataset.progress import Progress, tally_of


@pytest.mark.parametrize("resumed", [0, 1])
def test_the_lines_count_what_is_committed_and_time_what_this_run_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resumed: int
) -> None:
    entries = toy_set(tmp_path / "set", missing=(3, 25))
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr("augment.dataset.progress.time.monotonic", lambda: float(next(clock)))
    said: list[str] = []
    before = tally_of(entries[:resumed])
    progress = Progress(tmp_path / "set", tmp_path, 30, before, quiet=True, as_json=True, log=said.append)
    for entry in entries[resumed:]:
        progress.shard(entry, counted=False)
    progress.close()
    lines = [json.loads(line) for line in said]
    assert [line["shard"] for line in lines] == list(range(resumed, 3))
    last = lines[-1]
    images = sum(len(entry.records) for entry in entries)
    refused = sum(len(row["rejected"]) for entry in entries for row in (*entry.records, *entry.missing))
    assert (last["rows"], last["committed"], last["missing"]) == (30, images, 2)
    assert last["rejected"] == refused
    assert last["seconds_left"] == 0
    made = images - sum(len(entry.records) for entry in entries[:resumed])
    assert 0 < last["images_per_s"] <= made / 10  # of this run's own images
    left = lines[0]
    done = 10 * (resumed + 1)
    assert left["seconds_left"] > 0
    assert left["committed"] + left["missing"] == done
    assert all(0 <= rate <= 1 for rate in last["pass_rate"].values())
    assert Counter(last["pass_rate"].keys()) == Counter({"finding": 1, "sex": 1, "quality": 1, "copy": 1})
