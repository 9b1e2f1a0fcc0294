"""`gen evaluate`: one command from folders of images to a report; everything heavy is imported inside."""

from __future__ import annotations

import io
import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from pathlib import Path
from typing import Any

import click

from gen.core.threads import use_threads

_FOLDER = click.Path(path_type=Path)
REPORT, NUMBERS = "report.html", "report.json"


@click.command()
@click.option("--real", type=_FOLDER, required=True, help="Real radiographs of patients the generator never saw.")
@click.option("--synthetic", type=_FOLDER, required=True, help="Synthetic ones, as `gen sample` writes them.")
@click.option("--train", type=_FOLDER, help="What the generator learnt from [default: the judge's reference index].")
@click.option("--out", type=_FOLDER, required=True, help="Folder of the report.")
@click.option("--judge", default="", help="A judge's folder, or another judge's spec [default: the bundled one].")
@click.option("--extractor", "extractors", multiple=True, help="Features to compare in [default: judge, texture].")
@click.option(
    "--false-alarms",
    type=click.FloatRange(0, 0.5, min_open=True),
    default=0.01,
    show_default=True,
    help="Share of unseen patients' images that may count as too near.",
)
@click.option(
    "--no-real-images",
    "real_images",
    is_flag=True,
    flag_value=False,
    default=True,
    help="Show no real image: a report that can be shared.",
)
@click.option("--gallery", is_flag=True, help="Show the closest pairs: patients' images, for your own eyes only.")
@click.option(
    "--threads", type=click.IntRange(1), help="CPU threads [default: OMP_NUM_THREADS, or the cores that are free]."
)
@click.option("--json", "as_json", is_flag=True, help="The numbers on stdout, instead of the paths.")
@click.option("--quiet", is_flag=True, help="No progress bar, no remarks.")
def evaluate(out: Path, threads: int | None, as_json: bool, quiet: bool, **options: Any) -> None:
    """Is a synthetic set good, does it say what its prompts say, is it diverse, and does it copy patients?

    Folders hold a metadata.csv. Where --real and --train are one folder, its test and training splits are meant. The
    report is report.html, with the same numbers in report.json, and prompt_INFO.csv, which CheXGenBench reads. Every
    figure has an interval and stands beside the same of real images. For research use only, not for clinical use.
    """
    use_threads(threads)
    from gen.core.errors import BadInput, GenError
    from gen.core.files import require_free_space, write_json, write_text
    from gen.evaluate.chexgenbench import PROMPT_INFO, write_prompt_info
    from gen.evaluate.directions import with_directions
    from gen.evaluate.evaluation import Request
    from gen.evaluate.evaluation import evaluate as measure
    from gen.evaluate.report import to_html
    from gen.evaluate.verdict import verdict

    request = Request(**options)
    if request.gallery and not request.real_images:
        raise BadInput("--gallery shows real images, and --no-real-images forbids it", hint="use one of them")
    if request.gallery and request.train is None:
        raise BadInput("--gallery needs the training images", hint="name their folder with --train")
    if out.exists() and not out.is_dir():
        raise BadInput(f"--out {out} is not a folder")
    require_free_space(out, 20_000_000, "the report")
    with _progress(quiet) as on_progress:
        results, pictures, sets = measure(request, on_progress)
    results = {"verdict": verdict(results), "made": _made(request), **with_directions(results)}
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GenError(f"cannot make {out}: {error.strerror}") from error
    paths = [out / REPORT, out / NUMBERS]
    write_text(paths[0], to_html(results, pictures))
    write_json(paths[1], results)
    if any(row.prompt for row in sets["synthetic"].rows):
        paths.append(out / PROMPT_INFO)
        write_prompt_info(paths[-1], sets["synthetic"].rows)
    if not quiet:
        for name, images in sets.items():
            for line in images.excluded:
                click.echo(f"not scored: {name}, {line}", err=True)
        for line in results["warnings"]:
            click.echo(f"warning: {line}", err=True)
        for line in results["verdict"]:
            click.echo(line, err=True)
    click.echo(json.dumps(results, ensure_ascii=False) if as_json else "\n".join(map(str, paths)))


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str, int], Callable[[int], object]]]:
    """Inside, a function that begins a stage of so many images (0: not counted) and gives what counts them.

    A bar on stderr shows them. With ``quiet`` nothing that is done inside is shown there, the bars of others included.
    """
    from tqdm import tqdm

    bars: list[Any] = []

    def on_progress(what: str, total: int) -> Callable[[int], object]:
        for bar in bars:
            bar.close()
        style = {} if total else {"bar_format": "{desc} ..."}
        bars[:] = [tqdm(desc=what, total=total or None, unit="image", leave=False, **style)]
        update: Callable[[int], object] = bars[0].update
        return update

    with redirect_stderr(io.StringIO()) if quiet else nullcontext():
        try:
            yield on_progress
        finally:
            for bar in bars:
                bar.close()


def _made(request: Any) -> dict[str, str]:
    """When and by what: for the report's last section. Folders by name only, since a report travels."""
    import time

    from gen import __version__

    words = ["gen", "evaluate"]
    for flag, value in (("--real", request.real), ("--synthetic", request.synthetic), ("--train", request.train)):
        if value is not None:
            words += [flag, value.resolve().name]
    for flag, specs in (("--extractor", request.extractors), ("--judge", [request.judge] if request.judge else [])):
        words += [word for spec in specs for word in (flag, _without_place(spec))]
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "version": f"cxr-gen {__version__}, Python {sys.version.split()[0]}",
        "command": shlex.join([*words, "--false-alarms", f"{request.false_alarms:g}"]),
    }


def _without_place(spec: str) -> str:
    """A spec of a judge or an extractor with the name alone of its folder or file: "judge:a/b" is "judge:b"."""
    head, mark, place = "", "", spec
    if spec.startswith("xrv:"):
        head, mark, place = spec.partition("@")
    elif spec.startswith("judge:"):
        head, mark, place = spec.partition(":")
    return head + mark + (Path(place).resolve().name if place else "")
