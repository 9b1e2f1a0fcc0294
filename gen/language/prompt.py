"""Free text -> `Study`, and the canonical prompt that a Study renders to: two pure functions, inverse to each other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gen.core.errors import BadInput
from gen.core.terms import SEVERITIES, did_you_mean
from gen.language.changes import read_changes
from gen.language.clauses import Mention, read_clauses
from gen.language.findings import ACUTE, FOREIGN, NARROWER, PARENTS
from gen.language.labels import read_labels
from gen.language.patient import ABOUT_THE_IMAGE, ABOUT_THE_PATIENT, read_patient, settle
from gen.language.render import render
from gen.language.study import COMPATIBLE_WITH_NORMAL, MIDLINE, Finding, Study
from gen.language.words import Item, known_words, sentences

FOREIGN_WORDS = frozenset(FOREIGN.split("|"))
NARROWER_WORDS = frozenset(NARROWER.split("|"))
LONGEST_TEXT = 4000  # characters; a long report has about 2,000
EXAMPLE = "describe a chest radiograph in English, e.g. '63 year old female, AP view, moderate right pleural effusion'"
MARKUP = re.compile(r"<\s*[/!?]?\s*[a-zA-Z][^<>]*>|<!--|\$\{|\{\{|\{%|&[a-zA-Z]{2,8};|&#\d+;")
ABOUT_A_RADIOGRAPH = re.compile(r"chest|cxr|thorax|x ?ray|radiogra|film")


@dataclass(frozen=True)
class Reading:
    """What was understood: the Study, its canonical prompt, and one warning for each thing left out or doubtful."""

    study: Study
    prompt: str
    warnings: tuple[str, ...]


def read_prompt(text: str) -> Reading:
    """Reads a prompt or a report of one radiograph.

    Nothing is dropped in silence: a word that is neither understood nor known to carry nothing is named in a warning.
    Raises BadInput when the text is empty, too long, markup, not English, about something else, or contradicts itself.
    """
    _check_text(text)
    parsed = [settle(read_labels(read_changes(items))) for items in sentences(text)]
    items = [item for sentence in parsed for item in sentence]
    _check_understood(text, items)
    patient = read_patient(items)
    warnings = list(patient.warnings)
    mentions: list[Mention] = []
    for sentence in parsed:
        found, doubts = read_clauses(sentence, mentions[-1] if mentions else None)
        mentions += found
        warnings += doubts
    findings = _findings(mentions, warnings)
    devices = _devices(mentions, findings, warnings)
    warnings += _left_out(items, mentions)
    study = Study(**patient.fields, findings=findings, devices=devices)
    unknown = any(item.kind == "unknown" for item in items)
    if study == Study() and (unknown or not any(ABOUT_A_RADIOGRAPH.search(x.text) for x in items if x.kind == "part")):
        why = f" ({'; '.join(warnings[:3])})" if warnings else ""
        raise BadInput(f"nothing in {_short(text)} makes a prompt{why}", hint=EXAMPLE)
    return Reading(study, render(study), tuple(dict.fromkeys(warnings)))


def token_budget_warning(prompt: str, count_tokens: Callable[[str], int], limit: int) -> str | None:
    """A line naming the sentences of `prompt` that do not fit into `limit` tokens, or None when all do.

    `count_tokens` counts the whole sequence, its start and end marks included.
    """
    total = count_tokens(prompt)
    if total <= limit:
        return None
    parts = re.split(r"(?<=\.)\s+", prompt)
    cut = [part for i, part in enumerate(parts) if count_tokens(" ".join(parts[: i + 1])) > limit]
    return f"the prompt has {total} tokens and the model reads {limit}; cut off: {' '.join(cut)}"


def _check_text(text: str) -> None:
    if not text.strip():
        raise BadInput("the prompt is empty", hint=EXAMPLE)
    if len(text) > LONGEST_TEXT:
        raise BadInput(f"the prompt has {len(text)} characters; the limit is {LONGEST_TEXT}", hint="shorten it")
    if found := MARKUP.search(text):
        raise BadInput(f"the prompt holds markup: {_short(found.group())}", hint="write plain text")


def _check_understood(text: str, items: Iterable[Item]) -> None:
    unknown = [item.text for item in items if item.kind == "unknown"]
    foreign = [word for word in unknown if word in FOREIGN_WORDS]
    if foreign:
        raise BadInput(f"the prompt is not in English: {', '.join(map(repr, foreign[:3]))}", hint=EXAMPLE)
    kinds = ABOUT_THE_PATIENT | ABOUT_THE_IMAGE | {"finding", "device", "no term", "abnormality", "adjective"}
    facts = sum(item.kind in kinds for item in items)
    words = [word for word in unknown if len(word) > 2 and word.isalpha()]  # and no size: "3 x 4 cm"
    if len(words) >= 4 and len(words) > 3 * facts:
        raise BadInput(f"almost nothing in {_short(text)} was understood", hint=EXAMPLE)


def _findings(mentions: list[Mention], warnings: list[str]) -> dict[str, Finding]:
    """All that is said of each finding, made one; contradictions are errors, losses are warnings."""
    said: dict[str, list[tuple[Mention, Finding]]] = {}
    for mention in mentions:
        for name, finding in _resolve(mention, warnings):
            said.setdefault(name, []).append((mention, finding))
    normal = said.pop("No Finding", [])
    findings = {name: _merge(name, entries, warnings) for name, entries in said.items()}
    if normal:
        _settle_normal(normal, findings, warnings)
    for name, finding in findings.items():
        parent = findings.get(PARENTS.get(name, ""))
        if finding.state == "present" and parent is not None and parent.state == "absent":
            warnings.append(f"{PARENTS[name]} is said to be absent, but {name}, a kind of it, to be present")
    return findings


def _resolve(mention: Mention, warnings: list[str]) -> list[tuple[str, Finding]]:
    """The findings that one mention states."""
    if mention.kind == "finding":
        if narrow := NARROWER_WORDS & set(mention.text.split()):
            warnings.append(f"{min(narrow)!r} is read as {' and '.join(mention.names)}, which says less")
        return [(name, _finding(name, mention, warnings)) for name in mention.names]
    if mention.kind == "abnormality":
        if mention.state == "absent":
            return [(n, Finding("present" if n == "No Finding" else "absent")) for n in mention.names]
        if not mention.text.startswith("finding"):
            warnings.append(f"{mention.text!r} is left out: it names no finding")
    elif mention.kind == "no term":
        warnings.append(f"{mention.text!r} is understood, but has no standard term; left out")
    return []


def _finding(name: str, mention: Mention, warnings: list[str]) -> Finding:
    sides = {m.value[0] for m in mention.modifiers if m.kind == "place"} - {None}
    zones = {m.value[1] for m in mention.modifiers if m.kind == "place"} - {None}
    severities = {m.value for m in mention.modifiers if m.kind == "severity"}
    if name in MIDLINE and (sides or zones):
        warnings.append(f"{_quoted(mention, 'place')} is left out: {name} takes neither side nor zone")
        sides, zones = set(), set()
    if severities and (mention.state == "absent" or name in ("No Finding", "Support Devices")):
        why = "what is absent has no severity" if mention.state == "absent" else f"{name} takes no severity"
        warnings.append(f"{_quoted(mention, 'severity')} of {mention.text!r} is left out: {why}")
        severities = set()
    return Finding(mention.state, _side(sides), _worst(name, severities, warnings), _zone(name, zones, warnings))


def _merge(name: str, entries: list[tuple[Mention, Finding]], warnings: list[str]) -> Finding:
    by_state = {s: [f for _, f in entries if f.state == s] for s in ("present", "uncertain", "absent")}
    affirmed = by_state["present"] or by_state["uncertain"]
    if not affirmed:
        return _join(name, "absent", by_state["absent"], warnings)
    # "Right effusion, no left effusion" and "clear except for ..." deny what was not claimed.
    denied = next((m for m, f in entries if f.state == "absent" and any(_denies(m, f, a) for a in affirmed)), None)
    if denied and by_state["present"]:
        claimed = next(m for m, f in entries if f.state == "present")
        raise BadInput(f"{name} is said to be {_both(claimed, denied)}", hint="leave one of them out")
    if denied:
        warnings.append(f"{name} is said to be both possible and absent; read as possible")
    for mention, finding in entries:
        placed = finding.side or finding.zone
        if mention.aside and finding.state == "absent" and placed and not any(_tells(a, finding) for a in affirmed):
            where = mention.phrase.removesuffix(f" {mention.text}")
            warnings.append(f"{where!r} of {name} is left out: a prompt says where a finding is, not where it is not")
    if by_state["present"] and by_state["uncertain"]:
        warnings.append(f"{name} is said to be both present and possible; read as present")
    return _join(name, affirmed[0].state, affirmed, warnings)


def _join(name: str, state: str, findings: list[Finding], warnings: list[str]) -> Finding:
    sides = {f.side for f in findings} - {None}
    zones = {f.zone for f in findings} - {None}
    severity = _worst(name, {f.severity for f in findings} - {None}, warnings)
    if state == "absent" and any(f == Finding("absent") for f in findings):
        return Finding("absent")  # denied altogether, whatever is denied in part
    return Finding(state, _side(sides), severity, _zone(name, zones, warnings))


def _denies(mention: Mention, denied: Finding, affirmed: Finding) -> bool:
    """Whether the denial speaks of what is affirmed, and not of another side, zone, size or one."""
    if mention.aside:  # "none on the left" denies the left alone
        sides = affirmed.side in (denied.side, "bilateral") if denied.side else bool(denied.zone)
        return sides and denied.zone in (None, affirmed.zone)
    acute = mention.kind == "abnormality" and mention.acute  # "cardiomegaly, no acute cardiac abnormality"
    return not (acute or mention.beyond or _elsewhere(denied, affirmed))


def _tells(affirmed: Finding, denied: Finding) -> bool:
    """Whether the place of what is affirmed leaves out the place that is denied."""
    sides, zones = (affirmed.side, denied.side), (affirmed.zone, denied.zone)
    return (None not in sides and sides[0] != sides[1]) or (None not in zones and zones[0] != zones[1])


def _both(claimed: Mention, denied: Mention) -> str:
    """The two phrases that contradict each other."""
    return f"both present ({claimed.phrase!r}) and absent ({denied.phrase!r})"


def _elsewhere(denied: Finding, affirmed: Finding) -> bool:
    other_side = {denied.side, affirmed.side} == {"left", "right"}
    return other_side or bool(denied.zone and affirmed.zone and denied.zone != affirmed.zone)


def _settle_normal(normal: list[tuple[Mention, Finding]], findings: dict[str, Finding], warnings: list[str]) -> None:
    """ "Normal" beside findings: an error; "no acute abnormality" beside old ones, or doubtful ones: a warning."""
    states = {f.state for _, f in normal}
    if states == {"present", "absent"}:
        raise BadInput("the chest is said to be both normal and abnormal", hint="leave one of them out")
    if "present" not in states:
        if "absent" in states:
            findings["No Finding"] = Finding("absent")
        else:
            warnings.append(f"{normal[0][0].text!r} is left out: a chest is normal or it is not")
        return
    others = {n: f for n, f in findings.items() if f.state != "absent" and n not in COMPATIBLE_WITH_NORMAL}
    if not others:
        findings["No Finding"] = Finding()
        return
    certain = [n for n, f in others.items() if f.state == "present"]
    strict = [m for m, _ in normal if not m.beyond and not m.acute]
    acute = [m for m, _ in normal if not m.beyond]
    clash = certain if strict else [n for n in certain if n in ACUTE] if acute else []
    if clash:
        raise BadInput(f"{_no_finding(strict or acute)} contradicts {', '.join(clash)}", hint="leave one of them out")
    if acute:
        warnings.append(f"{_no_finding(acute)} is left out beside {', '.join(others)}")


def _no_finding(mentions: list[Mention]) -> str:
    """How the first of the mentions said that nothing is wrong."""
    first = mentions[0]
    return repr(f"no {'acute ' * first.acute}{first.text}" if first.kind == "abnormality" else first.text)


def _devices(mentions: list[Mention], findings: dict[str, Finding], warnings: list[str]) -> tuple[str, ...]:
    named = [m for m in mentions if m.kind == "device"]
    for mention in named:
        if mention.modifiers:
            what = ", ".join(repr(m.text) for m in mention.modifiers)
            warnings.append(f"{what} of {mention.text!r} is left out: a device has no side or size here")
        if mention.state != "present":
            warnings.append(f"{mention.text!r} is said to be {mention.state}, which a prompt cannot carry; left out")
    present = tuple(m.names[0] for m in named if m.state == "present")
    absent = {m.names[0]: m for m in named if m.state == "absent"}
    for mention in named:
        if mention.state == "present" and (denied := absent.get(mention.names[0])):
            said = _both(mention, denied)
            raise BadInput(f"{mention.names[0]} is said to be {said}", hint="leave one of them out")
    generic = findings.get("Support Devices")
    if present and generic is not None:
        if generic.state == "absent":
            others = any(m.beyond for m in mentions if "Support Devices" in m.names)
            if not others:
                raise BadInput(f"no support devices contradicts {present[0]}", hint="leave one of them out")
        findings["Support Devices"] = Finding()
    return present


def _left_out(items: Iterable[Item], mentions: list[Mention]) -> list[str]:
    lines = []
    for item in dict.fromkeys(items):
        if item.kind == "unknown":
            near = did_you_mean(item.text, known_words()) if len(item.text) > 3 else None
            guess = f"; did you mean {near!r}?" if near and near != item.text else ""
            lines.append(f"{item.text!r} is not understood and left out{guess}")
        elif item.kind == "not carried" or (item.text == "new" and not any(m.beyond for m in mentions)):
            lines.append(f"{item.text!r} is understood, but not part of a prompt; left out")
        elif item.kind == "compared":
            lines.append(f"{item.text!r} compares with an earlier image; what it compares is read as present")
    return lines


def _side(sides: set[str | None]) -> str | None:
    return "bilateral" if len(sides) > 1 else next(iter(sides), None)


def _zone(name: str, zones: set[str | None], warnings: list[str]) -> str | None:
    if len(zones) > 1:
        warnings.append(f"{name} is placed in several zones, and a prompt takes one; the zone is left out")
        return None
    return next(iter(zones), None)


def _worst(name: str, severities: set[str | None], warnings: list[str]) -> str | None:
    if len(severities) > 1:
        warnings.append(f"{name} has several severities; the worst is taken")
    return max((s for s in severities if s), key=SEVERITIES.index, default=None)


def _quoted(mention: Mention, kind: str) -> str:
    return ", ".join(repr(m.text) for m in mention.modifiers if m.kind == kind)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= 60 else line[:57] + "...")
