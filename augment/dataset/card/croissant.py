"""croissant.json: the data set described in Croissant 1.0 and its vocabulary of responsible AI, as JSON-LD.

https://docs.mlcommons.org/croissant/docs/croissant-spec.html and croissant-rai-spec.html. Version 1.0, which every
reader knows. Written by hand, as it is a table of names: `mlcroissant` is needed to read and check it, not to write it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
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
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
OF_NOBODY = "None of a real person: sex, age and race are those that an image was asked to show."
OF_PATIENTS = (
    "Projections show the chests of the patients whose CTs they are made of, with those patients' own sex and age."
)
_RAI = {
    "rai:dataCollection": "No radiograph was taken for it: each image was sampled from a generative model of chest "
    "radiographs, or projected from a CT volume, to fill a plan of quotas; README.md and the index say how.",
    "rai:dataCollectionType": ["Others"],  # the vocabulary has no word for synthetic data
    "rai:dataAnnotationProtocol": "Labels are what each image was asked to show. No radiologist read it.",
    "rai:dataLimitations": [
        "Labels are what was asked for, not what an image shows.",
        "Not for clinical use, and not for testing a detector alone: that takes real radiographs.",
        "It has what the model lacks and what its training films had too much of; README.md quotes the model's card.",
    ],
    "rai:dataSocialImpact": "A set with the wanted shares in what was asked for can still be worse in one group than "
    "in another: measure by group on real radiographs.",
    "rai:dataUseCases": ["Training and pretraining of classifiers", "Research on synthetic data", "Teaching"],
}


def write_croissant(
    out: str | Path, config: DatasetConfig, entries: Iterable[Entry], *, date: str | None = None
) -> Path:
    """Write ``out``/croissant.json, atomically, and return its path; it describes index.parquet, so that comes first.

    ``date`` is the day of publication as YYYY-MM-DD; without one none is stated. BadInput where there is no index.
    """
    out = Path(out)
    images, columns = shape_of_index(out)
    distribution = _distribution(entries, sha256_file(out / INDEX))
    write_json(out / CROISSANT, _jsonld(config, images, distribution, columns, date))
    return out / CROISSANT


def stale_hashes(out: str | Path, entries: Iterable[Entry]) -> list[str]:
    """The files of whose hashes croissant.json, for readers to check, says other than they are; all if it is damaged.

    FileNotFoundError where it or the index is not there.
    """
    out = Path(out)
    has = {INDEX: sha256_file(out / INDEX)}
    try:
        files = json.loads((out / CROISSANT).read_bytes())["distribution"]
        told = {each["contentUrl"]: each["sha256"] for each in files if "sha256" in each}
    except (ValueError, KeyError, TypeError):
        return [CROISSANT]
    has |= {entry.file: entry.sha256 for entry in entries if entry.file in told}
    return sorted(name for name in told.keys() | has.keys() if told.get(name, "") != has.get(name))


def _jsonld(
    config: DatasetConfig, images: int, distribution: list[dict[str, Any]], columns: Sequence[str], date: str | None
) -> dict[str, Any]:
    name = Path(config.out).name
    attributes = ", ".join(attributes_of(config.target))
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": name,
        "description": f"{images} synthetic chest radiographs with their labels and provenance, made to quotas over "
        f"{attributes}. For research only, not for clinical use.",
        "license": f"Other: the images are synthetic; {CARD} says what the model's card asks for",
        "creator": {"@type": "sc:Organization", "name": f"cxr-gen {__version__}"},
        "citeAs": f"@misc{{cxrgen, title={{{name}: synthetic chest radiographs}}, "
        f"howpublished={{cxr-gen {__version__}}}, note={{{CARD} names the data sets to cite}}}}",
        "version": "1.0.0",
        **({} if date is None else {"datePublished": date}),
        "isLiveDataset": False,
        "inLanguage": "en",
        "keywords": ["synthetic", "chest radiograph", "chest x-ray", "medical imaging", config.target.kind],
        **_RAI,
        "rai:personalSensitiveInformation": [OF_PATIENTS if config.projections.cts else OF_NOBODY],
        "rai:machineAnnotationTools": _tools(config),
        "rai:dataBiases": [
            f"The plan ({config.target.kind}) fixes the counts by {attributes}; README.md has them, the rows that are "
            "missing, and how often each group was refused by the gates."
        ],
        "distribution": distribution,
        "recordSet": [_rows(columns), _pictures()],
    }


def _distribution(entries: Iterable[Entry], index_sha256: str) -> list[dict[str, Any]]:
    index = {
        "@type": "cr:FileObject",
        "@id": INDEX,
        "name": INDEX,
        "description": "One row an image: what a reader selects by, without the images.",
        "contentUrl": INDEX,
        "encodingFormat": "application/x-parquet",
        "sha256": index_sha256,
    }
    shards = [
        {
            "@type": "cr:FileObject",
            "@id": entry.file,
            "name": Path(entry.file).name,
            "contentUrl": entry.file,
            "contentSize": f"{entry.bytes} B",
            "encodingFormat": "application/x-tar",
            "sha256": entry.sha256,
        }
        for entry in islice(entries, LISTED)
    ]
    if len(shards) == LISTED:
        shards = [
            {
                "@type": "cr:FileSet",
                "@id": "shards",
                "name": "shards",
                "description": "WebDataset shards; the entries in manifest/ have their SHA-256.",
                "encodingFormat": "application/x-tar",
                "includes": "data/*.tar",
            }
        ]
    images = {
        "@type": "cr:FileSet",
        "@id": "png",
        "name": "png",
        "description": "The images; each has its whole record beside it, as ID.json.",
        "containedIn": [{"@id": shard["@id"]} for shard in shards],
        "encodingFormat": "image/png",
        "includes": f"{'?' * ID_DIGITS}.png",  # and not their twins, ID.NAME.png
    }
    return [index, *shards, images]


def _rows(columns: Sequence[str]) -> dict[str, Any]:
    """The record set of the index, field by field."""
    known = {name: (kind, text) for name, kind, text in COLUMNS}
    of_gates = ("float64", "score of what a gate looked at, or its threshold: passed at and above it")
    return {
        "@type": "cr:RecordSet",
        "@id": "index",
        "name": "index",
        "description": "One record an image.",
        "key": {"@id": "index/id"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"index/{name}",
                "name": name,
                "description": text,
                "dataType": TYPES[kind],
                **({"repeated": True} if kind == "list" else {}),
                "source": {"fileObject": {"@id": INDEX}, "extract": {"column": name}},
            }
            for name, (kind, text) in ((name, known.get(name, of_gates)) for name in columns)
        ],
    }


def _pictures() -> dict[str, Any]:
    """The record set of the images, which point to their rows of the index."""
    return {
        "@type": "cr:RecordSet",
        "@id": "images",
        "name": "images",
        "description": "The images, by the id that they have in the index.",
        "key": {"@id": "images/id"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": "images/id",
                "name": "id",
                "dataType": "sc:Text",
                "references": {"field": {"@id": "index/id"}},
                "source": {
                    "fileSet": {"@id": "png"},
                    "extract": {"fileProperty": "filename"},
                    # mlcroissant applies it once more to what it gave: then there is no ending left to match.
                    "transform": {"regex": r"([0-9a-f]+)(?:\.png)?"},
                },
            },
            {
                "@type": "cr:Field",
                "@id": "images/image",
                "name": "image",
                "dataType": "sc:ImageObject",
                "source": {"fileSet": {"@id": "png"}, "extract": {"fileProperty": "content"}},
            },
        ],
    }


def _tools(config: DatasetConfig) -> list[str]:
    if not config.gates.names:
        return ["None: all gates were off"]
    judge = name_of(config.gates.judge) or "that comes with cxr-gen"
    return [f"Gates on {', '.join(config.gates.names)} by the judge {judge}"]
