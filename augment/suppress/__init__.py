"""Bone suppression taught by physics: the soft tissue and the bone of a radiograph, from pairs that `drr` renders.

`suppress_bone` is for arrays; `gen suppress` for files. For research use only, not for clinical use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = "augment.suppress.separate"
_PUBLIC = ("Separated", "suppress_bone")


def __getattr__(name: str) -> Any:
    """A public name, from where it lives: only who asks for one waits for torch."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME), name)
