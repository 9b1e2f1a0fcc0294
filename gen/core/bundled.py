"""What travels with the package: the folders of the bundled model, judge, anatomy network and canonical frame."""

from __future__ import annotations

from pathlib import Path

from gen.core.errors import BadInput

BUNDLED = Path(__file__).parent.parent / "bundled"


def bundled_model() -> Path:
    """The folder of the model that travels with the package, the last by name; BadInput where there is none."""
    return _last_with("model_index.json", "model", "name a model folder with --model")


def bundled_judge() -> Path:
    """The folder of the judge that travels with the package, the last by name; BadInput where there is none."""
    return _last_with("judge.json", "judge", "name a judge's folder")


def bundled_anatomy() -> Path:
    """The folder of the anatomy network that travels with the package; BadInput where there is none."""
    return _last_with("anatomy.json", "anatomy network", "name the folder of one")


def bundled_frame() -> Path:
    """The folder of the canonical frame that travels with the package; BadInput where there is none."""
    return _last_with("frame.npz", "frame", "learn one with --new-frame")


def _last_with(marker: str, what: str, hint: str) -> Path:
    if not (found := sorted(BUNDLED.glob(f"*/{marker}"))):
        raise BadInput(f"no bundled {what} in this installation", hint=hint)
    return found[-1].parent
