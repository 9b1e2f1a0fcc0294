"""Label notation, "effusion: 0" or "mass = -1", and headings, "Absent: effusion, mass", as items of a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from gen.language.chunks import MENTIONED, STRENGTH
from gen.language.words import Item

# CheXpert's values, and the words that tables have for them.
VALUES = {
    "present": ("1", "yes", "y", "true", "positive", "pos", "present", "+"),
    "absent": ("0", "no", "n", "false", "negative", "neg", "absent", "none", "not present", "not seen"),
    "uncertain": ("-1", "possible", "uncertain", "equivocal", "maybe", "questionable", "unclear"),
}
UNKNOWN = frozenset({"nan", "unknown", "na", "null", "missing", "blank"})
STATES = {word: state for state, words in VALUES.items() for word in words}
PRESENT_HEADINGS = frozenset({"positive", "present"})


def read_labels(items: Sequence[Item]) -> list[Item]:
    """The sentence with each value of a finding as one item of the kind "label", whose value is a state.

    A value stands behind a colon or "=", a number also right behind its finding, and nothing else belongs to it.
    """
    items, read = _headed(list(items)), list[Item]()
    i = 0
    while i < len(items):
        read.append(items[i])
        if items[i].kind in MENTIONED:
            at = _behind(items, i)
            state = _state(items, at)
            if state is not None or _is_unknown(items, at):
                read.append(Item("label", state, f": {items[at].text}"))
                i = at
        i += 1
    return read


def _behind(items: Sequence[Item], i: int) -> int:
    """Where the value of the finding at ``i`` would stand: "nodule count: 0", "mass = 1", "edema (0)", "edema - 0"."""
    at = i + 1
    while at < len(items) and items[at].kind == "filler":
        at += 1
    if at + 1 < len(items):
        divides = items[at].text in ("(", "–") and items[at + 1].kind == "number"
        return at + 1 if divides or items[at].kind == "colon" else i + 1
    return i + 1


def _headed(items: list[Item]) -> list[Item]:
    """The sentence without a heading that says nothing ("Findings:"); "Absent:" becomes the cue of what follows."""
    if len(items) < 3 or items[1].kind != "colon" or _state(items, 2) is not None:
        return items
    if items[0].kind == "deny after":
        return [Item("deny", "heading", items[0].text), *items[2:]]
    return items[2:] if items[0].text in PRESENT_HEADINGS or items[0].kind == "abnormality" else items


def _state(items: Sequence[Item], at: int) -> str | None:
    """What the item ``at`` says as a value that stands alone, None where it is no value."""
    if at >= len(items) or not (at + 1 == len(items) or items[at + 1].kind in STRENGTH or _labelled(items, at + 1)):
        return None
    item = items[at]
    if item.kind == "number":
        return STATES.get(f"{item.value:g}")
    return STATES.get(item.text) if items[at - 1].kind == "colon" or item.text == "+" else None


def _is_unknown(items: Sequence[Item], at: int) -> bool:
    """Whether the item ``at`` is the value of a table that does not know."""
    return at < len(items) and items[at - 1].kind == "colon" and items[at].text in UNKNOWN


def _labelled(items: Sequence[Item], i: int) -> bool:
    """Whether the next label begins at ``i``, in a column of them without marks between: "edema: 0 mass: 1"."""
    if items[i].kind == "deny" and i + 1 < len(items):  # "No Finding: 1"
        i += 1
    return items[i].kind in MENTIONED and i + 1 < len(items) and items[i + 1].kind in ("colon", "number")
