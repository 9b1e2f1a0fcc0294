"""Make a model folder to ship: `bundle.py MODEL AUTOENCODER DATA CARD OUT`, weights in half precision.

MODEL is the model folder of a denoiser run, AUTOENCODER an autoencoder run (its encoder must be MODEL's own: only the
decoder may have learnt on), DATA the images that both learnt from, CARD the model's README.md, OUT a folder that does
not exist yet. The bundled judge's index of DATA's training images goes with it, so that copies are found without them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import click


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("autoencoder", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.argument("card", type=click.Path(path_type=Path))
@click.option("--guidance-interval", type=float, nargs=2, help="Noise levels between which guidance acts.")
@click.option(
    "--decoder-noise-share",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help="Of the noise that AUTOENCODER learnt to draw from, how much sampling adds.",
)
@click.argument("out", type=click.Path(path_type=Path))
def bundle(
    model: Path,
    autoencoder: Path,
    data: Path,
    card: Path,
    out: Path,
    guidance_interval: tuple[float, float] | None,
    decoder_noise_share: float,
) -> None:
    """Assemble MODEL's denoiser and AUTOENCODER into OUT, in half precision."""
    from gen.core.errors import GenError

    try:
        assemble(model, autoencoder, data, card, out, guidance_interval, decoder_noise_share)
    except GenError as error:
        raise click.ClickException(str(error)) from error
    weights = sum(path.stat().st_size for path in out.rglob("*.safetensors"))
    click.echo(f"{out}: {weights / 1e6:.2f} MB of weights")


def assemble(
    model: Path,
    autoencoder: Path,
    data: Path,
    card: Path,
    out: Path,
    guidance_interval: tuple[float, float] | None = None,
    decoder_noise_share: float = 1.0,
) -> None:
    """Write OUT. Raises BadInput for a file or folder that is not there, and for an encoder that is not MODEL's own."""
    import torch

    from gen.core.errors import BadInput
    from gen.core.files import read_json, staged_folder
    from gen.core.manifest import read_manifest
    from gen.data.split import split_rows
    from gen.judge.judge import load_judge
    from gen.judge.reference import REFERENCE, build_reference, write_reference
    from gen.model.capabilities import CAPABILITIES
    from gen.model.folder import decoder_noise_of, load_autoencoder
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
    told = read_json(model / CAPABILITIES)
    told.pop("decoder_noise", None)  # of the decoder that is replaced
    # What the bundled model makes may be learnt from, as all that it learnt from itself.
    shown = {**told, "weights_may_learn": True}
    for key, spread in decoder_noise_of(autoencoder).items():
        shown[key] = [round(decoder_noise_share * each, 6) for each in spread]
    if guidance_interval is not None:
        if "distilled" in shown:
            raise BadInput(f"{model} was distilled and samples without guidance", hint="leave out --guidance-interval")
        shown["guidance_interval"] = list(guidance_interval)
    splits = split_rows(read_manifest(data))
    reference = build_reference(load_judge(), splits["train"], [*splits["validation"], *splits["test"]])
    fixtures = Fixtures(vae, pipeline.tokenizer, pipeline.scheduler, shown)
    with staged_folder(out) as stage:
        write_model_folder(stage, Denoiser(pipeline.unet, pipeline.text_encoder), fixtures, torch.float16)
        write_reference(stage / REFERENCE, reference)
        shutil.copy(card, stage / "README.md")


if __name__ == "__main__":
    bundle()
