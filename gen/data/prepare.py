"""``gen data prepare``: radiographs as a generator learns them best, in one frame and exposure, without letters.

Borders are cut, chests aligned (`gen.data.frame`), exposure normalised, marks painted over (`gen.data.clean`). What
does not fit is listed with the reason, never warped into place.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from gen.core.errors import BadInput
from gen.core.files import sha256_file, write_json, write_text
from gen.core.manifest import Manifest, Row, read_manifest, split_of, write_manifest
from gen.core.radiograph import Radiograph, pad_to_square, read_radiograph, resize, write_png
from gen.core.run import open_run
from gen.data import clean
from gen.data.frame import SIDE, Frame, align, fit_frame, to_canonical
from gen.data.split import patient_of

Item = TypeVar("Item")
FRAME, SCALES, LEFT_OUT = "frame.npz", "scales.json", "left_out.csv"
LEVELS = ("low", "medium", "high")  # terciles of sharpness and contrast
FEWEST = 32  # images that a frame can be learnt from
MOST = 900  # that it is learnt from
LEAST_COVERAGE = 0.85  # share of the canonical picture that an image must show


@dataclass(frozen=True)
class PrepareConfig:
    """Everything that decides the prepared images."""

    data: str
    size: int = 256  # pixels
    like: str | None = None  # a prepared data set, whose frame and scales are used instead of new ones


def prepare(
    config: PrepareConfig, out: str | Path, command: Sequence[str] = ()
) -> tuple[Manifest, list[tuple[str, str]]]:
    """Prepare the data set ``config.data`` in the folder ``out``; its manifest, and what was left out and why.

    The same command may be given again. The frame is learnt from training patients only. The columns
    ``coverage``, ``sharpness`` and ``contrast`` are added. Raises BadInput for data or a folder that cannot be used.
    """
    if config.size < SIDE or config.size % 8:
        raise BadInput(f"size is {config.size}", hint=f"use a multiple of 8, {SIDE} or more")
    source = read_manifest(config.data)
    out = Path(out)
    learnt = [row for row in source.rows if row.view != "lateral" and _is_training(row)]
    if config.like is None and len(learnt) < FEWEST:
        raise BadInput(
            f"{config.data} has {len(learnt)} frontal images of training patients, and a frame needs {FEWEST}",
            hint="name a prepared data set with like, and its frame is used",
        )
    given = None if config.like is None else Frame.load(Path(config.like) / FRAME)
    with open_run(out, config, command=command) as run:
        small, inside, refused = _read_small(source.rows)
        rows = [row for row in source.rows if str(row.file) not in refused]
        frame = _frame(run.folder / FRAME, given, rows, small, inside)
        poses, fits = align(small, inside, frame)
        made: list[Row] = []
        measures: list[tuple[float, float]] = []
        for row, pose, sound in _bar(list(zip(rows, poses, fits, strict=True)), "preparing images"):
            if not sound:
                refused[str(row.file)] = "does not look like a frontal chest in the frame"
                continue
            pixels, coverage = canonical_image(read_radiograph(row.file).pixels, pose, config.size)
            if coverage < LEAST_COVERAGE:
                refused[str(row.file)] = f"shows {coverage:.0%} of the chest, and {LEAST_COVERAGE:.0%} are needed"
                continue
            name = Path("images") / Path(row.split or "") / Path(row.file_name).with_suffix(".png")
            path = out / (row.split or "") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_png(path, Radiograph(pixels, None, {"prepared": "canonical frame, normalised exposure"}))
            measures.append((clean.sharpness(pixels), clean.contrast(pixels)))
            made.append(
                replace(
                    row,
                    file=path.absolute(),
                    width=config.size,
                    height=config.size,
                    sha256=sha256_file(path),
                    extra={**row.extra, "coverage": f"{coverage:.3f}"},
                )
            )
        if not made:
            raise BadInput(f"no image of {config.data} fits the frame", hint=f"{out / LEFT_OUT} would list them all")
        made = _levelled(config, out, made, measures)
        write_manifest(out, made)
        left = [(str(Path(file).relative_to(source.folder)), why) for file, why in sorted(refused.items())]
        text = io.StringIO()
        csv.writer(text).writerows([("file_name", "reason"), *left])
        write_text(out / LEFT_OUT, text.getvalue())
        run.log(event="prepared", images=len(made), left_out=len(left))
    return read_manifest(out), left


def canonical_image(pixels: np.ndarray, pose: np.ndarray, size: int) -> tuple[np.ndarray, float]:
    """(H, W) in [0, 1] -> the clean canonical image, float32 (size, size), and which share of it was in the picture."""
    top, left, bottom, right = clean.content_box(pixels)
    moved, inside = to_canonical(pixels[top:bottom, left:right], pose, size)
    normalised = clean.normalise_exposure(moved, inside)
    return np.asarray(clean.paint_marks(normalised, inside).clip(0, 1), np.float32), float(inside.mean())


def small_image(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) -> what is aligned: float32 (SIDE, SIDE) of normalised exposure, and 1 where it shows something."""
    top, left, bottom, right = clean.content_box(pixels)
    cut = pixels[top:bottom, left:right]
    inside = resize(pad_to_square(np.ones_like(cut)), SIDE) > 0.5
    return clean.normalise_exposure(resize(pad_to_square(cut), SIDE), inside), inside.astype(np.float32)


def _read_small(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray, dict[str, str]]:
    small, inside, refused = [], [], {}
    for row in _bar(rows, "reading images"):
        if row.view == "lateral":
            refused[str(row.file)] = "a lateral view: the frame is of frontal ones"
            continue
        try:
            image, mask = small_image(read_radiograph(row.file).pixels)
        except BadInput as error:
            refused[str(row.file)] = error.message
            continue
        small.append(image)
        inside.append(mask)
    shape = (-1, SIDE, SIDE)
    return np.reshape(small, shape).astype(np.float32), np.reshape(inside, shape).astype(np.float32), refused


def _frame(path: Path, given: Frame | None, rows: Sequence[Row], small: np.ndarray, inside: np.ndarray) -> Frame:
    """The frame in ``path``, which is ``given`` or learnt from training patients where there is none yet."""
    if not path.exists():
        learnt = [i for i, row in enumerate(rows) if _is_training(row)]
        chosen = [learnt[i * len(learnt) // min(MOST, len(learnt))] for i in range(min(MOST, len(learnt)))]
        (given or fit_frame(small[chosen], inside[chosen])[0]).save(path)
    return Frame.load(path)


def _is_training(row: Row) -> bool:
    return (row.split or split_of(patient_of(row))) == "train"


def _levelled(config: PrepareConfig, out: Path, rows: list[Row], measures: list[tuple[float, float]]) -> list[Row]:
    """``rows`` with sharpness and contrast as low, medium or high: terciles of this set, or of the one it is like."""
    import json

    if config.like is not None:
        scales = json.loads((Path(config.like) / SCALES).read_text(encoding="utf-8"))
    else:
        thirds = np.quantile(np.array(measures), (1 / 3, 2 / 3), axis=0)
        scales = {"sharpness": thirds[:, 0].tolist(), "contrast": thirds[:, 1].tolist()}
    write_json(out / SCALES, scales)
    levels = [
        {name: LEVELS[int(np.searchsorted(scales[name], value))] for name, value in zip(scales, pair, strict=True)}
        for pair in measures
    ]
    return [replace(row, extra={**row.extra, **level}) for row, level in zip(rows, levels, strict=True)]


def _bar(items: Sequence[Item], label: str) -> Iterator[Item]:
    from tqdm import tqdm

    yield from tqdm(items, desc=label, unit="image", leave=False)
