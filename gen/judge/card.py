"""A judge's card: what it is, what it learnt from, its figures with their intervals, what its numbers give away."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gen.data.sources import SOURCES
from gen.data.split import patient_of
from gen.judge.degrade import BAD_BLUR, BAD_CONTRAST, BAD_GAMMA, BAD_NOISE
from gen.judge.labels import finding_states
from gen.judge.network import patch_side

if TYPE_CHECKING:
    from gen.core.manifest import Row
    from gen.judge.config import JudgeConfig
    from gen.judge.judge import Judge
    from gen.judge.reference import Reference

_HEAD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-classification
tags: [chest-x-ray, radiology, research-only]
---
# {name}: a small judge of chest radiographs

It looks at a chest radiograph of {size} × {size} pixels and says which findings, sex, age, view and age group it
sees, how good the image is, and whether its texture comes from a detector;
and it gives an embedding of {embedding} numbers. `gen describe IMAGE` prints that; `gen.judge.judge.load_judge()`
opens it.

**For research and teaching only: it measures synthetic images. It is not good enough to read a patient's radiograph,
and must not be used to.**

## What it is

A stock `transformers.ResNetModel` (`trunk/`, {trunk:.2f} million weights) with linear heads, and beside it a
texture branch that sees patches of {patch} × {patch} pixels, each alone (the idea of AdverX-Ray); {weights:.2f}
million weights in all, {megabytes:.1f} MB in half precision.
The trunk, and with it every head but one and the embedding, learnt from real images and damaged real images only and
never saw a synthetic image. The texture branch learnt to tell real images from spoilt ones, from reconstructions by
the generator's autoencoder, and from the generator's samples; it shares no weight with the trunk.
Both were made beside one generator on the same training images: quote the figures below with whatever it says, and
score with a second extractor that neither of them knows.

- **Findings** have a head where one source has at least {least} training images with and {least} without it:
  {findings}.{left_out}
- A missing label is unknown, not negative. Absent is what is called absent, everything on an image of "No Finding",
  and what a source that names all it has does not name ({complete}).
- **Quality**, 1 is good, learnt from damage: exposure (gamma beyond e^±{gamma}, less than {contrast:.0%} of the
  contrast, burnt or sunken thirds, inversion), sharpness (blur of {blur} px or noise of {noise} of full scale and
  more), anatomy (tiles shuffled, a cut-out, a quarter or half turn, no image at all).
- **Calibration**: one temperature a head, fitted on validation patients. `calibration.json` has them, and the
  thresholds of best F1 on validation, at which `gen evaluate` counts a finding as seen. `gen describe` says a finding
  from even odds on, and none whose AUROC below has an interval that reaches down to 0.5.

## Data

{without}Split by patient, as the generator's: {count} images of {patients} patients to learn from; {images} images seen
in training (images repeat), each once as it is and once damaged, moved by a few per cent, never flipped.

| source | images | licence | cite |
|---|---:|---|---|
{sources}

"""

_TAIL = """
## Privacy of the reference index

`reference.safetensors` has a row for each of the {indexed} training images: {embedding} numbers of 8 bits
({index_kb:.0f} kB in all), and keyed hashes of image and patient. It exists so that a synthetic image can be
compared with every training image without the images.
What it gives away: whoever holds an image can tell whether it, or one very like it, is in the index; that is its
purpose. The hashes keep names out of sight, but not from someone who can list the candidates. Sex, age group, view
and likely findings can be read off the numbers. Nobody has tried to draw an image again from them; {embedding} numbers
have room for its rough shape and not for its detail.
{public}Who trains on patients that are not public should weigh that before sharing the file: without it
everything but the copy check works.

## Limits

- Few images, labels mined from reports by software, one hospital for most of the adults: expect worse elsewhere.
  Figures by source above; where a source has one class only, it has no AUROC.
- A source's look can stand in for a finding or an age: children are nearly all from one hospital. "child within
  NIH" is the honest figure.
- Rare findings have wide intervals, and subgroups wider ones. A group's mean AUROC is over the findings that have
  {enough} images with and without it there, so groups do not average the same findings.
- The age shrinks towards the middle. Race is unknown to it, as are sides, severities, devices and lateral views.
- The texture branch knows the fakes that it learnt and not those that it has never met (table above): a low
  score proves nothing.
- "Anatomy" says one whole upright chest; it does not notice a mirrored one.

## Licence of the weights

Apache-2.0, with the attributions above, which must travel with the weights.
"""


def write_card(judge: Judge, figures: Mapping[str, Any], rows: Sequence[Row], config: JudgeConfig, images: int) -> str:
    """The README.md of ``judge``, trained on ``rows`` for ``images`` images, with its ``figures``."""
    from gen.judge.measure import ENOUGH

    network, reference = judge.network, judge.reference
    weights = sum(p.numel() for p in network.parameters())
    everyone = Counter((row.source or "unknown", row.licence or "unknown") for row in rows)
    sources = [f"| {s} | {n} | {licence} | {_citation(s)} |" for (s, licence), n in everyone.most_common()]
    public = all(row.source in SOURCES for row in rows)
    head = _HEAD.format(
        name="judge-256" if config.size == 256 else f"judge-{config.size}",
        size=config.size,
        embedding=network.shape.embedding,
        trunk=sum(p.numel() for p in network.trunk.parameters()) / 1e6,
        weights=weights / 1e6,
        megabytes=2 * weights / 1e6,
        patch=patch_side(network.shape.texture),
        least=config.least_images,
        findings=", ".join(judge.findings) or "none",
        left_out=_left_out(judge, rows, config),
        complete=", ".join(config.complete) or "none here",
        gamma=BAD_GAMMA,
        contrast=BAD_CONTRAST,
        blur=BAD_BLUR,
        noise=BAD_NOISE,
        count=len(rows),
        patients=len({patient_of(row) for row in rows}),
        images=f"{images:,}",
        sources="\n".join(sources),
        without=f"Not learnt from: {', '.join(config.leave_out)}. " if config.leave_out else "",
    )
    tail = _TAIL.format(
        indexed=0 if reference is None else len(reference.codes),
        embedding=network.shape.embedding,
        index_kb=0 if reference is None else sum(v.nbytes for k, v in vars(reference).items() if k != "key") / 1e3,
        public="All images of this index are public, and so is the fact that they were used. " if public else "",
        enough=ENOUGH,
    )
    return head + "\n".join(_figure_lines(judge, figures)) + "\n" + tail


