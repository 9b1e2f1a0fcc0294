"""Where a list under one cue ("no", "possible") goes on, and where something new begins.

    list    = item {"," item} [[","] closing item]        closing = "or" | "nor" | "and"
    item    = {grade | place | article} finding

A list that has its closing conjunction is one list, whatever grades stand in it. Without one, a graded item after a
comma begins something new ("no pneumothorax, small effusion"), as does a graded one after a first "and".
"""

from __future__ import annotations

from collections.abc import Sequence

from gen.language.chunks import CUES, FAIRLY, MENTIONED, STRONGLY, Chunk
from gen.language.patient import ABOUT_THE_IMAGE, ABOUT_THE_PATIENT
from gen.language.words import Item

FACTS = ABOUT_THE_PATIENT | ABOUT_THE_IMAGE
ILL = frozenset({"enlarged", "borderline", "blunted", "congested", "abnormal"})  # adjectives that a list can deny


def is_item(chunk: Chunk) -> bool:
    """Whether the chunk may be one of a list: a noun phrase of the field and no statement of its own."""
    if chunk.has(*CUES, *FACTS) or chunk.asserts == STRONGLY:
        return False
    return is_noun_phrase(chunk) if chunk.has("adjective") else chunk.has(*MENTIONED, "unknown")


def is_noun_phrase(chunk: Chunk) -> bool:
    """ "Enlarged heart", and not "heart is enlarged" or "clear lungs"."""
    kinds = [x.kind for x in chunk.items]
    ill = all(x.value in ILL for x in chunk.items if x.kind == "adjective")
    return ill and "part" in kinds and kinds.index("adjective") < kinds.index("part")


def closing(chunks: Sequence[Chunk], at: int, least: int) -> str | None:
    """The conjunction that closes the list in which chunk ``at`` stands after a comma; None for an open list.

    ``least`` is the weakest assertion that counts, here and below: under "possible" only a strong one does.
    """
    asserted = False  # a clause in the middle: "no a, b is seen and c"
    for chunk in chunks[at:]:
        if chunk.connective in ("or", "nor"):
            return chunk.connective
        if not is_item(chunk) or chunk.connective not in ("comma", "slash", "and"):
            return None
        if chunk.connective == "and" and (asserted or chunk.asserts >= max(FAIRLY, least) or begins_anew(chunk)):
            return None
        if chunk.connective == "and":
            return "and"
        asserted |= chunk.asserts >= least
    return None


def begins_anew(chunk: Chunk) -> bool:
    """Whether an item after "and" has an article before its grade, or is a device: "... and a small effusion"."""
    indefinite = chunk.items[0].text in ("a", "an") and chunk.has("severity")
    return indefinite or next((x.kind for x in chunk.content), "") == "device"


def continues(chunks: Sequence[Chunk], at: int, start: int, least: int) -> bool:
    """Whether chunk ``at``, after a comma or "and", belongs to a closed list under the cue in chunk ``start``."""
    end = closing(chunks, at, least)
    if end != "and":
        return end is not None
    rest = chunks[start + 1 : at]
    if any(c.connective not in ("comma", "slash") or not is_item(c) or c.asserts >= least for c in rest):
        return False  # the list was closed before
    if chunks[at].connective == "and" and not rest:
        return False  # "no a and b" has no comma
    # "63 year old, no a, small b and c": the "and" may close the list of all that is said.
    within = chunks[start].connective in ("comma", "and") and start > 0 and chunks[start - 1].has(*MENTIONED)
    within = within or any(c.has(*FACTS) for c in chunks)
    return not (within and any(c.has("severity", "place") for c in chunks[start + 1 :]))


def either_side(before: Chunk, chunk: Chunk) -> list[Item]:
    """The places of one finding that "or" leaves open: "effusion on the left or right"."""
    places = [[x for x in each.items if x.kind == "place"] for each in (before, chunk)]
    sides = [{x.value[0] for x in each} - {None} for each in places]
    one = before.has(*MENTIONED) != chunk.has(*MENTIONED)
    return places[0] + places[1] if one and sides[0] and sides[1] and sides[0] != sides[1] else []


def begins_new(chunk: Chunk, waiting: bool, least: int) -> bool:
    """Whether the chunk, after a comma or "and" in no closed list, begins something new.

    ``waiting`` says that the cue has met nothing yet, so that an assertion is of what it denies: "no acute, displaced
    fracture is seen". So is one behind a slash: "no mass/nodule noted".
    """
    if not chunk.items:
        return False
    if chunk.asserts >= least and not waiting and chunk.connective != "slash":
        return True
    if chunk.items[0].kind == "qualifier":  # "focal", "acute": of what is denied
        return False
    content = chunk.content
    first = next((i for i, x in enumerate(content) if x.kind in MENTIONED), len(content))
    graded = first < len(content) and any(x.kind == "severity" for x in content[:first])
    device = bool(content) and content[0].kind == "device"
    return graded or device or chunk.items[0].kind == "article" or chunk.has("adjective", *FACTS)
