"""What is known of a projection, as plain types for JSON: who, how, where, and what was inserted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from drr.geometry import Geometry, View
from drr.physics.technique import Technique
from drr.scene import Scene
from gen.core.terms import DEVICES, FINDINGS
from gen.core.terms import VIEWS as STANDARD_VIEWS

_QUALITIES = ("side", "severity", "zone")
# Of what concerns the whole chest a Study knows less; where a device lies stands in the truth.
_KNOWN: dict[str, tuple[str, ...]] = {"Support Devices": (), "Cardiomegaly": ("severity",)}


def truth_of(scene: Scene, view: View, geometry: Geometry, technique: Technique) -> dict[str, Any]:
    """The truth of one projection; ``study`` is what `gen` reads labels and prompts from."""
    labels = [dict(inserted.label) for inserted in scene.inserted]
    return {
        "patient_id": scene.key,
        "study": study_of(scene.volume.facts, view, labels, healthy=scene.healthy),
        "notes": "; ".join(_notes(scene, view)),
        "inserted": labels,
        "view": asdict(view),
        "geometry": {
            "rows": geometry.shape[0],
            "columns": geometry.shape[1],
            "source_mm": geometry.source_mm.tolist(),
            "corner_mm": geometry.corner_mm.tolist(),
            "row_mm": geometry.row_mm.tolist(),
            "column_mm": geometry.column_mm.tolist(),
        },
        "technique": asdict(technique),
        "ct": {
            "facts": dict(scene.volume.facts),
            "shape": list(scene.volume.hu.shape),
            "spacing_mm": list(scene.volume.spacing_mm),
            "field": scene.field.facts(),
        },
    }


def study_of(
    facts: Mapping[str, Any], view: View, labels: Iterable[Mapping[str, Any]], *, healthy: bool
) -> dict[str, Any]:
    """The JSON of a Study (the column `study` of a manifest): what is not known is None or left out.

    Of a real CT the patient's own findings are not known; a ``healthy`` patient has No Finding until one is inserted.
    Two insertions of one finding become one: on both sides where their sides differ, without what they do not share.
    """
    findings: dict[str, dict[str, str | None]] = {}
    devices: list[str] = []
    for label in labels:
        known = _KNOWN.get(label["finding"], _QUALITIES)
        new = {"state": "present"} | {key: label.get(key) if key in known else None for key in _QUALITIES}
        old = findings.setdefault(label["finding"], new)
        if old is not new:
            shared = {key: value if new[key] == value else None for key, value in old.items()}
            if None not in (old["side"], new["side"]) and old["side"] != new["side"]:
                shared["side"] = "bilateral"
            findings[label["finding"]] = shared
        if label["finding"] == "Support Devices":
            devices.append(label["device"])
    if healthy and not set(findings) - {"Support Devices"}:
        findings["No Finding"] = {"state": "present"} | dict.fromkeys(_QUALITIES)
    return {
        "age": facts.get("age"),
        "age_group": None,
        "sex": facts.get("sex"),
        "race": None,
        "view": view.name if view.name in STANDARD_VIEWS else None,
        "position": view.position if view.name == "AP" else None,
        "findings": {name: findings[name] for name in FINDINGS if name in findings},
        "devices": [device for device in DEVICES if device in devices],
    }


def _notes(scene: Scene, view: View) -> list[str]:
    """What a reader should know who wonders at the image: in words, for the manifest."""
    field, facts = scene.field, scene.volume.facts
    if scene.healthy:  # the phantom stands, and ends where a view does
        return []
    notes = {
        "the CT was taken lying down": view.position != "supine",
        "arms up": field.arms == "up",
        f"the scan cuts the body at the {' and '.join(field.cut)}, where tissue is missing": bool(field.cut),
        f"the lungs are cut at the {' and '.join(field.lungs_cut)}": bool(field.lungs_cut),
        f"the CT ends at {facts.get('clipped_at_hu')} HU, so bone is too faint": "clipped_at_hu" in facts,
    }
    return [*facts.get("remarks", ()), *(note for note, holds in notes.items() if holds)]
