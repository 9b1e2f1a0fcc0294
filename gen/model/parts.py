"""Loading one stock part from its folder: whole or not at all, in float32, and without the libraries' chatter."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gen.core.errors import BadInput

_AGAIN = "copy the model again, whole"
_OLDER = ("vocab.json", "merges.txt")  # of a tokenizer, as transformers 4 saved it


@contextmanager
def quiet() -> Iterator[None]:
    """Let diffusers and transformers show errors only, and no bars of their own; afterwards they are as before.

    Also a decorator: ``@quiet()``.
    """
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    before = [(each, each.get_verbosity(), each.is_progress_bar_enabled()) for each in (of_diffusers, of_transformers)]
    for each, _, _ in before:
        each.set_verbosity_error()
        each.disable_progress_bar()
    try:
        with warnings.catch_warnings():  # what a solver's constructor does with numpy is not the user's business
            warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
            yield
    finally:
        for each, level, bars in before:
            each.set_verbosity(level)
            if bars:
                each.enable_progress_bar()


@quiet()
def load_part(kind: Any, part: Path, **options: Any) -> Any:
    """``kind.from_pretrained(part)`` without the network; BadInput that names ``part`` where it cannot be loaded."""
    try:
        return kind.from_pretrained(part, local_files_only=True, **options)
    except Exception as error:  # truncated safetensors, shapes that differ: each library has its own
        raise BadInput(f"{part} cannot be loaded: {str(error)[:300]}", hint=_AGAIN) from error


def load_tokenizer(part: Path) -> Any:
    """The `CLIPTokenizer` in ``part``; BadInput where its files are missing: the library would make an empty one."""
    if not (part / "tokenizer.json").is_file() and not all((part / name).is_file() for name in _OLDER):
        raise BadInput(f"{part} holds neither tokenizer.json nor {' and '.join(_OLDER)}", hint=_AGAIN)
    from transformers.models.clip.tokenization_clip import CLIPTokenizer

    return load_part(CLIPTokenizer, part)


@quiet()
def load_weights(kind: Any, part: Path) -> Any:
    """The model of class ``kind`` in ``part``, from safetensors, in float32 whatever it was saved in.

    BadInput also where tensors are missing: the libraries would fill them with random numbers and a remark.
    """
    model, report = load_part(kind, part, use_safetensors=True, output_loading_info=True)
    missing = sorted(report["missing_keys"])
    if missing:
        raise BadInput(f"{part} lacks {len(missing)} tensors, the first of them {missing[0]}", hint=_AGAIN)
    return model.float()
