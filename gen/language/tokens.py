"""Counting tokens as a tokenizer's folder says, without importing transformers where that can be avoided."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

from gen.core.errors import BadInput

CLIP_LENGTH = 77  # tokens, of every CLIP text encoder; a tokenizer that names no length, or a huge one, has this too


@functools.cache
def token_counter(part: Path) -> tuple[Callable[[str], int], int]:
    """A function that counts the tokens of a text, start and end marks included, and how many the model reads."""
    path = part / "tokenizer_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        limit = min(int(config.get("model_max_length", CLIP_LENGTH)), CLIP_LENGTH)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"{path} cannot be read: {error}") from error
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
