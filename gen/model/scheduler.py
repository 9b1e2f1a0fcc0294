"""Which of diffusers' schedulers this project can run, decided by a folder's configs alone, before anything is loaded.

Flow matching and its relatives are refused: they have another process and other timesteps than a U-Net that predicts
noise or velocity.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gen.core.errors import BadInput
from gen.core.files import read_json

CONFIG = "scheduler_config.json"
PREDICTIONS = ("epsilon", "v_prediction")
# Solvers of the variance-preserving process.
TRAINABLE = tuple(
    f"{name}Scheduler"
    for name in (
        *("DDIM", "DDIMParallel", "DDPM", "DDPMParallel", "DEISMultistep", "DPMSolverMultistep"),
        *("DPMSolverSinglestep", "EulerAncestralDiscrete", "EulerDiscrete", "HeunDiscrete", "KDPM2AncestralDiscrete"),
        *("KDPM2Discrete", "LCM", "LMSDiscrete", "PNDM", "SASolver", "TCD", "UniPCMultistep"),
    )
)
# Solvers of Karras's process (2022, arXiv:2206.00364), which knows sigmas only: sampled from, not trained.
SAMPLED_ONLY = ("EDMDPMSolverMultistepScheduler", "EDMEulerScheduler")


def check_scheduler(part: Path, *, training: bool = False) -> dict[str, Any]:
    """The config of the scheduler in ``part``; BadInput, naming it, for one that cannot be sampled or trained with."""
    config = read_json(part / CONFIG)
    name, prediction = config.get("_class_name", ""), config.get("prediction_type", "epsilon")
    if name not in TRAINABLE + (() if training else SAMPLED_ONLY):
        what = "cannot be trained with" if name in SAMPLED_ONLY else "is not supported"
        raise BadInput(
            f"{part}: scheduler class {name!r} {what}",
            hint="supported are solvers for noise and velocity, such as DDIMScheduler and DPMSolverMultistepScheduler",
        )
    if config.get("use_flow_sigmas"):
        raise BadInput(f"{part}: flow matching (use_flow_sigmas) is not supported", hint="a U-Net has no such process")
    if prediction not in PREDICTIONS:
        raise BadInput(
            f"{part}: prediction_type {prediction!r} is not supported", hint=f"{' and '.join(PREDICTIONS)} are"
        )
    if prediction == "epsilon" and _ends_in_noise(config):
        raise BadInput(
            f"{part}: prediction_type 'epsilon' at zero terminal SNR, where an image cannot be told from its noise",
            hint="set prediction_type to v_prediction if the model learnt that, or rescale_betas_zero_snr to false",
        )
    return config


def _ends_in_noise(config: dict[str, Any]) -> bool:
    """Whether nothing of the image is left at the last timestep (Lin et al. 2023, arXiv:2305.08891)."""
    betas = config.get("trained_betas") or [0.0]
    return bool(config.get("rescale_betas_zero_snr")) or (isinstance(betas, list) and max(betas) >= 1)
