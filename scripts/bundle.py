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
    from gen.core.errors import GenError

    try:
        assemble(model, autoencoder, card, out)
    except GenError as error:
        raise click.ClickException(str(error)) from error
    weights = sum(path.stat().st_size for path in out.rglob("*.safetensors"))
    click.echo(f"{out}: {weights / 1e6:.2f} MB of weights")


def assemble(model: Path, autoencoder: Path, card: Path, out: Path) -> None:
    """Write OUT. Raises BadInput for a file or folder that is not there, and for an encoder that is not MODEL's own."""
    import torch

    from gen.core.errors import BadInput
    from gen.core.files import read_json, staged_folder
    from gen.model.capabilities import CAPABILITIES
    from gen.model.folder import load_autoencoder
    from gen.model.sampling.torch_backend import load_torch
    from gen.model.training.denoiser_network import Denoiser
    from gen.model.training.export import Fixtures, write_model_folder

    pipeline = load_torch(model, device="cpu", dtype="float32", attention="sdpa")
    vae = load_autoencoder(autoencoder)
    theirs, mine = vae.encoder.state_dict(), pipeline.vae.encoder.state_dict()
    if {name: value.shape for name, value in theirs.items()} != {name: value.shape for name, value in mine.items()}:
        raise BadInput(
            f"{autoencoder} has an encoder of another kind ({type(vae).__name__}) than {model} "
            f"({type(pipeline.vae).__name__}), whose denoiser was trained on other latents"
        )
    for name, value in theirs.items():
        if not torch.allclose(value, mine[name], atol=1e-6):
            raise BadInput(f"the encoders differ in {name}: the denoiser was trained on other latents")
    if not card.is_file():
        raise BadInput(f"{card} is not a file", hint="name the model's README.md")
    # What the bundled model makes may be learnt from, as all that it learnt from itself.
    shown = {**read_json(model / CAPABILITIES), "weights_may_learn": True}
    fixtures = Fixtures(vae, pipeline.tokenizer, pipeline.scheduler, shown)
    with staged_folder(out) as stage:
        write_model_folder(stage, Denoiser(pipeline.unet, pipeline.text_encoder), fixtures, torch.float16)
        shutil.copy(card, stage / "README.md")


if __name__ == "__main__":
    bundle()
