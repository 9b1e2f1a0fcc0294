"""Text cut into sentences of items: each a phrase of the lexicon with its meaning, a number, or an unknown word.

Case, accents, British spelling, plurals, hyphens and line breaks are ironed out here; nobody behind needs to care.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from gen.language import findings as lexicon

AMERICAN = (
    *(("oedema", "edema"), ("haem", "hem"), ("paed", "ped"), ("tumour", "tumor"), ("oesoph", "esoph")),
    *(("centre", "center"), ("visualis", "visualiz"), ("labelled", "labeled")),
)
# Spelled-out forms of what the tokens would tear apart; on folded text, before it is cut.
UNFOLD = tuple(
    (re.compile(pattern), plain)
    for pattern, plain in (
        (r"\by\s?[./]\s?o\b\.?", " yo "),
        (r"\b(yrs?|vs|approx|mod|pts?|dr)\.(?=\s|$)", r"\1 "),
        (r"\bwith\s*(or|/|and)\s*without\b|\bw\s?/\s?wo\b|\+\s?/\s?[-−]|±", " possible "),
        (r"\bw\s?/\s?o\b", " without "),
        (r"\bw/\s?(?=\w)", " with "),
        (r"\bs\s?/\s?p\b", " status post "),
        (r"\bc\s?/\s?w\b", " consistent with "),
        (r"\br\s?/\s?o\b", " rule out "),
        (r"\bp\.\s?a\.(?=\s|,|$)", " pa "),
        (r"\ba\.\s?p\.(?=\s|,|$)", " ap "),
        (r"\b(can|do|does|is|are|has|have)n['’]?t\b", r"\1 not "),
        (r"\bcan not\b|\bcann?ot\b", " cannot "),
        (r"\band\s*/\s*or\b", " or "),
        (r"['’]s\b", " "),
        (r"_", " "),
        (r"\bnon[-\u2010\u2011\s]+(?=[^\W\d_])", "non"),  # "non-displaced" is one word, as "nondisplaced" is
        (r"[\u2010\u2011]", "-"),
        (r"\(\s*\+\s*\)|(?<!\w)\+\s?ve\b", " positive "),  # "(+)", "-ve", "edema -", as notes have them
        (r"(^|[,;.\n])\s*(\(\s*[-−]\s*\)|[-−]\s?ve\b|(?<=,)\s*[-−](?=\s))", r"\1 no "),
        (r"\(\s*[-−]\s*\)|(?<!\w)[-−]\s?ve\b|(?<=\w)\s+[-−]\s*(?=[,;.\n]|$)", " negative "),
        (r"\s[-–—]{1,2}\s", " – "),
        (r"(?<=\w)-(?=\w)", " "),
        (r"^\s*[-*•·]\s+|(?<=[\n])\s*[-*•·]\s+", " . "),
        (r"\n\s*\n", " . "),
        (r"(\.{2,}|…)", " . "),
    )
)
TOKEN = re.compile(r"[-−]?\d+(?:\.\d+)?|[^\W\d_]+|[.;,:?!/()&]|\S", re.UNICODE)
ADJECTIVE_ENDINGS = ("able", "al", "ant", "ar", "ary", "ed", "ent", "ible", "ic", "ing", "ive", "ous", "oid")
MARKS = {".": "end", ";": "end", "!": "end", ",": "comma", "(": "comma", ")": "comma", ":": "colon", "&": "and"}
MARKS |= {"/": "slash", "=": "colon", "–": "turn"}  # a dash between blanks divides more than a comma


@dataclass(frozen=True)
class Item:
    """One piece of a sentence: `kind` says which table of the lexicon it comes from, `value` what it means there."""

    kind: str
    value: Any
    text: str


def fold(text: str) -> str:
    """Lower case, accents gone, American spelling."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(c for c in decomposed if not unicodedata.combining(c))
    for british, american in AMERICAN:
        plain = plain.replace(british, american)
    return plain


