"""Tokens are counted as the model's own tokenizer counts them, without transformers where that can be."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gen.core import bundled
from gen.core.bundled import bundled_model
from gen.core.errors import BadInput
from gen.language.tokens import CLIP_LENGTH, token_counter, token_limit

TEXTS = ("", "Pneumonia.", "63 year old female. AP view. Moderate right pleural effusion.", "ü 漢 " * 100)


@pytest.fixture
def tokenizer(toy_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(toy_model / "tokenizer", tmp_path / "tokenizer")


@pytest.mark.parametrize("older", [False, True], ids=["tokenizer.json", "vocab.json and merges.txt"])
def test_the_count_is_that_of_the_models_tokenizer_marks_included_and_uncut(tokenizer: Path, older: bool) -> None:
    from transformers import CLIPTokenizer

    whole = CLIPTokenizer.from_pretrained(tokenizer)
    if older:
        (tokenizer / "tokenizer.json").unlink()
    count, limit = token_counter(tokenizer)
    assert limit == 77
    for text in TEXTS:
        assert count(text) == len(whole(text).input_ids)


@pytest.mark.parametrize(("told", "limit"), [(20, 20), (10**30, 77), (None, 77)])
def test_the_limit_is_what_the_config_says_and_never_beyond_clips(
    tokenizer: Path, told: int | None, limit: int
) -> None:
    config = json.loads((tokenizer / "tokenizer_config.json").read_text())
    config.pop("model_max_length")
    (tokenizer / "tokenizer_config.json").write_text(
        json.dumps(config | ({} if told is None else {"model_max_length": told}))
    )
    assert token_counter(tokenizer)[1] == limit


@pytest.mark.parametrize(
    ("told", "positions", "limit"), [(77, 77, 77), (248, 248, 248), (None, 248, 248), (77, 248, 77), (None, None, 77)]
)
def test_the_limit_is_that_of_the_text_encoder_beside_the_tokenizer(
    tmp_path: Path, told: int | None, positions: int | None, limit: int
) -> None:
    for part, name, key, value in (
        ("tokenizer", "tokenizer_config.json", "model_max_length", told),
        ("text_encoder", "config.json", "max_position_embeddings", positions),
    ):
        (tmp_path / part).mkdir()
        (tmp_path / part / name).write_text(json.dumps({} if value is None else {key: value}))
    assert token_limit(tmp_path / "tokenizer") == limit
    assert CLIP_LENGTH == 77


def test_prompt_and_sample_take_the_same_bundled_model(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gen.language.cli import _bundled_counter

    monkeypatch.setattr(bundled, "BUNDLED", tmp_path / "bundled")
    with pytest.raises(BadInput, match="no bundled model in this installation; name a model folder with --model"):
        bundled_model()
    assert _bundled_counter() == (None, 0, ())
    for name, length in (("a", 20), ("b", 30)):
        part = shutil.copytree(tokenizer, tmp_path / "bundled" / name / "tokenizer")
        (part / "tokenizer_config.json").write_text(json.dumps({"model_max_length": length}))
        (part.parent / "model_index.json").write_text("{}")
    assert bundled_model() == tmp_path / "bundled" / "b"
    assert _bundled_counter()[1] == 30


def test_counting_imports_neither_torch_nor_transformers(tokenizer: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from gen.language.tokens import token_counter\n"
        "token_counter(Path(sys.argv[1]))[0]('a')\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tokenizer)], capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n"


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_broken_file_is_named(tokenizer: Path, name: str) -> None:
    (tokenizer / name).write_text("{")
    with pytest.raises(BadInput) as refusal:
        token_counter(tokenizer)
    assert str(tokenizer / name) in str(refusal.value)


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"holds neither tokenizer\.json nor vocab\.json and merges\.txt"):
        token_counter(tmp_path)
