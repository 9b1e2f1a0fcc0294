"""Names of structures become names of files: always safe, never two for one file, and the same each time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drr.ct.names import read_names, safe_name
from gen.core.errors import BadInput


@given(st.text(max_size=150))
def test_a_safe_name_is_a_file_of_its_folder_and_its_own_safe_form(text: str) -> None:
    try:
        name = safe_name(text)
    except BadInput:
        assert not text.strip() or len(text.encode(errors="replace")) > 30
        return
    assert 0 < len(name) <= len(name.encode()) <= 100
    assert name.isprintable()
    assert not set(name) & set('/\\:*?"<>|')
    assert not name.startswith((".", " "))
    assert safe_name(name) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("lung upper lobe left", "lung upper lobe left"),
        ("Nodule/Mass", "Nodule_Mass"),
        ("../../etc/passwd", "___.._etc_passwd"),
        (r"C:\lung", "C__lung"),
        (".hidden", "_hidden"),
        ("a\0b\nc\x7f", "a_b_c_"),
        ("\ud800", "_"),
        ("Lunge rechts, Größe 1.5", "Lunge rechts, Größe 1.5"),
        ("u\u0308", "ü"),
    ],
)
def test_what_is_unsafe_becomes_an_underscore_and_the_rest_stays(text: str, name: str) -> None:
    assert safe_name(text) == name


@pytest.mark.parametrize("text", ["", "  ", "\n", "x" * 101, "肺" * 34])
def test_a_name_that_no_file_can_have_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"a name is empty|bytes long"):
        safe_name(text)


@pytest.mark.parametrize("names", [("Lung", "lung"), ("a/b", "a_b"), ("STRASSE", "straße"), ("ü", "u\u0308")])
def test_two_names_that_would_be_one_file_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    (tmp_path / "names.json").write_text(json.dumps({"1": names[0], "2": names[1]}))
    with pytest.raises(BadInput, match=r"two ids have the same name: 1 .* and 2 "):
        read_names(tmp_path / "names.json")


def test_a_table_is_read_with_safe_names(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("id,name\n0,\n1,heart/left\n2,.lung\n")
    assert read_names(tmp_path / "names.csv") == {1: "heart_left", 2: "_lung"}
