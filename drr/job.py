"""A job of ``gen drr``: many patients, views and variants into one data set; whole images only, and resumable."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from drr.backends.tiles import Stack
from drr.ct.volume import Volume
from drr.geometry import FIELD_MM, View, jitter, parse_view
from drr.insert.request import LesionRequest, parse_lesion
from drr.masks import label_stacks, mask_stack
from drr.phantom.chest import HABITUS, SEXES, make_phantom
from drr.physics.technique import technique_of
from drr.projection import Projection, render
from drr.reader import read_labels, read_volume
from drr.record import is_whole, row_of, write_projection
from drr.scene import Scene, insert, load_scene
from gen.core.errors import BadInput, GenError
from gen.core.files import require_free_space, sha256_file
from gen.core.manifest import write_manifest
from gen.core.run import CONFIG, derived_seed, open_run, read_log

DRAWN_AGES = 20, 90  # of phantoms, years
PHANTOM_LICENCE = "Apache-2.0"
_BYTES_A_PIXEL = 3  # of all that is written for an image, PNG compressed, on average


@dataclass(frozen=True)
class Job:
    """What is to be made; saved as config.yaml of the folder.

    ``cts``: files or DICOM folders, or none for the phantom, of which ``variants`` individuals are made (``sex``,
    ``age``, ``habitus`` None: drawn). ``masks``: None, the label map of the one CT, or "auto" (the labels that the
    phantom has; of a CT the lungs). ``paths``: keep the line integrals. ``kvp``, ``sdd_mm``, ``sod_mm`` None: the usual
    of the view. ``size`` and ``field_mm``: pixels and mm a side of the detector, before it is cropped to the scan.
    ``dicom``: a photometric interpretation, or None for no DICOM.
    """

    cts: tuple[Path, ...] = ()
    sex: str | None = None
    age: int | None = None
    habitus: str | None = None
    views: tuple[str, ...] = ("PA",)
    variants: int = 1
    jitter: bool = False
    lesions: tuple[str, ...] = ()
    pairs: bool = False
    masks: str | None = None
    mask_names: Path | None = None
    paths: bool = False
    kvp: float | None = None
    sdd_mm: float | None = None
    sod_mm: float | None = None
    size: int = 1024
    field_mm: float = FIELD_MM
    clahe: bool = False
    bits: int = 8
    dicom: str | None = None
    seed: int = 0
    licence: str = ""
    weights_may_learn: bool = False


@dataclass(frozen=True)
class Patient:
    """One patient of a job: ``read`` gives the volume, ``variants`` are the numbers of the images of each view."""

    key: str
    read: Callable[[], Volume]
    variants: range


@dataclass(frozen=True)
class Done:
    """How many images the folder has, and one line for each patient or view that could not be projected."""

    images: int
    failures: tuple[str, ...]


def run_job(
    job: Job,
    out: Path,
    *,
    threads: int | None = None,
    command: Sequence[str] = (),
    on_image: Callable[[Path, Mapping[str, Any]], None],
    on_remark: Callable[[str], None] = lambda _: None,
    quiet: bool = False,
) -> Done:
    """Make what is missing of ``job`` in ``out``; ``on_image`` gets the path and the truth of each image made.

    ``on_remark`` gets what the user should know of how a CT was read; it is in the truth too. A patient that
    cannot be read and a view that shows too little are listed, and the rest goes on; where there is one patient and one
    view, its own error is raised. ``threads`` as of `render`: they are of the machine and not of the job, so that it
    may be continued with others. BadInput where ``out`` holds another job.
    """
    from tqdm import tqdm

    views = {view.name: view for view in (_view(job, text) for text in job.views)}
    for view in views.values():
        technique_of(view, job.kvp)  # refuses a voltage that no tube has, before any work
    requests = [parse_lesion(text) for text in job.lesions]
    for k, request in enumerate(requests):
        if any(_clash(request, other) for other in requests[:k]):
            raise BadInput(f"{request.device or request.finding} is asked for twice on one side", hint="name it once")
        for view in views.values():
            if request.position not in (None, view.position):
                raise BadInput(
                    f"a {request.position} {request.finding} and view {view.name}, which is {view.position}",
                    hint="leave the position out: it follows from the view",
                )
    if job.mask_names is not None and job.masks in (None, "auto"):
        raise BadInput("--mask-names names the labels of --masks, which is no label map", hint="give both, or neither")
    patients = _patients(job)
    wanted = [(patient, k, text) for patient in patients for k in patient.variants for text in views]
    require_free_space(out, len(wanted) * job.size**2 * _BYTES_A_PIXEL, "writing the images")
    failures: list[str] = []
    inputs = {f"file {path}": digest for path, digest in _digests(job).items()}
    with open_run(out, job, command=command, **inputs) as run:
        made = {line["stem"]: line for line in read_log(out) if "stem" in line and is_whole(out, line)}
        bar = tqdm(total=len(wanted), initial=len(made), unit="image", disable=quiet, leave=False)

        def remark(text: str) -> None:
            bar.clear()
            on_remark(text)

        try:
            for patient in patients:
                todo = [(k, text) for k in patient.variants for text in views if _stem(patient, text, k) not in made]
                for stem, projection in _projections(job, patient, views, requests, todo, failures, remark, threads):
                    made[stem] = write_projection(
                        out, stem, projection, bits=job.bits, photometric=job.dicom, paths=job.paths
                    )
                    run.log(**made[stem])
                    bar.update()
                    bar.clear()  # of the terminal's line, which the path shall have
                    on_image(out / made[stem]["image"], projection.truth)
        finally:
            # Also after an interruption: what is finished is listed.
            bar.close()
            licence = job.licence if job.cts else PHANTOM_LICENCE
            learn = job.weights_may_learn or not job.cts
            if made:
                rows = [row_of(out, made[stem], licence=licence, weights_may_learn=learn) for stem in sorted(made)]
                write_manifest(out, rows)
            elif not (out / "images").exists():
                (out / CONFIG).unlink()  # a folder in which nothing was made is open to another job
            for line in failures:
                run.log(failed=line)
    return Done(len(made), tuple(failures))


def _mask_stacks(job: Job, scene: Scene) -> dict[str, Stack]:
    """What is projected as masks: the labels of the volume; without any, the lungs that were found."""
    if job.masks is None:
        return {}
    lungs = {"lung_right": scene.lungs == 1, "lung_left": scene.lungs == 2}
    return label_stacks(scene.volume) or {name: mask_stack(mask, scene.volume) for name, mask in lungs.items()}


def _projections(
    job: Job,
    patient: Patient,
    views: dict[str, View],
    requests: Sequence[LesionRequest],
    todo: Sequence[tuple[int, str]],
    failures: list[str],
    on_remark: Callable[[str], None],
    threads: int | None,
) -> Iterator[tuple[str, Projection]]:
    """The projections of one patient that are still to be made; what cannot be made is added to ``failures``."""
    if not todo:
        return
    alone = len(job.cts or range(job.variants)) * len(views) * len(patient.variants) == 1
    scenes: dict[tuple[int, str], Scene] = {}
    try:
        volume = patient.read()
        for remark in volume.facts.get("remarks", ()):
            on_remark(f"{patient.key}: {remark}")
        plain = load_scene(volume, patient.key)
    except Exception as error:  # whatever one CT does to a library, the others are projected
        if alone:
            raise
        failures.append(f"{patient.key}: {reason_of(error)}")
        return
    masks = _mask_stacks(job, plain)
    for k, name in todo:
        stem, position = _stem(patient, name, k), views[name].position
        try:
            if (k, position) not in scenes:  # one at a time in memory
                lying = [replace(request, position=position) for request in requests]
                scene = insert(plain, lying, _rng(job, f"{patient.key}:{k}:lesions"))
                if scene.volume.labels is not plain.volume.labels:  # an enlarged heart
                    masks = _mask_stacks(job, scene)
                scenes = {(k, position): scene}
            view = jitter(views[name], _rng(job, f"{stem}:pose")) if job.jitter else views[name]
            projection = render(
                scenes[k, position],
                view,
                technique_of(view, job.kvp),
                size=job.size,
                field_mm=job.field_mm,
                rng=_rng(job, f"{stem}:noise"),
                twins=job.pairs,
                equalize=job.clahe,
                masks=masks,
                threads=threads,
            )
        except Exception as error:
            if alone:
                raise
            failures.append(f"{stem}: {reason_of(error)}")
        else:
            yield stem, projection


def _clash(one: LesionRequest, other: LesionRequest) -> bool:
    """Whether two requests are for the same thing in the same lung; nodules, masses and fractures may be several."""
    same = (one.finding, one.device) == (other.finding, other.device)
    apart = {one.side, other.side} == {"left", "right"}
    return same and not apart and one.finding not in ("Nodule", "Mass", "Fracture", "Retained Foreign Object")


def _view(job: Job, text: str) -> View:
    """The view of a name, at the distances of the job. The phantom stands in all of them: its stomach has a level."""
    view = parse_view(text)
    return replace(
        view,
        sdd_mm=job.sdd_mm or view.sdd_mm,
        sod_mm=job.sod_mm or view.sod_mm,
        position=view.position if job.cts else "erect",
    )


def reason_of(error: Exception) -> str:
    """Why something failed, in one line."""
    return (
        str(error) if isinstance(error, GenError) else f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    )


def _patients(job: Job) -> list[Patient]:
    """The patients in order. BadInput for two CTs of one name, and for options that the other kind of patient has."""
    if not job.cts:
        if job.masks not in (None, "auto"):
            raise BadInput(f"--masks {job.masks} is for a CT, and the phantom has labels", hint="use --masks auto")
        return [
            Patient(f"phantom-{job.seed}-{k:04d}", partial(_phantom, job, k), range(k, k + 1))
            for k in range(job.variants)
        ]
    if given := next((name for name in ("sex", "age", "habitus") if getattr(job, name) is not None), None):
        raise BadInput(f"--{given} is for the phantom, and a CT was given", hint="leave one of them out")
    if job.masks not in (None, "auto") and len(job.cts) > 1:
        raise BadInput(
            f"--masks {job.masks} is the label map of one CT, and {len(job.cts)} were given",
            hint="project them one at a time, or use --masks auto",
        )
    for path in _named(job):
        if not Path(path).exists():
            raise BadInput(f"{path}: no such file or folder")
    keys = patient_keys(job.cts)
    return [Patient(key, partial(_read, job, ct), range(job.variants)) for key, ct in zip(keys, job.cts, strict=True)]


def patient_keys(cts: Sequence[str | Path]) -> list[str]:
    """What the patient of each CT is called: by its file or folder, or by both where files in several have one name.

    BadInput for two that are still called the same.
    """
    keys = [_key(Path(ct)) for ct in cts]
    if len(set(keys)) < len(keys):  # s0001/ct.nii.gz, s0002/ct.nii.gz
        keys = [f"{Path(ct).resolve().parent.name}-{key}" for ct, key in zip(cts, keys, strict=True)]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise BadInput(f"two CTs are called {twice!r}, and images are named after them", hint="rename one of them")
    return keys


def _phantom(job: Job, k: int) -> Volume:
    """Individual ``k``: what the job leaves open is drawn."""
    rng = _rng(job, f"phantom:{k}")
    sex, habitus, age = (
        str(rng.choice(SEXES)),
        str(rng.choice(list(HABITUS))),
        int(rng.integers(*DRAWN_AGES, endpoint=True)),
    )
    return make_phantom(
        sex=job.sex or sex,
        habitus=job.habitus or habitus,
        age=age if job.age is None else job.age,
        seed=derived_seed(job.seed, f"phantom:{k}:individual"),
    )


def _read(job: Job, ct: Path) -> Volume:
    volume = read_volume(ct)
    if job.masks in (None, "auto"):
        return volume
    assert job.masks is not None
    return replace(volume, labels=read_labels(job.masks, volume, job.mask_names))


def _digests(job: Job) -> dict[str, str]:
    """The content of every file that the job reads, so that a folder is not continued from other data."""
    return {str(path): digest_of(Path(path)) for path in _named(job)}


def _named(job: Job) -> list[str | Path]:
    """The files and folders that the job reads."""
    masks = None if job.masks == "auto" else job.masks
    return [path for path in (*job.cts, masks, job.mask_names) if path is not None]


def digest_of(path: Path) -> str:
    """SHA-256 of a file, or of the files of a folder in order of their names; "" for what is not there."""
    if not path.is_dir():
        return sha256_file(path) if path.is_file() else ""
    total = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        total.update(f"{file.relative_to(path)}:{sha256_file(file)}\n".encode())
    return total.hexdigest()


def _rng(job: Job, key: str) -> np.random.Generator:
    return np.random.default_rng(derived_seed(job.seed, key))


def _key(path: Path) -> str:
    """The name of a CT without the suffix of its format: images are named after it."""
    name = path.absolute().name  # the user's own, where it is a link
    return (
        name if path.is_dir() else re.sub(r"(\.nii)?(\.gz)?$|\.(nrrd|nhdr|mha|mhd|dcm)$", "", name, flags=re.IGNORECASE)
    )


def _stem(patient: Patient, view: str, k: int) -> str:
    return f"{patient.key}-{view.replace('/', '_')}-{k:04d}"
