"""Chests drawn with ellipses, bars and stripes, whose measurements have closed forms; and masks of the phantom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from gen.anatomy.network import ORGANS


@dataclass(frozen=True)
class Drawn:
    """A chest in parts of the side of its picture: half axes of the lungs and the heart, and places of the rest."""

    lung: tuple[float, float] = (0.15, 0.3)  # across, down
    apart: float = 0.2  # of the lungs' middles from the spine
    heart: float = 0.2
    heart_at: float = 0.03
    period: float = 0.06  # of the ribs
    ends: tuple[float, float] = (0.05, 0.05)  # of the clavicles, from the spine
    x: float = 0.5
    y: float = 0.5
    turn: float = 0.0  # radians, clockwise

    def masks(self, side: int, scale: float = 1.0) -> np.ndarray:
        """bool (10, side, side)."""
        grid = (np.arange(side) + 0.5) / side
        across, below = (grid[None] - self.x) / scale, (grid[:, None] - self.y) / scale
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        x, y = across * cos + below * sin, below * cos - across * sin
        wide, high = self.lung
        right = ((x + self.apart) / wide) ** 2 + (y / high) ** 2 <= 1
        left = ((x - self.apart) / wide) ** 2 + (y / high) ** 2 <= 1
        heart = ((x - self.heart_at) / self.heart) ** 2 + ((y - 0.1) / 0.12) ** 2 <= 1
        clavicles = [
            (abs(y + 0.26) < 0.01) & (x * sign > end) & (x * sign < end + 0.15)
            for sign, end in zip((-1, 1), self.ends, strict=True)
        ]
        organs = {
            "right lung": right,
            "left lung": left,
            "heart": heart,
            "mediastinum": (abs(x) < 0.06) & (abs(y) < high),
            "right clavicle": clavicles[0],
            "left clavicle": clavicles[1],
            "ribs": (y / self.period % 1 < 0.4) & (right | left),
            "spine": (abs(x) < 0.03) & (abs(y) < 0.5),
            "abdomen": y > high + 0.02,
            "body": (abs(x) < 0.45) & (abs(y) < 0.5),
        }
        return np.stack([np.broadcast_to(organs[name], (side, side)) for name in ORGANS])


def film(masks: np.ndarray) -> np.ndarray:
    """Dark lungs, bright heart and spine on a grey body: float32 (H, W)."""
    organ = dict(zip(ORGANS, masks, strict=True))
    picture = 0.4 * organ["body"].astype(np.float32)
    picture[organ["right lung"] | organ["left lung"]] = 0.2
    picture[organ["heart"] | organ["spine"]] = 0.8
    return picture


class DrawnAnatomy:
    """What finds the organs of a drawn film by looking them up: the heart where there is 0.8, and all of `Drawn`."""

    name, fingerprint = "drawn", "0123456789abcdef"

    def __init__(self, chest: Drawn) -> None:
        self.chest = chest

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        masks = self.chest.masks(images.shape[-1]).astype(np.float32)
        return np.stack([masks if image.max() > 0.6 else 0 * masks for image in images])


def mirrored(masks: np.ndarray) -> np.ndarray:
    """The mirror image, in which right and left have changed their names."""
    named = dict(zip(ORGANS, masks[..., ::-1], strict=True))
    other = {"right": "left", "left": "right"}
    swapped = (" ".join(other.get(word, word) for word in name.split()) for name in ORGANS)
    return np.stack([named[name] for name in swapped])


def organs_of(masks: Mapping[str, np.ndarray]) -> np.ndarray:
    """The ten masks, bool (10, H, W), from those of a projected phantom by structure."""
    shape = next(iter(masks.values())).shape

    def joined(wanted: Callable[[str], bool]) -> np.ndarray:
        return np.any([mask for name, mask in masks.items() if wanted(name)] or [np.zeros(shape, bool)], axis=0)

    below = joined(lambda name: name in ("liver", "spleen", "stomach", "colon"))
    organs = {
        "right lung": joined(lambda name: name == "lung_right"),
        "left lung": joined(lambda name: name == "lung_left"),
        "heart": joined(lambda name: name == "heart"),
        "mediastinum": joined(lambda name: name in ("heart", "aorta", "trachea", "superior_vena_cava", "esophagus")),
        "right clavicle": joined(lambda name: name == "clavicula_right"),
        "left clavicle": joined(lambda name: name == "clavicula_left"),
        "ribs": joined(lambda name: name.startswith("rib_")),
        "spine": joined(lambda name: name.startswith("vertebrae")),
        "abdomen": np.logical_or.accumulate(below, axis=0),
        "body": joined(lambda name: name == "skin"),
    }
    return np.stack([organs[name] for name in ORGANS])
