"""The public sources of real radiographs: whose they are, on what terms, and how much their labels say.

The key is what stands in the column `source` of a manifest. Cards, the judge's labels and the benchmarks read this
table; what a table of images says of its own rows (licence, weights_may_learn) is the authority on these.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """One source. ``labels_are_complete``: it names every one of NIH's 14 findings that an image has, so what it does
    not name is absent; of any other source what is not named is unknown."""

    name: str
    licence: str
    citation: str
    weights_may_learn: bool = True
    labels_are_complete: bool = False


NIH = "nih-chestxray14"
SOURCES = {
    NIH: Source(
        "NIH ChestX-ray14",
        "NIH Clinical Center terms: no restrictions on use; attribution and link required",
        "Wang et al., ChestX-ray8, CVPR 2017; the NIH Clinical Center is the data provider: "
        "https://nihcc.app.box.com/v/ChestXray-NIHCC",
        labels_are_complete=True,
    ),
    "kermany-paediatric": Source(
        "Guangzhou children, 1 to 5 years", "CC BY 4.0", "Kermany et al., Cell 172 (2018); doi:10.17632/rscbjbr9sj"
    ),
    "wingspan-ctr": Source("Wingspan cardiothoracic-ratio set", "MIT", "Dong et al., MICCAI 2018"),
    "hannover-covid19": Source(
        "Hannover COVID-19 image repository", "CC BY 3.0", "Winther et al. 2020; doi:10.25835/0090041"
    ),
    "covid-chestxray": Source("COVID-19 image data collection", "CC BY 4.0", "Cohen et al., arXiv:2006.11988"),
}
COMPLETE = tuple(key for key, source in SOURCES.items() if source.labels_are_complete)
