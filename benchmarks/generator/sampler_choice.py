"""Which steps, guidance and interval of guidance a model should be released with: tried on validation prompts.

Each try samples the same prompts, one of each validation patient, from the same seeds, and is compared with these
patients' own images, prepared as the model's training images were. A distance alone can be fooled by contrast, so the
shares of whole chests and what the judge reads of the prompt stand beside it; so do recall and coverage, which fall
where images grow alike, with real images of as many training patients for comparison. Choose here, measure on test
patients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np

from benchmarks import common
from benchmarks.generator.fidelity import gradient_energy
from gen.core.run import derived_seed
from gen.evaluate.alignment import Pair, Side, alignment
from gen.evaluate.anatomy import Chests, Measured, compare_anatomy, measured_of
from gen.evaluate.extractors import embed
from gen.evaluate.fidelity import compare, kid
from gen.statistics.intervals import Figure, mean_of

EXTRACTORS = ("judge", "texture", "random")
SPREAD = "judge"  # whose embedding recall and coverage are told in


@click.command(help=__doc__)
@common.model_option
@common.data_option
@common.samples_option
@click.option("-n", "count", type=click.IntRange(64), default=128, show_default=True, help="Prompts.")
@click.option(
    "--try",
    "tries",
    multiple=True,
    default=("20 1 - -", "20 2 0.3 6"),
    metavar='"STEPS GUIDANCE LOW HIGH"',
    help="A setting; - - is guidance at every noise level.",
)
@common.json_option
def main(
    model: Path | None, data: Path, samples: Path, count: int, tries: tuple[str, ...], json_file: Path | None
) -> None:
    from gen.anatomy.folder import load_anatomy
    from gen.anatomy.reading import read_anatomy
    from gen.judge.judge import load_judge
    from gen.model.folder import model_hash

    folder = common.chosen_model(model)
    size = common.model_size(folder)
    splits = common.read_splits(data)
    rows = common.one_image_a_patient(splits["validation"], count)
    units = [row.patient_id for row in rows]
    prompts = common.prompts_of(rows)
    seeds = [derived_seed(0, k) for k in range(len(rows))]
    judge, anatomy = load_judge(), load_anatomy()
    real = common.pixels_of(rows, size)

    def chests(images: np.ndarray) -> Measured:
        seen = [(each.measurements, each.refused) for each in read_anatomy(anatomy, images)]
        return measured_of(seen, units)

    def spread(features: np.ndarray, of: Sequence[str]) -> dict[str, Figure]:
        compared = compare(wanted[SPREAD], units, features, of)
        return {f"recall, {SPREAD}": compared.recall, f"coverage, {SPREAD}": compared.coverage}

    def figures(whole: Chests, agreement: Callable[[Pair], Figure]) -> dict[str, Figure]:
        judged = {"AUROC of findings": read.mean_auroc, "of sex": read.sex, "of view": read.view}
        return {"whole chests": whole.whole, **{name: agreement(pair) for name, pair in judged.items()}}

    wanted = {spec: embed(real, spec, common.CACHE) for spec in EXTRACTORS}
    energy = gradient_energy(real).mean()
    real_side, real_chests = Side(rows, units, judge.read(real)), chests(real)
    others = common.one_image_a_patient(splits["train"], len(rows))
    of_others = embed(common.pixels_of(others, size), SPREAD, common.CACHE)
    real_spread = spread(of_others, [row.patient_id for row in others])
    found: dict[str, dict[str, Figure]] = {}
    for text in tries:
        steps, guidance, low, high = text.split()
        interval = None if low == "-" else (float(low), float(high))
        made = common.cached_samples(samples, folder, prompts, seeds, int(steps), float(guidance), interval)
        images = common.as_u8(made)
        features = {spec: embed(images, spec, common.CACHE) for spec in EXTRACTORS}
        read = alignment(Side(rows, units, judge.read(images)), real_side, {})
        compared = compare_anatomy(real_chests, chests(images), "")
        found[text] = {
            **{f"KID, {s}": kid(wanted[s], units, features[s], units) for s in EXTRACTORS},
            **spread(features[SPREAD], units),
            "gradient energy / real": mean_of(gradient_energy(images) / energy, units),
            **figures(compared.synthetic, lambda pair: pair.synthetic),
        }
        found["real"] = {**real_spread, **figures(compared.real, lambda pair: pair.real)}
    print(f"model {folder.name} ({model_hash(folder)}), {len(rows)} prompts of validation patients [95 %]\n")
    columns = list(found[tries[0]])
    common.print_table(
        ["steps, guidance, interval", *columns],
        [[name, *(of[c].text() if c in of else "" for c in columns)] for name, of in found.items()],
    )
    common.save_json(json_file, {"model": model_hash(folder), "n": len(rows), "tries": found})


if __name__ == "__main__":
    common.launch(main)
