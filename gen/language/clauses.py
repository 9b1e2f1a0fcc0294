"""One sentence of items -> what it says of each finding: state, side, severity and zone.

A sentence is cut at its connectives into chunks. A cue ("no", "possible") holds from its chunk through the list that
follows and ends at a turning point ("but", "with"); a closing cue ("has resolved", "?") reaches back over its list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gen.language.findings import READINGS
from gen.language.patient import ABOUT_THE_IMAGE, ABOUT_THE_PATIENT
from gen.language.study import MIDLINE
from gen.language.words import Item

# Connectives, the stronger one winning where several stand together (", but", "and there is").
STRENGTH = {"comma": 1, "slash": 1, "and": 2, "or": 3, "versus": 4, "nor": 5, "turn": 6, "except": 7}
MENTIONED = frozenset({"finding", "device", "no term", "abnormality"})
TARGETS = MENTIONED | {"adjective"}
MODIFIERS = frozenset({"place", "severity"})
FACTS = ABOUT_THE_PATIENT | ABOUT_THE_IMAGE
BEYOND = frozenset({"other", "further", "additional", "new"})  # "no other opacity" denies only what was not named
OPPOSING = frozenset({"but", "however", "although", "though", "yet", "–"})
# Finite singular verbs close only over the nearest finding: "effusion, pneumothorax has resolved".
SINGULAR = ("has ", "is ", "was ", "?")


@dataclass
class Mention:
    """One thing that a sentence speaks of, with all that is said of it."""

    kind: str  # of MENTIONED
    names: tuple[str, ...]  # standard findings, or one device
    text: str
    chunk: int
    state: str = "present"
    modifiers: list[Item] = field(default_factory=list)
    acute: bool = False  # "no acute ..."
    beyond: bool = False  # "no other ...", or "... except for"
    implied: bool = False  # by an adjective of a part: "clear lungs"


@dataclass
class Chunk:
    """The items from one connective to the next."""

    connective: str
    items: list[Item]
    word: str = ""  # of the connective

    def has(self, *kinds: str) -> bool:
        return any(item.kind in kinds for item in self.items)


@dataclass
class Adjective:
    """What is said of a part: it meets its part before or after."""

    value: str
    text: str
    mode: str
    severities: list[Item]
    chunk: int
    used: bool = False


def read_clauses(items: Sequence[Item]) -> tuple[list[Mention], list[str]]:
    """The mentions of one sentence and the warnings about what in it could not be placed."""
    reader = _Reader(_chunks(items))
    reader.read()
    return reader.mentions, reader.warnings


def _chunks(items: Sequence[Item]) -> list[Chunk]:
    chunks = [Chunk("start", [])]
    for item in items:
        if item.kind not in STRENGTH:
            if item.kind not in ("filler", "colon", "deny nothing"):
                chunks[-1].items.append(item)
        elif any(x.kind != "article" for x in chunks[-1].items):
            chunks.append(Chunk(item.kind, [], item.text))
        else:
            last = chunks[-1]
            if STRENGTH.get(last.connective, 0) < STRENGTH[item.kind]:
                last.connective, last.word = item.kind, item.text
            last.items.clear()
    return chunks


class _Reader:
    """The state of reading one sentence from left to right."""

    def __init__(self, chunks: list[Chunk]) -> None:
        self.chunks = chunks
        self.mentions: list[Mention] = []
        self.warnings: list[str] = []
        self.mode = "present"
        self.cue: Item | None = None  # of the mode, until it has met a target
        self.pending: list[Item] = []  # modifiers that wait for their finding
        self.parts: list[Item] = []  # parts of the chest that wait for their adjective
        self.adjective: Adjective | None = None
        self.weakly = False  # what is denied is denied only in part: "no suspicious ..."
        self.locative = False  # after "in the ...": modifiers belong to the finding before
        self.at = 0

    def read(self) -> None:
        for at, chunk in enumerate(self.chunks):
            self.at = at
            self._enter(chunk)
            for i, item in enumerate(chunk.items):
                self._take(item, chunk.items[:i], chunk.items[i + 1 :])
            self._leave(chunk)
        self._drop_adjective()
        self._drop_cue()
        if self.pending:
            self._leave_out(self.pending)

    # Where a cue ends

    def _enter(self, chunk: Chunk) -> None:
        connective = chunk.connective
        if connective == "turn" and self.cue is not None and chunk.word not in OPPOSING:
            return  # "may be consistent with ..."
        if connective in ("start", "turn", "except"):
            self._drop_adjective()
            self._drop_cue()
            self.mode = "present"
            if connective == "except":
                for mention in self.mentions:
                    mention.beyond = True
            return
        self.locative = self.locative and not chunk.has(*MENTIONED)
        if connective == "nor":
            self.mode = "absent"
        elif connective == "versus" or (connective == "or" and self.mode == "present" and self._is_alternative(chunk)):
            self.mode = "uncertain"
            for mention in self.mentions[-1:]:
                if mention.chunk == self.at - 1 and mention.state == "present":
                    mention.state = "uncertain"
        elif self.mode != "present" and connective != "or":
            self._keep_or_end(chunk)

    def _is_alternative(self, chunk: Chunk) -> bool:
        """ "atelectasis or pneumonia": neither is certain."""
        last = self.mentions[-1] if self.mentions else None
        before = last is not None and last.chunk == self.at - 1 and last.kind == "finding" and not last.implied
        return before and chunk.has("finding") and not chunk.has("deny", "adjective")

    def _keep_or_end(self, chunk: Chunk) -> None:
        """After "and" or a comma, a cue goes on through a list and ends where something new begins."""
        content = [x for x in chunk.items if x.kind not in ("article", "qualifier")]
        first_finding = next((i for i, x in enumerate(content) if x.kind in MENTIONED), len(content))
        graded = first_finding < len(content) and any(x.kind == "severity" for x in content[:first_finding])
        new = graded or chunk.has("adjective") or any(x.kind in FACTS for x in chunk.items)
        new = new or (bool(content) and content[0].kind == "device") or chunk.items[0:1] != content[0:1]
        new = new and not (chunk.has("qualifier") and chunk.items[0].kind == "qualifier")
        if new:
            self._end_mode()
            return
        if chunk.connective == "and" or self._list_is_closed():
            return
        if chunk.has("deny", "doubt") or not chunk.has(*MENTIONED):
            return
        word = {"absent": "no", "uncertain": "possible"}[self.mode]
        named = next(x.text for x in chunk.items if x.kind in MENTIONED)
        # A prompt's list of facts, each with its own "no", or of places, is no list under one "no".
        enumerated = sum(c.has("deny") for c in self.chunks) > 1 or any(c.has(*FACTS) for c in self.chunks)
        placed = any(x.kind == "place" for x in content[:first_finding])
        beyond = any(m.beyond for m in self.mentions[-1:])
        if self.mode == "absent" and not (enumerated or placed or beyond):
            self.warnings.append(
                f"{word!r} before the comma is read to cover {named!r}; end it with a full stop if not"
            )
        else:
            self.warnings.append(f"{word!r} before the comma is not read to cover {named!r}; repeat it if it should")
            self._end_mode()

    def _list_is_closed(self) -> bool:
        """Whether the commas from here on end in "and" or "or": "no a, b, or c"."""
        for chunk in self.chunks[self.at + 1 :]:
            if chunk.connective in ("or", "and", "nor"):
                return True
            if chunk.connective not in ("comma", "slash"):
                return False
        return False

    def _end_mode(self) -> None:
        self._drop_cue()
        self.mode = "present"

    def _drop_cue(self) -> None:
        if self.cue is not None and not any(x.kind == "unknown" for c in self.chunks for x in c.items):
            self.warnings.append(f"{self.cue.text!r} is left out: nothing that it could refer to was understood")
        self.cue = None

    # One item

    def _take(self, item: Item, before: list[Item], after: list[Item]) -> None:
        if item.kind in ("deny", "doubt", "deny after", "doubt after"):
            self._take_cue(item, before, after)
        elif item.kind in MENTIONED:
            self._mention(item, before)
        elif item.kind in MODIFIERS:
            if self.locative and self.mentions:
                self.mentions[-1].modifiers.append(item)
            else:
                self.pending.append(item)
        elif item.kind == "locative":
            self.locative = bool(self.mentions) and not self.pending
            if self.mentions and self.pending and self.mentions[-1].chunk == self.at:
                self.mentions[-1].modifiers += self.pending  # "effusion, small, on the right"
                self.pending, self.locative = [], True
        elif item.kind == "part":
            self._take_part(item, after)
        elif item.kind == "adjective":
            self._take_adjective(item, before, after)

    def _take_cue(self, item: Item, before: list[Item], after: list[Item]) -> None:
        state = "absent" if item.kind.startswith("deny") else "uncertain"
        here = any(m.chunk == self.at for m in self.mentions)
        follows = any(x.kind in TARGETS for x in after)
        closing = item.kind.endswith("after")
        alone = all(x.kind == "article" for x in before + after)
        # "Opacity may be | compatible with pneumonia" looks forward, over the turn.
        follows = follows or (not closing and not after and self._next_turns() and state == "uncertain")
        closes_earlier = bool(self.mentions) and not follows and (closing or (alone and state == "uncertain"))
        if closes_earlier or (here and (closing or not follows)):
            if not closing and any(x.kind in ("unknown", "not carried") for x in after):
                state = "uncertain"  # "the effusion is not <what?>"
                target = self.mentions[-1].text
                self.warnings.append(f"what {item.text!r} says of {target!r} was not understood; read as possible")
            self._close(item, state)
            return
        if state == "uncertain" and self.mode == "absent" and self.cue is not None:
            self.weakly = True  # "no suspicious nodule" is absent, and says nothing of an old one
            return
        if state == "uncertain" or self.mode != "uncertain" or self.cue is None:  # "probably no ..." stays a doubt
            self.mode = state
        self.cue = item

    def _next_turns(self) -> bool:
        following = self.chunks[self.at + 1 : self.at + 2]
        return any(c.connective == "turn" and c.word not in OPPOSING and c.has(*MENTIONED) for c in following)

    def _close(self, item: Item, state: str) -> None:
        """A closing cue: the nearest mention, and the list that it ends unless the verb is singular."""
        last = self.mentions[-1]
        reached = [last]
        if not item.text.startswith(SINGULAR):
            first = last.chunk
            while first > 0 and self.chunks[first].connective in ("and", "or", "nor", "comma"):
                first -= 1
            if any(c.connective in ("and", "or", "nor") for c in self.chunks[first + 1 : last.chunk + 1]):
                reached = [m for m in self.mentions if m.chunk >= first and not m.implied]
        for mention in reached or [last]:
            mention.state = state
        if self.cue is not None and self.mode == "absent":
            self.cue = None

    def _mention(self, item: Item, before: list[Item]) -> None:
        second = any(m.chunk == self.at for m in self.mentions)
        if second and self.mode != "present" and self.cue is None:
            if self.pending:
                self.mode = "present"  # "no effusion large pneumothorax": a new statement without its full stop
            else:
                word = "no" if self.mode == "absent" else "possible"
                self.warnings.append(f"{word!r} is read to cover {item.text!r} too; write a full stop to end it")
        names = (item.value,) if item.kind == "device" else item.value or ()
        words = {x.text for x in before}
        mention = Mention(item.kind, names, item.text, self.at, self.mode, self.pending)
        mention.acute = any(x.kind == "qualifier" for x in before)
        # "No acute fracture", "no large effusion", "no lobar consolidation": other ones are not denied.
        qualified = mention.acute or any(x.kind == "not carried" for x in before)
        partly = item.kind == "finding" and (qualified or any(x.kind == "severity" for x in self.pending))
        mention.beyond = bool(words & BEYOND) or self.weakly or partly
        if self.adjective is not None and self.adjective.chunk == self.at:
            if self.adjective.value == "borderline" and mention.state == "present":
                mention.state, self.adjective = "uncertain", None
            else:
                self._refuse_adjective(self.adjective, item)
        self._drop_adjective()
        self._add(mention)
        if mention.names != ("Hyperinflation",):  # "lungs are hyperexpanded but clear"
            self.parts.clear()

    def _add(self, mention: Mention) -> None:
        self.mentions.append(mention)
        self.pending, self.cue, self.locative, self.weakly = [], None, False, False

    # Parts of the chest and their adjectives

    def _take_part(self, item: Item, after: list[Item]) -> None:
        last = self.mentions[-1] if self.mentions else None
        if self.locative:
            if last is not None and last.kind == "abnormality" and item.value != "chest":
                last.names = tuple(name for name, _ in READINGS.get((item.value, "normal"), ())) or last.names
        elif self.adjective is not None and not any(x.kind == "adjective" for x in after):
            self._apply(self.adjective, [item])
        else:
            self.parts.append(item)

    def _take_adjective(self, item: Item, before: list[Item], after: list[Item]) -> None:
        self._drop_adjective()
        severities = [x for x in self.pending if x.kind == "severity"]
        self.pending = [x for x in self.pending if x.kind != "severity"]
        adjective = Adjective(item.value, item.text, self.mode if self.cue else "present", severities, self.at)
        if self.mode == "uncertain":
            adjective.mode = "uncertain"
        self.cue = None
        forward = any(x.kind == "part" for x in after) and not any(x.kind == "part" for x in before)
        if self.parts and not forward:
            self._apply(adjective, self.parts)
            self.parts = []
        else:
            self.adjective = adjective

    def _apply(self, adjective: Adjective, parts: list[Item]) -> None:
        # "Chest radiograph, heart is normal": the image is the frame, not the subject.
        subjects = [p for p in parts if p.value != "chest"] or parts
        places = [x for x in self.pending if x.kind == "place"]
        for part in subjects:
            readings = READINGS.get((part.value, adjective.value))
            if readings is None:
                self.warnings.append(f"'{adjective.text} {part.text}' is left out: it has no standard term")
                continue
            for name, state in readings:
                self._imply(name, state, adjective, f"{adjective.text} {part.text}", places)
        self.pending = [x for x in self.pending if x.kind != "place"]
        adjective.used = True

    def _imply(self, name: str, state: str, adjective: Adjective, text: str, places: list[Item]) -> None:
        if adjective.mode == "absent":
            # "not enlarged" rules out; "not normal" does not say what is wrong.
            state = "absent" if state != "absent" else "uncertain"
        elif adjective.mode == "uncertain":
            state = "uncertain"
        one_sided = [x for x in places if x.value[0] != "bilateral" and name not in MIDLINE]
        severities = adjective.severities if state != "absent" else []
        self._add(Mention("finding", (name,), text, self.at, state, [*one_sided, *severities], implied=True))

    def _refuse_adjective(self, adjective: Adjective, item: Item) -> None:
        """An adjective of a finding, "normal pacemaker", says nothing of the chest."""
        intact_device = item.kind == "device" and adjective.value == "intact"
        if not (adjective.used or intact_device or item.kind == "no term"):
            self.warnings.append(f"{adjective.text!r} of {item.text!r} is left out: it has no standard term")
        self.adjective = None

    def _drop_adjective(self) -> None:
        """An adjective without a part: "normal" alone means the whole chest."""
        adjective, self.adjective = self.adjective, None
        if adjective is None or adjective.used:
            return
        strangers = self.chunks[adjective.chunk].has("unknown", "no term", "not carried", "place")
        readings = READINGS.get(("chest", adjective.value), ()) if adjective.value in ("normal", "abnormal") else ()
        if strangers or not readings:
            self.warnings.append(f"{adjective.text!r} is left out: what it describes was not understood")
            return
        for name, state in readings:
            self._imply(name, state, adjective, adjective.text, [])

    # Modifiers left at the end of a chunk

    def _leave(self, chunk: Chunk) -> None:
        if not self.pending:
            return
        last = self.mentions[-1] if self.mentions else None
        if last is not None and (last.chunk == self.at or not self._belongs_to_next()) and self._accepts(last):
            if last.implied:
                self.pending = [x for x in self.pending if x.kind == "place" and x.value[0] != "bilateral"]
            last.modifiers += self.pending
            self.pending = []

    def _belongs_to_next(self) -> bool:
        """ "small and loculated effusion", "right and left effusion": like joined to like, and a finding follows."""
        if self.at + 1 == len(self.chunks):
            return False
        following = self.chunks[self.at + 1]
        kinds = [x.kind for x in following.items if x.kind != "article"]
        if not following.has(*MENTIONED) or following.connective not in ("and", "or", "comma"):
            return False
        return following.connective != "comma" and kinds[:1] == [self.pending[-1].kind]

    def _accepts(self, mention: Mention) -> bool:
        midline = mention.kind == "finding" and set(mention.names) <= MIDLINE
        return not (midline and any(x.kind == "place" for x in self.pending))

    def _leave_out(self, items: list[Item]) -> None:
        for item in items:
            self.warnings.append(f"{item.text!r} is left out: it belongs to no finding that was understood")
