"""The standard terms that prompts, labels, manifests and models share: findings, devices, views, sides, severities.

CheXpert spelling throughout; where another data set spells a label differently, `standard_name` maps it. What is no
term, nor another choice that there is, is refused with the nearest one.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from gen.core.errors import BadInput

# Irvin et al., CheXpert, AAAI 2019, table 1.
CHEXPERT_14 = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)

# Wang et al., ChestX-ray8/14, CVPR 2017; "Effusion" and "Pleural_Thickening" in the standard spelling.
_OF_BOTH = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion", "Pneumonia", "Pneumothorax")
NIH_14 = (*_OF_BOTH, "Infiltration", "Mass", "Nodule", "Emphysema", "Fibrosis", "Pleural Thickening", "Hernia")

# What neither list names and our sources or users do.
FURTHER = (
    "COVID-19",
    "Pneumocystis",
    "Tuberculosis",
    "Hyperinflation",
    "Subcutaneous Emphysema",
    "Pneumomediastinum",
    "Pneumoperitoneum",
    "Scoliosis",
    "Retained Foreign Object",
)

# Canonical order: CheXpert's, then what NIH adds, then ours.
FINDINGS = tuple(dict.fromkeys(CHEXPERT_14 + NIH_14 + FURTHER))

STATES = ("present", "absent", "uncertain")
SIDES = ("left", "right", "bilateral")
SEVERITIES = ("mild", "moderate", "severe")
ZONES = ("upper", "middle", "lower")
VIEWS = ("PA", "AP", "lateral")
POSITIONS = ("supine", "erect")
SEXES = ("M", "F")
AGE_GROUPS = ("child", "adult")
# Self-reported, as MIMIC-IV and CheXpert Plus publish it.
RACES = ("White", "Black", "Asian", "Hispanic", "Native American", "Pacific Islander")

ADULT_FROM_YEARS = 18
OLDEST_YEARS = 120

DEVICES = (
    "endotracheal tube",
    "tracheostomy tube",
    "nasogastric tube",
    "central venous catheter",
    "PICC line",
    "port catheter",
    "dialysis catheter",
    "pulmonary artery catheter",
    "intra-aortic balloon pump",
    "chest tube",
    "pacemaker",
    "ICD",
    "sternal wires",
    "prosthetic heart valve",
    "surgical clips",
    "spinal hardware",
    "ECG leads",
)

# Other data sets' names of the same labels (NIH, PadChest-style British spelling, VinDr), in any letter case.
STANDARD_NAMES = {
    "Effusion": "Pleural Effusion",
    "Pleural_Thickening": "Pleural Thickening",
    "Oedema": "Edema",
    "Airspace Opacity": "Lung Opacity",
    "Enlarged Cardiac Silhouette": "Cardiomegaly",
    "Infiltrate": "Infiltration",
    "Nodule/Mass": "Lung Lesion",
    "Pulmonary fibrosis": "Fibrosis",
    "Infiltrates": "Infiltration",
    "Rib fracture": "Fracture",
    "Normal": "No Finding",
}


def standard_name(label: str) -> str | None:
    """The finding that ``label`` means in any vocabulary, letter case or writing of its spaces; None for no finding."""
    return _FOLDED.get(_folded(label))


def _folded(label: str) -> str:
    return " ".join(label.replace("_", " ").casefold().split())


_FOLDED = {_folded(name): name for name in FINDINGS} | {_folded(name): term for name, term in STANDARD_NAMES.items()}


def did_you_mean(word: str, choices: Iterable[str]) -> str | None:
    """The choice nearest in spelling to `word`, in any letter case, or None when nothing is near."""
    by_folded = {choice.casefold(): choice for choice in choices}
    near = difflib.get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.75)
    return by_folded[near[0]] if near else None


def suggestion(word: object, choices: Collection[str], otherwise: str | None = None) -> str | None:
    """The hint for a ``word`` that is none of ``choices``: the nearest, else ``otherwise``, else all that there are."""
    near = did_you_mean(str(word), choices)
    return f"did you mean {near!r}?" if near else otherwise or (f"use {', '.join(choices)}" if choices else None)


def require_choice(what: str, value: object, choices: Collection[str]) -> None:
    """Raise BadInput, with a suggestion, for a ``value`` of ``what`` that is none of ``choices``."""
    if value not in choices:
        raise BadInput(f"unknown {what} {value!r}", hint=suggestion(value, choices))
