"""How far a data set job is: counts from the committed shards, a bar or JSON lines, a sheet of the latest images."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from augment.dataset.shards.counts import BROKEN, FINAL, MISSING, TRIED, count_cells, pass_rates, total
from augment.dataset.shards.folder import read_shard
from augment.dataset.shards.records import Entry
from augment.dataset.shards.samples import radiograph_of
from gen.core.errors import GenError
from gen.core.radiograph import Radiograph

SHEET, SHEET_IMAGES, SHEET_EVERY_S = "latest.png", 16, 20.0


def tally_of(entries: Iterable[Entry]) -> Counter[str]:
    """The counts of committed shards, as of `counts`."""
    return total(count_cells(entries, {}))


class Progress:
    """Says on stderr, or as JSON lines on stdout, what was done; holds the bar, and so is closed at the end."""

    def __init__(
        self,
        out: Path,
        folder: Path,
        rows: int,
        already: Counter[str],
        *,
        quiet: bool,
        as_json: bool,
        log: Callable[[str], object],
    ) -> None:
        from tqdm import tqdm

        self._out, self._folder, self._rows = out, folder, rows
        self._tally, self._before, self._tries = Counter(already), already, already[TRIED]
        self._started, self._sheet = time.monotonic(), -SHEET_EVERY_S
        self._log, self._json = log, as_json
        done = already[FINAL] + already[MISSING]
        hidden = quiet or as_json
        self._bar: Any = tqdm(total=rows, initial=done, unit="row", disable=hidden, leave=False, smoothing=0.05)

    def row(self, tries: int, rows: int) -> None:
        """Called while a shard is made, where the executor can."""
        self._tries += tries
        self._bar.set_postfix(self._postfix(), refresh=False)
        self._bar.update(rows)

    def shard(self, entry: Entry, *, counted: bool) -> None:
        """Called when a shard is committed; ``counted``: its rows moved the bar already."""
        self._tally.update(tally_of([entry]))
        if not counted:
            self._bar.update(len(entry.records) + len(entry.missing))
        self._tries = self._tally[TRIED]
        self._bar.set_postfix(self._postfix())
        if self._json:
            self._log(json.dumps({"event": "shard", "shard": entry.shard, **self.facts()}))
        if time.monotonic() - self._sheet >= SHEET_EVERY_S:
            self._sheet = time.monotonic()
            with suppress(GenError, OSError):  # a preview, which must not stop the night
                write_latest(self._out, self._folder / SHEET, entry)

    def _postfix(self) -> dict[str, Any]:
        """Of the bar: images tried and committed, rows missing, pass rate by gate."""
        rates = {gate: f"{rate:.0%}" for gate, rate in pass_rates(self._tally).items()}
        return {"tried": self._tries, "committed": self._tally[FINAL], "missing": self._tally[MISSING], **rates}

    def facts(self) -> dict[str, Any]:
        """Rows done, rejected and missing, images a second, seconds left, pass rate by gate."""
        now = self._tally
        seconds = time.monotonic() - self._started
        done = now[FINAL] + now[MISSING]
        since = done - self._before[FINAL] - self._before[MISSING]
        return {
            "rows": self._rows,
            "committed": now[FINAL],
            "missing": now[MISSING],
            "rejected": now[TRIED] - now[FINAL],
            "broken": now[BROKEN],
            "images_per_s": round((now[FINAL] - self._before[FINAL]) / seconds, 3) if seconds else None,
            "seconds_left": round((self._rows - done) * seconds / since) if since else None,
            "pass_rate": {gate: round(rate, 4) for gate, rate in pass_rates(now).items()},
        }

    def close(self) -> None:
        """Clears the bar."""
        self._bar.close()


def write_latest(out: Path, sheet: Path, entry: Entry) -> None:
    """The contact sheet of a shard's first images; a shard without images leaves the old one."""
    from gen.model.sampling.contact_sheet import write_contact_sheet

    pictures: list[Radiograph] = []
    captions: list[str] = []
    for record, files in read_shard(out, entry):
        pictures.append(radiograph_of(files["png"]))
        captions.append(caption_of(record))
        if len(pictures) == SHEET_IMAGES:
            break
    if pictures:
        write_contact_sheet(sheet, pictures, captions)


def caption_of(record: Mapping[str, Any]) -> str:
    """What stands under an image on a sheet."""
    return f"{record['source']}: {record['prompt']}"
