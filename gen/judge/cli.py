"""`gen train judge` and `gen describe`: the command line of the judge; everything heavy is imported inside."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click


@click.command("judge")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def train_judge(config: Path, overrides: tuple[str, ...]) -> None:
    """Train a judge as CONFIG (a YAML file) says; KEY=VALUE overrides it."""
    from gen.core.config import load_config
    from gen.judge import train

    click.echo(str(train.train_judge(load_config(train.JudgeConfig, config, overrides), sys.argv)))


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE...")
@click.option(
    "--judge",
    "spec",
    default="",
    metavar="SPEC",
    help="A judge's folder, or another judge's spec [default: the bundled].",
)
@click.option(
    "--sure",
    type=click.FloatRange(0.5, 1),
    default=0.7,
    show_default=True,
    help="From when sex, view and age group are said.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cuda, cuda:N, mps or cpu.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object an image on stdout.")
@click.option("--quiet", is_flag=True, help="No remarks.")
def describe(images: tuple[Path, ...], spec: str, sure: float, device: str, as_json: bool, quiet: bool) -> None:
    """Say what a judge sees in each IMAGE (PNG, JPEG, DICOM), as a prompt with the probabilities behind it.

    A finding with a star is at or above its threshold and stands in the prompt. SPEC is a judge's folder, a folder of
    transformers (classifier or encoder), or xrv:NAME@FILE. For research use only, not for clinical use.
    """
    from gen.core.radiograph import read_radiograph
    from gen.judge.describe import ANATOMY, lines_of
    from gen.judge.describe import describe as say
    from gen.judge.plugins import open_judge, thresholds_of

    judge = open_judge(spec, device=device)
    thresholds = thresholds_of(judge)
    if not quiet:
        click.echo(f"judge {judge.name} ({judge.identity})", err=True)
    for path in images:
        [seen] = judge.look([read_radiograph(path).pixels])
        said = say(seen, thresholds, sure)
        if not quiet and said["quality"].get("anatomy", 1) < ANATOMY:
            click.echo(f"warning: {path} hardly looks like one whole, upright chest", err=True)
        if as_json:
            click.echo(json.dumps({"file": str(path), **said}, ensure_ascii=False))
        else:
            click.echo("\n".join([f"{path}: {lines_of(said)[0]}", *lines_of(said)[1:]]))
