"""`gen classify`: training a classifier on real and synthetic radiographs; all that is heavy comes later."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.group()
def classify() -> None:
    """Train classifiers on real and synthetic radiographs, and tell whether these help.

    For research use only, not for clinical use.
    """


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


@classify.command("compare")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def compare(config: Path, overrides: tuple[str, ...]) -> None:
    """Train the arms that CONFIG (a YAML file) names, and report whether synthetic images help.

    All arms of one seed start from the same weights and see the same number of images. The same command goes on where
    it was stopped. The report is report.html, with the same numbers in report.json; table.csv grows as arms end.
    """
    import shlex
    import time

    from augment.classify.arms import CompareConfig
    from augment.classify.compare import compare as run_arms
    from augment.classify.report import results_of, to_html
    from gen import __version__
    from gen.core.config import load_config
    from gen.core.files import write_json, write_text

    wanted = load_config(CompareConfig, config, overrides)
    compared = run_arms(wanted, sys.argv)
    made = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "version": f"cxr-gen {__version__}, Python {sys.version.split()[0]}",
        # Names alone: a report travels.
        "command": shlex.join(["gen", "classify", "compare", config.name]),
    }
    results = results_of(compared, made)
    paths = [Path(wanted.out) / name for name in ("report.html", "report.json")]
    write_text(paths[0], to_html(results))
    write_json(paths[1], results)
    for line in results["verdict"]:
        click.echo(line, err=True)
    click.echo("\n".join(map(str, paths)))
