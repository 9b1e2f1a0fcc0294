"""What preparing radiographs takes away: variance that components leave, and where the energy of latents lies.

The same images of the same patients before and after `gen data prepare`. Components are learnt from training patients
at 48 x 48 pixels, and their mean squared error is that of validation patients; grey levels are in [0, 1], exposure is
normalised on both sides. Latents are the whitened principal components of 8 x 8 patches.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from benchmarks import common

COMPONENTS = (0, 8, 32, 128, 512)
CHANNELS = 8
EXPOSURE = ("3rd percentile", "97th percentile", "place of the median between them")


@click.command(help=__doc__)
@common.data_option
@click.option(
    "--prepared", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, help="The prepared set."
)
@common.json_option
def main(data: Path, prepared: Path, json_file: Path | None) -> None:
    from gen.core.manifest import read_manifest

    after = common.read_splits(prepared)
    kept = {(row.patient_id, row.file.stem) for rows in after.values() for row in rows}
    before = {
        split: [row for row in rows if (row.patient_id, row.file.stem) in kept]
        for split, rows in common.read_splits(data).items()
    }
    total = len(read_manifest(data).rows)
    print(f"{len(kept)} of {total} images fit the frame\n")
    curves, energies = {}, {}
    for name, splits in (("raw", before), ("prepared", after)):
        pixels = {split: common.pixels_of(splits[split], 256) for split in ("train", "validation")}
        curves[name] = variance_left(*(small(pixels[split]) for split in ("train", "validation")))
        energies[name] = latent_energy(pixels["train"])
    header = ["components", *map(str, COMPONENTS)]
    rows = [[name, *(f"{value:.4f}" for value in curve)] for name, curve in curves.items()]
    rows.append(["removed", *(f"{1 - b / a:.0%}" for a, b in zip(*curves.values(), strict=True))])
    common.print_table(header, rows)
    print()
    named = [[name, *(f"{value:.3f}" for value in energy)] for name, energy in energies.items()]
    common.print_table(["energy of channels 2 to 8", "in the top 1 %", "in the outer four cells", "kurtosis"], named)
    print()
    exposures = [exposure(image) for image in common.pixels_of(before["train"], 256)]
    found = zip(EXPOSURE, np.mean(exposures, 0), np.std(exposures, 0), strict=True)
    spread = [[name, f"{mean:.3f}", f"{std:.3f}"] for name, mean, std in found]
    common.print_table(["exposure of raw training images", "mean", "standard deviation"], spread)
    common.save_json(json_file, {"variance": rows, "energy": named, "exposure": spread})


def exposure(pixels_u8: np.ndarray) -> tuple[float, float, float]:
    """EXPOSURE of one image (H, W), as `gen.data.clean.normalise_exposure` measures it."""
    from gen.data.clean import content_box

    image = pixels_u8 / np.float32(255)
    top, left, bottom, right = content_box(image)
    image = image[top:bottom, left:right]
    rows, columns = (slice(n // 8, n - n // 8) for n in image.shape)
    low, median, high = np.quantile(image[rows, columns], (0.03, 0.5, 0.97))
    return float(low), float(high), float((median - low) / max(high - low, 1e-3))


def small(pixels_u8: np.ndarray) -> np.ndarray:
    """uint8 (N, 256, 256) -> float32 (N, 48 * 48) of normalised exposure."""
    from gen.core.radiograph import resize
    from gen.data.clean import normalise_exposure

    images = (resize(image.astype(np.float32) / 255, 48) for image in pixels_u8)
    return np.stack([normalise_exposure(image).ravel() for image in images])


def variance_left(train: np.ndarray, held_out: np.ndarray) -> list[float]:
    """Mean squared error of ``held_out`` (N, D) after the first k principal components of ``train``, by COMPONENTS."""
    mean = train.mean(0)
    _, _, basis = np.linalg.svd(train - mean, full_matrices=False)
    rest = held_out - mean
    scores = rest @ basis.T
    whole = (rest**2).mean()
    return [float(whole - (scores[:, :k] ** 2).sum(1).mean() / rest.shape[1]) for k in COMPONENTS]


def latent_energy(pixels_u8: np.ndarray) -> tuple[float, float, float]:
    """Of whitened channels 2 to 8: energy in the largest 1 % of coefficients, in the outer ring, and the kurtosis."""
    from gen.model.training.latents import as_blocks, patch_pca

    basis, mean, std = patch_pca(pixels_u8[::6], 8, CHANNELS)
    blocks = as_blocks(pixels_u8.astype(np.float32) / 255, 8)
    latents = ((blocks.reshape(*blocks.shape[:3], 64) - mean) @ basis.T / std)[..., 1:]
    energy = latents**2
    largest = np.sort(energy, axis=None)[-energy.size // 100 :].sum() / energy.sum()
    outer = 1 - energy[:, 4:-4, 4:-4].sum() / energy.sum()
    flat = latents.reshape(-1, CHANNELS - 1)
    return float(largest), float(outer), float((flat**4).mean() / (flat**2).mean() ** 2)


if __name__ == "__main__":
    common.launch(main)
