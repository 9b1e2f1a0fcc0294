"""Guards against leakage, before any training: patients on two sides, images of the test or validation patients among
those to learn from, files by which a classifier could tell real from synthetic.

Each is refused by name, or is dropped or accepted where the config says so, and then stands in the report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from augment.classify.config import ClassifierConfig
from augment.classify.data import Sources, short
from gen.core.errors import BadInput
from gen.data.loader import evenly, pixel_cache
from gen.data.split import patient_of
from gen.evaluate.copies import SIDE, nearest_aligned, planted
from gen.evaluate.images import cache_folder, digests
from gen.images.reader import read_radiograph
from gen.statistics.scores import auroc

if TYPE_CHECKING:
    from gen.core.manifest import Row

PLANTED_COPIES = 20  # test images whose planted copies say how near a copy is
CODEC_SHARE = 0.05  # how far the shares of a file format may differ between real and synthetic images
SIZE_RATIO = 1.1  # and how far the medians of the longer sides
TOLD_APART = 0.9  # AUROC of one number of an image, from which on it tells real and synthetic images apart


def guarded(sources: Sources, config: ClassifierConfig, further: Mapping[str, Sequence[Row]] | None = None) -> Sources:
    """``sources`` without what must not be learnt from, and with notes on it; ``further`` are test sets by name.

    BadInput for what is neither dropped nor accepted by ``config``.
    """
    tests = {
        "the test images": sources.real["test"],
        **{f"the test set {name}": rows for name, rows in (further or {}).items()},
    }
    train, validation = sources.real["train"], sources.real["validation"]
    more = [*sources.derived.values(), *sources.synthetic.values()]
    learnt = [train, *more]
    notes = [line for rows in more for line in require_parity(train, rows, config.accept)]
    for folder, rows in sources.synthetic.items():
        notes += exposure_notes(train, folder, rows, cache_of(config))
    dropped: set[Path] = set()
    lines: list[str] = []
    # Weights are chosen, and thresholds set, by the validation images: neither may look at a test image.
    for used, held_out in (([*learnt, validation], tests), (learnt, {"the validation images": validation})):
        require_other_patients([row for rows in used for row in rows], held_out)
        left = {name: _without(dropped, rows) for name, rows in held_out.items()}
        for rows in used:  # one by one: what is dropped of a set does not depend on which others there are
            found, said = near_images(_without(dropped, rows), left, cache_of(config))
            dropped, lines = dropped | found, [*lines, *said]
    if dropped and config.near_duplicates == "refuse":
        raise BadInput(
            f"{len(dropped)} image(s) to learn from or to validate on show held-out ones: {lines[0]}",
            hint="take them out, or let near_duplicates=drop do it",
        )
    originals = {row.file_name for row in train if row.file in dropped}  # what is derived from them goes with them
    return Sources(
        {**{split: _without(dropped, rows) for split, rows in sources.real.items()}, "test": sources.real["test"]},
        {folder: _without(dropped, rows) for folder, rows in sources.synthetic.items()},
        {
            folder: [row for row in _without(dropped, rows) if row.file_name not in originals]
            for folder, rows in sources.derived.items()
        },
        (*sources.notes, *dict.fromkeys([*notes, *(f"not used: {line}" for line in lines)])),
    )


def _without(dropped: set[Path], rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.file not in dropped]


def cache_of(config: ClassifierConfig) -> Path:
    """The folder of decoded images, made for the user alone: they are patients' pictures."""
    cache = Path(config.cache) if config.cache else cache_folder()
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    return cache


def require_other_patients(learnt: Sequence[Row], held_out: Mapping[str, Sequence[Row]]) -> None:
    """BadInput where a patient of ``held_out`` images is also learnt from, or chosen by; patients are told by source
    and id."""
    known = {(row.source, row.patient_id) for row in learnt if row.patient_id}
    files = {row.file for row in learnt}
    for name, rows in held_out.items():
        both = sorted({patient_of(row) for row in rows if (row.source, row.patient_id) in known or row.file in files})
        if both:
            raise BadInput(
                f"{len(both)} patient(s) of {name} are also learnt from (the first is {both[0]})",
                hint="a patient belongs to one side; take them out of one of the two",
            )


