"""The comparison of arms: `gen classify compare CONFIG`. Whatever can be refused is refused before the first training.

Each training is a run folder of its own, which resumes where it was stopped; what it ends with is kept as a
transformers folder and its predictions, and the table is written anew each time one ends.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache as remembered
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from augment.classify.arms import (
    Cell,
    CompareConfig,
    Stage,
    cells_of,
    check_arms,
    chosen_arms,
    folders_of,
    require_sets,
    stages_of,
)
from augment.classify.data import OWN_TEST, Sources, choose_rows, findings_to_learn, labels_of_rows, read_sources
from augment.classify.guards import cache_of, guarded
from augment.classify.network import make_classifier
from augment.classify.probes import PROBES, SOURCE, probes_of, source_scores
from augment.classify.train import check, train_classifier
from gen.core.errors import BadInput, GenError
from gen.core.files import atomic_file, read_json, require_free_space, verify_folder, write_json, write_text
from gen.core.manifest import read_manifest
from gen.core.run import RUN, open_run
from gen.data.loader import pixel_cache
from gen.data.split import data_digest
from gen.judge.judge import FIGURES
from gen.judge.plugins import open_judge, thresholds_of
from gen.statistics.scores import mean_auroc

if TYPE_CHECKING:
    from gen.core.manifest import Row
    from gen.core.run import Run

CELL, PREDICTIONS, TABLE = "cell.json", "predictions.npz", "table.csv"
_TRAINING_BYTES = 60  # of a weight while it is trained: two checkpoints with optimiser and averages, and the best


@dataclass(frozen=True)
class Outcome:
    """What a cell ended with: predictions by test set, (N, F), thresholds (F,), and facts of its training."""

    cell: Cell
    predictions: Mapping[str, np.ndarray]
    thresholds: np.ndarray
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Compared:
    """Everything that the figures are made from."""

    config: CompareConfig
    findings: tuple[str, ...]
    sources: Sources
    tests: Mapping[str, Sequence[Row]]
    outcomes: Sequence[Outcome]


def compare(config: CompareConfig, command: Sequence[str] = ()) -> Compared:
    """Train what is missing of all arms in the run folder ``config.out``, and read what they predict.

    What the run folder is held to are the whole config and the real images; each training is held to its own images.
    So the arms of ``only`` can be trained before the sets of the others are there. BadInput for data, arms or a config
    that cannot be used; GenError where arms did not start from equal weights.
    """
    check(config)
    check_arms(config)
    whole, config = dataclasses.replace(config, only=[]), chosen_arms(config)
    require_sets(config)
    folders = list(dict.fromkeys(folder for arm in config.arms.values() for folder in folders_of(arm, config)))
    sources = read_sources(config, folders, list(config.real_sets.values()))
    asked = folders_of(config.arms[config.question], config) if "findings" in config.accept else folders
    findings = findings_to_learn(config, sources.real["train"], {folder: sources.synthetic[folder] for folder in asked})
    tests = read_tests(config, sources)
    for name, rows in tests.items():
        require_labels(name, rows, findings, config)
    sources = guarded(sources, config, {name: rows for name, rows in tests.items() if name != OWN_TEST})
    cells = cells_of(config)
    stages = {cell: stages_of(cell, config, findings) for cell in cells}
    said = _by_arm({cell: _require_learnable(cell, stages[cell], sources) for cell in cells})
    left_out = [name for name in whole.arms if name not in config.arms]
    said += [f"not in this report: {', '.join(left_out)}"] if left_out else []
    told = dataclasses.replace(sources, notes=(*sources.notes, *dict.fromkeys(said)))
    weights = sum(p.numel() for p in make_classifier(config.backbone, findings, config.size).network.parameters())
    folders_to_come = len({stage.config.out for each in stages.values() for stage in each})
    require_free_space(config.out, weights * (4 * folders_to_come + _TRAINING_BYTES), "the comparison")
    data = data_digest({**{split: sources.real[split] for split in ("train", "validation")}, **tests})
    pictures = remembered(lambda: _pictures(tests, config))
    probed = tests[OWN_TEST] if config.probes else None
    with open_run(config.out, whole, command=command, data=data) as run:
        outcomes: list[Outcome] = []
        for number, cell in enumerate(cells, 1):
            outcomes.append(run_cell(cell, stages[cell], sources, pictures, run, f"{number}/{len(cells)}", probed))
            require_equal_starts(outcomes)
            write_table(run.folder / TABLE, outcomes, tests, findings, config)
    return Compared(config, findings, told, tests, outcomes)


def _pictures(tests: Mapping[str, Sequence[Row]], config: CompareConfig) -> dict[str, np.ndarray]:
    """The pixels of each test set, and of the probes where there are some."""
    cache = cache_of(config)
    pixels = {name: pixel_cache(rows, config.size, cache) for name, rows in tests.items()}
    return {**pixels, **(probes_of(pixels[OWN_TEST]) if config.probes else {})}


def read_tests(config: CompareConfig, sources: Sources) -> dict[str, list[Row]]:
    """The test sets by name: the real data's own, and of each further folder the test split, or all without splits.

    BadInput for a folder whose splits are others, which somebody learnt from or chose by.
    """
    for name in (OWN_TEST, *PROBES, SOURCE):
        if name in config.tests:
            raise BadInput(f"tests names a set {name!r}, which is taken", hint="give it another name")
    tests = {OWN_TEST: list(sources.real["test"])}
    for name, folder in config.tests.items():
        rows = read_manifest(folder).rows
        tests[name] = [row for row in rows if row.split in (None, "test")]
        if rows and not tests[name]:
            others = " and ".join(dict.fromkeys(f"{row.split}/" for row in rows))
            raise BadInput(
                f"the test set {name}: {folder} has {others} and no test/",
                hint=f"name the split to be scored: tests.{name}={folder}/{rows[0].split}",
            )
    return tests


def require_labels(name: str, rows: Sequence[Row], findings: Sequence[str], config: CompareConfig) -> None:
    """BadInput for a test set in which no finding is both present and absent."""
    labels = labels_of_rows(rows, findings, config.complete)
    if not any((column == 1).any() and (column == 0).any() for column in labels.T):
        raise BadInput(
            f"the test set {name} ({len(rows)} images) has no finding with it and without it, so nothing can be scored",
            hint=f"its vocabulary must hold some of {', '.join(findings)}",
        )


def _require_learnable(cell: Cell, stages: Sequence[Stage], sources: Sources) -> list[str]:
    """What is to be noted of the stages of ``cell``; BadInput, naming the cell, for one that cannot learn, or that was
    trained before on other images than there are now."""
    place = f"arm {cell.arm}, {cell.amount}, seed {cell.seed}"
    bare = dataclasses.replace(sources, notes=())
    said: list[str] = []
    for stage in stages:
        try:
            learnt = choose_rows(stage.config, bare)
        except BadInput as error:
            raise BadInput(f"{place}: {error.message}", hint=error.hint) from error
        record = Path(stage.config.out) / RUN
        if record.exists() and read_json(record)["inputs"].get("data") != learnt.digest:
            raise BadInput(
                f"{place}: {stage.config.out} was started with other images than its sets hold now",
                hint="choose another folder for out",
            )
        said += learnt.notes
    return said


def _by_arm(said: Mapping[Cell, Sequence[str]]) -> list[str]:
    """What is ``said`` of the cells, each line once an arm, with the number of its trainings where not all have it."""
    of_arm = Counter(cell.arm for cell in said)
    lines = Counter((cell.arm, line) for cell, own in said.items() for line in dict.fromkeys(own))
    return [
        f"arm {arm}{'' if count == of_arm[arm] else f' ({count} of {of_arm[arm]} trainings)'}: {line}"
        for (arm, line), count in lines.items()
    ]


def run_cell(
    cell: Cell,
    stages: Sequence[Stage],
    sources: Sources,
    pictures: Callable[[], Mapping[str, np.ndarray]],
    run: Run,
    place: str,
    probed: Sequence[Row] | None = None,
) -> Outcome:
    """Train ``cell`` and predict, unless both is done; of a training that is done, checkpoints are removed.

    ``probed`` are the rows of the own test set, where the embedding is to tell their sources.
    """
    folder = Path(stages[-1].config.out)
    if not (folder / CELL).exists():
        print(f"{place}: {cell.arm}, {cell.amount}, seed {cell.seed}", file=sys.stderr)  # noqa: T201  # the live table
        for stage in stages:
            if not stage.result.exists() or verify_folder(stage.result):
                train_classifier(stage.config, (), sources)
            for left in ("checkpoints", "best", "tensorboard"):
                shutil.rmtree(Path(stage.config.out) / left, ignore_errors=True)
        judge = open_judge(str(stages[-1].result), device=stages[-1].config.device)
        read = {name: judge.read(pixels) for name, pixels in pictures().items()}
        found: dict[str, Any] = {name: readings.findings for name, readings in read.items()}
        if probed is not None:
            found[SOURCE] = source_scores(read[OWN_TEST].embedding, probed)
        with atomic_file(folder / PREDICTIONS) as stream:
            np.savez(stream, **found)
        trained = [read_json(stage.result / FIGURES) for stage in stages]
        facts = {
            **dataclasses.asdict(cell),
            "start": trained[0]["start"],
            "images": sum(stage.config.images for stage in stages),
            "best_after": [each["images"] for each in trained],
            "thresholds": dict(thresholds_of(judge)),
            "fingerprint": judge.fingerprint,
        }
        write_json(folder / CELL, facts)
        run.log(event="cell", **facts)
    facts = read_json(folder / CELL)
    with np.load(folder / PREDICTIONS) as stored:
        predictions = dict(stored)
    return Outcome(cell, predictions, np.array(list(facts["thresholds"].values())), facts)


def require_equal_starts(outcomes: Sequence[Outcome]) -> None:
    """GenError where two arms of one seed did not start from the same weights, or saw another number of images."""
    for outcome in outcomes:
        first = next(other for other in outcomes if other.cell.seed == outcome.cell.seed)
        for key in ("start", "images"):
            if outcome.facts[key] != first.facts[key]:
                raise GenError(
                    f"{outcome.cell.key} has {key} {outcome.facts[key]} and {first.cell.key} {first.facts[key]}: "
                    "they cannot be compared",
                    hint="start again in another folder",
                )


def write_table(
    path: Path,
    outcomes: Sequence[Outcome],
    tests: Mapping[str, Sequence[Row]],
    findings: Sequence[str],
    config: CompareConfig,
) -> None:
    """The cells that are done, a row each, with the mean AUROC of each test set."""
    labels = {name: labels_of_rows(rows, findings, config.complete) for name, rows in tests.items()}
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["arm", "real", "seed", "start", "images", *(f"mean_auroc_{name}" for name in tests)])
    for outcome in outcomes:
        scores = [f"{mean_auroc(outcome.predictions[name], labels[name]):.4f}" for name in tests]
        facts = outcome.facts
        writer.writerow(
            [outcome.cell.arm, outcome.cell.amount, outcome.cell.seed, facts["start"], facts["images"], *scores]
        )
    write_text(path, text.getvalue())