def singular(word: str) -> str:
    """ "opacities" -> "opacity", "masses" -> "mass"; words that only look like plurals ("atelectasis", "was") stay."""
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "shes", "ches")):
        return word[:-2]
    return word[:-1]


def sentences(text: str) -> list[list[Item]]:
    """The sentences of `text` as items; a full stop, a semicolon or an empty line ends one, a line break does not."""
    folded = fold(text)
    for pattern, plain in UNFOLD:
        folded = pattern.sub(plain, folded)
    words = _tokens(folded)
    result: list[list[Item]] = [[]]
    i = 0
    while i < len(words):
        word = words[i]
        entry, length = _phrase_at(words, i)
        if entry is not None:
            result[-1].append(Item(*entry, " ".join(words[i : i + length])))
            i += length
        else:
            i += 1
            if word.startswith("non") and (read := _non(word, words, i)):
                result[-1] += read
            elif MARKS.get(word) == "end":
                result.append([])
            elif word in MARKS:
                result[-1].append(Item(MARKS[word], None, word))
            elif word in ("? before", "? after"):
                result[-1].append(Item("doubt" if word == "? before" else "doubt after", "?", "?"))
            elif re.fullmatch(r"[-−]?\d+(\.\d+)?", word):
                result[-1].append(Item("number", float(word.replace("−", "-")), word))
            elif not re.fullmatch(r"['\"’‘“”\-–—*_`]", word):
                result[-1].append(Item("unknown", None, word))
    return [s for s in result if s]


def _phrase_at(words: Sequence[str], i: int) -> tuple[tuple[str, Any] | None, int]:
    """The longest phrase of the lexicon that begins at word ``i``, and its number of words; None without one."""
    phrases, longest = _phrases()
    for length in range(min(longest, len(words) - i), 0, -1):
        entry = phrases.get(tuple(singular(w) for w in words[i : i + length]))
        if entry is not None:
            return entry, length
    return None, 1


def _non(word: str, words: Sequence[str], after: int) -> list[Item]:
    """ "Nondisplaced": "non" belongs to an adjective and denies no noun; "nonvisualized" and "nonenlarged" deny.

    What denies by itself, "nonconsolidated lungs", is an adjective like others before a finding of another name.
    """
    rest = word.removeprefix("non")
    kind, value = _phrase_at([rest], 0)[0] or ("unknown", None)
    if kind in ("finding", "adjective") and not _finding_follows(words, after):
        return [Item("deny", None, "non"), Item(kind, value, rest)]
    if rest in lexicon.SEEN.split("|") or rest.startswith("visualiz"):
        return [Item("deny", None, word)]
    return [Item("not carried", None, word)] if kind != "unknown" or rest.endswith(ADJECTIVE_ENDINGS) else []


def _finding_follows(words: Sequence[str], i: int) -> bool:
    while i < len(words):
        entry, length = _phrase_at(words, i)
        if entry is None or entry[0] not in ("place", "severity", "not carried", "filler", "qualifier"):
            return entry is not None and entry[0] == "finding"
        i += length
    return False


@cache
def known_words() -> frozenset[str]:
    """Every single word of the lexicon, for did-you-mean."""
    return frozenset(word for phrase in _phrases()[0] for word in phrase if len(word) > 3)


def _tokens(folded: str) -> list[str]:
    """Words, numbers and marks. A question mark stands before its word ("?pneumonia") or after it ("effusion?")."""
    tokens = []
    for match in TOKEN.finditer(folded):
        token = match.group()
        if token == "?":
            following = folded[match.end() : match.end() + 2].strip()
            attached_before = match.start() > 0 and not folded[match.start() - 1].isspace()
            attached_after = match.end() < len(folded) and folded[match.end()].isalnum()
            before = not attached_before and (attached_after or following[:1].isalnum())
            tokens += ["? before"] if before else ["? after", "."]
        elif len(token) > 1 and token[0] in "-−" and match.start() > 0 and folded[match.start() - 1].isalnum():
            tokens.append(token[1:])  # "60-70" is a range, not a negative number
        else:
            tokens.append(token)
    return tokens


