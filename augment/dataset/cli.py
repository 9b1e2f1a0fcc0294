"""``gen dataset``: make, verify and replay. Nothing heavy is imported for its help."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gen.core.errors import BadInput, GenError

if TYPE_CHECKING:
    from augment.dataset.config import DatasetConfig


@click.group()
def dataset() -> None:
    """Make balanced, checked, copy-free data sets; check one, and make an image of one again."""


@dataset.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--out", type=click.Path(path_type=Path), help="Folder, instead of the config's.")
@click.option("--dry-run", is_flag=True, help="Print the plan, its cost here in time and disk, and what is amiss.")
@click.option("--executor", type=click.Choice(["serial", "ray"]), default="serial", show_default=True)
@click.option("--workers", type=click.IntRange(1), help="With ray: how many [default: as many as there is room for].")
@click.option("--address", metavar="ADDRESS", help="With ray: a cluster's, such as auto [default: this machine alone].")
@click.option("--shard", "part", metavar="I/N", help="Only part I of N, from 1: one task of an array of jobs.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a shard on stdout, and one at the end.")
@click.option("--quiet", is_flag=True, help="No progress bar, no remarks.")
def make(
    config: Path,
    overrides: tuple[str, ...],
    out: Path | None,
    dry_run: bool,
    executor: str,
    workers: int | None,
    address: str | None,
    part: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Make the data set that CONFIG (a YAML file) describes; KEY=VALUE overrides it.

    The same command goes on where it was stopped, whatever stopped it, and does nothing where all is done. The folder
    holds WebDataset shards, an index, a card and Croissant metadata. For research use only, not for clinical use.
    """
    from augment.dataset.config import DatasetConfig
    from gen.core.config import load_config

    if executor != "ray" and (workers is not None or address is not None):
        raise BadInput("--workers and --address are for --executor ray", hint="leave them out, or add it")
    places = [] if out is None else [f"out={json.dumps(str(out))}"]
    wanted = load_config(DatasetConfig, config, [*overrides, *places])
    number, of = (1, 1) if part is None else _part(part)
    if dry_run:
        _dry_run(wanted, as_json, quiet)
        return
    from augment.dataset.job import Slice, make_dataset
    from augment.dataset.shards.counts import FINAL, MISSING, TRIED, pass_rates

    done = make_dataset(
        wanted,
        executor=executor,
        workers=workers,
        address=address,
        part=Slice(number, of),
        command=sys.argv,
        quiet=quiet,
        as_json=as_json,
        log=click.echo,
        warn=lambda line: None if quiet else click.echo(f"warning: {line}", err=True),
    )
    made, missing, tried = (done.tally[name] for name in (FINAL, MISSING, TRIED))
    if as_json:
        counts = {"committed": made, "missing": missing, "tried": tried, "pass_rate": pass_rates(done.tally)}
        click.echo(json.dumps({"event": "end", "complete": done.complete and not missing, **counts}))
    else:
        click.echo(wanted.out)
    if not quiet:
        how = "the set is finished" + (f" but for {missing} row(s)" if missing else "")
        how = how if done.complete else "other parts of the set are still to be made"
        click.echo(f"{made} image(s), of {tried} made, are in {wanted.out}; {how}", err=True)
    if missing:
        raise GenError(
            f"{missing} row(s) have no image: no try of theirs passed the gates; the set's README.md lists them",
            hint="raise gates.substitutes and run the command again: what is filled stays, what is missing is tried on",
        )


@dataset.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--quick", is_flag=True, help="Sizes and counts only: no file is hashed, no image decoded.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def verify(folder: Path, quick: bool, as_json: bool) -> None:
    """Check every hash, count and quota of the data set in FOLDER; exits 1 where anything is amiss."""
    from augment.dataset.shards.folder import SUCCESS, read_marker
    from augment.dataset.verify import UNFILLED, verify_dataset

    read_marker(folder)  # what is no data set has no damage to mend
    problems = verify_dataset(folder, quick=quick)
    if as_json:
        click.echo(json.dumps({"folder": str(folder), "problems": problems}))
    else:
        for line in problems:
            click.echo(line)
    if problems:
        hint = "run the same `gen dataset make` again: it makes what is damaged or missing"
        if (folder / SUCCESS).exists():
            hint = f"delete {SUCCESS}, and {hint}"
        elif all(line.endswith(UNFILLED) for line in problems):
            hint = "raise gates.substitutes and run the same `gen dataset make` again: it tries those rows on"
        raise GenError(f"{folder}: {len(problems)} problem(s), as listed above", hint=hint)
    if not as_json:
        limit = ", by its counts and sizes; the contents of its files were not read" if quick else ""
        click.echo(f"{folder} is whole{limit}")


@dataset.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("row")
@click.option("--out", type=click.Path(path_type=Path), default=Path("outputs/replay"), show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cuda, cuda:N, mps or cpu.")
def replay(folder: Path, row: str, out: Path, device: str) -> None:
    """Make the image ROW (its id, or its number) of FOLDER again from its record, and compare the two.

    Exits 1 where pixels differ. Other software, or another device, may make the same pixels: that is said.
    """
    from augment.dataset.replay import replay_row

    again = replay_row(folder, row, out, device=device)
    click.echo(str(again.file))
    if again.of_pixels:
        why = f" (made by other means: {'; '.join(again.of_record)})" if again.of_record else ""
        raise GenError(f"the image has other pixels than the one in {folder}: {again.of_pixels}{why}")
    if again.of_record:
        click.echo(f"same pixels, other software: {'; '.join(again.of_record)}", err=True)
    else:
        click.echo("identical, byte for byte" if again.same_file else "same pixels, compressed otherwise", err=True)


def _part(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise BadInput(f"--shard {text} is not a part", hint="such as 1/8 to 8/8")
    return int(match[1]), int(match[2])


def _dry_run(config: DatasetConfig, as_json: bool, quiet: bool) -> None:
    from augment.dataset.prepare import first_answer  # which needs a second, and not the ten of the trial

    def say(text: str, warnings: tuple[str, ...]) -> None:
        if not as_json:
            click.echo(text)
        for warning in warnings:
            click.echo(f"warning: {warning}", err=True)

    first = first_answer(config)
    say(first.text, first.warnings)
    if not quiet:
        click.echo(
            "making trial images to measure the cost here (Ctrl-C stops it; nothing is written)",
            err=True,
        )
    from augment.dataset.dry_run import dry_run

    report = dry_run(first, quiet=quiet)
    say(f"\n{report.text}", report.warnings)
    if as_json:
        click.echo(json.dumps(report.facts, ensure_ascii=False))
