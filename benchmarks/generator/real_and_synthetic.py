"""A contact sheet of samples beside held-out real radiographs, each labelled which is which; nothing is picked.

The real ones are the first of the NIH test patients in the order of a hash, one image each; the samples have the
captions of those very images as prompts, and seeds 0, 1, 2 and so on.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from benchmarks import common
from gen.core.radiograph import Radiograph
from gen.core.run import derived_seed
from gen.data.sources import NIH


@click.command(help=__doc__)
@common.model_option
@common.data_option
@common.samples_option
@click.option("-n", "count", type=click.IntRange(1), default=8, show_default=True, help="Pairs.")
@click.option("--columns", type=click.IntRange(1), default=4, show_default=True, help="Pairs side by side.")
@common.steps_option
@common.guidance_option
@common.figure_option("docs/samples.png")
def main(
    model: Path | None, data: Path, samples: Path, count: int, columns: int, steps: int, guidance: float, figure: Path
) -> None:
    from gen.model.sampling.contact_sheet import write_contact_sheet

    folder = common.chosen_model(model)
    rows = common.one_image_a_patient([row for row in common.read_splits(data)["test"] if row.source == NIH], count)
    prompts = common.prompts_of(rows)
    seeds = [derived_seed(0, k) for k in range(len(rows))]
    made = common.cached_samples(samples, folder, prompts, seeds, steps, guidance)
    pixels_u8 = common.pixels_of(rows, common.model_size(folder))
    real = [Radiograph((image / 255).astype(np.float32), None, {"synthetic": "no"}) for image in pixels_u8]

    pictures, captions = [], []
    for start in range(0, len(rows), columns):  # a line of real ones, and under it their synthetic namesakes
        block = slice(start, start + columns)
        blank = [Radiograph(np.ones_like(real[0].pixels), None, {})] * (columns - len(real[block]))
        pictures += [*real[block], *blank, *made[block], *blank]
        captions += [f"REAL (NIH). {prompt}" for prompt in prompts[block]] + [""] * len(blank)
        captions += [f"SYNTHETIC, seed {start + i}. {prompt}" for i, prompt in enumerate(prompts[block])]
        captions += [""] * len(blank)
    figure.parent.mkdir(parents=True, exist_ok=True)
    write_contact_sheet(figure, pictures, captions, columns=columns)
    common.print_table(
        ["seed", "real image", "prompt"],
        [[k, row.file_name, prompt] for k, (row, prompt) in enumerate(zip(rows, prompts, strict=True))],
    )
    print(f"\npicture: {figure}; real images: NIH Clinical Center, ChestX-ray14, test patients")


if __name__ == "__main__":
    common.launch(main)
