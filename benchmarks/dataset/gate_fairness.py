"""Do the gates reject one group more than another? Pass rates of real images by group, before and after calibration.

Before: one threshold for all, at the stated rate; and one that is as lenient on the whole as those by group, to show
what leniency as such does. Thresholds come from the images of other patients (five folds); in the rates each patient
weighs 1, with Wilson's intervals. With samples of a generator also: what share of them passes each gate, by sex.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from augment.dataset.config import Gates
from augment.dataset.gates.calibration import Limit, Limits, RealImage, limits_by_group, own_patients, passes
from augment.dataset.gates.gate_set import GateSet, open_gate_set
from augment.dataset.gates.rates import Fit, all_of_its_own, at, large_groups, outcomes, share_of
from augment.dataset.gates.scores import gate_of, measure
from benchmarks import common
from gen.core.errors import BadInput
from gen.core.manifest import read_manifest
from gen.judge.framings import FRAMINGS, VARIED
from gen.statistics.groups import ALL
from gen.statistics.intervals import Figure, proportion


def single_threshold(images: Sequence[RealImage], kind: str, limits: Limits) -> float:
    """The one threshold that as large a share of ``images`` passes as pass ``limits``; each patient weighs 1."""
    members = [image for image in images if kind in image.scores]
    _, place, count = np.unique([image.patient for image in members], return_inverse=True, return_counts=True)
    weight = 1 / count[place]
    scores = np.array([image.scores[kind] for image in members])
    passed = scores >= [limits.threshold(image.attributes) for image in members]
    order = np.argsort(-scores, kind="stable")
    reached = np.searchsorted(np.cumsum(weight[order]), weight[passed].sum() - 1e-9)
    return float(scores[order][min(reached, len(order) - 1)])


def one_for_all(gate_set: GateSet, images: Sequence[RealImage], *, as_lenient: bool) -> dict[str, Limits]:
    """What `GateSet.fit` gives, with one threshold for all at each gate."""
    fitted = gate_set.fit(images)
    for kind, each in fitted.items():
        if kind in gate_set.limits:
            listed = {key: limit for key, limit in each.groups.items() if key in gate_set.limits[kind].groups}
            one = single_threshold(images, kind, Limits(listed, {})) if as_lenient else each.groups[ALL].threshold
            fitted[kind] = Limits({ALL: Limit(one, 0, None)}, {})
    return fitted


def worst_and_spread(figures: Mapping[str, Figure]) -> tuple[str, Figure, float]:
    """The group with the lowest rate, that rate, and how far the highest lies above it; "all" is no group."""
    known = {key: figure for key, figure in figures.items() if key != ALL and np.isfinite(figure.value)}
    worst = min(known, key=lambda key: known[key].value)
    return worst, known[worst], max(figure.value for figure in known.values()) - known[worst].value


def of_samples(images: Sequence[RealImage], limits: Mapping[str, Limits]) -> dict[str, dict[str, Figure]]:
    """By kind, by gate and for all gates together ("joint"): the share of ``images`` that pass, all, F and M."""
    found = [passes(image, limits) for image in images]
    kinds = sorted({kind for hits in found for kind in hits if not kind.startswith("finding: no ")})
    shares: dict[str, dict[str, Figure]] = {}
    for name in (*kinds, *sorted({gate_of(kind) for kind in kinds} - set(kinds)), "joint"):
        for sex in ("all", "F", "M"):
            flags = []
            for image, hits in zip(images, found, strict=True):
                own = {kind: hit for kind, hit in hits.items() if name in (kind, gate_of(kind), "joint")}
                if sex in ("all", image.attributes.get("sex")) and (hit := all_of_its_own(own)) is not None:
                    flags.append(hit)
            shares.setdefault(name, {})[sex] = proportion(sum(flags), len(flags))
    return shares


@click.command()
@click.option("--pass-rate", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=Gates().pass_rate)
@click.option(
    "--framing",
    type=click.Choice(FRAMINGS),
    default=VARIED,
    show_default=True,
    help="Of the real images; samples are to be in the same.",
)
@click.option("--samples", type=click.Path(path_type=Path), help="A folder that `gen sample` wrote.")
@common.json_option
def main(pass_rate: float, framing: str, samples: Path | None, json_file: Path | None) -> None:
    """The bundled judge's gates on the held-out images that came with it."""
    gate_set = open_gate_set(Gates(pass_rate=pass_rate), framing=framing)
    if gate_set is None:
        raise BadInput("there are no gates")
    fits: dict[str, Fit] = {
        "one threshold": partial(one_for_all, gate_set, as_lenient=False),
        "one, as lenient": partial(one_for_all, gate_set, as_lenient=True),
        "by group": gate_set.fit,
    }
    passed = {when: outcomes(gate_set.images, gate_set.limits, fit) for when, fit in fits.items()}
    large = large_groups(gate_set.images, gate_set.gates.least_images)
    keys_of = {kind: list(limits.groups) for kind, limits in gate_set.limits.items() if kind != "copy"}
    keys_of |= {"copy": large, "joint": large}
    figures: dict[str, Any] = {"pass_rate": pass_rate, "framing": framing, "images": len(gate_set.images), "kinds": {}}
    summary, detail = [], []
    for kind, keys in sorted(keys_of.items(), key=lambda item: (item[0] == "joint", item[0])):
        says = all_of_its_own if kind == "joint" else partial(at, kind)
        images = gate_set.images
        rates = {when: {key: share_of(images, hits, key, says) for key in keys} for when, hits in passed.items()}
        figures["kinds"][kind] = rates
        if kind.startswith("finding: no ") or len(keys) < 3:
            continue
        for when, each in rates.items():
            worst, figure, spread = worst_and_spread(each)
            summary.append([kind, len(keys) - 1, when, each[ALL].text(), figure.text(), worst, f"{spread:.3f}"])
        if kind == "joint":
            detail = [[key, rates["by group"][key].n, *(each[key].text() for each in rates.values())] for key in keys]
    common.print_table(["gate", "groups", "thresholds", "all", "worst group", "which", "highest - lowest"], summary)
    print("\nAll gates together, by group:\n")
    common.print_table(["group", "patients", *fits], detail)
    if samples is not None:
        made = measure(gate_set.judge, read_manifest(samples).rows)
        uncapped, _ = limits_by_group(gate_set.images, pass_rate, gate_set.gates.least_images, own_patients(pass_rate))
        uncapped |= {"copy": gate_set.limits["copy"]}
        shares, strict = of_samples(made, gate_set.limits), of_samples(made, uncapped)
        print(f"\n{len(made)} samples:\n")
        common.print_table(
            ["gate", "n", "pass", "F", "M", "without the cap"],
            [
                [name, each["all"].n, *(each[sex].text() for sex in ("all", "F", "M")), strict[name]["all"].text()]
                for name, each in shares.items()
            ],
        )
        figures["samples"] = shares
    common.save_json(json_file, figures)


if __name__ == "__main__":
    common.launch(main)
