"""From what was typed (a text, flags) to what a model gets: one place for the command line and the page.

A model that learnt the canonical language gets the canonical rendering, and a text in which nothing is recognised is an
error. Any other model (a user's checkpoint tuned on reports) gets the text as typed, read as well as can be for labels
and warnings; ``raw`` forces that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from gen.core.errors import BadInput
from gen.core.terms import FINDINGS, SEVERITIES, SIDES, STATES, ZONES, standard_name, suggestion
from gen.language.prompt import read_prompt, token_budget_warning
from gen.language.render import render, with_style
from gen.language.study import Finding, Study
from gen.model.capabilities import capability_warnings


@dataclass(frozen=True)
class Request:
    """What the model gets, the Study that it stands for (None: it cannot be read), and what the user should know."""

    prompt: str
    study: Study | None
    warnings: tuple[str, ...]


def read_request(
    text: str,
    flags: Study,
    *,
    capabilities: Mapping[str, Any] | None,
    count_tokens: Callable[[str], int],
    limit: int,
    raw: bool = False,
    style: Sequence[str] = (),
    by_body: bool = False,
) -> Request:
    """Read ``text`` and add ``flags``, a Study of what was said by flags, which may say everything.

    ``style`` are the words that sampling puts behind the prompt; they count among its tokens. ``by_body``: what the
    image shows is the body's doing, so nothing is warned of that the model was never shown.

    Raises BadInput for a flag that contradicts the text, and, where the model gets the canonical rendering, for what
    `read_prompt` refuses.
    """
    said = flags != Study()
    warnings: list[str] = []
    study: Study | None
    if raw or not (capabilities or {}).get("canonical_language"):
        prompt = " ".join(part for part in (text.strip(), render(flags) if said else "") if part)
        if not prompt:
            raise BadInput("the prompt is empty", hint='for example --prompt "63 year old female. AP view. Pneumonia."')
        study = _read_typed(text, flags)
    else:
        study = flags
        if text.strip() or not said:
            reading = read_prompt(text)
            warnings += reading.warnings
            study = _merge(reading.study, flags)
        prompt = render(study)
    if study is not None and not by_body:
        warnings += capability_warnings(capabilities, study)
    if cut := token_budget_warning(with_style(prompt, style), count_tokens, limit):
        warnings.append(cut)
    return Request(prompt, study, tuple(warnings))


def parse_finding(text: str) -> tuple[str, Finding]:
    """A finding as the command line spells it: "Pleural Effusion:right,moderate" or "Pneumothorax:absent".

    Raises BadInput, with a suggestion, for a name or a word that is not a standard term.
    """
    name, _, words = text.partition(":")
    standard = standard_name(name)
    if standard is None:
        raise BadInput(f"unknown finding {name.strip()!r}", hint=suggestion(name.strip(), FINDINGS))
    kinds = {"state": STATES, "side": SIDES, "severity": SEVERITIES, "zone": ZONES}
    chosen: dict[str, str] = {}
    for word in filter(None, (part.strip().casefold() for part in words.split(","))):
        kind = next((kind for kind, choices in kinds.items() if word in choices), None)
        if kind is None:
            choices = [choice for choices in kinds.values() for choice in choices]
            raise BadInput(f"unknown word {word!r} in finding {text!r}", hint=suggestion(word, choices))
        if chosen.setdefault(kind, word) != word:
            raise BadInput(f"finding {text!r} says both {chosen[kind]} and {word}")
    return standard, Finding(**chosen)


def _read_typed(text: str, flags: Study) -> Study | None:
    """What a text that goes to the model as typed says with ``flags``, None where it cannot be read.

    What the reading leaves out is no warning: the model gets it all the same.
    """
    if not text.strip():
        return flags
    try:
        study = read_prompt(text).study
    except BadInput:
        return None
    return _merge(study, flags)


def _merge(study: Study, flags: Study) -> Study:
    """``study`` with what ``flags`` add; BadInput where a flag says otherwise than the text."""
    added: dict[str, Any] = {}
    for field in fields(Study):
        if field.name in ("findings", "devices"):
            continue
        flag, told = getattr(flags, field.name), getattr(study, field.name)
        if flag is None:
            continue
        if told is not None and told != flag:
            raise _contradiction(field.name, flag, told)
        added[field.name] = flag
    if "age" in added and study.age_group is not None:
        if study.age_group != ("child" if Study(age=added["age"]).is_child else "adult"):
            raise _contradiction("age", added["age"], study.age_group)
        added["age_group"] = None
    findings = dict(study.findings)
    for name, finding in flags.findings.items():
        told = findings.get(name)
        if told is not None and any(
            getattr(finding, key) and getattr(told, key) and getattr(finding, key) != getattr(told, key)
            for key in ("state", "side", "severity", "zone")
        ):
            raise _contradiction("finding", f"{name}: {_words(finding)}", _words(told))
        findings[name] = finding if told is None else replace(told, **_given(finding))
    return replace(study, findings=findings, **added)


def _given(finding: Finding) -> dict[str, str]:
    return {field.name: value for field in fields(finding) if (value := getattr(finding, field.name))}


def _words(finding: Finding) -> str:
    return ", ".join(_given(finding).values())


def _contradiction(flag: str, value: object, told: object) -> BadInput:
    return BadInput(f"--{flag} {value} contradicts the prompt, which says {told}", hint="leave one of them out")


def flags_to_study(
    view: str | None, age: int | None, sex: str | None, race: str | None, findings: Sequence[str]
) -> Study:
    """What the flags of the command line say, as a Study; a finding given twice in two ways is BadInput."""
    read: dict[str, Finding] = {}
    for text in findings:
        name, finding = parse_finding(text)
        if read.setdefault(name, finding) != finding:
            raise BadInput(f"finding {name} is given twice: {_words(read[name])} and {_words(finding)}")
    return Study(view=view, age=age, sex=sex, race=race, findings=read)
