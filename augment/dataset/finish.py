"""The end of a data set job: what is written once every shard is there, and _SUCCESS last of all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from augment.dataset.card.card import CARD, write_card
from augment.dataset.card.charts import BALANCE, write_balance
from augment.dataset.card.croissant import CROISSANT, stale_hashes, write_croissant
from augment.dataset.config import DatasetConfig
from augment.dataset.shards.counts import Entries, count_cells
from augment.dataset.shards.folder import SUCCESS, WHOLE, locked, read_marker, summary
from augment.dataset.shards.formats import export, finish_format
from augment.dataset.shards.index import INDEX, write_index
from augment.dataset.sources import weights_may_learn
from gen.core.files import sync_folder, write_json

GATES = "gates.json"


def finish(
    out: Path, config: DatasetConfig, gate_facts: Mapping[str, Any] | None, sources: Mapping[str, Any], date: str
) -> None:
    """Write index, formats, picture, card and metadata; and _SUCCESS where no row is missing.

    Everything is a function of the committed shards and of ``date``, the day (YYYY-MM-DD) that the set was begun, so
    that a finish that was killed is done again from the start.
    """
    entries = Entries(out)
    with locked(out, WHOLE):  # of several jobs that made the last shards, one does it
        counts = summary(out)
        there = (*derived(config), *config.formats)
        if _vouched(out) == counts and all((out / name).exists() for name in there) and not stale_hashes(out, entries):
            return
        write_index(out, entries)
        for format_ in config.formats:
            for entry in entries:
                export(out, entry, format_)
            finish_format(out, format_, entries, twins=config.twins, weights_may_learn=weights_may_learn(config))
        cells = count_cells(entries, read_marker(out)["cells"])
        if gate_facts is not None:
            write_json(out / GATES, gate_facts)
        write_balance(out, cells, config.gates.names)
        write_card(out, config, cells, gate_facts, sources, entries)
        write_croissant(out, config, entries, date=date)
        if not counts["missing"] and summary(out) == counts:  # nobody withdrew a damaged shard meanwhile
            for folder in (folder for format_ in config.formats for folder, _, _ in os.walk(out / format_)):
                sync_folder(folder)
            write_json(out / SUCCESS, counts)


def derived(config: DatasetConfig) -> list[str]:
    """The files that are made of the shards, but for the further formats."""
    return [INDEX, CARD, CROISSANT, BALANCE, *([GATES] if config.gates.names else [])]


def _vouched(out: Path) -> object:
    """What _SUCCESS says; None where it is absent or damaged, and so vouches for nothing."""
    try:
        return json.loads((out / SUCCESS).read_bytes())
    except (OSError, ValueError):
        return None
