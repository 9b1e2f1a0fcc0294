"""How far reports, as `gen.language` reads them, agree with the MeSH terms that indexers gave to the same reports.

Open-i (Demner-Fushman et al., JAMIA 2016) is test data only: nothing of the lexicon or the grammar is derived from it.
`--keep FILE` writes the readings down; `--before FILE` sets those of another commit beside them, report by report.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import numpy as np

from benchmarks import common
from gen.core.errors import BadInput
from gen.core.markdown import table
from gen.language.prompt import read_prompt

# A finding is indexed where a term begins so; "Heart/..." and the like say too little to count.
TERMS = {
    "Cardiomegaly": ("Cardiomegaly",),
    "Lung Opacity": ("Opacity", "Airspace Disease"),
    "Edema": ("Pulmonary Edema", "Pulmonary Congestion", "Heart Failure"),
    "Consolidation": ("Consolidation",),
    "Pneumonia": ("Pneumonia",),
    "Atelectasis": ("Pulmonary Atelectasis", "Volume Loss"),
    "Pneumothorax": ("Pneumothorax", "Hydropneumothorax", "Hemopneumothorax"),
    "Pleural Effusion": ("Pleural Effusion", "Hydropneumothorax", "Hemopneumothorax", "Hemothorax"),
    "Fracture": ("Fractures, Bone",),
    "Infiltration": ("Infiltrate",),
    "Mass": ("Mass",),
    "Nodule": ("Nodule", "Granuloma", "Calcified Granuloma"),
    "Emphysema": ("Emphysema", "Pulmonary Emphysema", "Bullous Emphysema", "Pulmonary Disease, Chronic Obstructive"),
    "Fibrosis": ("Cicatrix/lung", "Pulmonary Fibrosis", "Fibrosis"),
    "Hernia": ("Hernia, Hiatal", "Hernia, Diaphragmatic"),
    "Scoliosis": ("Scoliosis",),
    "Hyperinflation": ("Lung/hyperdistention", "Lung, Hyperlucent"),
}
RESAMPLES = 2000


@click.command()
@click.option("--reports", type=click.Path(path_type=Path), default=common.DATA / "text" / "openi_reports.csv")
@click.option("--keep", type=click.Path(path_type=Path), help="JSON file for the readings.")
@click.option("--before", type=click.Path(path_type=Path), help="JSON file of an earlier --keep, to compare with.")
def main(reports: Path, keep: Path | None, before: Path | None) -> None:
    """Print agreement of report reading with MeSH, by finding."""
    with reports.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["mesh"].strip() not in ("", "No Indexing")]
    texts = {row["uid"]: f"{row['findings']}\n\n{row['impression']}".strip() for row in rows}
    rows = [row for row in rows if texts[row["uid"]]]
    started = time.perf_counter()
    read = {row["uid"]: _present(texts[row["uid"]]) for row in rows}
    seconds = time.perf_counter() - started
    if keep is not None:
        keep.write_text(json.dumps(read), encoding="utf-8")
    earlier = json.loads(before.read_text(encoding="utf-8")) if before else None
    refused = sum(value is None for value in read.values())
    print(f"{len(rows)} reports, {refused} of them refused; {1000 * seconds / len(rows):.2f} ms a report")
    print(table(*_table(rows, read, earlier)))


def _present(text: str) -> list[str] | None:
    """The findings that the report states as present, None where it cannot be read."""
    try:
        study = read_prompt(text).study
    except BadInput:
        return None
    return [name for name, finding in study.findings.items() if finding.state == "present"]


def _table(
    rows: Sequence[Mapping[str, str]],
    read: Mapping[str, list[str] | None],
    earlier: Mapping[str, list[str] | None] | None,
) -> tuple[list[str], list[list[str]]]:
    header = ["finding", "indexed", "read", "sensitivity", "precision", "agreement"]
    if earlier is not None:
        header += ["agreement before", "reports right now / right before only", "difference [95 %]"]
    lines = []
    for name, heads in TERMS.items():
        indexed = np.array([any(_begins(t, heads) for t in row["mesh"].split(";")) for row in rows])
        said = _said(name, rows, read)
        both = (indexed & said).sum()
        line = [name, str(indexed.sum()), str(said.sum())]
        line += [f"{both / max(indexed.sum(), 1):.3f}", f"{both / max(said.sum(), 1):.3f}"]
        line.append(f"{(indexed == said).mean():.4f}")
        if earlier is not None:
            then = _said(name, rows, earlier)
            gain = (said == indexed).astype(int) - (then == indexed).astype(int)
            low, high = _interval(gain)
            line += [f"{(indexed == then).mean():.4f}", f"{(gain > 0).sum()} / {(gain < 0).sum()}"]
            line.append(f"{gain.mean():+.4f} [{low:+.4f}, {high:+.4f}]")
        lines.append(line)
    return header, lines


def _begins(term: str, heads: Sequence[str]) -> bool:
    return any(term.strip() == head or term.strip().startswith(f"{head}/") for head in heads)


def _said(name: str, rows: Sequence[Mapping[str, str]], read: Mapping[str, list[str] | None]) -> np.ndarray:
    return np.array([name in (read[row["uid"]] or ()) for row in rows])


def _interval(gain: np.ndarray) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean of ``gain``, one value a report."""
    draws = np.random.default_rng(0).choice(gain, (RESAMPLES, len(gain))).mean(axis=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(low), float(high)


if __name__ == "__main__":
    common.launch(main)
