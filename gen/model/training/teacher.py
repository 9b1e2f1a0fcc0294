"""What a student is to predict so that its few large steps land where a teacher's many guided ones do.

Progressive and guidance distillation (Salimans and Ho 2022, arXiv:2202.00512; Meng et al. 2023, arXiv:2210.03142) in
one stage: a linear multistep solver says in closed form which outputs take it through given points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gen.core.errors import BadInput
from gen.model.parts import quiet
from gen.model.sampling.settings import Settings
from gen.model.sampling.solver import Solver, tabulate
from gen.model.training.session import refused_by_the_library

if TYPE_CHECKING:
    import torch

Predict = Callable[[int, np.ndarray], np.ndarray]


def few_step_scheduler(config: Mapping[str, Any]) -> Any:
    """DPM-Solver++ (2M) on evenly spaced timesteps, for the process of the scheduler ``config``, whatever its solver.

    Lu et al. 2022 (arXiv:2211.01095). Its first step starts from pure noise, its last one ends without any.
    """
    from diffusers import DPMSolverMultistepScheduler

    how: dict[str, Any] = {"algorithm_type": "dpmsolver++", "solver_order": 2, "solver_type": "midpoint"}
    how |= {"timestep_spacing": "trailing", "steps_offset": 1, "final_sigmas_type": "zero", "thresholding": False}
    how |= {f"use_{name}": False for name in ("karras_sigmas", "exponential_sigmas", "beta_sigmas", "lu_lambdas")}
    with quiet(), refused_by_the_library("the student's scheduler"):
        try:
            return DPMSolverMultistepScheduler.from_config(dict(config), **how)
        except NotImplementedError as error:  # betas of a schedule that this solver does not know
            raise ValueError(error) from error


def solvers(scheduler: Any, steps: int, substeps: int) -> tuple[Solver, Solver]:
    """The tables of ``steps`` steps and of ``substeps`` times as many; each step begins where a finer one does.

    BadInput for numbers where that cannot be, because timesteps are whole.
    """
    most = int(scheduler.config.num_train_timesteps)
    if steps * substeps > most:
        raise BadInput(
            f"steps is {steps} and substeps is {substeps}, together more than the {most} timesteps of the teacher",
            hint="lower one of them; 8 and 3 are usual",
        )
    with quiet():
        coarse, fine = tabulate(scheduler, steps), tabulate(scheduler, steps * substeps)
    if not np.array_equal(coarse.timesteps, fine.timesteps[::substeps]):
        raise BadInput(
            f"steps is {steps} and substeps is {substeps}: rounded to whole timesteps, these do not fall together",
            hint="use another number of substeps, such as 2 or 4",
        )
    return coarse, fine


def path_of(predict: Predict, solver: Solver, noise: np.ndarray, every: int = 1) -> np.ndarray:
    """Where ``solver`` stands before steps 0, ``every``, 2 ``every``, ... and at its end, float32 (S + 1, N, C, h, w).

    predict: as in `Solver.run`. noise: standard normal, (N, C, h, w). The solver is a deterministic one that shows its
    latents to the network as they are.
    """
    points = []

    def watched(i: int, latents: np.ndarray) -> np.ndarray:
        if i % every == 0:
            points.append(latents)
        return predict(i, latents)

    points.append(solver.run(watched, noise, lambda _: np.zeros_like(noise)))
    return np.stack(points)


def outputs_through(solver: Solver, points: np.ndarray) -> np.ndarray:
    """What a network has to predict in each step so that ``solver`` passes ``points``, as of `path_of`.

    float32 (S, N, C, h, w). Step i is solved for the output of pass i, given those before it.
    """
    outputs: list[np.ndarray] = []
    for i, reached in enumerate(points[1:].astype(np.float64)):
        rest = reached - solver.first[i + 1] * points[0]
        for j, output in enumerate(outputs):
            rest -= solver.predicted[i + 1, j] * output
        outputs.append(rest / solver.predicted[i + 1, i])
    return np.stack(outputs).astype(np.float32)


def landing_weights(solver: Solver) -> np.ndarray:
    """Weights (S,) that turn the squared error of an output into that of where its step lands, in clean latents.

    So all steps are told by one measure, whatever the network predicts: an error of the noise is small at high noise
    levels, where it decides most of the image, and an error of the velocity is large at low ones (Salimans and Ho 2022,
    section 4).
    """
    signal = 1 / np.sqrt(1 + np.square([*solver.sigmas[1:], 0.0]))
    weights: np.ndarray = np.square(np.diagonal(solver.predicted[1:]) / signal)
    return weights


@dataclass(frozen=True)
class Guide:
    """A U-Net with text states (N, T, D), guided away from ``nothing`` (1, T, D), the states of an empty text."""

    unet: Any
    states: torch.Tensor
    nothing: torch.Tensor
    how: Settings

    def along(self, solver: Solver) -> Predict:
        """What it predicts in each pass of ``solver``."""
        import torch

        def predict(i: int, latents: np.ndarray) -> np.ndarray:
            given = torch.from_numpy(latents).to(self.states.device)
            timestep = torch.tensor(solver.timesteps[i], device=given.device)
            guided = self.how.guides(float(solver.sigmas[i]))
            states = torch.cat([self.nothing.expand_as(self.states), self.states]) if guided else self.states
            with torch.no_grad():
                out = self.unet(torch.cat([given, given]) if guided else given, timestep, states).sample.float()
            if guided:
                without, with_text = out.chunk(2)
                out = without + self.how.guidance * (with_text - without)
            predicted: np.ndarray = out.cpu().numpy()
            return predicted

        return predict
