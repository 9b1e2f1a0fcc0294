"""Whether a data set is whole: every file, hash, count and quota against what the folder says of itself.

It trusts dataset.json and nothing else: entries against the plan's counts, tars against the entries, and all that was
made from the tars against those. One shard at a time is in memory, and 8 bytes an image.
"""

from __future__ import annotations

import csv
import io
import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from augment.dataset.card.croissant import CROISSANT, stale_hashes
from augment.dataset.config import DatasetConfig
from augment.dataset.finish import derived
from augment.dataset.shards.folder import (
    DATA,
    FORMAT,
    SUCCESS,
    committed,
    config_of,
    damage_of,
    entries,
    entry_of,
    read_marker,
    read_shard,
    summary,
    tar_name,
)
from augment.dataset.shards.formats import files_of, manifest_row, table_of, twins_of
from augment.dataset.shards.index import INDEX, row_of, score_columns
from augment.dataset.shards.records import Entry, planned_study, row_id
from augment.dataset.shards.samples import STATES, sample_json
from gen.core.errors import GenError
from gen.core.manifest import METADATA, Row
from gen.images.reader import read_image

UNFILLED = "have no image: no try of theirs passed the gates"
_LISTED = 5  # things of one kind that are named in a line


def verify_dataset(out: str | Path, *, quick: bool = False) -> list[str]:
    """What is wrong with the data set in ``out``, a line each; empty where it is whole.

    ``quick`` looks at names, sizes and counts only: no tar is opened, and no further format.
    """
    return list(_problems(Path(out), quick))


