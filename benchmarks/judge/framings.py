"""What judges see in test images as they are, prepared, and in another pose and exposure, and in samples beside them.

All judges look at the same images and are asked for the findings that all of them know. The samples have the prompts
of the test images, one each, in the order of a hash, and are held against the labels of those images, plain and varied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks import common
from gen.core.config import load_config
from gen.core.run import derived_seed
from gen.data.split import patient_of
from gen.judge.config import JudgeConfig
from gen.judge.framings import FRAMINGS, Framings, Shown, framings_of, prepared_rows
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
@common.model_option
@common.data_option
@click.option("--prepared", default="runs/cxr", show_default=True, help="What `gen data prepare` made of DATA.")
@click.option(
    "--judge", "folders", type=click.Path(path_type=Path), multiple=True, help="Judges' folders [default: the bundled]."
)
@click.option("--count", type=click.IntRange(0), default=300, show_default=True, help="Samples; 0: none.")
@common.samples_option
@common.steps_option
@common.guidance_option
@common.json_option
def main(
    model: Path | None,
    data: Path,
    prepared: str,
    folders: tuple[Path, ...],
    count: int,
    samples: Path,
    steps: int,
    guidance: float,
    json_file: Path | None,
) -> None:
    judges = [load_judge(folder, device="cpu") for folder in folders or (None,)]
    findings = tuple(name for name in judges[0].findings if all(name in judge.findings for judge in judges))
    splits = common.read_splits(data)
    size = judges[0].size
    framed = framings_of(splits["test"], prepared_rows(prepared, splits["train"])["test"], size, common.WORK / "cache")
    shown: dict[str, dict[str, Shown]] = {"test images": framed.all()}
    if count:
        there = [i for i in range(len(splits["test"])) if framed.places[i] >= 0]
        chosen = sorted(there, key=lambda i: derived_seed(0, splits["test"][i].file_name))[:count]
        prompts = common.prompts_of([splits["test"][i] for i in chosen])
        seeds = [derived_seed(0, k) for k in range(len(chosen))]
        made = common.as_u8(common.cached_samples(samples, common.chosen_model(model), prompts, seeds, steps, guidance))
        places = np.full(len(splits["test"]), -1)
        places[chosen] = np.arange(len(chosen))
        both = Framings(framed.images, made, places).all()
        shown["samples"] = {name: both[name] for name in FRAMINGS[1:]}
        shown["their test images"] = {name: _only(framed.all()[name], chosen) for name in FRAMINGS[1:]}
    complete = load_config(JudgeConfig, Path("configs/judge.yaml"), []).complete
    targets = targets_of(splits["test"], findings, complete)
    patients = [patient_of(row) for row in splits["test"]]
    table, figures = [], {}
    for judge in judges:
        for what, group in shown.items():
            found = framing_figures(reader(judge, findings), group, targets, patients)
            figures[f"{judge.name} {judge.fingerprint}: {what}"] = found
            table += [[judge.fingerprint, what, framing, of["films"], *_cells(of)] for framing, of in found.items()]
    print(f"findings: {', '.join(findings)}\n")
    common.print_table(["judge", "images", "framing", "N", *COLUMNS.values()], table)
    common.save_json(json_file, figures)


def _only(shown: Shown, chosen: list[int]) -> Shown:
    kept = np.isin(shown.which, chosen)
    return Shown(shown.which[kept], shown.pixels_u8[kept])


def _cells(figures: Mapping[str, Any]) -> list[str]:
    triples = (figures[key] for key in COLUMNS)
    return ["{:.2f} [{:.2f}, {:.2f}]".format(*triple) for triple in triples]


if __name__ == "__main__":
    common.launch(main)
