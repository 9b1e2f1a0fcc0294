"""A folder of radiographs as one array on disk, with everything that was left out of it named and counted.

Images are read one at a time, so that the memory does not grow with the set. The array is cached under a hash of the
files' own bytes: never of a folder's name or its number of files, under which another set would pass for this one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gen.core.errors import BadInput
from gen.core.files import atomic_file, sha256_file, write_json
from gen.core.manifest import Row, scan_manifest, split_of
from gen.data.loader import to_pixels_u8
from gen.data.split import patient_of
from gen.images.greys import remarks
from gen.images.reader import DISPLAY, read_radiograph

REFUSE_BELOW = 64  # images: two halves of 32, in which five nearest neighbours are hardly near any more
WARN_BELOW = 500
FEWEST_PATIENTS = 16  # below, too few can be left out in turn for an interval
FAINTEST = 8  # grey levels of 255 between the darkest and the brightest pixel; less shows nothing
_FORMAT = 2  # of the cache; another one is another file


@dataclass(frozen=True)
class ImageSet:
    """The usable images of ``folder``, padded to squares and brought to S x S pixels.

    ``sha256`` is that of an image's pixels, so the same picture in another file has the same one; ``sides`` are the
    longer sides in pixels as stored. ``excluded`` has a line for each row that is not in ``rows``, which starts with
    the reason: unreadable (the row of the table), corrupt (the file), constant or duplicate. ``odd`` has a line for
    each usable image that is nearly black, nearly white, flat or clipped.
    """

    folder: Path
    rows: tuple[Row, ...]
    pixels_u8: np.ndarray  # uint8 (N, S, S), a memory map
    sha256: tuple[str, ...]
    excluded: tuple[str, ...] = ()
    sides: tuple[int, ...] = ()
    odd: tuple[str, ...] = ()

    @property
    def counts(self) -> Mapping[str, int]:
        """Excluded rows by reason."""
        return Counter(line.partition(":")[0] for line in self.excluded)

    @property
    def units(self) -> tuple[str, ...]:
        """The patient of each image; a file without one is a patient of its own."""
        return tuple(patient_of(row) for row in self.rows)


def cache_folder() -> Path:
    """The folder of cached pixels and embeddings: ``cxr-gen`` in ``$XDG_CACHE_HOME``, or in ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "cxr-gen"


def read_images(
    folder: str | Path, size: int = 256, *, split: str | None = None, cache: str | Path | None = None
) -> ImageSet:
    """The images that the metadata.csv of ``folder`` lists, those of ``split`` only where one is named.

    The split is the folder that a row stands in, or else the band of its patient. Of images with the same pixels the
    first stays. ``cache`` [default: `cache_folder`] is made for the user alone: it holds patients' pictures.
    BadInput where there is no table, or no row of ``split``; EnvironmentLacks where a decoder is not installed.
    """
    manifest, problems = scan_manifest(folder)
    rows = [row for row in manifest.rows if split in (None, row.split or split_of(patient_of(row)))]
    if not rows:
        wanted = f" of split {split!r}" if split else ""
        raise BadInput(f"{folder} lists no image{wanted} that can be read", hint="see `gen data check`")
    cache = Path(cache or cache_folder())
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = [(row.file_name, row.split, sha256_file(row.file)) for row in rows]
    key = hashlib.sha256(repr((_FORMAT, DISPLAY, size, files)).encode()).hexdigest()[:24]
    pixels, record = cache / f"pixels-{key}.u8", cache / f"pixels-{key}.json"
    if not (record.exists() and pixels.exists()):  # the record is written last, and vouches for the pixels
        write_json(record, _read_all(rows, size, pixels))
    known = json.loads(record.read_bytes())
    if not known["kept"]:
        raise BadInput(f"none of the {len(rows)} images of {folder} can be used", hint=f"first: {known['excluded'][0]}")
    return ImageSet(
        folder=manifest.folder,
        rows=tuple(rows[index] for index in known["kept"]),
        pixels_u8=np.memmap(pixels, np.uint8, "r", shape=(len(known["kept"]), size, size)),
        sha256=tuple(known["sha256"]),
        excluded=(
            *(f"unreadable: {problem.removeprefix(f'{manifest.folder}{os.sep}')}" for problem in problems),
            *known["excluded"],
        ),
        sides=tuple(known["sides"]),
        odd=tuple(known["odd"]),
    )


def digests(pixels_u8: np.ndarray) -> tuple[str, ...]:
    """SHA-256 of each image of uint8 ``pixels_u8`` (N, H, W), its shape included."""
    shape = repr(pixels_u8.shape[1:]).encode()
    return tuple(hashlib.sha256(shape + np.ascontiguousarray(image).tobytes()).hexdigest() for image in pixels_u8)


def require_enough(
    images: ImageSet, what: str, refuse_below: int = REFUSE_BELOW, warn_below: int = WARN_BELOW
) -> list[str]:
    """Warnings about a set that is small; BadInput for one that is too small for its figures to mean anything."""
    count, patients = len(images.rows), len(set(images.units))
    hint = f"add images; from {warn_below} on the intervals are narrow enough to compare models by"
    if images.excluded:
        hint += f" ({len(images.excluded)} rows were excluded: {reasons(images)})"
    if count < refuse_below or patients < FEWEST_PATIENTS:
        raise BadInput(
            f"{images.folder}: {count} usable {what} images of {patients} patients are too few: at least "
            f"{refuse_below} of {FEWEST_PATIENTS} patients are needed",
            hint=hint,
        )
    if count < warn_below:
        return [f"only {count} {what} images: below {warn_below} all intervals are wide"]
    return []


