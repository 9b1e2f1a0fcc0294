"""Markdown pages are read and written by the same few rules."""

from __future__ import annotations

from string import Template

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen.core.markdown import Prose, section, table


@given(st.dictionaries(st.sampled_from(["Data", "Limits", "Data and more", "Lim"]), st.text("ab #|\n", max_size=20)))
def test_sections_of_a_page_are_found_by_their_whole_title(sections: dict[str, str]) -> None:
    bodies = {title: body.replace("#", "x") for title, body in sections.items()}
    page = "# top\n\n" + "".join(f"## {title}\n{body}\n" for title, body in bodies.items())
    for title in ("Data", "Limits"):
        assert section(page, title) == bodies.get(title, "").strip().splitlines()


def test_a_bar_in_a_cell_does_not_break_a_table() -> None:
    assert table(("a", "b"), [("x|y", "1")], right=(1,)) == "| a | b |\n|---|---:|\n| x\\|y | 1 |"


def test_a_value_that_is_empty_leaves_one_blank_line_and_one_that_is_lacking_is_an_error() -> None:
    prose = Prose({"page": Template("# $title\n\n$text\n\nend\n\n$more")})
    assert prose.fill("page", title="$x", text="", more="") == "# $x\n\nend"
    with pytest.raises(KeyError):
        prose.fill("page", title="a", text="b")
