"""Search for copies of patients: the nearest training image of each, against what unseen patients' images have.

What is too near is decided by real images of patients that the generator never saw: a threshold at a stated rate of
false alarms. Planted copies of training images show what the search would have found. A count of alarms says nothing
about attacks with the weights in hand, and none of this is a guarantee.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gen.core.errors import BadInput
from gen.evaluate.copies import BLOCK, PLANTED, Nearest, nearest_aligned, nearest_embedded, planted
from gen.evaluate.extractors import Extractor, embed
from gen.evaluate.images import ImageSet
from gen.judge.reference import copy_rank, copy_threshold
from gen.statistics.intervals import Figure, members_of, proportion, share, unknown

if TYPE_CHECKING:
    from gen.judge.reference import Reference

FALSE_ALARMS = 0.01
PIXELS = "pixels after alignment"
PLANTED_COPIES = 50  # training images that are planted, each in every way
PROPOSED = 4  # candidates for the registration from each embedding
RARE = 3  # training captions at most that hold a rare word or pair of words
_TOP = 20  # rare words and pairs that are listed

# Begins a stage of so many images (0: not counted), and gives its progress.
OnProgress = Callable[[str, int], Callable[[int], object]]


@dataclass(frozen=True)
class Channel:
    """One way of looking. Distances are those to the nearest training image; smaller than ``threshold`` is an alarm.

    ``rate`` is the false-alarm rate that the threshold has: the largest up to the one wished for that so many held-out
    images allow. ``held_out`` is the control: each image against the threshold that the other patients give.
    ``planted`` holds the share of planted copies that are found, by kind. ``authentic`` shares are of `authentic`.
    """

    name: str
    threshold: float
    rate: float
    synthetic: Figure
    held_out: Figure
    distances: np.ndarray  # (n,) of the synthetic images
    control: np.ndarray  # (m,) of the held-out ones
    nearest: np.ndarray  # (n,) indices of training images
    planted: Mapping[str, Figure]
    authentic: Figure
    authentic_held_out: Figure

    @property
    def alarms(self) -> np.ndarray:
        """Which synthetic images raise an alarm, (n,)."""
        return self.distances < self.threshold


@dataclass(frozen=True)
class Privacy:
    """``channels`` by name. ``identical`` synthetic images are training images pixel for pixel, ``copied`` ones are as
    near as planted copies are (`copy_limit`); ``copied_held_out`` is the same share of held-out images."""

    wished_rate: float
    n_training: int
    n_held_out: int
    held_out_patients: int
    shared_patients: int  # in the real and in the training set; their images are not in the control
    identical: int
    copy_limit: float
    copied: Figure
    copied_held_out: Figure
    channels: Mapping[str, Channel]


@dataclass(frozen=True)
class RareWords:
    """Prompts with a word, or a pair of words, that 1 to ``most`` of ``captions`` training captions hold.

    ``listed`` has the words or pairs with the number of captions and of prompts that hold them, the rarest first.
    ``alarms`` and ``alarms_elsewhere`` are the shares of alarms among flagged and other images.
    """

    most: int
    captions: int
    words: Figure
    pairs: Figure
    listed: tuple[tuple[str, int, int], ...]
    flagged: np.ndarray  # (n,) bool: a rare word or pair
    alarms: Figure
    alarms_elsewhere: Figure


def privacy(
    synthetic: ImageSet,
    real: ImageSet,
    training: ImageSet,
    extractors: Sequence[Extractor],
    rate: float = FALSE_ALARMS,
    cache: str | Path | None = None,
    on_progress: OnProgress = lambda what, total: lambda done: None,
) -> Privacy:
    """Search the whole of ``training`` for every synthetic image, in pixels and in each of ``extractors``.

    Images of ``real`` whose patient or whose very pixels stand in ``training`` are no control and are left out.
    BadInput where no image is left.
    """
    known, pictures = set(training.units), set(training.sha256)
    shared = {
        unit for unit, picture in zip(real.units, real.sha256, strict=True) if unit in known or picture in pictures
    }
    kept = np.array([index for index, unit in enumerate(real.units) if unit not in shared], np.int64)
    if not len(kept):
        raise BadInput(
            f"every patient of {real.folder} stands in {training.folder} too, so none is left to measure by",
            hint="--real takes images of patients that the generator never saw",
        )
    units = [real.units[index] for index in kept]
    chosen = np.sort(np.random.default_rng(0).permutation(len(training.rows))[:PLANTED_COPIES])
    copies = np.concatenate(list(planted(training.pixels_u8[chosen]).values()))
    sets = {  # pixels, and which images of them: a memory map is not copied
        "synthetic": (synthetic.pixels_u8, np.arange(len(synthetic.rows))),
        "held-out": (real.pixels_u8, kept),
        "planted": (copies, np.arange(len(copies))),
    }
    numbers = np.unique(np.asarray(training.units), return_inverse=True)[1]
    channels: dict[str, Channel] = {}
    proposed: dict[str, list[np.ndarray]] = {what: [] for what in sets}
    for extractor in extractors:
        points = embed(training.pixels_u8, extractor, cache)
        found = {}
        for what, (pixels_u8, of) in sets.items():
            distances, indices = nearest_embedded(embed(pixels_u8, extractor, cache)[of], points, PROPOSED)
            proposed[what].append(indices)
            found[what] = Nearest(distances[:, 0], indices[:, 0])
        true = {what: authentic(found[what], points, numbers) for what in ("synthetic", "held-out")}
        channels[extractor.name] = _channel(extractor.name, found, units, rate, true)
    progress = on_progress("searching for copies", sum(len(of) for _, of in sets.values()))
    near = {what: _aligned(*of, training.pixels_u8, proposed[what], progress) for what, of in sets.items()}
    channels = {PIXELS: _channel(PIXELS, near, units, rate, {}), **channels}

    limit = float(np.percentile(_by_kind(near["planted"].distance)["all of these"], 95))
    copied = {what: near[what].distance <= limit for what in ("synthetic", "held-out")}
    return Privacy(
        wished_rate=rate,
        n_training=len(training.rows),
        n_held_out=len(units),
        held_out_patients=len(set(units)),
        shared_patients=len(shared),
        identical=sum(picture in pictures for picture in synthetic.sha256),
        copy_limit=limit,
        copied=share(copied["synthetic"], synthetic.units),
        copied_held_out=share(copied["held-out"], units),
        channels=channels,
    )


def privacy_by_index(embeddings: np.ndarray, reference: Reference, rate: float = FALSE_ALARMS) -> Channel:
    """The search in a model's reference index, by the judge's ``embeddings`` (n, E) of the synthetic images.

    Its control are the distances of other patients' images that come with the index; there are no pixels, and so no
    planted copies.
    """
    distances, nearest = reference.nearest(embeddings)
    points = reference.codes / np.linalg.norm(reference.codes.astype(np.float32), axis=1, keepdims=True)
    numbers = np.unique(reference.patients, return_inverse=True)[1]
    # On the unit sphere the squared distance is twice 1 - cosine.
    true = {"synthetic": authentic(Nearest(np.sqrt(2 * np.maximum(distances, 0)), nearest), points, numbers)}
    control = reference.held_out
    found = {"synthetic": Nearest(distances, nearest), "held-out": Nearest(control, np.zeros(len(control), np.int64))}
    return _channel("reference index", found, [str(k) for k in range(len(control))], rate, true)


def authentic(found: Nearest, training: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Which images are authentic (n,): farther from their nearest training image than that is from other patients'.

    Alaa et al. 2022 (arXiv:2102.08921), section 3.3. Images of one patient are not each other's neighbours here: they
    would let hardly any image pass. ``patients`` are numbers (N,) of ``training`` (N, D).
    """
    centres, place = np.unique(found.index, return_inverse=True)
    between, _ = nearest_embedded(centres, training, 1, barred=patients)
    return np.asarray(found.distance > between[place, 0])


