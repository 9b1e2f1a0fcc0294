"""`gen train anatomy`: the command line of the anatomy network's training; all that is heavy comes later."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command("anatomy")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def train_anatomy(config: Path, overrides: tuple[str, ...]) -> None:
    """Train an anatomy network as CONFIG (a YAML file) says; KEY=VALUE overrides it.

    It learns from projections of CTs and phantoms, which are made first.
    """
    from augment.anatomy.config import AnatomyConfig
    from augment.anatomy.train import train_anatomy as train
    from gen.core.config import load_config

    click.echo(str(train(load_config(AnatomyConfig, config, overrides), sys.argv)))
