"""What is counted is conserved: over cells, over the values of an attribute, and between rows and images."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from toy_set import CELLS, toy_quota, toy_set

from augment.dataset.shards.counts import (
    BROKEN,
    FINAL,
    FIRST,
    MISSING,
    TRIED,
    WANTED,
    Entries,
    by_value,
    count_cells,
    gates_of,
    judged,
    total,
)
from augment.dataset.shards.records import Entry

SCORES = {"finding: Edema": 0.5, "copy": 0.5}
refusals = st.lists(
    st.one_of(
        st.lists(st.sampled_from(["finding: Edema", "finding: no Mass", "sex", "age group", "copy"]), min_size=1).map(
            lambda failed: {"failed": failed, "scores": dict.fromkeys((*failed, "quality: anatomy"), 0.5)}
        ),
        st.just({"error": "flat"}),
    ),
    max_size=4,
)
rows = st.lists(st.tuples(st.sampled_from(CELLS), refusals, st.booleans()), max_size=20)


@given(rows)
def test_every_row_and_every_image_is_counted_once(rows: list) -> None:
    records = tuple({"cell": cell, "rejected": rejected, "scores": SCORES} for cell, rejected, lost in rows if not lost)
    missing = tuple({"cell": cell, "rejected": rejected} for cell, rejected, lost in rows if lost)
    quota = Counter(cell for cell, _, _ in rows)
    cells = count_cells([Entry(0, "", "", 0, records, missing)], quota)
    counts = total(cells)
    images = [rejection for _, rejected, _ in rows for rejection in rejected]
    assert counts[WANTED] == counts[FINAL] + counts[MISSING] == len(rows)
    assert counts[TRIED] == len(records) + len(images)
    assert judged(counts) == counts[TRIED] - sum("error" in each for each in images)
    assert counts[FIRST] == sum(not record["rejected"] for record in records) <= counts[FINAL]
    assert counts[FINAL] <= judged(counts)
    for gate in ("finding", "sex", "age", "copy"):  # several failings of one gate are one refusal by it
        refused = [each for each in images if any(name.startswith(gate) for name in each.get("failed", ()))]
        met = [each for each in (*images, *records) if any(name.startswith(gate) for name in each.get("scores", ()))]
        assert gates_of(counts).get(gate, (0, 0)) == (len(refused), len(met))
    for values in by_value(cells).values():  # each attribute divides the whole set
        assert +sum(values.values(), Counter()) == +counts


def test_a_set_read_from_its_folder_counts_as_the_one_in_memory(tmp_path: Path) -> None:
    entries = toy_set(tmp_path / "toy", missing=(4, 17))
    assert count_cells(Entries(tmp_path / "toy"), toy_quota()) == count_cells(entries, toy_quota())
    assert total(count_cells(entries, toy_quota()))[BROKEN] > 0


def test_cells_keep_the_order_of_the_plan_and_one_without_images_stays(tmp_path: Path) -> None:
    entries = toy_set(tmp_path / "toy", missing=(0, 12, 24))
    cells = count_cells(entries, toy_quota())
    assert list(cells) == list(CELLS)
    assert cells[CELLS[0]][FINAL] == 0 < cells[CELLS[0]][WANTED]


def test_images_that_nobody_planned_show(tmp_path: Path) -> None:
    entries = toy_set(tmp_path / "toy")
    cells = count_cells(entries, dict(list(toy_quota().items())[1:]))
    assert cells[CELLS[0]][FINAL] > cells[CELLS[0]][WANTED] == 0
