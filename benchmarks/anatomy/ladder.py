"""Does the anatomy gauge do its work: it shall keep still for blur and noise, and fall where a chest is broken.

Real held-out radiographs, one image a patient, fall into halves A and B. Each rung is half B, as it is or damaged,
measured against half A as `gen evaluate` does. Blur and noise break no chest; shuffled quadrants, a strong warp and a
lung painted over do. A gain on the autoencoder's fine latent channels adds contrast and no anatomy, and must not help,
neither on real images nor on the model's own samples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

from benchmarks import common
from gen.anatomy.folder import Anatomy, load_anatomy
from gen.anatomy.reading import Reading, read_anatomy
from gen.core.run import derived_seed
from gen.data.split import patient_of
from gen.evaluate.anatomy import AnatomyFigures, Measured, compare_anatomy, measured_of

GAIN = 1.6  # of all latent channels but the first, which holds the level
BLUR, NOISE = 1.0, 0.03  # standard deviations: pixels of 256 a side, and parts of the range
WARP = (12.0, 14.0)  # pixels: standard deviation of the displacement, and how smooth it is
SHARES = ("accepted", "two_lungs", "one_heart", "ratio", "lung_symmetry", "ribs", "whole")

Damage = Callable[[np.ndarray], np.ndarray]  # uint8 (N, H, W) to the same


def blurred(pixels_u8: np.ndarray) -> np.ndarray:
    """A Gaussian blur of BLUR pixels."""
    from scipy.ndimage import gaussian_filter

    return _as_u8(gaussian_filter(pixels_u8.astype(np.float32), (0, BLUR, BLUR)))


def noisy(pixels_u8: np.ndarray) -> np.ndarray:
    """White noise of NOISE of the range."""
    noise = np.random.default_rng(0).standard_normal(pixels_u8.shape, dtype=np.float32)
    return _as_u8(pixels_u8 + 255 * NOISE * noise)


def quartered(pixels_u8: np.ndarray) -> np.ndarray:
    """The four quadrants, each where the next one clockwise was."""
    upper, lower = np.split(pixels_u8, 2, axis=1)
    (a, b), (c, d) = np.split(upper, 2, axis=2), np.split(lower, 2, axis=2)
    return np.concatenate([np.concatenate([b, d], 2), np.concatenate([a, c], 2)], 1)


def warped(pixels_u8: np.ndarray) -> np.ndarray:
    """A smooth random displacement, far beyond what bodies differ by."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    size, smooth = WARP
    made = []
    for k, image in enumerate(pixels_u8):
        noise = np.random.default_rng(derived_seed(0, k)).standard_normal((2, *image.shape))
        field = gaussian_filter(noise, (0, smooth, smooth))
        places = np.indices(image.shape) + size * field / field.std()
        made.append(map_coordinates(image.astype(np.float32), places, order=1, mode="nearest"))
    return _as_u8(np.stack(made))


