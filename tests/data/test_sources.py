"""The table of sources agrees with the cards that travel with the weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from gen.core.bundled import BUNDLED, bundled_anatomy, bundled_suppressor
from gen.data.sources import COMPLETE, NIH, SOURCES

# These learnt from no radiograph; test_card.py in tests/augment/anatomy and tests/augment/suppress look at their CTs.
OF_CTS = {bundled_anatomy() / "README.md", bundled_suppressor() / "README.md"}
CARDS = sorted(set(BUNDLED.glob("*/README.md")) - OF_CTS)


@pytest.mark.parametrize("card", CARDS, ids=lambda path: path.parent.name)
def test_every_card_of_bundled_weights_names_licence_and_citation_of_what_they_learnt_from(card: Path) -> None:
    text = card.read_text(encoding="utf-8")
    for key, source in SOURCES.items():
        assert key in text or source.name in text
        assert source.licence.partition(";")[0] in text
        assert source.citation.partition(";")[0] in text


def test_only_the_source_that_names_all_it_has_makes_what_it_does_not_name_absent() -> None:
    assert COMPLETE == (NIH,)
