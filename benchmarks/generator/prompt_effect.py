"""Does the prompt matter? Pairs of the same seed with one fact changed, as a picture and in numbers.

How far two images of one seed differ, beside how far two seeds differ; and whether small classifiers, trained on real
NIH images only (so that no source can stand in for a label), tell the two prompts apart as they tell held-out patients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks import common
from gen.core.manifest import Row
from gen.core.run import derived_seed
from gen.core.terms import ADULT_FROM_YEARS
from gen.data.sources import NIH
from gen.data.split import patient_of
from gen.evaluate.extractors import block_mean
from gen.statistics.intervals import Figure, bootstrap
from gen.statistics.scores import auroc

CHANGED = 0.05  # of full scale: a pixel that differs by more has changed
COMPONENTS, PENALTY = 60, 0.01  # chosen by cross-validation over the training patients
NORMAL = "45 year old male. PA view. No acute cardiopulmonary abnormality."


@dataclass(frozen=True)
class Contrast:
    """Two prompts that differ in one fact, and that fact as a label of a real image (None: the image does not say)."""

    name: str
    present: str
    absent: str
    label: Callable[[Row], bool | None]


def _finding(name: str) -> Callable[[Row], bool | None]:
    return lambda row: name in row.findings


CONTRASTS = (
    Contrast(
        "effusion",
        "45 year old male. PA view. Pleural effusion.",
        "45 year old male. PA view. No pleural effusion.",
        _finding("Pleural Effusion"),
    ),
    Contrast("female", NORMAL.replace("male", "female"), NORMAL, lambda row: row.sex == "F" if row.sex else None),
    Contrast("AP view", NORMAL.replace("PA", "AP"), NORMAL, lambda row: row.view != "PA" if row.view else None),
    Contrast(
        "child", NORMAL.replace("45", "10"), NORMAL, lambda row: None if row.age is None else row.age < ADULT_FROM_YEARS
    ),
    Contrast("cardiomegaly", "45 year old male. PA view. Cardiomegaly.", NORMAL, _finding("Cardiomegaly")),
)


def features(pixels_u8: np.ndarray) -> np.ndarray:
    """(N, S, S) uint8 -> (N, 32 * 32): pixel means with mean 0 and spread 1 in each image, so exposure says nothing."""
    pixels = block_mean(np.asarray(pixels_u8, np.float32), 32).reshape(len(pixels_u8), -1)
    return (pixels - pixels.mean(1, keepdims=True)) / (pixels.std(1, keepdims=True) + 1e-6)


def fit_classifier(pixels_u8: np.ndarray, labels: np.ndarray) -> Any:
    """Logistic regression, classes weighted equally, on principal components of `features`."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    steps = PCA(COMPONENTS, whiten=True, random_state=0), LogisticRegression(C=PENALTY, class_weight="balanced")
    return make_pipeline(*steps).fit(features(pixels_u8), labels)


def by_units(labels: np.ndarray, scores: np.ndarray, units: Sequence[str]) -> Figure:
    """AUROC of ``scores`` for ``labels`` bool (N,), with its interval over ``units``."""
    return bootstrap(units, lambda chosen: auroc(scores[chosen], labels[chosen].astype(float)), draws=500)


