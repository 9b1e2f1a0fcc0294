"""A job of `gen suppress`: many radiographs into one folder; whole files only, and resumable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from augment.suppress.derived import derived_dicom, secondary_capture
from augment.suppress.folder import Suppressor, load_suppressor
from augment.suppress.separate import separate
from gen.core.errors import BadInput, GenError
from gen.core.files import sha256_file, write_bytes
from gen.core.radiograph import Radiograph, png_bytes
from gen.core.run import open_run, read_log
from gen.images.files import image_files
from gen.images.reader import read_radiograph

if TYPE_CHECKING:
    from gen.anatomy.folder import Anatomy

MARK = "bone_suppressed"  # key of a PNG's text
_SERIES = "bone suppressed by a network, not for clinical use"


@dataclass(frozen=True)
class Job:
    """What is made of each image; saved as config.yaml of the folder.

    ``strength``: the share of the bone that is taken away. ``bone``: write it, too. ``format``: "png" or "dicom".
    ``check``: refuse what the anatomy network does not take for one upright frontal chest.
    """

    strength: float = 1.0
    bone: bool = False
    format: str = "png"
    check: bool = True


@dataclass(frozen=True)
class Done:
    """How many images the folder has, and one line for each that failed."""

    images: int
    failures: tuple[str, ...]


def find_images(inputs: Sequence[Path]) -> dict[str, Path]:
    """Files by the name that their results have, without a suffix: those named, and those of named folders.

    A file of a folder keeps its place there. Raises BadInput as `gen.images.files.image_files` does, and for two files
    that would have the same result.
    """
    found: dict[str, Path] = {}
    for given in inputs:
        for path in image_files([given]):
            place = path.relative_to(given) if given.is_dir() else Path(path.name)
            name = place.with_suffix("").as_posix()
            if (other := found.setdefault(name, path)).resolve() != path.resolve():
                raise BadInput(f"{other} and {path} would both become {name}", hint="give one of them to another --out")
    return found


def run_job(
    job: Job,
    inputs: Sequence[Path],
    out: Path,
    model: Path | None = None,
    *,
    device: str = "auto",
    command: Sequence[str] = (),
    on_image: Callable[[Mapping[str, Any]], None],
    quiet: bool = False,
) -> Done:
    """Make what is missing of ``inputs`` in ``out``: soft/, and bone/ where it is asked for.

    ``on_image`` gets the line of each image that is made. An image that cannot be read or is refused is listed, and the
    rest goes on. BadInput where ``out`` holds another job, or one of the images.
    """
    from tqdm import tqdm

    from gen.anatomy.folder import load_anatomy
    from gen.model.device import pick_device

    images = find_images(inputs)
    for path in images.values():
        if path.resolve().is_relative_to(out.resolve()):
            raise BadInput(f"{path} lies in --out {out}", hint="results go into a folder of their own")
    suppressor = load_suppressor(model, pick_device(device))
    anatomy = load_anatomy() if job.check else None
    failures: list[str] = []
    with open_run(out, job, command=command, model=suppressor.digest) as run:
        lines = {line["name"]: line for line in read_log(out) if "name" in line}
        bar = tqdm(images.items(), unit="image", disable=quiet, leave=False)
        made = 0
        for name, path in bar:
            try:
                source = sha256_file(path)
                if name in lines and lines[name]["source"] == source and _is_whole(out, lines[name]):
                    made += 1
                    continue
                line = _make(job, suppressor, anatomy, path, name, source, out)
            except OSError as error:
                failures.append(f"{path}: {error.strerror or error}")
            except GenError as error:
                failures.append(str(error) if str(path) in str(error) else f"{path}: {error}")
            else:
                made += 1
                run.log(**line)
                bar.clear()
                on_image(line)
        for text in failures:
            run.log(failed=text)
    return Done(made, tuple(failures))


def parts_of(
    path: Path,
    suppressor: Suppressor,
    anatomy: Anatomy | None,
    strength: float,
    remedy: str = "--no-check makes it all the same",
) -> dict[str, Radiograph]:
    """The "soft" image and the "bone" of the radiograph at ``path``, which say what they are.

    Raises BadInput for what `read_radiograph` and `separate` refuse, for a radiograph whose bone was suppressed before,
    and, unless ``anatomy`` is None, for what that network does not take for one upright frontal chest, with ``remedy``
    as the hint.
    """
    image = read_radiograph(path)
    if image.provenance.get(MARK) or _derivation(path).endswith(_SERIES):
        raise BadInput(f"{path}: its bone was suppressed before", hint="give the original")
    if anatomy is not None:
        from gen.anatomy.reading import read_anatomy

        if reason := next(iter(read_anatomy(anatomy, [image.pixels]))).refused:
            raise BadInput(f"{path}: {reason}", hint=remedy)
    parts = separate(suppressor, image.pixels, strength)
    told = {MARK: "estimated", "bone_suppression": suppressor.digest, "strength": f"{strength:g}"}
    told |= {"source_sha256": sha256_file(path), "bone_suppressed_by": f"cxr-gen {version('cxr-gen')}"}
    return {
        part: replace(image, pixels=pixels, provenance={**image.provenance, **told, "shows": part})
        for part, pixels in {"soft": parts.soft, "bone": parts.bone}.items()
    }


def _make(
    job: Job, suppressor: Suppressor, anatomy: Anatomy | None, path: Path, name: str, source: str, out: Path
) -> dict[str, Any]:
    files = {}
    for part, made in parts_of(path, suppressor, anatomy, job.strength).items():
        if part == "bone" and not job.bone:
            continue
        file = f"{part}/{name}.{'png' if job.format == 'png' else 'dcm'}"
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(out / file, _encoded(job, made, path, name))
        files[file] = sha256_file(out / file)
    return {"name": name, "file": str(path), "source": source, "files": files}


def _encoded(job: Job, image: Radiograph, path: Path, name: str) -> bytes:
    bits, dicom = _bits(path)
    if job.format == "png":
        return png_bytes(image, 8 if bits == 8 else 16)
    what = f"{image.provenance['shows']}: {_SERIES}"
    return derived_dicom(path, image, bits, what) if dicom else secondary_capture(image, bits, name, what)


def _derivation(path: Path) -> str:
    """How a DICOM file says that it was derived; "" of another file, and of one that says nothing."""
    import pydicom

    if not _is_dicom(path):
        return ""
    return str(
        pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["DerivationDescription"]).get(
            "DerivationDescription", ""
        )
    )


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _bits(path: Path) -> tuple[int, bool]:
    """How many bits a pixel of the file has, 8 to 16, and whether it is DICOM."""
    if _is_dicom(path):
        import pydicom

        stored = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["BitsStored"]).BitsStored
        return min(max(int(stored), 8), 16), True
    with Image.open(path, formats=("PNG", "JPEG")) as picture:
        return (16 if picture.mode.startswith("I") else 8), False


def _is_whole(out: Path, line: Mapping[str, Any]) -> bool:
    files = line["files"]
    return all((out / name).is_file() and sha256_file(out / name) == digest for name, digest in files.items())
