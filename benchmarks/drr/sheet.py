"""The pictures of projections in the README: views, twins, masks, and every finding and device that can be put in.

Only the phantom and CTs under CC BY are shown. What is drawn at random is drawn from seed 0; nothing is picked.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path

import click
import numpy as np

from benchmarks import common
from drr.geometry import parse_view
from drr.insert.request import KINDS, parse_lesion
from drr.masks import label_stacks, mask_stack
from drr.phantom.chest import make_phantom
from drr.physics.technique import technique_of
from drr.projection import Projection, render
from drr.reader import read_labels, read_volume
from drr.scene import Scene, insert, load_scene
from gen.core.radiograph import Radiograph, pad_to_square, resize
from gen.core.run import derived_seed
from gen.model.sampling.contact_sheet import write_contact_sheet

OUTLINED = ("heart", "aorta", "lung", "liver", "clavicula", "scapula")  # what the labels of these begin with
SIZE = 288


def exposed(scene: Scene, view: str, *, masks: bool = False) -> Projection:
    """``scene`` on a detector of 1024 pixels, with twins."""
    pose = parse_view(view)
    if scene.healthy:  # the phantom stands, as in `gen drr`
        pose = replace(pose, position="erect")
    rng = np.random.default_rng(derived_seed(0, f"{scene.key}:{view}"))
    found = {"lung right": scene.lungs == 1, "lung left": scene.lungs == 2}
    lungs = {name: mask_stack(mask, scene.volume) for name, mask in found.items()}
    stacks = (label_stacks(scene.volume) or lungs) if masks else {}
    chosen = {name: stack for name, stack in stacks.items() if name.startswith(OUTLINED)}
    return render(scene, pose, technique_of(pose), size=1024, rng=rng, twins=True, masks=chosen)


def picture(pixels: np.ndarray) -> Radiograph:
    return Radiograph(resize(pad_to_square(pixels), SIZE), None, {"synthetic": "yes"})


def outlined(projection: Projection) -> np.ndarray:
    """The image with the edges of its masks in white."""
    from scipy.ndimage import binary_erosion

    image = projection.image * np.float32(0.7)
    for mask in projection.masks.values():
        image[mask & ~binary_erosion(mask, iterations=4)] = 1
    return image


def views_of(scene: Scene, title: str) -> tuple[list[Radiograph], list[str]]:
    """A row of the first sheet: four views, both twins and the outlines of the masks."""
    frontal = exposed(scene, "PA", masks=True)
    pictures = [frontal.image, exposed(scene, "lateral").image, exposed(scene, "AP").image, exposed(scene, "LAO").image]
    pictures += [frontal.soft, frontal.bone, outlined(frontal)]
    words = ["PA", "left lateral", "AP", "LAO 45", "PA without bone", "PA, bone alone", "PA, outlines"]
    return [picture(each) for each in pictures], [f"{title}. {word}" for word in words]


def findings_of(scene: Scene, title: str) -> tuple[list[Radiograph], list[str]]:
    """The second sheet: the scene as it is, then with each thing that can be put in."""
    pictures, words = [picture(exposed(scene, "PA").image)], [f"{title}, as it is"]
    for kind in KINDS:
        request = parse_lesion(kind.device or kind.finding)
        changed = insert(scene, [request], np.random.default_rng(derived_seed(0, kind.device or kind.finding)))
        label = changed.inserted[0].label
        told = [label.get("severity"), label.get("side"), kind.device or kind.finding]
        pictures.append(picture(exposed(changed, "PA").image))
        words.append(" ".join(word for word in told if word).capitalize())
    return pictures, words


@click.command(help=__doc__)
@common.cts_option
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs"), show_default=True)
def main(cts: Path, out: Path) -> None:
    labelled = read_volume(cts / "lidc-idri-0001.nii.gz")
    labels = read_labels(cts / "lidc-idri-0001.seg.nii.gz", labelled, cts / "lidc-idri-0001.seg.labels.csv")
    scenes = {
        "Phantom, woman of 50": load_scene(make_phantom("F", "average", 50), "woman"),
        "Phantom, large man of 70": load_scene(make_phantom("M", "large", 70), "man"),
        "LIDC-IDRI-0001": load_scene(replace(labelled, labels=labels), "lidc-idri-0001"),
        "LIDC-IDRI-0314": load_scene(read_volume(cts / "lidc-idri-0314.nii.gz"), "lidc-idri-0314"),
        "QIN-LUNG-01-0007": load_scene(read_volume(cts / "qin-lung-01-0007.nii.gz"), "qin-lung-01-0007"),
    }
    rows = [views_of(scene, title) for title, scene in scenes.items()]
    pictures, words = (list(chain.from_iterable(column)) for column in zip(*rows, strict=True))
    write_contact_sheet(out / "drr.png", pictures, words, columns=7)
    shown = load_scene(read_volume(cts / "qin-lsc-0028.nii.gz"), "qin-lsc-0028")
    write_contact_sheet(out / "drr_findings.png", *findings_of(shown, "QIN-LSC-0028"), columns=4)


if __name__ == "__main__":
    common.launch(main)
