"""A judge for the user's own generator: the same judge, with the reference index of what that generator learnt from."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gen.core.errors import BadInput
from gen.core.files import staged_folder, write_json, write_text
from gen.core.manifest import read_manifest
from gen.data.loader import evenly, to_pixels_u8
from gen.data.split import patient_of, split_rows
from gen.images.reader import read_radiograph
from gen.judge.calibrate import CALIBRATION
from gen.judge.card import about_index
from gen.judge.familiar import FAMILIAR, fit_familiar, soundness_of, write_familiar
from gen.judge.folder import HEADS, JUDGE, TRUNK
from gen.judge.judge import FIGURES, Judge, load_judge
from gen.judge.measure import copy_figures
from gen.judge.reference import REFERENCE, Reference, build_reference, write_reference
from gen.model.folder import CARD

PLANTED = 200  # training images, at most, whose copies are planted


def reindex(data: Path, folder: Path, judge_folder: Path, *, device: str = "auto") -> tuple[Judge, int]:
    """Write ``folder``: the judge in ``judge_folder``, its index that of the training split of ``data``. Returns it and
    how many images of validation and test patients, by which its distances are measured, were left out as indexed ones.

    What `gen evaluate --judge` takes. BadInput where ``folder`` exists, for what is no judge, and for data without
    a training image, without an image of another patient, or with an image that cannot be read.
    """
    if not (judge_folder / JUDGE).is_file():
        raise BadInput(
            f"{judge_folder} is no judge of `gen train judge`, and only these carry an index",
            hint="with another judge, give `gen evaluate` the images themselves by --train",
        )
    with staged_folder(folder) as stage:
        judge = load_judge(judge_folder, device=device)
        splits = split_rows(read_manifest(data))
        held_out = [*splits["validation"], *splits["test"]]
        reference = build_reference(judge, splits["train"], held_out)
        shutil.copytree(judge_folder / TRUNK, stage / TRUNK)
        for name in (HEADS, JUDGE, CALIBRATION):
            shutil.copyfile(judge_folder / name, stage / name)
        write_reference(stage / REFERENCE, reference)
        known = _pixels_u8([row.file for row in splits["validation"]], judge.size)
        patients = [patient_of(row) for row in splits["validation"]]
        familiar = fit_familiar(judge.read(known), soundness_of(known), patients, reference)
        write_familiar(stage / FAMILIAR, familiar)
        numbers = evenly(np.arange(len(splits["train"])), PLANTED)
        copies = _copies(judge, reference, [splits["train"][number].file for number in numbers], numbers)
        write_json(stage / FIGURES, {**judge.figures, "copies": copies})
        card = judge_folder / CARD
        write_text(stage / CARD, (card.read_text("utf-8") if card.is_file() else "") + about_index(reference, copies))
    return load_judge(folder, device=device), len(held_out) - len(reference.held_out)


def _copies(judge: Judge, reference: Reference, files: Sequence[Path], numbers: np.ndarray) -> dict[str, Any]:
    """Count the planted copies of ``files``, rows ``numbers`` of ``reference``, that ``judge`` finds."""
    images = _pixels_u8(files, judge.size)
    return copy_figures(judge, reference, list(images.astype(np.float32) / 255), numbers.tolist())


def _pixels_u8(files: Sequence[Path], size: int) -> np.ndarray:
    """The images of ``files`` as a judge reads them, uint8 (N, size, size)."""
    return np.stack([to_pixels_u8(read_radiograph(file).pixels, size) for file in files])