@cache
def _phrases() -> tuple[dict[tuple[str, ...], tuple[str, Any]], int]:
    """Every phrase of the lexicon in folded singular words -> (kind, value), and the length of the longest.

    No phrase has two meanings: a lexicon that gives it two is a mistake, and ValueError names the phrase.
    """
    table: dict[tuple[str, ...], tuple[str, Any]] = {}

    def add(kind: str, value: Any, alternatives: str) -> None:
        for phrase in alternatives.split("|"):
            words = re.findall(r"\d+|[^\W\d_]+", fold(phrase))
            if table.setdefault(tuple(singular(w) for w in words), (kind, value)) != (kind, value):
                raise ValueError(f"the lexicon gives {phrase!r} two meanings")

    add("filler", None, lexicon.FILLERS)
    add("not carried", None, f"{lexicon.NOT_CARRIED}|{lexicon.COURSES}")
    add("turn", None, lexicon.TURNS)
    add("except", None, lexicon.EXCEPTIONS)
    add("locative", None, "in|at|on|over|within|involving|throughout|along|overlying|affecting|in the|at the|on the")
    add("and", None, "and|as well as")
    add("or", None, "or")
    add("nor", None, "nor")
    add("versus", None, "versus|vs|or possibly|or possible")
    add("article", None, "a|an|the")
    for adjective, words in lexicon.ADJECTIVE_WORDS.items():
        add("adjective", adjective, words)
    for part, words in lexicon.PART_WORDS.items():
        add("part", part, words)
    add("no term", None, lexicon.WITHOUT_TERM)
    for ruled_out, words in lexicon.ABNORMALITIES.items():
        add("abnormality", ruled_out, words)
    add("qualifier", None, "acute|active|new|significant|focal|discrete")
    add(
        "place",
        (None, None),
        "elsewhere|anywhere else|else|contralateral|contralaterally|contralateral side|other side|opposite side",
    )
    for place, words in lexicon.PLACES.items():
        add("place", place, words)
    for severity, words in lexicon.SEVERITY_WORDS.items():
        add("severity", severity, words)
    for sex, words in lexicon.SEX_WORDS.items():
        add("sex", sex, words)
    for sex, words in lexicon.CHILD_SEX_WORDS.items():
        add("child sex", sex, words)
    for group, words in lexicon.AGE_GROUP_WORDS.items():
        add("age group", group, words)
    add("newborn", None, lexicon.NEWBORN_WORDS)
    for race, words in lexicon.RACE_WORDS.items():
        add("race", race, words)
    for view, words in lexicon.VIEW_WORDS.items():
        add("view", view, words)
    add("portable", None, lexicon.PORTABLE_WORDS)
    for position, words in lexicon.POSITION_WORDS.items():
        add("position", position, words)
    add("deny", None, lexicon.DENIES_BEFORE)
    add("doubt", None, lexicon.DOUBTS_BEFORE)
    for negation in lexicon.NOT_SEEN.split("|"):
        add("deny after", None, "|".join(f"{negation} {seen}" for seen in lexicon.SEEN.split("|")))
    add("deny after", None, lexicon.DENIES_AFTER)
    add("doubt after", None, lexicon.DOUBTS_AFTER)
    for strength, words in lexicon.ASSERTS.items():
        add("assert", strength, "|".join(f"{be}{word}" for be in lexicon.BEING for word in words.split("|")))
    add("assert", "strong", lexicon.ASSERTS_ALONE)
    add("deny nothing", None, lexicon.DENIES_NOTHING)
    for name, words in (*lexicon.SYNONYMS.items(), *lexicon.NOUNS.items()):
        add("finding", (name,), words)
    for names, words in lexicon.DOUBLES.items():
        add("finding", names, words)
    for device, words in (*lexicon.DEVICE_SYNONYMS.items(), *lexicon.DEVICE_NOUNS.items()):
        add("device", device, words)
    return table, max(map(len, table))
