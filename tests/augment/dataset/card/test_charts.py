"""The picture of the balance: legible, and the same for the same counts."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image
from toy_set import toy_quota, toy_set

from augment.dataset.card.charts import DPI, WIDTH, draw_balance, write_balance
from augment.dataset.config import GATES
from augment.dataset.shards.counts import Cells, count_cells
from gen.core.terms import FINDINGS


def large_counts(a_cell: int, findings: int = 14) -> Cells:
    """Counts of a plan over four attributes, some cells far from their quota."""
    names = sorted(FINDINGS, key=len)[-findings:]  # the longest, which are the hard ones
    cells = {}
    for k, finding in enumerate(names):
        for sex in "FM":
            for age in ("18-39", "40-59", "60-79"):
                for view in ("PA", "AP"):
                    lost = a_cell // 3 if k == 0 else 0
                    first, tried = a_cell * (k + 1) // (findings + 2), 3 * a_cell
                    cells[f"sex={sex}|age={age}|view={view}|finding={finding}"] = Counter(
                        {"wanted": a_cell, "final": a_cell - lost, "missing": lost, "first": first, "tried": tried}
                        | {f"failed {gate}": a_cell * n // 7 for n, gate in enumerate(GATES)}
                    )
    return cells


@pytest.mark.parametrize("a_cell", [6, 5952])
def test_no_words_overlap_or_leave_the_picture(a_cell: int) -> None:
    figure = draw_balance(large_counts(a_cell), GATES)
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    words = figure.findobj(lambda artist: isinstance(artist, Text) and artist.get_visible() and artist.get_text())
    boxes = {text: text.get_window_extent(renderer) for text in words}
    assert len(boxes) > 50
    inside = figure.bbox
    for box in boxes.values():
        assert inside.x0 - 1 <= box.x0 <= box.x1 <= inside.x1 + 1
        assert inside.y0 - 1 <= box.y0 <= box.y1 <= inside.y1 + 1
    for (first, one), (second, other) in combinations(boxes.items(), 2):
        overlap = min(one.x1, other.x1) - max(one.x0, other.x0), min(one.y1, other.y1) - max(one.y0, other.y0)
        assert min(overlap) < 1, (first.get_text(), second.get_text())


def test_equal_counts_give_equal_bytes_and_other_counts_others(tmp_path: Path) -> None:
    cells = count_cells(toy_set(tmp_path / "toy"), toy_quota())
    drawn = write_balance(tmp_path, cells, GATES).read_bytes()
    assert write_balance(tmp_path, cells, GATES).read_bytes() == drawn
    fewer = count_cells(toy_set(tmp_path / "fewer", missing=(4,)), toy_quota())
    assert write_balance(tmp_path, fewer, GATES).read_bytes() != drawn


def test_it_has_the_width_of_a_phone_whatever_it_shows(tmp_path: Path) -> None:
    for cells in (large_counts(5), {"sex=F": Counter({"wanted": 3})}, {"sex=F": Counter({"final": 2})}):
        with Image.open(write_balance(tmp_path, cells)) as picture:
            assert picture.width == round(WIDTH * DPI)
            assert np.asarray(picture.convert("L")).min() < 128


def test_the_points_are_where_the_counts_say() -> None:
    counts = {"wanted": 40, "final": 30, "first": 10, "tried": 80, "met sex": 80, "failed sex": 20, "met age": 50}
    figure = draw_balance({"sex=F": Counter(counts), "sex=M": Counter({"wanted": 40, "final": 40, "first": 20})}, GATES)
    values, _, gates = figure.axes[:3]
    points = [(line.get_marker(), *line.get_xdata(), *line.get_ydata()) for line in values.lines]
    shown = [point for point in points if len(point) == 3 and point[0] in "os"]
    assert shown == [("o", 25, 1), ("s", 75, 1), ("o", 50, 0), ("s", 100, 0)]
    refused = {
        name.get_text(): line.get_xdata()[0] for name, line in zip(gates.get_yticklabels(), gates.lines, strict=True)
    }
    assert (refused["sex"], refused["age"], refused["copy"]) == (25, 0, 0)


@pytest.mark.parametrize("without", [0, 1, 7])
def test_cells_without_a_quota_are_counted_apart_and_not_as_filled(without: int) -> None:
    cells = {f"sex=F|age={k}": Counter({"wanted": 10, "final": 5}) for k in range(3)}
    cells |= {f"sex=M|age={k}": Counter({"wanted": 0}) for k in range(without)}
    axes = draw_balance(cells).axes[-2]
    assert axes.get_title(loc="left").startswith("3 cells")
    assert f"({without} without one)" in axes.get_title(loc="left") or not without
    finished = next(line for line in axes.lines if line.get_linestyle() == "-")
    assert list(finished.get_xdata()) == [50, 50, 50]
