"""Where samples stand between unseen patients' images and known damage, in the figures of `gen evaluate`.

The samples' prompts are the captions of the very test images that they are compared with, one image a patient. The
floor is other unseen patients (validation) at the same N; the ladder is those same images, blurred or with noise added.
Real images were JPEG files once, at twice the pixels, and the samples were not: nothing here tells that apart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks import common
from gen.core.run import derived_seed
from gen.evaluate.extractors import embed
from gen.evaluate.fidelity import kid
from gen.statistics.intervals import mean_of

EXTRACTORS = ("random", "texture", "layout")  # which no training and no gate of ours has seen


def gradient_energy(pixels_u8: np.ndarray) -> np.ndarray:
    """Mean square of the forward differences of each image in [0, 1], (N, H, W) uint8 -> (N,)."""
    image = np.asarray(pixels_u8, np.float32) / 255
    return np.square(np.diff(image, axis=1)).mean((1, 2)) + np.square(np.diff(image, axis=2)).mean((1, 2))


def ladder(pixels_u8: np.ndarray) -> dict[str, np.ndarray]:
    """Known damage of rising strength, as uint8 (N, H, W): a distance that does not climb with it measures nothing."""
    from scipy.ndimage import gaussian_filter

    image = np.asarray(pixels_u8, np.float32)
    noise = np.random.default_rng(0).standard_normal(image.shape, dtype=np.float32)
    rungs = {f"blurred, {sigma} px": gaussian_filter(image, (0, sigma, sigma)) for sigma in (0.5, 1, 2)}
    rungs |= {f"noise, {100 * part:g} %": image + 255 * part * noise for part in (0.01, 0.03, 0.1)}
    return {name: np.rint(rung).clip(0, 255).astype(np.uint8) for name, rung in rungs.items()}


@click.command(help=__doc__)
@common.model_option
@common.data_option
@common.samples_option
@click.option(
    "-n", "count", type=click.IntRange(8), default=128, show_default=True, help="Images, and patients, a set."
)
@common.steps_option
@common.guidance_option
@common.json_option
def main(
    model: Path | None, data: Path, samples: Path, count: int, steps: int, guidance: float, json_file: Path | None
) -> None:
    from gen.judge.fakes import reconstruct
    from gen.model.folder import model_hash

    folder = common.chosen_model(model)
    size = common.model_size(folder)
    rows = {split: common.one_image_a_patient(of_split) for split, of_split in common.read_splits(data).items()}
    count = min(count, *(len(of_split) for of_split in rows.values()))
    test, other, training = (
        common.pixels_of(of[:count], size) for of in (rows["test"], rows["validation"], rows["train"])
    )
    prompts = common.prompts_of(rows["test"][:count])
    seeds = [derived_seed(0, k) for k in range(count)]
    sets = {
        "real, test patients": test,
        "synthetic": common.as_u8(common.cached_samples(samples, folder, prompts, seeds, steps, guidance)),
        "real, other unseen patients (floor)": other,
        "real, training patients": training,
        "floor, through the autoencoder": reconstruct(folder, other),
        **{f"floor, {name}": rung for name, rung in ladder(other).items()},
    }
    units, energy = [str(k) for k in range(count)], gradient_energy(test).mean()
    wanted = {spec: embed(test, spec, common.CACHE) for spec in EXTRACTORS}
    found: dict[str, dict[str, Any]] = {}
    for name, images in sets.items():
        distances = {f"KID, {s}": kid(wanted[s], units, embed(images, s, common.CACHE), units) for s in EXTRACTORS}
        sharpness = mean_of(gradient_energy(images) / energy, units)
        found[name] = {**(distances if images is not test else {}), "gradient energy / test": sharpness}
    print(f"model {folder.name} ({model_hash(folder)}), {steps} steps, guidance {guidance:g}, {size} × {size}")
    print(f"KID to {count} test images of {count} patients, and sharpness; N = {count} each [95 %]\n")
    columns = list(found["synthetic"])
    common.print_table(
        ["", *columns], [[name, *(of[c].text() if c in of else "" for c in columns)] for name, of in found.items()]
    )
    settings = {"model": model_hash(folder), "n": count, "steps": steps, "guidance": guidance, "size": size}
    common.save_json(json_file, {**settings, "sets": found})


if __name__ == "__main__":
    common.launch(main)
