"""The card of a data set: nothing that is missing is hidden, and `load_dataset` reads the folder by its first lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from toy_set import CELLS, toy_config, toy_quota, toy_set

from augment.dataset.card import card, plan_card
from augment.dataset.card.card import card_text, write_card
from augment.dataset.config import DatasetConfig, Gates, Projections
from augment.dataset.gates.gate_set import open_gate_set
from augment.dataset.shards.counts import Entries, count_cells
from augment.dataset.shards.index import write_index
from augment.dataset.shards.records import DRR, Entry
from gen.core.config import load_config
from gen.core.markdown import read_prose, section

SOURCES = {"model": "toy", "model_hash": "0" * 16, "sampler": "DDIMScheduler"}


@pytest.fixture(scope="module")
def gate_facts() -> Mapping[str, Any]:
    """What the gates with the bundled judge really say."""
    opened = open_gate_set(Gates(), device="cpu")
    assert opened is not None
    return opened.describe()


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[Entry, ...]]:
    out = tmp_path_factory.mktemp("private") / "toy"
    return out, toy_set(out, missing=(4, 17), twins=("bone",))


def text_of(
    toy: tuple[Path, tuple[Entry, ...]],
    gate_facts: Mapping[str, Any] | None = None,
    config: DatasetConfig | None = None,
    quota: Mapping[str, int] | None = None,
) -> str:
    out, entries = toy
    config = config or toy_config(out, twins=["bone"])
    return card_text(config, count_cells(entries, quota or toy_quota()), gate_facts, SOURCES, entries)


def test_load_dataset_reads_the_folder_with_every_type(tmp_path: Path) -> None:
    import datasets

    # The first shard is empty: types guessed from its samples would be none.
    entries = toy_set(tmp_path / "toy", missing=tuple(range(10)), twins=("bone",))
    out = tmp_path / "toy"
    config = toy_config(out, twins=["bone"])
    write_index(out, entries)
    write_card(out, config, count_cells(entries, toy_quota()), None, SOURCES, Entries(out))
    loaded = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    records = [record for entry in entries for record in entry.records]
    assert [row["json"]["id"] for row in loaded] == [record["id"] for record in records]
    for row, record in zip(loaded, records, strict=True):
        assert row["png"].size == row["bone.png"].size == (record["width"], record["height"])
        assert row["__key__"] == record["id"]
        assert row["json"]["age"] == record["study"]["age"]
        assert json.loads(row["json"]["seed"]) == record["seed"]
        assert json.loads(row["json"]["study"]) == record["study"]
        assert json.loads(row["json"]["scores"]) == record["scores"]


def test_webdataset_reads_the_shards_as_the_card_says(toy: tuple[Path, tuple[Entry, ...]]) -> None:
    import webdataset

    out, entries = toy
    shards = f"{out}/data/shard-{{000000..{len(entries) - 1:06d}}}.tar"
    assert shards.removeprefix(str(out.parent) + "/") in text_of(toy)
    read = webdataset.WebDataset(shards, shardshuffle=False).decode("pil").to_tuple("png", "json")
    ids = [sample["id"] for _, sample in read]
    assert ids == [record["id"] for entry in entries for record in entry.records]


def test_missing_rows_are_listed_by_number_and_the_headline_says_so(toy: tuple[Path, tuple[Entry, ...]]) -> None:
    text = text_of(toy)
    assert "# toy: 28 synthetic chest radiographs" in text
    assert "30 images were planned and 28 are here" in text
    for number in (4, 17):
        cell = CELLS[number % len(CELLS)].replace("|", ", ").replace("=", " ")
        assert f"- {cell}: 1 ({number})" in text


def test_a_whole_set_says_so_and_one_with_the_right_sum_but_wrong_cells_does_not(tmp_path: Path) -> None:
    whole = tmp_path / "toy", toy_set(tmp_path / "toy")
    assert "each of 12 cells has its quota exactly, 30 images" in text_of(whole)
    assert "No row is missing." in text_of(whole)
    quota = toy_quota() | {CELLS[0]: 4, CELLS[1]: 2}
    text = text_of(whole, quota=quota)
    assert "has its quota exactly" not in text
    assert "2 of 12 cells are off their quota" in text


def test_counts_and_shares_are_those_of_the_shards(toy: tuple[Path, tuple[Entry, ...]]) -> None:
    text = text_of(toy)
    _, entries = toy
    records = [record for entry in entries for record in entry.records]
    lost = [row for entry in entries for row in entry.missing]
    for value in ("F", "M"):
        final = [record for record in records if record["study"]["sex"] == value]
        rejected = [
            each
            for row in [*final, *(row for row in lost if f"sex={value}" in row["cell"])]
            for each in row["rejected"]
        ]
        judged = len(final) + sum("failed" in each for each in rejected)
        accepted = f"{len(final) / judged:.1%}"
        line = next(line for line in text.splitlines() if line.startswith(f"| {value} | 1"))
        assert f" | {len(final)} | " in line
        assert line.endswith(f" | {len(final) + len(rejected)} | {accepted} |")


def test_no_more_numbers_and_cells_are_listed_than_a_page_holds_but_all_are_counted(
    toy: tuple[Path, tuple[Entry, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_card, "CELLS_LISTED", 3)
    text = text_of(toy)
    assert "2 of 12 cells: those off the quota" in text
    shown = plan_card.plan_section(count_cells([], {}), {}, {"sex=F": range(1000)}).splitlines()
    assert any("sex F: 1,000 (0, 1, " in line and "and 800 more" in line for line in shown)


def test_the_gates_are_described_as_they_are(
    toy: tuple[Path, tuple[Entry, ...]], gate_facts: Mapping[str, Any]
) -> None:
    text = text_of(toy, gate_facts)
    gates = "\n".join(section(text, "Gates"))
    assert gate_facts["judge"]["fingerprint"] in gates
    assert "must not be the only one that scores it" in gates
    for name, triple in gate_facts["judge"]["figures"]["auroc"].items():
        assert f"| {name} | {triple[0]:.2f} [" in gates
    for kind in ("finding: Cardiomegaly", "sex: F", "sex: M", "quality: sharpness"):
        assert f"| {kind} | " in gates
    for kind in ("finding: Pneumonia", "finding: no Edema", "age group: child"):  # nothing of this set met them
        assert f"| {kind} | " not in gates
    assert "Nobody looked for copies" not in text


def test_a_set_of_projections_alone_does_not_say_that_it_was_searched_for_copies(
    toy: tuple[Path, tuple[Entry, ...]], gate_facts: Mapping[str, Any]
) -> None:
    out, entries = toy
    only = tuple(replace(e, records=tuple({**record, "source": DRR} for record in e.records)) for e in entries)
    text = text_of((out, only), gate_facts)
    assert "Nobody looked for copies of training images" in text
    assert "Projections as they are were not searched for copies" in text


def test_gates_that_were_off_are_named(toy: tuple[Path, tuple[Entry, ...]], gate_facts: Mapping[str, Any]) -> None:
    some = dict(gate_facts) | {"gates": ["finding", "quality"]}
    assert "Gates that were off: sex, age, view, copy, anatomy." in text_of(toy, some)
    text = text_of(toy)
    assert "All gates were off" in text
    assert "Nobody looked for copies of training images" in text


def test_what_no_gate_looks_at_is_said(tmp_path: Path, gate_facts: Mapping[str, Any]) -> None:
    cells = [f"{cell}|race=Asian".replace("Cardiomegaly", "Hernia") for cell in CELLS]
    out = tmp_path / "toy"
    entries = toy_set(out, cells=cells)
    text = text_of((out, entries), gate_facts, quota=toy_quota(cells=cells))
    assert "- race: no gate knows it" in text
    assert f"- finding: Hernia: {gate_facts['without']['finding: Hernia']}" in text
    assert "- finding: Fracture" not in text


def test_the_config_on_the_card_makes_the_same_plan_and_names_no_place(
    toy: tuple[Path, tuple[Entry, ...]], tmp_path: Path
) -> None:
    out, _ = toy
    config = toy_config(out, gates=Gates(real=str(tmp_path / "images"), names=["finding"]), model=None)
    text = text_of(toy, config=config)
    assert str(out.parent) not in text
    assert str(tmp_path) not in text
    (tmp_path / "config.yaml").write_text(text.partition("```yaml\n")[2].partition("```")[0])
    again = load_config(DatasetConfig, tmp_path / "config.yaml")
    assert again == replace(config, out="toy", gates=replace(config.gates, real="images"))


def test_attributions_of_the_model_travel_with_the_images(toy: tuple[Path, tuple[Entry, ...]], tmp_path: Path) -> None:
    text = text_of(toy)
    for source in ("NIH ChestX-ray14", "Guangzhou", "Wingspan", "Hannover", "COVID-19 image data collection"):
        assert source in "\n".join(section(text, "Licence"))
    bare = text_of(toy, config=toy_config(toy[0], model=str(tmp_path)))
    assert "has no card with a table of its data" in bare


def test_weights_may_learn_from_images_as_far_as_from_what_they_were_made_from(
    toy: tuple[Path, tuple[Entry, ...]], tmp_path: Path
) -> None:
    out, entries = toy
    cleared, barred = "- Weights may learn from these images:", "not cleared whether weights may learn"
    assert cleared in text_of(toy)
    assert barred in text_of(toy, config=toy_config(out, model=str(tmp_path)))
    projected = out, (*entries[1:], replace(entries[0], records=(dict(entries[0].records[0]) | {"source": DRR},)))
    assert cleared in text_of(projected)
    assert "1 of the images are projections (of the phantom)" in text_of(projected)
    assert "No image here shows a patient" in text_of(projected)
    scans = toy_config(out, projections=Projections(use="when_needed", cts=[str(tmp_path / "ct.nii.gz")]))
    text = text_of(projected, config=scans)
    assert f"{DRR}." in text.partition(barred)[2].partition("\n")[0]
    assert str(tmp_path) not in text
    assert "No image here shows a patient" not in text
    assert "The projections show the chests of the patients" in text


def test_the_front_matter_is_yaml_and_the_card_a_function_of_the_set(toy: tuple[Path, tuple[Entry, ...]]) -> None:
    text = text_of(toy)
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["license"] == "other"
    assert {"synthetic", "chest-x-ray"} <= set(head["tags"])
    assert head["size_categories"] == ["n<1K"]
    assert text_of(toy) == text


@pytest.mark.parametrize("name", ["card", "plan", "gates"])
def test_every_block_of_a_template_is_used(name: str) -> None:
    source = Path(card.__file__).with_name({"card": "card", "plan": "plan_card", "gates": "gate_card"}[name] + ".py")
    used = source.read_text(encoding="utf-8")
    blocks = read_prose("augment.dataset.card", f"{name}.md").blocks
    assert [block for block in blocks if f'"{block}"' not in used] == []
