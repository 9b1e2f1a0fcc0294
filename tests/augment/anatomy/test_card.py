"""The bundled anatomy network and its card: what it learnt from, under which licences, and how well it reads."""

from __future__ import annotations

from drr.ct.collections import collection_of
from gen.anatomy.folder import UNET, WEIGHTS
from gen.core.bundled import bundled_anatomy
from gen.core.files import read_json, verify_folder
from gen.core.markdown import section
from gen.data.sources import SOURCES


def test_the_bundled_network_is_whole_and_small() -> None:
    assert not verify_folder(bundled_anatomy())
    assert (bundled_anatomy() / UNET / WEIGHTS).stat().st_size < 2_100_000


def test_its_card_names_licence_and_citation_of_every_source() -> None:
    card = (bundled_anatomy() / "README.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in section(card, "What it learnt from") if line.startswith("| ")]
    assert len(rows) > 5
    of_radiographs = {source.name: source for source in SOURCES.values()}
    for name, licence, cite in rows[1:]:
        source = collection_of(name) or of_radiographs.get(name)
        assert source is not None, name
        assert licence.startswith(source.licence)
        assert cite == source.citation


def test_its_card_says_what_was_measured() -> None:
    card = (bundled_anatomy() / "README.md").read_text(encoding="utf-8")
    for table in read_json(bundled_anatomy() / "figures.json")["dice"].values():
        for group in table.values():
            for figure in group.values():
                assert figure["value"] is None or f"{figure['value']:.3f}" in card
