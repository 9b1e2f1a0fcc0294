"""One sentence of items -> what it says of each finding: state, side, severity and zone.

    sentence = chunk {connective chunk}           cut at ",", "and", "or", "nor", "/", "but", "with", "except" ...
    chunk    = [cue] {modifier} finding {modifier} [closing cue | assertion]
             | adjective part | part adjective    "enlarged heart", "lungs are clear"
             | cue modifiers | modifiers cue      an aside on the finding before: "none on the left", "not large"
    denial   = ("no" | "without" ...) list        holds to the end of its list (`gen.language.lists`), or to a turn
    closing  = list ("has resolved" | "?" ...)    reaches back over its list, a singular verb over one finding only
    scope    ends at a turn ("but", "with"), at a finding that is asserted ("is present", "unchanged", "at the left
             base"), at a statement on a part ("the heart is ..."), and where its list ends
    aside    a denial that has a side, a place or a size only denies that one and never the finding
    compared = "no increase in" | "has not worsened"    by `gen.language.changes`: what is compared is there

A course before a finding ("increased", "new") is like a grade: it begins something new after a comma or "and", and in a
list that its conjunction closes it is denied, with a warning, for the finding may be there as it was before.
Absence of a large one, an acute one or another one denies no other one: such a denial is `beyond` what is affirmed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gen.language.chunks import CUES, DENIALS, MENTIONED, MODIFIERS, STRONGLY, WEAKLY, Chunk, cut, goes_on, in_course
from gen.language.findings import READINGS
from gen.language.lists import FACTS, ILL, begins_new, continues, either_side
from gen.language.study import MIDLINE
from gen.language.words import Item

TARGETS = MENTIONED | {"adjective"}
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
    aside: bool = False  # "..., none on the left": denies a place of what was said
    cue: str = ""  # the words before it that made it absent or uncertain
    closing: str = ""  # those after it

    @property
    def phrase(self) -> str:
        """What the text says, in short: "no left effusion"."""
        words = (self.cue, *(x.text for x in self.modifiers), self.text, self.closing)
        return " ".join(filter(None, words)).replace(" : ", ": ")


@dataclass
class Adjective:
    """What is said of a part: it meets its part before or after."""

    value: str
    text: str
    mode: str
    severities: list[Item]
    chunk: int
    used: bool = False


def read_clauses(items: Sequence[Item], before: Mention | None = None) -> tuple[list[Mention], list[str]]:
    """The mentions of one sentence and the warnings about what in it could not be placed.

    ``before`` is the last mention of the sentence before: "Right effusion. None on the left."
    """
    reader = _Reader(cut(items), before)
    reader.read()
    return reader.mentions, reader.warnings


class _Reader:
    """The state of reading one sentence from left to right."""

    def __init__(self, chunks: list[Chunk], before: Mention | None) -> None:
        self.chunks = chunks
        self.before = before
        self.mentions: list[Mention] = []
        self.warnings: list[str] = []
        self.mode = "present"
        self.cue: Item | None = None  # of the mode, until it has met a target
        self.said = ""  # the words of the cue that made the mode
        self.start = 0  # the chunk of that cue
        self.listed = False  # whether this chunk is one more item under the mode
        self.pending: list[Item] = []  # modifiers that wait for their finding
        self.parts: list[Item] = []  # parts of the chest that wait for their adjective
        self.adjective: Adjective | None = None
        self.weakly = False  # what is denied is denied only in part: "no suspicious ..."
        self.locative = False  # after "in the ...": modifiers belong to the finding before
        self.compared = False  # with an earlier image: all of the list are there
        self.at = 0

    def read(self) -> None:
        for at, chunk in enumerate(self.chunks):
            self.at = at
            self._enter(chunk)
            if self._is_aside(chunk) and self._take_aside(chunk):
                continue
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
        self.listed = False
        if connective == "aside":
            return
        if connective == "turn" and self.cue is not None and chunk.word not in OPPOSING:
            return  # "may be consistent with ..."
        if connective in ("start", "turn", "except"):
            self._drop_adjective()
            self._drop_cue()
            self.mode, self.compared = "present", chunk.compares
            if connective == "except":
                for mention in self.mentions:
                    mention.beyond = True
            self._look_ahead(chunk)
            return
        self.locative = self.locative and not chunk.has(*TARGETS)
        self.compared |= chunk.compares
        if connective == "or" and self.mode != "absent" and (either := either_side(self.chunks[self.at - 1], chunk)):
            self._leave_open(either, chunk)
        if chunk.compares and self.mode == "absent":  # "no pneumothorax or increase in effusion"
            self._drop_cue()
            self.mode = "present"
        elif connective == "nor":
            self.mode, self.said, self.start, self.listed = "absent", chunk.word, self.at, True
        elif connective == "versus" or (connective == "or" and self.mode == "present" and self._is_alternative(chunk)):
            self.mode, self.said, self.start = "uncertain", chunk.word, self.at
            for mention in self.mentions[-1:]:
                if mention.chunk == self.at - 1 and mention.state == "present":
                    mention.state = "uncertain"
        elif self.mode != "present":
            self.listed = connective == "or" or self._keeps(chunk)
            if not self.listed:
                self._drop_cue()
                self.mode = "present"

    def _leave_open(self, either: list[Item], chunk: Chunk) -> None:
        """Take back places of which only one holds, nobody knows which."""
        said = " or ".join(repr(x.text) for x in either)
        self.warnings.append(f"{said} is left out: a prompt takes one side, or both")
        lists = [self.pending, chunk.items, *(m.modifiers for m in self.mentions[-1:])]
        for items in lists:
            items[:] = [x for x in items if not any(x is place for place in either)]

    def _look_ahead(self, chunk: Chunk) -> None:
        """ "Right but no left effusion": what waits belongs to the finding that is denied elsewhere."""
        findings = [x for x in chunk.items if x.kind == "finding"]
        before = self.chunks[self.at - 1].items if self.at else []
        waits = self.pending == before and all(x.kind == "place" for x in before)
        if before and waits and findings and chunk.items[0].kind == "deny" and chunk.has("place"):
            first = findings[0]
            self._add(Mention("finding", first.value, first.text, self.at - 1, "present", self.pending))

    def _is_alternative(self, chunk: Chunk) -> bool:
        """ "atelectasis or pneumonia": neither is certain."""
        last = self.mentions[-1] if self.mentions else None
        before = last is not None and last.chunk == self.at - 1 and last.kind == "finding" and not last.implied
        return before and chunk.has("finding") and not chunk.has("deny", "adjective") and not self.compared

    def _keeps(self, chunk: Chunk) -> bool:
        """Whether a cue goes on over this chunk, after "and" or a comma."""
        denied = {(m.names, m.text.split()[-1]) for m in self.mentions if m.chunk >= self.start}
        named_ones = {(x.value, x.text.split()[-1]) for x in chunk.items if x.kind == "finding"}
        if self.mode == "absent" and named_ones & denied and not chunk.has("place"):
            return False  # "no effusion, effusion" says both, which `gen.language.prompt` refuses
        least = WEAKLY if self.mode == "absent" else STRONGLY
        if continues(self.chunks, self.at, self.start, least):
            return True
        if begins_new(chunk, self.cue is not None, least):
            return False
        if chunk.connective == "and" or chunk.has("deny", "doubt") or not chunk.has(*MENTIONED):
            return True
        word = {"absent": "no", "uncertain": "possible"}[self.mode]
        named = next(x.text for x in chunk.items if x.kind in MENTIONED)
        # A prompt's list of facts, each with its own "no", or of places, is no list under one "no".
        enumerated = sum(c.has("deny") for c in self.chunks) > 1 or any(c.has(*FACTS) for c in self.chunks)
        placed = next(x.kind for x in chunk.content if x.kind in (*MENTIONED, "place")) == "place"
        beyond = any(m.beyond for m in self.mentions[-1:])
        headed = self.chunks[self.start].items[0].value == "heading"  # "Absent: a, b"
        if headed or (self.mode == "absent" and not (enumerated or placed or beyond)):
            if not headed:
                line = f"{word!r} before the comma is read to cover {named!r}; end it with a full stop if not"
                self.warnings.append(line)
            return True
        self.warnings.append(f"{word!r} before the comma is not read to cover {named!r}; repeat it if it should")
        return False

    def _drop_cue(self) -> None:
        if self.cue is not None and not any(x.kind == "unknown" for c in self.chunks for x in c.items):
            self.warnings.append(f"{self.cue.text!r} is left out: nothing that it could refer to was understood")
        self.cue = None

    # Asides: a cue or a grade without a finding, after one

    def _is_aside(self, chunk: Chunk) -> bool:
        """Whether the chunk has nothing but modifiers and what denies, doubts or clears them."""
        small = (*MODIFIERS, *CUES, "locative", "article")
        kinds = [x.kind for x in chunk.items if not goes_on(x)]
        if not chunk.has(*MODIFIERS):
            return False
        if chunk.has("adjective"):
            return chunk.has("place") and all(
                x.kind in small or (x.kind == "adjective" and x.value in ("normal", "clear")) for x in chunk.items
            )
        inside = chunk.has(*DENIALS) and "locative" in kinds  # "none in the left lung"
        return all(kind in small or (inside and kind == "part") for kind in kinds)

    def _take_aside(self, chunk: Chunk) -> bool:
        """Read an aside; False where the chunk has to be read like any other."""
        last = self.mentions[-1] if self.mentions else self.before if chunk.has(*DENIALS) else None
        last = last if last is not None and last.kind == "finding" else None
        places = [x for x in chunk.items if x.kind == "place"]
        grades = [x for x in chunk.items if x.kind == "severity"]
        adjective = next((x for x in chunk.items if x.kind == "adjective"), None)
        takes_places = last is not None and not set(last.names) <= MIDLINE
        if adjective is not None:
            if self.parts or self.pending or self.adjective or chunk.has(*CUES):
                return False
            if takes_places and last is not None and last.state != "absent" and not last.implied:
                self._add_aside(last, "absent", places, adjective.text)
            else:  # "the bases are clear"
                said = Adjective(adjective.value, adjective.text, "present", [], self.at)
                self._imply("Lung Opacity", "absent", said, adjective.text, places)
            return True
        cue = next((x for x in chunk.items if x.kind in CUES), None)
        if cue is not None and cue.kind in DENIALS and (last is not None or self.pending):
            if grades:
                words = " ".join([cue.text, *(x.text for x in grades)])
                self.warnings.append(f"{words!r} is left out: a prompt cannot say how severe a finding is not")
            if places and takes_places and last is not None:
                self._add_aside(last, "absent", places, cue.text)
            self.cue = self.cue if self.cue is not None and self.cue.kind not in DENIALS else None
            return bool(grades or (places and takes_places))
        if last is None or not takes_places or not places or self.pending:
            return False
        if cue is not None:
            sides = {x.value[0] for x in last.modifiers if x.kind == "place"} - {None}
            if cue.kind == "doubt" and sides and not sides & {x.value[0] for x in places}:
                self._add_aside(last, "uncertain", places + grades, cue.text)
                return True
        elif last.state == "absent" and (
            chunk.connective == "turn" or (chunk.connective == "comma" and (grades or any(map(goes_on, chunk.items))))
        ):
            self.mode = "present"  # "no effusion on the right, small on the left", "..., unchanged on the left"
            self._add_aside(last, "present", places + grades, "")
            return True
        return False

    def _add_aside(self, last: Mention, state: str, modifiers: list[Item], cue: str) -> None:
        said = Mention("finding", last.names, last.text, self.at, state, modifiers, aside=True, cue=cue)
        self.mode, self.said = ("present", "") if state == "present" else (self.mode, self.said)
        self._add(said)

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
        elif item.kind == "label":
            self._label(item)
        elif item.kind == "locative":
            of_next = any(x.kind in MENTIONED for x in after) and not any(m.chunk == self.at for m in self.mentions)
            self.locative = bool(self.mentions) and not self.pending and not of_next
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
            ellipsis = item.text == "not" and not after  # "pneumothorax is excluded, effusion is not"
            if not closing and (ellipsis or any(x.kind in ("unknown", "not carried") for x in after)):
                state = "uncertain"  # "the effusion is not <what?>"
                target = self.mentions[-1].text
                self.warnings.append(f"what {item.text!r} says of {target!r} was not understood; read as possible")
            self._close(item, state)
            return
        if state == "uncertain" and self.mode == "absent" and self.cue is not None:
            self.weakly = True  # "no suspicious nodule" is absent, and says nothing of an old one
            return
        if state == "uncertain" or self.mode != "uncertain" or self.cue is None:  # "probably no ..." stays a doubt
            self.mode, self.start = state, self.at
        self.cue, self.said, self.locative = item, item.text, False

    def _label(self, item: Item) -> None:
        """ "Effusion: 0" says it of the finding before, and of no other."""
        self.mode = "present"
        for mention in self.mentions[-1:]:
            if item.value is None:  # "effusion: nan"
                self.warnings.append(f"'{mention.text}{item.text}' is left out: it says nothing of the finding")
                self.mentions.remove(mention)
            elif mention.kind == "abnormality" and mention.state == "absent":  # "No Finding: 0"
                if item.value == "absent":
                    mention.kind, mention.names, mention.cue = "finding", ("No Finding",), ""
            else:
                mention.state, mention.cue, mention.closing = item.value, "", item.text

    def _next_is(self, *connectives: str) -> bool:
        return any(c.connective in connectives for c in self.chunks[self.at + 1 : self.at + 2])

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
            mention.state, mention.cue, mention.closing = state, "", item.text
        if self.cue is not None and self.mode == "absent":
            self.cue = None

    def _mention(self, item: Item, before: list[Item]) -> None:
        second = any(m.chunk == self.at for m in self.mentions)
        if second and self.mode != "present" and self.cue is None:
            if self.pending and not self._next_is("or", "nor"):
                self.mode = "present"  # "no effusion large pneumothorax": a new statement without its full stop
            elif self.pending:
                pass  # "no consolidation large effusion or pneumothorax": a list without its commas
            else:
                word = "no" if self.mode == "absent" else "possible"
                self.warnings.append(f"{word!r} is read to cover {item.text!r} too; write a full stop to end it")
        names = (item.value,) if item.kind == "device" else item.value or ()
        said = "" if self.mode == "present" else self.said
        words = {x.text for x in before}
        mention = Mention(item.kind, names, item.text, self.at, self.mode, self.pending, cue=said)
        if self.mode == "absent" and item.kind == "finding" and (course := next(filter(in_course, before), None)):
            what = f"any {item.text!r} or only one that is {course.text!r}"
            self.warnings.append(f"{said!r} may deny {what}; read as absent")
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
        if self.listed and item.value in ILL:
            adjective.mode = self.mode  # "no effusion or enlarged heart"
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
        said = self.said if adjective.mode != "present" else ""
        self._add(Mention("finding", (name,), text, self.at, state, [*one_sided, *severities], implied=True, cue=said))

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
