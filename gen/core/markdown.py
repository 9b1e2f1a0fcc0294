"""Markdown pages: tables, sections, and prose that stands in template files instead of in code."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template

_BLOCK = re.compile(r"^<!-- block: (\w+) -->\n", re.MULTILINE)


@dataclass(frozen=True)
class Prose:
    """The blocks of a template file by name; ``$name`` in one stands for a value."""

    blocks: Mapping[str, Template]

    def fill(self, block: str, **values: object) -> str:
        """The text of ``block`` with ``values`` in it. What an empty value leaves is one blank line at most."""
        text = self.blocks[block].substitute(values)
        return re.sub(r"\n{3,}", "\n\n", text).strip()


@cache
def read_prose(package: str, name: str) -> Prose:
    """The template file ``templates/name`` of ``package``, whose blocks begin with lines ``<!-- block: NAME -->``."""
    text = (files(package) / "templates" / name).read_text(encoding="utf-8")
    _, *parts = _BLOCK.split(text)
    return Prose({block: Template(body.strip()) for block, body in zip(parts[::2], parts[1::2], strict=True)})


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[int] = ()) -> str:
    """A table; the columns ``right``, by number from 0, are set to the right."""
    rules = "|".join("---:" if k in right else "---" for k in range(len(columns)))
    escaped = [[text.replace("|", "\\|") for text in row] for row in (columns, *rows)]
    head, *lines = (f"| {' | '.join(row)} |" for row in escaped)
    return "\n".join([head, f"|{rules}|", *lines])


def section(page: str, title: str) -> list[str]:
    """The lines under the heading ``title`` of a page, up to the next; none where it has none."""
    _, _, rest = f"\n{page}".partition(f"\n## {title}\n")
    return rest.partition("\n## ")[0].strip().splitlines()
