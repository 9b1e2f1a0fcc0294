"""Where finished images go: file names that never overwrite another image, and the manifest that lists them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gen.core.files import sha256_file
from gen.core.manifest import METADATA, Row, read_manifest, write_manifest
from gen.core.radiograph import Radiograph

if TYPE_CHECKING:
    from gen.model.requests import Request

LICENCE = "synthetic; see the model's card"


def result_path(out: Path, image: Radiograph, seed: int, k: int) -> Path:
    """images/seed-S-K-HASH.png, the hash being of everything that decides the image: other settings, other name."""
    facts = {**image.provenance, "size": image.pixels.shape}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
    return out / "images" / f"seed-{seed}-{k:04d}-{digest}.png"


def result_row(path: Path, image: Radiograph, request: Request, seed: int, k: int) -> Row:
    """The manifest row of image ``k`` of a call; its Study gives the labels, a raw prompt leaves them blank.

    The image's own seed follows from the two, and stands in the PNG: as a column its 64 bits would be too many for
    `load_dataset`, which reads 63.
    """
    study = request.study
    names: dict[str, tuple[str, ...]] = {"present": (), "absent": (), "uncertain": ()}
    if study is not None:
        for name, finding in study.findings.items():
            names[finding.state] += (name,)
    height, width = image.pixels.shape
    return Row(
        file=path.resolve(),
        patient_id=f"synthetic-{path.stem}",
        source=f"synthetic:{image.provenance['model']}:{image.provenance['model_hash']}",
        licence=LICENCE,
        weights_may_learn=True,
        age=None if study is None else study.age,
        sex=(study and study.sex) or "",
        race=(study and study.race) or "",
        view=(study and study.view) or "",
        findings=names["present"],
        absent=names["absent"],
        uncertain=names["uncertain"],
        prompt=request.prompt,
        seed=seed,
        width=width,
        height=height,
        sha256=sha256_file(path),
        study="" if study is None else json.dumps(study.to_json_dict()),
        extra={"k": str(k)},
    )


def existing_rows(out: Path) -> tuple[Row, ...]:
    """The rows of the manifest of ``out``, none where there is none; BadInput for one that cannot be read."""
    return read_manifest(out).rows if (out / METADATA).exists() else ()


def add_rows(out: Path, rows: Sequence[Row]) -> None:
    """Add ``rows`` to the manifest of ``out``; an image that was made again replaces its row."""
    if not rows:
        return
    kept = {row.file: row for row in existing_rows(out)}
    write_manifest(out, (kept | {row.file: row for row in rows}).values())
