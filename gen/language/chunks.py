"""One sentence cut at its connectives into chunks, and what each chunk by itself asserts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gen.language.findings import ASSERTING, COMPARING
from gen.language.words import Item, singular

# Connectives, the stronger one winning where several stand together (", but", "and there is").
STRENGTH = {"comma": 1, "slash": 1, "and": 2, "or": 3, "versus": 4, "nor": 5, "turn": 6, "except": 7, "aside": 8}
MENTIONED = frozenset({"finding", "device", "no term", "abnormality"})
MODIFIERS = frozenset({"place", "severity"})
DENIALS = frozenset({"deny", "deny after"})
CUES = DENIALS | {"doubt", "doubt after"}
AS_BEFORE, IN_COURSE = frozenset(ASSERTING.split("|")), frozenset(COMPARING.split("|"))
IS, ARE = frozenset({"is", "was"}), frozenset({"are", "were"})
# How strongly a chunk asserts its finding: "is seen" and "at the left base" might close a list under "no", too,
# "worsening" might be part of what is denied, and "is present", "persists" and "unchanged" are neither.
WEAKLY, FAIRLY, STRONGLY = 1, 2, 3


@dataclass
class Chunk:
    """The items from one connective to the next."""

    connective: str
    items: list[Item] = field(default_factory=list)
    word: str = ""  # of the connective
    asserts: int = 0
    compares: bool = False  # with an earlier image: "no increase in" what is there

    def has(self, *kinds: str) -> bool:
        return any(item.kind in kinds for item in self.items)

    @property
    def content(self) -> list[Item]:
        """Its items without articles and qualifiers."""
        return [item for item in self.items if item.kind not in ("article", "qualifier")]


def cut(items: Sequence[Item]) -> list[Chunk]:
    """The chunks of one sentence."""
    chunks, dropped = [Chunk("start")], [list[Item]()]
    for item in items:
        if item.kind not in STRENGTH:
            dropped[-1].append(item)
            if item.kind not in ("filler", "colon", "deny nothing", "assert", "compared"):
                chunks[-1].items.append(item)
        elif any(x.kind != "article" for x in chunks[-1].items):
            chunks.append(Chunk(item.kind, [], item.text))
            dropped.append([])
        else:
            last = chunks[-1]
            if STRENGTH.get(last.connective, 0) < STRENGTH[item.kind]:
                last.connective, last.word = item.kind, item.text
            last.items.clear()
            dropped[-1].clear()
    for i, (chunk, whole) in enumerate(zip(chunks, dropped, strict=True)):
        chunk.asserts = _assertion(whole, chunks[i + 1].word if i + 1 < len(chunks) else "")
        chunk.compares = any(x.kind == "compared" for x in whole)
    return [piece for chunk in chunks for piece in _asides(chunk)]


def _assertion(items: Sequence[Item], following: str) -> int:
    """How strongly the items of a chunk, its small words included, say that its finding is there."""
    at = next((i for i, x in enumerate(items) if x.kind in MENTIONED), None)
    if at is None:
        return 0
    after = items[at + 1 :]
    words = [x.text for x in after if x.kind in ("filler", "assert")]
    verbs = {word.split()[0] for word in words}
    if any(x.kind == "label" for x in after) or any(x.text in AS_BEFORE or x.kind == "compared" for x in items):
        return STRONGLY
    if any(x.kind == "assert" and x.value == "strong" for x in after) or following in ("has", "have"):
        return STRONGLY
    if verbs & (IS | ARE) and any(x.kind in (*MODIFIERS, "not carried") for x in after):
        return STRONGLY  # "cardiomegaly is mild"
    if any(in_course(x) for x in items):
        return FAIRLY
    plural = singular(items[at].text.split()[-1]) != items[at].text.split()[-1]
    if verbs & ARE and not plural:
        return 0  # "effusion are seen" speaks of a list
    located = any(x.kind == "locative" for x in after) and any(x.kind == "place" for x in after)
    return WEAKLY if located or any(x.kind == "assert" for x in after) else 0


def in_course(item: Item) -> bool:
    """Whether the item compares with an earlier image: "worsening", "slight increase", "new"."""
    return item.text in IN_COURSE or item.text.split()[-1] in IN_COURSE


def goes_on(item: Item) -> bool:
    """Whether the item alone says that something is there, as before or not: "stable", "increased"."""
    return item.kind == "not carried" and (item.text in AS_BEFORE or in_course(item))


def _asides(chunk: Chunk) -> Iterable[Chunk]:
    """A denial of a side or size alone is a chunk of its own: "effusion (not large)", "effusion without one left"."""
    said = any(x.kind in MENTIONED or x.kind == "adjective" for x in chunk.items)
    for i, item in enumerate(chunk.items):
        before, after = chunk.items[:i], chunk.items[i + 1 :]
        placed = any(x.kind == "place" for x in before)
        cue = item.kind == "deny" and not item.text.startswith("non")  # "effusion nonvisualized on the left"
        follows = any(x.kind in MENTIONED or x.kind == "adjective" for x in before) or (not said and _bare(before))
        if follows and (cue or (item.kind == "deny after" and placed and said)) and _bare(after):
            yield Chunk(chunk.connective, before, chunk.word, chunk.asserts, chunk.compares)
            yield Chunk("aside", chunk.items[i:], item.text)
            return
    yield chunk


def _bare(items: Sequence[Item]) -> bool:
    """Whether the items are modifiers and nothing that they modify."""
    small = {*MODIFIERS, "locative", "article"}
    if any(x.kind == "locative" for x in items):
        small.add("part")  # "not in the left lung"
    return any(x.kind in MODIFIERS for x in items) and all(x.kind in small for x in items)
