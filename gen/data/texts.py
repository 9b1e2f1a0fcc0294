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
from gen.language.render import render
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

    def fixed(self) -> list[str]:
        """One caption an image, complete, always the same: the canonical prompt, which is what sampling shows."""
        if self.source == "prompt":
            return [row.prompt for row in self.rows]
        return [render(study) for study in self.studies]

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
        return write_caption(study, generator)


def texts_of(rows: Sequence[Row], source: str, caption_dropout: float, fact_dropout: float) -> Texts:
    """The captions of ``rows``; BadInput for an unknown source, or rows without a prompt where prompts are wanted."""
    if source not in SOURCES:
        raise BadInput(f"captions is {source!r}", hint=f"use {' or '.join(SOURCES)}")
    silent = [row.file_name for row in rows if not row.prompt]
    if source == "prompt" and silent:
        raise BadInput(f"captions=prompt, and {len(silent)} rows have no prompt, the first of them {silent[0]}")
    return Texts(rows, [study_of(row) for row in rows], source, caption_dropout, fact_dropout)
