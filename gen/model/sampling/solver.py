"""A stock scheduler as a table of numbers, so that sampling needs neither diffusers nor torch.

A step of the usual solvers (DDIM, Euler, DPM-Solver++, UniPC, their stochastic forms) is linear in the first noise, in
what the network has predicted so far and in the fresh noise. Stepping the scheduler itself through unit vectors of
these gives the coefficients, whatever its order; what is not linear (thresholding, clipping) shows in a trial.
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
class Solver:
    """S passes through the network, as float64 arrays.

    ``latents`` of pass i are ``first[i]`` times the noise, plus ``predicted[i, j]`` times the prediction of pass j and
    ``fresh[i, j]`` times the noise of pass j; row S holds the result. ``fresh`` is all zero for a deterministic solver.
    """

    timesteps: np.ndarray  # (S,), as the network gets them
    sigmas: np.ndarray  # (S,), noise over signal, infinite where there is no signal; NaN where the scheduler has none
    scales: np.ndarray  # (S,), what latents are multiplied by for the network
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
    ) -> np.ndarray:
        """From standard normal ``noise`` (N, C, h, w) to latents of the same shape, float32.

        ``predict(i, scaled latents)`` is what the network says in pass i; ``fresh(i)`` is standard normal noise of the
        same shape, asked for only where the solver uses it.
        """
        outputs: list[np.ndarray] = []
        extra: list[np.ndarray | None] = []
        for i in range(len(self.timesteps)):
            latents = self._combine(i, noise, outputs, extra)
            outputs.append(predict(i, (self.scales[i] * latents).astype(np.float32)).astype(np.float64))
            extra.append(fresh(i) if self.fresh[:, i].any() else None)
        return self._combine(len(self.timesteps), noise, outputs, extra).astype(np.float32)

    def _combine(
        self, i: int, noise: np.ndarray, outputs: Sequence[np.ndarray], extra: Sequence[np.ndarray | None]
    ) -> np.ndarray:
        latents = self.first[i] * noise.astype(np.float64)
        for j, (output, added) in enumerate(zip(outputs, extra, strict=True)):
            if self.predicted[i, j]:
                latents += self.predicted[i, j] * output
            if added is not None and self.fresh[i, j]:
                latents += self.fresh[i, j] * added
        return latents


def tabulate(scheduler: Any, steps: int) -> Solver:
    """The table of a diffusers ``scheduler`` that takes ``steps``; BadInput, with the reason, for one that has none."""
    import torch

    name = type(scheduler).__name__
    if reason := why_no_table({**scheduler.config, "_class_name": name}):
        raise BadInput(reason)
    begun = _begin(scheduler, steps)
    passes = len(begun.timesteps)
    given = _takes_noise(begun)
    basis = 1 + 2 * passes
    latents = torch.zeros(1, 1, 1, basis)
    latents[..., 0] = float(begun.init_noise_sigma)
    rows, scales = [latents.flatten()], []
    for i, timestep in enumerate(begun.timesteps):
        scales.append(float(begun.scale_model_input(torch.ones(1, 1, 1, 1), timestep)))
        units = torch.eye(basis).reshape(basis, 1, 1, 1, basis)
        extra = {"variance_noise": units[1 + passes + i]} if given else {}
        latents = begun.step(units[1 + i], timestep, latents, **extra).prev_sample
        rows.append(latents.flatten())
    table = torch.stack(rows).double().numpy()
    solver = Solver(
        timesteps=begun.timesteps.cpu().numpy(),
        sigmas=np.array([sigma_of(begun, timestep) for timestep in begun.timesteps]),
        scales=np.array(scales),
        first=table[:, 0],
        predicted=table[:, 1 : 1 + passes],
        fresh=table[:, 1 + passes :],
    )
    if (error := _trial(scheduler, steps, solver)) > TOLERANCE:
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


def _begin(scheduler: Any, steps: int) -> Any:
    begun = type(scheduler).from_config(scheduler.config)  # it holds state while it samples
    begun.set_timesteps(steps)
    return begun


def _takes_noise(scheduler: Any) -> bool:
    return "variance_noise" in inspect.signature(scheduler.step).parameters


def _trial(scheduler: Any, steps: int, solver: Solver) -> float:
    """Error of ``solver`` against the scheduler itself on latents of natural size, relative, root mean square."""
    import torch

    shape, random = (1, 4, 8, 8), np.random.default_rng(0)
    noise, outputs, extra = (random.standard_normal((len(solver.timesteps), *shape), np.float32) for _ in range(3))
    begun = _begin(scheduler, steps)
    given = _takes_noise(begun)
    latents = torch.from_numpy(noise[0]) * begun.init_noise_sigma
    for i, timestep in enumerate(begun.timesteps):
        begun.scale_model_input(latents, timestep)  # some schedulers count on it
        options = {"variance_noise": torch.from_numpy(extra[i])} if given else {}
        latents = begun.step(torch.from_numpy(outputs[i]), timestep, latents, **options).prev_sample
    found = solver.run(lambda i, _: outputs[i], noise[0], lambda i: extra[i])
    wanted = latents.double().numpy()
    return float(np.sqrt(np.square(found - wanted).mean() / max(np.square(wanted).mean(), 1e-12)))
