"""README.md of a data set: what it is, how far it is what was planned, what checked it, and what it is not good for.

A function of the config, the committed shards, and of what the model and the gates say of themselves: no clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from augment.dataset.card.gate_card import gate_lines, table
from augment.dataset.card.plan_card import plan_lines
from augment.dataset.config import DatasetConfig
from augment.dataset.shards.counts import FINAL, Cells, total
from augment.dataset.shards.records import DRR, Entry
from augment.dataset.shards.samples import COLUMNS, sample_of
from augment.dataset.sources import weights_may_learn
from gen import __version__
from gen.core.bundled import bundled_model
from gen.core.config import to_dict, to_yaml
from gen.core.files import write_text

CARD = "README.md"
LICENCE_NAME = "synthetic-see-card"
SIZES = (("n<1K", 1_000), ("1K<n<10K", 10_000), ("10K<n<100K", 100_000), ("100K<n<1M", 1_000_000))  # the Hub's words
_VERSIONS = ("diffusers", "numpy", "pillow", "torch", "transformers")

_INTENT = """
**For research and teaching only. Not for clinical use, not for diagnosis.** {}
Each image was made to order, and its labels are the order: what was asked for, not what a radiologist read.
"""
_OF_NOBODY = "**No image here shows a patient.**"
_OF_PATIENTS = (
    "**The projections show the chests of the patients of the CTs**, and have these patients' own sex and age."
)

_LIMITS = """
- An image shows what its prompt asked for only as far as the model obeys and the gates see. Do not take the labels for
  a reading, and do not measure a detector by them alone: test on real radiographs.
- The shares of groups and findings are those of what was asked for, and not those of what the images show.
- It has what the model lacks, and what the model's training films had too much of.
"""

_PROJECTED = """
{:,} of the images are projections ({}). Their labels are the recipe that they were made by, and they stood before the
gates of quality and copies only. Where a value or a finding comes from one source alone, whoever learns to tell it may
have learnt to tell the sources.
""".strip()

_PROVENANCE = """
Each image carries its record, as `ID.json` beside it in its shard and as a row of `index.parquet`: id, number and cell
in the plan, study and prompt, seed, attempt and substitute, model and its hash, sampler, steps, guidance, software,
score and threshold of each gate, the distance to the nearest training film, and what was refused before it. The PNG
says "synthetic" in its text. `dataset.json` has the config (with the paths of the machine that made the set: look at
it before you publish it), `manifest/` an entry with the SHA-256 of each shard, `gates.json` every threshold and pass
rate by group.
"""

_LOADING = """
```python
import datasets, pandas, webdataset

images = datasets.load_dataset("{out}", split="train")  # columns png and json; streaming=True for a large set
images = webdataset.WebDataset("{out}/data/shard-{{000000..{last:06d}}}.tar").decode("pil").to_tuple("png", "json")
index = pandas.read_parquet("{out}/index.parquet")  # labels, seeds and scores, without the images
```

In the JSON, findings are separated by `;`, and what is nested is JSON in text (`json.loads`), as is the seed: Arrow's
integers are too small for it. {also}`croissant.json` describes the same for Croissant. mlcroissant (1.1) keeps unpacked
shards by their file name alone: give each data set a cache of its own (`CROISSANT_CACHE`), or it serves the images of
another.

