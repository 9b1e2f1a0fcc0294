"""A table of radiographs, one row an image; on disk a folder with metadata.csv in Hugging Face ``imagefolder`` layout.

Several splits are folders train/, validation/ and test/, each with its own: load_dataset would ignore a split column.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gen.core.errors import BadInput
from gen.core.files import write_text
from gen.core.terms import OLDEST_YEARS, SEXES, VIEWS

METADATA = "metadata.csv"
SPLITS = ("train", "validation", "test")
_LISTS = ("findings", "absent", "uncertain")
_NUMBERS = ("age", "seed", "width", "height")
COLUMNS = (
    *("file_name", "patient_id", "source", "licence", "weights_may_learn", "age", "sex", "race", "view", *_LISTS),
    *("prompt", "seed", "width", "height", "sha256", "study", "notes"),
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One image. ``file`` is absolute; age in years, width and height in pixels; "" or None means unknown."""

    file: Path
    file_name: str = ""
    patient_id: str = ""
    source: str = ""
    licence: str = ""
    weights_may_learn: bool = False
    age: float | None = None
    sex: str = ""
    race: str = ""
    view: str = ""
    findings: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    prompt: str = ""
    seed: int | None = None
    width: int | None = None
    height: int | None = None
    sha256: str = ""
    study: str = ""  # JSON; where it is given, it is the authority on findings
    notes: str = ""
    split: str | None = None  # the folder that the row stands in, never a column
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """The rows of ``folder`` in file order, splits in the order of ``SPLITS``."""

    folder: Path
    rows: tuple[Row, ...]


def read_manifest(folder: str | Path) -> Manifest:
    """Read ``folder``; BadInput names the first five problems (file, line, column, why) and their count."""
    manifest, problems = scan_manifest(folder)
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise BadInput(f"{len(problems)} problem(s) in {manifest.folder}: " + "; ".join(problems[:5]) + more)
    return manifest


def scan_manifest(folder: str | Path) -> tuple[Manifest, list[str]]:
    """The sound rows of ``folder``, and one line for each that is not; BadInput where there is no table to read."""
    folder = Path(folder).absolute()
    splits = [split for split in SPLITS if (folder / split / METADATA).exists()]
    if (folder / METADATA).exists() == bool(splits):
        raise BadInput(
            f"{folder} holds " + (f"{METADATA} and {splits[0]}/{METADATA} too" if splits else f"no {METADATA}"),
            hint=f"a data set is a folder with {METADATA}, or with one in each of its train/, validation/ and test/",
        )
    rows: list[Row] = []
    problems: list[str] = []
    for split in splits or (None,):
        _scan_table(folder / (split or "") / METADATA, split, rows, problems)
    return Manifest(folder, tuple(rows)), problems


def write_manifest(folder: str | Path, rows: Iterable[Row]) -> None:
    """Write metadata.csv into ``folder``, or into the folder of each split where rows have one; each file atomically.

    ``file_name`` is derived from ``file``, which must exist in that folder (BadInput): the manifest vouches for it.
    For load_dataset a seed, width or height must be known in all splits or in none: it takes the blank for a fraction.
    """
    folder = Path(folder)
    tables: dict[str | None, list[dict[str, str]]] = {}
    for row in rows:
        tables.setdefault(row.split, []).append(_cells(folder / (row.split or ""), row))
    if not set(tables) <= set(SPLITS) and set(tables) != {None}:
        raise BadInput(f"{folder}: splits are {', '.join(SPLITS)} or none at all, not {', '.join(map(str, tables))}")
    everything = [cells for table in tables.values() for cells in table]
    columns = list(dict.fromkeys([*COLUMNS, *(column for cells in everything for column in cells)]))
    for table in tables.values():
        # load_dataset wants a column to have one type in all splits, and takes a blank one for numbers, a space not.
        for column in set(columns) - set(_NUMBERS):
            if any(cells.get(column) for cells in everything) and not any(cells.get(column) for cells in table):
                table[0][column] = " "
    for split, table in tables.items():
        text = io.StringIO()
        # Lines end in CR LF (RFC 4180): with another ending, Python 3.11 leaves a CR inside a cell without quotes.
        writer = csv.DictWriter(text, columns, restval="")
        writer.writeheader()
        writer.writerows(table)
        write_text(folder / (split or "") / METADATA, text.getvalue())


