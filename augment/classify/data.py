"""What a classifier learns from: real patients, or a share of them, images derived from theirs, and synthetic ones.

A label that is unknown or uncertain is NaN and carries no gradient. Which patients a share has is decided by a hash of
seed and patient, so that a smaller share lies within a larger one and every arm of a comparison has the same.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from augment.classify.config import ClassifierConfig
from gen.core.errors import BadInput
from gen.core.manifest import read_manifest
from gen.core.run import derived_seed
from gen.core.terms import FINDINGS, standard_name, suggestion
from gen.data.split import data_digest, patient_of, split_rows
from gen.judge.labels import finding_states, judged_findings, targets_of, without_sources

if TYPE_CHECKING:
    from gen.core.manifest import Row


OWN_TEST = "test"  # the name of the test patients of the real data


@dataclass(frozen=True)
class Sources:
    """The rows that may be used: ``real`` by split, without the sources that are left out but for "test"; by folder the
    ``synthetic`` ones and those ``derived`` from the real training images, which have the file names of these.

    ``notes`` are what is to be told of them.
    """

    real: Mapping[str, Sequence[Row]]
    synthetic: Mapping[str, Sequence[Row]]
    derived: Mapping[str, Sequence[Row]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Learnt:
    """The rows of a training; ``synthetic`` (N,) tells which of ``train`` are. ``labels`` by split are float32 (N, F):
    1, 0, or NaN where unknown."""

    findings: tuple[str, ...]
    train: tuple[Row, ...]
    synthetic: np.ndarray
    validation: tuple[Row, ...]
    test: tuple[Row, ...]
    labels: Mapping[str, np.ndarray]
    notes: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Of all rows that decide the weights."""
        return data_digest({"train": self.train, "validation": self.validation})


def read_sources(config: ClassifierConfig, synthetic: Sequence[str], derived: Sequence[str]) -> Sources:
    """The real rows of ``config``, and those in the folders ``synthetic`` and ``derived``; BadInput names the folder
    that is amiss."""
    everything = split_rows(read_manifest(config.data))
    real = without_sources(everything, config.leave_out)
    if derived:
        _require_one_name_each([row for rows in everything.values() for row in rows])
    made = {folder: synthetic_rows(folder, config.complete) for folder in synthetic}
    again = {folder: derived_rows(real["train"], config.data, folder) for folder in derived}
    notes = [
        f"{short(folder)} lacks {len(real['train']) - len(rows)} of the {len(real['train'])} training images of "
        f"{short(config.data)}"
        for folder, rows in again.items()
        if len(rows) < len(real["train"])
    ]
    return Sources({**real, "test": everything["test"]}, made, again, tuple(notes))


def short(folder: str) -> Path:
    """As much of ``folder`` as it is known by, for cards and reports: they are shown to others."""
    return Path(*Path(folder).parts[-2:])


def choose_rows(config: ClassifierConfig, sources: Sources) -> Learnt:
    """Choose the rows of ``sources`` that ``config`` learns from, validates on and tests on, with their labels.

    BadInput for data sets that lack what is needed.
    """
    real = sources.real
    synthetic = [row for folder in config.synthetic for row in sources.synthetic[folder]]
    if not synthetic and (not (config.fraction or config.shots) or not (config.originals or config.derived)):
        lacking = "fraction is 0" if config.originals or config.derived else "originals is false, derived"
        raise BadInput(f"{lacking} and synthetic is empty, so there is nothing to learn from")
    findings = findings_to_learn(config, real["train"], sources.synthetic)
    patients = few_patients(real["train"], findings, config) if config.shots else part(real["train"], config)
    names = {row.file_name for row in patients}
    derived = [row for folder in config.derived for row in sources.derived[folder] if row.file_name in names]
    chosen = [*(patients if config.originals else []), *derived]
    train = [*chosen, *synthetic]
    rows = {"train": train, "validation": real["validation"], "test": real["test"]}
    labels = {split: labels_of_rows(listed, findings, config.complete) for split, listed in rows.items()}
    notes = require_both(labels["train"], findings, "the training set", accept="findings" in config.accept)
    require_both(labels["validation"], findings, f"the validation patients of {config.data}")
    is_synthetic = np.arange(len(train)) >= len(chosen)
    if config.shuffle_labels:
        if not synthetic:
            raise BadInput("shuffle_labels shuffles those of synthetic images, and there are none")
        order = np.random.default_rng(derived_seed(config.seed, "shuffled labels")).permutation(len(synthetic))
        labels["train"][is_synthetic] = labels["train"][is_synthetic][order]
    validation, test = tuple(rows["validation"]), tuple(rows["test"])
    return Learnt(findings, tuple(train), is_synthetic, validation, test, labels, (*sources.notes, *notes))


def derived_rows(rows: Sequence[Row], data: str | Path, folder: str | Path) -> list[Row]:
    """Of each of ``rows`` of the data set ``data`` the one whose image has its place in ``folder``, as a PNG file.

    What is not there is left out; BadInput where nothing is.
    """
    base, place = Path(data).resolve(), Path(folder).resolve()
    files = [(row, place / row.file.relative_to(base).with_suffix(".png")) for row in rows]
    found = [replace(row, file=file, width=None, height=None, sha256="") for row, file in files if file.is_file()]
    if not found:
        raise BadInput(
            f"{folder} holds none of the {len(rows)} training images of {data}",
            hint=f"gen suppress {data} --out OUT makes such a folder: OUT/soft",
        )
    return found


