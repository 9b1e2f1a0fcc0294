"""A caption says its Study, whole, in whatever words; a manifest row gives its Study."""

from __future__ import annotations

import random

from hypothesis import example, given
from hypothesis import strategies as st

from gen.data.captions import CANONICAL_SHARE, write_caption
from gen.language.prompt import read_prompt
from gen.language.render import render
from gen.language.study import Finding, Study

from ..language.strategies import studies

SICK = Study(63, None, "F", None, "AP", None, {"Edema": Finding(), "Pneumothorax": Finding("absent")})


@given(studies(), st.integers(0, 2**32))
@example(Study(), 0)
def test_a_caption_reads_back_to_its_study(study, seed):
    reading = read_prompt(write_caption(study, random.Random(seed)))
    assert reading.study == study
    # The wording raises no doubt; only the facts themselves may ("no lung opacity" beside a consolidation).
    assert all("a kind of it" in warning for warning in reading.warnings)


@given(studies(), st.integers(0, 2**32))
def test_the_same_draw_gives_the_same_caption(study, seed):
    assert write_caption(study, random.Random(seed)) == write_caption(study, random.Random(seed))


def test_captions_vary_and_most_are_canonical():
    rng = random.Random(0)
    captions = [write_caption(SICK, rng) for _ in range(2000)]
    assert CANONICAL_SHARE - 0.05 < captions.count(render(SICK)) / len(captions) < CANONICAL_SHARE + 0.05
    assert len(set(captions)) > 0.5 * (1 - CANONICAL_SHARE) * len(captions)
