"""What the benchmarks share: held-out radiographs, cached samples, clocks, tables and options.

Each benchmark is a module that runs alone, from the root of the repository: `python -m benchmarks.SUBJECT.NAME`.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from gen.core.bundled import bundled_model
from gen.core.errors import GenError
from gen.core.files import write_json
from gen.core.manifest import Row, read_manifest
from gen.core.markdown import table
from gen.core.radiograph import Radiograph, write_png
from gen.core.run import derived_seed
from gen.data.loader import pixel_cache
from gen.data.rows import study_of
from gen.data.split import patient_of, split_rows
from gen.evaluate.evaluation import plain
from gen.images.reader import read_radiograph
from gen.language.render import render
from gen.model import DEFAULT_GUIDANCE, DEFAULT_STEPS
from gen.model.folder import model_hash

WORK = Path("outputs/benchmarks")  # caches; git ignores it
CACHE = WORK / "evaluation"  # of pixels and embeddings

model_option = click.option(
    "--model", type=click.Path(path_type=Path), help="Model folder [default: the bundled model]."
)
DATA = Path(os.environ.get("CXR_DATA", "../shared/data"))
data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=DATA / "cxr",
    show_default=True,
    help="Folder of real radiographs with metadata.csv.",
)
cts_option = click.option(
    "--cts", type=click.Path(path_type=Path), default=DATA / "ct", show_default=True, help="Folder of the CTs."
)
ct_option = click.option(
    "--ct", type=click.Path(path_type=Path), default=DATA / "ct" / "lidc-idri-0314.nii.gz", show_default=True
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


def processor() -> str:
    """The processor's name, model number and matrix units as Linux gives them, and the cores that are ours."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    facts = dict(re.findall(r"^([a-z ]+?)\s*: (.*)$", text.split("\n\n")[0], re.MULTILINE))
    units = [unit for unit in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if unit in facts.get("flags", "").split()]
    name = (
        f"{facts.get('model name', 'unknown processor')}, family {facts.get('cpu family')}, model {facts.get('model')}"
    )
    return f"{name}, {' '.join(units)}, {len(os.sched_getaffinity(0))} cores"


def alternate(sides: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds that each of ``sides`` takes, ``repeats`` times, in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, work in sides.items():
            seconds[name].append(timed(work)[0])
    return seconds


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that ``work`` takes, and what it gave."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def chosen_model(model: Path | None) -> Path:
    """The folder of ``--model``, or the bundled one."""
    return model or bundled_model()


def read_splits(data: Path) -> dict[str, list[Row]]:
    """The rows of ``data`` that may be learnt from, by split; validation and test patients were never trained on."""
    return split_rows(read_manifest(data))


def one_image_a_patient(rows: Sequence[Row], count: int | None = None) -> list[Row]:
    """At most ``count`` rows of as many patients: patients and their images in the order of a hash, so never picked."""
    images: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: derived_seed(0, row.file_name)):
        images.setdefault(patient_of(row), row)
    return [images[patient] for patient in sorted(images, key=lambda patient: derived_seed(0, patient))][:count]


def pixels_of(rows: Sequence[Row], size: int) -> np.ndarray:
    """The images of ``rows``, uint8 (N, size, size), read once and then from the cache."""
    return np.asarray(pixel_cache(rows, size, WORK / "cache"))


def model_size(model: Path) -> int:
    """Pixels a side that ``model`` was trained at."""
    from gen.core.files import read_json

    unet, vae = (read_json(model / part / "config.json") for part in ("unet", "vae"))
    channels = vae.get("block_out_channels") or vae["decoder_block_out_channels"]
    return int(unet["sample_size"] * 2 ** (len(channels) - 1))


def cached_samples(
    folder: Path,
    model: Path,
    prompts: Sequence[str],
    seeds: Sequence[int],
    steps: int,
    guidance: float,
    interval: tuple[float, float] | None = None,
) -> list[Radiograph]:
    """One 8-bit sample for each prompt and seed, read from ``folder``; those that are missing are made there first.

    A file's name is a hash of all that decides the image: an interrupted job goes on, and another model never mixes in.
    """
    from tqdm import tqdm

    from gen.model.sampling.pipeline import load_pipeline, sample

    fingerprint = model_hash(model)

    def path_of(prompt: str, seed: int) -> Path:
        facts = repr((fingerprint, prompt, seed, steps, float(guidance), *([interval] if interval else [])))
        return folder / f"{hashlib.sha256(facts.encode()).hexdigest()[:16]}.png"

    wanted = [(path_of(prompt, seed), prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)]
    missing = [item for item in dict.fromkeys(wanted) if not item[0].exists()]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        pipeline = load_pipeline(model, backend="auto")
        texts, numbers = [item[1] for item in missing], [item[2] for item in missing]
        images = sample(pipeline, texts, numbers, steps=steps, guidance=guidance, guidance_interval=interval)
        for (path, _, _), image in zip(missing, tqdm(images, "sampling", len(missing), unit="image"), strict=True):
            write_png(path, image)
    return [read_radiograph(path) for path, _, _ in wanted]


def prompts_of(rows: Sequence[Row]) -> list[str]:
    """The canonical prompt of each of ``rows``, without words on its look: a model adds those that it samples with."""
    return [render(study_of(row)) for row in rows]


def as_u8(radiographs: Sequence[Radiograph]) -> np.ndarray:
    """uint8 (N, H, W) of ``radiographs`` of one size."""
    return np.stack([np.rint(radiograph.pixels * 255).astype(np.uint8) for radiograph in radiographs])


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table."""
    print(table(header, [[str(cell) for cell in row] for row in rows]), flush=True)


def save_json(path: Path | None, figures: Mapping[str, Any]) -> None:
    """Write ``figures``, `Figure` and all, where they are wanted."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, plain(figures))
