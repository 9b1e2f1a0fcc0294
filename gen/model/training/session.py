"""What the training loops share: accelerator, learning rate, EMA, checkpoints that are whole or absent, a finite guard.

Progress is counted in images. Whatever is random is a function of (seed, image counter), so a checkpoint holds weights,
optimiser state and one number, and a resumed run equals an unbroken one.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen.core.errors import BadInput, GenError
from gen.core.files import newest_verified, prune, staged_folder, verify_folder, write_json
from gen.core.run import Run, open_run
from gen.model.device import pick_device, pick_dtype

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

CHECKPOINTS, PATTERN = "checkpoints", "images-*"
_CALMER = "lower the learning rate; the last checkpoint is whole"


def require_positive(config: object, *keys: str) -> None:
    """Raise BadInput, naming the key, where one of ``keys`` ("shape.layers") of ``config`` is not above 0."""
    _require(config, keys, lambda value: 0 < value < math.inf, "it must be above 0")


def require_not_negative(config: object, *keys: str) -> None:
    """The same for 0 or more."""
    _require(config, keys, lambda value: 0 <= value < math.inf, "it must be 0 or more")


def require_share(config: object, *keys: str, below_one: bool = False) -> None:
    """The same for 0 to 1, or with ``below_one`` for less than 1."""
    if below_one:
        _require(config, keys, lambda value: 0 <= value < 1, "it must be 0 or more, and less than 1")
    else:
        _require(config, keys, lambda value: 0 <= value <= 1, "it must be from 0 to 1")


def _require(config: object, keys: Sequence[str], holds: Callable[[float], bool], hint: str) -> None:
    for key in keys:
        value = attrgetter(key)(config)
        if not holds(value):
            raise BadInput(f"{key} is {value}", hint=hint)


@contextmanager
def refused_by_the_library(what: str) -> Iterator[None]:
    """Turn the error of a constructor that cannot build ``what`` from its numbers into BadInput."""
    try:
        yield
    except (ValueError, RuntimeError, ZeroDivisionError) as error:
        raise BadInput(f"{what} cannot be built: {' '.join(str(error).split())[:300]}") from error


def make_accelerator(folder: str | Path, device: str, dtype: str, accumulate: int) -> Accelerator:
    """An Accelerator for ``device`` and ``dtype`` ("auto", "float32", "bfloat16"), with TensorBoard logs in ``folder``.

    float16 is refused: its loss scale would be one more state to resume. Else BadInput and EnvironmentLacks as in
    gen.model.device. Nothing is written before ``init_trackers``.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    if dtype == "float16":
        raise BadInput("training in float16 is not offered", hint="use dtype=bfloat16, float32 or auto")
    place = pick_device(device)
    if place.type == "cuda" and place.index is not None:  # accelerate takes the current one
        torch.cuda.set_device(place)
    precision = "bf16" if pick_dtype(dtype, place, training=True) == torch.bfloat16 else "no"
    AcceleratorState._reset_state(reset_partial_state=True)  # a second run in one process may differ in precision
    return Accelerator(
        mixed_precision=precision,
        gradient_accumulation_steps=accumulate,
        cpu=place.type == "cpu",
        log_with="tensorboard",
        project_dir=folder,
    )


@contextmanager
def open_shared_run(
    accelerator: Accelerator, folder: str, config: object, command: Sequence[str], **inputs: str | int
) -> Iterator[Run]:
    """`open_run` for one process or many: the main one opens, locks and logs, the others join when it has.

    The number of processes is an input too, since it is a factor of the batch.
    """
    if accelerator.is_main_process:
        with open_run(folder, config, command=command, processes=accelerator.num_processes, **inputs) as run:
            accelerator.init_trackers("tensorboard")
            accelerator.wait_for_everyone()
            yield run
        return
    accelerator.wait_for_everyone()
    accelerator.init_trackers("tensorboard")
    with Path(os.devnull).open("ab", buffering=0) as nowhere:
        yield Run(Path(folder), True, nowhere)


def progress(accelerator: Accelerator, images: int, total: int) -> tuple[Any, Callable[[str], None]]:
    """The bar, ``images`` of ``total`` in, and a function that writes a line beside it; the main process shows both."""
    from tqdm import tqdm

    main = accelerator.is_main_process
    bar = tqdm(total=total, initial=images, unit="image", disable=not main)

    def say(line: str) -> None:
        if main:
            bar.write(line, file=sys.stderr)

    return bar, say


def learning_rate(images: int, peak: float, warmup: int, total: int, cooldown: float) -> float:
    """Learning rate after ``images``: linear warm-up over ``warmup``, ``peak``, linear to 0 over the last part.

    ``cooldown`` is that part, in [0, 1] of ``total``; 0: it never falls.
    """
    left = max(0.0, 1 - images / total)
    return peak * min(1.0, (images + 1) / (warmup + 1), left / cooldown if cooldown else 1.0)


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


def require_finite(loss: torch.Tensor, files: list[str], images: int) -> float:
    """The loss as a number; GenError that names the batch's files where it is not finite."""
    value = float(loss.detach())
    if not math.isfinite(value):
        named = ", ".join(files[:4]) + (f" and {len(files) - 4} more" if len(files) > 4 else "")
        raise GenError(
            f"the loss is {value} after {images} images, in the batch of {named}",
            hint=f"look at these files, or {_CALMER}",
        )
    return value


def save_checkpoint(
    run: Run,
    images: int,
    modules: Mapping[str, torch.nn.Module],
    averages: Mapping[str, Ema],
    optimizers: Mapping[str, torch.optim.Optimizer],
    export: Callable[[Path], None],
    keep: int = 2,
) -> Path:
    """Write the state after ``images`` images, whole or not at all, then drop all but the newest ``keep``.

    ``export`` writes the averaged model, ready to use, into the folder that it is given. GenError, and nothing written,
    for weights that are not finite: a run could never go on from them.
    """
    from safetensors.torch import save_file

    folder = run.folder / CHECKPOINTS / f"images-{images:09d}"
    if folder.exists():
        if not verify_folder(folder):
            return folder
        shutil.rmtree(folder)  # it was skipped on resume, and the run has come here again
    for name, module in modules.items():
        for key, value in _floating(module):
            if not value.isfinite().all():
                raise GenError(f"{key} of the {name} is not finite after {images} images", hint=_CALMER)
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
    prune(run.folder / CHECKPOINTS, PATTERN, keep, written=folder)
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
    """Restore the state in ``folder``, a checkpoint known to be whole: images done, 0 where there is none."""
    from safetensors.torch import load_file

    if folder is None:
        return 0
    state = folder / "state"
    for name, module in modules.items():
        module.load_state_dict(load_file(state / f"{name}.safetensors"))
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
