"""balance.png: the set before and after the gates beside its plan, and what each gate refused.

Drawn for the width of a phone, in Okabe and Ito's (2008) colours, with a marker of its own for each series.
Equal counts give equal bytes.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from augment.dataset.shards.counts import FINAL, FIRST, WANTED, Cells, by_value, gates_of, total
from gen.core.files import write_bytes

BALANCE = "balance.png"
WIDTH, DPI = 4.2, 200  # inches, and pixels an inch: letters stay legible where the picture is 360 px wide
ROW, GAP = 0.2, 0.62  # inches of a row, and around the axes of a panel
BEFORE, AFTER, QUOTA = ("#D55E00", "o"), ("#0072B2", "s"), "#555555"
LETTERS = 7.5  # points
_LONG = 26  # letters of a label


def write_balance(out: str | Path, cells: Cells, gates: Sequence[str] = ()) -> Path:
    """Draw ``out``/balance.png from the counts by cell (`counts.count_cells`), atomically; returns its path.

    "Before" are the rows whose first try passed: the set of who throws away what the gates refuse. "After" is the set
    as it is. ``gates`` are those that were on, for one that refused nothing is shown too.
    """
    stream = io.BytesIO()
    draw_balance(cells, gates).savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    path = Path(out) / BALANCE
    write_bytes(path, stream.getvalue())
    return path


def draw_balance(cells: Cells, gates: Sequence[str] = ()) -> Any:
    """The figure that `write_balance` saves: a panel an attribute, one for the cells and one for the gates."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    everything = total(cells)
    values = by_value(cells)
    refused = dict.fromkeys(gates, (0, 0)) | gates_of(everything)
    rows = [len(counts) for counts in values.values()] + [9, max(1, len(refused))]
    figure = Figure((WIDTH, 0.5 + sum(ROW * n + GAP for n in rows)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(rows), 1, height_ratios=[ROW * n + 0.1 for n in rows], squeeze=False)[:, 0]
    for axes, (attribute, counts) in zip(panels, values.items(), strict=False):
        _draw_values(axes, attribute, counts)
    _draw_cells(panels[-2], cells)
    _draw_gates(panels[-1], refused)
    figure.legend(
        _legend_handles(panels[0]),
        ["first tries that passed", "the finished set"],
        loc="outside upper center",
        ncols=2,
        frameon=False,
        fontsize=LETTERS,
        title_fontsize=LETTERS,
        title=f"{everything[FINAL]:,} images; {everything[WANTED]:,} planned",
    )
    return figure


def _draw_values(axes: Any, attribute: str, values: Mapping[str, Counter[str]]) -> None:
    """A row for each value: images before and after, as shares of the value's quota, with their numbers beside."""
    places = range(len(values))[::-1]
    for place, counts in zip(places, values.values(), strict=True):
        if not counts[WANTED]:
            continue
        before, after = _share(counts, FIRST), _share(counts, FINAL)
        axes.plot([before, after], [place, place], color="#bbbbbb", linewidth=1, zorder=1)
        axes.plot([before], [place], BEFORE[1], color=BEFORE[0], markersize=4.5, markerfacecolor="none")
        axes.plot([after], [place], AFTER[1], color=AFTER[0], markersize=3.5)
    numbers = axes.secondary_yaxis("right")
    numbers.set_yticks(places, [_numbers(counts) for counts in values.values()], fontsize=LETTERS - 1)
    numbers.tick_params(length=0)
    numbers.spines["right"].set_visible(False)
    axes.set_yticks(places, [_short(value) for value in values], fontsize=LETTERS)
    _finish(axes, f"{attribute}: images, % of the quota", len(values))


def _draw_cells(axes: Any, cells: Cells) -> None:
    """The cells that have a quota, each series sorted: how far the worst ones are from it."""
    planned = [counts for counts in cells.values() if counts[WANTED]]
    for series, (colour, _), line in ((FIRST, BEFORE, "--"), (FINAL, AFTER, "-")):
        shares = sorted(_share(counts, series) for counts in planned)
        axes.step(shares, [100 * (k + 1) / len(shares) for k in range(len(shares))], line, color=colour, where="post")
    axes.set_ylabel("% of cells\nat or below", fontsize=LETTERS)
    others = len(cells) - len(planned)
    beside = f" ({others:,} without one)" if others else ""
    _finish(axes, f"{len(planned):,} cells: images, % of the quota{beside}", None)
    axes.set_ylim(0, 104)


def _draw_gates(axes: Any, refused: Mapping[str, tuple[int, int]]) -> None:
    """The share of the images that each gate refused of those that it looked at."""
    places = range(len(refused))[::-1]
    for place, (count, n) in zip(places, refused.values(), strict=True):
        axes.plot([100 * count / max(n, 1)], [place], "D", color="#333333", markersize=4, clip_on=False)
    axes.set_yticks(places, list(refused))
    axes.set_xlim(left=0)
    axes.set_ylim(-0.6, max(1, len(refused)) - 0.4)
    axes.set_title(
        "refused by gate, % of the images that it looked at" if refused else "no gates", loc="left", fontsize=LETTERS
    )
    _tidy(axes)


def _finish(axes: Any, title: str, rows: int | None) -> None:
    axes.axvline(100, color=QUOTA, linewidth=0.8, linestyle=":", zorder=0)
    axes.set_xlim(0, max(105.0, axes.get_xlim()[1]))
    if rows is not None:
        axes.set_ylim(-0.6, rows - 0.4)
    axes.set_title(title, loc="left", fontsize=LETTERS)
    _tidy(axes)


def _tidy(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.5)
    axes.tick_params(labelsize=LETTERS)
    axes.tick_params(axis="y", length=0, pad=6)


def _legend_handles(axes: Any) -> tuple[Any, Any]:
    before = axes.plot([], [], BEFORE[1], color=BEFORE[0], markersize=4.5, markerfacecolor="none")[0]
    return before, axes.plot([], [], AFTER[1], color=AFTER[0], markersize=3.5)[0]


def _share(counts: Counter[str], series: str) -> float:
    """Per cent of the quota, which there is."""
    return 100 * counts[series] / counts[WANTED]


def _numbers(counts: Counter[str]) -> str:
    lacking = counts[WANTED] - counts[FINAL]
    return f"{counts[FIRST]:,} → {counts[FINAL]:,}" + (f" (−{lacking:,})" if lacking > 0 else "")


def _short(text: str) -> str:
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"
