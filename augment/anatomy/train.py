"""Training the anatomy network: `gen train anatomy CONFIG`. What all trainers share is in `gen.model.training.session`.

The projections, and the masks of radiographs, are made first, once, when the run folder is held; then image n is a
function of (seed, n), so that a killed run continues exactly.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from augment.anatomy.bodies import Body, bodies_of, digest_of
from augment.anatomy.config import AnatomyConfig
from augment.anatomy.films import film, plain
from augment.anatomy.finish import finish
from augment.anatomy.pairs import check_pool, pool, superseded
from augment.anatomy.radiographs import digest_of_radiographs, radiograph_pool
from gen.anatomy.folder import write_network
from gen.anatomy.network import ORGANS, AnatomyNetwork
from gen.core.errors import BadInput
from gen.core.run import derived_seed
from gen.model.cpu import memory_format
from gen.model.training.session import Session, refused_by_the_library

if TYPE_CHECKING:
    from collections.abc import Iterable

CHECKED = 8  # projections of each held-out body that are looked at while it learns
_SMOOTH = 50.0  # pixels: an organ of a few pixels, or of none, shall not decide the overlap

Records = Mapping[Body, np.ndarray]


def train_anatomy(config: AnatomyConfig, command: Sequence[str] = ()) -> Path:
    """Train, or resume, in the run folder ``config.out``; the finished network's folder (averaged weights, in half).

    Raises BadInput for data, folders or a config that cannot be used, GenError for a loss that is not finite.
    """
    sides = config.shape.fold * 2 ** (len(config.shape.widths) - 1)
    if config.size % sides:
        raise BadInput(f"size is {config.size}", hint=f"the shape asks for a multiple of {sides} pixels")
    bodies = bodies_of(config)
    training = Session(config)
    with refused_by_the_library("the anatomy network"):
        bare: Any = AnatomyNetwork(config.shape)
    check_pool(config)
    inputs = {"radiographs": digest_of_radiographs(config)} if config.radiographs else {}
    with training.open(command, data=_digest(bodies), **inputs) as run:
        with training.accelerator.main_process_first():
            records = {split: make_pool(config, bodies[split]) for split in bodies}
            radiographs = radiograph_pool(config)
        layout = memory_format(bare, training.device)
        bare.to(training.device, memory_format=layout)
        adam: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
        training.start("anatomy", bare, {"anatomy": torch.optim.AdamW(bare.parameters(), **adam)})
        model = training.accelerator.prepare(bare)

        while True:
            # Report and save, with the state "after so many images", so that resume and end are one path
            if training.due(config.validate_every):
                with training.averaged():
                    dice = validation_dice(bare, records["validation"], config.size)
                training.log("validation", **dice)
                said = ", ".join(f"{organ} {value:.3f}" for organ, value in dice.items())
                training.print(f"{training.images} images: Dice of {said}")
            if training.due(config.checkpoint_every):
                training.save(lambda stage: write_network(stage / "network", bare, config.size))
            if training.finished():
                with training.accelerator.main_process_first():  # the others find the folder finished
                    return finish(
                        run.folder, training.folder / "network", records, len(radiographs), config, training.images
                    )

            # A batch of films, and what is known of each
            names, images, masks, known = batch(records["train"], radiographs, training.places(), config)
            with training.accelerator.accumulate(model):
                logits = model(images.to(training.device, memory_format=layout)).float()
                terms = losses(logits, masks.to(training.device), known.to(training.device))
                training.step(terms["entropy"] + terms["overlap"], names, **terms)


def make_pool(config: AnatomyConfig, bodies: Iterable[Body]) -> Records:
    """The projections of ``bodies``, those that are missing made now, with a progress bar on stderr.

    A line there says which are made again. BadInput where the pool holds those of another config.
    """
    from tqdm import tqdm

    check_pool(config)
    listed = list(bodies)
    if old := superseded(config, listed):
        named = ", ".join(old[:3]) + (f" and {len(old) - 3} more" if len(old) > 3 else "")
        what = "were made of other files, or by an older version, and are made again"
        tqdm.write(f"{config.pool}: the projections of {named} {what}", file=sys.stderr)
    return {body: pool(config, body) for body in tqdm(listed, unit="body", leave=False)}


def _digest(bodies: Mapping[str, Sequence[Body]]) -> str:
    """Of which bodies are learnt from, and of what is read of them."""
    import hashlib

    lines = [f"{split} {body.name} {digest_of(body)}" for split, listed in bodies.items() for body in listed]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def batch(
    records: Records, radiographs: np.ndarray, places: Sequence[int], config: AnatomyConfig
) -> tuple[list[str], torch.Tensor, torch.Tensor, torch.Tensor]:
    """Names, images float (N, 1, S, S), masks float (N, 10, S, S) and known float (N, 10) of images at ``places``."""
    kinds = [[body for body in records if (body.number is None) is ct] for ct in (True, False)]
    names, images, bits, known = [], [], [], []
    for n in places:
        rng = np.random.default_rng(derived_seed(config.seed, f"film {n}"))
        name, shown = "radiograph", radiographs
        if not len(radiographs) or rng.random() >= config.radiograph_share:
            listed = kinds[0] if kinds[0] and (rng.random() < config.ct_share or not kinds[1]) else kinds[1]
            body = listed[rng.integers(len(listed))]
            name, shown = body.name, records[body]
        k = int(rng.integers(len(shown)))
        record = shown[k]
        image, mask = film(record, config.size, rng)
        names.append(f"{name} {k}")
        images.append(image)
        bits.append(mask)
        known.append(int(record["known"]))
    return names, torch.from_numpy(np.stack(images))[:, None], *(unpacked(np.stack(bits)), unpacked(np.array(known)))


def unpacked(bits: np.ndarray) -> torch.Tensor:
    """Bits (N, ...) as float (N, 10, ...)."""
    each = [(bits >> i) & 1 for i in range(len(ORGANS))]
    return torch.from_numpy(np.stack(each, axis=1).astype(np.float32))


def losses(logits: torch.Tensor, masks: torch.Tensor, known: torch.Tensor) -> dict[str, torch.Tensor]:
    """ "entropy", the mean cross-entropy, and "overlap", 1 less the mean soft Dice, of organs that are ``known``."""
    entropy = functional.binary_cross_entropy_with_logits(logits, masks, reduction="none").mean((2, 3))
    found = logits.sigmoid()
    both = (found * masks).sum((2, 3))
    dice = (2 * both + _SMOOTH) / (found.sum((2, 3)) + masks.sum((2, 3)) + _SMOOTH)
    count = known.sum().clamp(min=1)
    return {"entropy": (entropy * known).sum() / count * 4, "overlap": ((1 - dice) * known).sum() / count}


@torch.inference_mode()
def validation_dice(network: AnatomyNetwork, records: Records, size: int) -> dict[str, float]:
    """Mean Dice of each organ over a few projections of each held-out body, as they were rendered."""
    was_training = network.training
    network.eval()
    place = next(network.parameters()).device
    scores: dict[str, list[float]] = {organ: [] for organ in ORGANS}
    for listed in records.values():
        for k in np.linspace(0, len(listed) - 1, CHECKED).astype(int):
            image, bits = plain(listed[k], size)
            found = (network(torch.from_numpy(image.astype(np.float32))[None, None].to(place))[0] > 0).cpu().numpy()
            for i, organ in enumerate(ORGANS):
                true = (bits >> i) & 1 > 0
                if int(listed[k]["known"]) >> i & 1 and true.any():
                    scores[organ].append(2 * (found[i] & true).sum() / (found[i].sum() + true.sum()))
    network.train(was_training)
    return {organ: float(np.mean(each)) if each else float("nan") for organ, each in scores.items()}
