"""Image to text: a judge's prediction as a Study, and so as a canonical prompt, as far as it is likely and reliable.

The thresholds of best F1 are not used here: a rare finding's is so low that most of what it calls is not there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gen.core.terms import ADULT_FROM_YEARS, FINDINGS, OLDEST_YEARS
from gen.judge.readings import Judgement
from gen.language.render import render
from gen.language.study import Finding, Study

if TYPE_CHECKING:
    import numpy as np

EVEN = 0.5  # the probability from which a finding is said: it is there rather than not
SURE = 0.7  # the probability from which sex, view and age group are said
ANATOMY = 0.5  # below it, this is hardly one whole upright chest


def unreliable(figures: Mapping[str, Any]) -> tuple[str, ...]:
    """The findings that a judge of these ``figures`` cannot be shown to tell: their AUROC is not known, or its
    interval on held-out images reaches down to chance. None where it has no figures, as a judge that is not ours."""
    return tuple(name for name, of in figures.get("findings", {}).items() if not (of["auroc"][1] or 0) > 0.5)


def predicted_study(prediction: Judgement, doubtful: Collection[str] = (), sure: float = SURE) -> Study:
    """Build the Study that ``prediction`` amounts to: valid whatever the numbers.

    A finding is present from even odds on, unless it is ``doubtful``. "No Finding" is said where nothing else is,
    absent findings are not listed. Sex, view and age group are said from the probability ``sure`` on, the age in whole
    years for an adult only: hardly a child of known age was among the images.
    """
    present = [name for name, p in prediction.findings.items() if p >= EVEN and name not in doubtful]
    if len(present) > 1 and "No Finding" in present:
        present.remove("No Finding")
    group = _either(prediction.child, sure, "child", "adult")
    age = None
    if prediction.age is not None and group != "child":
        age = int(min(max(round(prediction.age), ADULT_FROM_YEARS), OLDEST_YEARS))
    return Study(
        age=age,
        age_group=None if age is not None else group,
        sex=_either(prediction.female, sure, "F", "M"),
        view=_either(prediction.ap, sure, "AP", "PA"),
        findings={name: Finding() for name in present},
    )


def describe(
    prediction: Judgement, doubtful: Collection[str] = (), sure: float = SURE, unlike: Sequence[str] = ()
) -> dict[str, Any]:
    """The JSON of `gen describe` for one image: prompt, study, probabilities, and which findings not to trust.

    ``unlike``: why the image is unlike those that the judge learnt from, so that all of it may be wrong.
    """
    study = predicted_study(prediction, doubtful, sure)
    return {
        "prompt": render(study),
        "study": study.to_json_dict(),
        "findings": {name: round(p, 4) for name, p in prediction.findings.items()},
        "unreliable": [name for name in prediction.findings if name in doubtful],
        "not_judged": not_judged(prediction),
        "unlike": list(unlike),
        "sure": sure,
        **{key: _rounded(getattr(prediction, key)) for key in ("female", "ap", "child", "age", "artefact")},
        "quality": {name: round(p, 4) for name, p in prediction.quality.items()},
    }


def not_judged(prediction: Judgement) -> list[str]:
    """What the judge of ``prediction`` has no head for. No judge has one for a side, a severity or a lateral view."""
    findings = [name for name in FINDINGS if name not in prediction.findings]
    heads = (("sex", prediction.female), ("AP or PA", prediction.ap), ("age", prediction.age))
    patient = [word for word, value in heads if value is None]
    return [*(findings if prediction.findings else ["findings"]), *patient, "sides", "severities", "lateral views"]


def chests_of() -> Callable[[np.ndarray], dict[str, Any]]:
    """A function of an image (H, W) to what `gen describe` says of its organs, by the bundled anatomy network.

    That is the cardiothoracic ratio (None where it cannot be measured), the confidence, in ``refused`` why not, and how
    sound the chest is.
    """
    from gen.anatomy.folder import load_anatomy
    from gen.anatomy.reading import read_anatomy

    anatomy = load_anatomy()

    def chest_of(pixels: np.ndarray) -> dict[str, Any]:
        [reading] = read_anatomy(anatomy, [pixels])
        ratio = reading.measurements.cardiothoracic_ratio
        known = not reading.refused and not math.isnan(ratio)
        return {
            "cardiothoracic_ratio": round(ratio, 3) if known else None,
            "confidence": round(reading.confidence, 3),
            "refused": reading.refused,
            "soundness": reading.soundness,
        }

    return chest_of


def lines_of(said: Mapping[str, Any]) -> list[str]:
    """``said``, as of `describe`, for people: the prompt, then the numbers behind it, the likeliest findings first.

    A star marks the findings of the prompt. Of an image unlike those that the judge learnt from, it says that instead
    of the prompt.
    """
    order = sorted(said["findings"], key=lambda name: -said["findings"][name])
    told = said["study"]["findings"]
    words = {name: f"{name} {said['findings'][name]:.2f}{'*' if name in told else ''}" for name in order}
    found = [words[name] for name in order if name not in said["unreliable"]]
    doubted = [words[name] for name in order if name in said["unreliable"]]
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
    chest = said.get("chest")
    measured = [] if chest is None else [f"cardiothoracic ratio {_ratio_words(chest)}"]
    rows = (
        ("findings", found),
        ("not reliable", doubted),
        ("patient and view", patient),
        ("image", image),
        ("measured", measured),
        ("not judged", said["not_judged"]),
    )
    first = said["prompt"]
    if said["unlike"]:
        why = "; ".join(said["unlike"])
        first = f"this image is unlike those the judge learnt from ({why}): its readings may be wrong"
    return [first, *(f"  {name}: {', '.join(parts)}" for name, parts in rows if parts)]


def _ratio_words(chest: Mapping[str, Any]) -> str:
    if chest["cardiothoracic_ratio"] is None:
        return f"not measured: {chest['refused'] or 'heart or lungs are not whole'}"
    return f"{chest['cardiothoracic_ratio']:.2f}"


def _is(said: Mapping[str, Any], key: str) -> bool:
    return said[key] is not None


def _either(probability: float | None, sure: float, yes: str, no: str) -> str | None:
    if probability is None:
        return None
    return yes if probability >= sure else no if 1 - probability >= sure else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
