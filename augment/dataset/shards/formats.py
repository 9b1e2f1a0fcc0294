"""Further formats of a data set, each written from a committed shard: Hugging Face imagefolder, Parquet, DICOM.

A file is a function of the shard, so writing it again changes nothing, and after damage mends it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from augment.dataset.config import FORMATS
from augment.dataset.shards.folder import read_shard
from augment.dataset.shards.records import ANATOMY, DRR, MODEL, Entry
from augment.dataset.shards.samples import COLUMNS, NUMBERS, sample_of
from gen.core.dicom import dicom_bytes
from gen.core.errors import GenError
from gen.core.files import write_bytes
from gen.core.manifest import Row, write_manifest
from gen.core.terms import require_choice
from gen.data.rows import labels_of
from gen.images.reader import read_image
from gen.language.study import Study
from gen.model.sampling.results import SOURCE

LICENCE = "synthetic; see the data set's card"
IMAGES = "images"
ROW_GROUP = 100  # rows; a reader of one image decodes no more than these
_INTEGERS = (*NUMBERS, "age")


def export(out: str | Path, entry: Entry, fmt: str) -> None:
    """Write the images of a committed shard in ``fmt``, one of ``FORMATS``, below ``out``/``fmt``.

    What is there already is left alone. The caller holds a byte of the lock of ``out`` (`folder.locked`).
    GenError, naming the file, where the shard is damaged or the disk full.
    """
    for name, content in files_of(out, entry, fmt):
        path = Path(out) / fmt / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            same = path.is_file() and path.read_bytes() == content
        except OSError as error:
            raise GenError(f"cannot write {path}: {error.strerror}") from error
        if not same:
            write_bytes(path, content)


def finish_format(
    out: str | Path,
    fmt: str,
    entries: Iterable[Entry],
    *,
    twins: Sequence[str] = (),
    weights_may_learn: Mapping[str, bool] | None = None,
) -> None:
    """Write what vouches for all files of ``fmt``, once they are there: the metadata.csv of an imagefolder.

    ``twins`` are the names of those that each image has.
    ``weights_may_learn`` says by source whether it is allowed: whoever learns from a model's images learns from what
    the model learnt from. The licence of a projection is that of its CT.
    """
    if fmt == "imagefolder":
        folder = (Path(out) / fmt).absolute()
        folder.mkdir(exist_ok=True)  # of a set of which nothing could be made there is none
        records = (record for entry in entries for record in entry.records)
        write_manifest(folder, (manifest_row(folder, twins, record, weights_may_learn) for record in records))


def files_of(out: str | Path, entry: Entry, fmt: str) -> Iterator[tuple[str, bytes]]:
    """The files of a shard in ``fmt``: name below the folder of the format, and content. BadInput for no format."""
    require_choice("format", fmt, FORMATS)
    return {"imagefolder": _pictures, "parquet": _parquet, "dicom": _dicom}[fmt](Path(out), entry)


# imagefolder


def _pictures(out: Path, entry: Entry) -> Iterator[tuple[str, bytes]]:
    for record, members in read_shard(out, entry):
        yield _picture_name(IMAGES, record), members["png"]
        for twin, content in twins_of(members).items():
            yield _picture_name(twin, record), content


def twins_of(members: Mapping[str, bytes]) -> dict[str, bytes]:
    """The PNG files of the twins of a sample, by name."""
    return {name.removesuffix(".png"): content for name, content in members.items() if name.endswith(".png")}


def _picture_name(kind: str, record: Mapping[str, Any]) -> str:
    return f"{kind}/{record['id'][:2]}/{record['id']}.png"


def manifest_row(
    folder: Path,
    twins: Sequence[str],
    record: Mapping[str, Any],
    weights_may_learn: Mapping[str, bool] | None = None,
) -> Row:
    """The row of an image in metadata.csv of ``folder``."""
    return Row(
        file=folder / _picture_name(IMAGES, record),
        patient_id=patient_of(record),
        source=f"{SOURCE}{':'.join(_origin(record))}",
        licence=record["provenance"].get("licence") or LICENCE,
        weights_may_learn=(weights_may_learn or {}).get(record["source"], False),
        prompt=record["prompt"],
        width=record["width"],
        height=record["height"],
        sha256=record["sha256"],
        extra={
            "number": str(record["number"]),
            "cell": record["cell"],
            **{f"{twin}_file_name": _picture_name(twin, record) for twin in twins},  # which load_dataset opens too
        },
        **labels_of(Study.from_json_dict(record["study"])),
    )


def patient_of(record: Mapping[str, Any]) -> str:
    """Whom an image shows: of a projection the patient of the CT, who may have many, and else nobody who exists."""
    return str(record["provenance"].get("patient") or f"synthetic-{record['id']}")


def _origin(record: Mapping[str, Any]) -> list[str]:
    """What made an image: "drr" and the patient, or the model's name and hash."""
    facts = record["provenance"]
    if record["source"] == DRR:
        return [DRR, patient_of(record)]
    return [facts[key] for key in ("model", "model_hash") if key in facts]


