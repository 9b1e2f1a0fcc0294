"""Captions for training: a Study, written in the varied wording of reports.

Every phrasing is our own and reads back, by `gen.language`, to the very Study that it was written from.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from gen.core.terms import ADULT_FROM_YEARS
from gen.language.findings import DEVICE_NOUNS, NOUNS
from gen.language.render import EMPTY, SEX_NAMES, noun_phrase, render, sentence
from gen.language.study import Finding, Study

CANONICAL_SHARE = 0.7  # of the captions are the canonical prompt itself, which is what a user's text becomes

PRESENT = ("{x}", "There is {x}", "{x} is seen", "{x} is present", "{x} is noted", "Findings of {x}", "Evidence of {x}")
ABSENT = ("No {x}", "No evidence of {x}", "There is no {x}", "{x} is not seen", "Without {x}", "Negative for {x}")
UNCERTAIN = (
    "Possible {x}",
    "{x} cannot be excluded",
    "Suspected {x}",
    "Probable {x}",
    "There may be {x}",
    "Likely {x}",
    "{x}?",
)
ABSENT_LISTS = ("No {x} or {y}", "No evidence of {x} or {y}", "There is no {x} or {y}", "Free of {x} or {y}")
ABSENT_PAIRS = ("Neither {x} nor {y}", "There is neither {x} nor {y}")

# A few facts have sentences of their own beside "no x" and "there is x".
OWN_PRESENT = {
    "No Finding": (
        "No acute cardiopulmonary abnormality",
        "No acute cardiopulmonary disease",
        "Normal chest",
        "Normal chest radiograph",
        "The chest is unremarkable",
        "Unremarkable chest radiograph",
        "No acute abnormality",
        "No abnormality is seen",
        "Normal study",
    ),
    "Cardiomegaly": ("The heart is enlarged", "Enlarged heart", "Enlarged cardiac silhouette"),
    "Enlarged Cardiomediastinum": ("The mediastinum is widened", "Widened mediastinum"),
    "Hyperinflation": ("The lungs are hyperinflated", "Hyperexpanded lungs"),
}
OWN_ABSENT = {
    "No Finding": ("Abnormal chest", "The chest is abnormal", "Abnormal chest radiograph"),
    "Cardiomegaly": (
        "Normal heart size",
        "The heart is not enlarged",
        "Heart size is normal",
        "The heart is normal in size",
    ),
    "Enlarged Cardiomediastinum": ("The mediastinum is normal", "Normal mediastinal contours"),
    "Lung Opacity": ("The lungs are clear", "Clear lungs"),
    "Fracture": ("The bones are intact",),
}
DEVICE = ("{x}", "{x} in place", "There is a {x}", "{x} in situ", "{x} is seen")


def write_caption(study: Study, rng: random.Random) -> str:
    """One of the many ways to say `study`, never leaving a fact out: `read_prompt` of it gives the same Study.

    The wording, the order of the sentences and whether negatives are listed together are drawn from `rng`.
    """
    if rng.random() < CANONICAL_SHARE:
        return render(study)
    patient_and_view = _opening(study, rng)
    facts = _finding_sentences(study, rng) + [_device_sentence(device, rng) for device in study.devices]
    rng.shuffle(facts)
    sentences = facts + patient_and_view if rng.random() < 0.1 else patient_and_view + facts
    return " ".join(sentences) or EMPTY


def _opening(study: Study, rng: random.Random) -> list[str]:
    patient, view = _patient(study, rng), _view(study, rng)
    if patient and view and rng.random() < 0.3:
        return [sentence(rng.choice((f"{view} of a {patient}", f"{patient}, {view}", f"{view}, {patient}")))]
    opening = [sentence(text) for text in (patient, view) if text]
    return opening[::-1] if rng.random() < 0.2 else opening


def _patient(study: Study, rng: random.Random) -> str:
    age, sex, race = study.age, study.sex, study.race
    if age is None and study.age_group is None and sex is None and race is None:
        return ""
    child = study.is_child
    nouns = {"M": "man", "F": "woman"} if not child else {"M": "boy", "F": "girl"}
    forms: tuple[str, ...]
    if age is None:
        if child:
            forms = ("{0} child", "{1}", "paediatric {0} patient") if sex else ("child", "paediatric patient")
        elif study.age_group == "adult":
            forms = ("adult {0}", "adult {1}") if sex else ("adult", "adult patient")
        else:
            forms = ("{0}", "{1}", "{0} patient") if sex else ("patient",)
        return _spaced(race, rng.choice(forms).format(SEX_NAMES.get(sex or ""), nouns.get(sex or "")))
    if sex and not race and rng.random() < 0.3:
        return rng.choice((f"{age} yo {sex}", f"{age}{sex}", f"{sex}/{age}", f"{age}-year-old {sex}"))
    noun = rng.choice((SEX_NAMES[sex], nouns[sex], f"{SEX_NAMES[sex]} patient")) if sex else "patient"
    if child and rng.random() < 0.7:
        noun = rng.choice((f"{SEX_NAMES[sex]} child", nouns[sex])) if sex else "child"
    elif age >= ADULT_FROM_YEARS and not sex and rng.random() < 0.5:
        noun = "adult"
    described = _spaced(race, noun)
    forms = ("{0} year old {1}", "{0}-year-old {1}", "{0} yo {1}", "{1}, {0} years", "{1}, aged {0}")
    return rng.choice(forms).format(age, described)


def _view(study: Study, rng: random.Random) -> str:
    view, position = study.view, study.position
    if not view:
        return rng.choice((f"{position} view", f"{position} chest radiograph")) if position else ""
    if position:
        return rng.choice(
            (f"{view} {position} view", f"{position} {view} chest radiograph", f"{view} view, {position}")
        )
    forms = ("{} view", "{} projection", "{} chest radiograph", "{} radiograph", "{} chest x-ray", "{} film")
    return rng.choice(forms).format(view)


def _finding_sentences(study: Study, rng: random.Random) -> list[str]:
    said = {n: f for n, f in study.findings.items() if not (n == "Support Devices" and study.devices)}
    # Plain negatives are often said in one breath; one that has a side is left to itself.
    plain = [n for n, f in said.items() if f == Finding("absent") and n != "No Finding"]
    rng.shuffle(plain)
    listed = plain[: rng.randint(2, 4)] if len(plain) > 1 and rng.random() < 0.6 else []
    sentences = [_finding_sentence(n, f, rng) for n, f in said.items() if n not in listed]
    return sentences + ([_absent_list(listed, rng)] if listed else [])


def _finding_sentence(name: str, finding: Finding, rng: random.Random) -> str:
    own = {"present": OWN_PRESENT, "absent": OWN_ABSENT}.get(finding.state, {}).get(name, ())
    plain = finding == Finding(finding.state)
    if own and plain and (name == "No Finding" or rng.random() < 0.5):
        return sentence(rng.choice(own))
    forms = {"present": PRESENT, "absent": ABSENT, "uncertain": UNCERTAIN}[finding.state]
    text = rng.choice(forms).format(x=_phrase(name, finding, rng))
    return text[:1].upper() + text[1:] if text.endswith("?") else sentence(text)


def _phrase(name: str, finding: Finding, rng: random.Random) -> str:
    noun = rng.choice(NOUNS[name].split("|"))
    if finding.side in ("left", "right") and rng.random() < 0.35:
        placeless = noun_phrase(name, replace(finding, side=None, zone=None), noun)
        place = f"in the {finding.side} {finding.zone} zone" if finding.zone else f"on the {finding.side}"
        return f"{placeless} {place}"
    return noun_phrase(name, finding, noun)


def _absent_list(names: Sequence[str], rng: random.Random) -> str:
    nouns = [rng.choice(NOUNS[name].split("|")) for name in names]
    forms = ABSENT_LISTS + ABSENT_PAIRS if len(nouns) == 2 else ABSENT_LISTS
    return sentence(rng.choice(forms).format(x=", ".join(nouns[:-1]), y=nouns[-1]))


def _device_sentence(device: str, rng: random.Random) -> str:
    return sentence(rng.choice(DEVICE).format(x=rng.choice(DEVICE_NOUNS[device].split("|"))))


def _spaced(*parts: str | None) -> str:
    return " ".join(part for part in parts if part)
