"""A tokenizer of our own that any reader of CLIP folders takes, and that knows every byte."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from gen.core.manifest import Row
from gen.data.texts import Texts
from gen.language.study import Finding, Study
from gen.language.tokens import CLIP_LENGTH
from gen.model.training.tokenizer import caption_corpus, save_for_older_readers, train_tokenizer

STUDY = Study(age=63, sex="F", view="AP", findings={"Pleural Effusion": Finding("present", "right", "moderate")})


def texts() -> Texts:
    row = Row(file=Path("a.png"), source="toy", extra={"sharpness": "high", "contrast": "low"})
    return Texts([row], [STUDY], "study", 0.1, 0.1)


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return train_tokenizer(caption_corpus(texts(), 0), 1200)


def test_the_corpus_is_the_same_for_the_same_seed_and_says_every_term() -> None:
    first, again = (list(caption_corpus(texts(), 3)) for _ in range(2))
    assert first == again
    assert first != list(caption_corpus(texts(), 4))
    text = " ".join(first).lower()
    for word in ("pneumocystis", "lateral", "bilateral", "severe", "upper", "supine", "picc line", "120 year old"):
        assert word in text


def test_two_trainings_give_the_same_tokens(tokenizer: CLIPTokenizer) -> None:
    for _ in range(3):
        again = train_tokenizer(caption_corpus(texts(), 0), 1200)
        assert again.get_vocab() == tokenizer.get_vocab()
        assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_the_vocabulary_stays_within_its_bound_and_the_marks_are_clips(tokenizer: CLIPTokenizer) -> None:
    assert len(tokenizer) <= 1200
    assert tokenizer.model_max_length == CLIP_LENGTH
    ids = tokenizer("pleural effusion").input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id == tokenizer.pad_token_id


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), min_size=1))
def test_any_text_is_read_without_unknowns(tokenizer: CLIPTokenizer, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert tokenizer.unk_token_id not in ids or "<|" in text


def test_a_long_prompt_of_our_language_fits(tokenizer: CLIPTokenizer) -> None:
    from gen.language.render import render

    study = Study(
        age=63,
        sex="F",
        view="AP",
        position="supine",
        findings={
            "Pleural Effusion": Finding("present", "right", "moderate"),
            "Pneumothorax": Finding("absent"),
            "Cardiomegaly": Finding("uncertain"),
        },
    )
    assert len(tokenizer(render(study)).input_ids) < CLIP_LENGTH


def test_older_readers_count_the_same_tokens(tokenizer: CLIPTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    save_for_older_readers(tmp_path)
    vocabulary = json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8"))
    merges = (tmp_path / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]
    older = CLIPTokenizer(vocabulary, [tuple(merge.split()) for merge in merges])
    for text in itertools.islice(caption_corpus(texts(), 1), 50):
        assert older(text).input_ids == tokenizer(text).input_ids
