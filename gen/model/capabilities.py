"""What a model was shown, counted when it is trained, how it is to be sampled, and warnings of what it never saw."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gen.core.errors import BadInput
from gen.core.files import read_json
from gen.language.render import Style
from gen.language.study import Study
from gen.model import DEFAULT_GUIDANCE, DEFAULT_STEPS

CAPABILITIES = "capabilities.json"
MOST_NOISE = 10  # standard deviations of latents in diffusion range, which are about 1
# Keys that sampling follows: with others a model makes other images.
DECIDING = ("canonical_frame", "decoder_noise", "guidance", "guidance_interval", "steps", "style")


def capabilities_of(
    studies: Iterable[Study],
    canonical: bool,
    unread: int = 0,
    styles: Iterable[Sequence[str]] = (),
    canonical_frame: bool = False,
) -> dict[str, Any]:
    """What a model trained on ``studies`` was shown: each value with its number of images; keys as in DESIGN nouns.

    ``canonical`` says that the captions were in the canonical language, so that prompts should be rendered to it;
    ``unread`` is the number of further images, whose captions no Study could be read from; ``styles`` are the words on
    the look of each image, of which sampling asks for sharp ones, of a contrast that the image's seed draws;
    ``canonical_frame`` says that all images were prepared (`gen data prepare`), and so look alike in pose and exposure.
    """
    words = _counts(word for style in styles for word in style)
    contrasts: list[str] = [word for word in ("low contrast", "medium contrast", "high contrast") if word in words]
    wanted: list[str | list[str]] = [word for word in ("high sharpness",) if word in words]
    wanted += [contrasts] if contrasts else []
    studies = list(studies)
    found = [finding for study in studies for finding in study.findings.values()]
    ages = [study.age for study in studies if study.age is not None]
    return {
        "canonical_language": canonical,
        **({"styles": words, "style": wanted} if words else {}),
        **({"canonical_frame": True} if canonical_frame else {}),
        "images": len(studies) + unread,
        "unread": unread,
        "findings": _counts(n for study in studies for n, f in study.findings.items() if f.state == "present"),
        "absent": _counts(n for study in studies for n, f in study.findings.items() if f.state == "absent"),
        "uncertain": _counts(n for study in studies for n, f in study.findings.items() if f.state == "uncertain"),
        "sides": _counts(finding.side for finding in found),
        "severities": _counts(finding.severity for finding in found),
        "zones": _counts(finding.zone for finding in found),
        "views": _counts(study.view for study in studies),
        "positions": _counts(study.position for study in studies),
        "sexes": _counts(study.sex for study in studies),
        "races": _counts(study.race for study in studies),
        "devices": _counts(device for study in studies for device in study.devices),
        "children": sum(study.is_child for study in studies),
        "ages": len(ages),
        "age_range": [min(ages), max(ages)] if ages else None,
    }


def read_capabilities(folder: Path) -> dict[str, Any] | None:
    """What the model says that it has learnt; None for a folder that says nothing (a user's own checkpoint).

    Raises BadInput where sampling cannot follow it.
    """
    path = folder / CAPABILITIES
    if not path.is_file():
        return None
    told = read_json(path)
    interval, style = told.get("guidance_interval"), told.get("style", [])
    numbers = isinstance(interval, list) and len(interval) == 2 and all(isinstance(x, (int, float)) for x in interval)
    if interval is not None and not (numbers and 0 <= interval[0] < interval[1]):
        raise BadInput(f"{path}: guidance_interval is {interval}", hint="give two sigmas, such as [0.3, 6]")
    choices = [[entry] if isinstance(entry, str) else entry for entry in style] if isinstance(style, list) else [[]]
    if not all(
        isinstance(words, list) and words and all(isinstance(w, str) and w.strip() for w in words) for words in choices
    ):
        raise BadInput(f"{path}: style is {style!r}, and should be a list of words, or of lists to draw a word from")
    noise = told.get("decoder_noise", [])
    if not (isinstance(noise, list) and all(type(size) in (int, float) and 0 <= size <= MOST_NOISE for size in noise)):
        raise BadInput(
            f"{path}: decoder_noise is {noise!r}",
            hint=f"give a list of standard deviations from 0 to {MOST_NOISE}, one for each latent channel",
        )
    vae = folder / "vae" / "config.json"
    channels = read_json(vae).get("latent_channels", len(noise)) if noise and vae.is_file() else len(noise)
    if len(noise) != channels:
        raise BadInput(
            f"{path}: decoder_noise has {len(noise)} numbers, and the autoencoder has {channels} latent channels",
            hint="give one number for each, or leave it out",
        )
    how = sampling_defaults(told)
    if not (isinstance(how["steps"], int) and how["steps"] >= 1):
        raise BadInput(f"{path}: steps is {how['steps']!r}, and should be a whole number, 1 or more")
    if not (isinstance(how["guidance"], (int, float)) and math.isfinite(how["guidance"])):
        raise BadInput(f"{path}: guidance is {how['guidance']!r}, and should be a number; 1 is none")
    return told


def has_canonical_frame(capabilities: Mapping[str, Any] | None) -> bool:
    """Whether a model of ``capabilities`` paints all chests in one frame and exposure."""
    return (capabilities or {}).get("canonical_frame") is True


def style_of(capabilities: Mapping[str, Any] | None) -> Style:
    """What is said of an image's look behind its prompt, where the model learnt such words."""
    style: Style = (capabilities or {}).get("style", ())
    return style


def sampling_defaults(capabilities: Mapping[str, Any] | None) -> dict[str, Any]:
    """Steps and guidance where the user names none: a student of `gen train distill` brings its own."""
    told = capabilities or {}
    return {"steps": told.get("steps", DEFAULT_STEPS), "guidance": told.get("guidance", DEFAULT_GUIDANCE)}


def off_grid(capabilities: Mapping[str, Any] | None, steps: int, guidance: float) -> str | None:
    """Why a distilled model makes worse images in so many steps, or guided so; None where it does not.

    A student knows the noise levels of its own steps alone, and its teacher's guidance is part of what it predicts.
    """
    if "distilled" not in (capabilities or {}):
        return None
    told = sampling_defaults(capabilities)
    if (steps, guidance) == (told["steps"], told["guidance"]):
        return None
    return (
        f"the model was distilled to {told['steps']} steps and guidance {told['guidance']:g}: "
        f"{steps} steps and guidance {guidance:g} make worse images"
    )


def capability_warnings(capabilities: Mapping[str, Any] | None, study: Study) -> list[str]:
    """A line for everything in ``study`` that the model was never shown; nothing for a model that does not say."""
    # A student of a teacher that does not say brings nothing but how it is sampled.
    if capabilities is None or set(capabilities) <= {*DECIDING, "distilled"}:
        return []
    lines = []
    for key, value in _asked(study):
        shown = capabilities.get(key, {})
        if value not in shown:
            noun, whole = _NOUNS[key]
            never = f"the {noun} {value!r}: it" if shown else f"{whole}: {value!r}"
            lines.append(f"the model was never shown {never} will have no reliable effect")
    for name, finding in study.findings.items():
        if name not in capabilities.get(_BY_STATE[finding.state], {}):
            never_at_all = not any(name in capabilities.get(key, {}) for key in _BY_STATE.values())
            what = f"the finding {name!r}" if never_at_all else f"{name!r} as {finding.state}"
            lines.append(f"the model was never shown {what}: it will have no reliable effect")
    if study.age is not None:
        if (ages := capabilities.get("age_range")) is None:
            lines.append(f"the model was never shown the age of a patient: '{study.age}' will have no reliable effect")
        elif not ages[0] <= study.age <= ages[1]:
            lines.append(f"the model was shown ages {ages[0]} to {ages[1]} only, and {study.age} lies outside")
    if study.age_group == "child" and not capabilities.get("children"):
        lines.append("the model was never shown a child: 'child' will have no reliable effect")
    return lines


_BY_STATE = {"present": "findings", "absent": "absent", "uncertain": "uncertain"}

# By key of capabilities.json: what one value is called, and what was left out where there is no value at all.
_NOUNS = {
    "views": ("view", "the view of a radiograph"),
    "positions": ("position", "the position of a patient"),
    "sexes": ("sex", "the sex of a patient"),
    "races": ("race", "the race of a patient"),
    "sides": ("side", "the side of a finding"),
    "severities": ("severity", "the severity of a finding"),
    "zones": ("zone", "the zone of a finding"),
    "devices": ("device", "a device by its name"),
}


def _asked(study: Study) -> list[tuple[str, str]]:
    """What ``study`` says besides its findings and its age, by key of capabilities.json, nothing twice."""
    pairs = [("views", study.view), ("positions", study.position), ("sexes", study.sex), ("races", study.race)]
    for finding in study.findings.values():
        pairs += [("sides", finding.side), ("severities", finding.severity), ("zones", finding.zone)]
    pairs += [("devices", device) for device in study.devices]
    return [(key, value) for key, value in dict.fromkeys(pairs) if value is not None]


def _counts(values: Iterable[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(value for value in values if value is not None).items()))
