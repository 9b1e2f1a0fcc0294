"""Whether bone suppression helps to find nodules, and whether it makes or unmakes blobs of their size.

The detector is a plain one: the highest Laplacian of a Gaussian over scales of 3 to 8 mm, divided by its spread in the
lungs. Its score at inserted nodules of held-out CTs, all of them and the small ones alone, is compared with that at
places of the same lungs that lie apart from any, by the area under the ROC curve. On real radiographs without a finding
its detections before and after are matched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import click
import numpy as np
from scipy import fft, ndimage

from augment.suppress.evaluate import Method, read_masks
from benchmarks import common
from benchmarks.suppress.heldout import make_pairs, pairs_option
from benchmarks.suppress.lesions import diameters_of
from benchmarks.suppress.lungs import lungs_of
from benchmarks.suppress.ways import ways_of, ways_options
from gen.core.files import read_json
from gen.core.manifest import read_manifest
from gen.images.reader import read_radiograph
from gen.statistics.intervals import bootstrap, mean_of
from gen.statistics.scores import auroc

SMALL_MM = 10.0
APART = 20  # places without a nodule, of an image
SCALES_MM = (3.0, 4.0, 5.5, 8.0)
_APART_MM, _NEAR_MM = 25.0, 6.0
_FIELD_MM = 400.0  # what a real radiograph without a spacing shows, from side to side
_STRONG = 3.0  # spreads: a detection


def blob_score(image: np.ndarray, pitch_mm: float, lungs: np.ndarray) -> np.ndarray:
    """float32 (H, W): how much a pixel looks like the middle of a bright blob, in spreads over the lungs."""
    rim = round(4 * max(SCALES_MM) / pitch_mm)  # as far as the widest scale reaches
    waves = fft.rfft2(np.pad(image, rim, mode="symmetric"))
    height, width = (n + 2 * rim for n in image.shape)
    square = (2 * np.pi) ** 2 * (fft.fftfreq(height)[:, None] ** 2 + fft.rfftfreq(width) ** 2).astype(np.float32)
    inside = (slice(rim, -rim), slice(rim, -rim))
    best = np.full(image.shape, -np.inf, np.float32)
    for scale in SCALES_MM:
        power = square * np.float32(scale / pitch_mm) ** 2  # minus sigma squared times the Laplacian
        response = fft.irfft2(waves * (power * np.exp(-power / 2)), (height, width))[inside]
        best = np.maximum(best, response / max(float(response[lungs].std()), 1e-9))
    return best


def draw_places(lungs: np.ndarray, nodules: Sequence[np.ndarray], pitch_mm: float, seed: int) -> np.ndarray:
    """Rows and columns (N, 2): the middles of ``nodules``, then APART places of the lungs that lie apart from them."""
    centres = [np.rint(ndimage.center_of_mass(mask)) for mask in nodules]
    apart = ndimage.binary_erosion(lungs, iterations=round(5 / pitch_mm))
    apart &= ndimage.distance_transform_edt(~np.any(nodules, axis=0)) * pitch_mm > _APART_MM
    chosen = np.random.default_rng(seed).choice(np.argwhere(apart), size=APART, replace=False)
    return np.array([*centres, *chosen]).astype(int)


def peaks_of(score: np.ndarray, where: np.ndarray, pitch_mm: float) -> np.ndarray:
    """The places (N, 2) of detections: local maxima above _STRONG inside ``where``."""
    top = score == ndimage.maximum_filter(score, round(2 * _NEAR_MM / pitch_mm) + 1)
    return np.argwhere(top & where & (score >= _STRONG))


def unmatched(these: np.ndarray, those: np.ndarray, pitch_mm: float) -> int:
    """How many of these places have none of those within 6 mm."""
    if not len(those):
        return len(these)
    return int((np.linalg.norm(these[:, None] - those[None], axis=-1).min(axis=1) * pitch_mm > _NEAR_MM).sum())


def detection(folders: Iterable[Path], methods: dict[str, Method]) -> list[list[str]]:
    """A row a method: AUROC over all nodules and over small ones, with intervals over CTs, and its paired gains."""
    scores: dict[str, list[np.ndarray]] = {name: [] for name in methods}
    diameters: list[list[float]] = []  # 0: no nodule
    units: list[str] = []
    for pairs, row in [(folder, row) for folder in folders for row in read_manifest(folder).rows]:
        found = read_radiograph(row.file)
        assert found.spacing_mm is not None
        masks = read_masks(pairs, row)
        lungs = masks["lung_right"] | masks["lung_left"]
        sizes = diameters_of(read_json(pairs / f"truth/{row.file.stem}.json"))
        nodules = {name: mask for name, mask in masks.items() if name.startswith("nodule") and mask.any()}
        pitch_mm = found.spacing_mm[0]
        places = draw_places(lungs, list(nodules.values()), pitch_mm, seed=len(diameters))
        for name, apply in methods.items():
            score = blob_score(apply(found.pixels), pitch_mm, lungs)
            near = ndimage.maximum_filter(score, round(2 * _NEAR_MM / pitch_mm) + 1)
            scores[name].append(near[places[:, 0], places[:, 1]])
        diameters.append([sizes[name] for name in nodules] + [0.0] * APART)
        units += [row.patient_id] * len(diameters[-1])
    size, by_name = np.concatenate(diameters), {name: np.concatenate(parts) for name, parts in scores.items()}
    rows = [[name] for name in methods]
    for most_mm in (np.inf, SMALL_MM):
        counted = np.flatnonzero(size < most_mm)

        def area(name: str, chosen: np.ndarray, counted: np.ndarray = counted) -> float:
            return auroc(by_name[name][counted[chosen]], size[counted[chosen]] > 0)

        patients = [units[i] for i in counted]
        for line, name in zip(rows, methods, strict=True):
            whole = bootstrap(patients, lambda chosen, name=name: area(name, chosen))
            gain = bootstrap(patients, lambda chosen, name=name: area(name, chosen) - area("do nothing", chosen))
            line += [whole.text(3), gain.text(3)]
    print(f"{(size > 0).sum()} nodules, {((size > 0) & (size < SMALL_MM)).sum()} of them under {SMALL_MM:g} mm")
    return rows


def hallucination(data: Path, methods: dict[str, Method], count: int) -> list[list[str]]:
    """A row a method: detections added and removed per radiograph without a finding."""
    rows = [
        row
        for row in common.read_splits(data)["test"]
        if row.source == "nih-chestxray14" and "No Finding" in row.findings and row.view != "lateral"
    ]
    changes: dict[str, list[tuple[int, int, int]]] = {name: [] for name in methods if name != "do nothing"}
    chosen = common.one_image_a_patient(rows, count)
    for row in chosen:
        image = read_radiograph(row.file).pixels
        pitch_mm = _FIELD_MM / image.shape[1]
        lungs = lungs_of(image)
        before = peaks_of(blob_score(image, pitch_mm, lungs), lungs, pitch_mm)
        for name in changes:
            after = peaks_of(blob_score(methods[name](image), pitch_mm, lungs), lungs, pitch_mm)
            added, removed = unmatched(after, before, pitch_mm), unmatched(before, after, pitch_mm)
            changes[name].append((added, removed, len(before)))
    units = [row.patient_id for row in chosen]
    return [
        [name, *(mean_of([each[k] for each in counts], units).text(2) for k in range(3))]
        for name, counts in changes.items()
    ]


@click.command()
@common.cts_option
@common.data_option
@ways_options
@pairs_option
@click.option("-n", "count", type=click.IntRange(2), default=64, show_default=True, help="Real radiographs.")
def main(
    cts: Path, data: Path, model: Path | None, peer: Path | None, latent: Path | None, pairs: Path, count: int
) -> None:
    """Detect nodules with and without bone, and count blobs that appear or vanish."""
    methods = ways_of(model, peer, latent)
    header = [
        "image",
        "AUROC",
        "less that of the image itself",
        f"under {SMALL_MM:g} mm",
        "less that of the image itself",
    ]
    common.print_table(header, detection(make_pairs(cts, pairs).values(), methods))
    header = ["image", "blobs added an image", "removed", "there before"]
    common.print_table(header, hallucination(data, methods, count))


if __name__ == "__main__":
    common.launch(main)
