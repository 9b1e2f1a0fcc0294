"""The page, a thin skin over ``gen``: a prompt goes in, out come pictures, the reading of the prompt and its warnings.

Other packages add tabs of their own by the entry points `cxr_gen.tabs`. The page serves on this machine only, shares
and reports nothing, and loads nothing from elsewhere.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from functools import wraps
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gen.core.errors import BadInput, EnvironmentLacks, GenError
from gen.core.threads import use_threads
from gen.model.capabilities import off_grid, read_capabilities, sampling_defaults

if TYPE_CHECKING:
    import gradio as gr

TABS = "cxr_gen.tabs"  # entry points: functions that add a tab, given `listen`
QUEUE = "work"  # all requests wait in one, whatever their tab: there is one processor, and memory for one
TITLE = "Synthetic chest radiographs"
NOTE = "For research use only, not for clinical use. Every image of a prompt is synthetic and says so in its metadata."
EXAMPLE = "63 year old female. PA view. Cardiomegaly."
# The page holds one processor, so a request is bounded here and not only by the sliders, which a caller can bypass.
PROMPT_CHARACTERS, SEEDS, STEPS, GUIDANCES, IMAGES = 2000, (0, 2**32 - 1), (1, 100), (0.0, 20.0), (1, 8)


def build_page(model_dir: Path) -> gr.Blocks:
    """The page for the model folder ``model_dir``, loaded here, once. BadInput for a folder that is no model.

    One API endpoint, ``/generate``: (prompt, n, seed, steps, guidance) -> (gallery of PNG files, reading, error); and
    those of the tabs.
    """
    gr = _import_gradio()
    generate = make_generate(model_dir)
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.Markdown(f"# {TITLE}\n{NOTE}")
        _prompt_tab(gr, generate, sampling_defaults(read_capabilities(model_dir)))
        for entry in sorted(entry_points(group=TABS), key=lambda entry: entry.name):
            entry.load()(listen)
    page.queue(max_size=16, default_concurrency_limit=1)
    return page


def _prompt_tab(gr: Any, generate: Callable[..., tuple[Any, ...]], how: dict[str, Any]) -> None:
    with gr.Tab("From a prompt"):
        with gr.Row():
            with gr.Column():
                prompt = gr.Textbox(EXAMPLE, label="Prompt", lines=3, max_length=PROMPT_CHARACTERS)
                n = gr.Slider(*IMAGES, value=4, step=1, label="Images")
                seed = gr.Number(0, label="Seed", precision=0, minimum=SEEDS[0], maximum=SEEDS[1])
                steps = gr.Slider(*STEPS, value=how["steps"], step=1, label="Steps")
                guidance = gr.Slider(*GUIDANCES, value=how["guidance"], step=0.1, label="Guidance")
                button = gr.Button("Generate", variant="primary")
            with gr.Column(scale=2):
                # PNG, because gradio's WebP would drop the metadata that says "synthetic".
                gallery = gr.Gallery(label="Synthetic radiographs", format="png", columns=2, interactive=False)
                reading = gr.Textbox(label="The prompt as it was read", lines=4, interactive=False)
                error = gr.Textbox(label="Error", placeholder="none", lines=2, interactive=False)
        inputs, outputs = [prompt, n, seed, steps, guidance], [gallery, reading, error]
        for number in (n, seed, steps, guidance):
            # Our own function refuses what a caller sends beside the sliders; gradio would print a traceback for each.
            number.preprocess = lambda value: value
        listen([button.click, prompt.submit], generate, inputs, outputs, ([], ""), api_name="generate")


def listen(
    triggers: Sequence[Any],
    work: Callable[..., tuple[Any, ...]],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    nothing: tuple[Any, ...],
    *,
    api_name: str,
) -> None:
    """Let ``work`` answer ``triggers``, one request of the whole page at a time; the last output is its error."""
    import gradio as gr

    gr.on(list(triggers), answered(work, nothing), inputs, outputs, api_name=api_name, concurrency_id=QUEUE)


def make_generate(model_dir: Path) -> Callable[..., tuple[Any, ...]]:
    """The function of the first tab, with the model of ``model_dir`` loaded."""
    from gen.model.sampling.pipeline import load_pipeline

    pipeline = load_pipeline(model_dir, backend="auto")

    def generate(
        prompt: str, n: float, seed: float, steps: float, guidance: float
    ) -> tuple[list[tuple[Any, str]], str]:
        return _sample(pipeline, model_dir, prompt, n, seed, steps, guidance)

    return generate


def answered(work: Callable[..., tuple[Any, ...]], nothing: tuple[Any, ...]) -> Callable[..., tuple[Any, ...]]:
    """``work`` with one more output, its error or ""; on an error the others are ``nothing``.

    An error is one line of text, never HTML, traceback or path. The terminal has a line for each, too, and that alone
    has a hint that names an option of the command line, of which the page has none.
    """

    @wraps(work)
    def answer(*inputs: Any) -> tuple[Any, ...]:
        try:
            return (*work(*inputs), "")
        except GenError as error:
            why, shown = str(error), error.message if "--" in (error.hint or "") else str(error)
        except Exception as error:  # the visitor learns that it failed, the terminal learns why
            why = f"{type(error).__name__}: {error}"
            shown = "the images could not be made; the terminal that runs this page says why"
        click.echo(f"error: {' '.join(why.split())}", err=True)
        return (*nothing, shown)

    return answer


def _sample(
    pipeline: Any, model_dir: Path, prompt: str, n: float, seed: float, steps: float, guidance: float
) -> tuple[list[tuple[Any, str]], str]:
    from gen.model.sampling.job import Job, read_job, sample_job

    if not isinstance(prompt, str) or len(prompt) > PROMPT_CHARACTERS:
        raise BadInput(f"the prompt must be text of at most {PROMPT_CHARACTERS} characters")
    if not prompt.strip():
        raise BadInput("the prompt is empty", hint=f"write one, for example {EXAMPLE!r}")
    job = Job(
        text=prompt,
        count=int(_number("number of images", n, *IMAGES)),
        seed=int(_number("seed", seed, *SEEDS)),
        steps=int(_number("number of steps", steps, *STEPS)),
        guidance=_number("guidance", guidance, *GUIDANCES),
        model=model_dir,
    )
    read = read_job(job)
    images = sample_job(read, pipeline)
    gallery = [(_to_picture(radiograph), f"seed {job.seed}, image {item.k}") for item, radiograph in images]
    request = read.items[0].request
    warnings = [*request.warnings, *filter(None, [off_grid(pipeline.capabilities, read.steps, read.guidance)])]
    return gallery, "\n".join([request.prompt, *(f"warning: {warning}" for warning in warnings)])


def _number(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadInput(f"the {name} must be a number")
    if not low <= value <= high:
        raise BadInput(f"the {name} must lie between {low:g} and {high:g}, not {value:g}")
    return value


def _to_picture(radiograph: Any) -> Any:
    """A ``Radiograph`` as an 8-bit grey PIL image whose text entries, its provenance, gradio writes to the PNG."""
    import numpy as np
    from PIL import Image

    picture = Image.fromarray(np.rint(radiograph.pixels * 255).astype(np.uint8))
    picture.info.update(radiograph.provenance)
    return picture


def _import_gradio() -> Any:
    # Read by gradio and its client at import: no reports home.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import gradio

    return gradio


def launch(page: gr.Blocks, host: str = "127.0.0.1", port: int | None = None) -> str:
    """Serve ``page`` in the background and return its address. EnvironmentLacks if the port is taken.

    gradio serves files of the working folder and of GRADIO_TEMP_DIR: let both be in an empty folder of the page's own.
    """
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            prevent_thread_lock=True,
            share=False,
            show_error=False,
            allowed_paths=[],
            max_file_size="128mb",  # a radiograph of 64 megapixels in 16 bits
            enable_monitoring=False,
            run_history=False,
            footer_links=[],
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            quiet=True,
        )
    except OSError as error:
        raise EnvironmentLacks(
            f"the page cannot be served at {host}:{port or 7860}", hint="choose another --port"
        ) from error
    return address


@click.command()
@click.option("--model", type=click.Path(path_type=Path), help="Model folder [default: the bundled model].")
@click.option(
    "--threads", type=click.IntRange(1), help="CPU threads [default: OMP_NUM_THREADS, or the cores that are free]."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve at.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port [default: the first free one from 7860].")
def demo(model: Path | None, threads: int | None, host: str, port: int | None) -> None:
    """Open a page in the browser: a prompt in, radiographs out.

    For research use only, not for clinical use.
    """
    from gen.core.bundled import bundled_model
    from gen.model.cli import stopped_like_ctrl_c

    use_threads(threads)
    chosen = (model or bundled_model()).resolve()
    click.echo("loading the model", err=True)
    with stopped_like_ctrl_c(), tempfile.TemporaryDirectory(prefix="gen-demo-") as folder, contextlib.chdir(folder):
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder) / "files")
        page = build_page(chosen)
        if host not in ("127.0.0.1", "localhost", "::1"):
            click.echo(f"warning: anybody who reaches {host} can use this page; it asks for no password", err=True)
        try:
            click.echo(launch(page, host, port))
            click.echo("stop with Ctrl-C", err=True)
            threading.Event().wait()
        finally:
            page.close(verbose=False)


if __name__ == "__main__":
    from gen.cli import main

    main(["demo", *sys.argv[1:]])
