"""The index of a folder of CTs: index.csv, with the licence of each and whether weights may learn from it."""

from __future__ import annotations

import csv
from pathlib import Path

from gen.core.errors import BadInput

INDEX = "index.csv"
_NEEDED = {"file", "source", "licence", "weights_may_learn"}


def read_index(folder: Path) -> list[dict[str, str]]:
    """The rows of index.csv in ``folder``; BadInput where there is none, and for a table that cannot be used."""
    path = folder / INDEX
    if not path.is_file():
        raise BadInput(f"{path}: no such file", hint='name a folder of CTs with an index.csv, or data="" for phantoms')
    with path.open(encoding="utf-8", newline="") as stream:
        table = csv.DictReader(stream)
        rows = list(table)
    if missing := _NEEDED - set(table.fieldnames or ()):
        raise BadInput(f"{path} has no column {min(missing)}")
    return rows


def terms_of(ct: Path) -> tuple[str, bool]:
    """The licence of ``ct`` and whether weights may learn from it, as an index beside it says; else "" and False."""
    if not (ct.absolute().parent / INDEX).is_file():
        return "", False
    row = next((row for row in read_index(ct.absolute().parent) if row["file"] == ct.name), {})
    return row.get("licence", ""), row.get("weights_may_learn") == "yes"
