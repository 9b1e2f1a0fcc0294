"""The standard terms that prompts, labels, manifests and models share: findings, devices, views, sides, severities.

Pure data. CheXpert spelling throughout; where another data set spells a label differently, `STANDARD_NAMES` maps it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

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
NIH_14 = (
    "Atelectasis",
    "Cardiomegaly",
    "Pleural Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural Thickening",
    "Hernia",
)

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

# "is a kind of". The first six are CheXpert's label hierarchy (Irvin et al. 2019, figure 1). Mass and Nodule are what
# CheXpert's labeller counts as Lung Lesion, Pleural Thickening as Pleural Other, Infiltration ("infiltrate") as Lung
# Opacity. The infections are ours: each shows as a pneumonia, except tuberculosis, which may be scar or cavity and so
# only promises an opacity.
PARENTS = {
    "Cardiomegaly": "Enlarged Cardiomediastinum",
    "Lung Lesion": "Lung Opacity",
    "Edema": "Lung Opacity",
    "Consolidation": "Lung Opacity",
    "Atelectasis": "Lung Opacity",
    "Pneumonia": "Consolidation",
    "Pleural Thickening": "Pleural Other",
    "Mass": "Lung Lesion",
    "Nodule": "Lung Lesion",
    "Infiltration": "Lung Opacity",
    "COVID-19": "Pneumonia",
    "Pneumocystis": "Pneumonia",
    "Tuberculosis": "Lung Opacity",
}

# Other data sets' spellings of the same labels (NIH, PadChest-style British spelling, VinDr).
STANDARD_NAMES = {
    "Effusion": "Pleural Effusion",
    "Pleural_Thickening": "Pleural Thickening",
    "Oedema": "Edema",
    "Airspace Opacity": "Lung Opacity",
    "Enlarged Cardiac Silhouette": "Cardiomegaly",
    "Infiltrate": "Infiltration",
    "Nodule/Mass": "Lung Lesion",
    "Pulmonary fibrosis": "Fibrosis",
}


def ancestors(name: str) -> tuple[str, ...]:
    """The findings that `name` is a kind of, nearest first: `ancestors("COVID-19")` begins with Pneumonia."""
    chain: list[str] = []
    while name in PARENTS:
        name = PARENTS[name]
        chain.append(name)
    return tuple(chain)


def did_you_mean(word: str, choices: Iterable[str]) -> str | None:
    """The choice nearest in spelling to `word`, in any letter case, or None when nothing is near."""
    by_folded = {choice.casefold(): choice for choice in choices}
    near = difflib.get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.75)
    return by_folded[near[0]] if near else None
