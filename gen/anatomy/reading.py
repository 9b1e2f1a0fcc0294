"""What the anatomy network sees in an image: masks, measurements, a confidence, and a reason where it is no chest.

Masks of something that is not one upright frontal chest are wrong in ways that no number shows, so such an image is
refused in words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from gen.anatomy.measure import EVEN, Measurements, measure, pieces
from gen.anatomy.network import ORGANS
from gen.core.radiograph import pad_to_square, resize
from gen.data.clean import content_box
from gen.statistics.scores import auroc

if TYPE_CHECKING:
    from gen.anatomy.folder import Anatomy

RULES = 4  # raised where another image is refused, or another number measured, than before
SIDE = 256  # pixels a side at which images are measured
WIDEST = 2.0  # sides of a picture of one chest
LATERAL = 0.5  # of the smaller lung behind the other one: seen from the side
# Below what some 99 of 100 held-out real films reach, each of these (benchmarks/anatomy/refused.py counts the refused).
LEAST_CONFIDENCE = 0.78
LEAST_IN_FRAME = 0.9
LEAST_BELOW = 0.82  # clearness of the abdomen: in a chest on its head the network finds lungs and heart, and no abdomen
MOST_ASIDE = 0.15  # of the width
LEAST_DARKER = 0.7  # the chance that a pixel of a lung is darker than one of heart, spine or abdomen
LEAST_SYMMETRY = 0.2
ONE_PIECE = ("right lung", "left lung", "heart", "right clavicle", "left clavicle")
# Of a label map, where a pixel has one organ, from the first painted to the last.
PAINTED = (
    *("body", "abdomen", "mediastinum", "spine", "right lung", "left lung", "heart", "ribs"),
    *("right clavicle", "left clavicle"),
)
HEART = (0.2, 0.85)  # cardiothoracic ratios that are possible


@dataclass(frozen=True, eq=False)
class Reading:
    """One image as the network sees it: ``probabilities`` float32 (10, S, S) in the order of ORGANS, of the square
    around it.

    ``confidence`` in [0, 1] is how clearly lungs and heart are outlined. ``refused`` is "" for one upright frontal
    chest, or else says what it is not; its measurements are then not to be trusted. ``soundness`` in [0, 1] grades
    that: 0 where the organs are not those of one such chest, or else the least of the confidence, of the chance that a
    pixel of a lung is darker than one of what is dense, and of the share of the lungs' outline in the picture.
    The abdomen, which is a reason to refuse, is no part of the grade.
    """

    probabilities: np.ndarray
    measurements: Measurements
    confidence: float
    refused: str
    soundness: float

    @property
    def masks(self) -> np.ndarray:
        """The masks of the square, bool (10, S, S)."""
        return np.asarray(self.probabilities >= EVEN)

    def mask(self, organ: str, shape: tuple[int, int]) -> np.ndarray:
        """The mask of ``organ`` in the image, whose ``shape`` is (H, W): bool (H, W)."""
        height, width = shape
        side = max(shape)
        square = Image.fromarray(self.probabilities[ORGANS.index(organ)])
        whole = np.asarray(square.resize((side, side), Image.Resampling.BILINEAR)) >= EVEN
        top, left = (side - height) // 2, (side - width) // 2  # as `pad_to_square` has it
        return whole[top : top + height, left : left + width]


def read_anatomy(
    anatomy: Anatomy, pixels: np.ndarray | Sequence[np.ndarray], on_images: Callable[[int], object] = lambda count: None
) -> Iterator[Reading]:
    """The reading of each of ``pixels``: (H, W), float in [0, 1] or uint8, of any size.

    They are padded to squares and reduced to SIDE pixels. ``on_images`` is called with the number of images after each
    batch.
    """
    step = 16
    for start in range(0, len(pixels), step):
        batch = [pixels[k] for k in range(start, min(start + step, len(pixels)))]
        square = np.stack([_square(image) for image in batch])
        for image, probabilities, whole in zip(batch, anatomy.probabilities(square), square, strict=True):
            yield interpret(probabilities, whole, image.shape)
        on_images(len(batch))


def interpret(probabilities: np.ndarray, image: np.ndarray, shape: tuple[int, ...] | None = None) -> Reading:
    """The reading of ``probabilities`` (10, H, W) of ``image`` (H, W) in [0, 1]; ``shape`` is that before padding.

    What lies in a black border is of no organ: there the network guesses how a chest goes on that the picture cuts.
    Nor is a small patch apart from the rest of an organ that is in one piece: such a patch lies on a letter or in a
    shoulder.
    """
    top, left, bottom, right = content_box(image)
    seen = np.zeros(probabilities.shape, np.float32)
    seen[:, top:bottom, left:right] = probabilities[:, top:bottom, left:right]
    for organ in ONE_PIECE:
        mask = seen[ORGANS.index(organ)] >= EVEN
        seen[ORGANS.index(organ)][mask & ~np.any(pieces(mask), axis=0)] = 0
    content = seen[:, top:bottom, left:right]
    measured, confidence = measure(content), clearness(content)
    named = dict(zip(ORGANS, content >= EVEN, strict=True))
    why = misplaced(named, measured, shape or image.shape)
    if why:
        return Reading(seen, measured, confidence, why, 0.0)
    lungs = [named[side] for side in ("right lung", "left lung")]
    darker = min(_darker(lung, named, image[top:bottom, left:right]) for lung in lungs)
    soundness = min(confidence, darker, measured.share_in_frame)
    below = clearness(content, ("abdomen",))
    return Reading(seen, measured, confidence, unclear(measured, confidence, darker, below), soundness)


def label_map(reading: Reading, shape: tuple[int, int]) -> np.ndarray:
    """One number a pixel of an image of ``shape`` (H, W): k / 255 for the k-th of ORGANS from 1, float32; 0 for none.

    Where organs overlap it is the one in front: bones before the heart, and that before the lungs.
    """
    labels = np.zeros(shape, np.float32)
    for organ in PAINTED:
        labels[reading.mask(organ, shape)] = (ORGANS.index(organ) + 1) / 255
    return labels


def clearness(probabilities: np.ndarray, organs: Sequence[str] = ("right lung", "left lung", "heart")) -> float:
    """Of the least clear of ``organs``: soft Dice of its probabilities with its own mask; 0 without one."""
    scores = []
    for organ in organs:
        soft = probabilities[ORGANS.index(organ)]
        mask = soft >= EVEN
        scores.append(2 * float(soft[mask].sum()) / max(float(soft.sum() + mask.sum()), 1e-9))
    return min(scores)


def misplaced(organ: Mapping[str, np.ndarray], measured: Measurements, shape: Sequence[int]) -> str:
    """Why the masks (H, W) by organ are not where those of one upright frontal chest are; "" where they may be."""
    right, left, heart = organ["right lung"], organ["left lung"], organ["heart"]
    if max(shape) > WIDEST * min(shape):
        return f"the picture is {shape[1]} x {shape[0]} pixels: several panels, or part of a chest"
    if not (right.any() and left.any()):
        return "no lung was found" if not (right.any() or left.any()) else "only one lung was found"
    if (right & left).sum() > LATERAL * min(right.sum(), left.sum()):
        return "the lungs lie behind each other: a lateral view, or no chest"
    if not heart.any():
        return "no heart was found"
    if measured.lungs != 2:
        return f"{measured.lungs:.0f} lungs were found: several chests, or none"
    if measured.hearts != 1:
        return f"{measured.hearts:.0f} hearts were found: several chests, or none"
    if _middle(right)[1] > _middle(left)[1]:
        return "the right lung is on the left: turned or mirrored"
    if _middle(heart)[0] < _middle(right | left)[0]:
        return "the heart is above the middle of the lungs: upside down"
    columns = np.flatnonzero((right | left).any(0))
    aside = abs((columns[0] + columns[-1] + 1) / 2 / right.shape[1] - 0.5)
    if aside > MOST_ASIDE:
        return f"the chest is {aside:.0%} of the width off the middle: one of several, or part of a picture"
    if measured.lung_symmetry < LEAST_SYMMETRY:
        return f"one lung has {measured.lung_symmetry:.0%} of the other's area"
    if not HEART[0] <= measured.cardiothoracic_ratio <= HEART[1]:
        return f"the heart has {_percent(measured.cardiothoracic_ratio)} of the thorax's width"
    return ""


def unclear(measured: Measurements, confidence: float, darker: float, below: float) -> str:
    """Why masks that are where they belong are not to be trusted; "" where they may be.

    ``darker`` is the lower chance of the lungs, as of LEAST_DARKER, and ``below`` the clearness of the abdomen.
    """
    if darker < LEAST_DARKER:
        return (
            f"a lung is not darker than heart, spine and abdomen ({darker:.2f}): inverted, white, or not where it seems"
        )
    if confidence < LEAST_CONFIDENCE:
        return f"lungs and heart are not clear (confidence {confidence:.2f})"
    if measured.share_in_frame < LEAST_IN_FRAME:
        return f"the picture cuts the lungs ({measured.share_in_frame:.0%} of their outline is in it)"
    if below < LEAST_BELOW:
        return f"no abdomen is clear below the lungs ({below:.2f}): upside down, or cut off there"
    return ""


def _darker(lung: np.ndarray, organ: Mapping[str, np.ndarray], image: np.ndarray) -> float:
    """The chance that a pixel of ``lung`` alone is darker than one of what is dense, an AUROC; 0 without any."""
    dense = organ["heart"] | organ["spine"] | organ["abdomen"]
    alone = lung & ~dense & ~organ["mediastinum"]
    values = np.concatenate([-image[alone], -image[dense]])
    chance = auroc(values, np.repeat([1.0, 0.0], [alone.sum(), dense.sum()]))
    return 0.0 if math.isnan(chance) else chance


def _percent(ratio: float) -> str:
    return "an unknown part" if math.isnan(ratio) else f"{ratio:.0%}"


def _middle(mask: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return float(rows.mean()), float(columns.mean())


def _square(image: np.ndarray) -> np.ndarray:
    unit = image.astype(np.float32) / 255 if image.dtype == np.uint8 else image.astype(np.float32)
    return unit if unit.shape == (SIDE, SIDE) else resize(pad_to_square(unit), SIDE)