def rare_words(prompts: Sequence[str], captions: Sequence[str], alarms: np.ndarray, most: int = RARE) -> RareWords:
    """Which ``prompts`` hold a word, or two words together, that only 1 to ``most`` training ``captions`` hold.

    What is rare in training is what a generator learns by heart, and a prompt that repeats it asks for that patient.
    Words are compared in lower case, ages by decade. What no caption holds cannot have been learnt, and is not rare.
    """
    holders: dict[str, int] = {}  # a bit for each caption
    for number, caption in enumerate(captions):
        for word in words_of(caption):
            holders[word] = holders.get(word, 0) | 1 << number
    of_prompt = [sorted(words_of(prompt)) for prompt in prompts]
    pairs = Counter(pair for words in of_prompt for pair in combinations(words, 2))
    singles = Counter(word for words in of_prompt for word in words)
    in_captions = {(word,): holders.get(word, 0).bit_count() for word in singles} | {
        (a, b): (holders.get(a, 0) & holders.get(b, 0)).bit_count() for a, b in pairs
    }
    rare = {words for words, count in in_captions.items() if 1 <= count <= most}
    # A pair is rare by itself only where neither of its words is.
    rare = {words for words in rare if len(words) == 1 or not any((word,) in rare for word in words)}
    has_word = np.array([any((word,) in rare for word in words) for words in of_prompt], bool)
    has_pair = np.array([any(pair in rare for pair in combinations(words, 2)) for words in of_prompt], bool)
    flagged = has_word | has_pair
    in_prompts = {words: singles[words[0]] if len(words) == 1 else pairs[words] for words in rare}
    order = sorted(rare, key=lambda words: (in_captions[words], -in_prompts[words], words))
    return RareWords(
        most=most,
        captions=len(captions),
        words=proportion(int(has_word.sum()), len(prompts)),
        pairs=proportion(int(has_pair.sum()), len(prompts)),
        listed=tuple((" + ".join(words), in_captions[words], in_prompts[words]) for words in order[:_TOP]),
        flagged=flagged,
        alarms=proportion(int((alarms & flagged).sum()), int(flagged.sum())),
        alarms_elsewhere=proportion(int((alarms & ~flagged).sum()), int((~flagged).sum())),
    )


