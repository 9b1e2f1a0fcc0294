"""Who is learnt from and who is validated on, with the pairs of each: what both trainings begin with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from augment.suppress.config import PairsConfig
from augment.suppress.examples import Example, region, whole_image
from augment.suppress.measures import detail_loss, psnr, signed_residual
from augment.suppress.pairs import PHANTOM, Patient, digest_of_names, make_pairs, patients_of
from gen.core.errors import BadInput
from gen.core.run import Run, derived_seed
from gen.data.loader import evenly
from gen.model.training.session import Session

Split = Mapping[str, Sequence[Patient]]  # "train" and "validation"


def split_patients(config: PairsConfig) -> Split:
    """The patients of ``config``; BadInput where one that it names is not there, or nobody is left for a part."""
    patients = patients_of(None if config.data is None else Path(config.data), config.phantoms, config.seed)
    named = {
        key: [name for name in getattr(config, key) if config.data is not None or name.startswith(PHANTOM)]
        for key in ("leave_out", "validation")
    }
    for key, names in named.items():
        if unknown := [name for name in names if name not in [patient.key for patient in patients]]:
            hint = f"there are {', '.join(patient.key for patient in patients)}"
            raise BadInput(f"{key} names {unknown[0]}, which is not there", hint=hint)
    patients = [patient for patient in patients if patient.key not in named["leave_out"]]
    keys = [patient.key for patient in patients]
    drawn = sorted(keys, key=lambda key: derived_seed(config.seed, key))
    held_out = named["validation"] or drawn[: max(1, len(keys) // 8)]
    split = {
        "train": [patient for patient in patients if patient.key not in held_out],
        "validation": [patient for patient in patients if patient.key in held_out],
    }
    for name, group in split.items():
        if not group:
            raise BadInput(f"there is no patient for {name}", hint="more phantoms, or other names in validation")
    return split


def keys_of(split: Split) -> dict[str, str]:
    """The patients of each part, for the record of a run."""
    return {name: ";".join(patient.key for patient in group) for name, group in split.items()}


@contextmanager
def open_with_pairs(
    training: Session, split: Split, config: PairsConfig, command: Sequence[str]
) -> Iterator[tuple[Run, dict[str, list[Path]]]]:
    """Hold the run folder of ``training``, with the pairs of each part, which the main process renders once."""
    with training.open(command, **keys_of(split)) as run:
        with training.accelerator.main_process_first():
            pairs = render_split(split, run.folder / "pairs", config)
        run.log(event="pairs", digest=digest_of_names(pairs["train"]), count=len(pairs["train"]))
        yield run, pairs


def render_split(split: Split, folder: Path, config: PairsConfig) -> dict[str, list[Path]]:
    """The pairs of each part in ``folder``, made where they are missing."""
    from tqdm import tqdm

    how: dict[str, int] = {"scenes": config.scenes, "poses": config.poses, "size": config.detector, "seed": config.seed}
    return {
        name: [
            path
            for patient in tqdm(group, desc=f"rendering pairs ({name})", unit="patient", leave=False)
            for path in make_pairs(patient, folder, **how)
        ]
        for name, group in split.items()
    }


def held_out_examples(paths: Sequence[Path], count: int, seed: int) -> list[Example]:
    """At most ``count`` whole images of the validation patients, with the same grey levels each time."""
    chosen = evenly(np.arange(len(paths)), count)
    return [
        whole_image(np.load(paths[i]), np.random.default_rng(derived_seed(seed, f"validation {i}"))) for i in chosen
    ]


def validation_scores(find_bone: Callable[[np.ndarray], np.ndarray], held_out: Sequence[Example]) -> dict[str, float]:
    """Means over whole images: PSNR in the lungs, residuals where bone lies over them, detail lost where none does."""
    rows = []
    for example in held_out:
        soft, predicted = example.display - example.bone, example.display - find_bone(example.display)
        lungs, ribs, free = (region(example.regions, name) for name in ("lungs", "bone", "free"))
        residual = signed_residual(predicted, soft, example.bone, ribs)
        rows.append((psnr(predicted, soft, lungs), residual, abs(residual), detail_loss(predicted, soft, free)))
    names = ("psnr", "residual", "residual_size", "detail_loss")
    return dict(zip(names, np.nanmean(rows, axis=0).tolist(), strict=True))


def report_scores(
    training: Session, find_bone: Callable[[np.ndarray], np.ndarray], held_out: Sequence[Example]
) -> None:
    """Log and print the `validation_scores` of the averaged weights, which ``find_bone`` reads."""
    with training.averaged():
        values = validation_scores(find_bone, held_out)
    training.log("validation", **values)
    said = ", ".join(f"{key.replace('_', ' ')} {value:.3f}" for key, value in values.items())
    training.print(f"{training.images} images: {said}")
