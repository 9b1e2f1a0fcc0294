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

from gen.core.bundled import bundled_frame
from gen.core.errors import BadInput, GenError
from gen.core.files import read_json, sha256_file, write_json, write_text
from gen.core.manifest import Manifest, Row, read_manifest, split_of, write_manifest
from gen.core.radiograph import Radiograph, pad_to_square, resize, write_png
from gen.core.run import open_run
from gen.data import clean
from gen.data.frame import SIDE, Frame, align, fit_frame, to_canonical
from gen.data.split import data_digest, patient_of
from gen.images.reader import read_radiograph

Item = TypeVar("Item")
Scales = dict[str, list[float]]  # by measure, the two bounds between its levels
FRAME, SCALES, LEFT_OUT = "frame.npz", "scales.json", "left_out.csv"
PREPARED = "canonical frame, normalised exposure"  # what a prepared image says of itself
MEASURES = ("sharpness", "contrast")
MEASURED_AT = 256  # pixels a side: neighbours differ less in larger images
LEVELS = ("low", "medium", "high")  # terciles of both
FEWEST = 32  # images that a frame can be learnt from
MOST = 900  # that it is learnt from
LEAST_COVERAGE = 0.85  # share of the canonical picture that an image must show


@dataclass(frozen=True)
class PrepareConfig:
    """Everything that decides the prepared images."""

    data: str
    size: int = 256  # pixels
    like: str | None = None  # a prepared data set, whose frame and scales are used; None: those of the package
    new_frame: bool = False  # learn frame and scales from these images instead


