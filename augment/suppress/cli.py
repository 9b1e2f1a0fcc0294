"""`gen suppress`, `gen train suppress` and `gen train suppress-latent`: the command line.

All that is heavy is imported by the command that needs it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from gen.core.errors import BadInput, GenError


@click.command("suppress")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def train_suppress(config: Path, overrides: tuple[str, ...]) -> None:
    """Train bone suppression as CONFIG (a YAML file) says; KEY=VALUE overrides it."""
    from augment.suppress.config import SuppressConfig
    from augment.suppress.train import train_suppress as train
    from gen.core.config import load_config

    click.echo(str(train(load_config(SuppressConfig, config, overrides), sys.argv)))


@click.command("suppress-latent")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def train_suppress_latent(config: Path, overrides: tuple[str, ...]) -> None:
    """Train bone suppression by latent diffusion as CONFIG (a YAML file) says; KEY=VALUE overrides it."""
    from augment.suppress.config import LatentConfig
    from augment.suppress.train_latent import train_latent
    from gen.core.config import load_config

    click.echo(str(train_latent(load_config(LatentConfig, config, overrides), sys.argv)))


@click.command()
@click.argument("images", nargs=-1, type=click.Path(path_type=Path), metavar="[IMAGE|FOLDER]...")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write to; the same command goes on there.")
@click.option("--bone", is_flag=True, help="Write the bone, too: soft tissue and bone add up to the image.")
@click.option(
    "--strength",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    help="Share of the bone that is taken away.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["png", "dicom"]),
    default="png",
    show_default=True,
    help="PNG of 8 or 16 bits as the image has, or DICOM derived from a DICOM image.",
)
@click.option("--no-check", is_flag=True, help="Take any picture, also one that hardly is a frontal chest.")
@click.option("--model", type=click.Path(path_type=Path), help="Folder of a bone suppression [default: the bundled].")
@click.option("--device", default="auto", show_default=True, help="auto, cuda, cuda:N, mps or cpu.")
@click.option(
    "--evaluate",
    "pairs",
    type=click.Path(path_type=Path),
    metavar="PAIRS",
    help="Measure on a data set of gen drr --pairs --masks auto instead; with --out, a copy of the model's folder goes "
    "there, whose card tells the figures.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object an image on stdout, or one of all figures.")
@click.option("--quiet", is_flag=True, help="No progress bar, no remarks.")
def suppress(
    images: tuple[Path, ...],
    out: Path | None,
    format_: str,
    no_check: bool,
    model: Path | None,
    device: str,
    pairs: Path | None,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Take the bone out of each IMAGE (PNG, JPEG, DICOM of any size), or of those in a FOLDER.

    A network that has learnt from projections of CTs finds what bone adds to each pixel; the rest is the soft tissue.
    It is an estimate: something may be left, and something taken that was no bone. The originals are never touched.
    For research use only, not for clinical use.
    """
    if pairs is not None:
        if images:
            raise BadInput("--evaluate takes no images", hint="name the pairs alone")
        _evaluate(pairs, model, out, device, as_json, quiet)
        return
    if not images or out is None:
        raise BadInput("no image was given" if not images else "--out is missing", hint="gen suppress IMAGE --out DIR")
    from augment.suppress.job import Job, run_job

    def print_image(line: Mapping[str, Any]) -> None:
        soft = next(iter(line["files"]))
        click.echo(json.dumps(line, ensure_ascii=False) if as_json else str(out / soft))

    job = Job(format=format_, check=not no_check, **options)
    done = run_job(job, images, out, model, device=device, command=sys.argv, on_image=print_image, quiet=quiet)
    if not quiet:
        click.echo(f"{done.images} image(s) in {out}, as estimated by a network; not for clinical use", err=True)
    if done.failures:
        for line in done.failures:
            click.echo(f"failed: {line}", err=True)
        raise GenError(f"{len(done.failures)} image(s) were left out, as listed above; {done.images} were made")


def _evaluate(pairs: Path, model: Path | None, out: Path | None, device: str, as_json: bool, quiet: bool) -> None:
    from tqdm import tqdm

    from augment.suppress.evaluate import evaluate, methods_of
    from augment.suppress.finish import require_figures, write_measured
    from augment.suppress.folder import load_suppressor
    from augment.suppress.scores import table_of
    from gen.core.bundled import bundled_suppressor
    from gen.model.device import pick_device

    model = model or bundled_suppressor()
    if out is not None:
        require_figures(model, out)
    with tqdm(unit="image", disable=quiet, leave=False) as bar:
        scores = evaluate(pairs, methods_of(load_suppressor(model, pick_device(device))), bar.update)
    if out is not None:
        write_measured(out, model, scores, pairs)
    click.echo(json.dumps(scores.as_dict()["methods"]) if as_json else table_of(scores))
