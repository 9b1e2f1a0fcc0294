"""`gen suppress --evaluate`: how well bone is gone on pairs with a known truth, beside doing nothing and a blur.

The pairs are a data set that `gen drr --pairs --masks auto` wrote. Its two images share their grey levels, so bone is
their difference there. Intervals are over patients.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from augment.suppress import measures
from augment.suppress.folder import Suppressor
from augment.suppress.scores import NAMES, Scores
from augment.suppress.separate import separate
from gen.core.errors import BadInput
from gen.core.manifest import Row, read_manifest
from gen.core.radiograph import GREY_RANGE
from gen.images.reader import read_radiograph

Method = Callable[[np.ndarray], np.ndarray]  # a radiograph, float32 (H, W) in [0, 1], to one without bone

BONE, CLEAR = 0.03, 0.006  # log attenuation that bone adds: from there on it is bone, and up to there free of it
_APART = 6  # pixels from the nearest bone, so that the blur of a measure does not reach it
BLUR = 20.0  # pixels of a thousand: the standard deviation of the blur that stands for taking detail away
_LEAST_CONTRAST = 0.01  # of the range: of a fainter lesion no ratio can be told


def methods_of(suppressor: Suppressor) -> dict[str, Method]:
    """The network, and what every table has beside it."""
    return {
        "network": lambda pixels: separate(suppressor, pixels).soft,
        "do nothing": lambda pixels: pixels,
        "blur": lambda pixels: ndimage.gaussian_filter(pixels, BLUR * min(pixels.shape) / 1000),
    }


def evaluate(pairs: Path, methods: Mapping[str, Method], on_image: Callable[[], object] = lambda: None) -> Scores:
    """Measure ``methods`` on the data set ``pairs``; BadInput where it has no soft images or no masks of the lungs."""
    rows = read_manifest(pairs).rows
    found: dict[str, dict[str, list[float]]] = {method: {name: [] for name in NAMES} for method in methods}
    for row in rows:
        for method, numbers in _image_scores(pairs, row, methods):
            for name, value in numbers.items():
                found[method][name].append(value)
        on_image()
    values = {method: {name: np.array(column) for name, column in each.items()} for method, each in found.items()}
    return Scores(tuple(row.patient_id or row.file_name for row in rows), values)


def _grey_levels(path: Path) -> np.ndarray:
    """Pixels as they were written. BadInput where only a range of their own could be guessed."""
    image = read_radiograph(path)
    if GREY_RANGE in image.provenance:
        raise BadInput(
            f"{path}: does not say which range its 16 bits have, so its grey levels are not those of its pair",
            hint="make the pairs again with gen drr, or save them in 8 bits",
        )
    return image.pixels


def read_masks(folder: Path, row: Row) -> dict[str, np.ndarray]:
    """The masks of an image of the data set in ``folder`` that `gen drr` wrote, bool (H, W) by name."""
    masks = {}
    for path in (folder / f"masks/{row.file.stem}").glob("*.png"):
        with Image.open(path) as picture:
            masks[path.stem] = np.asarray(picture) > 0
    return masks


def _image_scores(folder: Path, row: Row, methods: Mapping[str, Method]) -> Iterator[tuple[str, dict[str, float]]]:
    soft_name, bone_name = (row.extra.get(f"{name}_file_name") for name in ("soft", "bone"))
    if not soft_name or not bone_name:
        raise BadInput(f"{folder}: {row.file_name} has no image without bone", hint="gen drr --pairs --masks auto")
    image, soft, shown = (_grey_levels(path) for path in (row.file, folder / soft_name, folder / bone_name))
    truth = json.loads((folder / f"truth/{row.file.stem}.json").read_bytes())
    added = shown * truth["display"]["bone_white"]
    masks = read_masks(folder, row)
    lungs = np.any([mask for name, mask in masks.items() if name.startswith("lung")] or [np.zeros(1, bool)], axis=0)
    if lungs.shape != image.shape:
        raise BadInput(f"{folder}: {row.file_name} has no mask of the lungs", hint="gen drr --pairs --masks auto")
    bone = image - soft
    ribs = lungs & (added >= BONE)
    free = lungs & (ndimage.distance_transform_edt(added <= CLEAR) > _APART)
    lesions = [mask for name, mask in masks.items() if name.startswith(("nodule", "mass"))]
    true = [measures.contrast(soft, lesion) for lesion in lesions]
    for method, apply in methods.items():
        predicted = apply(image)
        residual = measures.signed_residual(predicted, soft, bone, ribs)
        kept = [
            measures.contrast(predicted, lesion) / contrast
            for lesion, contrast in zip(lesions, true, strict=True)
            if abs(contrast) >= _LEAST_CONTRAST
        ]
        yield (
            method,
            {
                "psnr": measures.psnr(predicted, soft, lungs),
                "ssim": measures.ssim(predicted, soft, lungs),
                "residual": residual,
                "residual_size": abs(residual),
                "detail_loss": measures.detail_loss(predicted, soft, free),
                "lesion": float(np.mean(kept)) if kept else np.nan,
                "lesion_error": float(np.mean(np.abs(np.array(kept) - 1))) if kept else np.nan,
                "published": measures.published_ratio(predicted, soft, bone),
            },
        )