def near_images(
    learnt: Sequence[Row], held_out: Mapping[str, Sequence[Row]], cache: Path
) -> tuple[set[Path], list[str]]:
    """The files of ``learnt`` that show an image of ``held_out``, and a line for each: the same pixels, or as near as
    95 % of copies of such images are that were shifted, turned, toned and compressed."""
    rows = [(name, row) for name, listed in held_out.items() for row in listed]
    if not rows or not learnt:
        return set(), []
    held_u8, learnt_u8 = pixel_cache([row for _, row in rows], SIDE, cache), pixel_cache(learnt, SIDE, cache)
    found: dict[int, str] = {}
    pictures = {digest: k for k, digest in enumerate(digests(held_u8))}
    for i, digest in enumerate(digests(learnt_u8)):
        if digest in pictures:
            name, row = rows[pictures[digest]]
            found[i] = f"{learnt[i].file_name} is {row.file_name} of {name}, pixel for pixel"
    limit = copy_limit(held_u8)
    asked = np.arange(len(rows))
    while len(asked) and len(found) < len(learnt):  # an image with one copy may have another
        left = np.setdiff1d(np.arange(len(learnt)), list(found))
        nearest = nearest_aligned(held_u8[asked], learnt_u8[left])
        near = nearest.distance <= limit
        asked = asked[near]
        for (name, row), i in zip((rows[k] for k in asked), left[nearest.index[near]].tolist(), strict=True):
            found.setdefault(i, f"{learnt[i].file_name} is nearly {row.file_name} of {name}")
    return {learnt[i].file for i in found}, [found[i] for i in sorted(found)]


def copy_limit(pixels_u8: np.ndarray) -> float:
    """The distance below which 95 % of planted copies of ``pixels_u8`` (N, S, S) are, as in `gen.evaluate.privacy`."""
    some = evenly(pixels_u8, PLANTED_COPIES)
    copies = planted(some)["all of these"]
    own = [nearest_aligned(copies[k : k + 1], some[k : k + 1]).distance[0] for k in range(len(some))]
    return float(np.percentile(own, 95))


def require_parity(real: Sequence[Row], synthetic: Sequence[Row], accept: Sequence[str]) -> list[str]:
    """What differs between the files of real and synthetic images in codec and size; BadInput unless it is accepted.

    A classifier learns the codec where it tells the two apart, and with it whatever labels are more frequent in one.
    """
    if not real or not synthetic:
        return []
    lines: list[tuple[str, str]] = []
    shares = [_formats(rows) for rows in (real, synthetic)]
    if max(abs(shares[0].get(kind, 0) - shares[1].get(kind, 0)) for kind in shares[0] | shares[1]) > CODEC_SHARE:
        said = [", ".join(f"{share:.0%} {kind}" for kind, share in sorted(each.items())) for each in shares]
        lines.append(("codec", f"real images are {said[0]}, synthetic ones {said[1]}"))
    sides = [
        float(np.median([_side(rows[i]) for i in evenly(np.arange(len(rows)), 200)])) for rows in (real, synthetic)
    ]
    if max(sides) > SIZE_RATIO * min(sides):
        lines.append(("size", f"real images have {sides[0]:.0f} pixels a side and synthetic ones {sides[1]:.0f}"))
    for word, line in lines:
        if word not in accept:
            raise BadInput(
                f"{line}: a classifier would learn that",
                hint="bring both to one format and size (gen data prepare), or accept it and have it reported: "
                f"accept=[{','.join(sorted({*accept, word}))}]",
            )
    return [f"accepted: {line}" for _, line in lines]


def exposure_notes(real: Sequence[Row], folder: str, synthetic: Sequence[Row], cache: Path) -> list[str]:
    """A line where the exposure alone tells real images from the ``synthetic`` ones of ``folder``.

    Of an image that is the distance of the 3rd and the 97th percentile of its grey levels, in parts of white.
    It is noted and not refused: films differ so from source to source, too.
    """
    if not real or not synthetic:
        return []
    spans = [
        np.diff(np.percentile(evenly(pixel_cache(rows, SIDE, cache), 200), (3, 97), axis=(1, 2)), axis=0)[0] / 255
        for rows in (real, synthetic)
    ]
    told = auroc(np.concatenate(spans), np.repeat([0.0, 1.0], [len(span) for span in spans]))
    if max(told, 1 - told) < TOLD_APART:
        return []
    return [
        f"the grey levels of {short(folder)} span {np.median(spans[1]):.2f} of the range from black to white, "
        f"those of the real images {np.median(spans[0]):.2f}: a classifier can tell the two apart by the exposure "
        "(of a data set job for prepared images, take vary=false)"
    ]


def _formats(rows: Sequence[Row]) -> dict[str, float]:
    """The share of each file format, by the first bytes of the files: a suffix may lie."""
    counts: Counter[str] = Counter()
    for row in rows:
        with row.file.open("rb") as stream:
            head = stream.read(132)
        kind = "PNG" if head[:4] == b"\x89PNG" else "JPEG" if head[:2] == b"\xff\xd8" else "DICOM"
        counts[kind] += 1
    return {kind: count / len(rows) for kind, count in counts.items()}


def _side(row: Row) -> int:
    """The longer side of an image in pixels, by the table where it says so."""
    if row.width and row.height:
        return max(row.width, row.height)
    return max(read_radiograph(row.file).pixels.shape)
