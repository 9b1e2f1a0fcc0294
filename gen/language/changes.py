"""What a sentence says of a change since an earlier image, as items of their own.

    compared = denial {degree} course [preposition]     "no interval increase in", "has not worsened", "without change"
             | {degree} noun preposition                "slight increase in", "progression of"
             | (denial | "partly" ...) {degree} ending   "not resolved", "no resolution of", "partially cleared"

A grade belongs to its change and not to the finding: "slightly increased effusion" may be a large one.

A comparison presupposes what it compares: who sees no increase in an effusion sees the effusion. So what is compared is
there, whatever denial stands before the course. Not so a course that describes a denied finding, as in "no worsening
edema": whether an old one is there stays open, and `gen.language.clauses` reads it as absent with a warning.
"""

from __future__ import annotations

from collections.abc import Sequence

from gen.language.chunks import STRENGTH
from gen.language.findings import COURSE_NOUNS, COURSES, DEGREES, ENDINGS, PARTLY
from gen.language.words import Item

COURSE_WORDS = frozenset({"change", "enlargement", *COURSES.split("|")})
NOUNS = frozenset({"change", *COURSE_NOUNS.split("|")})
DEGREE_WORDS = frozenset(DEGREES.split("|"))
ENDING_WORDS, PARTLY_WORDS = frozenset(ENDINGS.split("|")), frozenset(PARTLY.split("|"))
PREPOSITIONS = frozenset({"of", "of the", "to", "from", "since", "for"})
DEGREE_KINDS = frozenset({"filler", "article", "qualifier", "severity"})


def is_course(item: Item) -> bool:
    """Whether the item says how something went on: "interval increase", "worsened", "increased in size"."""
    return item.kind in ("filler", "not carried", "adjective") and not COURSE_WORDS.isdisjoint(item.text.split())


def read_changes(items: Sequence[Item]) -> list[Item]:
    """The sentence with each comparison as one item of the kind "compared", and grades of a change as part of it."""
    read = list[Item]()
    i = 0
    while i < len(items):
        end = _compared(items, i)
        if end is not None:
            read.append(Item("compared", None, " ".join(x.text for x in items[i:end])))
        elif _grades_a_change(items, i):
            end = i + 2
            read.append(Item("not carried", None, f"{items[i].text} {items[i + 1].text}"))
        else:
            end = i + 1
            read.append(items[i])
        i = end
    return read


def _compared(items: Sequence[Item], i: int) -> int | None:
    """Where the comparison ends that begins at ``i``; None where none begins."""
    first = items[i]
    denies = first.kind == "deny" and not _ends(first)
    partly = first.text in PARTLY_WORDS
    at = _over_degrees(items, i + 1) if denies or partly else _over_degrees(items, i)
    if at >= len(items):
        return None
    if (denies or partly) and _ends(items[at]):
        return at + 1
    if partly or not is_course(items[at]) or (items[at].kind == "adjective" and not _is_of_finding(items, at)):
        return None
    noun = items[at].kind == "adjective" or items[at].text.split()[-1] in NOUNS
    if at + 1 < len(items) and (items[at + 1].kind == "locative" or items[at + 1].text in PREPOSITIONS):
        return at + 2 if denies or (noun and not items[at].text.endswith("change")) else None
    ends = at + 1 == len(items) or items[at + 1].kind in STRENGTH
    return at + 1 if denies and (noun or ends) else None


def _over_degrees(items: Sequence[Item], i: int) -> int:
    """The first item from ``i`` on that says no degree of a change."""
    while i < len(items) and not is_course(items[i]) and not _ends(items[i]):
        if items[i].kind not in DEGREE_KINDS and items[i].text not in DEGREE_WORDS:
            return i
        i += 1
    return i


def _ends(item: Item) -> bool:
    """Whether the item says by itself that something is there no longer: "resolved", "resolution of"."""
    return item.kind in ("deny", "deny after") and not ENDING_WORDS.isdisjoint(item.text.split())


def _is_of_finding(items: Sequence[Item], at: int) -> bool:
    """The heart that is "not increased in size" is normal, an effusion that is not is there."""
    behind = "enlargement" in items[at].text  # its finding stands
    subjects = [x.kind for x in (items[at + 1 :] if behind else items[:at]) if x.kind in ("finding", "part")]
    return subjects[:1] == ["finding"] if behind else subjects[-1:] == ["finding"]


def _grades_a_change(items: Sequence[Item], i: int) -> bool:
    """ "Slightly worsened", "mild increase"; but in "small improved effusion" the effusion is small."""
    if items[i].kind != "severity" or i + 1 == len(items) or not is_course(items[i + 1]):
        return False
    return items[i].text.endswith("ly") or items[i + 1].text.split()[-1] in NOUNS
