"""The parts that a report's page is put together from: one HTML file that needs nothing but itself.

Pure functions: no clock, no files.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_STYLE = """
:root{color-scheme:light}
body{font:16px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff;margin:0 auto;max-width:60rem;padding:0 1rem 3rem}
h1{font-size:1.5rem} h2{font-size:1.25rem;margin-top:2.5rem;border-bottom:1px solid #ccc} h3{font-size:1rem}
.verdict{border-left:.4rem solid #0072B2;background:#f2f7fb;padding:.6rem 1rem}
.verdict p{margin:.3rem 0} .verdict strong{font-size:1.15rem}
.warn{border-left:.4rem solid #E69F00;background:#fdf6e7;padding:.1rem 1rem;margin-top:1rem}
.note{color:#555;font-size:.9rem} .scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .7rem;text-align:left;border-bottom:1px solid #ddd;vertical-align:top} td{white-space:nowrap}
th{background:#f4f4f4} img.plot{width:40rem;max-width:100%;height:auto}
.sheet{display:flex;flex-wrap:wrap;gap:.8rem} .sheet figure{margin:0;width:17rem;max-width:100%}
.sheet img{width:8.3rem;max-width:49%} figcaption{font-size:.8rem;color:#333;overflow-wrap:anywhere}
"""


def page(title: str, parts: Sequence[str]) -> str:
    """The page of ``parts``, which are HTML, under its ``title``; empty ones are left out."""
    head = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{text(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body>"
    )
    whole = (head, f"<h1>{text(title)}</h1>", *parts, "</body></html>")
    return "\n".join(part for part in whole if part) + "\n"


def verdict_box(lines: Sequence[str]) -> str:
    """The lines of a verdict, the first of them large."""
    first, *others = map(text, lines)
    return f'<div class="verdict"><p><strong>{first}</strong></p>{"".join(f"<p>{line}</p>" for line in others)}</div>'


def warning_box(lines: Sequence[str]) -> str:
    """The warnings in a box; nothing of no lines."""
    return f'<div class="warn"><h3>Warnings</h3>{bullets(lines)}</div>' if lines else ""


def image(pixels_u8: np.ndarray, words: str) -> str:
    """uint8 ``pixels_u8`` (H, W) as an image inside the page."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels_u8).save(stream, "JPEG", quality=85)
    return f'<img alt="{words}" title="{words}" src="data:image/jpeg;base64,{_encoded(stream.getvalue())}">'


def plot(svg: str, words: str) -> str:
    """A drawing of `gen.evaluate.charts`; ``words`` are read to those who do not see it."""
    source = f"data:image/svg+xml;base64,{_encoded(svg.encode())}"
    return f'<p><img class="plot" alt="{text(words)}" src="{source}"></p>'


def html_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table of ``rows`` under ``header``."""
    head = "".join(f"<th>{text(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{text(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def bullets(lines: Sequence[str]) -> str:
    """A list; nothing of no lines."""
    return "<ul>" + "".join(f"<li>{text(line)}</li>" for line in lines) + "</ul>" if lines else ""


def text(words: str) -> str:
    """``words`` as they are, whatever is in them."""
    return html.escape(words)


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
