"""What can be put into a CT, how it is asked for in words, and what comes back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from drr.ct.volume import Volume
from gen.core.errors import BadInput
from gen.core.terms import DEVICES, FINDINGS, POSITIONS, SEVERITIES, SIDES, STANDARD_NAMES, ZONES, did_you_mean


@dataclass(frozen=True)
class LesionRequest:
    """A finding, or a device, in standard terms; what is None is drawn when it is put in (`resolve`).

    ``device`` is the kind of a device, or of the object of a "Retained Foreign Object". ``position`` is how the patient
    is exposed, which decides where fluid and air in the pleural space gather.
    """

    finding: str
    device: str | None = None
    side: str | None = None
    severity: str | None = None
    zone: str | None = None
    position: str | None = None


@dataclass(frozen=True, eq=False)
class Part:
    """A piece of a device on a fine grid of its own: ``numbers`` int16 (z, y, x), in EXCESS of what the CT has there.

    A number is 1000 times the attenuation over that of water at the CT's effective energy; ``material`` is its share
    ("soft", "iodine", "bone" or "metal"). The grid stands in patient coordinates as a Volume's does.
    """

    numbers: np.ndarray
    spacing_mm: tuple[float, float, float]
    direction: np.ndarray
    origin_mm: tuple[float, float, float]
    material: str


@dataclass(frozen=True, eq=False)
class Inserted:
    """A CT with something put in: its ``mask`` bool (z, y, x) and its ``label`` in standard terms, with facts.

    Of a device the CT is unchanged: its ``parts`` are projected beside the CT and added.
    """

    volume: Volume
    mask: np.ndarray
    label: Mapping[str, Any]
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Kind:
    """What one finding or device takes. A single choice is taken when nothing is asked for, else one is drawn."""

    finding: str
    device: str | None = None
    sides: tuple[str, ...] = ()
    severities: tuple[str, ...] = SEVERITIES
    zones: tuple[str, ...] = ()
    positions: tuple[str, ...] = ()


# A finding asked for on both sides is put into one side after the other: two nodules, two fractures.
KINDS = (
    Kind("Nodule", sides=SIDES, zones=ZONES),
    Kind("Mass", sides=SIDES, zones=ZONES),
    Kind("Pleural Effusion", sides=SIDES, positions=POSITIONS),
    Kind("Pneumothorax", sides=SIDES, positions=POSITIONS),
    Kind("Consolidation", sides=SIDES, zones=ZONES),
    Kind("Atelectasis", sides=SIDES, zones=("upper", "lower")),
    Kind("Edema", sides=("bilateral",)),
    Kind("Cardiomegaly"),
    Kind("Fracture", sides=SIDES, zones=ZONES),
    Kind("Support Devices", "central venous catheter", sides=("left", "right"), severities=()),
    Kind("Support Devices", "endotracheal tube", severities=()),
    Kind("Support Devices", "chest tube", sides=SIDES, severities=()),
    Kind("Support Devices", "pacemaker", sides=("left", "right"), severities=()),
    Kind("Retained Foreign Object", "needle", sides=("left", "right"), severities=(), zones=ZONES),
    Kind("Retained Foreign Object", "sponge", sides=("left", "right"), severities=(), zones=ZONES),
)


def _plain(text: str) -> str:
    """Lower case, and single spaces for all that is not a letter, a digit or a slash."""
    return re.sub(r"[^a-z0-9/]+", " ", text.casefold())


_SPOKEN = {
    "lung lesion": "Nodule",
    "effusion": "Pleural Effusion",
    "rib fracture": "Fracture",
    "central line": "central venous catheter",
    "cvc": "central venous catheter",
    "ett": "endotracheal tube",
    "chest drain": "chest tube",
    "retained needle": "needle",
    "retained sponge": "sponge",
    "sponge marker": "sponge",
    "retained foreign object": "needle",
}
_NAMES = {_plain(name): name for name in (*FINDINGS, *DEVICES)}
_NAMES |= {kind.device: kind.device for kind in KINDS if kind.device} | _SPOKEN
_NAMES |= {_plain(name): _NAMES.get(_plain(standard), standard) for name, standard in STANDARD_NAMES.items()}
_KIND_OF = {kind.device or kind.finding: kind for kind in KINDS}
_QUALITIES = {
    **{word: ("side", word) for word in SIDES},
    **{word: ("severity", word) for word in SEVERITIES},
    **{word: ("zone", word) for word in ZONES},
    **{word: ("position", word) for word in POSITIONS},
    "both": ("side", "bilateral"),
    "small": ("severity", "mild"),
    "large": ("severity", "severe"),
    "apical": ("zone", "upper"),
    "basal": ("zone", "lower"),
}
_FILLERS = frozenset(
    {"a", "an", "in", "lobe", "lung", "of", "on", "present", "pulmonary", "sided", "the", "with", "zone"}
)
_LONGEST_NAME = max(len(name.split()) for name in _NAMES)


def insertable() -> tuple[str, ...]:
    """The names of what can be put into a CT: standard findings, devices, retained objects."""
    return tuple(_KIND_OF)


def kind_of(request: LesionRequest) -> Kind:
    """The row of `KINDS` that a request is of; BadInput where there is none."""
    name = request.device or request.finding
    if name not in _KIND_OF:
        raise BadInput(f"{name} cannot be put into a CT", hint=f"what can: {', '.join(insertable())}")
    return _KIND_OF[name]


def parse_lesion(text: str) -> LesionRequest:
    """Read "Pleural Effusion:right,moderate", "effusion right moderate" or "large left pneumothorax".

    Raises BadInput for a word that it does not know (with a suggestion), two names or two sides, nothing that can be
    inserted, and qualities that the finding does not have, such as the side of an endotracheal tube.
    """
    words = _plain(text).split()
    names: list[str] = []
    chosen: dict[str, str] = {}
    start = 0
    while start < len(words):
        for length in range(_LONGEST_NAME, 0, -1):
            if (phrase := " ".join(words[start : start + length])) in _NAMES:
                names.append(_NAMES[phrase])
                break
        else:
            length, word = 1, words[start]
            if word in _QUALITIES:
                quality, value = _QUALITIES[word]
                if chosen.setdefault(quality, value) != value:
                    raise BadInput(f"lesion {text!r} says both {chosen[quality]} and {value}")
            elif word in ("absent", "uncertain"):
                raise BadInput(
                    f"lesion {text!r} is {word}, and a CT can only be given what is present", hint="leave it out"
                )
            elif word not in _FILLERS:
                near = did_you_mean(word, [*_NAMES, *_QUALITIES])
                suggestion = f"did you mean {near!r}? " if near else ""
                raise BadInput(
                    f"unknown word {word!r} in lesion {text!r}",
                    hint=f"{suggestion}What can be put in: {', '.join(insertable())}; with {', '.join(_QUALITIES)}",
                )
        start += length
    if len(set(names)) != 1:
        reason = f"says both {names[0]} and {names[1]}" if names else "names no finding or device"
        raise BadInput(f"lesion {text!r} {reason}", hint=f"name one of {', '.join(insertable())}")
    name = names[0]
    kind = kind_of(LesionRequest(name))
    for quality, choices in _choices(kind).items():
        if quality in chosen and chosen[quality] not in choices:
            takes = f"it can be {', '.join(choices)}" if choices else f"leave {chosen[quality]!r} out"
            raise BadInput(f"lesion {text!r}: {name} cannot be {chosen[quality]}", hint=takes)
    return LesionRequest(kind.finding, kind.device, **chosen)


def resolve(request: LesionRequest, rng: np.random.Generator) -> LesionRequest:
    """``request`` with side, severity and zone said: drawn evenly where they were left open.

    Both sides are never drawn, only asked for (oedema has no other). A position left open is erect.
    """
    drawn: dict[str, str] = {}
    for quality, choices in _choices(kind_of(request)).items():
        if getattr(request, quality) is None and choices:
            open_to = [choice for choice in choices if choice != "bilateral"] or list(choices)
            drawn[quality] = "erect" if quality == "position" else str(rng.choice(open_to))
    return replace(request, **drawn)


def _choices(kind: Kind) -> dict[str, tuple[str, ...]]:
    return {"side": kind.sides, "severity": kind.severities, "zone": kind.zones, "position": kind.positions}
