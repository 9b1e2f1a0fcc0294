"""The ways to take bone out that the benchmarks compare, and their options on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from augment.suppress.evaluate import Method, methods_of
from augment.suppress.folder import load_suppressor
from augment.suppress.separate import separate
from benchmarks.suppress.peer import load_peer


def ways_of(model: Path | None, peer: Path | None, latent: Path | None) -> dict[str, Method]:
    """The network in ``model`` (None: the bundled one), doing nothing, a blur, and what else is given."""
    ways = methods_of(load_suppressor(model))
    if peer is not None:
        ways["small autoencoder"] = load_peer(peer)
    if latent is not None:
        generative = load_suppressor(latent)
        ways["latent diffusion"] = lambda pixels: separate(generative, pixels).soft
    return ways


def ways_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options ``--model``, ``--peer`` and ``--latent``, for `ways_of`."""
    for name, text in (
        ("--latent", "Folder of a latent diffusion model."),
        ("--peer", "Folder of a trained small autoencoder."),
        ("--model", "Bone suppression [default: the bundled]."),
    ):
        command = click.option(name, type=click.Path(path_type=Path), help=text)(command)
    return command
