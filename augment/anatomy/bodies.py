"""Whose projections are learnt from, and whose are held out: phantoms by number, and the CTs of an index."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from augment.anatomy.config import AnatomyConfig
from augment.bodies.index import read_index
from drr.job import digest_of as digest_of_files
from gen.core.errors import BadInput


@dataclass(frozen=True)
class Body:
    """A patient: a phantom by number, or a CT by its file, with its label map where there is one."""

    name: str
    number: int | None = None
    ct: Path | None = None
    labels: Path | None = None
    atlas: Body | None = None  # whose labels it gets where it has none
    unknown: tuple[str, ...] = ()
    source: str = "phantom"
    licence: str = "Apache-2.0"
    labels_source: str = ""


def bodies_of(config: AnatomyConfig) -> dict[str, list[Body]]:
    """The bodies of "train" and of "validation": CTs that weights may learn from, then phantoms.

    BadInput where ``held_out``, ``leave_out`` or ``unknown`` names what is not there.
    """
    folder = Path(config.data)
    rows = read_index(folder) if config.data else []
    files = {row["file"]: row for row in rows if row["weights_may_learn"] == "yes"}
    cts: dict[str, str] = {}
    for file in files:
        if ".seg." not in file and (other := cts.setdefault(_stem(file), file)) != file:
            raise BadInput(f"{folder / other} and {file} have one name up to the first dot", hint="rename one of them")
    for key in (*config.held_out, *config.leave_out, *config.unknown):
        if key not in cts:
            raise BadInput(f"{config.data or 'no data'} lists no CT {key!r} that weights may learn from")
    if config.atlas is not None and (config.atlas not in cts or _seg(config.atlas, files) is None):
        raise BadInput(f"the atlas {config.atlas!r} is no CT with labels that weights may learn from")

    def body(name: str) -> Body:
        row, seg = files[cts[name]], _seg(name, files)
        return Body(
            name,
            ct=folder / cts[name],
            labels=None if seg is None else folder / seg,
            unknown=tuple(config.unknown.get(name, ())),
            source=row["source"],
            licence=row["licence"],
            labels_source="" if seg is None else files[seg]["source"],
        )

    atlas = None if config.atlas is None else body(config.atlas)
    shown = [body(name) for name in cts if name not in config.leave_out]
    bodies = {
        "train": [replace(each, atlas=atlas) for each in shown if each.name not in config.held_out],
        "validation": [each for each in shown if each.name in config.held_out],  # nothing there is a guess
    }
    for number in range(config.held_out_phantoms + config.phantoms):
        split = "validation" if number < config.held_out_phantoms else "train"
        bodies[split].append(Body(f"phantom-{number:04d}", number=number))
    return bodies


def digest_of(body: Body) -> str:
    """Of all that is read of ``body``: CT (a file or a folder), labels and those of its atlas, and what is unknown.

    BadInput for a file that cannot be read.
    """
    lines = [body.name, *body.unknown]
    for each in (body, body.atlas):
        for path in (each.ct, each.labels) if each is not None else ():
            try:
                if path is not None:
                    path.stat()  # says so where it is not there
                lines.append("" if path is None else digest_of_files(path))
            except OSError as error:
                raise BadInput(f"cannot read {path}: {error.strerror}", hint="index.csv lists it") from error
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _seg(name: str, files: Iterable[str]) -> str | None:
    """The label map among ``files`` that belongs to the CT ``name``."""
    return next((file for file in files if file.startswith(f"{name}.seg.")), None)


def _stem(file: str) -> str:
    return file.split(".")[0]
