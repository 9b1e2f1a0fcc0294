"""A `Study`: who is on the radiograph, how it was taken, and what it shows; the noun that prompts and labels share.

It is valid by construction: names are standard, order is canonical, and it does not contradict itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from gen.core.errors import BadInput
from gen.core.terms import (
    ADULT_FROM_YEARS,
    AGE_GROUPS,
    DEVICES,
    FINDINGS,
    OLDEST_YEARS,
    POSITIONS,
    RACES,
    SEVERITIES,
    SEXES,
    SIDES,
    STATES,
    VIEWS,
    ZONES,
    require_choice,
    suggestion,
)

# A finding of the whole chest or of the midline: it takes neither side nor zone.
MIDLINE = frozenset(
    {
        "No Finding",
        "Enlarged Cardiomediastinum",
        "Cardiomegaly",
        "Support Devices",
        "COVID-19",
        "Hyperinflation",
        "Pneumomediastinum",
        "Pneumoperitoneum",
        "Scoliosis",
    }
)

# Present findings that a chest without other findings may still have (CheXpert: devices do not end "No Finding").
COMPATIBLE_WITH_NORMAL = frozenset({"No Finding", "Support Devices"})


@dataclass(frozen=True)
class Finding:
    """What is known of one finding; None means not said. An absent finding has no severity."""

    state: str = "present"
    side: str | None = None
    severity: str | None = None
    zone: str | None = None

    def __post_init__(self) -> None:
        require_choice("state", self.state, STATES)
        _require_if_known("side", self.side, SIDES)
        _require_if_known("severity", self.severity, SEVERITIES)
        _require_if_known("zone", self.zone, ZONES)
        if self.state == "absent" and self.severity is not None:
            raise BadInput(f"an absent finding has no severity, but {self.severity!r} was given")


@dataclass(frozen=True)
class Study:
    """One radiograph in words. None means not known; `findings` holds only what is said, in the order of FINDINGS.

    `age` is in whole years (0 to 120); `age_group` is for a patient whose age is not known. A named device makes
    "Support Devices" present. Raises BadInput for unknown terms and for what cannot be true together.
    """

    age: int | None = None
    age_group: str | None = None
    sex: str | None = None
    race: str | None = None
    view: str | None = None
    position: str | None = None
    findings: Mapping[str, Finding] = field(default_factory=dict, hash=False)  # read only, though a plain dict
    devices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.age is not None:
            _check_age(self.age)
            if self.age_group is not None:
                raise BadInput(f"age {self.age} and age group {self.age_group!r} are both given; leave the group out")
        _require_if_known("age_group", self.age_group, AGE_GROUPS)
        _require_if_known("sex", self.sex, SEXES)
        _require_if_known("race", self.race, RACES)
        _require_if_known("view", self.view, VIEWS)
        _require_if_known("position", self.position, POSITIONS)
        for name in self.findings:
            require_choice("finding", name, FINDINGS)
        for device in self.devices:
            require_choice("device", device, DEVICES)
        # A canonical order makes equal studies equal values.
        object.__setattr__(self, "devices", tuple(d for d in DEVICES if d in self.devices))
        findings = dict(self.findings)
        if self.devices:
            findings.setdefault("Support Devices", Finding())
        object.__setattr__(self, "findings", {name: findings[name] for name in FINDINGS if name in findings})
        self._check_findings()

    def _check_findings(self) -> None:
        for name, finding in self.findings.items():
            if name in MIDLINE and (finding.side or finding.zone):
                raise BadInput(f"{name} takes neither side nor zone, but {finding.side or finding.zone!r} was given")
        for name in ("No Finding", "Support Devices"):
            if name in self.findings and self.findings[name].severity:
                raise BadInput(f"{name} takes no severity, but {self.findings[name].severity!r} was given")
        if self.devices and (state := self.findings["Support Devices"].state) != "present":
            raise BadInput(f"Support Devices is {state}, but {self.devices[0]} is named")
        normal = self.findings.get("No Finding")
        if normal is None:
            return
        if normal.state == "uncertain":
            raise BadInput("No Finding is either present or absent, never uncertain")
        others = [n for n, f in self.findings.items() if f.state != "absent" and n not in COMPATIBLE_WITH_NORMAL]
        if normal.state == "present" and others:
            raise BadInput(f"No Finding contradicts {', '.join(others)}", hint="leave one of them out")

    @property
    def is_child(self) -> bool:
        """Whether the patient is known to be under 18."""
        return self.age_group == "child" or (self.age is not None and self.age < ADULT_FROM_YEARS)

    def to_json_dict(self) -> dict[str, Any]:
        """Plain types for JSON, every field in place; `from_json_dict` reads it back to an equal Study."""
        return asdict(self) | {"devices": list(self.devices)}

    @classmethod
    def from_json_dict(cls, data: Mapping[str, Any]) -> Study:
        """The Study of a JSON object; missing keys mean not known. Raises BadInput that names the wrong key."""
        if not isinstance(data, Mapping):
            raise BadInput(f"a study is a JSON object, not {type(data).__name__}")
        _only_keys("study", data, [f.name for f in fields(cls)])
        raw_findings = data.get("findings") or {}
        if not isinstance(raw_findings, Mapping):
            raise BadInput('"findings" of a study is an object {name: {"state": ...}}')
        findings: dict[str, Finding] = {}
        for name, raw in raw_findings.items():
            if not isinstance(raw, Mapping):
                raise BadInput(f'finding {name!r} is an object with "state", "side", "severity", "zone", not {raw!r}')
            _only_keys(f"finding {name!r}", raw, [f.name for f in fields(Finding)])
            findings[name] = Finding(**raw)
        devices = data.get("devices") or ()
        if isinstance(devices, str) or not isinstance(devices, Iterable):
            raise BadInput(f'"devices" of a study is a list of names, not {devices!r}')
        return cls(**(dict(data) | {"findings": findings, "devices": tuple(devices)}))


def _check_age(age: Any) -> None:
    if not isinstance(age, int) or isinstance(age, bool):
        raise BadInput(f"age is a whole number of years, not {age!r}")
    if not 0 <= age <= OLDEST_YEARS:
        raise BadInput(f"age {age} is implausible", hint=f"ages run from 0 to {OLDEST_YEARS} years")


def _require_if_known(what: str, value: Any, choices: Collection[str]) -> None:
    if value is not None:
        require_choice(what, value, choices)


def _only_keys(what: str, data: Mapping[str, Any], allowed: Collection[str]) -> None:
    for key in data:
        if key not in allowed:
            raise BadInput(f"unknown key {key!r} in {what}", hint=suggestion(key, allowed))
