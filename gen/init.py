"""``gen init``: a config that travels with the package, written out to be edited."""

from __future__ import annotations

from pathlib import Path

import click

from gen.core.bundled import packaged_config, packaged_configs
from gen.core.errors import BadInput
from gen.core.files import write_text


@click.command()
@click.argument("name", required=False)
@click.option("--out", type=click.Path(path_type=Path), help="File to write [default: NAME.yaml].")
def init(name: str | None, out: Path | None) -> None:
    """Write the packaged config NAME out to be edited; without NAME list them all.

    `gen train`, `gen dataset make` and `gen classify` take either: the name of a packaged config, or a file.
    """
    if name is None:
        configs = packaged_configs()
        for each, path in configs.items():
            click.echo(f"{each:<{max(map(len, configs))}} {_summary(path)}")
        return
    source, file = packaged_config(name), out or Path(f"{name}.yaml")
    if file.exists():
        raise BadInput(f"{file} exists already", hint="give another file with --out")
    write_text(file, source.read_text(encoding="utf-8"))
    click.echo(str(file))


def _summary(path: Path) -> str:
    """The comment at the top of a config, its first line."""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("#").strip()
