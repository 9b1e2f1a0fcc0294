"""A strategy for reports: a Study written in many shapes of sentence, each of which says exactly that Study."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from gen.language.findings import DEVICE_NOUNS, NOUNS, SEVERITY_WORDS
from gen.language.render import finding_sentence, noun_phrase, patient_sentence, view_sentence
from gen.language.study import MIDLINE, Finding, Study

GRADES = {severity: words.split("|") for severity, words in SEVERITY_WORDS.items()}
ADJECTIVES = [w for words in GRADES.values() for w in words if w.isalpha() and not w.endswith("ly") and w != "mod"]
OTHER_SIDE = {"left": "right", "right": "left"}
DENIALS = ("No", "There is no", "Without", "No evidence of", "Negative for", "Free of", "There is no evidence of")
DOUBTS = ("Possible", "Suspected", "Cannot exclude", "Likely", "Questionable", "Findings may represent")
ASSERTIONS = ("{} is present", "{} is noted", "{} persists", "unchanged {}", "stable {}", "{} is unchanged", "known {}")
COMPARISONS = (  # presuppose what they compare
    "No increase in {}",
    "No significant interval change in the {}",
    "Without worsening of the {}",
    "Slight increase in the {}",
    "{} has not improved",
    "{} is no larger",
    "{} without change",
    "{} has not resolved",
    "{} has partially cleared",
    "Incomplete resolution of {}",
)
COURSES = ("new", "worsening", "increased", "slightly enlarging")
PLAIN = ("{}", "There is {}", "{} is seen", "Evidence of {}", *ASSERTIONS, *COMPARISONS)
ASIDES = (
    "none on the {}",
    "not on the {}",
    "but not on the {}",
    "but none on the {}",
    "{} clear",
    "no {}",
    "{} negative",
)
LABELS = {"present": ("1", "yes", "positive"), "absent": ("0", "no", "negative"), "uncertain": ("-1", "uncertain")}


@st.composite
def reports(draw, study: Study) -> str:
    """A text that says `study`, in sentences of random shape and order."""
    said = {n: f for n, f in study.findings.items() if not (n == "Support Devices" and study.devices)}
    by_state = {s: [n for n, f in said.items() if f.state == s] for s in ("present", "absent", "uncertain")}
    sentences = [patient_sentence(study), view_sentence(study)]
    if "No Finding" in said:
        by_state[said["No Finding"].state].remove("No Finding")
        sentences.append(finding_sentence("No Finding", said["No Finding"]))
    present = draw(st.permutations(by_state["present"]))
    for names in draw(chopped(by_state["absent"])):
        denied = draw(listed(DENIALS, names, said))
        follower = present[0] if present and draw(st.booleans()) else None
        if follower is not None:
            present = present[1:]
            denied += draw(followed(follower, said[follower], len(names)))
        sentences.append(f"{denied}.")
    for names in draw(chopped(by_state["uncertain"])):
        sentences.append(f"{draw(listed(DOUBTS, names, said))}.")
    sentences += [f"{draw(affirmed(name, said[name]))}." for name in present]
    for device in study.devices:
        noun = draw(st.sampled_from(DEVICE_NOUNS[device].split("|")))
        sentences.append(draw(st.sampled_from(("{}.", "{} in place.", "{} is present."))).format(noun))
    text = draw(st.sampled_from((" ", "\n"))).join(draw(st.permutations([s for s in sentences if s])))
    return draw(st.sampled_from(("", "FINDINGS: ", "Impression: "))) + text if text else "Chest radiograph."


@st.composite
def chopped(draw, names: list[str]) -> list[list[str]]:
    """The names in random order, in lists of up to five."""
    rest, lists = draw(st.permutations(names)), []
    while rest:
        length = draw(st.integers(1, 5))
        lists.append(rest[:length])
        rest = rest[length:]
    return lists


@st.composite
def listed(draw, cues: tuple[str, ...], names: list[str], said: dict[str, Finding]) -> str:
    """One list under a cue; what is denied may have a grade in any place, which its Study does not keep."""
    if len(names) == 1 and said[names[0]].severity is None and not said[names[0]].side and draw(st.booleans()):
        value = draw(st.sampled_from(LABELS[said[names[0]].state]))
        if not said[names[0]].zone:
            return f"{NOUNS[names[0]].split('|')[0]}{draw(st.sampled_from((': ', '=', ' = ')))}{value}"
    items = [draw(phrase(name, said[name])) for name in names]
    if cues is DENIALS and names[0] != "Support Devices":
        items = [
            f"{draw(st.sampled_from((*ADJECTIVES, *COURSES)))} {item}" if draw(st.integers(0, 3)) == 0 else item
            for item in items
        ]
    if len(items) == 1:
        return f"{draw(st.sampled_from(cues))} {items[0]}"
    # "And" closes a list of three; of two it would begin anew where a grade follows.
    conjunction = draw(st.sampled_from(("or", "or", "and"))) if len(items) > 2 else "or"
    oxford = "," if len(items) > 2 and draw(st.booleans()) else ""
    if cues is DENIALS and draw(st.integers(0, 5)) == 0:
        return f"Neither {', '.join(items[:-1])} nor {items[-1]}"
    return f"{draw(st.sampled_from(cues))} {', '.join(items[:-1])}{oxford} {conjunction} {items[-1]}"


@st.composite
def followed(draw, name: str, finding: Finding, denied: int) -> str:
    """What asserts a finding behind a denied list, in the same sentence."""
    noun = draw(phrase(name, finding))
    assertions = (*ASSERTIONS, *COMPARISONS, *(f"{course} {{}}" for course in COURSES))
    forms = [f", {form.format(noun)}" for form in assertions] + [f" and {form.format(noun)}" for form in assertions]
    forms += [f", but {noun}", f"; {noun}", f" with {noun}", f", and there is {noun}"]
    if finding.severity is not None:
        forms += [f", {noun}"] if denied == 1 else [f", {noun}", f", and {noun}"]
    return draw(st.sampled_from(forms))


@st.composite
def affirmed(draw, name: str, finding: Finding) -> str:
    """A sentence on a finding that is there, with or without an aside on where or how severe it is not."""
    text = draw(st.sampled_from(PLAIN)).format(draw(phrase(name, finding)))
    if finding.side in OTHER_SIDE and draw(st.booleans()):
        return f"{text}, {draw(st.sampled_from(ASIDES)).format(OTHER_SIDE[finding.side])}"
    if finding.severity is None and name != "Support Devices" and draw(st.integers(0, 3)) == 0:
        return f"{text}, not {draw(st.sampled_from(('severe', 'large', 'extensive')))}"
    return text


@st.composite
def phrase(draw, name: str, finding: Finding) -> str:
    """A noun phrase: its place before the noun, or behind it."""
    noun = draw(st.sampled_from(NOUNS[name].split("|")))
    if name not in MIDLINE and finding.side in OTHER_SIDE and finding.state != "absent" and draw(st.booleans()):
        bare = noun_phrase(name, replace(finding, side=None, zone=None), noun)
        return f"{bare} {f'in the {finding.side} {finding.zone} zone' if finding.zone else f'on the {finding.side}'}"
    return noun_phrase(name, finding, noun)
