"""Training the judge: `gen train judge CONFIG`. One visible loop; what it shares is in `gen.model.training.session`.

Each image is seen twice in a step: whole, and once more, damaged in a way that the quality heads should notice and,
where the chest is still there, the others should not; each time in a framing of its own (`gen.judge.framings`). Beside
it the texture branch compares crops of images with crops of fakes. Image, framing, movement, damage and crop n are
functions of (seed, n), so that a killed run continues exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gen.core.errors import BadInput
from gen.core.manifest import read_manifest
from gen.core.run import derived_seed
from gen.data.loader import Augmentation, augment, to_model_range
from gen.data.split import data_digest, order_of, split_rows
from gen.judge.config import JudgeConfig
from gen.judge.degrade import degrade, draw_kind
from gen.judge.fakes import Fakes, fake_sources_of
from gen.judge.finish import finish
from gen.judge.folder import write_network
from gen.judge.framings import Framings, Shown, framings_of, prepared_rows
from gen.judge.labels import Targets, judged_findings, targets_of, without_sources
from gen.judge.network import QUALITIES, JudgeNetwork, contrast, patch_side, raw_scores
from gen.model.cpu import memory_format
from gen.model.training.losses import masked_cross_entropy
from gen.model.training.session import Session, refused_by_the_library
from gen.statistics.scores import auroc, mean_auroc

if TYPE_CHECKING:
    import torch

# An image has a dozen findings and one sex, and few images are damaged badly: their means would count too little.
FINDING_WEIGHT, QUALITY_WEIGHT = 4.0, 2.0


def train_judge(config: JudgeConfig, command: Sequence[str] = ()) -> Path:
    """Train, or resume, in the run folder ``config.out``; the finished judge's folder (averaged weights, in half).

    Raises BadInput for data, folders or a config that cannot be used, GenError for a loss that is not finite.
    """
    import torch

    # Whatever can be refused comes first: a run folder that exists keeps its config for good.
    if not patch_side(config.shape.texture) <= config.crop <= config.size:
        raise BadInput(f"crop is {config.crop}", hint=f"use {patch_side(config.shape.texture)} to {config.size} pixels")
    rows = without_sources(split_rows(read_manifest(config.data)), config.leave_out)
    findings = judged_findings(rows["train"], config.complete, config.least_images)
    targets = {split: targets_of(rows[split], findings, config.complete) for split in ("train", "validation")}
    prepared = prepared_rows(config.prepared, rows["train"])
    training = Session(config)
    with refused_by_the_library("the judge"):
        bare: Any = JudgeNetwork(config.shape, findings)

    sources = fake_sources_of(config.generator, config.samples, config.prepared is not None)
    inputs = {"data": data_digest({split: rows[split] for split in ("train", "validation")}), **sources.inputs()}
    if config.prepared is not None:
        inputs["prepared"] = data_digest(prepared)
    with training.open(command, **inputs) as run:
        # Images and fakes, which the main process makes once
        with training.accelerator.main_process_first():
            cache = run.folder / "cache"
            images = {
                split: framings_of(rows[split], prepared[split], config.size, cache)
                for split in ("train", "validation")
            }
            fakes = sources.arrays(images["train"].images, config.reconstructions, "train", config.size, cache)

        # What learns, and how
        layout = memory_format(bare, training.device)
        bare.to(training.device, memory_format=layout)
        adam: dict[str, Any] = {"lr": config.learning_rate, "betas": (0.9, 0.99), "weight_decay": config.weight_decay}
        training.start("judge", bare, {"judge": torch.optim.AdamW(bare.parameters(), **adam)})
        model = training.accelerator.prepare(bare)
        order = order_of(rows["train"], config.seed, config.images_per_patient)
        numbers = {patient: i for i, patient in enumerate(dict.fromkeys(order.patients))}
        training.print(f"learning {len(findings)} findings")
        held_out = images["validation"].all()

        while True:
            # Report and save, with the state "after so many images", so that resume and end are one path
            if training.due(config.validate_every, at_start=True):
                with training.averaged():
                    values = validation_scores(bare, held_out, targets["validation"])
                training.log("validation", **values)
                said = ", ".join(f"{key.replace('_', ' ')} {value:.3f}" for key, value in values.items())
                training.print(f"{training.images} images: {said}")
            if training.due(config.checkpoint_every):
                training.save(lambda stage: write_network(stage / "network", bare, config.size))
            if training.finished():
                with training.accelerator.main_process_first():  # the others find the folder finished
                    return finish(run.folder, training.images, config)

            # A batch: each image twice, crops of it and of fakes, and what is known of it
            chosen = [order.index(place) for place in training.places()]
            views, quality, same = two_views(
                images["train"], chosen, training.places(), config.seed, config.augmentation
            )
            crops = texture_crops(images["train"], chosen, training.places(), config, fakes)
            known = {
                "binary": np.concatenate([targets["train"].binary[chosen]] * 2),
                "age": np.concatenate([targets["train"].age[chosen]] * 2),
                "quality": quality,
            }
            for name in ("binary", "age"):  # of a shuffled chest nobody can say whose it is
                known[name][len(chosen) :][~same] = np.nan
            patients = torch.tensor([numbers[order.patients[i]] for i in chosen], device=training.device)

            # Learn from it: every head, and which images are of one patient
            with training.accelerator.accumulate(model):
                outputs = model(views.to(training.device, memory_format=layout), crops.to(training.device))
                terms = loss_terms(outputs, known, len(findings))
                kept = torch.from_numpy(np.flatnonzero(same)).to(training.device)
                one, other = (half[kept] for half in outputs["embedding"].chunk(2))
                terms["contrast"] = contrast(one, other, patients[kept], config.contrast_temperature)
                weights = {"findings": FINDING_WEIGHT, "quality": QUALITY_WEIGHT}
                weights |= {"age": config.age_weight, "contrast": config.contrast_weight}
                loss = sum((weights.get(name, 1.0) * term for name, term in terms.items()), torch.zeros(()))
                training.step(loss, [rows["train"][i].file for i in chosen], **terms)


def two_views(
    images: Framings, chosen: Sequence[int], places: Sequence[int], seed: int, how: Augmentation
) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """The ``chosen`` images, each in a framing and moved, and framed and moved another way and damaged.

    Returns them, (2 n, 1, H, W) in [-1, 1], the targets of QUALITIES, float32 (2 n, 3), and whether view n + i still
    shows image i, bool (n,).
    ``places`` are the images' places in the run, which with ``seed`` decide everything.
    """
    import torch

    clean, moved = (
        augment(to_model_range(images.draw(chosen, seeds)), seeds, how)
        for seeds in ([derived_seed(seed, n, attempt) for n in places] for attempt in (0, 1))
    )
    quality = np.ones((2 * len(chosen), len(QUALITIES)), np.float32)
    same = np.ones(len(chosen), bool)
    damaged = []
    for i, n in enumerate(places):
        rng = np.random.default_rng(derived_seed(seed, f"damage {n}"))
        result = degrade((moved[i, 0].numpy() + 1) / 2, rng, draw_kind(rng))
        damaged.append(torch.from_numpy(result.image * 2 - 1)[None])
        quality[len(chosen) + i], same[i] = result.quality, result.same_image
    return torch.cat([clean, torch.stack(damaged)]), quality, same


def texture_crops(
    images: Framings, chosen: Sequence[int], places: Sequence[int], config: JudgeConfig, fakes: Fakes
) -> torch.Tensor:
    """Crops of the ``chosen`` images, framed as first in `two_views`, then of as many fakes, in [-1, 1].

    (2 n, 1, crop, crop). Real and fake ones pass the same change of gamma and the same rounding to 8 bits.
    """
    pictures: list[list[np.ndarray]] = [[], []]
    framed = images.draw(chosen, [derived_seed(config.seed, n) for n in places])
    for image_u8, n in zip(framed, places, strict=True):
        rng = np.random.default_rng(derived_seed(config.seed, f"texture {n}"))
        image = image_u8.astype(np.float32) / 255
        for group, whole in zip(pictures, (image, fakes.draw(image, rng)), strict=True):
            y, x = rng.integers(config.size - config.crop + 1, size=2)
            part = whole[y : y + config.crop, x : x + config.crop] ** np.exp(0.2 * rng.standard_normal())
            group.append(np.rint(part * 255).astype(np.uint8))
    return to_model_range(np.stack(pictures[0] + pictures[1]))


def loss_terms(
    outputs: Mapping[str, torch.Tensor], known: Mapping[str, np.ndarray], findings: int
) -> dict[str, torch.Tensor]:
    """The mean loss of each head over what is ``known`` (NaN: unknown): "binary", "age" and "quality" by image.

    The first half of the patches in "artefact" is real, the second fake. A head of which nothing is known gives 0.
    """
    import torch
    from torch.nn import functional

    place = outputs["age"].device
    target = {name: torch.from_numpy(value).to(place) for name, value in known.items()}
    logits, binary = outputs["logits"], target["binary"]
    patches = outputs["artefact"]
    fake = (torch.arange(len(patches), device=place) >= len(patches) // 2).float()[:, None, None, None]
    years = torch.where(target["age"].isnan(), outputs["age"].detach(), target["age"])
    age = functional.smooth_l1_loss(outputs["age"] / 10, years / 10, reduction="sum")
    return {
        "findings": masked_cross_entropy(logits[:, :findings], binary[:, :findings]),
        **{
            name: masked_cross_entropy(logits[:, findings + i], binary[:, findings + i])
            for i, name in enumerate(("sex", "view", "child"))
        },
        "age": age / (~target["age"].isnan()).sum().clamp(min=1),
        "quality": masked_cross_entropy(outputs["quality"], target["quality"]),
        "artefact": functional.binary_cross_entropy_with_logits(patches, fake.expand_as(patches)),
    }


def validation_scores(network: JudgeNetwork, framed: Mapping[str, Shown], targets: Targets) -> dict[str, float]:
    """By framing (`Framings.all`): AUROC of held-out images (findings: their mean), and the mean error of the age in
    years; NaN where nothing is known."""
    values: dict[str, float] = {}
    for framing, shown in framed.items():
        scores = raw_scores(network, shown.pixels_u8)
        logits, binary = scores["logits"], targets.binary[shown.which]
        error = np.abs(scores["age"] - targets.age[shown.which])
        found = {
            "findings": mean_auroc(logits[:, :-3], binary[:, :-3]),
            **{name: auroc(logits[:, i], binary[:, i]) for i, name in ((-3, "sex"), (-2, "view"), (-1, "child"))},
            "age_error": float(np.nanmean(error)) if (~np.isnan(error)).any() else float("nan"),
        }
        values |= {f"{name} ({framing})": value for name, value in found.items()}
    return values