`gen dataset verify {out}` checks every hash, count and quota. `gen dataset replay {out} ID` makes one image again from
its record and compares the two byte for byte, which holds on one class of machine.
"""

_LICENCE = """
The images are synthetic. Whoever uses or shares them is bound by what the model's card asks for, and its attributions
must travel with them; `license: other` above stands for that.
"""


def write_card(
    out: str | Path,
    config: DatasetConfig,
    cells: Cells,
    panel: Mapping[str, Any] | None,
    sources: Mapping[str, Any],
    entries: Iterable[Entry],
) -> Path:
    """Write ``out``/README.md, atomically, and return its path.

    ``cells`` are the counts (`counts.count_cells`), ``panel`` is what the gates say (`Panel.describe`; None: no
    gates), ``sources`` what made the images (`sources.identity_of`). ``entries`` are gone through once.
    """
    path = Path(out) / CARD
    write_text(path, card_text(config, cells, panel, sources, entries))
    return path


def card_text(
    config: DatasetConfig,
    cells: Cells,
    panel: Mapping[str, Any] | None,
    sources: Mapping[str, Any],
    entries: Iterable[Entry],
) -> str:
    """The card; see `write_card`."""
    facts = _facts(entries)
    everything = total(cells)
    projected = facts["made_by"][DRR]
    volumes = "CT volumes, whose licences hold for them too" if config.projections.cts else "of the phantom"
    folder = bundled_model() if config.model is None else Path(config.model)
    model_card = _read(folder / "README.md")
    name = Path(config.out).name
    loading = _LOADING.format(out=name, last=max(facts["shards"] - 1, 0), also=_also(config))
    lines = [
        f"# {name}: {everything[FINAL]:,} synthetic chest radiographs",
        _INTENT.format(_OF_PATIENTS if facts["made_by"][DRR] and config.projections.cts else _OF_NOBODY),
        *plan_lines(cells, facts["shown"], facts["missing"]),
        *gate_lines(cells, panel, config.gates, facts["looked_at"]),
        "## What made them",
        "",
        *table(("", ""), [(key.replace("_", " "), str(value)) for key, value in sources.items()]),
        "",
        *([_PROJECTED.format(projected, volumes), ""] if projected else []),
        "## Limits",
        "\n".join((_LIMITS.rstrip(), _copies(panel), _learning(config, facts["made_by"]), "")),
        *_of_the_model(model_card),
        "## Provenance",
        _PROVENANCE,
        "## Use",
        loading,
        "## Licence",
        _LICENCE,
        *_attributions(model_card, folder.name),
        "## Config",
        "",
        f"Seed {config.seed}. The whole of it:",
        "",
        "```yaml",
        to_yaml(_public(config)).rstrip(),
        "```",
        "",
        f"Written by cxr-gen {__version__} with {', '.join(_versions())}.",
    ]
    return _front_matter(config, everything[FINAL], facts["sample"]) + "\n".join(lines) + "\n"


def section(card: str, title: str) -> list[str]:
    """The lines under the heading ``title`` of a Markdown page, up to the next; none where it has none."""
    _, _, rest = f"\n{card}".partition(f"\n## {title}\n")
    return rest.partition("\n## ")[0].strip().splitlines()


def _facts(entries: Iterable[Entry]) -> dict[str, Any]:
    """What one pass over the shards tells besides the counts by cell."""
    shown: Counter[str] = Counter()
    missing: dict[str, list[int]] = {}
    looked_at: set[str] = set()
    made_by: Counter[str] = Counter()
    found: dict[str, Any] = {"shards": 0, "sample": None}
    for entry in entries:
        found["shards"] += 1
        for record in entry.records:
            found["sample"] = found["sample"] or record
            made_by[record["source"]] += 1
            looked_at.update(record["scores"])
            states = record["study"]["findings"].items()
            shown.update(name for name, finding in states if finding["state"] == "present")
        for row in entry.missing:
            missing.setdefault(row["cell"], []).append(row["number"])
    return found | {"shown": shown, "missing": missing, "looked_at": looked_at, "made_by": made_by}


def _also(config: DatasetConfig) -> str:
    twins = f"Beside each image are its twins: {', '.join(f'`ID.{twin}.png`' for twin in config.twins)}. "
    formats = f"The same images in other formats: {', '.join(f'`{name}/`' for name in config.formats)}. "
    return (twins if config.twins else "") + (formats if config.formats else "")


def _copies(panel: Mapping[str, Any] | None) -> str:
    if panel is None or "copy" not in panel["kinds"]:
        return "- **Nobody looked for copies of training films.**"
    return "- No image is as near to a training film as the copy gate's threshold. That is no proof of privacy."


def _learning(config: DatasetConfig, made_by: Iterable[str]) -> str:
    """Whether weights may learn from the images: as far as they may from what the images were made from."""
    allowed = weights_may_learn(config)
    barred = sorted(source for source in made_by if not allowed[source])
    if not barred:
        return "- Weights may learn from these images: the licences of what they were made from allow it."
    return (
        "- **It is not cleared whether weights may learn from these images**: what they were made from does not say "
        f"that it is allowed (`weights_may_learn`). Sources: {', '.join(barred)}."
    )


def _of_the_model(model_card: str) -> list[str]:
    lines = [*section(model_card, "What it was shown"), *section(model_card, "Limits")]
    return ["Of the model, from its card:", "", *lines, ""] if lines else []


def _attributions(model_card: str, name: str) -> list[str]:
    rows = [line for line in section(model_card, "Data") if line.startswith("|")]
    if not rows:
        return [f"The folder of the model {name} has no card with a table of its data: ask whoever made it.", ""]
    own = section(model_card, "Licence of the weights")
    return [
        f"What the model {name} learnt from, by its card:",
        "",
        *rows,
        "",
        *(f"Its weights: {line}" for line in own),
        "",
    ]


def _public(config: DatasetConfig) -> dict[str, Any]:
    """The config without the places of this machine: a card is made to be shared."""
    target = replace(config.target, real=name_of(config.target.real))
    gates = replace(config.gates, real=name_of(config.gates.real), judge=name_of(config.gates.judge) or "")
    projections = replace(config.projections, cts=[Path(ct).name for ct in config.projections.cts])
    shared = replace(
        config,
        out=Path(config.out).name,
        model=name_of(config.model),
        target=target,
        gates=gates,
        projections=projections,
    )
    return to_dict(shared)


def name_of(path: str | None) -> str | None:
    """The last part of a path: what of a place may be published."""
    return None if path is None else Path(path).name


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):  # a user's folder need not have a card
        return ""


def _versions() -> Iterator[str]:
    for package in _VERSIONS:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            continue


def _front_matter(config: DatasetConfig, images: int, record: Mapping[str, Any] | None) -> str:
    """What the Hub and `load_dataset` read. The types are stated, for they would be guessed from five samples."""
    types = {} if record is None else sample_of(record)
    fields = (
        [
            {"name": name, "dtype": "int64" if name == "age" or isinstance(types[name], int) else "string"}
            for name in COLUMNS
        ]
        if types
        else []
    )
    pictures = [
        {"name": extension, "dtype": "image"}
        for extension in ("png", *(f"{twin}.png" for twin in sorted(config.twins)))
    ]
    keys = [{"name": name, "dtype": "string"} for name in ("__key__", "__url__")]
    head: dict[str, Any] = {
        "pretty_name": f"{Path(config.out).name}: synthetic chest radiographs",
        "license": "other",
        "license_name": LICENCE_NAME,
        "license_link": f"{CARD}#licence",
        "language": ["en"],
        "task_categories": ["image-classification", "text-to-image"],
        "tags": ["synthetic", "chest-x-ray", "radiology", "medical", "research-only"],
        "size_categories": [next((word for word, below in SIZES if images < below), "n>1M")],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/*.tar"}]}],
    }
    if fields:
        head["dataset_info"] = {
            "config_name": "default",
            "features": [*keys, *pictures, {"name": "json", "struct": fields}],
        }
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n"
