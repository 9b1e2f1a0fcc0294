"""The generator: chest radiographs from words. It imports ``gen.core`` and third parties, no ``drr`` or ``augment``."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["bundled_model", "load_pipeline", "sample"]

_SAMPLING = "gen.model.sampling.pipeline"
_HOMES = {"bundled_model": "gen.core.bundled", "load_pipeline": _SAMPLING, "sample": _SAMPLING}


def __getattr__(name: str) -> Any:
    """A public name, from where it lives: only who asks for one waits for what that imports."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
