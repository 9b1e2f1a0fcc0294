"""The samples of a shard: its bytes as a function of its images, and a layout that every reader takes.

webdataset ends a key at the first dot, so ids have none. Hugging Face's reader wants the same members in every sample.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from augment.dataset.shards.records import Made, record_of
from gen.core.errors import BadInput, GenError
from gen.core.radiograph import Radiograph, png_bytes
from gen.images.reader import read_image

STATES = {"present": "findings", "absent": "absent", "uncertain": "uncertain"}  # to the columns of metadata.csv
NUMBERS = ("number", "attempt", "substitute", "width", "height")
_TEXT = ("id", "cell", "source", "prompt", "sha256")
_JSON = ("seed", "study", "planned", "provenance", "scores", "thresholds", "nearest", "rejected")
RECORD = frozenset((*_TEXT, *NUMBERS, *_JSON))  # the keys of a record
COLUMNS = (*_TEXT, *NUMBERS, *_JSON, "age", "sex", "race", "view", *STATES.values())
_TWIN = re.compile(r"[a-z][a-z0-9_]*")


def sample_of(record: Mapping[str, Any]) -> dict[str, str | int | None]:
    """A record as one flat row of ``COLUMNS``: whole numbers and text, the same types in every sample of a set.

    What is nested, or is a number or nothing, stands as JSON in text, and so does the seed, whose 64 bits are too many
    for Arrow's integers. For `load_dataset` takes the types of a JSON member from the first five samples, drops the
    keys of objects that come later without a word, and fails where a null becomes a number.
    """
    study = record["study"]
    labels: dict[str, list[str]] = {column: [] for column in STATES.values()}
    for name, finding in study["findings"].items():
        labels[STATES[finding["state"]]].append(name)
    return {
        **{key: record[key] for key in (*_TEXT, *NUMBERS)},
        **{key: json.dumps(record[key], sort_keys=True, ensure_ascii=False, allow_nan=False) for key in _JSON},
        "age": study["age"],
        **{key: study[key] or "" for key in ("sex", "race", "view")},
        **{column: ";".join(names) for column, names in labels.items()},
    }


def is_record(value: Mapping[str, Any]) -> bool:
    """Whether a record that was read has the keys of one, and text and whole numbers where they belong."""
    kinds = ((_TEXT, str), (NUMBERS, int))
    return value.keys() == RECORD and all(isinstance(value[key], kind) for keys, kind in kinds for key in keys)


def require_twin_names(names: Iterable[str]) -> None:
    """BadInput where a twin's name would not do as an extension, as a folder and as a column."""
    for name in names:
        if not _TWIN.fullmatch(name) or name in {"image", "images", "json", "png", *COLUMNS}:
            raise BadInput(
                f"a twin cannot be called {name!r}", hint="use small letters, digits and _, and no column's name"
            )


def sample_json(record: Mapping[str, Any]) -> bytes:
    """The JSON member of a sample."""
    return json.dumps(sample_of(record), sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


def shard_bytes(made: Sequence[Made]) -> tuple[bytes, list[dict[str, Any]]]:
    """The tar of finished images, in the order of their numbers, and the record of each.

    A sample is <id>.png, <id>.<twin>.png for each twin and <id>.json (`sample_of`). The same images are the same bytes:
    members have no time and no owner. GenError where samples have unequal twins, or two have one id.
    """
    made = sorted(made, key=lambda each: each.row.number)
    twins = sorted(made[0].twins) if made else []
    require_twin_names(twins)
    if odd := next((each for each in made if sorted(each.twins) != twins), None):
        raise GenError(f"row {odd.row.number} has the twins {sorted(odd.twins)}, and others of its shard {twins}")
    if len({each.row.id for each in made}) < len(made):
        raise GenError(f"two rows of the shard of row {made[0].row.number} have one id")
    stream, records = io.BytesIO(), []
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for each in made:
            png = png_bytes(each.image)
            record = record_of(each, hashlib.sha256(png).hexdigest())
            records.append(record)
            members = {"png": png, **{f"{name}.png": png_bytes(each.twins[name]) for name in twins}}
            for extension, content in {**members, "json": sample_json(record)}.items():
                member = tarfile.TarInfo(f"{each.row.id}.{extension}")  # mtime 0, owner 0, mode 0644
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return stream.getvalue(), records


def radiograph_of(png: bytes) -> Radiograph:
    """The image in the bytes of a PNG file of ours, with what it says of itself."""
    return read_image(io.BytesIO(png))
