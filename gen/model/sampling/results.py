"""Where finished images go: file names that never overwrite another image, and the manifest that lists them."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gen.core.errors import BadInput
from gen.core.files import sha256_file
from gen.core.locks import lock
from gen.core.manifest import METADATA, SPLITS, Row, scan_manifest, write_manifest
from gen.core.radiograph import Radiograph
from gen.data.rows import labels_of

if TYPE_CHECKING:
    from gen.model.sampling.requests import Request

LICENCE = "synthetic; see the model's card"
SOURCE = "synthetic:"  # begins the source of every row that is ours


def result_path(out: Path, image: Radiograph, seed: int, k: int) -> Path:
    """images/seed-S-K-HASH.png, the hash being of everything that decides the image: other settings, other name."""
    facts = {**image.provenance, "size": image.pixels.shape}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
    return out / "images" / f"seed-{seed}-{k:04d}-{digest}.png"


def result_row(
    path: Path, image: Radiograph, request: Request, seed: int, k: int, *, weights_may_learn: bool = False
) -> Row:
    """The manifest row of image ``k`` of a call; its Study gives the labels, a text without one leaves them blank.

    ``weights_may_learn`` is the model's to allow: whoever learns from its images learns from what it learnt from.
    The image's own seed follows from the two, and stands in the PNG: as a column its 64 bits would be too many for
    `load_dataset`, which reads 63.
    """
    height, width = image.pixels.shape
    return Row(
        file=path.resolve(),
        patient_id=f"synthetic-{path.stem}",
        source=f"{SOURCE}{image.provenance['model']}:{image.provenance['model_hash']}",
        licence=LICENCE,
        weights_may_learn=weights_may_learn,
        prompt=request.prompt,
        seed=seed,
        width=width,
        height=height,
        sha256=sha256_file(path),
        extra={"k": str(k)},
        **({} if request.study is None else labels_of(request.study)),
    )


def existing_rows(out: Path) -> tuple[Row, ...]:
    """The rows of the manifest of ``out`` whose image is still there, none where there is no manifest.

    BadInput for a manifest that cannot be read, and for a data set that is not ours to write into.
    """
    if split := next((split for split in SPLITS if (out / split / METADATA).exists()), None):
        raise BadInput(f"--out {out} is a data set with a folder {split}/", hint="name another folder")
    if not (out / METADATA).exists():
        return ()
    manifest, problems = scan_manifest(out)
    with (out / METADATA).open(encoding="utf-8-sig", newline="") as stream:
        sources = [(row.get("source") or "").strip() for row in csv.DictReader(stream)]
    if real := [source for source in sources if not source.startswith(SOURCE)]:
        raise BadInput(
            f"--out {out} is a data set with images that are not synthetic: {METADATA} has the source {real[0]!r}",
            hint="name another folder",
        )
    if damaged := [problem for problem in problems if not problem.endswith(": no such file")]:  # that one was deleted
        raise BadInput(damaged[0], hint="mend it, or name another folder")
    return manifest.rows


def add_rows(out: Path, rows: Sequence[Row]) -> int:
    """Add ``rows`` to the manifest of ``out`` and return how many it has; an image made again replaces its row.

    Several processes may add to one folder.
    """
    if not rows:
        return 0
    with _locked(out):
        kept = {row.file: row for row in existing_rows(out)} | {row.file: row for row in rows}
        write_manifest(out, kept.values())
    return len(kept)


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold the lock under which one process at a time changes the manifest of ``out``."""
    with (out / ".metadata.lock").open("w") as stream:
        lock(stream)
        yield
