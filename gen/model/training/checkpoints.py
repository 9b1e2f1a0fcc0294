"""The state of a training on disk: averaged weights, and checkpoints that are whole or absent whatever fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gen.core.errors import BadInput, GenError
from gen.core.files import keep_whole, newest_verified, prune, staged_folder, write_json

if TYPE_CHECKING:
    import torch

CHECKPOINTS, PATTERN = "checkpoints", "images-*"
CALMER = "lower the learning rate; the last checkpoint is whole"


def checkpoint_folder(run: Path, images: int) -> Path:
    """The checkpoint of the run folder ``run`` after ``images`` images."""
    return run / CHECKPOINTS / f"images-{images:09d}"


class Ema:
    """Exponential moving average of a module's floating-point parameters and buffers, in float32."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.shadow = {name: value.detach().float().clone() for name, value in _floating(module)}

    def update(self, module: torch.nn.Module, decay: float) -> None:
        """shadow <- decay * shadow + (1 - decay) * parameter."""
        for name, value in _floating(module):
            self.shadow[name].lerp_(value.detach().float(), 1 - decay)

    @contextmanager
    def applied(self, module: torch.nn.Module) -> Iterator[None]:
        """Inside, ``module`` has the averaged weights; afterwards its own again, exactly."""
        import torch

        own = {name: value.detach().clone() for name, value in _floating(module)}
        with torch.no_grad():
            for name, value in _floating(module):
                value.copy_(self.shadow[name])
            try:
                yield
            finally:
                for name, value in _floating(module):
                    value.copy_(own[name])


def _floating(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    return ((name, value) for name, value in module.state_dict(keep_vars=True).items() if value.is_floating_point())


def save_checkpoint(
    run: Path,
    images: int,
    modules: Mapping[str, torch.nn.Module],
    averages: Mapping[str, Ema],
    optimizers: Mapping[str, torch.optim.Optimizer],
    export: Callable[[Path], None],
    keep: int = 2,
) -> Path:
    """Write the state after ``images`` images to the folder ``run``, whole or not at all; keep the newest ``keep``.

    ``export`` writes the averaged model, ready to use, into the folder that it is given. GenError, and nothing written,
    for weights that are not finite: a run could never go on from them.
    """
    from safetensors.torch import save_file

    folder = checkpoint_folder(run, images)
    if keep_whole(folder):  # a harmed one was skipped on resume, and the run has come here again
        return folder
    for name, module in modules.items():
        for key, value in _floating(module):
            if not value.isfinite().all():
                raise GenError(f"{key} of the {name} is not finite after {images} images", hint=CALMER)
    with staged_folder(folder) as stage:
        state = stage / "state"
        state.mkdir()
        tensors = {name: module.state_dict() for name, module in modules.items()}
        tensors |= {f"{name}.ema": average.shadow for name, average in averages.items()}
        for name, optimizer in optimizers.items():
            entries = optimizer.state_dict()["state"].items()
            tensors[f"{name}.optimizer"] = {f"{i}.{key}": value for i, entry in entries for key, value in entry.items()}
        for name, group in tensors.items():
            save_file({key: value.contiguous() for key, value in group.items()}, state / f"{name}.safetensors")
        write_json(state / "progress.json", {"images": images})
        export(stage)
    prune(run / CHECKPOINTS, PATTERN, keep, written=folder)
    return folder


def newest_checkpoint(folder: str | Path) -> tuple[Path | None, list[str]]:
    """The newest whole checkpoint of the run folder ``folder``, if any, and a line for each one skipped."""
    return newest_verified(Path(folder) / CHECKPOINTS, PATTERN)


def load_checkpoint(
    folder: Path | None,
    modules: Mapping[str, torch.nn.Module],
    averages: Mapping[str, Ema],
    optimizers: Mapping[str, torch.optim.Optimizer],
) -> int:
    """Restore the state in ``folder``, a checkpoint known to be whole: images done, 0 where there is none.

    BadInput where it is the state of other modules than these.
    """
    from safetensors.torch import load_file

    if folder is None:
        return 0
    state = folder / "state"
    for name, module in modules.items():
        try:
            module.load_state_dict(load_file(state / f"{name}.safetensors"))
        except (FileNotFoundError, RuntimeError) as error:
            raise BadInput(
                f"{folder} holds no {name} of the shape that the config names", hint="give the config of its own run"
            ) from error
    for name, average in averages.items():
        for key, value in load_file(state / f"{name}.ema.safetensors").items():
            average.shadow[key].copy_(value)
    for name, optimizer in optimizers.items():
        whole = optimizer.state_dict()
        entries: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in load_file(state / f"{name}.optimizer.safetensors").items():
            index, _, field = key.partition(".")
            entries.setdefault(int(index), {})[field] = value
        optimizer.load_state_dict({**whole, "state": entries})
    return int(json.loads((state / "progress.json").read_text())["images"])
