"""The bundled suppressor and its card: whose CTs it learnt from, and under which licences."""

from __future__ import annotations

import re

from augment.anatomy.collections import collection_of
from gen.core.bundled import bundled_suppressor
from gen.core.files import verify_folder


def test_the_bundled_suppressor_is_whole() -> None:
    assert not verify_folder(bundled_suppressor())


def test_its_card_names_licence_and_source_of_every_ct() -> None:
    card = (bundled_suppressor() / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-z][\w, -]+\d[\w, -]*) \| (.+) \| (CC BY [\d.]+) \| ", card, re.MULTILINE)
    assert len(rows) >= 6
    cited = ""
    for names, cite, licence in rows:
        cited = cited if cite == "the same" else cite
        collection = collection_of(cited.partition(":")[0])
        assert collection is not None, names
        assert licence == collection.licence
        doi = re.search(r"doi:(\S+\w)", collection.citation)
        assert doi is not None
        assert doi[1].casefold() in cited.casefold()
