"""What travels with the package: the folders of the bundled model, judge, anatomy network and canonical frame."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from gen.core.errors import BadInput

BUNDLED = Path(__file__).parent.parent / "bundled"


def _last_with(marker: str, what: str, hint: str) -> Path:
    """The folder that holds the file ``marker``, the last by name; BadInput where there is none."""
    if not (found := sorted(BUNDLED.glob(f"*/{marker}"))):
        raise BadInput(f"no bundled {what} in this installation", hint=hint)
    return found[-1].parent


bundled_model = partial(_last_with, "model_index.json", "model", "name a model folder with --model")
bundled_judge = partial(_last_with, "judge.json", "judge", "name a judge's folder")
bundled_anatomy = partial(_last_with, "anatomy.json", "anatomy network", "name the folder of one")
bundled_frame = partial(_last_with, "frame.npz", "frame", "learn one with --new-frame")
