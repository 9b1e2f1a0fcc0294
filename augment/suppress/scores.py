"""Scores of bone suppression by method, measure and image, and their figures over patients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gen.core.markdown import table
from gen.statistics.intervals import Figure, bootstrap, members_of

# What is measured of an image, digits and what it means.
NAMES = {
    "psnr": (1, "PSNR in the lungs, dB"),
    "ssim": (3, "SSIM in the lungs"),
    "residual": (3, "signed residual where bone lies over the lungs (1: all left, 0: gone)"),
    "residual_size": (3, "its size"),
    "detail_loss": (3, "detail lost or changed in lung free of bone"),
    "lesion": (3, "contrast of inserted lesions, share of the true one"),
    "lesion_error": (3, "how far from 1 that is"),
    "published": (3, "published ratio (whole image; not to be trusted)"),
}
BETTER = {  # which direction of each is the good one
    **dict.fromkeys(("psnr", "ssim", "published"), "higher"),
    **dict.fromkeys(("residual_size", "detail_loss", "lesion_error"), "lower"),
    "residual": "nearer to 0",
    "lesion": "nearer to 1",
}


@dataclass(frozen=True)
class Scores:
    """By method and name of a measure: float (N,), NaN where it cannot be had; ``patients`` are those of the images."""

    patients: tuple[str, ...]
    values: Mapping[str, Mapping[str, np.ndarray]]

    def figure(self, method: str, name: str) -> Figure:
        """The mean over patients, with a bootstrap interval over them."""
        return self._bootstrap(self.values[method][name])

    def difference(self, method: str, other: str, name: str) -> Figure:
        """The paired difference of two methods."""
        return self._bootstrap(self.values[method][name] - self.values[other][name])

    def _bootstrap(self, values: np.ndarray) -> Figure:
        known = np.flatnonzero(np.isfinite(values))
        patients = [self.patients[i] for i in known]
        means = np.array([values[known][members].mean() for members in members_of(patients)])
        names = list(dict.fromkeys(patients))
        if not names:
            return Figure(np.nan, np.nan, np.nan, 0)
        return bootstrap(names, lambda chosen: float(means[chosen].mean()))

    def as_dict(self) -> dict[str, Any]:
        """For JSON: how many images of whom, and each figure by method and name, with its good direction."""
        methods = {
            method: {name: {**self.figure(method, name).as_dict(), "better": BETTER[name]} for name in NAMES}
            for method in self.values
        }
        return {"images": len(self.patients), "patients": sorted(set(self.patients)), "methods": methods}


def table_of(scores: Scores) -> str:
    """Markdown: a row a measure, a column a method, and the paired gain of the first method over each of the others."""
    first, *others = scores.values
    gains = [f"{first} less {other}" for other in others]
    rows = [
        [
            text,
            *(scores.figure(method, name).text(digits) for method in scores.values),
            *(scores.difference(first, other, name).text(digits) for other in others),
        ]
        for name, (digits, text) in NAMES.items()
    ]
    return table(["mean over patients [95 %]", *scores.values, *gains], rows)
