"""Are copies found? Training images, changed as a generator might change them, against images of unseen patients.

The threshold is what lets 1 % of the held-out images (validation and test patients) pass for copies; recall is the
share of planted copies below it. Its interval draws held-out patients and planted images anew, the threshold with them.
Beyond what the search is made for, the second table shows where it ends.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks import common
from gen.core.bundled import bundled_judge
from gen.core.errors import BadInput
from gen.core.radiograph import Radiograph
from gen.core.run import derived_seed
from gen.data.split import patient_of
from gen.evaluate.copies import Nearest, nearest_aligned, nearest_embedded, planted
from gen.evaluate.extractors import embed
from gen.evaluate.verdict import figure_text
from gen.judge.reference import copy_threshold
from gen.model.sampling.variation import vary
from gen.statistics.intervals import Figure, members_of, proportion

SIZE = 256  # pixels
DRAWS = 1000


def further(pixels_u8: np.ndarray, model: Path) -> dict[str, np.ndarray]:
    """Harder changes of uint8 ``pixels_u8`` (N, S, S): through the autoencoder, and what goes beyond the search."""
    from scipy.ndimage import gaussian_filter, rotate, shift

    from gen.judge.fakes import reconstruct

    image = pixels_u8.astype(np.float32)
    noise = np.random.default_rng(1).standard_normal(image.shape, dtype=np.float32) * 255
    changed = {
        "through the autoencoder": reconstruct(model, pixels_u8),
        "blurred, 2 px": gaussian_filter(image, (0, 2, 2)),
        "noise of 10 %": image + 0.1 * noise,
        "half of another image mixed in": (image + np.roll(image, 1, 0)) / 2,
        "shifted by 12 %": shift(image, (0, 0.12 * SIZE, 0), order=1),
        "turned by 7 degrees": rotate(image, 7, (1, 2), reshape=False, order=1),
        "inverted": 255 - image,
        "mirrored": image[:, :, ::-1],
        "pose and exposure drawn": np.stack(
            [255 * vary(Radiograph(one / 255, None, {}), derived_seed(0, k)).pixels for k, one in enumerate(image)]
        ),
    }
    return {kind: np.rint(some).clip(0, 255).astype(np.uint8) for kind, some in changed.items()}


def recall_at(control: np.ndarray, units: np.ndarray, found: np.ndarray, rate: float) -> Figure:
    """The share of ``found`` below the threshold that ``control`` gives at ``rate``, and its 95 % interval.

    Held-out patients and planted images are drawn anew, together; where all are found on every draw, Wilson's lower end
    stands for what so many images cannot rule out.
    """
    members = members_of(units.tolist())
    generator = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        some = np.concatenate([members[i] for i in generator.integers(len(members), size=len(members))])
        threshold, _ = copy_threshold(control[some], rate)
        drawn.append((generator.choice(found, len(found)) < threshold).mean())
    value = float((found < copy_threshold(control, rate)[0]).mean())
    alone = proportion(round(value * len(found)), len(found))
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Figure(value, min(float(low), alone.low), max(float(high), alone.high), len(found))


def search(pixels_u8: np.ndarray, training: np.ndarray, extractors: list[str]) -> dict[str, Nearest]:
    """The nearest training image in each channel, the embeddings proposing candidates to the registration."""
    found, proposed = {}, []
    for spec in extractors:
        distances, indices = nearest_embedded(embed(pixels_u8, spec), embed(training, spec), 4)
        found[spec] = Nearest(distances[:, 0], indices[:, 0])
        proposed.append(indices)
    return {"pixels after alignment": nearest_aligned(pixels_u8, training, proposed), **found}


@click.command(help=__doc__)
@common.model_option
@common.data_option
@click.option("-n", "count", type=click.IntRange(8), default=300, show_default=True, help="Training images to plant.")
@click.option("--false-alarms", "rate", type=click.FloatRange(0, 0.5, min_open=True), default=0.01, show_default=True)
@common.json_option
def main(model: Path | None, data: Path, count: int, rate: float, json_file: Path | None) -> None:
    splits = common.read_splits(data)
    held_out_rows = [*splits["validation"], *splits["test"]]
    training = common.pixels_of(splits["train"], SIZE)
    held_out = common.pixels_of(held_out_rows, SIZE)
    units = np.asarray([patient_of(row) for row in held_out_rows])
    place = {row.file: index for index, row in enumerate(splits["train"])}
    source = np.asarray([place[row.file] for row in common.one_image_a_patient(splits["train"], count)])
    extractors = ["layout"]
    try:
        bundled_judge()
        extractors.insert(0, "judge")
    except BadInput:
        print("no bundled judge: its embedding is left out\n")

    started = time.monotonic()
    near = search(held_out, training, extractors)
    seconds = (time.monotonic() - started) / len(held_out)
    copies = {**planted(training[source]), **further(training[source], common.chosen_model(model))}
    found = {kind: search(pixels_u8, training, extractors) for kind, pixels_u8 in copies.items()}
    print(
        f"{len(source)} planted copies of each kind, {len(training)} training images, {len(held_out)} held-out images "
        f"of {len(set(units))} patients; threshold at {rate:.1%} false alarms; {1000 * seconds:.0f} ms a search\n"
    )
    figures: dict[str, Any] = {}
    for name, control in near.items():
        threshold, its_rate = copy_threshold(control.distance, rate)
        recall = partial(recall_at, control.distance, units, rate=rate)
        figures[name] = {
            "threshold": threshold,
            "rate": its_rate,
            "recall": {kind: recall(found=some[name].distance) for kind, some in found.items()},
            "source": {kind: float((some[name].index == source).mean()) for kind, some in found.items()},
            # At the distance under which 95 % of all planted copies of a kind are, so many held-out images are too.
            "false_alarms_at_95": {
                kind: float((control.distance < np.percentile(some[name].distance, 95)).mean())
                for kind, some in found.items()
            },
        }
    print("Recall of planted copies, in % [95 %]\n")
    table = [
        [kind, *(figure_text(of["recall"][kind].as_dict(), 1, percent=True) for of in figures.values())]
        for kind in copies
    ]
    common.print_table(["", *figures], table)
    print(
        "\nShare whose nearest is the very image they were made of, in %, and false alarms where recall is 95 %, in %\n"
    )
    table = [
        [
            kind,
            *(f"{100 * of['source'][kind]:.1f}, {100 * of['false_alarms_at_95'][kind]:.1f}" for of in figures.values()),
        ]
        for kind in copies
    ]
    common.print_table(["", *figures], table)
    common.save_json(json_file, {"n": len(source), "held_out": len(held_out), "patients": len(set(units)), **figures})


if __name__ == "__main__":
    common.launch(main)
