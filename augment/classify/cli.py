"""`gen classify`: training a classifier on real and synthetic radiographs; all that is heavy comes later."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.group()
def classify() -> None:
    """Train classifiers on real and synthetic radiographs. For research use only, not for clinical use."""


@classify.command("train")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def train(config: Path, overrides: tuple[str, ...]) -> None:
    """Train a classifier as CONFIG (a YAML file) says; KEY=VALUE overrides it. The same command resumes.

    What it writes is a folder of transformers that `gen describe --judge` and `gen evaluate --judge` take.
    """
    from augment.classify.config import ClassifierConfig
    from augment.classify.train import train_classifier
    from gen.core.config import load_config

    click.echo(str(train_classifier(load_config(ClassifierConfig, config, overrides), sys.argv)))
