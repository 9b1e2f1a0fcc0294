"""The finishing of a training into a judge's folder: half precision, calibration, reference index, figures, card."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gen.core.files import keep_whole, staged_folder, write_json, write_text
from gen.core.manifest import read_manifest
from gen.core.run import derived_seed
from gen.data.loader import evenly, pixel_cache
from gen.data.split import patient_of, split_rows
from gen.judge.calibrate import CALIBRATION, Calibration, fit_calibration, write_calibration
from gen.judge.card import write_card
from gen.judge.degrade import degrade, draw_kind
from gen.judge.fakes import FakeSources, fake_sources_of, reconstruct
from gen.judge.familiar import FAMILIAR, fit_familiar, soundness_of, write_familiar
from gen.judge.folder import read_network, write_network
from gen.judge.framings import Shown, framings_of, prepared_rows
from gen.judge.judge import FIGURES, Judge, load_judge
from gen.judge.labels import Targets, targets_of, without_sources
from gen.judge.measure import artefact_figures, copy_figures, framing_figures, patient_figures, quality_figures
from gen.judge.network import JudgeNetwork, raw_scores
from gen.judge.reference import REFERENCE, build_reference, write_reference
from gen.model.folder import CARD

if TYPE_CHECKING:
    from gen.core.manifest import Row
    from gen.judge.config import JudgeConfig

JUDGE_FOLDER = "judge"
PLANTED = 200  # training images, at most, whose copies are planted
REBUILT = 100  # held-out images, at most, that go through the autoencoder to calibrate and to measure


def finish(run: Path, images: int, config: JudgeConfig) -> Path:
    """Write the judge's folder ``run``/judge from the checkpoint after ``images`` images; one that is whole stays.

    BadInput for data that cannot be used, GenError where the disk is full.
    """
    folder = run / JUDGE_FOLDER
    if keep_whole(folder):
        return folder
    rows = split_rows(read_manifest(config.data))
    learnt = without_sources(rows, config.leave_out)
    prepared = prepared_rows(config.prepared, learnt["train"])
    sources = fake_sources_of(config.generator, config.samples, config.prepared is not None)
    known = framings_of(learnt["validation"], prepared["validation"], config.size, run / "cache").together()
    trained, _ = read_network(run / "checkpoints" / f"images-{images:09d}" / "network")
    with staged_folder(folder) as stage:
        write_network(stage, trained, config.size, torch.float16)
        network, _ = read_network(stage)  # what is measured is what is shipped
        calibration = _calibration(network, known, learnt["validation"], sources, config, run / "cache")
        write_calibration(stage / CALIBRATION, calibration)
        judge = load_judge(stage, device="cpu")
        held_out = [*rows["validation"], *rows["test"]]
        reference = build_reference(judge, rows["train"], held_out)
        write_reference(stage / REFERENCE, reference)
        patients = known.of([patient_of(row) for row in learnt["validation"]])
        familiar = fit_familiar(judge.read(known.pixels_u8), soundness_of(known.pixels_u8), patients, reference)
        write_familiar(stage / FAMILIAR, familiar)
        judge = load_judge(stage, device="cpu")
        figures = _figures(judge, rows, prepared, sources, config, run / "cache")
        write_json(stage / FIGURES, _plain(figures))
        write_text(stage / CARD, write_card(judge, figures, learnt["train"], config, images))
    return folder


def _calibration(
    network: JudgeNetwork, known: Shown, rows: list[Row], sources: FakeSources, config: JudgeConfig, cache: Path
) -> Calibration:
    """Fit it on ``known``, which shows the images of ``rows`` in all their framings."""
    every = targets_of(rows, network.findings, config.complete)
    targets = Targets(every.binary[known.which], every.age[known.which])
    drawn_from = sources.arrays(pixel_cache(rows, config.size, cache), REBUILT, "validation", config.size, cache)
    damaged, quality, fakes = [], [], []
    for i, image in enumerate(known.pixels_u8):
        rng = np.random.default_rng(derived_seed(0, f"calibration {i}"))
        grey = image.astype(np.float32) / 255
        result = degrade(grey, rng, draw_kind(rng))
        damaged.append(_as_u8(result.image))
        quality.append(result.quality)
        fakes.append(_as_u8(drawn_from.draw(grey, rng)))
    clean, bad, fake = (raw_scores(network, np.asarray(images)) for images in (known.pixels_u8, damaged, fakes))
    return fit_calibration(
        clean,
        targets,
        np.concatenate([clean["quality"], bad["quality"]]),
        np.concatenate([np.ones_like(clean["quality"]), np.stack(quality)]),
        np.concatenate([clean["artefact"], fake["artefact"]]),
        np.repeat([0.0, 1.0], len(known.pixels_u8)),
        network.findings,
    )


def _figures(
    judge: Judge,
    rows: dict[str, list[Row]],
    prepared: dict[str, list[Row]],
    sources: FakeSources,
    config: JudgeConfig,
    cache: Path,
) -> dict[str, Any]:
    """Measure what the card and the reports say of ``judge``; of the test split, or without one of validation."""
    split = "test" if rows["test"] else "validation"
    held_out = rows[split]
    framings = framings_of(held_out, prepared[split], config.size, cache)
    pixels_u8 = framings.images
    patients = [patient_of(row) for row in held_out]
    targets = targets_of(held_out, judge.findings, config.complete)
    fakes: dict[str, Any] = {"autoencoder": reconstruct(sources.generator, evenly(pixels_u8, REBUILT))}
    if sources.samples[split]:
        fakes["generator"] = pixel_cache(sources.samples[split], config.size, cache)
    ages = targets_of(rows["train"], (), config.complete).age
    numbers = evenly(np.arange(len(rows["train"])), PLANTED)
    planted = pixel_cache([rows["train"][i] for i in numbers], config.size, cache)
    grey = list(pixels_u8.astype(np.float32) / 255)
    median_age = float(np.nanmedian(ages)) if (~np.isnan(ages)).any() else float("nan")
    assert judge.reference is not None
    return {
        "split": split,
        "films": len(held_out),
        "patients": len(set(patients)),
        **patient_figures(judge.read(pixels_u8), targets, held_out, median_age),
        "framings": framing_figures(judge.read, framings.all(), targets, patients),
        "quality": quality_figures(judge, grey, patients),
        "artefact": artefact_figures(judge, grey, patients, fakes),
        "copies": copy_figures(judge, judge.reference, list(planted.astype(np.float32) / 255), numbers.tolist()),
    }


def _as_u8(image: np.ndarray) -> np.ndarray:
    """float [0, 1] rounded to 8 bits."""
    return np.rint(image * 255).astype(np.uint8)


def _plain(value: Any) -> Any:
    """Figures for JSON, which has no NaN."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