def prepare(
    config: PrepareConfig, out: str | Path, command: Sequence[str] = ()
) -> tuple[Manifest, list[tuple[str, str]], list[str]]:
    """Prepare the data set ``config.data`` in the folder ``out``; its manifest, what was left out and why, and which of
    that could not be read.

    The same command may be given again. A new frame is learnt from training patients only. The columns
    ``coverage``, ``sharpness`` and ``contrast`` are added. Raises BadInput for data or a folder that cannot be used.
    """
    if config.size < SIDE or config.size % 8:
        raise BadInput(f"size is {config.size}", hint=f"use a multiple of 8, {SIDE} or more")
    source = read_manifest(config.data)
    out = Path(out)
    if config.new_frame and config.like is not None:
        raise BadInput("like and new_frame are both given", hint="use one of them")
    given = None if config.new_frame else _read_like(Path(config.like or bundled_frame()))
    if given is None:
        _require_enough(config, [row for row in source.rows if row.view != "lateral" and _is_learnt(row)])
    inputs = {"data": _digest(source)}
    if config.like is not None:
        inputs["like"] = ", ".join(sha256_file(Path(config.like) / name)[:16] for name in (FRAME, SCALES))
    with open_run(out, config, command=command, **inputs) as run:
        small, inside, refused, unread = _read_small(source.rows)
        rows = [row for row in source.rows if _name(row) not in refused]
        if given is None:
            _require_enough(config, [row for row in rows if _is_learnt(row)])
        frame = _frame(run.folder / FRAME, given and given[0], rows, small, inside)
        poses, fits = align(small, inside, frame)
        made: list[Row] = []
        measures: list[tuple[float, float]] = []
        taken: set[Path] = set()
        for row, pose, sound in _bar(list(zip(rows, poses, fits, strict=True)), "preparing images"):
            if not sound:
                refused[_name(row)] = "does not look like a frontal chest in the frame"
                continue
            image = read_radiograph(row.file)
            pixels, coverage = canonical_image(image.pixels, pose, config.size)
            if coverage < LEAST_COVERAGE:
                refused[_name(row)] = f"shows {coverage:.0%} of the chest, and {LEAST_COVERAGE:.0%} are needed"
                continue
            name = Path(row.file_name).with_suffix(".png")
            path = out / (row.split or "") / ("" if name.parts[0] == "images" else "images") / name
            while path in taken:  # a.png and a.jpg stood in one folder
                path = path.with_name(f"{path.stem}-{Path(row.file_name).suffix[1:]}.png")
            taken.add(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            marks = {key: image.provenance[key] for key in ("synthetic", "notice") if key in image.provenance}
            write_png(path, Radiograph(pixels, None, {**marks, "prepared": PREPARED}))
            compared = resize(pixels, MEASURED_AT)
            measures.append((clean.sharpness(compared), clean.contrast(compared)))
            made.append(
                replace(
                    row,
                    patient_id=patient_of(row),  # one without a patient goes by its name, which is another one here
                    file=path.absolute(),
                    width=config.size,
                    height=config.size,
                    sha256=sha256_file(path),
                    extra={**row.extra, "coverage": f"{coverage:.3f}"},
                )
            )
        left = sorted(refused.items())
        text = io.StringIO()
        csv.writer(text).writerows([("file_name", "reason"), *left])
        write_text(out / LEFT_OUT, text.getvalue())
        if not made:
            raise BadInput(f"no image of {config.data} fits the frame", hint=f"{out / LEFT_OUT} says why")
        scales = given[1] if given else _terciles(measures)
        write_json(out / SCALES, scales)
        write_manifest(out, [_levelled(row, pair, scales) for row, pair in zip(made, measures, strict=True)])
        run.log(event="prepared", images=len(made), left_out=len(left))
    return read_manifest(out), left, unread


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


def _read_small(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray, dict[str, str], list[str]]:
    small, inside, refused, unread = [], [], {}, []
    for row in _bar(rows, "reading images"):
        if row.view == "lateral":
            refused[_name(row)] = "a lateral view: the frame is of frontal ones"
            continue
        try:
            image, mask = small_image(read_radiograph(row.file).pixels)
        except GenError as error:
            refused[_name(row)] = error.message
            unread.append(error.message)
            continue
        small.append(image)
        inside.append(mask)
    shape = (-1, SIDE, SIDE)
    return np.reshape(small, shape).astype(np.float32), np.reshape(inside, shape).astype(np.float32), refused, unread


def _read_like(folder: Path) -> tuple[Frame, Scales]:
    """The frame and the scales of the prepared data set in ``folder``. Raises BadInput for any other folder."""
    frame, scales = Frame.load(folder / FRAME), read_json(folder / SCALES)
    if not all(np.shape(scales.get(name, 0)) == (2,) for name in MEASURES):
        raise BadInput(f"{folder / SCALES} does not hold the terciles of {' and '.join(MEASURES)}")
    return frame, scales


def _require_enough(config: PrepareConfig, learnt: Sequence[Row]) -> None:
    if len(learnt) < FEWEST:
        raise BadInput(
            f"{config.data} has {len(learnt)} frontal images of training patients, and a frame needs {FEWEST}",
            hint="rows count that have weights_may_learn = yes; without --new-frame, the frame of the package is used",
        )


def _frame(path: Path, given: Frame | None, rows: Sequence[Row], small: np.ndarray, inside: np.ndarray) -> Frame:
    """The frame in ``path``, which is ``given`` or learnt from training patients where there is none yet."""
    if not path.exists():
        learnt = [i for i, row in enumerate(rows) if _is_learnt(row)]
        chosen = [learnt[i * len(learnt) // min(MOST, len(learnt))] for i in range(min(MOST, len(learnt)))]
        (given or fit_frame(small[chosen], inside[chosen])[0]).save(path)
    return Frame.load(path)


def _is_learnt(row: Row) -> bool:
    """Whether a frame may show what ``row`` looks like: its mean and components are weights like any others."""
    return row.weights_may_learn and (row.split or split_of(patient_of(row))) == "train"


def _name(row: Row) -> str:
    """The image in the data set: its splits may share a file name."""
    return f"{row.split}/{row.file_name}" if row.split else row.file_name


def _digest(source: Manifest) -> str:
    splits: dict[str, list[Row]] = {}
    for row in source.rows:
        splits.setdefault(row.split or "", []).append(row)
    return data_digest(splits)


def _terciles(measures: Sequence[tuple[float, float]]) -> Scales:
    thirds = np.quantile(np.array(measures), (1 / 3, 2 / 3), axis=0)
    return {name: thirds[:, k].tolist() for k, name in enumerate(MEASURES)}


def _levelled(row: Row, measured: tuple[float, float], scales: Scales) -> Row:
    """``row`` with its sharpness and its contrast as low, medium or high."""
    pairs = zip(MEASURES, measured, strict=True)
    levels = {name: LEVELS[int(np.searchsorted(scales[name], value))] for name, value in pairs}
    return replace(row, extra={**row.extra, **levels})


def _bar(items: Sequence[Item], label: str) -> Iterator[Item]:
    from tqdm import tqdm

    yield from tqdm(items, desc=label, unit="image", leave=False)
