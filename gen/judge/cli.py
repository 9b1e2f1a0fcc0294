"""`gen describe`, `gen train judge`, `gen train reference`: the judge's command line; all that is heavy comes later."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import click

from gen.core.errors import GenError, Remark
from gen.core.threads import use_threads


@click.command("judge")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def train_judge(config: Path, overrides: tuple[str, ...]) -> None:
    """Train a judge as CONFIG (a YAML file) says; KEY=VALUE overrides it."""
    from gen.core.config import load_config
    from gen.judge.config import JudgeConfig
    from gen.judge.train import train_judge as train

    click.echo(str(train(load_config(JudgeConfig, config, overrides), sys.argv)))


@click.command("reference")
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder to make: the judge with that index."
)
@click.option("--judge", type=click.Path(path_type=Path), help="A judge's folder [default: the bundled].")
@click.option("--device", default="auto", show_default=True, help="auto, cuda, cuda:N, mps or cpu.")
def train_reference(data: Path, out: Path, judge: Path | None, device: str) -> None:
    """Index what your generator learnt from: the training split of DATA, as numbers without pictures.

    OUT is a judge's folder for `gen evaluate --judge`, which then finds copies of those images without having them. The
    validation and test patients of DATA say how near an image comes by chance. Rows count as they do for
    `gen train denoiser`: weights_may_learn = yes, split by patient. Weigh who may have OUT where the
    patients are not public.
    """
    from gen.core.bundled import bundled_judge
    from gen.judge.reindex import reindex

    made, left_out = reindex(data, out, judge or bundled_judge(), device=device)
    reference, copies = made.reference, made.figures["copies"]
    assert reference is not None
    held_out, rate = len(reference.held_out), copies["false_alarms"]
    if left_out:
        click.echo(f"warning: {left_out} held-out images of patients with an indexed image are left out", err=True)
    if rate * (held_out + 1) < 1:
        click.echo(f"warning: {held_out} held-out images are too few to hold false alarms at {rate:.0%}", err=True)
    found = ", ".join(f"{name} {of['found']:.0%}" for name, of in copies.items() if isinstance(of, dict))
    click.echo(
        f"{len(reference.codes)} training images of {len(set(reference.patients.tolist()))} patients, measured by "
        f"{held_out} images of others; planted copies found at {rate:.0%} false alarms: {found}",
        err=True,
    )
    click.echo(str(out))


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE|DIR...")
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
@click.option(
    "--threads", type=click.IntRange(1), help="CPU threads [default: OMP_NUM_THREADS, or the cores that are free]."
)
@click.option("--device", default="auto", show_default=True, help="auto, cuda, cuda:N, mps or cpu.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object an image on stdout.")
@click.option("--quiet", is_flag=True, help="No remarks.")
def describe(
    images: tuple[Path, ...], spec: str, sure: float, threads: int | None, device: str, as_json: bool, quiet: bool
) -> None:
    """Say what a judge sees in each IMAGE (PNG, JPEG, DICOM), or image in a DIR, as a prompt with its probabilities.

    A finding with a star is more likely there than not, and stands in the prompt. One that the judge was not shown to
    tell on held-out images is "not reliable" and never stands there. Instead of a prompt, an image unlike those that
    the judge learnt from gets a line that says so, with the reasons. The cardiothoracic ratio is measured on the
    outlines of heart and lungs, whatever the judge says. SPEC is a judge's folder, a folder of transformers (classifier
    or encoder), or xrv:NAME@FILE. For research use only, not for clinical use.
    """
    use_threads(threads)
    from gen.images.files import image_files
    from gen.images.reader import read_radiograph
    from gen.judge.describe import ANATOMY, chests_of, lines_of, unreliable
    from gen.judge.describe import describe as say
    from gen.judge.familiar import unfamiliar
    from gen.judge.plugins import open_judge

    files = [file for path in images for file in (image_files([path]) if path.is_dir() else [path])]
    judge = open_judge(spec, device=device)
    figures = getattr(judge, "figures", {})
    chest_of = chests_of()
    if not quiet:
        click.echo(f"judge {judge.name} ({judge.fingerprint})", err=True)
        if judge.findings and not figures:
            click.echo("warning: it comes without figures on held-out images, so nobody knows what to trust", err=True)
    if quiet:
        warnings.simplefilter("ignore", Remark)
    unread = []
    for path in files:
        try:
            pixels = read_radiograph(path).pixels
        except GenError as error:  # one bad file is no reason to leave the others unread
            if len(files) == 1:
                raise
            click.echo(f"error: {error}", err=True)
            unread.append(str(path))
            continue
        [prediction] = judge.predict([pixels])
        chest = chest_of(pixels)
        limits = getattr(judge, "familiar", None), getattr(judge, "known", None)
        unlike = unfamiliar(prediction, chest["soundness"], chest["refused"], *limits)
        said = {**say(prediction, unreliable(figures), sure, unlike), "chest": chest}
        if not quiet and said["quality"].get("anatomy", 1) < ANATOMY:
            click.echo(f"warning: {path} hardly looks like one whole, upright chest", err=True)
        if as_json:
            click.echo(json.dumps({"file": str(path), **said}, ensure_ascii=False))
        else:
            click.echo("\n".join([f"{path}: {lines_of(said)[0]}", *lines_of(said)[1:]]))
    if unread:
        raise GenError(f"{len(unread)} of {len(files)} images could not be read: {', '.join(unread)}")
