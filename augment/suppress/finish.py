"""The end of a training: a network's folder in half precision with figures and card, and a copy with new figures."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from augment.suppress.card import facts_of, write_card
from augment.suppress.config import SuppressConfig
from augment.suppress.folder import FACTS, FIGURES, WEIGHTS, load_suppressor, read_network, write_network
from augment.suppress.patients import Split, held_out_examples, validation_scores
from augment.suppress.scores import Scores
from drr.job import patient_keys
from gen.core.errors import BadInput
from gen.core.files import keep_whole, read_json, staged_folder, write_json, write_text
from gen.core.run import RUN
from gen.model.folder import CARD

FOLDER = "suppress"
MEASURED = 24  # whole images of the validation patients


def finish(run: Path, trained: Path, split: Split, pairs: Mapping[str, Sequence[Path]], config: SuppressConfig) -> Path:
    """Write ``run``/suppress from the averaged network in the folder ``trained``; one that is whole stays."""
    folder = run / FOLDER
    if keep_whole(folder):
        return folder
    with staged_folder(folder) as stage:
        write_network(stage, read_network(trained)[0], config.side, torch.float16)
        examples = held_out_examples(pairs["validation"], MEASURED, config.seed)
        measured = {
            "network": validation_scores(load_suppressor(stage).find_bone, examples),  # as it is shipped
            "do nothing": validation_scores(lambda display: np.zeros_like(display), examples),
        }
        facts = {
            "images": config.images,
            "pairs": len(pairs["train"]),
            "patients": {part: facts_of(patients) for part, patients in split.items()},
            "validation": {"images": len(examples), **measured},
        }
        _describe(stage, facts)
    return folder


def require_figures(model: Path, folder: Path) -> None:
    """Raise BadInput where `write_measured` would: a ``model`` that does not say what it learnt from, an old folder."""
    if not all((model / name).is_file() for name in (FACTS, WEIGHTS, FIGURES)):
        hint = "name a folder that gen train suppress wrote, or leave --out away"
        raise BadInput(f"{model} has no {FIGURES}, so no card can be written for it", hint=hint)
    if folder.exists():
        raise BadInput(f"{folder} exists already", hint="name a folder that does not exist yet")


def write_measured(folder: Path, model: Path, scores: Scores, pairs: Path) -> None:
    """Write ``folder``: the network in ``model`` with ``scores`` in its figures and on its card.

    ``pairs`` is the data set that was measured on, of which the card says whom of it the network knows. BadInput as of
    `require_figures`.
    """
    require_figures(model, folder)
    figures = read_json(model / FIGURES)
    known = known_patients(figures["patients"], scores.patients, digests_of(pairs))
    with staged_folder(folder) as stage:
        for name in (FACTS, WEIGHTS):
            shutil.copyfile(model / name, stage / name)
        _describe(stage, {**figures, "test": {**scores.as_dict(), "known": known}})


def digests_of(pairs: Path) -> set[str]:
    """SHA-256 of the files that the data set ``pairs`` was projected from, as `gen drr` wrote them into run.json."""
    inputs = read_json(pairs / RUN)["inputs"] if (pairs / RUN).is_file() else {}
    return {str(digest) for name, digest in inputs.items() if name.startswith("file ") and digest}


def known_patients(
    known: Mapping[str, Sequence[Mapping[str, str]]], patients: Collection[str], digests: Collection[str]
) -> dict[str, list[str]]:
    """Those of ``known``, by part ("train", "validation"), who are among ``patients`` by the name of their CT, or whose
    file is among those of ``digests``."""
    return {
        part: [
            each["key"]
            for each in those
            if patient_keys([each["key"]])[0] in patients or each.get("sha256") in set(digests)
        ]
        for part, those in known.items()
    }


def _describe(folder: Path, figures: Mapping[str, Any]) -> None:
    write_json(folder / FIGURES, figures)
    write_text(folder / CARD, write_card(folder))
