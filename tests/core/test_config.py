"""A config is what the YAML and the overrides say, or one line that names the file and the key."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen.core.config import load_config, number, to_dict, to_yaml
from gen.core.errors import BadInput


@dataclass(frozen=True)
class Optimizer:
    learning_rate: float = 1e-4
    widths: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Training:
    images: int
    data: str = "${oc.env:CXR_TEST_DATA,../shared/data}"
    init: Path | None = None
    attention: Literal["auto", "sdpa"] = "auto"
    name: str = "a b: c"
    optimizer: Optimizer = field(default_factory=Optimizer)


@dataclass(frozen=True)
class Picky:
    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise BadInput(f"share {self.share} is not in [0, 1]")


@dataclass(frozen=True)
class Inner:
    images_per_patient: int = 4


@dataclass(frozen=True)
class Renamed(Inner):
    inner: Inner = field(default_factory=Inner)


@pytest.fixture
def yaml(tmp_path: Path) -> Path:
    path = tmp_path / "toy.yaml"
    path.write_text("images: 8\noptimizer:\n  learning_rate: 1e-3\n  widths: [3, 4]\n")
    return path


def test_defaults_file_and_overrides_win_in_that_order(yaml: Path) -> None:
    config = load_config(Training, yaml, ["optimizer.learning_rate=5e-4", "init=models/base", "attention=sdpa"])
    assert config == Training(8, "../shared/data", Path("models/base"), "sdpa", optimizer=Optimizer(5e-4, (3, 4)))
    assert load_config(Training, None, ["images=1"]) == Training(1, "../shared/data")


def test_the_environment_is_read_where_the_config_says_so(yaml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_TEST_DATA", "/elsewhere")
    assert load_config(Training, yaml).data == "/elsewhere"
    yaml.write_text('images: 8\nname: "${data}/x"\n')
    assert load_config(Training, yaml).name == "/elsewhere/x"


@given(
    images=st.integers(-(2**63), 2**63),
    rate=st.floats(allow_nan=False, allow_infinity=False),
    widths=st.lists(st.integers(0, 10), max_size=4),
    name=st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp"), exclude_characters="${}\\")),
    init=st.none() | st.just(Path("a/b.c")),
)
def test_yaml_of_a_config_reads_back_to_an_equal_config(
    tmp_path_factory: pytest.TempPathFactory, images: int, rate: float, widths: list[int], name: str, init: Path | None
) -> None:
    config = Training(images, "d", init, "sdpa", name, Optimizer(rate, tuple(widths)))
    path = tmp_path_factory.mktemp("configs") / "c.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert load_config(Training, path) == config


def test_a_config_as_dict_is_plain(yaml: Path) -> None:
    config = load_config(Training, yaml, ["init=a"])
    assert to_dict(config) == {
        "images": 8,
        "data": "../shared/data",
        "init": "a",
        "attention": "auto",
        "name": "a b: c",
        "optimizer": {"learning_rate": 1e-3, "widths": [3, 4]},
    }


@pytest.mark.parametrize(
    ("override", "culprit"),
    [
        ("optimizer.learning_rat=1", r"optimizer\.learning_rat.*[Dd]id you mean.*learning_rate"),
        ("imagse=1", r"imagse.*[Dd]id you mean.*images"),
        ("images=many", "images.*many"),
        ("images=1.5", "images"),
        ("images=", "images"),
        ("optimizer=3", "optimizer"),
        ("optimizer.widths=[x]", "widths"),
        ("attention=flash", "attention.*flash"),
        ("name=${nowhere}", "nowhere"),
        ("images", "images.*key=value"),
        ("=1", "key=value"),
        ("images=[", r"images=\["),
    ],
)
def test_a_wrong_override_is_named_with_its_key(yaml: Path, override: str, culprit: str) -> None:
    with pytest.raises(BadInput, match=culprit) as caught:
        load_config(Training, yaml, [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "culprit"),
    [
        ("images: 8\noptimizer: {learning_rte: 1}", "learning_rte"),
        ("images: 8\noptimizer: 5", "optimizer"),
        ("images: eight", "images.*eight"),
        ("name: x", "images"),
        ("images: 8\nimages: 9", "images"),
        ("images: [8", "YAML"),
        ("- images", "list"),
        ("images: 8\n\x00", "YAML"),
        ("3: 4", "3"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(yaml: Path, text: str, culprit: str) -> None:
    yaml.write_text(text)
    with pytest.raises(BadInput, match=culprit) as caught:
        load_config(Training, yaml)
    assert str(yaml) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("override", ["films_per_patient=2", "inner.films_per_patient=2"])
def test_the_old_name_of_a_key_is_refused_with_its_new_one(override: str) -> None:
    with pytest.raises(BadInput, match="films_per_patient' is now called 'images_per_patient'"):
        load_config(Renamed, None, [override])


def test_a_renamed_key_is_not_offered_where_the_new_one_is_unknown_too() -> None:
    with pytest.raises(BadInput) as refusal:
        load_config(Training, None, ["films_per_patient=4"])
    assert "now called" not in str(refusal.value)


def test_a_missing_file_a_folder_and_bytes_are_named(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xfa")
    for name in ("missing.yaml", ".", "bytes.yaml"):
        with pytest.raises(BadInput) as caught:
            load_config(Training, tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def test_what_the_config_itself_refuses_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"share 2\.0 is not in \[0, 1\]"):
        load_config(Picky, None, ["share=2"])


@dataclass(frozen=True)
class Shape:
    width: float = number(1.0, above=0)
    depth: float = number(1.0, least=0)


@dataclass(frozen=True)
class Ranges:
    decay: float = number(0.5, below=1)
    part: float = number(0.5, above=0, share=True)
    limit: float | None = number(None, above=2)
    shape: Shape = field(default_factory=Shape)


@dataclass(frozen=True)
class Narrower(Ranges):
    part: float = number(0.25, share=True)


@pytest.mark.parametrize(
    ("key", "holds", "hint"),
    [
        ("shape.width", lambda value: value > 0, "it must be above 0"),
        ("shape.depth", lambda value: value >= 0, "it must be 0 or more"),
        ("decay", lambda value: 0 <= value < 1, "it must be 0 or more, and less than 1"),
        ("part", lambda value: 0 < value <= 1, "it must be"),
        ("limit", lambda value: value > 2, "it must be above 2"),
    ],
)
@given(value=st.integers(-2, 4) | st.floats(-1, 3) | st.sampled_from([0, 1, 2, float("nan"), float("inf")]))
def test_a_number_out_of_its_range_is_refused_by_its_dotted_key(
    key: str, holds: Callable[[float], bool], hint: str, value: float
) -> None:
    if holds(value) and value < float("inf"):
        load_config(Ranges, None, [f"{key}={value}"])
    else:
        spelt = {"nan": ".nan", "inf": ".inf"}.get(str(value), str(value))
        with pytest.raises(BadInput, match=rf"^{re.escape(key)} is {re.escape(str(value))}(\.0)?; {hint}"):
            load_config(Ranges, None, [f"{key}={spelt}"])


def test_each_condition_has_its_own_hint_and_a_subclass_its_own_range() -> None:
    with pytest.raises(BadInput, match=r"part is 0\.0; it must be above 0"):
        load_config(Ranges, None, ["part=0"])
    with pytest.raises(BadInput, match=r"part is 2\.0; it must be from 0 to 1"):
        load_config(Ranges, None, ["part=2"])
    assert load_config(Narrower, None, ["part=0"]).part == 0
    assert load_config(Narrower, None).part == 0.25
