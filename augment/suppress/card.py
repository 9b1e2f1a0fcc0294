"""The card of a network of bone suppression: what it is, whose CTs it learnt from under which licences, its figures.

A card is a function of the network's folder: of the weights, and of what figures.json says of training and measuring.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from augment.suppress.folder import FIGURES, read_network
from augment.suppress.pairs import PHANTOM, Patient
from augment.suppress.scores import NAMES
from drr.ct.collections import collection_of
from gen.core.files import read_json
from gen.core.markdown import read_prose, table
from gen.statistics.intervals import Figure

_PROSE = read_prose(__package__, "card.md")


def facts_of(patients: Sequence[Patient]) -> list[dict[str, str]]:
    """Who ``patients`` are, as figures.json has them."""
    return [{name: getattr(each, name) for name in ("key", "source", "licence", "sha256")} for each in patients]


def write_card(folder: Path) -> str:
    """The README.md of the network in ``folder``, which has figures.json; BadInput where it has none."""
    network, side = read_network(folder)
    figures = read_json(folder / FIGURES)
    weights = sum(p.numel() for p in network.parameters())
    learnt, validated = (figures["patients"][part] for part in ("train", "validation"))
    phantoms = sum(each["key"].startswith(PHANTOM) for each in learnt)
    head = _PROSE.fill(
        "head",
        name=f"suppress-{side}",
        side=side,
        weights=f"{weights / 1e6:.2f}",
        megabytes=f"{2 * weights / 1e6:.1f}",
        images=f"{figures['images']:,}",
        pairs=f"{figures['pairs']:,}",
        cts=len(learnt) - phantoms,
        phantoms=phantoms,
        sources=_sources(learnt),
        validated=", ".join(each["key"] for each in validated),
    )
    blocks = [head, _validation(figures["validation"])]
    if "test" in figures:
        blocks.append(_test(figures["test"]))
    return "\n\n".join([*blocks, _PROSE.fill("tail")]) + "\n"


def _sources(patients: Sequence[Mapping[str, str]]) -> str:
    """A row for each CT; nothing where there are phantoms alone."""
    rows = []
    for patient in patients:
        if patient["key"].startswith(PHANTOM):
            continue
        collection = collection_of(patient["source"])
        cite = "" if collection is None else collection.citation
        rows.append((patient["key"], patient["source"].partition(";")[0], patient["licence"], cite))
    return table(("CT", "source", "licence", "cite"), rows) if rows else ""


def _validation(figures: Mapping[str, Any]) -> str:
    network, nothing = figures["network"], figures["do nothing"]
    return _PROSE.fill(
        "validation",
        images=figures["images"],
        psnr=f"{network['psnr']:.1f}",
        nothing_psnr=f"{nothing['psnr']:.1f}",
        residual=f"{network['residual']:.2f}",
        nothing_residual=f"{nothing['residual']:.2f}",
        detail=f"{network['detail_loss']:.2f}",
        nothing_detail=f"{nothing['detail_loss']:.2f}",
    )


def _test(figures: Mapping[str, Any]) -> str:
    methods = figures["methods"]
    rows = [
        [text, *(_figure(each[name]).text(digits) for each in methods.values())]
        for name, (digits, text) in NAMES.items()
    ]
    known = {part: ", ".join(keys) for part, keys in figures["known"].items() if keys}
    return _PROSE.fill(
        "test",
        known="\n\n".join(_PROSE.fill(f"known_{part}", names=names) for part, names in known.items())
        or _PROSE.fill("not_known"),
        images=figures["images"],
        patients=", ".join(figures["patients"]),
        figures=table(("mean over patients [95 %]", *methods), rows),
    )


def _figure(stored: Mapping[str, Any]) -> Figure:
    value, low, high = (float("nan") if stored[key] is None else stored[key] for key in ("value", "low", "high"))
    return Figure(value, low, high, stored["n"])