def one_lunged(pixels_u8: np.ndarray) -> np.ndarray:
    """The right part of the picture, where the left lung is, painted over with the grey of the mediastinum."""
    height, width = pixels_u8.shape[1:]
    middle = pixels_u8[:, height // 3 : 2 * height // 3, 9 * width // 20 : 11 * width // 20].mean((1, 2))
    share = np.clip((np.arange(width) - 0.55 * width) / (0.05 * width), 0, 1)
    return _as_u8(pixels_u8 * (1 - share) + middle[:, None, None] * share)


def through_autoencoder(model: Path, gain: float) -> Damage:
    """Through the autoencoder of ``model`` and back, its fine latent channels times ``gain``."""

    def call(pixels_u8: np.ndarray) -> np.ndarray:
        import torch
        from tqdm import tqdm

        from gen.data.loader import to_model_range
        from gen.model.folder import load_autoencoder
        from gen.model.training.latents import moments

        vae = load_autoencoder(model).eval()
        parts = []
        with torch.inference_mode():
            for start in tqdm(range(0, len(pixels_u8), 4), desc=f"autoencoder, gain {gain:g}", leave=False):
                images = to_model_range(np.array(pixels_u8[start : start + 4]))
                latents = moments(vae, images.expand(-1, vae.config.in_channels, -1, -1))[0].clone()
                level = latents.mean((2, 3), keepdim=True)
                latents[:, 1:] = (level + gain * (latents - level))[:, 1:]
                parts.append(_as_u8(255 * (vae.decode(latents).sample.mean(1).numpy() + 1) / 2))
        return np.concatenate(parts)

    return call


def of_images(anatomy: Anatomy, pixels_u8: np.ndarray) -> list[Reading]:
    """The readings, with a progress bar, without the probabilities, which would fill the memory."""
    from tqdm import tqdm

    none = np.zeros((0, 0, 0), np.float32)
    readings = tqdm(read_anatomy(anatomy, pixels_u8), total=len(pixels_u8), leave=False, unit="image")
    return [dataclasses.replace(reading, probabilities=none) for reading in readings]


def _as_u8(values: np.ndarray) -> np.ndarray:
    return np.rint(values).clip(0, 255).astype(np.uint8)


def _row(name: str, found: AnatomyFigures) -> list[object]:
    shares = [f"{100 * getattr(found.synthetic, key).value:.0f}" for key in SHARES[:-1]]
    whole = found.synthetic.whole
    return [
        name,
        *shares,
        f"{100 * whole.value:.0f} [{100 * whole.low:.0f}, {100 * whole.high:.0f}]",
        found.distance.text(2),
        found.floor.text(2),
        found.n,
        whole.n,
    ]


@click.command(help=__doc__)
@click.option("--network", type=click.Path(path_type=Path), help="An anatomy network's folder [default: the bundled].")
@common.model_option
@common.data_option
@common.samples_option
@click.option("-n", "count", type=click.IntRange(64), default=500, show_default=True, help="Real images, at most.")
@click.option("--made", type=click.IntRange(0), default=128, show_default=True, help="Samples of the model; 0: none.")
@common.steps_option
@common.guidance_option
@common.json_option
def main(
    network: Path | None,
    model: Path | None,
    data: Path,
    samples: Path,
    count: int,
    made: int,
    steps: int,
    guidance: float,
    json_file: Path | None,
) -> None:
    from gen.model.folder import model_hash

    anatomy, folder = load_anatomy(network), common.chosen_model(model)
    splits = common.read_splits(data)
    rows = common.one_image_a_patient([*splits["validation"], *splits["test"]], count)
    pixels = common.pixels_of(rows, 256)
    half = len(rows) // 2
    units = [patient_of(row) for row in rows]

    def measured(pixels_u8: np.ndarray, names: list[str]) -> Measured:
        return measured_of([(each.measurements, each.refused) for each in of_images(anatomy, pixels_u8)], names)

    real, other = measured(pixels[:half], units[:half]), pixels[half:]
    rungs: dict[str, Damage] = {
        "real half": lambda images: images,
        f"blurred, {BLUR:g} px": blurred,
        f"noise, {NOISE:.0%}": noisy,
        "through the autoencoder": through_autoencoder(folder, 1.0),
        f"the same, gain {GAIN}": through_autoencoder(folder, GAIN),
        "quadrants shuffled": quartered,
        f"warped by {WARP[0]:g} px": warped,
        "one lung painted over": one_lunged,
    }
    found = {name: compare_anatomy(real, measured(change(other), units[half:]), "") for name, change in rungs.items()}
    if made:
        test = common.one_image_a_patient(splits["test"], made)
        prompts, seeds = common.prompts_of(test), [derived_seed(0, k) for k in range(len(test))]
        own = common.as_u8(common.cached_samples(samples, folder, prompts, seeds, steps, guidance))
        names = [str(k) for k in range(len(own))]
        for name, images in (
            (f"samples of {folder.name}", own),
            (f"these samples, gain {GAIN}", through_autoencoder(folder, GAIN)(own)),
        ):
            found[name] = compare_anatomy(real, measured(images, names), "")
    print(f"network {anatomy.name} ({anatomy.fingerprint}), model {folder.name} ({model_hash(folder)})")
    print(f"against {half} real images of as many patients; % of images, [95 %]\n")
    header = ["", *(key.replace("_", " ") for key in SHARES), "Fréchet", "floor", "n", "N"]
    common.print_table(header, [_row(name, each) for name, each in found.items()])

    common.save_json(json_file, {"ladder": found})


if __name__ == "__main__":
    common.launch(main)
