"""How true an image stays to the body that it was sampled from, and how like a radiograph it becomes, by strength.

Outlines: how far those that the anatomy network draws move from the projection to the image. Contrast: what a finding
or a device has over its surroundings in the image, over what it has in the projection. Ribs: how much of those of the
body the image has. Distance: to prepared radiographs of validation patients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from scipy import ndimage

from benchmarks import common
from gen.core.errors import BadInput
from gen.core.run import derived_seed
from gen.language.study import Finding, Study
from gen.statistics.intervals import Figure, bootstrap, mean_of

if TYPE_CHECKING:
    from gen.model.sampling.anatomy import Body

STRENGTHS = (0.1, 0.2, 0.25, 0.3, 0.4, 0.6, 0.8)
OUTLINED = ("right lung", "left lung", "heart")
EXTRACTORS = ("random", "texture", "layout")
RING = 0.04  # of the side: how far around a finding its surroundings reach
LEAST = 0.02  # of contrast in the projection: a finding of less is not seen there either
# What is put in, in turn: a finding with its qualities, or a device.
SHOWN: tuple[tuple[str, Finding], ...] = (
    ("No Finding", Finding()),
    ("Pleural Effusion", Finding(side="right", severity="moderate")),
    ("Mass", Finding(side="left", severity="moderate")),
    ("Pneumothorax", Finding(side="left", severity="severe")),
    ("Consolidation", Finding(side="right", severity="moderate")),
    ("Nodule", Finding(side="right", severity="severe")),
    ("Cardiomegaly", Finding(severity="moderate")),
    ("Atelectasis", Finding(side="left", severity="severe")),
)


@dataclass(frozen=True, eq=False)
class Made:
    """A body, and what was sampled from it by strength: float32 (S, S) in [0, 1]."""

    name: str
    patient: str
    body: Body
    images: Mapping[float, np.ndarray]


def outline_shift(first: np.ndarray, second: np.ndarray) -> float:
    """Mean distance in pixels between the outlines of two masks (H, W), both ways; NaN where one is empty."""
    if not (first.any() and second.any()):
        return float("nan")
    lines = [mask & ~ndimage.binary_erosion(mask, border_value=1) for mask in (first, second)]
    away = [ndimage.distance_transform_edt(~line) for line in lines]
    return float((away[1][lines[0]].mean() + away[0][lines[1]].mean()) / 2)


def contrast(image: np.ndarray, mask: np.ndarray, other: np.ndarray) -> float:
    """Mean grey in ``mask`` less that of the ring around it that lies in ``other``, bool (H, W); NaN without one."""
    ring = ndimage.binary_dilation(mask, iterations=max(1, round(RING * len(image)))) & ~mask & other
    return float(image[mask].mean() - image[ring].mean()) if mask.any() and ring.any() else float("nan")


def shares(pairs: Sequence[tuple[float, float]], units: Sequence[str]) -> Figure:
    """The slope of the second of ``pairs`` over the first through 0, with its interval over ``units``."""
    before, after = np.array(pairs, np.float64).T
    return bootstrap(units, lambda chosen: float((before[chosen] @ after[chosen]) / np.square(before[chosen]).sum()))


def make(
    model: Path,
    cts: Sequence[str],
    count: int,
    strengths: Sequence[float],
    steps: int,
    guidance: float,
    held: float | None,
) -> list[Made]:
    """``count`` bodies of the phantom and one of each CT, with the findings in turn, sampled at all ``strengths``.

    A CT that is no whole chest is named and left out.
    """
    from tqdm import tqdm

    from augment.bodies.make import PhysicalBodies
    from gen.language.render import render
    from gen.model.capabilities import has_canonical_frame
    from gen.model.sampling.anatomy import started_from
    from gen.model.sampling.pipeline import load_pipeline, sample

    pipeline = load_pipeline(model, backend="auto")
    canonical = has_canonical_frame(pipeline.capabilities)
    size = common.model_size(model)
    found = []
    for k in tqdm(range(count + len(cts)), "bodies", unit="body"):
        name, finding = SHOWN[k % len(SHOWN)] if k < count else SHOWN[1 + (k - count) % (len(SHOWN) - 1)]
        sources = PhysicalBodies() if k < count else PhysicalBodies((cts[k - count],))
        study = Study(view="PA" if k % 3 else "AP", findings={name: finding})
        seed = derived_seed(0, k)
        try:
            body = sources.make(study, seed, size, canonical=canonical)
        except BadInput as error:
            tqdm.write(str(error))
            continue
        images = {}
        for strength in strengths:
            settings: dict[str, Any] = {"steps": steps, "guidance": guidance, "strength": strength}
            settings["held_strength"] = strength if held is None else held
            begun = started_from([body], pipeline.capabilities)
            [image] = sample(pipeline, [render(body.study)], [seed], **begun, **settings)
            images[strength] = image.pixels
        found.append(Made(name, body.patient, body, images))
    return found


def measure(made: Sequence[Made], strength: float, real: Mapping[str, np.ndarray]) -> dict[str, Figure]:
    """The figures of one strength; 0 is the projections themselves. ``real`` are features by extractor."""
    from gen.anatomy.folder import load_anatomy
    from gen.anatomy.network import ORGANS
    from gen.evaluate.extractors import embed
    from gen.evaluate.fidelity import kid
    from gen.model.sampling.anatomy import bone_share

    pixels = [each.body.image.pixels if strength == 0 else each.images[strength] for each in made]
    patients = [each.patient for each in made]
    anatomy = load_anatomy()
    before = anatomy.probabilities(np.stack([each.body.image.pixels for each in made])) >= 0.5
    after = anatomy.probabilities(np.stack(pixels)) >= 0.5
    figures = {}
    for organ in OUTLINED:
        k = ORGANS.index(organ)
        moved = np.array([outline_shift(*pair) for pair in zip(before[:, k], after[:, k], strict=True)])
        known = np.flatnonzero(np.isfinite(moved))
        figures[f"{organ} moved, px"] = mean_of(moved[known], [patients[i] for i in known])
    contrasts = [
        (*(contrast(shown, each.body.held, each.body.lungs) for shown in (each.body.image.pixels, image)), each.patient)
        for each, image in zip(made, pixels, strict=True)
        if each.name not in ("No Finding", "Cardiomegaly")
    ]
    seen = [row for row in contrasts if abs(row[0]) >= LEAST]
    figures["contrast kept"] = shares([row[:2] for row in seen], [row[2] for row in seen])
    ribs = [(bone_share(image, each.body), each.patient) for each, image in zip(made, pixels, strict=True)]
    figures["ribs kept"] = mean_of([row[0] for row in ribs], [row[1] for row in ribs])
    levels = np.rint(np.stack(pixels) * 255).astype(np.uint8)
    for spec, wanted in real.items():
        figures[f"KID, {spec}"] = kid(
            wanted, [str(k) for k in range(len(wanted))], embed(levels, spec, common.CACHE), patients
        )
    return figures


@click.command(help=__doc__)
@common.model_option
@common.cts_option
@click.option("--real", type=click.Path(path_type=Path), required=True, help="A set of `gen data prepare`.")
@click.option("-n", "count", type=click.IntRange(2), default=48, show_default=True, help="Bodies of the phantom.")
@click.option("--strength", "strengths", type=click.FloatRange(0, 1, min_open=True), multiple=True, default=STRENGTHS)
@click.option(
    "--held", type=click.FloatRange(0, 1), help="Strength where something was put in [default: as elsewhere]."
)
@common.steps_option
@common.guidance_option
@click.option("--sheet", type=click.Path(path_type=Path), help="A picture of the first bodies at all strengths.")
@common.json_option
def main(
    model: Path | None,
    cts: Path,
    real: Path,
    count: int,
    strengths: tuple[float, ...],
    held: float | None,
    steps: int,
    guidance: float,
    sheet: Path | None,
    json_file: Path | None,
) -> None:
    from augment.bodies.index import INDEX, read_index
    from gen.core.radiograph import Radiograph
    from gen.evaluate.extractors import embed
    from gen.model.folder import model_hash
    from gen.model.sampling.contact_sheet import write_contact_sheet

    folder = common.chosen_model(model)
    size = common.model_size(folder)
    listed = read_index(cts) if (cts / INDEX).is_file() else []
    allowed = [row for row in listed if row["weights_may_learn"] == "yes" and ".seg." not in row["file"]]
    made = make(folder, [str(cts / row["file"]) for row in allowed], count, strengths, steps, guidance, held)
    if sheet is not None:
        shown = [(each, s) for each in made[: len(SHOWN)] for s in (0.0, *strengths)]
        pictures = [Radiograph(each.images[s]) if s else each.body.image for each, s in shown]
        captions = [f"{each.name}, strength {s:g}" for each, s in shown]
        sheet.parent.mkdir(parents=True, exist_ok=True)
        write_contact_sheet(sheet, pictures, captions, columns=1 + len(strengths))
    rows = common.one_image_a_patient(common.read_splits(real)["validation"])
    pixels = common.pixels_of(rows, size)
    features = {spec: embed(pixels, spec, common.CACHE) for spec in EXTRACTORS}
    figures = {strength: measure(made, strength, features) for strength in (0.0, *strengths)}
    patients = {each.patient for each in made}
    of_cts = sum(patient.startswith("ct-") for patient in patients)
    print(f"model {folder.name} ({model_hash(folder)}), {steps} steps, guidance {guidance:g}, {size} × {size}")
    phantoms = len(patients) - of_cts
    print(f"{phantoms} phantoms and {of_cts} CTs, one image each; {len(rows)} real images; held at {held} [95 %]\n")
    columns = list(figures[0.0])
    table = [[f"{strength:g}", *(of[c].text(2) for c in columns)] for strength, of in figures.items()]
    common.print_table(["strength", *columns], table)
    settings = {"model": model_hash(folder), "phantoms": phantoms, "cts": of_cts, "steps": steps, "guidance": guidance}
    common.save_json(json_file, {**settings, "held": held, "strengths": {f"{s:g}": of for s, of in figures.items()}})


if __name__ == "__main__":
    common.launch(main)
