"""One session for every trainer: what a training loop does not have to say, because it is the same in all of them.

A loop asks its session what is `due`, saves, and takes a `step` with each loss; what it learns from is its own affair.
Progress is counted in images. Whatever is random is a function of (seed, image counter), so a checkpoint holds weights,
optimiser state and one number, and a resumed run equals an unbroken one.
"""

from __future__ import annotations

import math
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen.core.config import number
from gen.core.errors import BadInput, GenError
from gen.core.run import Run, open_run
from gen.model.device import describe_device, pick_device, pick_dtype
from gen.model.training.checkpoints import (
    CALMER,
    Ema,
    checkpoint_folder,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
)
from gen.model.training.losses import ema_decay

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

LOG_EVERY = 20  # optimiser steps


@dataclass(frozen=True)
class TrainingConfig:
    """What every training is told; a trainer's own config adds its keys, and may give other defaults."""

    out: str
    data: str = "${oc.env:CXR_DATA,../shared/data}/cxr"
    # Another run folder, whose newest checkpoint is the start: a release cools down in a copy, and the run goes on.
    resume_from: str | None = None
    images: int = number(100_000, above=0)  # to learn from, in all
    batch_size: int = number(32, above=0)  # images a process
    accumulate: int = number(1, above=0)  # batches an optimiser step
    learning_rate: float = number(1e-3, above=0)
    warmup: int = number(0, least=0)  # images
    cooldown: float = number(0.1, share=True)  # the last part of the run, over which the rates fall to 0; 0: never
    weight_decay: float = number(0.0, least=0)
    ema: float = number(0.999, below=1)
    checkpoint_every: int = number(10_000, above=0)  # images
    validate_every: int = number(5_000, above=0)  # images
    device: str = "auto"
    dtype: str = "auto"
    seed: int = 0


