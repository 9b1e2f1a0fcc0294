"""The part of a data set's card that is about its gates: what they are, what they refused, how far to trust them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from augment.dataset.config import GATES, Gates
from augment.dataset.gates.scores import gate_of
from augment.dataset.shards.counts import Cells, by_value, gates_of, total
from gen.core.markdown import read_prose, table
from gen.evaluate.verdict import figure_text

_PROSE = read_prose(__package__, "gates.md")


def gate_section(cells: Cells, gate_facts: Mapping[str, Any] | None, gates: Gates, looked_at: Collection[str]) -> str:
    """Write the section in Markdown.

    ``gate_facts`` is as of `gate_set.GateSet.describe`, None where all gates are off; ``looked_at`` are the names of
    the scores in the records.
    """
    if gate_facts is None:
        return _PROSE.fill("no_gates")
    off = [name for name in GATES if name not in gate_facts["gates"]]
    refused = [
        (name, f"{met:,}", f"{refused:,}", f"{(met - refused) / met:.1%}" if met else "")
        for name, (refused, met) in (dict.fromkeys(gate_facts["gates"], (0, 0)) | gates_of(total(cells))).items()
    ]
    asked = by_value(cells)
    relevant = {value for values in asked.values() for value in values}
    return _PROSE.fill(
        "section",
        attempts=gates.attempts,
        substitutes=gates.substitutes,
        off=_PROSE.fill("off", names=", ".join(off)) if off else "",
        refused=table(("gate", "images seen", "refused", "passed"), refused, right=range(1, 4)),
        thresholds=_thresholds(gate_facts, relevant, looked_at),
        unseen=_unseen(gate_facts["without"], relevant, "race" in asked),
        joint=_joint(gate_facts),
        judge=_judge(gate_facts["judge"]),
    )


def _thresholds(gate_facts: Mapping[str, Any], asked: Collection[str], looked_at: Collection[str]) -> str:
    """The thresholds of what was looked at in this set, and how real images fare with them."""
    rows = []
    for kind, facts in sorted(gate_facts["kinds"].items(), key=lambda pair: (GATES.index(gate_of(pair[0])), pair[0])):
        name, _, value = kind.partition(": ")
        if kind not in looked_at and (name not in looked_at or value not in asked):
            continue
        groups = facts["groups"]
        limits = sorted({f"{group['threshold']:.4g}" for group in groups.values()}, key=float)
        rows.append(
            (
                kind,
                limits[0] if len(limits) == 1 else f"{limits[0]} to {limits[-1]}",
                str(len(groups) - 1),
                str(len(facts["pooled"])),
                figure_text(groups["all"]["passed"], 1, percent=True),
                _extreme(groups, "passed", min),
                figure_text(groups["all"]["others"], 1, percent=True),
                _extreme(groups, "others", max),
            )
        )
    columns = ("score", "threshold", "groups of their own", "pooled groups", "real images that pass")
    passing = ("in the worst group", "of the opposite kind that pass", "in the worst group")
    age = ""
    if "age" in looked_at:
        years = max(-group["threshold"] for group in gate_facts["kinds"]["age"]["groups"].values())
        age = _PROSE.fill("age", years=f"{years:.0f}")
    real = gate_facts["real"]
    return _PROSE.fill(
        "thresholds",
        pass_rate=f"{100 * gate_facts['pass_rate']:g}",
        images=f"{real['images']:,}",
        patients=f"{real['patients']:,}",
        source=real["source"],
        framing=_PROSE.fill("framing", framing=real["framing"]) if real["framing"] else _PROSE.fill("framing_of_real"),
        least_images=gate_facts["least_images"],
        least_patients=gate_facts["least_patients"],
        enough=f"{gate_facts['enough']:g}",
        copy_false_alarms=f"{100 * gate_facts['copy_false_alarms']:g}",
        table=table((*columns, *passing), rows, right=range(1, 4)),
        age=age,
    )


def _unseen(without: Mapping[str, str], asked: Collection[str], race: bool) -> str:
    """What was asked for and nothing looks at."""
    relevant = [
        f"{kind}: {reason}" for kind, reason in without.items() if kind.partition(": ")[2].removeprefix("no ") in asked
    ]
    if race:
        relevant.append(_PROSE.fill("race"))
    return _PROSE.fill("unseen", lines="\n".join(f"- {line}" for line in relevant)) if relevant else ""


def _joint(gate_facts: Mapping[str, Any]) -> str:
    rows = [
        (key, f"{figure['n']:,}", figure_text(figure, 1, percent=True))
        for key, figure in gate_facts["joint"].items()
        if "|" not in key
    ]
    return _PROSE.fill("joint", table=table(("group", "patients", "pass"), rows, right=(1,))) if rows else ""


def _judge(judge: Mapping[str, Any]) -> str:
    whose = {"name": judge["name"], "fingerprint": judge["fingerprint"]}
    own = judge["figures"]
    if not own:
        return _PROSE.fill("judge_without_figures", **whose)
    years = own["age_error_years"]
    heads = [(name, _triple(triple, 2)) for name, triple in own["auroc"].items()]
    return _PROSE.fill(
        "judge",
        **whose,
        images=f"{own['images']:,}",
        patients=f"{own['patients']:,}",
        table=table(("finding or attribute", "AUROC"), heads),
        age="" if years is None else _PROSE.fill("judge_age", years=_triple(years, 1)),
    )


def _triple(triple: Sequence[float | None], digits: int) -> str:
    return figure_text(dict(zip(("value", "low", "high"), triple, strict=True)), digits)


def _extreme(groups: Mapping[str, Any], what: str, pick: Callable[..., str]) -> str:
    """The group with the least or the largest share, where there are several."""
    known = [key for key in groups if groups[key][what]["value"] is not None]
    if len(groups) == 1 or not known:
        return ""
    key = pick(known, key=lambda key: groups[key][what]["value"])
    return f"{figure_text(groups[key][what], 1, percent=True)} ({key})"