# Parquet


def _parquet(out: Path, entry: Entry) -> Iterator[tuple[str, bytes]]:
    if not entry.records:  # nobody knows the columns of its twins, and a file without rows is of no use
        return
    from pyarrow import parquet

    stream = io.BytesIO()
    parquet.write_table(table_of(out, entry), stream, compression="zstd", row_group_size=ROW_GROUP)
    yield f"{Path(entry.file).stem}.parquet", stream.getvalue()


def table_of(out: str | Path, entry: Entry) -> Any:
    """A shard of at least one image as a pyarrow.Table: ``image`` and each twin as a struct of bytes and path, and the
    columns of a sample. The schema carries what `datasets` needs to decode the images.
    """
    import pyarrow

    rows: list[dict[str, Any]] = []
    for record, members in read_shard(out, entry):
        pictures = {"image": members["png"], **twins_of(members)}
        paths = {name: {"bytes": content, "path": f"{record['id']}.png"} for name, content in pictures.items()}
        rows.append({**paths, **sample_of(record)})
    names = [name for name in rows[0] if name not in COLUMNS]
    picture = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    kinds = {name: pyarrow.int64() if name in _INTEGERS else pyarrow.string() for name in COLUMNS}
    values = {name: {"dtype": str(kind), "_type": "Value"} for name, kind in kinds.items()}
    features = {**{name: {"_type": "Image"} for name in names}, **values}
    described = {"huggingface": json.dumps({"info": {"features": features}})}
    schema = pyarrow.schema([*((name, picture) for name in names), *kinds.items()], described)
    return pyarrow.Table.from_pylist(rows, schema)


# DICOM


def _dicom(out: Path, entry: Entry) -> Iterator[tuple[str, bytes]]:
    for record, members in read_shard(out, entry):
        for name, content in {"": members["png"], **twins_of(members)}.items():
            suffix = f".{name}.dcm" if name else ".dcm"
            yield f"{record['id'][:2]}/{record['id']}{suffix}", _dicom_of(record, content, name)


_MADE_BY = {
    MODEL: "made from text by a generative model",
    DRR: "projection of a CT",
    ANATOMY: "made from a projection by a generative model",
}


def _dicom_of(record: Mapping[str, Any], png: bytes, twin: str) -> bytes:
    """8 bits a pixel, as the PNG has, so that not one level changes. No angle and no distance: nobody knows any."""
    study = record["study"]
    by = _MADE_BY[record["source"]]
    attributes: dict[str, Any] = {
        "ManufacturerModelName": _origin(record)[0][:64] if _origin(record) else "",
        "DerivationDescription": f"{by}; {twin}" if twin else by,
    }
    if study["view"] in ("PA", "AP"):
        # The model's words for left and right mean radiographs that are hung as usual: the patient's left is at the
        # right.
        attributes |= {"ViewPosition": study["view"], "PatientOrientation": ["L", "F"]}
    patient = {"id": patient_of(record), "sex": study["sex"], "age": study["age"]}
    origin = (record["id"], twin)
    return dicom_bytes(read_image(io.BytesIO(png)), bits=8, patient=patient, attributes=attributes, origin=origin)
