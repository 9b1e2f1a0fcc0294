"""`gen sample` and `gen train`: the command line of the generator; everything heavy is imported inside."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click

from gen.core.terms import RACES, SEXES, VIEWS
from gen.core.threads import use_threads
from gen.model import DEFAULT_ANATOMY_STRENGTH, DEFAULT_GUIDANCE, DEFAULT_STEPS, DEFAULT_STRENGTH

TRAIN_GROUP = "cxr_gen.train"  # of entry points: further verbs of `gen train`
DEFAULT_OUT = Path("outputs/samples")


@click.command()
@click.option("--prompt", "text", default="", help='For example "63 year old female. AP view. Pleural effusion."')
@click.option(
    "--prompts-file",
    type=click.Path(path_type=Path),
    help="A text file with one prompt a line, instead; # is for comments.",
)
@click.option("-n", "count", type=click.IntRange(min=1), default=1, show_default=True, help="Images a prompt.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Decides the noise.")
@click.option(
    "--steps",
    type=click.IntRange(1, 1000),
    help=f"Denoising steps [default: {DEFAULT_STEPS}, or what a distilled model takes].",
)
@click.option(
    "--guidance",
    type=click.FloatRange(0, 50),
    help=f"1: none [default: {DEFAULT_GUIDANCE:g}, or 1 with a distilled model].",
)
@click.option(
    "--guidance-interval",
    type=float,
    nargs=2,
    metavar="LOW HIGH",
    help="Noise levels between which guidance acts, e.g. 0.3 6.",
)
@click.option("--init", type=click.Path(path_type=Path), help="An image to start from, instead of noise alone.")
@click.option(
    "--anatomy",
    metavar="phantom|CT",
    help="Start from a projection of the phantom, or of a CT, that shows what the prompt says.",
)
@click.option(
    "--strength",
    type=click.FloatRange(0, 1, min_open=True),
    help="With --init or --anatomy: how far to go from it; 1 keeps nearly nothing "
    f"[default: {DEFAULT_STRENGTH:g}, {DEFAULT_ANATOMY_STRENGTH:g}].",
)
@click.option("--vary", is_flag=True, help="Draw pose and exposure of each image at random.")
@click.option("--negative", default="", help="What the images should not show.")
@click.option("--view", type=click.Choice(VIEWS, case_sensitive=False), help="Added to the prompt, like what follows.")
@click.option("--age", type=click.IntRange(0, 120), help="In years.")
@click.option("--sex", type=click.Choice(SEXES, case_sensitive=False))
@click.option("--race", type=click.Choice(RACES, case_sensitive=False), help="Self-reported.")
@click.option("--finding", "findings", multiple=True, metavar="NAME[:WORDS]", help='"Pleural Effusion:right,moderate"')
@click.option("--raw-prompt", is_flag=True, help="Give the text to the model as typed.")
@click.option("--model", type=click.Path(path_type=Path), help="Model folder [default: the bundled model].")
@click.option("--size", type=click.IntRange(8, 4096), help="Pixels a side [default: the model's].")
@click.option("--out", type=click.Path(path_type=Path), default=DEFAULT_OUT, show_default=True, help="Folder.")
@click.option("--device", default="auto", show_default=True, help="auto, cuda, cuda:N, mps or cpu.")
@click.option(
    "--threads",
    type=click.IntRange(1),
    help="CPU threads [default: OMP_NUM_THREADS, or the cores that are free].",
)
@click.option("--dtype", default="auto", show_default=True, help="auto, float32, bfloat16 or float16.")
@click.option("--attention", default="auto", show_default=True, help="auto, xformers, sdpa or eager.")
@click.option("--backend", default="auto", show_default=True, help="auto, torch or openvino (on a CPU).")
@click.option("--dry-run", is_flag=True, help="Show what would be made, and make nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object an image on stdout.")
@click.option("--quiet", is_flag=True, help="No progress bar, no remarks.")
def sample(out: Path, threads: int | None, dry_run: bool, as_json: bool, quiet: bool, **options: Any) -> None:
    """Make radiographs from a prompt, with a model folder.

    Image k of a call is decided by --seed and k alone. The folder that they are written to is a data set: metadata.csv
    lists every image with its prompt and seed. For research use only, not for clinical use.
    """
    from gen.model.sampling.job import Item, Job, read_job, run_job

    use_threads(threads)
    job = Job(**options)
    log = None if quiet else partial(click.echo, err=True)

    def facts(item: Item) -> dict[str, Any]:
        request = item.request
        study = None if request.study is None else request.study.to_json_dict()
        return {"prompt": request.prompt, "seed": job.seed, "k": item.k, "image_seed": item.seed, "study": study}

    def print_line(text: str, row: dict[str, Any]) -> None:
        click.echo(json.dumps(row, ensure_ascii=False) if as_json else text)

    def print_image(item: Item, path: Path) -> None:
        print_line(str(path), {"file": str(path), **facts(item)})

    if dry_run:
        for item in read_job(job, log).items:
            print_line(f"{item.k}\t{item.request.prompt}", facts(item))
        return
    with stopped_like_ctrl_c():
        run_job(job, out, on_image=print_image, log=log)


@contextmanager
def stopped_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM (a cluster's or a container's stop) end the work as Ctrl-C does: what is finished is listed."""
    import signal

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _TrainGroup(click.Group):
    """The verbs below, and those of rooms above this one: entry points of ``TRAIN_GROUP``, loaded when called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *entry_points(group=TRAIN_GROUP).names})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if (own := super().get_command(ctx, cmd_name)) is not None:
            return own
        found: list[click.Command] = [point.load() for point in entry_points(group=TRAIN_GROUP, name=cmd_name)]
        return found[0] if found else None


@click.group(cls=_TrainGroup)
def train() -> None:
    """Train an autoencoder, a denoiser, its student, a judge or an anatomy network; the same command resumes."""


def _train_command(name: str, summary: str) -> None:
    @train.command(name, help=summary)
    @click.argument("config", type=click.Path(path_type=Path))
    @click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
    def command(config: Path, overrides: tuple[str, ...]) -> None:
        from gen.core.config import load_config

        if name == "autoencoder":
            from gen.model.training.autoencoder import AutoencoderConfig, train_autoencoder

            folder = train_autoencoder(load_config(AutoencoderConfig, config, overrides), sys.argv)
        elif name == "distill":
            from gen.model.training.distill import DistillConfig, distill

            folder = distill(load_config(DistillConfig, config, overrides), sys.argv)
        else:
            from gen.model.training.denoiser import DenoiserConfig, train_denoiser

            folder = train_denoiser(load_config(DenoiserConfig, config, overrides), sys.argv)
        click.echo(str(folder))


_train_command("autoencoder", "Train an autoencoder as CONFIG (a YAML file) says; KEY=VALUE overrides it.")
_train_command("denoiser", "Train or fine-tune a denoiser as CONFIG (a YAML file) says; KEY=VALUE overrides it.")
_train_command(
    "distill", "Train a student that samples in few passes, as CONFIG (a YAML file) says; KEY=VALUE overrides."
)
