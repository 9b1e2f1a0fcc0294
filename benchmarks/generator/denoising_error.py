"""What a denoiser gets wrong at each noise level, on images that it learnt from and on others.

Mean squared error of the clean latent, relative to its variance, from one pass with the true caption: 0 is perfect, 1
knows nothing but the mean. Training and validation patients apart, so that learning by heart shows; by channel, since
most of what is seen lies in the first. Test patients stay untouched.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from benchmarks import common
from gen.core.noise import standard_normal
from gen.core.run import derived_seed
from gen.data.loader import evenly

SIGMAS = (8.0, 4.0, 2.0, 1.0, 0.5, 0.23, 0.1)


@click.command(help=__doc__)
@common.model_option
@common.data_option
@click.option("-n", "--number", type=click.IntRange(2), default=64, show_default=True, help="Images of each split.")
@common.json_option
def main(model: Path | None, data: Path, number: int, json_file: Path | None) -> None:
    import torch

    from gen.data.loader import to_model_range
    from gen.data.texts import texts_of
    from gen.model.sampling.torch_backend import load_torch
    from gen.model.training.denoiser_network import tokenize
    from gen.model.training.latent_cache import encode_grey

    torch.set_grad_enabled(False)
    pipeline = load_torch(common.chosen_model(model), dtype="float32")
    alphas = pipeline.scheduler.alphas_cumprod.double()
    schedule = ((1 - alphas) / alphas).sqrt()
    rows = common.read_splits(data)
    found: dict[str, np.ndarray] = {}
    for split in ("train", "validation"):
        chosen = [rows[split][i] for i in evenly(np.arange(len(rows[split])), number)]
        clean = encode_grey(pipeline.vae, to_model_range(common.pixels_of(chosen, pipeline.configs.size)))
        tokens = tokenize(pipeline.tokenizer, texts_of(chosen, "study", 0, 0).fixed())
        states = pipeline.text_encoder(tokens)[0]
        variance = clean.var((0, 2, 3))
        errors = np.empty((len(SIGMAS), len(chosen), clean.shape[1]))
        for level, sigma in enumerate(SIGMAS):
            timestep = int((schedule - sigma).abs().argmin())
            alpha = float(alphas[timestep])
            for start in range(0, len(chosen), 16):
                part = slice(start, start + 16)
                seeds = [derived_seed(0, f"{split} {i}") for i in range(start, min(start + 16, len(chosen)))]
                noise = torch.from_numpy(np.stack([standard_normal(tuple(clean.shape[1:]), seed) for seed in seeds]))
                noisy = alpha**0.5 * clean[part] + (1 - alpha) ** 0.5 * noise
                predicted = pipeline.unet(noisy, timestep, states[part]).sample
                if pipeline.scheduler.config.prediction_type == "v_prediction":
                    guess = alpha**0.5 * noisy - (1 - alpha) ** 0.5 * predicted
                else:
                    guess = (noisy - (1 - alpha) ** 0.5 * predicted) / alpha**0.5
                errors[level, part] = (guess - clean[part]).square().mean((2, 3)).numpy()
        found[split] = errors
        found[f"{split} variance"] = variance.numpy()
    print(f"{pipeline.name}: error of the clean latent over its variance, {number} images a split")
    header = ["sigma", "train", "validation", "first channel, validation", "train over validation"]
    table = []
    for level, sigma in enumerate(SIGMAS):
        whole = [found[s][level].mean() / found[f"{s} variance"].mean() for s in ("train", "validation")]
        first = found["validation"][level, :, 0].mean() / found["validation variance"][0]
        table.append([f"{sigma:g}", *(f"{value:.4f}" for value in (*whole, first)), f"{whole[0] / whole[1]:.3f}"])
    common.print_table(header, table)
    common.save_json(json_file, {"columns": header, "rows": table})


if __name__ == "__main__":
    common.launch(main)
