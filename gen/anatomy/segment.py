"""`gen segment`: masks, an outlines picture and measurements of radiographs, in a folder that can be continued.

What is not one upright frontal chest gets no mask: it is listed in left_out.csv with the reason.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from gen.anatomy.network import ORGANS
from gen.anatomy.reading import RULES, Reading, label_map, read_anatomy
from gen.core.errors import GenError
from gen.core.files import atomic_file, sha256_file, write_json, write_text
from gen.core.manifest import Row, write_manifest
from gen.core.radiograph import Radiograph, write_png
from gen.core.run import open_run, read_log
from gen.images.reader import read_radiograph

if TYPE_CHECKING:
    from gen.anatomy.folder import Anatomy

LEFT_OUT, LABELS = "left_out.csv", "labels.json"
OUTLINED = 1024  # pixels of the longer side of an outlines picture, at most
# Okabe and Ito's colours, and greys for what lies around.
COLOURS = {
    "right lung": (0, 158, 115),
    "left lung": (86, 180, 233),
    "heart": (213, 94, 0),
    "mediastinum": (204, 121, 167),
    "right clavicle": (240, 228, 66),
    "left clavicle": (240, 228, 66),
    "spine": (230, 159, 0),
    "abdomen": (150, 150, 150),
}


@dataclass(frozen=True)
class SegmentConfig:
    """What decides the files of a folder: another one does not continue it."""

    network: str  # fingerprint of its weights
    multilabel: bool = False  # one label map an image, instead of one mask an organ
    rules: int = RULES  # of what is refused, and of what is measured


def segment(
    anatomy: Anatomy,
    files: Sequence[Path],
    out: Path,
    *,
    multilabel: bool = False,
    command: Sequence[str] = (),
    on_image: Callable[[dict[str, Any]], object] = lambda line: None,
) -> list[dict[str, Any]]:
    """Segment ``files`` into the folder ``out``; one mapping an image, whose "problem" is "" where it has masks.

    masks/NAME/ has a PNG of 0 and 255 for each organ, or with ``multilabel`` masks/NAME.png the number of the organ at
    each pixel (labels.json has their names), outlines/NAME.png the picture, metadata.csv the measurements. What stands
    there from the same image and settings is not made again. BadInput for a folder that is not one of ours.
    """
    lines = []
    with open_run(out, SegmentConfig(anatomy.fingerprint, multilabel), command=command) as run:
        told = [line for line in read_log(run.folder) if "sha256" in line and _whole(out, line)]
        known = {line["sha256"]: line for line in reversed(told) if line["sha256"]}  # of copies the first
        newest = {line["file"]: line for line in told}
        if multilabel:
            write_json(out / LABELS, {name: number for number, name in enumerate(ORGANS, start=1)})
        try:
            for file in files:
                line = _line(anatomy, file, out, multilabel, known)
                if newest.get(line["file"], {}).get("sha256") != line["sha256"]:
                    run.log(**line)
                newest[line["file"]] = line
                if line["sha256"]:
                    known.setdefault(line["sha256"], line)
                lines.append(line)
                on_image(line)
        finally:
            _write_tables(out, [*known.values()], newest)
    return lines


def outlines(image: np.ndarray, reading: Reading) -> np.ndarray:
    """The image (H, W) in [0, 1] with the organs' outlines in colour: uint8 (h, w, 3), at most OUTLINED a side."""
    from scipy import ndimage

    picture = Image.fromarray(np.rint(image * 255).astype(np.uint8))
    picture.thumbnail((OUTLINED, OUTLINED), Image.Resampling.LANCZOS)
    grey = np.asarray(picture)
    shown = np.repeat(grey[..., None], 3, axis=2)
    thick = max(1, round(max(grey.shape) / 400))
    for organ, colour in COLOURS.items():
        mask = reading.mask(organ, (grey.shape[0], grey.shape[1]))
        shown[mask & ~ndimage.binary_erosion(mask, iterations=thick, border_value=1)] = colour
    return shown


