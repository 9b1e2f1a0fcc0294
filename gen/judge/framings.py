"""The framings of a radiograph: as it is, as `gen data prepare` makes it, and that in another pose and exposure.

A generator that learnt prepared images paints such ones, and a data set varies them. A judge that has only seen images
as they are takes the framing for a property of the patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gen.core.errors import BadInput
from gen.core.manifest import SPLITS, read_manifest
from gen.core.radiograph import Radiograph
from gen.core.run import derived_seed
from gen.data.loader import pixel_cache
from gen.data.split import patient_of, split_rows
from gen.model.sampling.variation import vary

if TYPE_CHECKING:
    from gen.core.manifest import Row

FRAMINGS = AS_IT_IS, PREPARED, VARIED = ("as it is", "prepared", "varied")
PREPARED_SHARE, VARIED_SHARE = 0.5, 0.5  # of the views of an image that was prepared; of these


@dataclass(frozen=True)
class Shown:
    """``pixels_u8`` (n, H, W), and ``which`` images of a list they show, int (n,)."""

    which: np.ndarray
    pixels_u8: np.ndarray

    def of(self, names: Sequence[str]) -> list[str]:
        """The ``names`` of the images, one a picture."""
        return [names[i] for i in self.which]


@dataclass(frozen=True)
class Framings:
    """Images uint8 (N, H, W) as they are, and the ``prepared`` ones, uint8 (M, H, W); ``places`` int (N,) says which of
    these is image i, -1 where it was not prepared."""

    images: np.ndarray
    prepared: np.ndarray
    places: np.ndarray

    def draw(self, chosen: Sequence[int], seeds: Sequence[int]) -> np.ndarray:
        """The images ``chosen``, each in a framing that its seed decides, uint8 (n, H, W)."""
        return np.stack([self._draw(i, seed) for i, seed in zip(chosen, seeds, strict=True)])

    def _draw(self, i: int, seed: int) -> np.ndarray:
        drawn = np.random.default_rng(derived_seed(seed, "framing")).random(2)
        prepared, varied = drawn < (PREPARED_SHARE, VARIED_SHARE)
        if self.places[i] < 0 or not prepared:
            return np.asarray(self.images[i])
        image = self.prepared[self.places[i]]
        return varied_u8(image, seed) if varied else np.asarray(image)

    def all(self) -> dict[str, Shown]:
        """By framing of FRAMINGS, the first alone where nothing was prepared."""
        found = {AS_IT_IS: Shown(np.arange(len(self.images)), np.asarray(self.images))}
        there = np.flatnonzero(self.places >= 0)
        if len(there):
            plain = self.prepared[self.places[there]]
            moved = np.stack([varied_u8(image, derived_seed(0, f"framing {i}")) for i, image in enumerate(plain)])
            found |= {PREPARED: Shown(there, plain), VARIED: Shown(there, moved)}
        return found

    def together(self) -> Shown:
        """The images in all framings, one framing after another."""
        parts = self.all().values()
        return Shown(np.concatenate([part.which for part in parts]), np.concatenate([part.pixels_u8 for part in parts]))


def framings_of(rows: Sequence[Row], prepared: Sequence[Row], size: int, cache: str | Path) -> Framings:
    """The images of ``rows``, and those of ``prepared`` that were made of them, cached in ``cache`` (`pixel_cache`).

    An image and what was made of it have the same patient, and the same path but for the folders that preparing adds,
    and for the suffix. BadInput for an image that cannot be read, and for two of ``rows`` that differ in no more.
    """
    known: dict[tuple[str, Path], Row] = {}
    for row in rows:
        if (other := known.setdefault(_key(row), row)) is not row:
            raise BadInput(
                f"{other.file_name} and {row.file_name} differ in the suffix alone: one prepared image stands for both",
                hint="rename one of them, and prepare them again",
            )
    made = {_key(row): row for row in prepared}
    kept = [row for row in rows if _key(row) in made]
    number = {_key(row): i for i, row in enumerate(kept)}
    pixels = (
        pixel_cache([made[_key(row)] for row in kept], size, cache) if kept else np.empty((0, size, size), np.uint8)
    )
    return Framings(pixel_cache(rows, size, cache), pixels, np.array([number.get(_key(row), -1) for row in rows]))


def prepared_rows(folder: str | None, learnt: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows by split of the prepared data set in ``folder``, none of no folder.

    BadInput for what is no data set, and where nothing in it was made of the images of ``learnt``.
    """
    if folder is None:
        return {split: [] for split in SPLITS}
    splits = split_rows(read_manifest(folder))
    if not {_key(row) for row in splits["train"]} & {_key(row) for row in learnt}:
        raise BadInput(
            f"{folder} holds nothing that was made of the training images",
            hint="prepared is a folder that `gen data prepare` made of data",
        )
    return splits


def varied_u8(image: np.ndarray, seed: int) -> np.ndarray:
    """uint8 ``image`` (H, W) in the pose and exposure that ``seed`` decides (`vary`), uint8."""
    pixels = vary(Radiograph(image.astype(np.float32) / 255, None, {}), seed).pixels
    return np.rint(pixels * 255).astype(np.uint8)


def _key(row: Row) -> tuple[str, Path]:
    folders = list(Path(row.file_name).with_suffix("").parts)
    if folders[0] in SPLITS:
        del folders[0]
    while len(folders) > 1 and folders[0] == "images":  # `gen data prepare` writes SPLIT/images/PATH
        del folders[0]
    return patient_of(row), Path(*folders)
