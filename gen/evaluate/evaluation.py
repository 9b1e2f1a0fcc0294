"""One evaluation from folders to numbers: reads the sets, refuses what cannot be scored, and runs every measurement.

The results are plain (dictionaries, lists, numbers), for report.json; the pictures that a report may show are apart.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gen.core.errors import BadInput, EnvironmentLacks
from gen.data.rows import study_of
from gen.evaluate.alignment import Side, alignment, with_studies
from gen.evaluate.diversity import diversity, label_of
from gen.evaluate.extractors import Extractor, embed, extractor_of, judge_extractor
from gen.evaluate.fidelity import fidelity
from gen.evaluate.images import (
    ImageSet,
    mismatches,
    odd_greys,
    overlap,
    read_images,
    reasons,
    require_apart,
    require_enough,
)
from gen.evaluate.privacy import PIXELS, Channel, OnProgress, privacy, privacy_by_index, rare_words
from gen.language.render import render
from gen.statistics.intervals import Figure

if TYPE_CHECKING:
    from gen.judge.readings import AnyJudge
    from gen.judge.reference import Reference

EXTRACTORS = ("judge", "texture")  # one that knows radiographs, and one that nothing was ever tuned to
FOR_COPIES = ("judge", "layout")  # of the hand-made ones, the one that noise leaves as it is
WITHOUT_JUDGE = ("texture", "layout")
SHOWN, CLOSEST = 12, 8  # pairs on the contact sheet and in the gallery
THUMBNAIL = 128  # pixels a side


@dataclass(frozen=True)
class Picture:
    """A synthetic image beside a real one (None: not to be shown), uint8 (S, S), with a line of words."""

    synthetic: np.ndarray
    real: np.ndarray | None
    words: str


@dataclass(frozen=True)
class Pictures:
    """The pictures that a report may show. ``sheet``: a prompt's image and a real image of the same label;
    ``gallery``: the closest pairs of a synthetic and a training image, only where the user asked for it."""

    sheet: tuple[Picture, ...] = ()
    gallery: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Request:
    """The sets to evaluate, and how. ``judge`` is a spec of `gen.judge.plugins`, "" the bundled one; no ``extractors``:
    `EXTRACTORS`."""

    real: Path
    synthetic: Path
    train: Path | None = None
    judge: str = ""
    extractors: tuple[str, ...] = ()
    false_alarms: float = 0.01
    real_images: bool = True
    gallery: bool = False
    cache: Path | None = None


@dataclass
class _Notes:
    """Warnings, and what was not measured and why, as they come up."""

    warnings: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


def evaluate(
    request: Request, on_progress: OnProgress = lambda what, total: lambda done: None
) -> tuple[dict[str, Any], Pictures, dict[str, ImageSet]]:
    """The results of ``request``, the pictures for its report, and the sets: "real", "synthetic" and perhaps "train".

    Where --real and --train are one folder, its test and its training split are meant. BadInput for sets that cannot be
    scored (see `images`); a part that cannot be had (no judge, no training images) is missing from the results, with
    the reason under "missing".
    """
    if request.train is not None and request.train.resolve() == request.synthetic.resolve():
        raise BadInput(f"{request.train} was given as --train and as --synthetic", hint="name two folders")
    notes = _Notes()
    judge = _judge(request, notes)  # a wrong name is better met before thousands of images are read
    extractors = _extractors(request.extractors or (EXTRACTORS if judge else WITHOUT_JUDGE), judge)
    one_folder = request.train is not None and request.train.resolve() == request.real.resolve()
    real = read_images(request.real, split="test" if one_folder else None, cache=request.cache)
    synthetic = _with_studies(read_images(request.synthetic, cache=request.cache))
    require_apart(real, synthetic)
    notes.warnings += require_enough(real, "real test" if one_folder else "real")
    notes.warnings += require_enough(synthetic, "synthetic")
    notes.warnings += odd_greys(real, "real") + odd_greys(synthetic, "synthetic")
    train = None
    if request.train is not None:
        train = read_images(request.train, split="train" if one_folder else None, cache=request.cache)
    notes.warnings += mismatches(real, synthetic) + _about_rows(real, synthetic, train)

    results: dict[str, Any] = {
        "sets": {"real": _counts(real), "synthetic": _counts(synthetic)},
        "fidelity": [],
    }
    # The names of real files stay out of a report, which travels.
    results["sets"]["synthetic"]["excluded_rows"] = list(synthetic.excluded)
    sets = {"real": real, "synthetic": synthetic}
    if train is not None:
        results["sets"]["train"], sets["train"] = _counts(train), train
    for extractor in extractors:
        on_progress(f"fidelity ({extractor.name})", 0)
        results["fidelity"].append(plain(fidelity(real, synthetic, extractor, request.cache)))
    if judge is not None:
        own = getattr(judge, "figures", {})
        results["judge"] = {"name": judge.name, "fingerprint": judge.fingerprint, "figures": plain(own)}
        results["alignment"] = _alignment(judge, real, synthetic, notes, on_progress)
    if (measured := _anatomy(real, synthetic, notes, on_progress)) is not None:
        results["anatomy"] = measured
    on_progress("diversity", 0)
    results["diversity"] = plain(diversity(real, synthetic, extractors[0], request.cache))
    gallery: tuple[Picture, ...] = ()
    if train is not None:
        results["privacy"], gallery = _privacy(request, (real, synthetic, train), judge, notes, on_progress)
    elif judge is None or (reference := getattr(judge, "reference", None)) is None:
        notes.missing["privacy"] = "no --train folder was given, and the judge has no reference index"
    elif reference.key != judge.fingerprint:
        notes.missing["privacy"] = "no --train folder was given, and the judge's reference index is another judge's"
    else:
        results["privacy"] = _privacy_by_index(request, (real, synthetic), judge, reference, notes)
    results |= {"warnings": notes.warnings, "missing": notes.missing}
    return results, Pictures(_sheet(real, synthetic, request.real_images), gallery), sets


def plain(value: Any) -> Any:
    """Dataclasses, arrays and figures as dictionaries, lists and numbers; what is not finite becomes None."""
    if isinstance(value, Figure):
        return plain(value.as_dict())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def hashed_id(content: str) -> str:
    """A name for a training image that only those can resolve who have it: a hash of the hash of its pixels."""
    return sha256(f"gen evaluate:{content}".encode()).hexdigest()[:12]


def _counts(images: ImageSet) -> dict[str, Any]:
    return {
        "folder": images.folder.name,
        "images": len(images.rows),
        "patients": len(set(images.units)),
        "excluded": dict(images.counts),
    }


def _about_rows(real: ImageSet, synthetic: ImageSet, train: ImageSet | None) -> list[str]:
    """Warnings about what was excluded, what has no prompt, and real images that stand in the training set."""
    lines = []
    for what, images in (("real", real), ("synthetic", synthetic), ("training", train)):
        if images is not None and images.excluded:
            lines.append(f"{len(images.excluded)} {what} rows are not scored: {reasons(images)}")
    silent = len(with_studies(synthetic.rows)[1])
    if silent:
        lines.append(
            f"{silent} of {len(synthetic.rows)} synthetic images have no prompt or label that can be understood"
        )
    if train is not None and (shared := overlap(real, train)):
        lines.append(
            f"{len(shared)} of {len(real.rows)} real images stand in the training set too, pixel for pixel: "
            "figures beside them flatter the generator"
        )
    return lines


def _judge(request: Request, notes: _Notes) -> AnyJudge | None:
    from gen.judge.plugins import open_judge

    try:
        return open_judge(request.judge)
    except (BadInput, EnvironmentLacks) as error:
        if request.judge or any(spec.startswith("judge") for spec in request.extractors):
            raise
        notes.missing["alignment"] = str(error)
        notes.warnings.append("without a judge, distances are measured by hand-made features only")
        return None


def _extractors(specs: Sequence[str], judge: AnyJudge | None) -> list[Extractor]:
    """The extractors of ``specs``; the judge's is that of ``judge``, and where there is none it is left out."""
    return [
        extractor_of(spec) if judge is None or spec != "judge" else judge_extractor(judge)
        for spec in specs
        if judge is not None or spec != "judge"
    ]


