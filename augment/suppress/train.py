"""Training of bone suppression: `gen train suppress CONFIG`. One visible loop on pairs that are rendered once.

Example n is a function of (seed, n), so that a killed run continues exactly.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from augment.suppress.config import SuppressConfig
from augment.suppress.examples import Example, draw_example, region, whole_image
from augment.suppress.folder import write_network
from augment.suppress.measures import detail_loss, psnr, signed_residual
from augment.suppress.network import SuppressNetwork
from augment.suppress.pairs import Patient, digest_of_names, make_pairs, patients_of
from augment.suppress.tiles import bone_of
from gen.core.errors import BadInput
from gen.core.files import staged_folder, verify_folder
from gen.core.run import derived_seed
from gen.data.loader import evenly
from gen.model.cpu import memory_format
from gen.model.training.session import Session, refused_by_the_library

if TYPE_CHECKING:
    import torch

SUPPRESS_FOLDER = "suppress"
_SCALE = 20.0  # bone adds about a twentieth of the range: the loss is then of the size of 1


def train_suppress(config: SuppressConfig, command: Sequence[str] = ()) -> Path:
    """Train, or resume, in the run folder ``config.out``; the folder of the finished network (averaged, in half).

    Raises BadInput for CTs or a config that cannot be used, GenError for a loss that is not finite.
    """
    import torch

    patients = patients_of(None if config.data is None else Path(config.data), config.phantoms, config.seed)
    split = _split(patients, config.validation)
    training = Session(config)
    with refused_by_the_library("the network"):
        bare: Any = SuppressNetwork(config.shape)
    if config.crop % bare.multiple:
        raise BadInput(f"crop is {config.crop}", hint=f"use a multiple of {bare.multiple} pixels")

    names = {name: ";".join(patient.key for patient in group) for name, group in split.items()}
    with training.open(command, **names) as run:
        # Pairs, which the main process renders once
        with training.accelerator.main_process_first():
            pairs = {name: _pairs(group, run.folder / "pairs", config, name) for name, group in split.items()}
        run.log(event="pairs", digest=digest_of_names(pairs["train"]), count=len(pairs["train"]))
        held_out = _held_out(pairs["validation"], config)

        # What learns, and how
        layout = memory_format(bare, training.device)
        bare.to(training.device, memory_format=layout)
        adam: dict[str, Any] = {"lr": config.learning_rate, "betas": (0.9, 0.99), "weight_decay": config.weight_decay}
        training.start("suppress", bare, {"suppress": torch.optim.AdamW(bare.parameters(), **adam)})
        model = training.accelerator.prepare(bare)

        while True:
            # Report and save, with the state "after so many images", so that resume and end are one path
            if training.due(config.validate_every, at_start=True):
                with training.averaged():
                    values = validation_scores(bare, held_out)
                training.log("validation", **values)
                said = ", ".join(f"{key} {value:.3f}" for key, value in values.items())
                training.print(f"{training.images} images: {said}")
            if training.due(config.checkpoint_every):
                training.save(lambda stage: write_network(stage / "network", bare, config.side))
            if training.finished():
                return _finish(run.folder, training.folder, config)

            # A batch of crops, and how far the network is from the bone in them
            examples = [
                draw_example(pairs["train"], place, config.seed, config.crop, config.drawing)
                for place in training.places()
            ]
            display, bone, weight = (
                torch.from_numpy(np.stack([getattr(each, name) for each in examples]))[:, None].to(training.device)
                for name in ("display", "bone", "weight")
            )
            with training.accelerator.accumulate(model):
                error = model(display.to(memory_format=layout)).float() - bone
                terms = {"pixels": _mean(error.abs(), weight), "edges": _edges(error, weight)}
                loss = _SCALE * (terms["pixels"] + config.gradient_weight * terms["edges"])
                training.step(loss, list(training.places()), **terms)


def _split(patients: list[Patient], validation: Sequence[str]) -> dict[str, list[Patient]]:
    keys = [patient.key for patient in patients]
    if unknown := [name for name in validation if name not in keys]:
        raise BadInput(f"validation names {unknown[0]}, which is not there", hint=f"there are {', '.join(keys)}")
    split = {
        "train": [patient for patient in patients if patient.key not in validation],
        "validation": [patient for patient in patients if patient.key in validation],
    }
    for name, group in split.items():
        if not group:
            raise BadInput(f"there is no patient for {name}", hint="more phantoms, or other names in validation")
    return split


def _pairs(patients: list[Patient], folder: Path, config: SuppressConfig, name: str) -> list[Path]:
    from tqdm import tqdm

    how: dict[str, int] = {"scenes": config.scenes, "poses": config.poses, "size": config.detector, "seed": config.seed}
    bar = tqdm(patients, desc=f"rendering pairs ({name})", unit="patient", leave=False)
    return [path for patient in bar for path in make_pairs(patient, folder, **how)]


def _held_out(paths: Sequence[Path], config: SuppressConfig) -> list[Example]:
    """Whole images of the validation patients, with the same grey levels each time; ``weight`` is their regions."""
    chosen = evenly(np.arange(len(paths)), config.validation_pairs)
    return [
        whole_image(np.load(paths[i]), np.random.default_rng(derived_seed(config.seed, f"validation {i}")))
        for i in chosen
    ]


def _mean(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1)


def _edges(error: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The mean error of the differences between neighbours, down and across."""
    down = _mean((error[..., 1:, :] - error[..., :-1, :]).abs(), weight[..., 1:, :])
    across = _mean((error[..., 1:] - error[..., :-1]).abs(), weight[..., 1:])
    return down + across


def validation_scores(network: SuppressNetwork, held_out: Sequence[Example]) -> dict[str, float]:
    """Means over whole images: PSNR in the lungs, residuals where bone lies over them, detail lost where none does."""
    rows = []
    for example in held_out:
        bone = bone_of(network, example.display)
        soft, predicted = example.display - example.bone, example.display - bone
        lungs, ribs, free = (region(example.weight, name) for name in ("lungs", "bone", "free"))
        residual = signed_residual(predicted, soft, example.bone, ribs)
        rows.append((psnr(predicted, soft, lungs), residual, abs(residual), detail_loss(predicted, soft, free)))
    names = ("psnr", "residual", "residual_size", "detail_loss")
    return dict(zip(names, np.mean(rows, axis=0).tolist(), strict=True))


def _finish(run: Path, checkpoint: Path, config: SuppressConfig) -> Path:
    """The folder ``run``/suppress, with the averaged weights of the last checkpoint in half precision."""
    import torch

    from augment.suppress.folder import load_suppressor

    folder = run / SUPPRESS_FOLDER
    if folder.exists():
        if not verify_folder(folder):
            return folder
        shutil.rmtree(folder)
    trained = load_suppressor(checkpoint / "network")
    with staged_folder(folder) as stage:
        write_network(stage, trained.network, config.side, torch.float16)
    return folder
