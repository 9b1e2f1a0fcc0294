"""Counting tokens as a model folder says, without importing transformers where that can be avoided."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

from gen.core.errors import BadInput
from gen.core.files import read_json

CLIP_LENGTH = 77  # tokens that CLIP's text encoder reads; so does one that does not say


def token_limit(part: Path) -> int:
    """How many tokens the model of the tokenizer folder ``part`` reads, start and end marks included.

    The tokenizer's own length, where it names one, and never beyond the positions of the text encoder beside it.
    """
    positions = _number(part.parent / "text_encoder" / "config.json", "max_position_embeddings", CLIP_LENGTH)
    return min(_number(part / "tokenizer_config.json", "model_max_length", positions), positions)


@functools.cache
def token_counter(part: Path) -> tuple[Callable[[str], int], int]:
    """A function that counts the tokens of a text, start and end marks included, and how many the model reads."""
    limit = token_limit(part)
    if (part / "tokenizer.json").is_file():
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_file(str(part / "tokenizer.json"))
        except Exception as error:  # tokenizers raises bare Exception
            raise BadInput(f"{part / 'tokenizer.json'} cannot be read: {error}") from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return lambda text: len(tokenizer.encode(text).ids), limit
    if not (part / "vocab.json").is_file() or not (part / "merges.txt").is_file():
        raise BadInput(f"{part} holds neither tokenizer.json nor vocab.json and merges.txt")
    from transformers.models.clip.tokenization_clip import CLIPTokenizer

    try:
        older = CLIPTokenizer.from_pretrained(part, local_files_only=True)
    except Exception as error:  # each of its files has a reader of its own
        raise BadInput(f"{part} holds no tokenizer that can be read: {str(error)[:300]}") from error
    return lambda text: len(older(text).input_ids), limit


@functools.cache
def token_encoder(part: Path) -> Callable[[str], list[int]]:
    """A function from a text to token numbers as the model reads them: start and end marks, cut and filled to length.

    Needs ``tokenizer.json``. BadInput where it, or the token that fills a short text, cannot be read.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(part / "tokenizer.json"))
    except Exception as error:  # tokenizers raises bare Exception
        raise BadInput(f"{part / 'tokenizer.json'} cannot be read: {error}") from error
    told = read_json(part / "tokenizer_config.json").get("pad_token", "<|endoftext|>")
    fill = told["content"] if isinstance(told, dict) else str(told)
    if (number := tokenizer.token_to_id(fill)) is None:
        raise BadInput(f"{part}: the token {fill!r}, which fills short texts, is not in tokenizer.json")
    tokenizer.enable_truncation(token_limit(part))
    tokenizer.enable_padding(length=token_limit(part), pad_id=number, pad_token=fill)
    return lambda text: list(tokenizer.encode(text).ids)


def _number(path: Path, key: str, otherwise: int) -> int:
    """The whole number ``key`` of the JSON object in ``path``; ``otherwise`` without the file or the key."""
    try:
        config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return int(config.get(key, otherwise))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"{path} cannot be read: {error}") from error
