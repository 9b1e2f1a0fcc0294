"""The part of a data set's card that is about its gates: what they are, what they refused, how far to trust them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from augment.dataset.config import GATES, Gates
from augment.dataset.gates.scores import gate_of
from augment.dataset.shards.counts import Cells, by_value, gates_of, total
from gen.evaluate.verdict import figure_text

_ONLY = """
**The judge gates this set and must not be the only one that scores it**: an image is here because this judge accepted
it. Quote its figures on held-out films as the ceiling, and score with an extractor that neither it nor the generator
knew (`gen evaluate`).
""".strip()


def gate_lines(cells: Cells, panel: Mapping[str, Any] | None, gates: Gates, looked_at: Collection[str]) -> list[str]:
    """The section, as lines of Markdown.

    ``panel`` is as of `gate_set.Panel.describe`, None where all gates are off; ``looked_at`` are the names of
    the scores in the records.
    """
    lines = ["## Gates", ""]
    if panel is None:
        return [*lines, "**All gates were off: nothing looked at these images.**", ""]
    counts = total(cells)
    lines += [
        f"A row got {gates.attempts} tries, each from another seed; where none passed, up to {gates.substitutes} other "
        "rows of the same cell took its place, in turn.",
        "",
    ]
    if off := [name for name in GATES if name not in panel["gates"]]:
        lines += [f"Gates that were off: {', '.join(off)}.", ""]
    rows = [
        (name, f"{met:,}", f"{refused:,}", f"{(met - refused) / met:.1%}" if met else "")
        for name, (refused, met) in (dict.fromkeys(panel["gates"], (0, 0)) | gates_of(counts)).items()
    ]
    lines += table(("gate", "images seen", "refused", "passed"), rows, numbers=3)
    lines += ["", "Of all tries, of which a row that is hard to fill has more than others."]
    asked = by_value(cells)
    relevant = {value for values in asked.values() for value in values}
    lines += ["", *_thresholds(panel, relevant, looked_at), *_unseen(panel["without"], relevant, "race" in asked)]
    return [*lines, *_joint(panel), *_judge(panel["judge"]), _ONLY, ""]


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: int = 0, first_number: int = 1
) -> list[str]:
    """A Markdown table; ``numbers`` columns from ``first_number`` on are set to the right."""
    aligned = range(first_number, first_number + numbers)
    rules = ["---:" if k in aligned else "---" for k in range(len(columns))]
    cells = [[text.replace("|", "\\|") for text in row] for row in (columns, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return [lines[0], f"|{'|'.join(rules)}|", *lines[1:]]


def _thresholds(panel: Mapping[str, Any], asked: Collection[str], looked_at: Collection[str]) -> list[str]:
    """The thresholds of what was looked at in this set, and how real films fare with them."""
    real = panel["real"]
    lines = [
        f"The thresholds are such that {100 * panel['pass_rate']:g} % of real films of the same kind, or more, can be "
        f"expected to pass each gate in every group: {real['films']:,} films of {real['patients']:,} patients "
        f"({real['source']}). A group of "
        f"{panel['least_films']} films and {panel['least_patients']} patients has thresholds of its own, smaller ones "
        f"are pooled with those around them, and an image has the lowest of its groups; for a probability it is at "
        f"most {panel['enough']:g}. For copies it is the distance that {100 * panel['copy_false_alarms']:g} % of other "
        "patients' films fall below. Each record has those that it met. Who passes is counted by thresholds from other "
        "patients' films, with 95 % intervals. Ages are years off, negative.",
        "",
    ]
    rows = []
    for kind, facts in sorted(panel["kinds"].items(), key=lambda pair: (GATES.index(gate_of(pair[0])), pair[0])):
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
    columns = ("score", "threshold", "groups of their own", "pooled groups", "real films that pass")
    passing = ("in the worst group", "of the opposite kind that pass", "in the worst group")
    lines += [*table((*columns, *passing), rows, numbers=3), ""]
    if "age" in looked_at:
        years = max(-group["threshold"] for group in panel["kinds"]["age"]["groups"].values())
        lines += [
            f"**The age is hardly tested**: an image passes up to {years:.0f} years off, as the judge sees it.",
            "",
        ]
    return lines


def _unseen(without: Mapping[str, str], asked: Collection[str], race: bool) -> list[str]:
    """What was asked for and nothing looks at."""
    relevant = [
        f"{kind}: {reason}" for kind, reason in without.items() if kind.partition(": ")[2].removeprefix("no ") in asked
    ]
    if race:
        relevant.append("race: no gate knows it, so it is what was asked for and nothing more")
    return ["Nothing looks at:", "", *(f"- {line}" for line in relevant), ""] if relevant else []


def _joint(panel: Mapping[str, Any]) -> list[str]:
    rows = [
        (key, f"{figure['n']:,}", figure_text(figure, 1, percent=True))
        for key, figure in panel["joint"].items()
        if "|" not in key
    ]
    head = ["Real films that pass all gates together, by thresholds from other patients (but for copies):", ""]
    return [*head, *table(("group", "patients", "pass"), rows, numbers=1), ""] if rows else []


def _judge(judge: Mapping[str, Any]) -> list[str]:
    lines = [f"Judge: {judge['name']} ({judge['identity']})."]
    own = judge["figures"]
    if not own:
        return [*lines, "It came without figures of its own on held-out films.", ""]
    lines += [
        f"On {own['films']:,} held-out real films of {own['patients']:,} patients, with 95 % intervals by patient:",
        "",
    ]
    rows = [(name, _triple(triple, 2)) for name, triple in own["auroc"].items()]
    lines += table(("it tells", "AUROC"), rows)
    if own["age_error_years"] is not None:
        lines += ["", f"Age: off by {_triple(own['age_error_years'], 1)} years in the mean."]
    return [*lines, ""]


def _triple(triple: Sequence[float | None], digits: int) -> str:
    return figure_text(dict(zip(("value", "low", "high"), triple, strict=True)), digits)


def _extreme(groups: Mapping[str, Any], what: str, pick: Callable[..., str]) -> str:
    """The group with the least or the largest share, where there are several."""
    known = [key for key in groups if groups[key][what]["value"] is not None]
    if len(groups) == 1 or not known:
        return ""
    key = pick(known, key=lambda key: groups[key][what]["value"])
    return f"{figure_text(groups[key][what], 1, percent=True)} ({key})"
