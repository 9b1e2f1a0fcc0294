"""A stock scheduler as a table of numbers, so that sampling needs neither diffusers nor torch.

A step of the usual solvers (DDIM, Euler, DPM-Solver++, UniPC, their stochastic forms) is linear in the first noise, in
the image that it may start from, in what the network has predicted so far and in the fresh noise. Stepping the
scheduler itself through unit vectors of these gives the coefficients, whatever its order; what is not linear
(thresholding, clipping) shows in a trial.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from gen.core.errors import BadInput
from gen.core.files import atomic_file

# The solvers that this is tested for; most others of diffusers draw noise of their own.
TABULATED = tuple(
    f"{name}Scheduler"
    for name in (
        *("DDIM", "DDIMParallel", "DEISMultistep", "DPMSolverMultistep", "DPMSolverSinglestep", "EulerDiscrete"),
        *("HeunDiscrete", "LMSDiscrete", "PNDM", "UniPCMultistep"),
    )
)
TOLERANCE = 1e-4  # of the trial: error over the size of the latents, both root mean square


def why_no_table(config: Mapping[str, Any]) -> str | None:
    """The reason why the scheduler of ``config`` has no table; None where it has one."""
    if (name := config.get("_class_name")) not in TABULATED:
        return f"the scheduler {name} is left to torch"
    if clips := [key for key in ("clip_sample", "thresholding") if config.get(key)]:
        return f"{name} with {clips[0]} is not linear"
    return None


@dataclass(frozen=True)
class Start:
    """How sampling starts from an image: ``skipped`` of the steps are left out, and for ``held`` more it is kept.

    Through these, its latents are noised anew for each pass; where they are all, they come out as they were.
    """

    skipped: int
    held: int = 0


_Pass = tuple[
    np.ndarray, np.ndarray | None
]  # what the network predicts in a pass, and the fresh noise, if it takes any


@dataclass(frozen=True)
class Solver:
    """S passes through the network, as float64 arrays.

    ``latents`` of pass i are ``image[i]`` times those of the image that it starts from, plus ``first[i]`` times the
    noise, ``predicted[i, j]`` times the prediction of pass j and ``fresh[i, j]`` times the noise of pass j; row S holds
    the result. ``image`` is all zero where it starts from noise, ``fresh`` for a deterministic solver.
    """

    timesteps: np.ndarray  # (S,), as the network gets them
    sigmas: np.ndarray  # (S,), noise over signal, infinite where there is no signal; NaN where the scheduler has none
    scales: np.ndarray  # (S,), what latents are multiplied by for the network
    image: np.ndarray  # (S + 1,)
    first: np.ndarray  # (S + 1,)
    predicted: np.ndarray  # (S + 1, S)
    fresh: np.ndarray  # (S + 1, S)

    @property
    def stochastic(self) -> bool:
        """Whether the steps add noise of their own."""
        return bool(self.fresh.any())

    def run(
        self,
        predict: Callable[[int, np.ndarray], np.ndarray],
        noise: np.ndarray,
        fresh: Callable[[int], np.ndarray],
        *,
        image: np.ndarray | None = None,
        held: tuple[Solver, np.ndarray] | None = None,
    ) -> np.ndarray:
        """From standard normal ``noise`` (N, C, h, w) to latents of the same shape, float32.

        ``predict(i, scaled latents)`` is what the network says in pass i; ``fresh(i)`` is standard normal noise of the
        same shape, asked for only where the solver uses it. ``image``: latents of that shape to start from, for a
        solver with a `Start`. ``held``: the solver of the cells where a mask bool (N, 1, h, w) is true, which differs
        in how long its start keeps the image.
        """
        begun = np.zeros_like(noise) if image is None else image
        given: list[_Pass] = []

        def latents(i: int) -> np.ndarray:
            mine = self._combine(i, begun, noise, given)
            return mine if held is None else np.where(held[1], held[0]._combine(i, begun, noise, given), mine)

        for i in range(len(self.timesteps)):
            output = predict(i, (self.scales[i] * latents(i)).astype(np.float32)).astype(np.float64)
            given.append((output, fresh(i) if self.fresh[:, i].any() else None))
        return latents(len(self.timesteps)).astype(np.float32)

    def _combine(self, i: int, image: np.ndarray, noise: np.ndarray, given: Sequence[_Pass]) -> np.ndarray:
        latents = self.image[i] * image.astype(np.float64) + self.first[i] * noise.astype(np.float64)
        for j, (output, added) in enumerate(given):
            if self.predicted[i, j]:
                latents += self.predicted[i, j] * output
            if added is not None and self.fresh[i, j]:
                latents += self.fresh[i, j] * added
        return latents


def tabulate(scheduler: Any, steps: int, start: Start | None = None) -> Solver:
    """The table of a diffusers ``scheduler`` that takes ``steps``, from noise or from an image as ``start`` says.

    BadInput, with the reason, for one that has none.
    """
    import torch

    name = type(scheduler).__name__
    if reason := why_no_table({**scheduler.config, "_class_name": name}):
        raise BadInput(reason)
    begun, timesteps = _begin(scheduler, steps, start)
    passes = len(timesteps)
    units = torch.eye(2 + 2 * passes)[:, None, None, None, None]
    scales, rows = _by_scheduler(begun, timesteps, start, units)
    table = torch.stack([latents.flatten() for latents in rows]).double().numpy()
    solver = Solver(
        timesteps=timesteps.cpu().numpy(),
        sigmas=np.array([sigma_of(begun, timestep) for timestep in timesteps]),
        scales=np.array(scales),
        image=table[:, 0],
        first=table[:, 1],
        predicted=table[:, 2 : 2 + passes],
        fresh=table[:, 2 + passes :],
    )
    if (error := _trial(scheduler, steps, start, solver)) > TOLERANCE:
        raise BadInput(f"{name} is not linear as it is configured: its table is wrong by {error:.1g}")
    return solver


def sigma_of(scheduler: Any, timestep: Any) -> float:
    """Noise over signal at ``timestep``, whole or not; infinite without signal, NaN where the scheduler has none."""
    if getattr(scheduler, "alphas_cumprod", None) is None:
        return float("nan")
    alpha = float(scheduler.alphas_cumprod[round(float(timestep))])
    return float(np.sqrt((1 - alpha) / alpha)) if alpha > 0 else float("inf")


def write_solver(path: Path, solver: Solver) -> None:
    """Write ``solver`` as an .npz file, atomically."""
    with atomic_file(path) as stream:
        np.savez(stream, **asdict(solver))


def read_solver(path: Path) -> Solver:
    """The solver that `write_solver` wrote; BadInput where the file is something else."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return Solver(**stored)
    except (OSError, ValueError, TypeError, EOFError, BadZipFile) as error:
        raise BadInput(f"{path} is no solver: {error}", hint="delete it; it is made again") from error


