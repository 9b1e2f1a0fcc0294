"""Image to text: what a judge sees as a Study, and so as a canonical prompt, at stated thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gen.core.terms import ADULT_FROM_YEARS, OLDEST_YEARS
from gen.judge.sight import Judgement
from gen.language.render import render
from gen.language.study import Finding, Study

SURE = 0.7  # the probability from which sex, view and age group are said
ANATOMY = 0.5  # below it, this is hardly one whole upright chest


def study_of(seen: Judgement, thresholds: Mapping[str, float], sure: float = SURE) -> Study:
    """The Study that ``seen`` amounts to: valid whatever the numbers.

    A finding is present from its threshold on (0.5 where it has none). "No Finding" is said where nothing else is,
    absent findings are not listed. Sex, view and age group are said from the probability ``sure`` on, the age in whole
    years for an adult only: hardly a child of known age was among the films.
    """
    present = [name for name, p in seen.findings.items() if p >= thresholds.get(name, 0.5)]
    if len(present) > 1 and "No Finding" in present:
        present.remove("No Finding")
    group = _either(seen.child, sure, "child", "adult")
    age = None
    if seen.age is not None and group != "child":
        age = int(min(max(round(seen.age), ADULT_FROM_YEARS), OLDEST_YEARS))
    return Study(
        age=age,
        age_group=None if age is not None else group,
        sex=_either(seen.female, sure, "F", "M"),
        view=_either(seen.ap, sure, "AP", "PA"),
        findings={name: Finding() for name in present},
    )


def describe(seen: Judgement, thresholds: Mapping[str, float], sure: float = SURE) -> dict[str, Any]:
    """What `gen describe --json` says of one image: prompt, study, every probability, and the thresholds used."""
    study = study_of(seen, thresholds, sure)
    return {
        "prompt": render(study),
        "study": study.to_json_dict(),
        "findings": {name: round(p, 4) for name, p in seen.findings.items()},
        "thresholds": {name: round(thresholds.get(name, 0.5), 4) for name in seen.findings},
        "sure": sure,
        **{key: _rounded(getattr(seen, key)) for key in ("female", "ap", "child", "age", "artefact")},
        "quality": {name: round(p, 4) for name, p in seen.quality.items()},
    }


def lines_of(said: Mapping[str, Any]) -> list[str]:
    """``said``, as of `describe`, for people: the prompt, then the numbers behind it, the likeliest findings first."""
    order = sorted(said["findings"], key=lambda name: -said["findings"][name])
    found = [
        f"{name} {said['findings'][name]:.2f}{'*' if said['findings'][name] >= said['thresholds'][name] else ''}"
        for name in order
    ]
    patient = [
        f"{word} {said[key]:.2f}"
        for key, word in (("female", "female"), ("ap", "AP"), ("child", "child"))
        if _is(said, key)
    ]
    if _is(said, "age"):
        patient.append(f"age {said['age']:.0f}")
    image = [f"{name} {p:.2f}" for name, p in said["quality"].items()]
    if _is(said, "artefact"):
        image.append(f"artefact {said['artefact']:.2f}")
    rows = (("findings", found), ("patient and view", patient), ("image", image))
    return [said["prompt"], *(f"  {name}: {', '.join(parts)}" for name, parts in rows if parts)]


def _is(said: Mapping[str, Any], key: str) -> bool:
    return said[key] is not None


def _either(probability: float | None, sure: float, yes: str, no: str) -> str | None:
    if probability is None:
        return None
    return yes if probability >= sure else no if 1 - probability >= sure else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
