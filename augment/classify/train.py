"""Training a classifier: `gen classify train CONFIG`. One visible loop; what it shares is in `gen.model.training`.

Image and movement n are functions of (seed, n), so that a killed run continues exactly. The weights that count are
those of the validation with the highest mean AUROC on held-out patients.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from augment.classify.config import ACCEPTABLE, BALANCES, LEARN, NEAR, ClassifierConfig
from augment.classify.data import Learnt, Sources, choose_rows, read_sources
from augment.classify.finish import BEST, finish
from augment.classify.guards import cache_of, guarded
from augment.classify.network import (
    HEAD,
    Classifier,
    groups_of,
    make_classifier,
    raw_logits,
    weights_hash,
    write_classifier,
)
from gen.core.errors import BadInput
from gen.core.files import keep_whole, prune, staged_folder
from gen.core.run import derived_seed, read_log
from gen.core.terms import require_choice
from gen.data.loader import augment, pixel_cache, to_model_range
from gen.data.split import order_of
from gen.model.cpu import memory_format
from gen.model.training.checkpoints import checkpoint_folder
from gen.model.training.losses import masked_cross_entropy
from gen.model.training.session import Session
from gen.statistics.scores import auroc, mean_auroc

if TYPE_CHECKING:
    from gen.core.run import Run

RAREST = 20.0  # the weight of a positive, at most


def train_classifier(config: ClassifierConfig, command: Sequence[str] = (), sources: Sources | None = None) -> Path:
    """Train, or resume, in the run folder ``config.out``; the finished folder of transformers (averaged weights).

    ``sources`` are those that the guards have passed; None: they are read and guarded here. Raises BadInput for data,
    folders or a config that cannot be used, GenError for a loss that is not finite.
    """
    check(config)
    if sources is None:
        sources = guarded(read_sources(config, config.synthetic, config.derived), config)
    learnt = choose_rows(config, sources)
    training = Session(config)
    if config.patience and training.accelerator.num_processes > 1:
        raise BadInput("patience is for a single process", hint="use patience=0 with several")
    bare = make_classifier(config.backbone, learnt.findings, config.size)
    network: Any = bare.network
    start = weights_hash(network)

    with training.open(command, data=learnt.digest, start=start) as run:
        cache = cache_of(config)
        with training.accelerator.main_process_first():
            pixels = {name: pixel_cache(rows, config.size, cache) for name, rows in splits_of(learnt).items()}

        # What learns, and how
        layout = memory_format(network, training.device)
        network.to(training.device, memory_format=layout)
        groups = groups_of(network)
        if config.learn == "probe":
            free(groups, 1)
        rates = [
            {"params": group, "lr": config.learning_rate * config.layer_rate**depth}
            for depth, group in enumerate(groups)
        ]
        adam = torch.optim.AdamW(rates, lr=config.learning_rate, weight_decay=config.weight_decay)
        training.start("classifier", network, {"classifier": adam})
        prepared = training.accelerator.prepare(network)
        model = Classifier(prepared, bare.findings, bare.size, bare.mean, bare.std)
        order = order_of(learnt.train, config.seed, config.images_per_patient, config.balance == "sampler")
        weights = positive_weights(learnt.labels["train"]) if config.balance == "weights" else None
        for note in learnt.notes:
            training.print(note)
        synthetic = f"{int(learnt.synthetic.sum())} of them synthetic"
        training.print(f"{len(learnt.train)} training images, {synthetic}; findings: {', '.join(learnt.findings)}")

        while True:
            # Report and save, with the state "after so many images", so that resume and end are one path
            if training.due(config.validate_every):
                with training.averaged():
                    values = validation_scores(bare, pixels["validation"], learnt.labels["validation"])
                    if values["mean"] > max(history(run, training.images).values(), default=-1.0):
                        keep_best(run.folder, training.images, bare)
                training.log("validation", **values)
                training.print(f"{training.images} images: mean AUROC {values['mean']:.3f} on validation patients")
            if training.due(config.checkpoint_every):
                training.save(lambda stage: write_classifier(stage / "network", bare))
            stopped = config.patience and out_of_patience(history(run, training.images + 1), config.patience)
            if stopped or training.finished():
                with training.accelerator.main_process_first():  # the others find the folder finished
                    return finish(run.folder, learnt, config, pixels["validation"], cache, start)

            # A batch of moved images, and what is known of each
            places = training.places()
            chosen = [order.index(place) for place in places]
            seeds = [derived_seed(config.seed, n) for n in places]
            images = augment(to_model_range(pixels["train"][chosen]), seeds, config.augmentation)
            labels = torch.from_numpy(learnt.labels["train"][chosen])
            set_learning(network, groups, config, training.images)
            with training.accelerator.accumulate(prepared):
                with mixing(network, labels, seeds, config.balance == "mix") as held:
                    logits = model.logits(images.to(training.device, memory_format=layout))
                place = training.device
                loss = masked_cross_entropy(logits, held.to(place), None if weights is None else weights.to(place))
                training.step(loss, [learnt.train[i].file for i in chosen])


def check(config: ClassifierConfig) -> None:
    """Raise BadInput for a word in ``config`` that is no choice."""
    for key, choices in (("learn", LEARN), ("balance", BALANCES), ("near_duplicates", NEAR)):
        require_choice(key, getattr(config, key), choices)
    for word in config.accept:
        require_choice("difference in accept", word, ACCEPTABLE)


def splits_of(learnt: Learnt) -> dict[str, Sequence[Any]]:
    """The rows whose pixels a training needs."""
    return {"train": learnt.train, "validation": learnt.validation}


def validation_scores(classifier: Classifier, pixels_u8: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """AUROC by finding of held-out images, and their "mean"."""
    logits = raw_logits(classifier, pixels_u8)
    each = {name: auroc(logits[:, j], labels[:, j]) for j, name in enumerate(classifier.findings)}
    return {"mean": mean_auroc(logits, labels), **each}


def history(run: Run, before: int) -> dict[int, float]:
    """Mean AUROC by images learnt from, of the validations of ``run`` after fewer than ``before`` images."""
    rows = [row for row in read_log(run.folder) if row.get("event") == "validation" and row["images"] < before]
    return {row["images"]: row["mean"] for row in rows}


def out_of_patience(scores: Mapping[int, float], patience: int) -> bool:
    """Whether the last ``patience`` of ``scores``, by images, brought nothing better than what was before them."""
    values = [scores[images] for images in sorted(scores)]
    return len(values) > patience and max(values[-patience:]) <= max(values[:-patience])


def keep_best(run: Path, images: int, classifier: Classifier) -> None:
    """Keep the weights of ``classifier`` as the best so far, in place of those before."""
    folder = run / BEST / checkpoint_folder(run, images).name
    if not keep_whole(folder):
        with staged_folder(folder) as stage:
            write_classifier(stage, classifier)
    prune(run / BEST, "images-*", 1, written=folder)


def positive_weights(labels: np.ndarray) -> torch.Tensor:
    """Negatives over positives of each column of ``labels`` (N, F), from 1 / RAREST to RAREST."""
    positive, negative = (labels == 1).sum(0), (labels == 0).sum(0)
    return torch.from_numpy((negative / np.maximum(positive, 1)).clip(1 / RAREST, RAREST).astype(np.float32))


def set_learning(
    network: torch.nn.Module, groups: list[list[torch.nn.Parameter]], config: ClassifierConfig, n: int
) -> None:
    """Let the groups learn that ``config.learn`` frees after ``n`` images; what stands still is in evaluation mode.

    Progressively, the last of them is free after half the run.
    """
    if config.learn == "full":
        network.train()
        return
    count = 1 if config.learn == "probe" else min(len(groups), 1 + int(2 * len(groups) * n / config.images))
    free(groups, count)
    for name, part in network.named_children():
        part.train(name == HEAD or count == len(groups))


def free(groups: list[list[torch.nn.Parameter]], count: int) -> None:
    """Let the first ``count`` of ``groups`` learn, and no other."""
    for depth, group in enumerate(groups):
        for weight in group:
            weight.requires_grad_(depth < count)


@contextmanager
def mixing(network: Any, labels: torch.Tensor, seeds: Sequence[int], active: bool) -> Iterator[torch.Tensor]:
    """Inside, the head sees mixed embeddings where that is ``active``; yields the labels that then hold, (N, F).

    An image with a finding is mixed with another of the batch that has the rarest of its findings there, as SMOTE does
    with neighbours (Chawla et al. 2002); a label in which the two differ is unknown.
    """
    if not active:
        yield labels
        return
    partner, share = partners(labels, seeds)

    def mix(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        (found,) = inputs
        weight = share.to(found).view(-1, *[1] * (found.ndim - 1))
        return (found * (1 - weight) + found[partner.to(found.device)] * weight,)

    handle = getattr(network, HEAD).register_forward_pre_hook(mix)
    try:
        yield torch.where(labels == labels[partner], labels, torch.nan)
    finally:
        handle.remove()


def partners(labels: torch.Tensor, seeds: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """For each row of ``labels`` (N, F) the row that it is mixed with, and the share of that: itself and 0 of none."""
    present = (labels == 1).numpy()
    counts = present.sum(0)
    partner, share = np.arange(len(labels)), np.zeros(len(labels), np.float32)
    for i, row in enumerate(present):
        rng = np.random.default_rng(derived_seed(seeds[i], "mix"))
        shared = [j for j in np.flatnonzero(row) if counts[j] > 1]
        if shared:
            others = np.flatnonzero(present[:, min(shared, key=lambda j: counts[j])])
            partner[i] = rng.choice(others[others != i])
            share[i] = rng.random()
    return torch.from_numpy(partner), torch.from_numpy(share)