def differences(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Share of pixels changed, and mean absolute difference in 0..1, of (N, H, W) uint8 pairs."""
    gap = np.abs(first.astype(np.float32) - second) / 255
    return float((gap > CHANGED).mean()), float(gap.mean())


@click.command(help=__doc__)
@common.model_option
@common.data_option
@common.samples_option
@click.option("-n", "count", type=click.IntRange(4), default=40, show_default=True, help="Seeds, for the numbers.")
@click.option("--shown", type=click.IntRange(1), default=4, show_default=True, help="Seeds in the picture.")
@common.steps_option
@common.guidance_option
@common.figure_option("docs/prompt_effect.png")
@common.json_option
def main(
    model: Path | None,
    data: Path,
    samples: Path,
    count: int,
    shown: int,
    steps: int,
    guidance: float,
    figure: Path,
    json_file: Path | None,
) -> None:
    from gen.model.folder import model_hash
    from gen.model.sampling.contact_sheet import write_contact_sheet

    folder = common.chosen_model(model)
    size, splits = common.model_size(folder), common.read_splits(data)
    nih = {split: [row for row in rows if row.source == NIH] for split, rows in splits.items()}
    unseen = nih["validation"] + nih["test"]
    train_levels, unseen_levels = common.pixels_of(nih["train"], size), common.pixels_of(unseen, size)
    seeds = [derived_seed(0, k) for k in range(count)]
    prompts = list(dict.fromkeys(prompt for contrast in CONTRASTS for prompt in (contrast.present, contrast.absent)))
    # All prompts of one seed before the next seed, so that an interrupted job has whole pairs.
    repeated = [seed for seed in seeds for _ in prompts]
    made = common.cached_samples(samples, folder, prompts * count, repeated, steps, guidance)
    images = {prompt: made[i :: len(prompts)] for i, prompt in enumerate(prompts)}

    pictures, captions = [], []
    for contrast in CONTRASTS:
        for k in range(min(shown, count)):
            pictures += [images[contrast.present][k], images[contrast.absent][k]]
            captions += [f"seed {k}: {contrast.present}", f"seed {k}: {contrast.absent}"]
    figure.parent.mkdir(parents=True, exist_ok=True)
    write_contact_sheet(figure, pictures, captions, columns=2 * min(shown, count))

    table, results = [], {}
    for contrast in CONTRASTS:
        present, absent = common.as_u8(images[contrast.present]), common.as_u8(images[contrast.absent])
        pair, seeds_apart = differences(present, absent), differences(absent, np.roll(absent, 1, axis=0))
        known = [(i, contrast.label(row)) for i, row in enumerate(nih["train"]) if contrast.label(row) is not None]
        classifier = fit_classifier(train_levels[[i for i, _ in known]], np.asarray([label for _, label in known]))
        held = [(i, contrast.label(row)) for i, row in enumerate(unseen) if contrast.label(row) is not None]
        truth = np.asarray([label for _, label in held])
        scores = classifier.decision_function(features(unseen_levels[[i for i, _ in held]]))
        real = by_units(truth, scores, [patient_of(unseen[i]) for i, _ in held])
        both = classifier.decision_function(features(np.concatenate([present, absent])))
        asked = np.repeat([True, False], count)
        # Each image is a unit: whole pairs drawn twice would meet themselves, which shifts the interval off its value.
        synthetic = by_units(asked, both, [str(k) for k in range(2 * count)])
        right = int((both[:count] > both[count:]).sum())
        n_real = f"{int(truth.sum())} / {int((~truth).sum())}"
        table.append(
            [
                contrast.name,
                *(f"{value:.3f} / {other:.3f}" for value, other in zip(pair, seeds_apart, strict=True)),
                real.text(2),
                n_real,
                synthetic.text(2),
                f"{right} / {count}",
            ]
        )
        results[contrast.name] = {
            "pixels_changed": {"prompt": pair[0], "seed": seeds_apart[0]},
            "mean_difference": {"prompt": pair[1], "seed": seeds_apart[1]},
            "auroc_real": real,
            "films_real": n_real,
            "auroc_synthetic": synthetic,
            "pairs_right": right,
        }
    print(f"model {folder.name} ({model_hash(folder)}), {steps} steps, guidance {guidance:g}, {count} seeds")
    print(f"NIH only: {len(nih['train'])} training images; {len(unseen)} held-out images (validation and test)\n")
    header = [
        "fact changed",
        f"pixels changed by > {CHANGED:g}: prompt / seed",
        "mean difference: prompt / seed",
        "AUROC, held-out real [95 %]",
        "images with / without",
        f"AUROC, prompted with against without, {count} each [95 %]",
        "pairs the right way round",
    ]
    common.print_table(header, table)
    print(f"\npicture: {figure}")
    common.save_json(
        json_file, {"model": model_hash(folder), "n": count, "steps": steps, "guidance": guidance, **results}
    )


if __name__ == "__main__":
    common.launch(main)
