"""The plots of reports, as SVG: figures with their intervals in rows and on lines, distances with a threshold.

Colours are Okabe and Ito's (2008), told apart by the colour-blind; each series has a marker or a line style of its own.
Equal numbers give equal bytes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

STYLES = (  # colour, marker, line: synthetic, real, and one more
    ("#D55E00", "o", "-"),
    ("#0072B2", "s", "--"),
    ("#555555", "^", ":"),
)
_MARKERS = "os^vD<>PX*"  # of more series than there are styles
_BESIDE = 1.025  # how far a series stands from the next on a logarithmic axis
WIDTH = 6.4  # inches; the page scales a plot to its column
_LONG = 30  # letters of a label

Numbers = Mapping[str, Any]  # of a Figure: value, low, high (None where unknown) and n


def dots(
    groups: Mapping[str, Mapping[str, Numbers]], series: Sequence[str], label: str, mark: float | None = None
) -> str:
    """Each group's figures as dots with intervals on one axis, a row a group; ``mark`` is a value to draw a line at.

    ``groups`` maps a group to its figures by ``series``; those that are unknown are left out.
    """
    with _style():
        axes, canvas = _axes(0.7 + 0.34 * max(1, len(groups)))
        places = np.arange(len(groups))[::-1]
        for k, name in enumerate(series):
            colour, marker, _ = STYLES[k % len(STYLES)]
            for place, figures in zip(places, groups.values(), strict=True):
                found = figures.get(name)
                if found is None or found["value"] is None:
                    continue
                height = place + 0.16 * ((len(series) - 1) / 2 - k)
                if found["low"] is not None and found["high"] is not None:
                    axes.plot([found["low"], found["high"]], [height] * 2, color=colour, linewidth=1.6)
                axes.plot([found["value"]], [height], marker, color=colour, markersize=5)
            axes.plot([], [], marker + "-", color=colour, label=name)
        if mark is not None:
            axes.axvline(mark, color="#999999", linewidth=0.8)
        axes.set_yticks(places, [_short(name) for name in groups])
        axes.set_ylim(-0.6, len(groups) - 0.4)
        axes.set_xlabel(label)
        axes.grid(axis="x", color="#dddddd", linewidth=0.5)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(series), frameon=False)
        return canvas()


def distances(series: Mapping[str, Sequence[float]], label: str, threshold: float | None) -> str:
    """The cumulative share of each series' distances, on a logarithmic axis of shares: the near end is what matters."""
    with _style():
        axes, canvas = _axes(2.7)
        fewest = 1.0
        for k, (name, values) in enumerate(series.items()):
            colour, _, line = STYLES[k % len(STYLES)]
            ordered = np.sort(np.asarray(values, np.float64))
            if not len(ordered):
                continue
            fewest = min(fewest, 1 / len(ordered))
            shares = np.arange(1, len(ordered) + 1) / len(ordered)
            axes.step(ordered, shares, where="post", color=colour, linestyle=line, label=f"{name} (N = {len(ordered)})")
        if threshold is not None and math.isfinite(threshold):
            axes.axvline(threshold, color="#999999", linewidth=0.8)
            axes.annotate(
                "too near", (threshold, 1), (-4, -10), textcoords="offset points", ha="right", color="#555555"
            )
        axes.set_yscale("log")
        axes.set_ylim(fewest / 1.5, 1.2)
        axes.set_xlabel(label)
        axes.set_ylabel("share of images nearer")
        axes.legend(loc="lower right", frameon=False)
        return canvas()


def curves(
    series: Mapping[str, Sequence[tuple[float, Numbers]]],
    labels: tuple[str, str],
    *,
    logarithmic: bool = False,
    diagonal: bool = False,
) -> str:
    """Each of ``series`` as a line through its points (x, figure), with intervals; ``labels`` are those of x and y.

    logarithmic: the axis of x, with a tick at each x; series stand beside each other, so that intervals stay apart.
    diagonal: with the line y = x.
    """
    with _style():
        axes, canvas = _axes(3.4)
        for k, (name, points) in enumerate(series.items()):
            colour, marker, line = (
                STYLES[k % len(STYLES)] if len(series) <= len(STYLES) else (f"C{k}", _MARKERS[k % len(_MARKERS)], "-")
            )
            beside = _BESIDE ** (k - (len(series) - 1) / 2) if logarithmic else 1.0
            known = sorted(
                ((x * beside, figure) for x, figure in points if figure["value"] is not None),
                key=lambda point: point[0],
            )
            for x, figure in known:
                if figure["low"] is not None and figure["high"] is not None:
                    axes.plot([x, x], [figure["low"], figure["high"]], color=colour, linewidth=1.0, alpha=0.6)
            values = [figure["value"] for _, figure in known]
            axes.plot([x for x, _ in known], values, marker, linestyle=line, color=colour, markersize=4, label=name)
        if diagonal:
            axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
        if logarithmic:
            axes.set_xscale("log")
            ticks = sorted({x for points in series.values() for x, _ in points})
            axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
            axes.set_xticks([], minor=True)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        axes.legend(frameon=False, fontsize=8)
        return canvas()


def _axes(height: float) -> tuple[Any, Any]:
    """Axes of a new figure of ``height`` inches, and the function that ends it as SVG text."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure((WIDTH, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)

    def text() -> str:
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
        drawn = stream.getvalue()
        return drawn[drawn.index("<svg") :]

    return axes, text


def _style() -> AbstractContextManager[None]:
    import matplotlib

    settings = {"font.size": 9, "svg.hashsalt": "cxr-gen", "svg.fonttype": "path", "axes.linewidth": 0.6}
    style: AbstractContextManager[None] = matplotlib.rc_context(settings)
    return style


def _short(text: str) -> str:
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"