def _require_one_name_each(rows: Sequence[Row]) -> None:
    """BadInput for two of ``rows`` whose files differ in the suffix alone: one derived file would stand for both."""
    known: dict[Path, Row] = {}
    for row in rows:
        if (other := known.setdefault(row.file.with_suffix(""), row)).file != row.file:
            raise BadInput(
                f"{other.file_name} and {row.file_name} would have one derived image",
                hint="gen data prepare gives each image a name of its own",
            )


def synthetic_rows(folder: str | Path, complete: Sequence[str]) -> list[Row]:
    """The rows of a synthetic set that weights may learn from; BadInput where there is none, or none has a label."""
    rows = [row for row in read_manifest(folder).rows if row.weights_may_learn]
    if not rows:
        raise BadInput(f"{folder} has no row with weights_may_learn = yes")
    if not any(finding_states(row, complete) for row in rows):
        raise BadInput(f"none of the {len(rows)} rows of {folder} has a label", hint="fill the column findings")
    return rows


def findings_to_learn(
    config: ClassifierConfig, real: Sequence[Row], synthetic: Mapping[str, Sequence[Row]]
) -> tuple[str, ...]:
    """The findings that ``config`` names, or those that all sets have ``least_images`` with and without: of real
    images in one source, of a synthetic set in the whole of it, whose bodies may be sources of their own.

    BadInput for a name that is no finding, and where the vocabularies have nothing in common.
    """
    if config.findings:
        names = [standard_name(name) for name in config.findings]
        for given, name in zip(config.findings, names, strict=True):
            if name is None:
                raise BadInput(f"findings holds {given!r}, which is none", hint=suggestion(given, FINDINGS))
        return tuple(dict.fromkeys(name for name in names if name is not None))
    one_source = [[replace(row, source=folder) for row in rows] for folder, rows in synthetic.items()]
    sets = {config.data: real, **dict(zip(synthetic, one_source, strict=True))}
    every = {name: judged_findings(rows, config.complete, config.least_images) for name, rows in sets.items()}
    common = set.intersection(*map(set, every.values()))
    if not common:
        least = f"{config.least_images} images with it and {config.least_images} without it"
        for name, found in every.items():
            if not found:
                raise BadInput(
                    f"{name}: no finding has {least} among those to learn from"
                    + (", all in one source" if name == config.data else ""),
                    hint="lower least_images, or add images; what no row says is unknown, not absent",
                )
        said = "; ".join(f"{name} has {', '.join(found)}" for name, found in every.items())
        raise BadInput(
            f"no finding has {least} in every set: {said}", hint="lower least_images, or take sets with one vocabulary"
        )
    return tuple(name for name in FINDINGS if name in common)


def labels_of_rows(rows: Sequence[Row], findings: Sequence[str], complete: Sequence[str]) -> np.ndarray:
    """float32 (N, F): 1 present, 0 absent, NaN unknown or uncertain."""
    return targets_of(rows, findings, complete).binary[:, : len(findings)].copy()


def require_both(labels: np.ndarray, findings: Sequence[str], what: str, *, accept: bool = False) -> tuple[str, ...]:
    """BadInput, naming them, for ``findings`` of which ``what`` holds one class only; a note where that is ``accept``ed
    and holds for some alone."""
    single = [
        f"{name} ({int((column == 1).sum())} with, {int((column == 0).sum())} without)"
        for name, column in zip(findings, labels.T, strict=True)
        if not ((column == 1).any() and (column == 0).any())
    ]
    line = f"{what} has only one class for {', '.join(single)}"
    if single and (not accept or len(single) == len(findings)):
        hint = "take them out of findings, or add images; what no row says is unknown, not absent"
        raise BadInput(line, hint=hint)
    return (f"accepted: {line}",) if single else ()


def hashed_order(patients: Sequence[str], seed: int) -> list[str]:
    """Each of ``patients`` once, in the order of SHA-256 of seed and patient."""
    return sorted(set(patients), key=lambda patient: hashlib.sha256(f"{seed}:{patient}".encode()).digest())


def part(rows: Sequence[Row], config: ClassifierConfig) -> list[Row]:
    """The rows of ``config.fraction`` of the patients, in their order."""
    order = hashed_order([patient_of(row) for row in rows], config.seed)
    # As the decimal number that was written: 0.07 * 100 is a little more than 7, and would keep an eighth patient.
    kept = set(order[: math.ceil(Decimal(str(config.fraction)) * len(order))])
    return [row for row in rows if patient_of(row) in kept]


def few_patients(rows: Sequence[Row], findings: Sequence[str], config: ClassifierConfig) -> list[Row]:
    """The rows of the first ``config.shots`` patients with each of ``findings``, and of as many without any of them."""
    order = {patient: i for i, patient in enumerate(hashed_order([patient_of(row) for row in rows], config.seed))}
    states = [finding_states(row, config.complete) for row in rows]
    kept: set[str] = set()
    for wanted in (*findings, None):
        fitting = {
            patient_of(row)
            for row, known in zip(rows, states, strict=True)
            if (known.get(wanted) if wanted is not None else not any(known.get(name) for name in findings))
        }
        kept |= set(sorted(fitting, key=order.__getitem__)[: config.shots])
    return [row for row in rows if patient_of(row) in kept]
