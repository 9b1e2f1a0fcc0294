"""A judge's card: what it is, what it learnt from, its figures with their intervals, what its numbers give away."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gen.core.markdown import read_prose, table
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

_PROSE = read_prose(__package__, "card.md")


def write_card(judge: Judge, figures: Mapping[str, Any], rows: Sequence[Row], config: JudgeConfig, images: int) -> str:
    """The README.md of ``judge``, trained on ``rows`` for ``images`` images, with its ``figures``."""
    from gen.judge.measure import ENOUGH

    network, reference = judge.network, judge.reference
    weights = sum(p.numel() for p in network.parameters())
    everyone = Counter((row.source or "unknown", row.licence or "unknown") for row in rows)
    sources = [(source, str(n), licence, _citation(source)) for (source, licence), n in everyone.most_common()]
    public = all(row.source in SOURCES for row in rows)
    head = _PROSE.fill(
        "head",
        name="judge-256" if config.size == 256 else f"judge-{config.size}",
        size=config.size,
        embedding=network.shape.embedding,
        trunk=f"{sum(p.numel() for p in network.trunk.parameters()) / 1e6:.2f}",
        weights=f"{weights / 1e6:.2f}",
        megabytes=f"{2 * weights / 1e6:.1f}",
        patch=patch_side(network.shape.texture),
        least=config.least_images,
        findings=", ".join(judge.findings) or "none",
        left_out=_left_out(judge, rows, config),
        complete=", ".join(config.complete) or "none here",
        gamma=BAD_GAMMA,
        contrast=f"{BAD_CONTRAST:.0%}",
        blur=BAD_BLUR,
        noise=BAD_NOISE,
        count=len(rows),
        patients=len({patient_of(row) for row in rows}),
        images=f"{images:,}",
        framed=" " + _PROSE.fill("framed") if config.prepared is not None else "",
        sources=table(("source", "images", "licence", "cite"), sources, right=(1,)),
        without=_PROSE.fill("without", names=", ".join(config.leave_out)) + " " if config.leave_out else "",
    )
    tail = _PROSE.fill(
        "tail",
        indexed=0 if reference is None else len(reference.codes),
        embedding=network.shape.embedding,
        index_kb=f"{_bytes_of(reference) / 1e3:.0f}",
        public=_PROSE.fill("public") + " " if public else "",
        enough=ENOUGH,
    )
    return f"{head}\n\n{_figures(figures)}\n\n{tail}\n"


def _bytes_of(reference: Reference | None) -> int:
    return 0 if reference is None else sum(v.nbytes for k, v in vars(reference).items() if k != "key")


def _left_out(judge: Judge, rows: Sequence[Row], config: JudgeConfig) -> str:
    """The findings with enough images that have no head all the same, in a sentence."""
    present = Counter(name for row in rows for name, has in finding_states(row, config.complete).items() if has)
    names = [name for name, count in present.items() if count >= config.least_images and name not in judge.findings]
    if not names:
        return ""
    return "\n  " + _PROSE.fill("left_out", names=", ".join(sorted(names)))


def _citation(source: str) -> str:
    return SOURCES[source].citation if source in SOURCES else ""


def _figures(figures: Mapping[str, Any]) -> str:
    everyone = figures["groups"]["all"]
    named = {**figures["findings"], **{_HEADS[name]: figures[name] for name in _HEADS}}
    heads = [
        (
            name,
            str(row["positive"]),
            str(row["negative"]),
            _three(row["auroc"]),
            _three(row["brier"], 3),
            _one(row["calibration_error"]),
        )
        for name, row in named.items()
    ]
    groups = [
        (
            name,
            str(row["films"]),
            f"{_three(row['findings_auroc'])} ({len(row['findings_counted'])})",
            _three(row["findings_brier"], 3),
            _one(row["findings_calibration_error"]),
            _three(row["female_auroc"]),
            _three(row["AP_auroc"]),
            _three(row["age_error_years"], 1),
        )
        for name, row in figures["groups"].items()
    ]
    damages = [
        (kind, row["head"], str(row["damaged"]), _three(row["auroc"])) for kind, row in figures["quality"].items()
    ]
    fakes = [
        (kind, "yes" if row["trained_on"] else "no", str(row["images"]), _three(row["auroc"]))
        for kind, row in figures["artefact"].items()
    ]
    return _PROSE.fill(
        "figures",
        images=figures["films"],
        patients=figures["patients"],
        split=figures["split"],
        calibrated=" or calibrated on" if figures["split"] == "test" else "",
        auroc=_three(everyone["findings_auroc"]),
        calibration=_one(everyone["findings_calibration_error"]),
        heads=table(("head", "with", "without", "AUROC", "Brier", "calibration error"), heads, right=(1, 2, 5)),
        age=_three(everyone["age_error_years"], 1),
        median=_three(figures["always_the_median_age_error_years"], 1),
        groups=table(_GROUP_COLUMNS, groups, right=(1, 4)),
        framings=_framings(figures["framings"]),
        damages=table(("damage", "told by", "images damaged badly", "AUROC"), damages, right=(2,)),
        fakes=table(("fake, told by its patches", "learnt from", "images", "AUROC"), fakes, right=(2,)),
        copies=_copies(figures["copies"]),
    )


def _framings(figures: Mapping[str, Any]) -> str:
    """The figures by framing, "" where there is one alone."""
    if len(figures) == 1:
        return ""
    rows = [
        (
            name,
            str(of["films"]),
            *(_three(of[key]) for key in ("findings_auroc", "female_auroc", "AP_auroc", "child_auroc")),
            _three(of["age_error_years"], 1),
        )
        for name, of in figures.items()
    ]
    columns = ("framing", "images", "findings, mean AUROC", "sex", "view", "child", "age error, years")
    return "\n" + _PROSE.fill("framings", table=table(columns, rows, right=(1,))) + "\n"


def about_index(reference: Reference, copies: Mapping[str, Any]) -> str:
    """The addition to a judge's card where its index is another one, ``reference``, with its figures on ``copies``."""
    (count, width), patients = reference.codes.shape, len(set(reference.patients.tolist()))
    return f"\n{_PROSE.fill('index', count=count, width=width, patients=patients, copies=_copies(copies))}\n"


def _copies(copies: Mapping[str, Any]) -> str:
    rows = [
        (name, f"{row['found']:.1%}", f"{row['right_film']:.1%}")
        for name, row in copies.items()
        if isinstance(row, Mapping)
    ]
    return _PROSE.fill(
        "copies",
        false_alarms=f"{copies['false_alarms']:.0%}",
        held_out=copies["held_out"],
        threshold=f"{copies['threshold']:.4f}",
        table=table(("copy", "found", "nearest is the image itself"), rows, right=(1, 2)),
    )


_GROUP_COLUMNS = (
    "group",
    "images",
    "findings, mean AUROC (of how many)",
    "findings, Brier",
    "findings, calibration error",
    "sex, AUROC",
    "view, AUROC",
    "age error, years",
)
_HEADS = {"female": "female", "AP": "AP (against PA)", "child": "child", "child_within_nih": "child within NIH"}


def _three(triple: Sequence[float], digits: int = 2) -> str:
    value, low, high = triple
    if math.isnan(value):
        return "–"
    if math.isnan(low):  # of one patient there is no interval
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _one(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
