"""A CLIP tokenizer of our own: byte-level BPE trained on our captions and on the whole vocabulary of prompts."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gen.core import terms
from gen.data.captions import write_caption
from gen.data.texts import Texts
from gen.language.render import render, with_style
from gen.language.study import MIDLINE, Finding, Study
from gen.language.tokens import CLIP_LENGTH

if TYPE_CHECKING:
    from transformers import CLIPTokenizer


def caption_corpus(texts: Texts, seed: int, draws: int = 8) -> Iterator[str]:
    """Captions of ``texts`` in several wordings each, then one prompt for every word that a prompt can hold."""
    generator = random.Random(seed)
    for index, study in enumerate(texts.studies):
        for _ in range(draws):
            yield with_style(write_caption(study, generator), texts.style(index))
    for age in range(terms.OLDEST_YEARS + 1):
        yield render(Study(age=age, sex="F" if age % 2 else "M"))
    for name, state in itertools.product(terms.FINDINGS, terms.STATES):
        if name == "No Finding" and state == "uncertain":
            continue  # a chest is normal or not
        yield render(Study(findings={name: Finding(state)}))
        if name in MIDLINE or name == "No Finding":
            continue
        for severity, side, zone in itertools.product(terms.SEVERITIES, terms.SIDES, terms.ZONES):
            yield render(Study(findings={name: Finding(state, side, None if state == "absent" else severity, zone)}))
    for device, race, view, position in itertools.product(terms.DEVICES, terms.RACES, terms.VIEWS, terms.POSITIONS):
        yield render(Study(devices=(device,), race=race, view=view, position=position))


def train_tokenizer(captions: Iterator[str], vocabulary: int, length: int = CLIP_LENGTH) -> CLIPTokenizer:
    """A `CLIPTokenizer` of about ``vocabulary`` tokens at most (bytes included); it reads any text without unknowns.

    Texts are cut to ``length`` tokens.
    """
    from tokenizers import pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    # Every character that may end a word is named here: the trainer would learn only those that the captions end words
    # with, and number them in the order of a hash table, so that no two trainings gave the same tokens.
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|startoftext|>", "<|endoftext|>", *(f"{character}</w>" for character in alphabet)],
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    blank = CLIPTokenizer()
    blank.backend_tokenizer.train_from_iterator(captions, trainer)
    model = json.loads(blank.backend_tokenizer.to_str())["model"]
    return CLIPTokenizer(model["vocab"], [tuple(merge) for merge in model["merges"]], model_max_length=length)


def save_for_older_readers(folder: Path) -> None:
    """Write vocab.json and merges.txt beside tokenizer.json: transformers 5 saves the latter, others want these."""
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False), encoding="utf-8")
    merges = ["#version: 0.2", *(" ".join(merge) for merge in model["merges"])]
    (folder / "merges.txt").write_text("\n".join(merges) + "\n", encoding="utf-8")