def _problems(out: Path, quick: bool) -> Iterator[str]:
    try:
        marker = read_marker(out)
        if marker["format"] != FORMAT:
            raise GenError(f"{out} is a data set of the format {marker['format']!r}, not {FORMAT!r}")
        rows, size, quotas = int(marker["rows"]), int(marker["shard_size"]), dict(marker["cells"])
        config = config_of(out)
        seed, formats = config.seed, config.formats
    except GenError as error:
        yield str(error)
        return
    except (KeyError, TypeError, ValueError) as error:
        yield f"{out}/dataset.json does not describe a data set ({error!r})"
        return
    planned, there = set(range(-(-rows // size))), committed(out)
    lacking = sorted(planned - there)
    if lacking:  # and so no quota can be met
        yield f"{out}: {len(lacking)} of {len(planned)} shards are not there ({_some(lacking)})"
    if beyond := sorted(there - planned):
        yield f"{out}: shards that the plan does not have ({_some(beyond)})"

    ids, delivered, listed, sound = array("Q"), Counter[str](), Counter[str](), True
    files, extensions = Counter[str](), set[str]()  # how many by format; those of a sample, the same in all shards
    for shard in sorted(there & planned):
        try:
            entry = entry_of(out, shard)
        except GenError as error:
            sound = False
            yield str(error)
            continue
        ids.extend(int(record["id"], 16) for record in entry.records)
        delivered.update(record["cell"] for record in entry.records)
        listed.update(row["cell"] for row in entry.missing)
        yield from _count_problems(out, entry, range(shard * size, min((shard + 1) * size, rows)))
        if damage := damage_of(out, shard, hashed=not quick):
            yield damage
        elif not quick:
            problems = list(_shard_problems(out, entry, extensions, seed))
            sound = sound and not problems
            yield from problems
            for fmt in formats:
                yield from _format_problems(out, entry, fmt, files)
    values, counts = np.unique(np.frombuffer(ids, np.uint64), return_counts=True)
    if (twice := values[counts > 1]).size:
        yield f"{out}: {twice.size} id(s) stand more than once ({_some([f'{value:016x}' for value in twice])})"
    for cell in () if lacking else sorted(quotas.keys() | delivered.keys() | listed.keys()):
        has, lacks, quota = delivered[cell], listed[cell], quotas.get(cell, 0)
        if has + lacks != quota:
            yield f"{out}: {cell}: {has} images and {lacks} listed as missing, and its quota is {quota}"
    if sound:  # else what was made from the records says nothing new
        yield from () if lacking else _success_problems(out)
        if not quick and not lacking:  # else it was never finished
            yield from _index_problems(out)
            yield from _derived_problems(out, config)
            if "imagefolder" in formats:
                files["imagefolder"] += 1
                yield from _table_problems(out)
            for fmt in formats:
                yield from _uncounted(out / fmt, files[fmt])
    yield from _foreign_files(out, there)


# A shard


def _count_problems(out: Path, entry: Entry, planned: range) -> Iterator[str]:
    numbers = sorted(row["number"] for row in (*entry.records, *entry.missing))
    if numbers != list(planned):
        odd = sorted((Counter(numbers) - Counter(planned)) + (Counter(planned) - Counter(numbers)))
        yield f"{out}: shard {entry.shard}: rows that are not there once, or beyond the plan ({_some(odd)})"


def _shard_problems(out: Path, entry: Entry, extensions: set[str], seed: int) -> Iterator[str]:
    try:
        for record, members in read_shard(out, entry):
            extensions |= set() if extensions else set(members)
            for problem in _sample_problems(record, members, extensions, seed):
                yield f"{out / entry.file}: {record['id']}: {problem}"
    except GenError as error:
        yield str(error)


def _sample_problems(
    record: Mapping[str, Any], members: Mapping[str, bytes], extensions: set[str], seed: int
) -> Iterator[str]:
    if set(members) != extensions or not {"png", "json"} <= extensions:
        yield f"its members are {', '.join(members)}, and others have {', '.join(sorted(extensions))}"
    try:
        study = planned_study(record)
        facts = (record["number"], record["cell"], study, record["prompt"], record["source"], record["substitute"])
        if row_id(seed, *facts) != record["id"]:
            yield "its id is not the hash of what its record says"
        if members.get("json") != sample_json(record):
            yield "its JSON is not its record"
        for name, threshold in record["thresholds"].items():
            if not record["scores"].get(name, threshold) >= threshold:
                yield f"its score of {name} is below the threshold"
        for name, content in {"": members["png"], **twins_of(members)}.items():
            image = read_image(io.BytesIO(content))
            if image.pixels.shape != (record["height"], record["width"]):
                height, width = image.pixels.shape
                yield f"{name or 'image'} of {width} x {height} pixels, not {record['width']} x {record['height']}"
            if not name and dict(image.provenance) != record["provenance"]:
                yield "the text in its PNG is not its provenance"
    except (GenError, OSError, SyntaxError, KeyError, TypeError, ValueError) as error:  # Pillow's own among them
        yield f"not readable ({error})"


# What was made from the shards


def _format_problems(out: Path, entry: Entry, fmt: str, files: Counter[str]) -> Iterator[str]:
    """One line for what is wrong with the files of a shard in one format: the first, and how many."""
    wrong: list[str] = []
    try:
        for name, content in files_of(out, entry, fmt):
            files[fmt] += 1
            path = out / fmt / name
            if not path.is_file():
                wrong.append(f"{path}: missing")
            elif path.read_bytes() != content and not _SAME[fmt](out, entry, path, content):
                wrong.append(f"{path}: not what its shard has")
    except GenError:
        return  # the shard itself is damaged, and was named
    if wrong:
        yield wrong[0] + (f" (and {len(wrong) - 1} more of shard {entry.shard})" if len(wrong) > 1 else "")


def _same_table(out: Path, entry: Entry, path: Path, content: bytes) -> bool:
    """Whether a Parquet file has the rows of its shard, though another version of pyarrow wrote it."""
    import pyarrow
    from pyarrow import parquet

    try:
        return bool(parquet.read_table(path).equals(table_of(out, entry)))
    except (OSError, pyarrow.ArrowException):
        return False


def _same_picture(out: Path, entry: Entry, path: Path, content: bytes) -> bool:
    """Whether a DICOM file shows what it should of whom it should, though another version of pydicom wrote it."""
    import pydicom

    try:
        stored, wanted = pydicom.dcmread(path), pydicom.dcmread(io.BytesIO(content))
        keywords = ("SyntheticData", "PatientID", "PatientSex", "PatientAge", "ViewPosition", "PixelData")
        return all(stored.get(keyword) == wanted.get(keyword) for keyword in keywords)
    except Exception:  # pydicom raises whatever it likes on broken bytes
        return False


_SAME: dict[str, Callable[[Path, Entry, Path, bytes], bool]] = {
    "imagefolder": lambda out, entry, path, content: False,
    "parquet": _same_table,
    "dicom": _same_picture,
}


def _index_problems(out: Path) -> Iterator[str]:
    import pyarrow
    from pyarrow import parquet

    path = out / INDEX
    scores = score_columns(entries(out))
    wanted = (
        row_of(record, entry) | {column: record[kind].get(name) for column, (kind, name) in scores.items()}
        for entry in entries(out)
        for record in entry.records
    )
    try:
        with parquet.ParquetFile(path) as file:
            found = (row for batch in file.iter_batches(1000) for row in batch.to_pylist())
            yield from _unequal(path, found, wanted)
    except FileNotFoundError:
        yield f"{path}: missing"
    except (OSError, pyarrow.ArrowException) as error:
        yield f"{path}: not readable ({error})"


def _derived_problems(out: Path, config: DatasetConfig) -> Iterator[str]:
    """What is made of all shards: whether it is there, and the hashes that croissant.json tells readers to check."""
    yield from (f"{out / name}: missing" for name in derived(config) if name != INDEX and not (out / name).is_file())
    try:
        if odd := stale_hashes(out, entries(out)):
            yield f"{out / CROISSANT}: not the hash of {_some(odd)}"
    except FileNotFoundError:
        return  # which was said
    except OSError as error:
        yield f"{out / CROISSANT}: not readable ({error})"


def _table_problems(out: Path) -> Iterator[str]:
    path = out / "imagefolder" / METADATA
    wanted = (_cells(manifest_row(path.parent, (), record)) for entry in entries(out) for record in entry.records)
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            yield from _unequal(path, csv.DictReader(stream), wanted)
    except FileNotFoundError:
        if any(entry.records for entry in entries(out)):  # a table without a row is not written
            yield f"{path}: missing"
    except (OSError, ValueError, csv.Error) as error:
        yield f"{path}: not readable ({error})"


def _cells(row: Row) -> dict[str, str]:
    """The cells of metadata.csv that follow from a record; its licence does not."""
    text = ("patient_id", "source", "sex", "race", "view", "prompt", "width", "height", "sha256", "study")
    return {
        "file_name": row.file.relative_to(row.file.parents[2]).as_posix(),
        "age": "" if row.age is None else str(float(row.age)),
        **{column: str(getattr(row, column)) for column in text},
        **{column: ";".join(getattr(row, column)) for column in STATES.values()},
        **row.extra,
    }


def _unequal(path: Path, found: Any, wanted: Iterator[Mapping[str, Any]]) -> Iterator[str]:
    """One line for the rows of a table that are not the wanted ones, of which a wanted row may name fewer columns."""
    count, first = 0, ""
    for number, (row, expected) in enumerate(zip_longest(found, wanted)):
        if row is None or expected is None:
            reason = "missing" if row is None else "beyond the shards"
        elif odd := [column for column, value in expected.items() if row.get(column) != value]:
            reason = f"{odd[0]} is not that of the shard"
        else:
            continue
        count, first = count + 1, first or f"row {number}: {reason}"
    if count:
        yield f"{path}: {first}" + (f" (and {count - 1} more)" if count > 1 else "")


def _success_problems(out: Path) -> Iterator[str]:
    counts = summary(out)
    try:
        if json.loads((out / SUCCESS).read_bytes()) != counts:
            yield f"{out / SUCCESS}: not what the shards have"
    except FileNotFoundError:
        if counts["missing"]:
            planned = counts["missing"] + counts["images"]
            yield f"{out}: {counts['missing']} of {planned} rows {UNFILLED}"
        else:
            yield f"{out / SUCCESS}: missing: it was never finished"
    except (OSError, ValueError) as error:
        yield f"{out / SUCCESS}: not readable ({error})"


def _uncounted(folder: Path, wanted: int) -> Iterator[str]:
    """A line where a folder has more files than the shards account for; that those are there was looked at."""
    has = sum(path.is_file() and not path.name.startswith(".") for path in folder.rglob("*"))
    if has > wanted:
        yield f"{folder}: {has} files, and the shards account for {wanted}"


def _foreign_files(out: Path, there: set[int]) -> Iterator[str]:
    """Visible files among the tars that are none; hidden ones are a desktop's, NFS's, or left by a writer that died."""
    tars = {tar_name(shard) for shard in there}
    names = (path.relative_to(out).as_posix() for path in (out / DATA).glob("[!.]*"))
    if strange := sorted(name for name in names if name not in tars):
        yield f"{out / DATA}: {len(strange)} file(s) that no entry vouches for ({_some(strange)})"


def _some(things: Any) -> str:
    more = len(things) - _LISTED
    return ", ".join(map(str, things[:_LISTED])) + (f" and {more} more" if more > 0 else "")
