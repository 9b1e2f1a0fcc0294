"""Training the judge: `gen train judge CONFIG`. One visible loop; what it shares is in `gen.model.training.session`.

Each image is seen twice in a step: as it is, and once more, damaged in a way that the quality heads should notice and,
where the chest is still there, the others should not. Beside it the texture branch compares crops of images with crops
of fakes. Image, movement, damage and crop n are functions of (seed, n), so that a killed run continues exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gen.core.errors import BadInput
from gen.core.manifest import read_manifest
from gen.core.run import derived_seed
from gen.data.loader import Augmentation, augment, pixel_cache, to_model_range
from gen.data.split import data_digest, order_of, split_rows
from gen.judge.config import JudgeConfig
from gen.judge.degrade import degrade, draw_kind
from gen.judge.fakes import Fakes, fake_sources_of
from gen.judge.finish import finish
from gen.judge.folder import write_network
from gen.judge.labels import Targets, judged_findings, targets_of, without_sources
from gen.judge.network import QUALITIES, JudgeNetwork, contrast, patch_side, raw_scores
from gen.model.cpu import memory_format
from gen.model.device import describe_device
from gen.model.training import session
from gen.model.training.losses import ema_decay
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

    # Whatever the config can be refused for comes first: a run folder that exists keeps its config for good.
    session.require_positive(config, "images", "batch_size", "learning_rate", "cooldown", "size", "crop")
    session.require_positive(config, "checkpoint_every", "validate_every", "contrast_temperature", "least_images")
    session.require_not_negative(config, "warmup", "images_per_patient", "weight_decay", "age_weight")
    session.require_not_negative(config, "contrast_weight", "reconstructions")
    session.require_share(config, "cooldown")
    session.require_share(config, "ema", below_one=True)
    if not patch_side(config.shape.texture) <= config.crop <= config.size:
        raise BadInput(f"crop is {config.crop}", hint=f"use {patch_side(config.shape.texture)} to {config.size} pixels")
    rows = without_sources(split_rows(read_manifest(config.data)), config.leave_out)
    findings = judged_findings(rows["train"], config.complete, config.least_images)
    targets = {split: targets_of(rows[split], findings, config.complete) for split in ("train", "validation")}
    accelerator = session.make_accelerator(config.out, config.device, config.dtype, 1)
    torch.manual_seed(config.seed)
    with session.refused_by_the_library("the judge"):
        bare: Any = JudgeNetwork(config.shape, findings)

    sources = fake_sources_of(config.generator, config.samples)
    data = data_digest({split: rows[split] for split in ("train", "validation")})
    with session.open_shared_run(accelerator, config.out, config, command, data=data, **sources.inputs()) as run:
        with accelerator.main_process_first():  # it fills the cache
            cache = run.folder / "cache"
            pixels = {split: pixel_cache(rows[split], config.size, cache) for split in ("train", "validation")}
            fakes = sources.arrays(pixels["train"], config.reconstructions, "train", config.size, cache)
        layout = memory_format(bare, accelerator.device)
        bare.to(accelerator.device, memory_format=layout)
        average = session.Ema(bare)
        optimizer = torch.optim.AdamW(
            bare.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
        )
        modules: dict[str, torch.nn.Module] = {"judge": bare}
        optimizers: dict[str, torch.optim.Optimizer] = {"judge": optimizer}
        before, skipped = session.newest_checkpoint(run.folder)
        images = session.load_checkpoint(before, modules, {"judge": average}, optimizers)
        model, optimizer = accelerator.prepare(bare, optimizer)
        order = order_of(rows["train"], config.seed, config.images_per_patient)
        numbers = {patient: i for i, patient in enumerate(dict.fromkeys(order.patients))}
        batch = config.batch_size * accelerator.num_processes
        bar, say = session.progress(accelerator, images, config.images)
        for line in skipped:
            say(line)
        precision = torch.bfloat16 if accelerator.mixed_precision == "bf16" else torch.float32
        say(describe_device(accelerator.device, precision, "none"))
        say(f"{sum(p.numel() for p in bare.parameters()) / 1e6:.2f} M weights, heads for {len(findings)} findings")

        while True:
            # Report and save come first, with the state "after `images` images", so that resume and end are one path.
            done = images >= config.images
            if accelerator.is_main_process and (done or images % config.validate_every < batch):
                with average.applied(bare):
                    values = validation_scores(bare, pixels["validation"], targets["validation"])
                run.log(event="validation", images=images, **values)
                accelerator.log({f"validation/{key}": value for key, value in values.items()}, step=images)
                say(f"{images} images: " + ", ".join(f"{key} {value:.3f}" for key, value in values.items()))
            if accelerator.is_main_process and images and (done or images % config.checkpoint_every < batch):

                def export(stage: Path) -> None:
                    with average.applied(bare):
                        write_network(stage / "network", bare, config.size)

                session.save_checkpoint(run, images, modules, {"judge": average}, optimizers, export)
            accelerator.wait_for_everyone()
            if done:
                break

            rate = session.learning_rate(images, config.learning_rate, config.warmup, config.images, config.cooldown)
            for group in optimizer.param_groups:
                group["lr"] = rate
            first = images + accelerator.process_index * config.batch_size
            places = range(first, first + config.batch_size)
            chosen = [order.index(n) for n in places]
            views, quality, same = two_views(pixels["train"][chosen], places, config.seed, config.augmentation)
            crops = texture_crops(pixels["train"], chosen, places, config, fakes)
            count = len(chosen)
            outputs = model(views.to(accelerator.device, memory_format=layout), crops.to(accelerator.device))
            known = {
                "binary": np.concatenate([targets["train"].binary[chosen]] * 2),
                "age": np.concatenate([targets["train"].age[chosen]] * 2),
                "quality": quality,
            }
            for name in ("binary", "age"):  # of a shuffled chest nobody can say whose it is
                known[name][count:][~same] = np.nan
            terms = loss_terms(outputs, known, len(findings))
            patients = torch.tensor([numbers[order.patients[i]] for i in chosen], device=accelerator.device)
            kept = torch.from_numpy(np.flatnonzero(same)).to(accelerator.device)
            pairs = outputs["embedding"][:count][kept], outputs["embedding"][count:][kept]
            terms["contrast"] = contrast(*pairs, patients[kept], config.contrast_temperature)
            weights = {"findings": FINDING_WEIGHT, "quality": QUALITY_WEIGHT}
            weights |= {"age": config.age_weight, "contrast": config.contrast_weight}
            loss = sum((weights.get(name, 1.0) * term for name, term in terms.items()), torch.zeros(()))
            session.require_finite(loss, [str(rows["train"][i].file) for i in chosen], images)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(bare.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            images += batch
            bar.update(batch)
            average.update(bare, ema_decay(images // batch, config.ema))
            if images % (20 * batch) < batch:
                shown = {name: float(term.detach()) for name, term in terms.items()}
                run.log(event="train", images=images, learning_rate=rate, **shown)
                accelerator.log({f"train/{name}": value for name, value in shown.items()}, step=images)
                bar.set_postfix(loss=f"{float(loss.detach()):.3f}")
        bar.close()
        accelerator.end_training()
        return finish(run.folder, images, config)


def two_views(
    pixels_u8: np.ndarray, places: Sequence[int], seed: int, how: Augmentation
) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Each image of uint8 ``pixels_u8`` (n, H, W) moved, and moved another way and damaged: (2 n, 1, H, W) in [-1, 1].

    With it the targets of QUALITIES, float32 (2 n, 3), and whether view n + i still shows image i, bool (n,).
    ``places`` are the images' places in the run, which with ``seed`` decide everything.
    """
    import torch

    images = to_model_range(pixels_u8)
    clean, moved = (augment(images, [derived_seed(seed, n, attempt) for n in places], how) for attempt in (0, 1))
    quality = np.ones((2 * len(pixels_u8), len(QUALITIES)), np.float32)
    same = np.ones(len(pixels_u8), bool)
    damaged = []
    for i, n in enumerate(places):
        rng = np.random.default_rng(derived_seed(seed, f"damage {n}"))
        result = degrade((moved[i, 0].numpy() + 1) / 2, rng, draw_kind(rng))
        damaged.append(torch.from_numpy(result.image * 2 - 1)[None])
        quality[len(pixels_u8) + i], same[i] = result.quality, result.same_image
    return torch.cat([clean, torch.stack(damaged)]), quality, same


