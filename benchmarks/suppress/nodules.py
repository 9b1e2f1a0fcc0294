"""Whether bone suppression helps to find nodules, and whether it makes or unmakes blobs of their size.

The detector is a plain one: the highest Laplacian of a Gaussian over scales of 3 to 8 mm, divided by its spread in the
lungs. Its score at inserted nodules of held-out CTs is compared with that at places of the same lungs that lie
apart from any, by the area under the ROC curve. On real radiographs without a finding its detections before and after
are matched.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from scipy import ndimage

from augment.suppress.evaluate import Method, read_masks
from benchmarks import common
from benchmarks.suppress.heldout import make_pairs
from benchmarks.suppress.lungs import lungs_of
from benchmarks.suppress.ways import ways_of, ways_options
from gen.core.manifest import read_manifest
from gen.images.reader import read_radiograph
from gen.statistics.intervals import bootstrap, mean_of
from gen.statistics.scores import auroc

SCALES_MM = (3.0, 4.0, 5.5, 8.0)
_APART_MM, _NEAR_MM = 25.0, 6.0
_FIELD_MM = 400.0  # what a real radiograph without a spacing shows, from side to side
_STRONG = 3.0  # spreads: a detection


def blob_score(image: np.ndarray, pitch_mm: float, lungs: np.ndarray) -> np.ndarray:
    """float32 (H, W): how much a pixel looks like the middle of a bright blob, in spreads over the lungs."""
    best = np.full(image.shape, -np.inf, np.float32)
    for scale in SCALES_MM:
        sigma = scale / pitch_mm
        response = -(sigma**2) * ndimage.gaussian_laplace(image, sigma)
        best = np.maximum(best, response / max(float(response[lungs].std()), 1e-9))
    return best


def places_and_labels(
    image: np.ndarray, pitch_mm: float, lungs: np.ndarray, nodules: list[np.ndarray], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Scores at the nodules and at twenty places apart from them, each the highest within 6 mm, with labels."""
    near = ndimage.maximum_filter(blob_score(image, pitch_mm, lungs), round(2 * _NEAR_MM / pitch_mm) + 1)
    centres = [tuple(np.rint(ndimage.center_of_mass(mask)).astype(int)) for mask in nodules]
    apart = ndimage.binary_erosion(lungs, iterations=round(5 / pitch_mm))
    apart &= ndimage.distance_transform_edt(~np.any(nodules, axis=0)) * pitch_mm > _APART_MM
    rows, columns = np.nonzero(apart)
    chosen = rng.choice(len(rows), size=20, replace=False)
    scores = [near[centre] for centre in centres] + [near[rows[i], columns[i]] for i in chosen]
    return np.array(scores), np.array([1] * len(centres) + [0] * len(chosen))


def peaks_of(score: np.ndarray, where: np.ndarray, pitch_mm: float) -> np.ndarray:
    """The places (N, 2) of detections: local maxima above _STRONG inside ``where``."""
    top = score == ndimage.maximum_filter(score, round(2 * _NEAR_MM / pitch_mm) + 1)
    return np.argwhere(top & where & (score >= _STRONG))


def unmatched(these: np.ndarray, those: np.ndarray, pitch_mm: float) -> int:
    """How many of these places have none of those within 6 mm."""
    if not len(those):
        return len(these)
    return int((np.linalg.norm(these[:, None] - those[None], axis=-1).min(axis=1) * pitch_mm > _NEAR_MM).sum())


def detection(pairs: Path, methods: dict[str, Method]) -> list[list[str]]:
    """A row a method: AUROC over all nodules, with an interval over CTs, and its paired gain over doing nothing."""
    scores: dict[str, list[np.ndarray]] = {name: [] for name in methods}
    labels, units = [], []
    for row in read_manifest(pairs).rows:
        found = read_radiograph(row.file)
        assert found.spacing_mm is not None
        masks = read_masks(pairs, row)
        lungs = masks["lung_right"] | masks["lung_left"]
        nodules = [mask for name, mask in masks.items() if name.startswith("nodule") and mask.any()]
        if not nodules:
            continue
        for name, apply in methods.items():
            rng = np.random.default_rng(len(labels))
            part, known = places_and_labels(apply(found.pixels), found.spacing_mm[0], lungs, nodules, rng)
            scores[name].append(part)
        labels.append(known)
        units += [row.patient_id] * len(known)
    truth, by_name = np.concatenate(labels), {name: np.concatenate(parts) for name, parts in scores.items()}

    def area(name: str, chosen: np.ndarray) -> float:
        return auroc(by_name[name][chosen], truth[chosen])

    rows = []
    for name in methods:
        whole = bootstrap(units, lambda chosen, name=name: area(name, chosen))
        gain = bootstrap(units, lambda chosen, name=name: area(name, chosen) - area("do nothing", chosen))
        rows.append([name, whole.text(3), gain.text(3)])
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
@click.option("--pairs", type=click.Path(path_type=Path), default=common.WORK / "suppress-heldout", show_default=True)
@click.option("-n", "count", type=click.IntRange(2), default=64, show_default=True, help="Real radiographs.")
def main(
    cts: Path, data: Path, model: Path | None, peer: Path | None, latent: Path | None, pairs: Path, count: int
) -> None:
    """Detect nodules with and without bone, and count blobs that appear or vanish."""
    methods = ways_of(model, peer, latent)
    common.print_table(
        ["image", "AUROC", "less that of the image itself"], detection(make_pairs(cts, pairs, 6), methods)
    )
    header = ["image", "blobs added an image", "removed", "there before"]
    common.print_table(header, hallucination(data, methods, count))


if __name__ == "__main__":
    common.launch(main)
