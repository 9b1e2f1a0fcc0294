"""Dice on the bodies that the config holds out, as rendered and as films of random tone; the speed of the network."""

from __future__ import annotations

import statistics
from pathlib import Path

import click
import numpy as np

from augment.anatomy.bodies import bodies_of
from augment.anatomy.card import figures_table
from augment.anatomy.config import AnatomyConfig
from augment.anatomy.measure import dice_table
from augment.anatomy.train import make_pool
from benchmarks import common
from gen.anatomy.folder import load_anatomy
from gen.core.config import load_config
from gen.core.files import write_json

REPEATS = 21


@click.command()
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--config", type=click.Path(path_type=Path), default=Path("configs/anatomy.yaml"), show_default=True)
@click.option("--anatomy", type=click.Path(path_type=Path), help="Network's folder [default: the bundled].")
@click.option("--most", type=click.IntRange(1), help="Projections of each body [default: all].")
@common.json_option
def main(
    overrides: tuple[str, ...], config: Path, anatomy: Path | None, most: int | None, json_file: Path | None
) -> None:
    """Print the tables; KEY=VALUE overrides the config, whose held-out bodies are projected where they are not yet."""
    settings = load_config(AnatomyConfig, config, list(overrides))
    network = load_anatomy(anatomy)
    records = make_pool(settings, bodies_of(settings)["validation"])
    image = np.random.default_rng(0).random((1, network.size, network.size), np.float32)
    seconds = [common.timed(lambda: network.probabilities(image))[0] for _ in range(REPEATS)]
    figures = {
        name: dice_table(network, records, as_films=as_films, most=most)
        for name, as_films in (("as rendered", False), ("as films", True))
    }
    for name, each in figures.items():
        print(f"{network.name} ({network.fingerprint}), {name}\n\n{figures_table(each)}\n")
    print(f"{statistics.median(seconds) * 1000:.0f} ms an image alone, median of {REPEATS}, on {common.processor()}")
    if json_file is not None:
        plain = {
            name: {group: {organ: figure.as_dict() for organ, figure in row.items()} for group, row in each.items()}
            for name, each in figures.items()
        }
        write_json(json_file, plain)


if __name__ == "__main__":
    common.launch(main)