def words_of(text: str) -> frozenset[str]:
    """The words of a prompt or a caption in lower case; a number stands for its decade."""
    found = re.findall(r"[^\W\d_]+(?:-[^\W_]+)*|\d+", text.lower())
    return frozenset(f"{int(word) // 10 * 10}s" if word.isdigit() else word for word in found)


def _aligned(
    pixels_u8: np.ndarray,
    chosen: np.ndarray,
    training: np.ndarray,
    proposed: Sequence[np.ndarray],
    progress: Callable[[int], object],
) -> Nearest:
    """`nearest_aligned` of the ``chosen`` of ``pixels_u8``, of which no more than a block is in memory."""
    parts = [
        nearest_aligned(pixels_u8[chosen[part]], training, [indices[part] for indices in proposed], progress)
        for part in (slice(start, start + BLOCK) for start in range(0, len(chosen), BLOCK))
    ]
    return Nearest(np.concatenate([part.distance for part in parts]), np.concatenate([part.index for part in parts]))


def _channel(
    name: str,
    found: Mapping[str, Nearest],
    units: Sequence[str],
    rate: float,
    true: Mapping[str, np.ndarray],
) -> Channel:
    """A channel from what is nearest to the "synthetic", "held-out" (of ``units``) and "planted" images, if any."""
    distances, control = found["synthetic"].distance, found["held-out"].distance
    threshold, its_rate = copy_threshold(control, rate)
    return Channel(
        name=name,
        threshold=threshold,
        rate=its_rate,
        synthetic=proportion(int((distances < threshold).sum()), len(distances)),
        held_out=share(_false_alarms(control, units, rate), units),
        distances=distances,
        control=control,
        nearest=found["synthetic"].index,
        planted={
            kind: proportion(int((some < threshold).sum()), len(some))
            for kind, some in _by_kind(found["planted"].distance if "planted" in found else np.empty(0)).items()
        },
        authentic=proportion(int(true["synthetic"].sum()), len(distances)) if "synthetic" in true else unknown(),
        authentic_held_out=share(true["held-out"], units) if "held-out" in true else unknown(),
    )


def _false_alarms(distances: np.ndarray, units: Sequence[str], rate: float) -> np.ndarray:
    """Which of the held-out ``distances`` are below the threshold that the images of the other patients give, (m,)."""
    order = np.argsort(distances, kind="stable")
    rank = np.argsort(order)
    alarms = np.zeros(len(distances), bool)
    for members in members_of(units):
        others = len(distances) - len(members)
        if others:
            place = copy_rank(others, rate) - 1
            for own in np.sort(rank[members]):  # the threshold is among the others: it moves on past each of these
                place += own <= place
            alarms[members] = distances[members] < distances[order[place]]
    return alarms


def _by_kind(distances: np.ndarray) -> dict[str, np.ndarray]:
    """The distances of planted copies, which stand kind after kind, by kind; none where there are none."""
    return dict(zip(PLANTED, np.split(distances, len(PLANTED)), strict=True)) if len(distances) else {}
