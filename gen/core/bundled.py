"""What travels with the package: the folders of the bundled networks and of the canonical frame, configs, and pins."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from gen.core.errors import BadInput
from gen.core.terms import did_you_mean

BUNDLED = Path(__file__).parent.parent / "bundled"
CONFIGS = Path(__file__).parent.parent / "configs"
PINS = Path(__file__).parent.parent / "constraints.txt"  # the versions that are tested together


def packaged_configs() -> dict[str, Path]:
    """The configs that travel with the package, by name."""
    return {path.stem: path for path in sorted(CONFIGS.glob("*.yaml"))}


def packaged_config(name: str) -> Path:
    """The packaged config ``name``; BadInput, with the nearest and all that there are, for another name."""
    named = packaged_configs()
    if name not in named:
        near = did_you_mean(Path(name).stem, named)
        guess = f"did you mean {near!r}? " if near else ""
        hint = f"{guess}packaged are {', '.join(named)}; gen init writes one out"
        raise BadInput(f"{name}: no such file, and no packaged config of this name", hint=hint)
    return named[name]


def find_config(given: str | Path) -> Path:
    """The file of a config: the one at ``given``, or the packaged one of that name. BadInput where there is neither."""
    return Path(given) if Path(given).is_file() else packaged_config(str(given))


def pins() -> Path:
    """The file of the tested versions, for `pip install -c`.

    An environment made by scripts/setup.sh keeps pins of its own, which leave a torch of the user's as it is.
    """
    own = Path(sys.prefix) / PINS.name
    return own if own.is_file() else PINS


def pip_install(what: str) -> str:
    """The command that installs ``what`` and moves no other version away from the tested ones."""
    return f"pip install -c {pins()} '{what}'"


def _last_with(marker: str, what: str, hint: str) -> Path:
    """The folder that holds the file ``marker``, the last by name; BadInput where there is none."""
    if not (found := sorted(BUNDLED.glob(f"*/{marker}"))):
        raise BadInput(f"no bundled {what} in this installation", hint=hint)
    return found[-1].parent


bundled_model = partial(_last_with, "model_index.json", "model", "name a model folder with --model")
bundled_judge = partial(_last_with, "judge.json", "judge", "name a judge's folder")
bundled_anatomy = partial(_last_with, "anatomy.json", "anatomy network", "name the folder of one")
bundled_frame = partial(_last_with, "frame.npz", "frame", "learn one with --new-frame")
bundled_suppressor = partial(_last_with, "suppress.json", "bone suppression", "name a folder with --model")