def texture_crops(
    pixels_u8: np.ndarray, chosen: Sequence[int], places: Sequence[int], config: JudgeConfig, fakes: Fakes
) -> torch.Tensor:
    """Crops of the ``chosen`` images as they are, then of as many fakes: (2 n, 1, crop, crop) in [-1, 1].

    Real and fake ones pass the same change of gamma and the same rounding to 8 bits.
    """
    pictures: list[list[np.ndarray]] = [[], []]
    for i, n in zip(chosen, places, strict=True):
        rng = np.random.default_rng(derived_seed(config.seed, f"texture {n}"))
        image = pixels_u8[i].astype(np.float32) / 255
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


def masked_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy over the entries whose target is not NaN; 0, with a gradient of 0, where none is."""
    from torch.nn import functional

    known = ~targets.isnan()
    each = functional.binary_cross_entropy_with_logits(logits, targets.nan_to_num(), reduction="none")
    return (each * known).sum() / known.sum().clamp(min=1)


def validation_scores(network: JudgeNetwork, pixels_u8: np.ndarray, targets: Targets) -> dict[str, float]:
    """AUROC of held-out images (findings: their mean), and the mean error of the age in years; NaN where nothing is
    known."""
    scores = raw_scores(network, pixels_u8)
    logits, binary = scores["logits"], targets.binary
    error = np.abs(scores["age"] - targets.age)
    return {
        "findings": mean_auroc(logits[:, :-3], binary[:, :-3]),
        **{name: auroc(logits[:, i], binary[:, i]) for i, name in ((-3, "sex"), (-2, "view"), (-1, "child"))},
        "age_error": float(np.nanmean(error)) if (~np.isnan(error)).any() else float("nan"),
    }
