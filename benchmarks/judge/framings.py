"""What judges see in test images as they are, prepared, and in another pose and exposure, and in samples beside them.

All judges look at the same images and are asked for the findings that all of them know. Samples of the prompts of the
test images are held against the labels of those images, as they were painted and varied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks import common
from gen.core.config import load_config
from gen.core.errors import BadInput
from gen.core.manifest import Row, read_manifest
from gen.core.run import derived_seed
from gen.data.split import patient_of
from gen.judge.config import JudgeConfig
from gen.judge.framings import FRAMINGS, Shown, framings_of, prepared_rows, varied_u8
from gen.judge.judge import Judge, load_judge
from gen.judge.labels import targets_of
from gen.judge.measure import framing_figures
from gen.judge.readings import Readings

COLUMNS = {
    "findings_auroc": "findings, mean AUROC",
    "female_auroc": "sex",
    "AP_auroc": "view",
    "child_auroc": "child",
    "age_error_years": "age error, years",
}


def reader(judge: Judge, findings: tuple[str, ...]) -> Callable[[np.ndarray], Readings]:
    """What ``judge`` reads in images, of ``findings`` alone."""

    def read(pixels_u8: np.ndarray) -> Readings:
        seen = judge.read(pixels_u8)
        columns = [seen.names.index(name) for name in findings]
        return replace(seen, names=findings, findings=seen.findings[:, columns])

    return read


@click.command(help=__doc__)
@common.data_option
@click.option("--prepared", default="runs/cxr", show_default=True, help="What `gen data prepare` made of DATA.")
@click.option(
    "--judge", "folders", type=click.Path(path_type=Path), multiple=True, help="Judges' folders [default: the bundled]."
)
@click.option(
    "--samples",
    type=click.Path(path_type=Path),
    help="A folder that `gen sample` wrote of the canonical prompts of PREPARED's test images.",
)
@common.json_option
def main(data: Path, prepared: str, folders: tuple[Path, ...], samples: Path | None, json_file: Path | None) -> None:
    judges = [load_judge(folder, device="cpu") for folder in folders or (None,)]
    findings = tuple(name for name in judges[0].findings if all(name in judge.findings for judge in judges))
    splits = common.read_splits(data)
    rows, cache = splits["test"], common.WORK / "cache"
    real = framings_of(rows, prepared_rows(prepared, splits["train"])["test"], judges[0].size, cache).all()
    shown = {"test images": real}
    if samples is not None:
        shown["samples"] = samples_of(samples, rows, real[FRAMINGS[1]], judges[0].size)
        shown["their test images"] = {name: _only(real[name], shown["samples"][name].which) for name in FRAMINGS[1:]}
    complete = load_config(JudgeConfig, Path("configs/judge.yaml"), []).complete
    targets = targets_of(rows, findings, complete)
    patients = [patient_of(row) for row in rows]
    table, figures = [], {}
    for judge in judges:
        for what, group in shown.items():
            found = framing_figures(reader(judge, findings), group, targets, patients)
            figures[f"{judge.name} {judge.fingerprint}: {what}"] = found
            table += [[judge.fingerprint, what, framing, of["films"], *_cells(of)] for framing, of in found.items()]
    print(f"findings: {', '.join(findings)}\n")
    common.print_table(["judge", "images", "framing", "N", *COLUMNS.values()], table)
    common.save_json(json_file, figures)


def samples_of(folder: Path, rows: Sequence[Row], prepared: Shown, size: int) -> dict[str, Shown]:
    """The samples in ``folder`` as they were painted, and varied; each shows the first of the ``prepared`` images, of
    ``rows``, that has its prompt. BadInput for a sample of another prompt."""
    of_prompt: dict[str, int] = {}
    for i in prepared.which.tolist():
        of_prompt.setdefault(common.prompts_of([rows[i]])[0], i)
    made = read_manifest(folder).rows
    if strange := [row.prompt for row in made if row.prompt not in of_prompt]:
        raise BadInput(f"{folder}: no prepared test image has the prompt {strange[0]!r}")
    which = np.array([of_prompt[row.prompt] for row in made])
    pixels_u8 = common.pixels_of(made, size)
    varied = np.stack([varied_u8(image, derived_seed(0, f"sample {i}")) for i, image in enumerate(pixels_u8)])
    return {FRAMINGS[1]: Shown(which, pixels_u8), FRAMINGS[2]: Shown(which, varied)}


def _only(shown: Shown, chosen: np.ndarray) -> Shown:
    kept = np.isin(shown.which, chosen)
    return Shown(shown.which[kept], shown.pixels_u8[kept])


def _cells(figures: Mapping[str, Any]) -> list[str]:
    triples = (figures[key] for key in COLUMNS)
    return ["{:.2f} [{:.2f}, {:.2f}]".format(*triple) for triple in triples]


if __name__ == "__main__":
    common.launch(main)
