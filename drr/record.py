"""What one projection leaves on disk: image, twins, masks, its truth as JSON, and its row in the manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from drr.ct.names import safe_name
from drr.dicom import attributes_of
from drr.physics.materials import MATERIALS
from drr.projection import Projection
from gen.core.dicom import dicom_bytes
from gen.core.files import atomic_file, sha256_file, write_bytes, write_json
from gen.core.manifest import Row
from gen.core.radiograph import Radiograph, write_png

SOURCE = "synthetic:drr:"  # begins the source of every row that is ours


def write_projection(
    out: Path, stem: str, projection: Projection, *, bits: int, photometric: str | None, paths: bool = False
) -> dict[str, Any]:
    """Write the files of ``projection`` under ``out``; returns its line for the log, with the SHA-256 of each file.

    images/, soft/ and bone/ hold ``stem``.png, masks/``stem``/ a PNG of 0 and 255 for each structure, truth/ the JSON,
    dicom/ the image once more where a ``photometric`` interpretation is asked for, and with ``paths`` paths/ an NPZ of
    the line integrals: float32 (H, W) in water-equivalent mm by material.
    """
    spacing, provenance = projection.geometry.pitch_mm, projection.provenance
    radiograph = Radiograph(projection.image, spacing, provenance)
    pictures = {f"images/{stem}.png": (radiograph, bits)}
    for name, pixels in (("soft", projection.soft), ("bone", projection.bone)):
        if pixels is not None:
            pictures[f"{name}/{stem}.png"] = Radiograph(pixels, spacing, provenance | {"shows": name}), bits
    for name, mask in projection.masks.items():
        picture = Radiograph(mask.astype(np.float32), spacing, {"synthetic": "yes", "mask": name})
        pictures[f"masks/{stem}/{safe_name(name)}.png"] = picture, 8
    names = [*pictures, f"truth/{stem}.json"]
    for name, (picture, depth) in pictures.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        write_png(out / name, picture, 16 if depth == 16 else 8)
    (out / "truth").mkdir(exist_ok=True)
    write_json(out / f"truth/{stem}.json", projection.truth)
    if photometric is not None:
        names.append(f"dicom/{stem}.dcm")
        (out / "dicom").mkdir(exist_ok=True)
        patient = {"id": projection.truth["patient_id"], **projection.truth["study"]}
        view = projection.view
        attributes = attributes_of(view, projection.truth["technique"]["kvp"])
        write_bytes(
            out / names[-1],
            dicom_bytes(radiograph, photometric=photometric, patient=patient, attributes=attributes, origin=view),
        )
    if paths:
        names.append(f"paths/{stem}.npz")
        (out / "paths").mkdir(exist_ok=True)
        with atomic_file(out / names[-1]) as stream:
            soft, bone, iodine, metal = (projection.paths_mm[name] for name in MATERIALS)
            np.savez_compressed(stream, soft=soft, bone=bone, iodine=iodine, metal=metal)
    return {"stem": stem, "image": names[0], "files": {name: sha256_file(out / name) for name in names}}


def is_whole(out: Path, line: Mapping[str, Any]) -> bool:
    """Whether every file of a line of the log is there as it was written."""
    files = line["files"]
    return all((out / name).is_file() and sha256_file(out / name) == digest for name, digest in files.items())


def row_of(out: Path, line: Mapping[str, Any], *, licence: str, weights_may_learn: bool) -> Row:
    """The manifest row of an image that `write_projection` wrote."""
    truth = json.loads((out / f"truth/{line['stem']}.json").read_bytes())
    study = truth["study"]
    twins = {f"{name}_file_name": f"{name}/{line['stem']}.png" for name in ("soft", "bone")}
    return Row(
        file=(out / line["image"]).resolve(),
        patient_id=truth["patient_id"],
        source=SOURCE + truth["patient_id"],
        licence=licence,
        weights_may_learn=weights_may_learn,
        age=study["age"],
        sex=study["sex"] or "",
        view=study["view"] or "",
        findings=tuple(study["findings"]),  # all of them present
        width=truth["geometry"]["columns"],
        height=truth["geometry"]["rows"],
        sha256=line["files"][line["image"]],
        study=json.dumps(study, sort_keys=True, ensure_ascii=False),
        notes=truth["notes"],
        extra={column: name for column, name in twins.items() if name in line["files"]},
    )
