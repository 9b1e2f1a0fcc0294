"""Tables that name the ids of a label map: CSV in any usual dialect, or JSON either way round.

Masks are files called after these names, so they are read in a form that is safe as one: `safe_name`.
"""

from __future__ import annotations

import csv
import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gen.core.errors import BadInput

_ID_COLUMNS = ("id", "label_id", "index", "value", "label")
_NAME_COLUMNS = ("name", "label_name", "structure", "organ", "class", "label")
_UNSAFE = frozenset('/\\:*?"<>|')  # in names of files, on one system or another
_MOST_BYTES = 100


def safe_name(text: str) -> str:
    """``text`` as the name of a file, without a suffix: the same form each time, and that of a safe name is itself.

    Path separators, the other characters that some system forbids, and what is not printable become "_", and so do the
    dots that it begins with; spaces inside it stay. BadInput where nothing is left or it is longer than 100 bytes.
    """
    name = unicodedata.normalize("NFC", text).strip()
    name = "".join(char if char.isprintable() and char not in _UNSAFE else "_" for char in name)
    bare = name.lstrip(".")
    name = "_" * (len(name) - len(bare)) + bare
    if not name:
        raise BadInput("a name is empty")
    if (length := len(name.encode())) > _MOST_BYTES:
        raise BadInput(f"the name {name[:30]!r}... is {length} bytes long, and a file's may have {_MOST_BYTES}")
    return name


def read_names(path: Path) -> dict[int, str]:
    """Safe names by id, background left out; raises BadInput for what does not name each id once, without the path.

    Two names that differ in nothing but letter case, or in what `safe_name` replaces, count as the same.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput("not a text in UTF-8", hint="give the names as CSV or JSON") from error
    pairs = _json_pairs(text) if path.suffix.lower() == ".json" else _csv_pairs(text)
    names: dict[int, str] = {}
    for number, name in pairs:
        if names.setdefault(number, name) != name:
            raise BadInput(f"id {number} has two names, {names[number]!r} and {name!r}")
    names.pop(0, None)
    safe = {number: safe_name(name) for number, name in names.items()}
    owners: dict[str, int] = {}
    for number, name in safe.items():
        other = owners.setdefault(name.casefold(), number)
        if other != number:
            raise BadInput(f"two ids have the same name: {other} {names[other]!r} and {number} {names[number]!r}")
    return safe


def _json_pairs(text: str) -> Iterator[tuple[int, str]]:
    try:
        table = json.loads(text)
    except ValueError as error:
        raise BadInput(f"not JSON ({error})") from error
    if isinstance(table, Mapping) and isinstance(table.get("labels"), Mapping):  # as in nnU-Net's dataset.json
        table = table["labels"]
    if not isinstance(table, Mapping):
        raise BadInput('not a table of names, such as {"1": "liver"} or {"liver": 1}')
    for key, value in table.items():
        number, name = (value, key) if isinstance(value, int) else (key, value)
        if not (isinstance(name, str) and str(number).isdecimal()):
            raise BadInput(f"{key!r}: {value!r} is not an id and a name")
        yield int(number), name.strip()


def _csv_pairs(text: str) -> Iterator[tuple[int, str]]:
    """The columns are known by their headers, or else by what is in them: the first of numbers, the first of words."""
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), delimiter=delimiter)]
    rows = [row for row in rows if any(row)]
    head = [cell.lower().replace(" ", "_") for cell in rows[0]] if rows else []
    if any(cell.isdecimal() for cell in head):
        head = [""] * len(head)
    else:
        rows = rows[1:]
    if short := next((row for row in rows if len(row) < len(head)), None):
        raise BadInput(f"{delimiter.join(short)!r} has {len(short)} columns of {len(head)}")
    columns = range(len(head))
    numeric = [column for column in columns if all(row[column].isdecimal() for row in rows)]
    words = [column for column in columns if column not in numeric]
    if not rows or not numeric or not words:
        raise BadInput("not a table with a column of ids and one of names", hint="its first line may be: id,name")
    number = min(numeric, key=lambda column: _rank(head[column], _ID_COLUMNS))
    name = min(words, key=lambda column: _rank(head[column], _NAME_COLUMNS))
    for row in rows:
        yield int(row[number]), row[name]


def _rank(header: str, known: Sequence[str]) -> int:
    return known.index(header) if header in known else len(known)
