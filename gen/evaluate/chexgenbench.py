"""prompt_INFO.csv, by which CheXGenBench (arXiv:2505.10496) reads a synthetic set, under all of its column names.

Its scripts do not agree with each other or with its README on what the columns are called, so each value stands under
every name: the prompt as ``prompt`` (README) and ``annotated_prompt`` (fidelity), the image as ``img_savename`` (both)
and ``synthetic_filename`` (alignment, classifiers). ``id`` is the image's name without its ending, ``chexpert_labels``
the dictionary that the classifiers read. Its ``path`` is a real image's, so it is not ours to write.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gen.core.errors import BadInput
from gen.core.files import write_text
from gen.core.terms import CHEXPERT_14
from gen.data.rows import study_of
from gen.evaluate.alignment import with_studies

if TYPE_CHECKING:
    from gen.core.manifest import Row

PROMPT_INFO = "prompt_INFO.csv"
COLUMNS = ("id", "prompt", "annotated_prompt", "img_savename", "synthetic_filename", "chexpert_labels")
_VALUES = {"present": 1, "absent": 0, "uncertain": -1}  # CheXpert's numbers; None is what was not said


def write_prompt_info(path: str | Path, rows: Sequence[Row]) -> int:
    """Write ``path`` for the rows that have a prompt, and return their number; images by their names in the folder.

    Of one prompt with several images all are listed: CheXGenBench takes a prompt of the real set once, and
    every synthetic image of it. BadInput where no row has a prompt.
    """
    prompted, _ = with_studies([row for row in rows if row.prompt])
    if not prompted:
        raise BadInput("no row has a prompt, so there is nothing for CheXGenBench", hint="see the column prompt")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in prompted:
        name = f"{row.split}/{row.file_name}" if row.split else row.file_name
        labels = str(chexpert_labels(row))
        writer.writerow((Path(name).with_suffix("").as_posix(), row.prompt, row.prompt, name, name, labels))
    write_text(path, text.getvalue())
    return len(prompted)


def chexpert_labels(row: Row) -> dict[str, int | None]:
    """CheXpert's 14 labels of a row: 1 present, 0 absent, -1 uncertain, None not said."""
    findings = study_of(row).findings
    return {name: _VALUES[findings[name].state] if name in findings else None for name in CHEXPERT_14}
