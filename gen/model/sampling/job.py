"""The sampling job: what was typed becomes requests, the requests images, and the images a data set on disk.

The command line runs the whole of it (`run_job`); the page reads a job and samples it, with a model that stays loaded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen.core.bundled import bundled_model
from gen.core.errors import BadInput
from gen.core.files import require_free_space
from gen.core.radiograph import Radiograph, write_png
from gen.core.run import derived_seed
from gen.core.terms import require_choice
from gen.images.reader import read_radiograph
from gen.language.render import longest_style
from gen.language.study import Study
from gen.language.tokens import token_counter
from gen.model import BACKENDS, DEFAULT_ANATOMY_STRENGTH, DEFAULT_STRENGTH
from gen.model.capabilities import has_canonical_frame, off_grid, read_capabilities, sampling_defaults, style_of
from gen.model.device import check_names
from gen.model.folder import check_model_folder
from gen.model.sampling.anatomy import (
    Bodies,
    Body,
    OfBody,
    finished,
    open_bodies,
    started_from,
    with_body,
    write_truth,
)
from gen.model.sampling.requests import Request, flags_to_study, read_request
from gen.model.sampling.results import add_rows, existing_rows, result_path, result_row
from gen.model.sampling.settings import check_folder_settings

if TYPE_CHECKING:
    from gen.core.manifest import Row
    from gen.model.sampling.pipeline import Pipeline

ROWS_TOGETHER = 16  # images, at least, that are finished before the manifest is written
CONTACT_SHEET_IMAGES = 64  # at most
SMALLEST_START = 32  # pixels a side of an image to start from: a smaller one shows nothing of a chest
_BYTES_AN_IMAGE = 300_000

Log = Callable[[str], object]


@dataclass(frozen=True, kw_only=True)
class Job:
    """Options of a sampling job: ``count`` images of each prompt, image k decided by ``seed`` and k alone.

    ``text`` is one prompt, ``prompts_file`` a file with one a line, instead; ``view`` to ``findings`` are added to
    each. ``raw_prompt``: the model gets the text as typed. ``model``: a model's folder, None for the bundled one.
    ``size``: pixels a side, None for the model's. ``init``: an image that sampling starts from, as far as ``strength``
    says; ``anatomy``: "phantom" or a CT, of which each image gets a body of its own to start from. The rest, such as
    ``guidance_interval``, ``strength`` and ``vary``: see `gen.model.sampling.settings.Settings`.
    """

    text: str = ""
    prompts_file: Path | None = None
    count: int = 1
    seed: int = 0
    steps: int | None = None  # None: the model's, likewise of ``guidance``
    guidance: float | None = None
    guidance_interval: tuple[float, float] | None = None
    negative: str = ""
    init: Path | None = None
    anatomy: str | None = None
    strength: float | None = None  # None: DEFAULT_STRENGTH, or DEFAULT_ANATOMY_STRENGTH with ``anatomy``
    vary: bool = False
    view: str | None = None
    age: int | None = None
    sex: str | None = None
    race: str | None = None
    findings: tuple[str, ...] = ()
    raw_prompt: bool = False
    model: Path | None = None
    size: int | None = None
    device: str = "auto"
    dtype: str = "auto"
    attention: str = "auto"
    backend: str = "auto"

    @property
    def taken(self) -> float:
        """The share of the steps that are taken."""
        if self.init is None and self.anatomy is None:
            return 1.0
        return self.strength or (DEFAULT_ANATOMY_STRENGTH if self.anatomy else DEFAULT_STRENGTH)


@dataclass(frozen=True)
class Item:
    """Image ``k`` of a job: what the model gets, and the ``seed`` of its noise."""

    k: int
    seed: int
    request: Request


@dataclass(frozen=True)
class ReadJob:
    """A job whose prompts are read: the model's folder, its images, and the negative prompt as the model gets it.

    ``steps`` and ``guidance`` are the job's, or the model's where it names none.
    """

    job: Job
    folder: Path
    items: tuple[Item, ...]
    negative: str
    init: Radiograph | None
    bodies: Bodies | None
    steps: int
    guidance: float


def run_job(job: Job, out: Path, *, on_image: Callable[[Item, Path], object], log: Log | None = None) -> None:
    """Make the images of ``job`` in the data set ``out``, and of several a contact sheet.

    Each is written as it is finished, then ``on_image`` gets it with its path; metadata.csv follows now and then, and
    at the end, also that of an interruption or an error. ``log`` gets the remarks; None: neither remarks nor a progress
    bar. Raises BadInput for what `read_job` refuses, a folder that is not ours to write into, and options that the
    model cannot follow; GenError for an image that came out broken.
    """
    from tqdm import tqdm

    from gen.model.sampling.contact_sheet import write_contact_sheet
    from gen.model.sampling.pipeline import describe, load_pipeline

    read = read_job(job, log)
    there = _require_usable(out, len(read.items))
    pipeline = load_pipeline(
        read.folder,
        device=job.device,
        dtype=job.dtype,
        attention=job.attention,
        backend=job.backend,
        log=log or (lambda text: None),
    )
    if log is not None:
        log(describe(pipeline))
        if job.size not in (None, pipeline.configs.size):
            log(f"warning: the model was trained at {pipeline.configs.size} pixels; at {job.size} its images are worse")
        side = job.size or pipeline.configs.size
        if others := sorted(there - {(side, side)}):
            named = ", ".join(f"{width} x {height}" for width, height in others)
            log(f"warning: {out} has images of {named} pixels, and those of this call have {side} x {side}")
    weights_may_learn = (pipeline.capabilities or {}).get("weights_may_learn") is True
    if read.init is not None and read.init.provenance.get("synthetic") != "yes":
        weights_may_learn = False  # the licence of the image to start from is not known
    new_folders = [folder for folder in (out / "images", out) if not folder.exists()]
    try:
        (out / "images").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"--out {out} cannot be made: {error.strerror}") from error

    shown: list[Radiograph] = []
    rows: list[Row] = []
    listed = 0
    bar = tqdm(
        total=len(read.items) * round(read.steps * job.taken),
        unit="step",
        disable=log is None,
        leave=False,
    )
    try:
        for item, image, made in sample_bodies(read, pipeline, bar.update):
            path = result_path(out, image, job.seed, item.k)
            write_png(path, image)
            row = result_row(path, image, item.request, job.seed, item.k, weights_may_learn=weights_may_learn)
            rows.append(row if made is None else with_body(row, made.body, write_truth(out, path.stem, made)))
            if len(rows) >= max(ROWS_TOGETHER, listed // ROWS_TOGETHER):  # each time the whole table is written
                listed = add_rows(out, rows)
                rows.clear()
            if item.k < CONTACT_SHEET_IMAGES:
                shown.append(image)
            bar.clear()  # of the terminal's line, which the path shall have
            on_image(item, path)
    finally:
        # Also after an interruption or an error: what is finished is listed.
        bar.close()
        add_rows(out, rows)
        for folder in new_folders:
            with suppress(OSError):  # it holds images, but where the first one could not be made
                folder.rmdir()
    if len(shown) > 1:
        contact_sheet = out / "contact-sheet.png"
        write_contact_sheet(contact_sheet, shown, [item.request.prompt for item in read.items[: len(shown)]])
        if log is not None:
            log(f"contact sheet: {contact_sheet}")


def read_job(job: Job, log: Log | None = None) -> ReadJob:
    """Read the prompts of ``job`` for its model, which is not loaded; ``log`` gets each with its warnings.

    Raises BadInput, naming the option or the line of the file, for a prompt that cannot be read or contradicts the
    flags, for a folder that is no model, and for a size or a number of steps that its model cannot make.
    """
    if job.guidance is not None and not math.isfinite(job.guidance):  # nan lies in every range
        raise BadInput(f"--guidance {job.guidance} is not a number", hint="1 is no guidance")
    check_names(device=job.device, dtype=job.dtype, attention=job.attention)
    if job.guidance_interval and not 0 <= job.guidance_interval[0] < job.guidance_interval[1]:
        raise BadInput(f"guidance_interval is {job.guidance_interval}", hint="give two sigmas, such as 0.3 and 6")
    if job.anatomy is not None and job.init is not None:
        raise BadInput("--anatomy and --init are both given", hint="use one of them")
    if job.strength is not None and job.anatomy is None and job.init is None:
        raise BadInput("--strength is given without --init or --anatomy", hint="name what to start from")
    require_choice("backend", job.backend, BACKENDS)
    if job.prompts_file is not None and job.text:
        raise BadInput("--prompt and --prompts-file are both given", hint="use one of them")
    texts = {"": job.text} if job.prompts_file is None else _read_prompts(job.prompts_file)
    flags = flags_to_study(job.view, job.age, job.sex, job.race, job.findings)
    folder = job.model or bundled_model()
    check_model_folder(folder)
    capabilities = read_capabilities(folder)
    told = sampling_defaults(capabilities)
    steps: int = told["steps"] if job.steps is None else job.steps
    guidance: float = told["guidance"] if job.guidance is None else job.guidance
    if not round(steps * job.taken):
        raise BadInput(f"--strength {job.taken:g} of {steps} steps is none", hint="raise one of them")
    check_folder_settings(folder, job.size, steps)
    count_tokens, limit = token_counter(folder / "tokenizer")

    def read(text: str, added: Study, where: str, style: Sequence[str] = ()) -> Request:
        settings: dict[str, Any] = {"count_tokens": count_tokens, "limit": limit, "raw": job.raw_prompt, "style": style}
        settings["by_body"] = job.anatomy is not None
        try:
            return read_request(text, added, capabilities=capabilities, **settings)
        except BadInput as error:
            raise BadInput(f"{where}{error.message}", hint=error.hint) from error

    style = longest_style(style_of(capabilities))  # behind each prompt, and not behind the negative one
    requests = [read(text, flags, where, style) for where, text in texts.items()]
    remarks = [("prompt", request) for request in dict.fromkeys(requests)]
    if job.negative.strip():
        remarks.append(("negative prompt", read(job.negative, Study(), "--negative: ")))
    negative = remarks[-1][1].prompt if job.negative.strip() else ""
    if log is not None:
        for name, request in remarks:
            log(f"{name}: {request.prompt}")
            for warning in request.warnings:
                log(f"warning: {warning}")
        for option, value in (("negative", negative), ("guidance-interval", job.guidance_interval)):
            if value and guidance == 1:
                log(f"warning: --{option} has no effect with --guidance 1")
        if off := off_grid(capabilities, steps, guidance):
            log(f"warning: {off}")
    wanted = [request for request in requests for _ in range(job.count)]
    items = [Item(k, derived_seed(job.seed, k), request) for k, request in enumerate(wanted)]
    init = None if job.init is None else read_radiograph(job.init)
    if init is not None and min(init.pixels.shape) < SMALLEST_START:
        size = " x ".join(map(str, init.pixels.shape[::-1]))
        raise BadInput(
            f"{job.init} has {size} pixels, too few to start from", hint=f"{SMALLEST_START} a side are needed"
        )
    if init is not None and init.provenance.get("synthetic") != "yes" and log is not None:
        log(f"warning: {job.init} is not marked as synthetic; what is made from it may show its patient")
    bodies = None if job.anatomy is None else _open_bodies(job.anatomy, list(texts), requests)
    return ReadJob(job, folder, tuple(items), negative, init, bodies, steps, guidance)


def _open_bodies(where: str, places: Sequence[str], requests: Sequence[Request]) -> Bodies:
    """The bodies of ``where``; BadInput, with the place of the prompt, for one that no body can show."""
    bodies = open_bodies(where)
    for place, request in zip(places, requests, strict=True):
        if request.study is None:
            raise BadInput(f"{place}--anatomy needs a prompt that can be read", hint="name finding, view, age and sex")
        if reason := bodies.obstacle(request.study):
            hint = "leave that out of the prompt, or leave out --anatomy"
            raise BadInput(f"{place}no body of --anatomy {where} can show this prompt: {reason}", hint=hint)
    return bodies


def sample_bodies(
    read: ReadJob, pipeline: Pipeline, on_step: Callable[[int], object] = lambda images: None
) -> Iterator[tuple[Item, Radiograph, OfBody | None]]:
    """As `sample_job`, each image with the truth of the body that it was started from, where there are bodies."""
    if read.bodies is None:
        yield from ((item, image, None) for item, image in sample_job(read, pipeline, on_step))
        return
    side = read.job.size or pipeline.configs.size
    canonical = has_canonical_frame(pipeline.capabilities)
    for start in range(0, len(read.items), pipeline.rows):
        plain = replace(read.job, vary=False)  # what varies is varied with its truth
        some = replace(read, job=plain, items=read.items[start : start + pipeline.rows])
        studies = [(item.request.study or Study(), item.seed) for item in some.items]
        bodies = [read.bodies.make(study, seed, side, canonical=canonical) for study, seed in studies]
        images = sample_job(some, pipeline, on_step, bodies)
        for body, (item, image) in zip(bodies, images, strict=True):
            made = finished(image, body, vary_by=item.seed if read.job.vary else None)
            yield item, made.image, made


def sample_job(
    read: ReadJob,
    pipeline: Pipeline,
    on_step: Callable[[int], object] = lambda images: None,
    bodies: Sequence[Body] = (),
) -> Iterator[tuple[Item, Radiograph]]:
    """The images of a job in order, as they are finished, by the ``pipeline`` loaded from its folder.

    ``bodies`` are what each starts from, where that is not the job's own image.
    """
    from gen.model.sampling.pipeline import sample

    begun = {"init": [] if read.init is None else [read.init] * len(read.items)}
    images = sample(
        pipeline,
        [item.request.prompt for item in read.items],
        [item.seed for item in read.items],
        **(started_from(bodies, pipeline.capabilities) if bodies else begun),
        steps=read.steps,
        guidance=read.guidance,
        guidance_interval=read.job.guidance_interval,
        negative=read.negative,
        size=read.job.size,
        strength=read.job.taken,
        vary=read.job.vary,
        on_step=on_step,
    )
    return zip(read.items, images, strict=True)


def _require_usable(out: Path, images: int) -> set[tuple[int, int]]:
    """The sizes (width, height) of the images in ``out``.

    Raises before the work what would stop it at its end: a place or a manifest that ``images`` cannot be added to.
    """
    if out.exists() and not out.is_dir():
        raise BadInput(f"--out {out} is not a folder")
    sizes = {(row.width, row.height) for row in existing_rows(out)}
    require_free_space(out, images * _BYTES_AN_IMAGE, "writing the images")
    return {(width, height) for width, height in sizes if width and height}


def _read_prompts(path: Path) -> dict[str, str]:
    """The prompts of a file, one a line, by where they stand in it; blank lines and "#" lines count and hold none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not text in UTF-8", hint="write one prompt a line") from error
    stripped = {f"{path}, line {i}: ": line.strip() for i, line in enumerate(lines, 1)}
    prompts = {where: line for where, line in stripped.items() if line and not line.startswith("#")}
    if not prompts:
        raise BadInput(f"{path} holds no prompt", hint="write one prompt a line")
    return prompts