def _begin(scheduler: Any, steps: int, start: Start | None) -> tuple[Any, Any]:
    """A copy of ``scheduler``, which holds state while it samples, that is about to, and the timesteps to take."""
    begun = type(scheduler).from_config(scheduler.config)
    begun.set_timesteps(steps)
    return begun, begun.timesteps[start.skipped * getattr(begun, "order", 1) if start else 0 :]


def _by_scheduler(begun: Any, timesteps: Any, start: Start | None, given: Any) -> tuple[list[float], list[Any]]:
    """What ``begun`` itself makes of ``given`` in S passes: the scale of each, and the latents before each and at last.

    ``given`` (2 + 2 S, N, C, h, w): image, noise, what is predicted in each pass, and the fresh noise of each.
    """
    import torch

    (image, noise), (outputs, extra) = given[:2], given[2:].chunk(2)
    order = getattr(begun, "order", 1)
    kept = start.held * order if start else 0
    if start:
        latents = begun.add_noise(image, noise, timesteps[:1])
        if hasattr(begun, "set_begin_index"):
            begun.set_begin_index(start.skipped * order)
    else:
        latents = noise * begun.init_noise_sigma
    takes_noise = "variance_noise" in inspect.signature(begun.step).parameters
    scales, rows = [], []
    for i, timestep in enumerate(timesteps):
        if 0 < i <= kept:
            latents = begun.add_noise(image, noise, timestep[None])
        scales.append(float(begun.scale_model_input(torch.ones(1, 1, 1, 1), timestep)))  # some schedulers count on it
        rows.append(latents)
        options = {"variance_noise": extra[i]} if takes_noise else {}
        latents = begun.step(outputs[i], timestep, latents, **options).prev_sample
    return scales, [*rows, image if kept >= len(timesteps) else latents]


def _trial(scheduler: Any, steps: int, start: Start | None, solver: Solver) -> float:
    """Error of ``solver`` against the scheduler itself on latents of natural size, relative, root mean square."""
    import torch

    begun, timesteps = _begin(scheduler, steps, start)
    given = np.random.default_rng(0).standard_normal((2 + 2 * len(timesteps), 1, 4, 8, 8), np.float32)
    (image, noise), (outputs, extra) = given[:2], np.split(given[2:], 2)
    _, rows = _by_scheduler(begun, timesteps, start, torch.from_numpy(given))
    found = solver.run(lambda i, _: outputs[i], noise, lambda i: extra[i], image=image)
    wanted = rows[-1].double().numpy()
    return float(np.sqrt(np.square(found - wanted).mean() / max(np.square(wanted).mean(), 1e-12)))