def _left_out(judge: Judge, rows: Sequence[Row], config: JudgeConfig) -> str:
    """The findings with enough images that have no head all the same, in a sentence."""
    present = Counter(name for row in rows for name, has in finding_states(row, config.complete).items() if has)
    names = [name for name, count in present.items() if count >= config.least_images and name not in judge.findings]
    if not names:
        return ""
    return (
        f"\n  That leaves out {', '.join(sorted(names))}: no source has enough images with and without it, and a head"
        "\n  would learn to tell one hospital from another."
    )


def _citation(source: str) -> str:
    return SOURCES[source].citation if source in SOURCES else ""


def _figure_lines(judge: Judge, figures: Mapping[str, Any]) -> list[str]:
    everyone = figures["groups"]["all"]
    lines = [
        "## Figures",
        "",
        f"On {figures['films']} images of {figures['patients']} patients of the {figures['split']} split, none of them",
        f"learnt from{' or calibrated on' if figures['split'] == 'test' else ''}. In brackets: 95 %, by patient.",
        f"Mean AUROC of the findings that have enough images: **{_three(everyone['findings_auroc'])}**;",
        f"their calibration error {_one(everyone['findings_calibration_error'])}.",
        "",
        "| head | with | without | AUROC | Brier | calibration error |",
        "|---|---:|---:|---|---|---:|",
    ]
    named = {**figures["findings"], **{_HEADS[name]: figures[name] for name in _HEADS}}
    for name, row in named.items():
        cells = _three(row["auroc"]), _three(row["brier"], 3), _one(row["calibration_error"])
        lines.append(f"| {name} | {row['positive']} | {row['negative']} | {' | '.join(cells)} |")
    lines += [
        "",
        f"Age: mean error {_three(everyone['age_error_years'], 1)} years; always saying the median age of the training",
        f"images gives {_three(figures['always_the_median_age_error_years'], 1)}. The calibration error is the",
        "expected one, over ten bins of equal count; a perfect judge of so few images scores above 0, too.",
        "",
        "| group | images | findings, mean AUROC (of how many) | findings, Brier | findings, calibration error "
        "| sex, AUROC | view, AUROC | age error, years |",
        "|---|---:|---|---|---:|---|---|---|",
    ]
    for name, row in figures["groups"].items():
        mean = f"{_three(row['findings_auroc'])} ({len(row['findings_counted'])})"
        rest = (
            _three(row["findings_brier"], 3),
            _one(row["findings_calibration_error"]),
            _three(row["female_auroc"]),
            _three(row["AP_auroc"]),
            _three(row["age_error_years"], 1),
        )
        lines.append(f"| {name} | {row['films']} | {mean} | {' | '.join(rest)} |")
    lines += ["", "| damage | told by | images damaged badly | AUROC |", "|---|---|---:|---|"]
    for kind, row in figures["quality"].items():
        lines.append(f"| {kind} | {row['head']} | {row['damaged']} | {_three(row['auroc'])} |")
    lines += ["", "| fake, told by its patches | learnt from | images | AUROC |", "|---|---|---:|---|"]
    for kind, row in figures["artefact"].items():
        learnt = "yes" if row["trained_on"] else "no"
        lines.append(f"| {kind} | {learnt} | {row['images']} | {_three(row['auroc'])} |")
    return [*lines, "", *_copy_lines(figures["copies"])]


def about_index(reference: Reference, copies: Mapping[str, Any]) -> str:
    """What is added to a judge's card where its index is another one, ``reference``, with its figures on ``copies``."""
    (count, width), patients = reference.codes.shape, len(set(reference.patients.tolist()))
    lines = [
        "",
        "# The reference index in this folder",
        "",
        "This folder is the judge described above with the index of another generator, made by `gen train reference`.",
        "What is said above of an index and of planted copies is about the original one; the weights are the same.",
        f"This index has a row for each of {count} training images of {patients} patients: {width} numbers of 8 bits,",
        "and keyed hashes of image and patient. Whoever holds an image can tell whether it is in there:",
        "weigh that before sharing the folder, where the patients are not public.",
        "",
        *_copy_lines(copies),
    ]
    return "\n".join(lines) + "\n"


def _copy_lines(copies: Mapping[str, Any]) -> list[str]:
    lines = [
        "Planted copies of training images, found by the nearest row of the index at "
        f"{copies['false_alarms']:.0%} false alarms",
        f"on {copies['held_out']} real images of other patients (distance below {copies['threshold']:.4f}):",
        "",
        "| copy | found | nearest is the image itself |",
        "|---|---:|---:|",
    ]
    for name, row in copies.items():
        if isinstance(row, Mapping):
            lines.append(f"| {name} | {row['found']:.1%} | {row['right_film']:.1%} |")
    return lines


_HEADS = {"female": "female", "AP": "AP (against PA)", "child": "child", "child_within_nih": "child within NIH"}


def _three(triple: Sequence[float], digits: int = 2) -> str:
    value, low, high = triple
    if math.isnan(value):
        return "–"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _one(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
