"""README.md of a data set: what it is, how far it is what was planned, what checked it, and what it is not good for.

A function of the config, the committed shards, and of what the model and the gates say of themselves: no clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from augment.dataset.card.gate_card import gate_section
from augment.dataset.card.plan_card import plan_section
from augment.dataset.config import DatasetConfig
from augment.dataset.shards.counts import FINAL, Cells, total
from augment.dataset.shards.records import ANATOMY, DRR, PROJECTED, Entry
from augment.dataset.shards.samples import COLUMNS, sample_of
from augment.dataset.sources import weights_may_learn
from gen import __version__
from gen.core.bundled import bundled_model
from gen.core.config import to_dict, to_yaml
from gen.core.files import write_text
from gen.core.markdown import read_prose, section, table

CARD = "README.md"
LICENCE_NAME = "synthetic-see-card"
SIZES = (("n<1K", 1_000), ("1K<n<10K", 10_000), ("10K<n<100K", 100_000), ("100K<n<1M", 1_000_000))  # the Hub's words
_VERSIONS = ("diffusers", "numpy", "pillow", "torch", "transformers")
_PROSE = read_prose(__package__, "card.md")


def write_card(
    out: str | Path,
    config: DatasetConfig,
    cells: Cells,
    gate_facts: Mapping[str, Any] | None,
    sources: Mapping[str, Any],
    entries: Iterable[Entry],
) -> Path:
    """Write ``out``/README.md, atomically, and return its path.

    ``cells`` are the counts (`counts.count_cells`), ``gate_facts`` is what the gates say (`GateSet.describe`;
    None: no gates), ``sources`` what made the images (`sources.inputs_of`). ``entries`` are gone through once.
    """
    path = Path(out) / CARD
    write_text(path, card_text(config, cells, gate_facts, sources, entries))
    return path


def card_text(
    config: DatasetConfig,
    cells: Cells,
    gate_facts: Mapping[str, Any] | None,
    sources: Mapping[str, Any],
    entries: Iterable[Entry],
) -> str:
    """The card; see `write_card`."""
    facts, folder = _facts(entries), bundled_model() if config.model is None else Path(config.model)
    images, of_cts = total(cells)[FINAL], bool(config.projections.cts)
    projected, painted = sum(facts["made_by"][source] for source in PROJECTED), facts["made_by"][ANATOMY]
    searched = gate_facts and "copy" in gate_facts["kinds"] and facts["made_by"].keys() - {DRR}
    model_card = _read(folder / "README.md")
    volumes = _PROSE.fill("volumes_of_cts" if of_cts else "volumes_of_the_phantom")
    page = _PROSE.fill(
        "page",
        name=Path(config.out).name,
        images=f"{images:,}",
        patients=_PROSE.fill("of_patients" if projected and of_cts else "of_nobody"),
        plan=plan_section(cells, facts["shown"], facts["missing"]),
        gates=gate_section(cells, gate_facts, config.gates, facts["looked_at"]),
        sources=table(("", ""), [(key.replace("_", " "), str(value)) for key, value in sources.items()]),
        projected=_PROSE.fill("projected", count=f"{projected:,}", volumes=volumes) if projected else "",
        painted=_painted(config, painted, facts["bodies"]),
        copies=_PROSE.fill("copy_gate" if searched else "no_copy_gate"),
        learning=_learning(config, facts["made_by"]),
        model=_of_the_model(model_card),
        last=f"{max(facts['shards'] - 1, 0):06d}",
        twins=_listed("twins", [f"ID.{twin}.png" for twin in config.twins]),
        formats=_listed("formats", [f"{name}/" for name in config.formats]),
        attributions=_attributions(model_card, folder.name),
        seed=config.seed,
        config=to_yaml(_public(config)).rstrip(),
        version=__version__,
        versions=", ".join(_versions()),
    )
    return f"{_front_matter(config, images, facts['sample'])}{page}\n"


def _facts(entries: Iterable[Entry]) -> dict[str, Any]:
    """What one pass over the shards tells besides the counts by cell."""
    shown: Counter[str] = Counter()
    missing: dict[str, list[int]] = {}
    looked_at: set[str] = set()
    bodies: set[str] = set()
    made_by: Counter[str] = Counter()
    found: dict[str, Any] = {"shards": 0, "sample": None}
    for entry in entries:
        found["shards"] += 1
        for record in entry.records:
            found["sample"] = found["sample"] or record
            made_by[record["source"]] += 1
            looked_at.update(record["scores"])
            if record["source"] == ANATOMY:
                bodies.add(record["provenance"]["patient"])
            states = record["study"]["findings"].items()
            shown.update(name for name, finding in states if finding["state"] == "present")
        for row in entry.missing:
            missing.setdefault(row["cell"], []).append(row["number"])
    return found | {
        "shown": shown,
        "missing": missing,
        "looked_at": looked_at,
        "made_by": made_by,
        "bodies": len(bodies),
    }


def _painted(config: DatasetConfig, count: int, bodies: int) -> str:
    """The paragraph on projections that the model painted on, with the blank line before it; nothing of none."""
    strength = f"{config.projections.strength:g}"
    text = _PROSE.fill("painted", count=f"{count:,}", bodies=f"{bodies:,}", strength=strength) if count else ""
    return f"\n\n{text}" if text else ""


def _listed(block: str, names: Sequence[str]) -> str:
    """The sentence of ``block`` about ``names`` with the blank that follows it; nothing of none."""
    return _PROSE.fill(block, names=", ".join(f"`{name}`" for name in names)) + " " if names else ""


def _learning(config: DatasetConfig, made_by: Iterable[str]) -> str:
    """Whether weights may learn from the images: as far as they may from what the images were made from."""
    allowed = weights_may_learn(config)
    barred = sorted(source for source in made_by if not allowed[source])
    return _PROSE.fill("not_cleared", sources=", ".join(barred)) if barred else _PROSE.fill("may_learn")


def _of_the_model(model_card: str) -> str:
    lines = [*section(model_card, "What it was shown"), *section(model_card, "Limits")]
    return _PROSE.fill("model", lines="\n".join(lines)) if lines else ""


def _attributions(model_card: str, name: str) -> str:
    rows = [line for line in section(model_card, "Data") if line.startswith("|")]
    if not rows:
        return _PROSE.fill("no_attributions", model=name)
    weights = "\n".join(f"Its weights: {line}" for line in section(model_card, "Licence of the weights"))
    return _PROSE.fill("attributions", model=name, rows="\n".join(rows), weights=weights)


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
