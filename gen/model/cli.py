"""`gen sample` and `gen train`: the command line of the generator; everything heavy is imported inside."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gen.core.terms import RACES, SEXES, VIEWS
from gen.model import DEFAULT_GUIDANCE, DEFAULT_STEPS

if TYPE_CHECKING:
    from gen.core.manifest import Row
    from gen.core.radiograph import Radiograph
    from gen.model.sampling.requests import Request

TRAIN_GROUP = "cxr_gen.train"  # of entry points: further verbs of `gen train`
DEFAULT_OUT = Path("outputs/samples")
ROWS_TOGETHER = 16  # images, at least, that are finished before the manifest is written
SHEET_IMAGES = 64  # at most, on a contact sheet


@click.command()
@click.option("--prompt", "text", default="", help='For example "63 year old female. AP view. Pleural effusion."')
@click.option("--prompts-file", type=click.Path(path_type=Path), help="A text file with one prompt a line, instead.")
@click.option("-n", "count", type=click.IntRange(min=1), default=1, show_default=True, help="Images a prompt.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Decides the noise.")
@click.option(
    "--steps", type=click.IntRange(1, 1000), default=DEFAULT_STEPS, show_default=True, help="Denoising steps."
)
@click.option("--guidance", type=click.FloatRange(0, 50), default=DEFAULT_GUIDANCE, show_default=True, help="1: none.")
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
@click.option("--dtype", default="auto", show_default=True, help="auto, float32, bfloat16 or float16.")
@click.option("--attention", default="auto", show_default=True, help="auto, xformers, sdpa or eager.")
@click.option("--dry-run", is_flag=True, help="Show what would be made, and make nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object an image on stdout.")
@click.option("--quiet", is_flag=True, help="No progress bar, no remarks.")
def sample(
    text: str,
    prompts_file: Path | None,
    count: int,
    seed: int,
    steps: int,
    guidance: float,
    negative: str,
    view: str | None,
    age: int | None,
    sex: str | None,
    race: str | None,
    findings: tuple[str, ...],
    raw_prompt: bool,
    model: Path | None,
    size: int | None,
    out: Path,
    device: str,
    dtype: str,
    attention: str,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Make radiographs from a prompt, with a model folder.

    Image k of a call is decided by --seed and k alone. The folder that they are written to is a data set: metadata.csv
    lists every image with its prompt and seed. For research use only, not for clinical use.
    """
    from gen.core.bundled import bundled_model
    from gen.core.errors import BadInput
    from gen.core.files import require_free_space
    from gen.language.study import Study
    from gen.model.capabilities import read_capabilities
    from gen.model.folder import check_model_folder
    from gen.model.sampling.requests import flags_to_study
    from gen.model.sampling.results import existing_rows

    if not math.isfinite(guidance):  # nan lies in every range
        raise BadInput(f"--guidance {guidance} is not a number", hint="1 is no guidance")
    if prompts_file is not None and text:
        raise BadInput("--prompt and --prompts-file are both given", hint="use one of them")
    texts = {"": text} if prompts_file is None else _read_prompts(prompts_file)
    flags = flags_to_study(view, age, sex, race, findings)
    folder = model or bundled_model()
    check_model_folder(folder)
    capabilities = read_capabilities(folder)
    requests = [_read(one, flags, folder, capabilities, raw_prompt, where) for where, one in texts.items()]
    wanted = [request for request in requests for _ in range(count)]
    told = [("prompt", request) for request in dict.fromkeys(requests)]
    if negative.strip():
        avoided = _read(negative, Study(), folder, capabilities, raw_prompt, "--negative: ")
        told.append(("negative prompt", avoided))
        negative = avoided.prompt
    if not quiet:
        for name, request in told:
            click.echo(f"{name}: {request.prompt}", err=True)
            for warning in request.warnings:
                click.echo(f"warning: {warning}", err=True)
        if negative and guidance == 1:
            click.echo("warning: --negative has no effect with --guidance 1", err=True)
    if dry_run:
        for k, request in enumerate(wanted):
            row = _facts(request, seed, k)
            click.echo(json.dumps(row, ensure_ascii=False) if as_json else f"{k}\t{request.prompt}")
        return
    if out.exists() and not out.is_dir():
        raise BadInput(f"--out {out} is not a folder")
    existing_rows(out)  # a manifest that cannot be added to is better met before the work
    require_free_space(out, len(wanted) * 300_000, "writing the images")
    settings = {"steps": steps, "guidance": guidance, "negative": negative, "size": size}
    making = _make(folder, wanted, seed, settings, out, (device, dtype, attention), quiet)
    with _stopped_like_ctrl_c(), closing(making):
        for path, request, k in making:
            row = {"file": str(path), **_facts(request, seed, k)}
            click.echo(json.dumps(row, ensure_ascii=False) if as_json else str(path))


def _facts(request: Request, seed: int, k: int) -> dict[str, Any]:
    """What ``--json`` says of image ``k``, made or not."""
    from gen.core.run import derived_seed

    study = None if request.study is None else request.study.to_json_dict()
    return {"prompt": request.prompt, "seed": seed, "k": k, "image_seed": derived_seed(seed, k), "study": study}


