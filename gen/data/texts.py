"""The captions of a split: fixed ones for scoring, varied ones drawn by seed for training."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from gen.core.errors import BadInput
from gen.core.manifest import Row
from gen.data.captions import write_caption
from gen.data.rows import study_of
from gen.language.prompt import read_prompt
from gen.language.render import render, with_style
from gen.language.study import Study

SOURCES = ("study", "prompt")


@dataclass(frozen=True)
class Texts:
    """Captions of ``rows``: written from their studies, or where ``source`` is "prompt" that column as it stands."""

    rows: Sequence[Row]
    studies: Sequence[Study]
    source: str
    caption_dropout: float
    fact_dropout: float
    style_dropout: float = 0.3  # of each word of a style

    def style(self, index: int) -> tuple[str, ...]:
        """Source, sharpness and contrast of image ``index`` in words, where `gen data prepare` measured them."""
        return style_of(self.rows[index])

    def fixed(self) -> list[str]:
        """One caption an image, complete, always the same: the canonical prompt, which is what sampling shows."""
        if self.source == "prompt":
            return [row.prompt for row in self.rows]
        return [with_style(render(study), style_of(row)) for study, row in zip(self.studies, self.rows, strict=True)]

    def styles(self) -> list[tuple[str, ...]]:
        """The `style` of every image."""
        return [style_of(row) for row in self.rows]

    def shown(self) -> tuple[list[Study], int]:
        """What the captions tell a model, and of how many images nobody can say, their prompts being unreadable."""
        if self.source != "prompt":
            return list(self.studies), 0
        studies = []
        for row in self.rows:
            with suppress(BadInput):
                studies.append(read_prompt(row.prompt).study)
        return studies, len(self.rows) - len(studies)

    def draw(self, index: int, seed: int) -> str:
        """The caption of image ``index`` that ``seed`` decides: wording and left-out facts, or none at all."""
        generator = random.Random(seed)
        if generator.random() < self.caption_dropout:
            return ""
        if self.source == "prompt":
            return self.rows[index].prompt
        study = self.studies[index]
        without_age, without_sex, without_view, without_findings = (
            generator.random() < self.fact_dropout for _ in range(4)
        )
        if without_age:
            study = replace(study, age=None)
        if without_sex:
            study = replace(study, sex=None)
        if without_view:
            study = replace(study, view=None, position=None)
        if without_findings:  # so that the look of a source that knows one finding only does not come to mean it
            study = replace(study, findings={}, devices=())
        text = write_caption(study, generator)
        return with_style(text, [word for word in self.style(index) if generator.random() >= self.style_dropout])


def style_of(row: Row) -> tuple[str, ...]:
    """What a prepared row says of its look: its source, its sharpness and its contrast; nothing for other rows."""
    measured = {name: row.extra.get(name, "").strip() for name in ("sharpness", "contrast")}
    if not all(measured.values()):
        return ()
    return (*([f"source {row.source}"] if row.source else []), *(f"{level} {name}" for name, level in measured.items()))


def texts_of(rows: Sequence[Row], source: str, caption_dropout: float, fact_dropout: float) -> Texts:
    """The captions of ``rows``; BadInput for an unknown source, or rows without a prompt where prompts are wanted."""
    if source not in SOURCES:
        raise BadInput(f"captions is {source!r}", hint=f"use {' or '.join(SOURCES)}")
    silent = [row.file_name for row in rows if not row.prompt]
    if source == "prompt" and silent:
        raise BadInput(
            f"captions=prompt, and {len(silent)} rows have no prompt, the first of them {silent[0]}",
            hint="fill the column prompt, or use captions=study to write captions from the labels",
        )
    return Texts(rows, [study_of(row) for row in rows], source, caption_dropout, fact_dropout)
