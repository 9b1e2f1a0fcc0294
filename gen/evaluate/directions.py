"""Which direction of each figure in report.json is the good one, written beside the figure itself.

A program that reads the numbers need not know that a lower KID and a higher recall are better.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gen.evaluate.fidelity import LOWER_IS_BETTER, METRICS

HIGHER, LOWER, ZERO, REAL, NEITHER = "higher", "lower", "nearer to 0", "nearer to that of real images", "neither"

# By section of the results: the name of a figure, or of what holds it. The first name on the way from the section down
# to the figure that stands here decides.
BETTER: Mapping[str, Mapping[str, str]] = {
    "fidelity": {name: LOWER if name in LOWER_IS_BETTER else HIGHER for name in METRICS},
    "anatomy": {"means": REAL, "distance": LOWER, "floor": LOWER, "synthetic": HIGHER, "real": HIGHER},
    "alignment": {
        **dict.fromkeys(("auroc", "mean_auroc", "balanced_accuracy", "sex", "view", "child"), HIGHER),
        "age_error": LOWER,
        "age_bias": ZERO,
    },
    "diversity": {"ms_ssim": LOWER, "distance": HIGHER},
    "privacy": {
        **dict.fromkeys(("planted", "authentic", "authentic_held_out"), HIGHER),  # planted copies: those that are found
        **dict.fromkeys(("synthetic", "held_out", "copied", "copied_held_out"), LOWER),
        **dict.fromkeys(("alarms", "alarms_elsewhere"), LOWER),
        **dict.fromkeys(("words", "pairs"), NEITHER),  # rare ones in the prompts: how many there are is no merit
    },
}
_OF_A_GROUP = {"kid": LOWER, "floor": LOWER}  # in fidelity, where a group has its KID and the floor of that
_FIGURE = {"value", "low", "high", "n"}


def with_directions(results: Mapping[str, Any]) -> dict[str, Any]:
    """``results`` (as of `evaluation.evaluate`) with "better" in each figure of the sections of `BETTER`."""
    return {
        section: _directed(value, BETTER[section], None) if section in BETTER else value
        for section, value in results.items()
    }


def _directed(value: Any, better: Mapping[str, str], found: str | None) -> Any:
    if isinstance(value, list):
        return [_directed(item, better, found) for item in value]
    if not isinstance(value, Mapping):
        return value
    if set(value) == _FIGURE:
        return {**value, "better": found}
    return {
        key: {group: _directed(of, _OF_A_GROUP, None) for group, of in item.items()}
        if key == "groups"
        else _directed(item, better, found or better.get(key))
        for key, item in value.items()
    }