def _with_studies(images: ImageSet) -> ImageSet:
    """``images`` with what their prompts say in their rows, so that groups and labels are known of them."""
    return dataclasses.replace(images, rows=with_studies(images.rows)[0])


def _alignment(
    judge: AnyJudge, real: ImageSet, synthetic: ImageSet, notes: _Notes, on_progress: OnProgress
) -> dict[str, Any] | None:
    from gen.judge.plugins import thresholds_of

    unread = with_studies(synthetic.rows)[1]
    if len(unread) == len(synthetic.rows):
        notes.missing["alignment"] = "no synthetic image has a prompt or a label that can be understood"
        return None
    sides = []
    for what, images in (("synthetic", synthetic), ("real", real)):
        done = on_progress(f"judging {what} images", len(images.rows))
        sides.append(Side(images.rows, images.units, judge.read(images.pixels_u8, on_images=done)))
    return dict(plain(alignment(sides[0], sides[1], thresholds_of(judge))))


def _anatomy(real: ImageSet, synthetic: ImageSet, notes: _Notes, on_progress: OnProgress) -> dict[str, Any] | None:
    from gen.anatomy.folder import load_anatomy
    from gen.evaluate.anatomy import anatomy_figures

    try:
        network = load_anatomy()
    except BadInput as error:
        notes.missing["anatomy"] = str(error)
        return None
    return dict(plain(anatomy_figures(network, real, synthetic, on_progress)))