@contextmanager
def _stopped_like_ctrl_c() -> Iterator[None]:
    """Inside, SIGTERM (a cluster's or a container's stop) ends the work as Ctrl-C does: what is finished is listed."""
    import signal

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _make(
    folder: Path,
    wanted: Sequence[Request],
    seed: int,
    settings: dict[str, Any],
    out: Path,
    placement: tuple[str, str, str],
    quiet: bool,
) -> Generator[tuple[Path, Request, int], None, None]:
    """Sample and write every image as it is finished, the manifest now and then, at last a contact sheet of several."""
    from tqdm import tqdm

    from gen.core.errors import BadInput
    from gen.core.radiograph import write_png
    from gen.core.run import derived_seed
    from gen.model.sampling import pipeline as sampling
    from gen.model.sampling.contact_sheet import write_sheet
    from gen.model.sampling.results import add_rows, result_path, result_row

    device, dtype, attention = placement
    pipeline = sampling.load_pipeline(folder, device=device, dtype=dtype, attention=attention)
    if not quiet:
        click.echo(sampling.describe(pipeline), err=True)
        if settings["size"] not in (None, pipeline.size):
            click.echo(
                f"warning: the model was trained at {pipeline.size} pixels; at {settings['size']} its images are worse",
                err=True,
            )
    weights_may_learn = (pipeline.capabilities or {}).get("weights_may_learn") is True
    prompts, seeds = [request.prompt for request in wanted], [derived_seed(seed, k) for k in range(len(wanted))]
    pictures: list[Radiograph] = []
    rows: list[Row] = []
    listed = 0
    try:
        (out / "images").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"--out {out} cannot be made: {error.strerror}") from error
    bar = tqdm(total=len(wanted) * settings["steps"], unit="step", disable=quiet, leave=False)
    try:
        images = sampling.sample(pipeline, prompts, seeds, on_step=bar.update, **settings)
        for k, (request, image) in enumerate(zip(wanted, images, strict=True)):
            path = result_path(out, image, seed, k)
            write_png(path, image)
            rows.append(result_row(path, image, request, seed, k, weights_may_learn=weights_may_learn))
            if len(rows) >= max(ROWS_TOGETHER, listed // ROWS_TOGETHER):  # each time the whole table is written
                listed = add_rows(out, rows)
                rows.clear()
            if k < SHEET_IMAGES:
                pictures.append(image)
            bar.clear()  # of the terminal's line, which the path shall have
            yield path, request, k
    finally:
        # Also after an interruption or an error: what is finished is listed.
        bar.close()
        add_rows(out, rows)
    if len(pictures) > 1:
        sheet = out / "contact-sheet.png"
        write_sheet(sheet, pictures, [request.prompt for request in wanted[:SHEET_IMAGES]])
        if not quiet:
            click.echo(f"contact sheet: {sheet}", err=True)


def _read(
    text: str,
    flags: Any,
    folder: Path,
    capabilities: dict[str, Any] | None,
    raw: bool,
    where: str,
) -> Request:
    """`read_request`, with ``where`` the text stands before the words of an error."""
    from gen.core.errors import BadInput
    from gen.language.tokens import token_counter
    from gen.model.sampling.requests import read_request

    count_tokens, limit = token_counter(folder / "tokenizer")
    try:
        return read_request(text, flags, capabilities=capabilities, count_tokens=count_tokens, limit=limit, raw=raw)
    except BadInput as error:
        raise BadInput(f"{where}{error.message}", hint=error.hint) from error


def _read_prompts(path: Path) -> dict[str, str]:
    """The prompts of a file, one a line, by where they stand in it; blank lines count and hold none."""
    from gen.core.errors import BadInput

    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not text in UTF-8", hint="write one prompt a line") from error
    prompts = {f"{path}, line {i}: ": line.strip() for i, line in enumerate(lines, 1) if line.strip()}
    if not prompts:
        raise BadInput(f"{path} holds no prompt", hint="write one prompt a line")
    return prompts


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
    """Train an autoencoder, a denoiser or a judge; the same command resumes."""


def _train_command(name: str, summary: str) -> None:
    @train.command(name, help=summary)
    @click.argument("config", type=click.Path(path_type=Path))
    @click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
    def command(config: Path, overrides: tuple[str, ...]) -> None:
        from gen.core.config import load_config

        if name == "autoencoder":
            from gen.model.training.autoencoder import AutoencoderConfig, train_autoencoder

            folder = train_autoencoder(load_config(AutoencoderConfig, config, overrides), sys.argv)
        else:
            from gen.model.training.denoiser import DenoiserConfig, train_denoiser

            folder = train_denoiser(load_config(DenoiserConfig, config, overrides), sys.argv)
        click.echo(str(folder))


_train_command("autoencoder", "Train an autoencoder as CONFIG (a YAML file) says; KEY=VALUE overrides it.")
_train_command("denoiser", "Train or fine-tune a denoiser as CONFIG (a YAML file) says; KEY=VALUE overrides it.")
