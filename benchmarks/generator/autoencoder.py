"""How well the model's autoencoder rebuilds held-out radiographs, beside the linear patch PCA of equal channels.

PSNR, MS-SSIM and gradient energy ratio, each the mean over test patients with its 95 % interval; and crops at 100 %.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from benchmarks import common
from gen.core.radiograph import Radiograph
from gen.data.sources import NIH
from gen.data.split import patient_of
from gen.evaluate.diversity import ms_ssim
from gen.judge.fakes import reconstruct
from gen.statistics.intervals import mean_of_means

# Upper left corners of the crops, as parts of the side (row, column).
REGIONS = {"apex": (0.06, 0.12), "hilum": (0.28, 0.28), "heart": (0.42, 0.48), "angle": (0.50, 0.02)}
CROP = 0.5  # of the side


def scores(output: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
    """PSNR in dB, MS-SSIM (on 8 bits) and gradient energy ratio of each image, (N, H, W) in [0, 1] -> (N,)."""
    import torch

    from gen.model.training.losses import gradient_energy_ratio, psnr

    a, b = (torch.from_numpy(images)[:, None] for images in (output, target))
    return {
        "PSNR, dB": psnr(a, b, 1.0).numpy(),
        "MS-SSIM": ms_ssim(*(np.rint(images * 255).astype(np.uint8) for images in (output, target))),
        "gradient energy ratio": gradient_energy_ratio(a, b).numpy(),
    }


def write_crops(path: Path, pictures: dict[str, np.ndarray]) -> None:
    """Crops at 100 % of each region: the versions (N, H, W) in [0, 1] of one image side by side, images downwards."""
    from gen.model.sampling.contact_sheet import write_contact_sheet

    side = next(iter(pictures.values())).shape[1]
    crops, captions = [], []
    for image in range(len(next(iter(pictures.values())))):
        for region, (top, left) in REGIONS.items():
            row, column, width = int(top * side), int(left * side), int(CROP * side)
            for version, images in pictures.items():
                pixels = images[image, row : row + width, column : column + width]
                crops.append(Radiograph(pixels, None, {"synthetic": "no"}))
                captions.append(f"{region}, {version}")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_contact_sheet(path, crops, captions, columns=2 * len(pictures))


@click.command(help=__doc__)
@common.model_option
@common.data_option
@click.option(
    "--size", type=click.IntRange(176), help="Pixels a side [default: the model's; needed with a run folder]."
)
@click.option("--shown", type=click.IntRange(1), default=3, show_default=True, help="NIH patients in the picture.")
@common.figure_option(str(common.WORK / "autoencoder_crops.png"))
@common.json_option
def main(model: Path | None, data: Path, size: int | None, shown: int, figure: Path, json_file: Path | None) -> None:
    from gen.model.folder import load_autoencoder
    from gen.model.training.latents import linear_rebuild, patch_pca, shrink_factor

    folder = common.chosen_model(model)
    size, splits = size or common.model_size(folder), common.read_splits(data)
    vae = load_autoencoder(folder)
    channels, patch = int(vae.config.latent_channels), shrink_factor(vae)
    learnt = common.pixels_of(common.one_image_a_patient(splits["train"], 512), size)
    basis, mean, _ = patch_pca(learnt, patch, channels)

    test = splits["test"]
    patients = [patient_of(row) for row in test]
    pixels_u8 = common.pixels_of(test, size)
    real = (pixels_u8 / 255).astype(np.float32)
    pca_name = f"PCA of {patch} × {patch} blocks, {channels} channels"
    measured = {
        pca_name: scores(linear_rebuild(pixels_u8, basis, mean), real),
        f"autoencoder, {channels} channels": scores((reconstruct(folder, pixels_u8) / 255).astype(np.float32), real),
    }
    first, second = measured.values()
    measured["difference, paired"] = {key: second[key] - first[key] for key in first}
    results = {
        name: {key: mean_of_means(values, patients) for key, values in each.items()} for name, each in measured.items()
    }
    print(f"{len(test)} test images of {len(set(patients))} patients at {size} × {size}; mean over patients [95 %]\n")
    rows = [[name, *(figure.text() for figure in each.values())] for name, each in results.items()]
    common.print_table(["", *first], rows)
    common.save_json(json_file, {"images": len(test), "patients": len(set(patients)), "size": size, "results": results})

    pictured = common.pixels_of(
        common.one_image_a_patient([row for row in splits["test"] if row.source == NIH], shown), size
    )
    versions = {
        "original": (pictured / 255).astype(np.float32),
        "PCA": linear_rebuild(pictured, basis, mean),
        "autoencoder": (reconstruct(folder, pictured) / 255).astype(np.float32),
    }
    write_crops(figure, versions)
    print(f"\ncrops at 100 % of {len(pictured)} NIH test patients: {figure}")


if __name__ == "__main__":
    common.launch(main)