def _privacy(
    request: Request,
    sets: tuple[ImageSet, ImageSet, ImageSet],
    judge: AnyJudge | None,
    notes: _Notes,
    on_progress: OnProgress,
) -> tuple[dict[str, Any], tuple[Picture, ...]]:
    real, synthetic, train = sets
    extractors = _extractors(FOR_COPIES if judge else WITHOUT_JUDGE, judge)
    found = privacy(synthetic, real, train, extractors, request.false_alarms, request.cache, on_progress)
    if found.shared_patients:
        notes.warnings.append(
            f"{found.shared_patients} patients of the real set stand in the training set too: they are no control"
        )
    notes.warnings += _about_rate(found.channels[PIXELS], request)
    prompts = [row.prompt or render(study_of(row)) for row in synthetic.rows]
    captions = [row.prompt or render(study_of(row)) for row in train.rows]
    channel = found.channels[PIXELS]
    rare = rare_words(prompts, captions, channel.alarms)
    closest = np.argsort(channel.distances, kind="stable")[:CLOSEST]
    results = plain(found) | {"rare_words": {**plain(rare), "flagged": int(rare.flagged.sum())}}
    for name, of in found.channels.items():
        results["channels"][name] = _channel(of, synthetic, train)
    gallery = tuple(
        Picture(
            synthetic=_thumbnail(synthetic.pixels_u8[index]),
            real=_thumbnail(train.pixels_u8[channel.nearest[index]]),
            words=f"distance {channel.distances[index]:.3f}, {synthetic.rows[index].file_name} and training image "
            f"{hashed_id(train.sha256[channel.nearest[index]])}",
        )
        for index in closest
        if request.gallery
    )
    return results, gallery


def _privacy_by_index(
    request: Request, sets: tuple[ImageSet, ImageSet], judge: AnyJudge, reference: Reference, notes: _Notes
) -> dict[str, Any]:
    from gen.judge.reference import hashed

    real, synthetic = sets
    known = set(reference.patients.tolist())
    shared = sum(hashed(reference.key, patient) in known for patient in set(real.units))
    if shared:
        notes.warnings.append(
            f"{shared} patients of the real set are in the reference index, so the generator learnt from them: figures "
            "beside them flatter it"
        )
    embeddings = embed(synthetic.pixels_u8, judge_extractor(judge), request.cache)
    channel = privacy_by_index(embeddings, reference, request.false_alarms)
    notes.warnings.append(
        f"copies were looked for among the {len(reference.codes)} images of the judge's index alone: if the generator "
        "learnt from others, name them with --train, or index them with `gen train reference`"
    )
    notes.warnings += _about_rate(channel, request)
    return {
        "wished_rate": request.false_alarms,
        "n_training": len(reference.codes),
        "n_held_out": len(reference.held_out),
        "channels": {channel.name: _channel(channel, synthetic, None)},
    }


def _about_rate(channel: Channel, request: Request) -> list[str]:
    if channel.rate <= request.false_alarms:
        return []
    held_out = len(channel.control)
    return [
        f"{held_out} held-out images allow a false-alarm rate of {100 * channel.rate:.2g} % at the least, and not of "
        f"{100 * request.false_alarms:g} %: copies are judged by that"
    ]


def _channel(channel: Channel, synthetic: ImageSet, train: ImageSet | None) -> dict[str, Any]:
    """A channel for the report; the images that raise an alarm by name, their training images by `hashed_id`."""
    found = dict(plain(channel))
    del found["nearest"]
    found["alarms"] = [
        {
            "file_name": synthetic.rows[index].file_name,
            "distance": plain(float(channel.distances[index])),
            "training_image": None if train is None else hashed_id(train.sha256[channel.nearest[index]]),
        }
        for index in np.flatnonzero(channel.alarms)
    ]
    return found


def _sheet(real: ImageSet, synthetic: ImageSet, real_images: bool) -> tuple[Picture, ...]:
    """Synthetic images of different prompts, by a fixed seed, each beside a real image of its label if there is one."""
    rows = synthetic.rows
    order = np.random.default_rng(0).permutation(len(rows))
    chosen = list({rows[index].prompt or str(index): index for index in reversed(order)}.values())[-SHOWN:]
    free = list(np.random.default_rng(1).permutation(len(real.rows)))
    pictures = []
    for index in chosen:
        partner = None
        for detail in (1, 2):
            wanted = label_of(rows[index], detail)
            partner = next((k for k in free if label_of(real.rows[k], detail) == wanted), None)
            if partner is not None:
                free.remove(partner)
                break
        shown = None if partner is None or not real_images else _thumbnail(real.pixels_u8[partner])
        words = rows[index].prompt or render(study_of(rows[index]))
        pictures.append(Picture(_thumbnail(synthetic.pixels_u8[index]), shown, words))
    return tuple(pictures)


def _thumbnail(pixels_u8: np.ndarray) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(np.asarray(pixels_u8)).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS))
