"""From CT to radiograph by physics: a Volume in, a Projection out. It knows nothing of prompts or diffusion."""

from importlib import import_module
from typing import Any

__all__ = ["VIEWS", "load_scene", "make_phantom", "render", "technique_of"]

_HOMES = {
    "VIEWS": "drr.geometry",
    "load_scene": "drr.scene",
    "make_phantom": "drr.phantom.chest",
    "render": "drr.projection",
    "technique_of": "drr.physics.technique",
}


def __getattr__(name: str) -> Any:
    """A public name, from where it lives: only who asks for one waits for what that imports."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