def reasons(images: ImageSet) -> str:
    """The counts of excluded rows, as "2 corrupt, 1 duplicate", or "none"."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(images.counts.items())) or "none"


def odd_greys(images: ImageSet, what: str) -> list[str]:
    """A warning that names the images whose greys are odd, the first five of them; none where there are none."""
    if not images.odd:
        return []
    more = f"; and {len(images.odd) - 5} more" if len(images.odd) > 5 else ""
    return [f"{len(images.odd)} of {len(images.rows)} {what} images are odd: {'; '.join(images.odd[:5])}{more}"]


def overlap(first: ImageSet, second: ImageSet) -> tuple[tuple[str, str], ...]:
    """The images that both sets hold, pixel for pixel, as pairs of file names."""
    names = {sha256: row.file_name for row, sha256 in zip(second.rows, second.sha256, strict=True)}
    both = zip(first.rows, first.sha256, strict=True)
    return tuple((row.file_name, names[sha256]) for row, sha256 in both if sha256 in names)


def require_apart(real: ImageSet, synthetic: ImageSet) -> None:
    """BadInput where the two are one folder, share pictures, or stand in each other's place."""
    if real.folder.resolve() == synthetic.folder.resolve():
        raise BadInput(f"{real.folder} was given as the real and as the synthetic folder", hint="name two folders")
    posing = [row.file_name for row in real.rows if row.source.startswith("synthetic")]
    if posing:
        raise BadInput(
            f"{len(posing)} of {len(real.rows)} images of the real folder {real.folder} say in their column source "
            f"that they are synthetic (the first is {posing[0]})",
            hint="were --real and --synthetic swapped?",
        )
    shared = overlap(synthetic, real)
    if shared:
        raise BadInput(
            f"{len(shared)} of {len(synthetic.rows)} images of {synthetic.folder} are real ones of {real.folder}, "
            f"pixel for pixel (the first is {shared[0][0]}, there {shared[0][1]})",
            hint="a set cannot be scored against itself; take them out of one of the two",
        )


def mismatches(real: ImageSet, synthetic: ImageSet) -> list[str]:
    """Warnings about sizes in which the sets differ: a picture that was reduced or enlarged is as sharp as no other."""
    size = real.pixels_u8.shape[1]
    if synthetic.pixels_u8.shape[1] != size:
        raise BadInput(f"sets of {size} and {synthetic.pixels_u8.shape[1]} pixels a side cannot be compared")
    lines = []
    for what, images in (("real", real), ("synthetic", synthetic)):
        if len(set(images.sides)) > 1:
            lines.append(f"{what} images are of many sizes, {min(images.sides)} to {max(images.sides)} pixels a side")
        enlarged = sum(side < size for side in images.sides)
        if enlarged:
            lines.append(
                f"{enlarged} of {len(images.rows)} {what} images were enlarged to {size} pixels, so are blurred"
            )
    scales = [float(np.median(images.sides)) / size for images in (real, synthetic) if images.sides]
    if len(scales) == 2 and max(scales) > 1.1 * min(scales):
        lines.append(f"real images were reduced {scales[0]:.2g} fold and synthetic ones {scales[1]:.2g} fold")
    return lines


def _read_all(rows: Sequence[Row], size: int, pixels: Path) -> dict[str, list[object]]:
    """Write the usable images to ``pixels`` one after the other; which they are, and why others are not."""
    from tqdm import tqdm

    kept: list[object] = []
    sides: list[object] = []
    excluded: list[object] = []
    odd: list[object] = []
    first: dict[str, str] = {}
    with atomic_file(pixels) as stream:
        for index, row in enumerate(tqdm(rows, desc="reading images", unit="image", leave=False)):
            try:
                radiograph = read_radiograph(row.file)
            except BadInput as error:
                flat = "every pixel has the same value" in error.message
                why = error.message.removeprefix(f"{row.file}: ")
                excluded.append(f"constant: {row.file_name}" if flat else f"corrupt: {row.file_name} ({why})")
                continue
            pixels_u8 = to_pixels_u8(radiograph.pixels, size)
            (sha256,) = digests(pixels_u8[None])
            if int(pixels_u8.max()) - int(pixels_u8.min()) < FAINTEST:
                excluded.append(f"constant: {row.file_name} (fewer than {FAINTEST} grey levels)")
            elif sha256 in first:
                excluded.append(f"duplicate: {row.file_name} (the pixels of {first[sha256]})")
            else:
                first[sha256] = row.file_name
                kept.append(index)
                sides.append(max(radiograph.pixels.shape))
                odd += [f"{row.file_name} {remark}" for remark in remarks(radiograph.pixels)]
                stream.write(pixels_u8.tobytes())
    return {"kept": kept, "sha256": list(first), "excluded": excluded, "sides": sides, "odd": odd}
