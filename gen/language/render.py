"""A Study written out: the canonical prompt, and the sentences and noun phrases that it is made of."""

from __future__ import annotations

from collections.abc import Sequence

from gen.core.run import derived_seed
from gen.core.terms import ADULT_FROM_YEARS
from gen.language.findings import DEVICE_NOUNS, NOUNS, SEVERITY_WORDS, SIZE_WORDS, SIZED
from gen.language.study import Finding, Study

SEX_NAMES = {"M": "male", "F": "female"}
# What follows a prompt of the look of an image: each a word, or words of which the image's seed draws one.
Style = Sequence[str | Sequence[str]]

EMPTY = "Chest radiograph."  # the prompt that says nothing


def render(study: Study) -> str:
    """The canonical prompt, e.g. "63 year old female. AP view. Moderate right pleural effusion. Support devices."

    One sentence a fact, in a fixed order; `read_prompt` reads it back to an equal Study.
    """
    sentences = [patient_sentence(study), view_sentence(study)]
    for name, finding in study.findings.items():
        if not (name == "Support Devices" and study.devices):  # the named devices say it
            sentences.append(finding_sentence(name, finding))
    sentences += [sentence(DEVICE_NOUNS[device].split("|")[0]) for device in study.devices]
    return " ".join(s for s in sentences if s) or EMPTY


def patient_sentence(study: Study) -> str:
    """Age, race and sex in one sentence, or "" when nothing of them is known."""
    sex = SEX_NAMES.get(study.sex or "")
    if study.age is not None:
        group = "child" if study.age < ADULT_FROM_YEARS else None if sex else "adult"
        return sentence(f"{study.age} year old", study.race, sex, group)
    if study.age_group == "child":
        return sentence(study.race, sex, "child")
    if study.age_group == "adult":
        return sentence(study.race, "adult", sex)
    return sentence(study.race, sex or "patient") if study.race or sex else ""


def view_sentence(study: Study) -> str:
    """ "AP view.", "AP supine view.", "Erect view." or ""."""
    return sentence(study.view, study.position, "view") if study.view or study.position else ""


def finding_sentence(name: str, finding: Finding) -> str:
    """One finding: "Moderate right pleural effusion.", "No pneumothorax.", "Possible left lower zone pneumonia." """
    if name == "No Finding":
        return "No acute cardiopulmonary abnormality." if finding.state == "present" else "Abnormal chest."
    prefix = {"present": None, "absent": "no", "uncertain": "possible"}[finding.state]
    return sentence(prefix, noun_phrase(name, finding))


def noun_phrase(name: str, finding: Finding, noun: str | None = None) -> str:
    """Severity, side, zone and noun, without the state: "moderate right lower zone pleural effusion"."""
    words = [severity_word(name, finding.severity), finding.side, f"{finding.zone} zone" if finding.zone else None]
    return " ".join(w for w in [*words, noun or NOUNS[name].split("|")[0]] if w)


def severity_word(name: str, severity: str | None) -> str | None:
    """The usual word: an effusion is small or large, an edema mild or severe."""
    if severity is None:
        return None
    return SIZE_WORDS[severity] if name in SIZED else SEVERITY_WORDS[severity].split("|")[0]


def sentence(*parts: str | None) -> str:
    """The parts joined, the first letter upper case, a full stop at the end."""
    text = " ".join(part for part in parts if part)
    return text[:1].upper() + text[1:] + "."


def draw_style(style: Style, seed: int) -> tuple[str, ...]:
    """The words of ``style`` for the image of ``seed``, which draws one where there is a choice."""
    return tuple(words[derived_seed(seed, f"style {k}") % len(words)] for k, words in enumerate(_choices(style)))


def longest_style(style: Style) -> tuple[str, ...]:
    """The words of ``style`` that are longest, in letters: what a prompt leaves room for."""
    return tuple(max(words, key=len) for words in _choices(style))


def _choices(style: Style) -> list[Sequence[str]]:
    return [[entry] if isinstance(entry, str) else entry for entry in style]


def with_style(text: str, words: Sequence[str]) -> str:
    """``text`` and then the words of a style: "... Source x, high sharpness, low contrast."."""
    if not words:
        return text
    return " ".join(part for part in (text, sentence(", ".join(words))) if part)
