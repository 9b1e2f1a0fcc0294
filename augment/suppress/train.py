"""Training of bone suppression: `gen train suppress CONFIG`. One visible loop on pairs that are rendered once.

Example n is a function of (seed, n), so that a killed run continues exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from augment.suppress.config import SuppressConfig
from augment.suppress.examples import draw_example, weights_of
from augment.suppress.finish import finish
from augment.suppress.folder import write_network
from augment.suppress.network import SuppressNetwork
from augment.suppress.patients import held_out_examples, open_with_pairs, report_scores, split_patients
from augment.suppress.tiles import bone_of
from gen.core.errors import BadInput
from gen.model.cpu import memory_format
from gen.model.training.session import Session, refused_by_the_library

if TYPE_CHECKING:
    import torch

_SCALE = 20.0  # bone adds about a twentieth of the range: the loss is then of the size of 1


def train_suppress(config: SuppressConfig, command: Sequence[str] = ()) -> Path:
    """Train, or resume, in the run folder ``config.out``; the folder of the finished network (averaged, in half).

    Raises BadInput for CTs or a config that cannot be used, GenError for a loss that is not finite.
    """
    import torch

    split = split_patients(config)
    training = Session(config)
    with refused_by_the_library("the network"):
        bare: Any = SuppressNetwork(config.shape)
    if config.crop % bare.multiple:
        raise BadInput(f"crop is {config.crop}", hint=f"use a multiple of {bare.multiple} pixels")

    with open_with_pairs(training, split, config, command) as (run, pairs):
        held_out = held_out_examples(pairs["validation"], config.validation_pairs, config.seed)

        # What learns, and how
        layout = memory_format(bare, training.device)
        bare.to(training.device, memory_format=layout)
        adam: dict[str, Any] = {"lr": config.learning_rate, "betas": (0.9, 0.99), "weight_decay": config.weight_decay}
        training.start("suppress", bare, {"suppress": torch.optim.AdamW(bare.parameters(), **adam)})
        model = training.accelerator.prepare(bare)

        while True:
            # Report and save, with the state "after so many images", so that resume and end are one path
            if training.due(config.validate_every, at_start=True):
                report_scores(training, partial(bone_of, bare), held_out)
            if training.due(config.checkpoint_every):
                training.save(lambda stage: write_network(stage / "network", bare, config.side))
            if training.finished():
                return finish(run.folder, training.folder / "network", split, pairs, config)

            # A batch of crops, and how far the network is from the bone in them
            examples = [
                draw_example(pairs["train"], place, config.seed, config.crop, config.drawing)
                for place in training.places()
            ]
            regions = np.stack([each.regions for each in examples])
            planes = (
                np.stack([each.display for each in examples]),
                np.stack([each.bone for each in examples]),
                weights_of(regions, config.drawing),
            )
            display, bone, weight = (torch.from_numpy(plane)[:, None].to(training.device) for plane in planes)
            with training.accelerator.accumulate(model):
                error = model(display.to(memory_format=layout)).float() - bone
                terms = {"pixels": _mean(error.abs(), weight), "edges": _edges(error, weight)}
                loss = _SCALE * (terms["pixels"] + config.gradient_weight * terms["edges"])
                training.step(loss, list(training.places()), **terms)


def _mean(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1)


def _edges(error: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The mean error of the differences between neighbours, down and across."""
    down = _mean((error[..., 1:, :] - error[..., :-1, :]).abs(), weight[..., 1:, :])
    across = _mean((error[..., 1:] - error[..., :-1]).abs(), weight[..., 1:])
    return down + across
