"""What the benchmarks share: held-out radiographs, cached samples, intervals by patient, tables and options.

Intervals are 95 %; what is drawn anew for them are patients, never films, and single images where they are synthetic.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from gen.core.bundled import bundled_model
from gen.core.errors import GenError
from gen.core.files import write_json
from gen.core.manifest import Row, read_manifest
from gen.core.radiograph import Radiograph, read_radiograph, write_png
from gen.core.run import derived_seed
from gen.data.loader import pixel_cache, to_model_range
from gen.data.split import patient_of, split_rows
from gen.model import DEFAULT_GUIDANCE, DEFAULT_STEPS
from gen.model.folder import model_hash

WORK = Path("outputs/benchmarks")  # caches; git ignores it

model_option = click.option(
    "--model", type=click.Path(path_type=Path), help="Model folder [default: the bundled model]."
)
data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path(os.environ.get("CXR_DATA", "../shared/data")) / "cxr",
    show_default=True,
    help="Folder of real radiographs with metadata.csv.",
)
samples_option = click.option(
    "--samples",
    type=click.Path(path_type=Path),
    default=WORK / "samples",
    show_default=True,
    help="Where samples are kept; only what is missing is sampled.",
)
steps_option = click.option("--steps", type=click.IntRange(1), default=DEFAULT_STEPS, show_default=True)
guidance_option = click.option("--guidance", type=click.FloatRange(0), default=DEFAULT_GUIDANCE, show_default=True)
json_option = click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures here too.")


def figure_option(default: str) -> Callable[[Any], Any]:
    """The option ``--figure`` with its ``default`` file."""
    return click.option("--figure", type=click.Path(path_type=Path), default=Path(default), show_default=True)


def launch(command: click.Command) -> None:
    """Run ``command`` as a program; an error of ours is one line and its exit code."""
    try:
        command()
    except GenError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def chosen_model(model: Path | None) -> Path:
    """The folder of ``--model``, or the bundled one."""
    return model or bundled_model()


def read_splits(data: Path) -> dict[str, list[Row]]:
    """The rows of ``data`` that may be learnt from, by split; validation and test patients were never trained on."""
    return split_rows(read_manifest(data))


def one_film_a_patient(rows: Sequence[Row], count: int | None = None) -> list[Row]:
    """At most ``count`` rows of as many patients: patients and their films in the order of a hash, so never picked."""
    films: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: derived_seed(0, row.file_name)):
        films.setdefault(patient_of(row), row)
    return [films[patient] for patient in sorted(films, key=lambda patient: derived_seed(0, patient))][:count]


def levels_of(rows: Sequence[Row], size: int) -> np.ndarray:
    """The images of ``rows``, uint8 (N, size, size), read once and then from the cache."""
    return np.asarray(pixel_cache(rows, size, WORK / "cache"))


def model_size(model: Path) -> int:
    """Pixels a side that ``model`` was trained at."""
    from gen.core.files import read_json

    unet, vae = (read_json(model / part / "config.json") for part in ("unet", "vae"))
    channels = vae.get("block_out_channels") or vae["decoder_block_out_channels"]
    return int(unet["sample_size"] * 2 ** (len(channels) - 1))


def rebuild(vae: Any, levels: np.ndarray, batch_size: int = 4) -> np.ndarray:
    """``levels`` (N, H, W) uint8 through the autoencoder (the posterior's mean) and back, float32 in [0, 1]."""
    import torch

    from gen.model.latents import moments

    parts = []
    with torch.inference_mode():
        for start in range(0, len(levels), batch_size):
            images = to_model_range(levels[start : start + batch_size]).expand(-1, vae.config.in_channels, -1, -1)
            decoded = vae.decode(moments(vae, images)[0]).sample.mean(1)
            parts.append(((decoded + 1) / 2).clamp(0, 1).numpy())
    return np.concatenate(parts)


def cached_samples(
    folder: Path, model: Path, prompts: Sequence[str], seeds: Sequence[int], steps: int, guidance: float
) -> list[Radiograph]:
    """One 8-bit sample for each prompt and seed, read from ``folder``; those that are missing are made there first.

    A file's name is a hash of all that decides the image: an interrupted job goes on, and another model never mixes in.
    """
    from tqdm import tqdm

    from gen.model.pipeline import load_pipeline, sample

    identity = model_hash(model)

    def path_of(prompt: str, seed: int) -> Path:
        facts = repr((identity, prompt, seed, steps, float(guidance)))
        return folder / f"{hashlib.sha256(facts.encode()).hexdigest()[:16]}.png"

    wanted = [(path_of(prompt, seed), prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)]
    missing = [item for item in dict.fromkeys(wanted) if not item[0].exists()]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        pipeline = load_pipeline(model)
        texts, numbers = [item[1] for item in missing], [item[2] for item in missing]
        images = sample(pipeline, texts, numbers, steps=steps, guidance=guidance)
        for (path, _, _), image in zip(missing, tqdm(images, "sampling", len(missing), unit="image"), strict=True):
            write_png(path, image)
    return [read_radiograph(path) for path, _, _ in wanted]


def as_levels(radiographs: Sequence[Radiograph]) -> np.ndarray:
    """uint8 (N, H, W) of ``radiographs`` of one size."""
    return np.stack([np.rint(radiograph.pixels * 255).astype(np.uint8) for radiograph in radiographs])


def bootstrap_interval(
    units: Sequence[str], statistic: Callable[[np.ndarray], float], draws: int = 2000
) -> tuple[float, float]:
    """95 % percentile interval of ``statistic`` (of an array of indices) when whole ``units`` are drawn anew.

    ``units`` names the patient of each index (a synthetic image is its own). A draw whose statistic is NaN (one class
    only) does not count.
    """
    members: dict[str, list[int]] = {}
    for index, unit in enumerate(units):
        members.setdefault(unit, []).append(index)
    groups = [np.asarray(group) for group in members.values()]
    generator = np.random.default_rng(0)
    values = [
        statistic(np.concatenate([groups[i] for i in generator.integers(len(groups), size=len(groups))]))
        for _ in range(draws)
    ]
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return float(low), float(high)


def patient_mean(values: np.ndarray, patients: Sequence[str]) -> tuple[float, float, float]:
    """Mean over patients of each patient's mean, and its 95 % interval: (mean, low, high)."""
    sums: dict[str, list[float]] = {}
    for value, patient in zip(values, patients, strict=True):
        sums.setdefault(patient, []).append(float(value))
    means = np.asarray([np.mean(group) for group in sums.values()])
    low, high = bootstrap_interval(list(sums), lambda chosen: float(means[chosen].mean()))
    return float(means.mean()), low, high


def with_interval(triple: Sequence[float], digits: int) -> str:
    """(value, low, high) as "value [low, high]"."""
    value, low, high = (f"{number:.{digits}f}" for number in triple)
    return f"{value} [{low}, {high}]"


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A Markdown table on stdout."""
    cells = [list(header), *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    print("\n".join(lines), flush=True)


def save_json(path: Path | None, figures: Mapping[str, Any]) -> None:
    """Write ``figures`` where they are wanted."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, figures)
