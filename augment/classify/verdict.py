"""The verdict of a comparison in plain words, from its results alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gen.evaluate.verdict import figure_text

SIGNIFICANT = 0.05


def verdict(results: Mapping[str, Any]) -> list[str]:
    """One line that says whether the arm in question helped, and then a line for each control, gap and test set.

    It helped or harmed where the interval of the difference and Holm's p say so, and where no control did as much.
    """
    arm, base = results["question"], results["baseline"]
    names = list(results["tests"])
    first = results["tests"][names[0]]
    amount = results["amounts"][0]
    found = of_pair(first["differences"], arm, base, amount)
    word = says(found)
    unbeaten = [
        f"it is not seen to beat the control {control} ({what})"
        for control, what in results["controls"].items()
        if word == "it helped" and says(of_pair(first["differences"], arm, control, amount)) != "it helped"
    ]
    why = f", but {' and '.join(unbeaten)}, so the synthetic images are not shown to be why" if unbeaten else ""
    real = f"with {amount} of the real patients" if "%" in amount else f"with {amount}"
    head = (
        f"{results['asked']} changed macro AUROC by {signed(found['difference'])} against the arm {base}, {real} "
        f"(p {p_text(found['p_holm'])} after Holm, {first['patients']} test patients, "
        f"{counted(len(results['starts']), 'start')}): {word}{why}."
    )
    lines = [head, f"Every arm sees {results['images']:,} images."]
    for control, what in results["controls"].items():
        if control != arm:
            less = of_pair(first["differences"], arm, control, amount)
            lines.append(f"Against the control {control} ({what}): {signed(less['difference'])}, {says(less)}.")
    for name in names[1:]:
        other = of_pair(results["tests"][name]["differences"], arm, base, amount)
        lines.append(f"On the test set {name} the change is {signed(other['difference'])}: {says(other)}.")
    return [*lines, _about_gaps(first["fairness"], arm, base)]


def _about_gaps(fairness: Mapping[str, Any], arm: str, base: str) -> str:
    kind = next((name for name in ("underdiagnosis", "missed findings") if name in fairness), None)
    gaps = fairness[kind][arm]["gaps"] if kind else {}
    if not gaps:
        return "Fairness: no two groups are large enough to be compared."
    parts = [
        f"by {attribute} the rates differ by up to {figure_text(of['gap'], 2)}{_highest(of)}, "
        f"{signed(of['change'], 2)} against the arm {base}: {_of_gap(of['change'])}"
        for attribute, of in gaps.items()
        if "|" not in attribute
    ]
    return f"Fairness, {kind}: {'; '.join(parts)}."


def _highest(of: Mapping[str, Any]) -> str:
    """Which group has the highest rate, unless all have the same."""
    return f" (the highest: {of['worst'].partition('=')[2]})" if of["gap"]["value"] else ""


def _of_gap(change: Mapping[str, Any]) -> str:
    """Whether the interval of a gap's change lies on one side of 0."""
    if None in (change["low"], change["high"]):
        return "not seen to change"
    return "it grew" if change["low"] > 0 else "it shrank" if change["high"] < 0 else "not seen to change"


def of_pair(differences: Sequence[Mapping[str, Any]], arm: str, against: str, amount: str) -> Mapping[str, Any]:
    """The difference of ``arm`` from ``against`` at ``amount``."""
    return next(one for one in differences if (one["arm"], one["against"], one["amount"]) == (arm, against, amount))


def says(found: Mapping[str, Any]) -> str:
    """Whether a difference is "it helped", "it harmed" or "we cannot tell"."""
    figure, p = found["difference"], found["p"] if found["p_holm"] is None else found["p_holm"]
    if None in (figure["low"], figure["high"], p) or p >= SIGNIFICANT:
        return "we cannot tell"
    return "it helped" if figure["low"] > 0 else "it harmed" if figure["high"] < 0 else "we cannot tell"


def signed(figure: Mapping[str, Any], digits: int = 3) -> str:
    """A difference as "+0.012 [-0.004, +0.028]"."""
    if figure["value"] is None:
        return "n/a"
    value, low, high = (
        "?" if figure[key] is None else f"{round(figure[key], digits) + 0.0:+.{digits}f}"
        for key in ("value", "low", "high")
    )
    return f"{value} [{low}, {high}]"


def counted(number: int, what: str) -> str:
    """A number with its noun: "1 start", "3 starts"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def p_text(p: float | None) -> str:
    """A p value as "0.031", or "n/a"."""
    return "n/a" if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001"
