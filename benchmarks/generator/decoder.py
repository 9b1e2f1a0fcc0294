"""How decoders do on true latents, on latents that the denoiser has made anew, and on whole samples.

For each autoencoder and held-out radiograph: PSNR, MS-SSIM and gradient energy ratio, from its true latents and from
latents noised to a moderate level and sampled down again; and for samples of the same captions the gradient energy over
the mean of the radiographs. The last column finds a fault: the power of the spectrum where a pattern that repeats with
the patches has its lines, over the power beside them; without one it is as in the radiographs. Validation patients;
test patients stay untouched.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from benchmarks import common
from benchmarks.generator.autoencoder import scores, write_crops
from gen.core.run import derived_seed
from gen.data.split import patient_of
from gen.statistics.intervals import mean_of_means

if TYPE_CHECKING:
    import torch

    from gen.model.sampling.torch_backend import TorchPipeline

BATCH = 4


def lattice(images: np.ndarray, patch: int) -> np.ndarray:
    """Power of ``images`` (N, side, side) on the lines of a pattern of period ``patch``, over that beside them, (N,).

    The lines lie at the multiples of 1 / ``patch`` on the two axes of the spectrum of the image under a Hann window;
    beside them means three to five places off.
    """
    side = images.shape[1]
    window = np.outer(np.hanning(side), np.hanning(side))
    power = np.abs(np.fft.fft2((images - images.mean((1, 2), keepdims=True)) * window)) ** 2
    ratios = []
    for line in range(side // patch, side // 2 + 1, side // patch):
        beside = [(line + off) % side for off in (-5, -4, -3, 3, 4, 5)]
        for spectrum in (power, power.transpose(0, 2, 1)):
            ratios.append(spectrum[:, line, :4].mean(1) / spectrum[:, beside, :4].mean((1, 2)))
    return np.exp(np.log(ratios).mean(0))


def gradient_energy(images: np.ndarray) -> np.ndarray:
    """Sum of the squared differences of neighbouring pixels of each of ``images`` (N, H, W), (N,)."""
    return np.square(np.diff(images, axis=1)).sum((1, 2)) + np.square(np.diff(images, axis=2)).sum((1, 2))


def decoded(vae: Any, latents: torch.Tensor, capabilities: Mapping[str, Any]) -> np.ndarray:
    """Images (N, side, side) in [0, 1] of raw ``latents``, with the noise that sampling adds, of seeds 0 to N - 1."""
    import torch

    from gen.model.sampling.settings import decoder_noise

    noise = np.stack([decoder_noise(capabilities, tuple(latents.shape[1:]), seed) for seed in range(len(latents))])
    latents = latents + torch.from_numpy(noise) / vae.config.scaling_factor
    with torch.no_grad():
        parts = [vae.decode(part).sample.clamp(-1, 1).mean(1) for part in latents.split(BATCH)]
    return ((torch.cat(parts) + 1) / 2).numpy()


def sampled(pipeline: TorchPipeline, captions: list[str]) -> torch.Tensor:
    """Raw latents of one sample a caption, with the settings that sampling has by default."""
    import torch

    from gen.model import DEFAULT_GUIDANCE
    from gen.model.sampling.settings import Settings
    from gen.model.sampling.torch_backend import sample_latents

    interval = (pipeline.capabilities or {}).get("guidance_interval")
    how = Settings(guidance=DEFAULT_GUIDANCE, guidance_interval=tuple(interval) if interval else None)
    groups = [range(start, min(start + BATCH, len(captions))) for start in range(0, len(captions), BATCH)]
    latents = [
        sample_latents(pipeline, [captions[k] for k in group], [derived_seed(0, k) for k in group], (), how)
        for group in groups
    ]
    return torch.cat(latents) / pipeline.vae.config.scaling_factor


@click.command(help=__doc__)
@click.argument("autoencoders", type=click.Path(path_type=Path), nargs=-1, required=True)
@common.model_option
@common.data_option
@click.option("-n", "--number", type=click.IntRange(2), default=64, show_default=True, help="Patients, an image each.")
@click.option("--figure", type=click.Path(path_type=Path), help="Crops at 100 % of three images, made anew, here.")
@common.json_option
def main(
    autoencoders: tuple[Path, ...],
    model: Path | None,
    data: Path,
    number: int,
    figure: Path | None,
    json_file: Path | None,
) -> None:
    import torch

    from gen.core.errors import BadInput
    from gen.data.loader import to_model_range
    from gen.data.texts import texts_of
    from gen.model.folder import decoder_noise_of, load_autoencoder, newest_model
    from gen.model.training.latent_cache import encode_grey
    from gen.model.training.latents import shrink_factor
    from gen.model.training.resampled import Resampling, load_resampler, resample, same_latents

    folder = newest_model(common.chosen_model(model))
    how, size = Resampling(model=str(folder)), common.model_size(folder)
    vaes = {str(path): load_autoencoder(path).eval() for path in autoencoders}
    drawn = {str(path): decoder_noise_of(path) for path in autoencoders}
    first, *others = vaes.values()
    pipeline = load_resampler(how, first, size, "cpu", "auto")
    for path, vae in zip(autoencoders[1:], others, strict=True):
        if not same_latents(first, vae):
            raise BadInput(f"{path} has other latents than {autoencoders[0]}")

    rows = common.one_image_a_patient(common.read_splits(data)["validation"], number)
    patients = [patient_of(row) for row in rows]
    pixels_u8 = common.pixels_of(rows, size)
    real = (pixels_u8 / 255).astype(np.float32)
    true = encode_grey(first, to_model_range(pixels_u8)) / first.config.scaling_factor
    anew = resample(pipeline, pixels_u8, rows, np.arange(len(rows)), how, 0, common.CACHE)
    latents = {
        "true latents": true,
        "made anew": true + torch.from_numpy(anew.errors.astype(np.float32)),
        "whole samples": sampled(pipeline, texts_of(rows, "study", 0, 0).fixed()),
    }
    table, results, pictures = [], {}, {"original": real[:3]}
    energy = gradient_energy(real)
    for name, vae in vaes.items():
        for kind, given in latents.items():
            images = decoded(vae, given, drawn[name])
            found = {"lattice": lattice(images, shrink_factor(vae))}
            if kind == "whole samples":
                found["gradient energy ratio"] = gradient_energy(images) / energy.mean()
            else:
                found |= scores(images, real)
            results[f"{name}, {kind}"] = {key: mean_of_means(values, patients) for key, values in found.items()}
            if kind == "made anew":
                pictures[name] = images[:3]
    columns = ["PSNR, dB", "MS-SSIM", "gradient energy ratio", "lattice"]
    for name, figures in results.items():
        table.append([name, *(figures[key].text() if key in figures else "" for key in columns)])
    interval = mean_of_means(lattice(real, shrink_factor(first)), patients)
    table.append(["radiographs", "", "", "1", interval.text()])
    print(f"{pipeline.name} ({pipeline.fingerprint}), {len(rows)} validation images, one a patient; mean [95 %]\n")
    common.print_table(["", *columns], table)
    common.save_json(json_file, {"images": len(rows), "model": pipeline.fingerprint, "results": results})
    if figure is not None:
        write_crops(figure, pictures)
        print(f"\ncrops at 100 %: {figure}")


if __name__ == "__main__":
    common.launch(main)