def split_of(
    patient_id: str, *, validation: float = 0.10, test: float = 0.10
) -> Literal["train", "validation", "test"]:
    """The split of a patient: bands of SHA-256(patient_id) in [0, 1), test first, then validation; it never moves."""
    place = int.from_bytes(hashlib.sha256(patient_id.encode()).digest()[:8], "big") / 2**64
    return "test" if place < test else "validation" if place < test + validation else "train"


def _scan_table(path: Path, split: str | None, rows: list[Row], problems: list[str]) -> None:
    base = path.parent.resolve()
    lines: dict[Path, int] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            header = list(reader.fieldnames or ())
            if "file_name" not in header or len(set(header)) < len(header):
                raise BadInput(f"{path}: no column file_name, or a column twice, in the header ({', '.join(header)})")
            for cells in reader:
                try:
                    row = _row(base, split, cells)
                    if lines.setdefault(row.file, reader.line_num) != reader.line_num:
                        raise ValueError(f"file_name {row.file_name!r} stands on line {lines[row.file]} too")
                    rows.append(row)
                except ValueError as error:
                    problems.append(f"{path} line {reader.line_num}: {error}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path}: not a readable CSV file in UTF-8 ({error})") from error


def _row(base: Path, split: str | None, cells: dict[str, Any]) -> Row:
    """A typed row of the table in ``base``; ValueError says which column is wrong and why."""
    if None in cells or None in cells.values():
        raise ValueError("more or fewer cells than the header has")
    text = {column: value.strip() for column, value in cells.items()}
    name = text["file_name"]
    file = (base / name).resolve()
    if not name or ".." in Path(name).parts or Path(name).is_absolute() or not file.is_relative_to(base):
        raise ValueError(f"file_name {name!r} is not a path inside the folder")
    if not file.is_file():
        raise ValueError(f"file_name {name!r}: no such file")
    known: dict[str, Any] = {column: text[column] for column in COLUMNS if column in text}
    for column, (parse, expected) in _PARSERS.items():
        try:
            known[column] = parse(text.get(column, ""))
        except (ValueError, KeyError):
            raise ValueError(f"{column} {text[column]!r} is not {expected}") from None
    return Row(file=file, split=split, extra={key: text[key] for key in text if key not in COLUMNS}, **known)


def _cells(base: Path, row: Row) -> dict[str, str]:
    base, file = base.resolve(), row.file.resolve()
    if not file.is_relative_to(base) or not file.is_file():
        raise BadInput(f"{row.file} is not a file inside {base}, so a manifest there cannot list it")
    cells = {column: getattr(row, column) for column in COLUMNS} | dict(row.extra)
    cells["age"] = None if row.age is None else float(row.age)  # never 63 in one split and 63.5 in another
    cells["file_name"] = file.relative_to(base).as_posix()
    cells["weights_may_learn"] = "yes" if row.weights_may_learn else "no"
    cells |= {column: ";".join(cells[column]) for column in _LISTS}
    return {column: "" if value is None else str(value) for column, value in cells.items()}


def _age(text: str) -> float | None:
    age = float(text) if text else None
    if age is not None and not 0 <= age <= OLDEST_YEARS:
        raise ValueError
    return age


def _one_of(*choices: str) -> tuple[Callable[[str], Any], str]:
    return {choice: choice for choice in ("", *choices)}.__getitem__, "one of " + ", ".join(choices)


# By column: from text to value, and what is expected in words.
_PARSERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "weights_may_learn": ({"yes": True, "no": False, "": False}.__getitem__, "yes or no"),
    "age": (_age, f"an age of 0 to {OLDEST_YEARS} years"),
    "sex": _one_of(*SEXES),
    "view": _one_of(*VIEWS, "AP Supine"),  # which is AP with position supine, and stays as it is in the file
    **dict.fromkeys(_LISTS, (lambda text: tuple(filter(None, map(str.strip, text.split(";")))), "a list")),
    **dict.fromkeys(("seed", "width", "height"), (lambda text: int(text) if text else None, "a whole number")),
}
