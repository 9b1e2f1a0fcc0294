"""croissant.json: the data set described in Croissant 1.0 and its vocabulary of responsible AI, as JSON-LD.

https://docs.mlcommons.org/croissant/docs/croissant-spec.html and croissant-rai-spec.html. Version 1.0, which every
reader knows. ``templates/croissant.json`` has all but the numbers: `mlcroissant` is needed to read and check it, not to
write it. The vocabulary has no word for synthetic data, so its type of collection is "Others"; the regex of an image's
id matches with and without its ending, for mlcroissant applies it once more to what it gave.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from itertools import islice
from pathlib import Path
from string import Template
from typing import Any

from augment.dataset.card.card import CARD, name_of
from augment.dataset.config import DatasetConfig, attributes_of
from augment.dataset.shards.index import COLUMNS, INDEX, shape_of_index
from augment.dataset.shards.records import Entry
from gen import __version__
from gen.core.files import sha256_file, write_json

CROISSANT = "croissant.json"
ID_DIGITS = 16  # of a row's id (`records.row_id`)
LISTED = 1000  # shards and more are described as one set of files, without their hashes, which manifest/ has
TYPES = {
    "string": "sc:Text",
    "list": "sc:Text",
    "int16": "sc:Integer",
    "int32": "sc:Integer",
    "int64": "sc:Integer",
    "uint64": "cr:UInt64",  # sc:Integer has no range, but readers take 63 bits
    "float64": "sc:Float",
}


def write_croissant(
    out: str | Path, config: DatasetConfig, entries: Iterable[Entry], *, date: str | None = None
) -> Path:
    """Write ``out``/croissant.json, atomically, and return its path; it describes index.parquet, so that comes first.

    ``date`` is the day of publication as YYYY-MM-DD; without one none is stated. BadInput where there is no index.
    """
    out = Path(out)
    images, columns = shape_of_index(out)
    write_json(out / CROISSANT, _jsonld(config, images, sha256_file(out / INDEX), entries, columns, date))
    return out / CROISSANT


def stale_hashes(out: str | Path, entries: Iterable[Entry]) -> list[str]:
    """The files of whose hashes croissant.json, for readers to check, says other than they are; all if it is damaged.

    FileNotFoundError where it or the index is not there.
    """
    out = Path(out)
    has = {INDEX: sha256_file(out / INDEX)}
    try:
        listed = json.loads((out / CROISSANT).read_bytes())["distribution"]
        stated = {each["contentUrl"]: each["sha256"] for each in listed if "sha256" in each}
    except (ValueError, KeyError, TypeError):
        return [CROISSANT]
    has |= {entry.file: entry.sha256 for entry in entries if entry.file in stated}
    return sorted(name for name in stated.keys() | has.keys() if stated.get(name, "") != has.get(name))


def _jsonld(
    config: DatasetConfig,
    images: int,
    index_sha256: str,
    entries: Iterable[Entry],
    columns: Sequence[str],
    date: str | None,
) -> dict[str, Any]:
    """The template of the description, filled; see `write_croissant`."""
    template = json.loads((files(__package__) / "templates" / CROISSANT).read_text(encoding="utf-8"))
    phrases = template.pop("phrases")
    judge = name_of(config.gates.judge) or phrases["bundled_judge"]
    tools = Template(phrases["gates" if config.gates.names else "no_gates"])
    values = {
        "name": Path(config.out).name,
        "images": images,
        "attributes": ", ".join(attributes_of(config.target)),
        "kind": config.target.kind,
        "card": CARD,
        "index": INDEX,
        "index_sha256": index_sha256,
        "id": "?" * ID_DIGITS,  # so that the twins, ID.NAME.png, are no images of the set
        "version": __version__,
        "date": date,
        "persons": phrases["of_patients" if config.projections.cts else "of_nobody"],
        "tools": tools.substitute(gates=", ".join(config.gates.names), judge=judge),
    }
    page: dict[str, Any] = _filled(template, values)
    if date is None:
        del page["datePublished"]
    index, shards, pictures = page["distribution"]
    tars = [_tar(entry) for entry in islice(entries, LISTED)]
    tars = tars if len(tars) < LISTED else [shards]
    pictures["containedIn"] = [{"@id": each["@id"]} for each in tars]
    page["distribution"] = [index, *tars, pictures]
    page["recordSet"][0]["field"] = _fields(columns, phrases["score"])
    return page


def _filled(value: Any, values: Mapping[str, object]) -> Any:
    """``value`` with ``values`` in the place of $name in every text of it."""
    if isinstance(value, dict):
        return {key: _filled(each, values) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, values) for each in value]
    return Template(value).substitute(values) if isinstance(value, str) else value


def _tar(entry: Entry) -> dict[str, str]:
    return {
        "@type": "cr:FileObject",
        "@id": entry.file,
        "name": Path(entry.file).name,
        "contentUrl": entry.file,
        "contentSize": f"{entry.bytes} B",
        "encodingFormat": "application/x-tar",
        "sha256": entry.sha256,
    }


def _fields(columns: Sequence[str], of_scores: str) -> list[dict[str, Any]]:
    """The index, field by field; a column that is not known has scores, and is described by ``of_scores``."""
    known = {name: (kind, text) for name, kind, text in COLUMNS}
    return [
        {
            "@type": "cr:Field",
            "@id": f"index/{name}",
            "name": name,
            "description": text,
            "dataType": TYPES[kind],
            **({"repeated": True} if kind == "list" else {}),
            "source": {"fileObject": {"@id": INDEX}, "extract": {"column": name}},
        }
        for name, (kind, text) in ((name, known.get(name, ("float64", of_scores))) for name in columns)
    ]
