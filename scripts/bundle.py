"""Make a model folder to ship: `bundle.py MODEL AUTOENCODER CARD OUT`, weights in half precision, digests last.

MODEL is the model folder of a denoiser run, AUTOENCODER an autoencoder run (its encoder must be MODEL's own: only the
decoder may have learnt on), CARD the model's README.md, OUT a folder that does not exist yet.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import click


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("autoencoder", type=click.Path(path_type=Path))
@click.argument("card", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def bundle(model: Path, autoencoder: Path, card: Path, out: Path) -> None:
    """Assemble MODEL's denoiser and AUTOENCODER into OUT, in half precision."""
    import torch

    from gen.core.files import staged_folder
    from gen.model.denoiser import Denoiser
    from gen.model.export import Fixtures, write_model_folder
    from gen.model.folder import load_autoencoder, read_json
    from gen.model.pipeline import load_pipeline

    pipeline = load_pipeline(model, device="cpu", dtype="float32", attention="sdpa")
    vae = load_autoencoder(autoencoder)
    for (name, value), mine in zip(
        vae.encoder.state_dict().items(), pipeline.vae.encoder.state_dict().values(), strict=True
    ):
        if not torch.allclose(value, mine, atol=1e-6):
            raise click.ClickException(f"the encoders differ in {name}: the denoiser was trained on other latents")
    fixtures = Fixtures(vae, pipeline.tokenizer, pipeline.scheduler, read_json(model / "capabilities.json"))
    with staged_folder(out) as stage:
        write_model_folder(stage, Denoiser(pipeline.unet, pipeline.text_encoder), fixtures, torch.float16)
        shutil.copy(card, stage / "README.md")
    weights = sum(path.stat().st_size for path in out.rglob("*.safetensors"))
    click.echo(f"{out}: {weights / 1e6:.2f} MB of weights")


if __name__ == "__main__":
    bundle()