def numbers_of(reading: Reading) -> dict[str, float | None]:
    """The measurements for JSON: None where NaN."""
    values = dataclasses.asdict(reading.measurements)
    return {name: None if math.isnan(value) else round(float(value), 4) for name, value in values.items()}


def _line(
    anatomy: Anatomy, file: Path, out: Path, multilabel: bool, known: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """What became of ``file``; its masks are written, unless they stand there already."""
    try:
        digest = sha256_file(file)
        if digest in known:
            return {**known[digest], "file": str(file)}
        radiograph = read_radiograph(file)
    except (GenError, OSError) as error:
        reason = error.message.removeprefix(f"{file}: ") if isinstance(error, GenError) else str(error.strerror)
        return {"file": str(file), "sha256": "", "problem": reason}
    (reading,) = read_anatomy(anatomy, [radiograph.pixels])
    facts = {"file": str(file), "sha256": digest, "confidence": round(reading.confidence, 4)}
    if reading.refused:
        return {**facts, "problem": reading.refused}
    taken = {line.get("name") for line in known.values()}
    name = file.stem if file.stem not in taken else f"{file.stem}-{digest[:8]}"
    written = _write_masks(out, name, radiograph, reading, multilabel)
    return {**facts, "problem": "", "name": name, "files": written, "measurements": numbers_of(reading)}


def _write_masks(out: Path, name: str, radiograph: Radiograph, reading: Reading, multilabel: bool) -> list[str]:
    height, width = radiograph.pixels.shape
    marks = {key: radiograph.provenance[key] for key in ("synthetic", "notice") if key in radiograph.provenance}
    if multilabel:
        pictures = {f"masks/{name}.png": (label_map(reading, (height, width)), "labels")}
    else:
        pictures = {
            f"masks/{name}/{organ.replace(' ', '_')}.png": (
                reading.mask(organ, (height, width)).astype(np.float32),
                organ,
            )
            for organ in ORGANS
        }
    for place, (pixels, what) in pictures.items():
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        write_png(out / place, Radiograph(pixels, radiograph.spacing_mm, {**marks, "mask": what}))
    place = f"outlines/{name}.png"
    (out / place).parent.mkdir(exist_ok=True)
    text = PngInfo()
    for key, value in marks.items():
        text.add_text(key, value)
    with atomic_file(out / place) as stream:
        Image.fromarray(outlines(radiograph.pixels, reading)).save(stream, format="PNG", pnginfo=text)
    return [*pictures, place]


def _write_tables(out: Path, made: Sequence[dict[str, Any]], newest: dict[str, dict[str, Any]]) -> None:
    """metadata.csv of all that the folder holds, and left_out.csv of what has no masks, in this call or before.

    ``newest`` is what a file was found to be last: one that was replaced by a good one is left out no more.
    """
    rows = [
        Row(
            file=(out / line["files"][-1]).resolve(),
            source="masks of gen segment",
            extra={
                "image": Path(line["file"]).name,
                "image_sha256": line["sha256"],
                "confidence": str(line["confidence"]),
                **{name: "" if value is None else str(value) for name, value in line["measurements"].items()},
            },
        )
        for line in made
        if not line["problem"]
    ]
    if rows:
        write_manifest(out, rows)
    problems = {file: line["problem"] for file, line in newest.items() if line["problem"]}
    text = io.StringIO()
    csv.writer(text).writerows([("file", "reason"), *sorted(problems.items())])
    write_text(out / LEFT_OUT, text.getvalue())


def _whole(out: Path, line: dict[str, Any]) -> bool:
    return all((out / name).is_file() for name in line.get("files", ()))


def problems_of(lines: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A line for each image without masks."""
    yield from (f"{line['file']}: {line['problem']}" for line in lines if line["problem"])
