"""Bone suppression taught by physics: the soft tissue and the bone of a radiograph, from pairs that `drr` renders.

`suppress_bone` is for arrays; `gen suppress` for files. For research use only, not for clinical use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from augment.suppress.separate import Separated, suppress_bone

__all__ = ["Separated", "suppress_bone"]


def __getattr__(name: str) -> Any:
    """What is public, loaded when it is asked for: torch takes seconds."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from augment.suppress import separate

    return getattr(separate, name)
