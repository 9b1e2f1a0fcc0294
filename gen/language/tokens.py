"""Counting tokens as a tokenizer's folder says, without importing transformers where that can be avoided."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

from gen.core.errors import BadInput


@functools.cache
def token_counter(part: Path) -> tuple[Callable[[str], int], int]:
    """A function that counts the tokens of a text, start and end marks included, and how many the model reads."""
    path = part / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    limit = min(int(config.get("model_max_length", 77)), 10_000)
    if (part / "tokenizer.json").is_file():
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_file(str(part / "tokenizer.json"))
        except Exception as error:  # tokenizers raises bare Exception
            raise BadInput(f"{part / 'tokenizer.json'} cannot be read: {error}") from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return lambda text: len(tokenizer.encode(text).ids), limit
    from transformers.models.clip.tokenization_clip import CLIPTokenizer

    older = CLIPTokenizer.from_pretrained(part, local_files_only=True)
    return lambda text: len(older(text).input_ids), limit
