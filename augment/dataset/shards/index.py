"""index.parquet: one row an image, with what a reader selects by; for pandas, DuckDB, Polars or `datasets`.

The same images give the same bytes: no time of writing, and row groups of a fixed size.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from augment.dataset.shards.records import Entry
from gen.core.errors import BadInput, GenError
from gen.core.files import atomic_file

INDEX = "index.parquet"
ROW_GROUP = 50_000  # rows that are in memory together

# Column, type (of pyarrow) and meaning; scores and thresholds follow, two columns for each thing that a gate looks at.
COLUMNS = (
    ("id", "string", "what names the image in its shard: a hash of its row in the plan"),
    ("number", "int64", "the row's place in the plan, from 0"),
    ("shard", "int32", "the shard's number"),
    ("file", "string", "the shard that holds the image as ID.png and this row as ID.json"),
    ("cell", "string", "the stratum of the plan whose quota the image fills"),
    ("sex", "string", "as prompted, and of the patient of a CT his own"),
    ("age", "int16", "in whole years, as prompted, and of the patient of a CT his own"),
    ("race", "string", "as prompted; empty where the plan is not over it"),
    ("view", "string", "as prompted"),
    ("findings", "list", "findings that it was made to show"),
    ("absent", "list", "findings that it was made not to show"),
    ("uncertain", "list", "findings prompted as possible"),
    ("prompt", "string", "the words that the image was made from"),
    ("study", "string", "the same as JSON, with sides, severities and devices"),
    ("source", "string", "model, or drr for a projection of a CT volume"),
    ("seed", "uint64", "of the image; the whole range of 64 bits without sign"),
    ("attempt", "int16", "which seed of its row passed the gates, from 0"),
    ("substitute", "int16", "0 for the planned row, k for its k-th substitute of the same cell"),
    ("rejected", "int16", "images of this row that were refused before"),
    ("width", "int32", "pixels"),
    ("height", "int32", "pixels"),
    ("sha256", "string", "of the PNG file's bytes"),
    ("nearest", "float64", "distance (1 - cosine) to the nearest training image, where it was looked for"),
    ("model", "string", "the model's name"),
    ("model_hash", "string", "of the model's folder"),
    ("sampler", "string", "the scheduler's class"),
    ("steps", "int16", "of the sampler"),
    ("guidance", "float64", "classifier-free guidance; 1 is none"),
    ("network", "string", "device, precision and attention that the last bits depend on"),
    ("software", "string", "versions of what made the image"),
)  # fmt: skip
_AS_THEY_ARE = (
    "id", "number", "cell", "prompt", "source", "seed", "attempt", "substitute", "width", "height", "sha256", "nearest",
)  # fmt: skip


def write_index(out: str | Path, entries: Iterable[Entry]) -> Path:
    """Write ``out``/index.parquet, atomically, and return its path.

    ``entries``, in the order of their shards, are gone through twice: a sequence, or `counts.Entries`.
    """
    if iter(entries) is entries:
        raise TypeError("entries that can be gone through once only would give an empty index")
    import pyarrow as arrow
    from pyarrow import parquet

    scores = score_columns(entries)
    kinds = {"list": arrow.list_(arrow.string())}
    columns = [(name, kinds.get(kind, kind)) for name, kind, _ in COLUMNS]
    schema = arrow.schema([*columns, *((name, arrow.float64()) for name in scores)])
    rows = (
        row_of(record, entry) | {column: record[kind].get(name) for column, (kind, name) in scores.items()}
        for entry in entries
        for record in entry.records
    )
    path = Path(out) / INDEX
    with atomic_file(path) as stream, parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
        for group in _groups(rows):
            writer.write_table(arrow.Table.from_pylist(group, schema), row_group_size=ROW_GROUP)
    return path


def shape_of_index(out: str | Path) -> tuple[int, list[str]]:
    """The number of rows of the index and the names of its columns, without reading them.

    BadInput where there is none or it is damaged.
    """
    from pyarrow import ArrowException, parquet

    path = Path(out) / INDEX
    try:
        with parquet.ParquetFile(path) as file:
            return file.metadata.num_rows, list(file.schema_arrow.names)
    except OSError as error:
        reason = error.strerror or "damaged"
        raise BadInput(f"{path}: {reason}", hint="a data set has an index once it is finished") from error
    except ArrowException as error:
        raise BadInput(f"{path}: not a Parquet file, or damaged ({error})") from error


def score_columns(entries: Iterable[Entry]) -> dict[str, tuple[str, str]]:
    """The columns of what the gates looked at: "score_finding_edema" is ("scores", "finding: Edema") of a record.

    GenError where two names would have one column.
    """
    names = sorted({name for entry in entries for record in entry.records for name in record["scores"]})
    columns = {
        f"{kind}_{re.sub(r'[^a-z0-9]+', '_', name.lower()).strip('_')}": (f"{kind}s", name)
        for kind in ("score", "threshold")
        for name in names
    }
    if len(columns) < 2 * len(names):
        raise GenError(f"two of these scores would have one column of the index: {', '.join(names)}")
    return columns


def row_of(record: Mapping[str, Any], entry: Entry) -> dict[str, Any]:
    """A record of a shard (see `records.record_of`) as a row of the index, without its scores."""
    study = record["study"]
    facts = record["provenance"]
    states: dict[str, list[str]] = {"present": [], "absent": [], "uncertain": []}
    for name, finding in study["findings"].items():
        states[finding["state"]].append(name)
    return {
        **{name: record[name] for name in _AS_THEY_ARE},
        "shard": entry.shard,
        "file": entry.file,
        **{name: study[name] for name in ("sex", "age", "race", "view")},
        "findings": states["present"],
        "absent": states["absent"],
        "uncertain": states["uncertain"],
        "study": json.dumps(study, ensure_ascii=False),
        "rejected": len(record["rejected"]),
        **{name: facts.get(name) for name in ("model", "model_hash", "sampler", "network")},
        "steps": int(facts["steps"]) if "steps" in facts else None,
        "guidance": float(facts["guidance"]) if "guidance" in facts else None,
        "software": facts.get("software", facts.get("made_by")),  # a projection's
    }


def _groups(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    rows = iter(rows)
    while group := list(islice(rows, ROW_GROUP)):
        yield group