class Session:
    """A training in one process of one or many: its device, run folder, weights, averages, optimisers and progress.

    Its life: made (nothing is written), `open` (the run folder is held), `start` (the newest checkpoint is restored),
    then the loop of `due`, `save`, `finished` and `step`.
    """

    run: Run
    module: torch.nn.Module  # what is trained and averaged

    def __init__(self, config: TrainingConfig) -> None:
        """Choose the device, seed torch and look for a checkpoint.

        Raises BadInput and EnvironmentLacks for a device or precision that cannot be had.
        """
        import torch

        self.config = config
        self.accelerator = make_accelerator(config.out, config.device, config.dtype, config.accumulate)
        self.device: torch.device = self.accelerator.device
        self.precision = torch.bfloat16 if self.accelerator.mixed_precision == "bf16" else torch.float32
        torch.manual_seed(config.seed)
        self.checkpoint, self._skipped = newest_checkpoint(config.out)  # its folder, where there is one
        if self.checkpoint is None and config.resume_from is not None:
            self.checkpoint, self._skipped = newest_checkpoint(config.resume_from)
            if self.checkpoint is None:
                raise BadInput(f"resume_from is {config.resume_from}, which has no whole checkpoint")
        self.images = 0  # learnt from, by all processes together
        self._batch = config.batch_size * self.accelerator.num_processes
        self._step_images = self._batch * config.accumulate
        self._seconds, self._timed = 0.0, 0  # spent in batches since the last row of the log, and images in them

    @contextmanager
    def open(self, command: Sequence[str] = (), **inputs: str | int) -> Iterator[Run]:
        """Hold the run folder; ``inputs`` are what else decides the weights, such as a digest of the data."""
        with open_shared_run(self.accelerator, self.config.out, self.config, command, **inputs) as self.run:
            yield self.run
            self.accelerator.end_training()

    def start(
        self,
        name: str,
        module: torch.nn.Module,
        optimizers: Mapping[str, torch.optim.Optimizer],
        averages: Mapping[str, float] | None = None,
        beside: Mapping[str, torch.nn.Module] | None = None,
        *,
        attention: str = "none",
    ) -> None:
        """Restore the newest checkpoint, and say where the training stands.

        name: of ``module`` in the names of the state's files.
        optimizers: by name; the learning rate that each has now is the peak of its schedule.
        averages: decays of the averages of ``module``, by name; None: one, by the config. `save` exports the first.
        beside: other modules that belong to the state.
        """
        from tqdm import tqdm

        self.module = module
        self._modules = {name: module, **(beside or {})}
        self._decays = averages or {name: self.config.ema}
        self._averages = {key: Ema(module) for key in self._decays}
        self._peaks = {key: [group["lr"] for group in each.param_groups] for key, each in optimizers.items()}
        self.images = load_checkpoint(self.checkpoint, self._modules, self._averages, optimizers)
        self._optimizers = {key: self.accelerator.prepare(each) for key, each in optimizers.items()}
        main = self.accelerator.is_main_process
        self._bar = tqdm(total=self.config.images, initial=self.images, unit="image", disable=not main)
        for line in self._skipped:
            self.print(line)
        self.print(describe_device(self.device, self.precision, attention))
        self.print(f"{sum(p.numel() for p in module.parameters() if p.requires_grad) / 1e6:.2f} M weights")

    def due(self, every: int, *, at_start: bool = False) -> bool:
        """Whether the main process is to do now what comes ``every`` images (0: never) and at the end."""
        between_steps = self.images % self._step_images == 0 and (at_start or self.images > 0)
        if not (every and between_steps and self.accelerator.is_main_process):
            return False
        return self.images >= self.config.images or self.images % every < self._step_images

    def averaged(self) -> AbstractContextManager[None]:
        """Inside, the module has its averaged weights."""
        return next(iter(self._averages.values())).applied(self.module)

    def save(self, export: Callable[[Path], None]) -> None:
        """Write a checkpoint; ``export`` writes the averaged model, ready to use, into the folder that it is given."""

        def write(stage: Path) -> None:
            with self.averaged():
                export(stage)

        save_checkpoint(self.run.folder, self.images, self._modules, self._averages, self._optimizers, write)

    def finished(self) -> bool:
        """Wait for the other processes, and tell whether all images are learnt from."""
        if self.images % self._step_images == 0:
            self.accelerator.wait_for_everyone()
            if self.images >= self.config.images:
                self._bar.close()
                return True
        self._began = time.perf_counter()
        return False

    def places(self) -> range:
        """The places in the run of the images of this process's next batch."""
        first = self.images + self.accelerator.process_index * self.config.batch_size
        return range(first, first + self.config.batch_size)

    def step(self, loss: torch.Tensor, files: Sequence[object], /, **shown: torch.Tensor) -> None:
        """Learn from the ``loss`` of a batch of ``files``; call it inside ``accelerator.accumulate(model)``.

        The last batch of an optimiser step moves the weights (gradients clipped to norm 1) and the averages. ``shown``
        is logged, with the loss unless it gives another one. GenError that names files for a loss that is not finite.
        """
        config = self.config
        value = require_finite(loss, files, self.images)
        self.accelerator.backward(loss)
        before = self.images - self.images % self._step_images
        share = learning_rate(before, 1.0, config.warmup, config.images, config.cooldown)
        for name, optimizer in self._optimizers.items():
            for group, peak in zip(optimizer.param_groups, self._peaks[name], strict=True):
                group["lr"] = share * peak
        if self.accelerator.sync_gradients:
            self.accelerator.clip_grad_norm_(self.module.parameters(), 1.0)
        for optimizer in self._optimizers.values():  # between two optimiser steps both calls do nothing
            optimizer.step()
            optimizer.zero_grad()
        self.images += self._batch
        self._bar.update(self._batch)
        self._timed += self._batch
        self._seconds += time.perf_counter() - self._began
        steps, rest = divmod(self.images, self._step_images)
        if rest:
            return
        for name, average in self._averages.items():
            average.update(self.module, ema_decay(steps, self._decays[name]))
        if steps % LOG_EVERY == 0:
            numbers = {"loss": value} | {name: float(term.detach()) for name, term in shown.items()}
            speed, self._seconds, self._timed = self._timed / self._seconds, 0.0, 0
            rates = {"learning_rate": share * config.learning_rate, "images_per_second": round(speed, 2)}
            self.log("train", **numbers, **rates, peak_memory_mib=round(peak_memory_mib(self.device)))
            self._bar.set_postfix(loss=f"{numbers['loss']:.4f}")

    @property
    def folder(self) -> Path:
        """The checkpoint after as many images as are learnt from now."""
        return checkpoint_folder(self.run.folder, self.images)

    def log(self, event: str, **values: Any) -> None:
        """Write ``values``, numbers or tables of numbers, to the log of the run and to TensorBoard."""
        self.run.log(event=event, images=self.images, **values)
        for name, value in values.items():
            table = value if isinstance(value, dict) else {name: value}
            place = name if isinstance(value, dict) else event
            self.accelerator.log({f"{place}/{key}": number for key, number in table.items()}, step=self.images)

    def print(self, line: str) -> None:
        """Write ``line`` to stderr, beside the progress bar; the main process does, and no other."""
        from tqdm import tqdm

        if self.accelerator.is_main_process:
            tqdm.write(line, file=sys.stderr)


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


def learning_rate(images: int, peak: float, warmup: int, total: int, cooldown: float) -> float:
    """Learning rate after ``images``: linear warm-up over ``warmup``, ``peak``, linear to 0 over the last part.

    ``cooldown`` is that part, in [0, 1] of ``total``; 0: it never falls.
    """
    left = max(0.0, 1 - images / total)
    return peak * min(1.0, (images + 1) / (warmup + 1), left / cooldown if cooldown else 1.0)


def require_finite(loss: torch.Tensor, files: Sequence[object], images: int) -> float:
    """The loss as a number; GenError that names the batch's files where it is not finite."""
    value = float(loss.detach())
    if not math.isfinite(value):
        named = ", ".join(map(str, files[:4])) + (f" and {len(files) - 4} more" if len(files) > 4 else "")
        raise GenError(
            f"the loss is {value} after {images} images, in the batch of {named}",
            hint=f"look at these files, or {CALMER}",
        )
    return value


def peak_memory_mib(device: torch.device) -> float:
    """The most memory that this process has held: of the GPU where ``device`` is one of CUDA, else resident."""
    import torch

    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device)) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # Linux counts in KiB
