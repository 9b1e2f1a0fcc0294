"""The closed forms of training: the noise schedule, which noise is drawn, the EMA's decay, what a decoder is scored by.

Pure functions of their arguments, each tested against its formula; nothing here knows a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gen.core.config import number
from gen.core.run import derived_seed

if TYPE_CHECKING:
    import numpy as np
    import torch


def sigmas_of(alphas_cumprod: torch.Tensor) -> torch.Tensor:
    """Noise over signal at each timestep, sqrt((1 - a) / a), float32; infinite at the end of zero terminal SNR."""
    alpha = alphas_cumprod.double()
    return ((1 - alpha) / alpha).sqrt().float()


def rho_schedule(steps: int, least: float, most: float, rho: float = 7.0) -> list[float]:
    """Betas of a variance-preserving process whose sigmas are evenly spaced in sigma ** (1 / rho), least first.

    Karras et al. 2022 (arXiv:2206.00364), equation 5: evenly spaced timesteps are then good sampling steps.
    """
    import numpy as np

    sigmas = np.linspace(least ** (1 / rho), most ** (1 / rho), steps) ** rho
    signal = 1 / (1 + sigmas**2)
    return [float(beta) for beta in 1 - signal / np.concatenate([[1.0], signal[:-1]])]


@dataclass(frozen=True)
class NoiseDraw:
    """Which noise levels training meets (Karras et al. 2022, table 1): mostly a log-normal sigma."""

    sigma: float = number(0.8, above=0)  # noise over signal that is drawn most, for latents of size 1
    spread: float = number(1.3, least=0)  # standard deviation of its logarithm
    uniform: float = number(0.2, share=True)  # share of images that meet any timestep alike


def draw_timestep(sigmas: np.ndarray, seed: int, how: NoiseDraw) -> int:
    """The timestep of the schedule ``sigmas`` (rising) that ``seed`` draws."""
    import numpy as np

    rng = np.random.default_rng(derived_seed(seed, "timestep"))
    anywhere, place, normal = rng.random(), rng.integers(len(sigmas)), rng.standard_normal()
    if anywhere < how.uniform:
        return int(place)
    return min(int(np.searchsorted(sigmas, how.sigma * np.exp(how.spread * normal))), len(sigmas) - 1)


def ema_decay(step: int, ceiling: float) -> float:
    """Decay of the exponential moving average at optimiser step ``step`` = 1, 2, ...: min(ceiling, step / (step + 9)).

    A function of the step alone, so that nothing about it can be lost on resume. The first step keeps a tenth.
    """
    return min(ceiling, step / (step + 9))


def gradients(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Vertical and horizontal forward differences of ``images`` (N, C, H, W)."""
    return images[:, :, 1:] - images[:, :, :-1], images[:, :, :, 1:] - images[:, :, :, :-1]


def reconstruction_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L1 of the pixels plus L1 of their differences, (N, C, H, W) in model range -> (N,): the latter keeps edges."""
    pixel = (output - target).abs().mean((1, 2, 3))
    edges = [(a - b).abs().mean((1, 2, 3)) for a, b in zip(gradients(output), gradients(target), strict=True)]
    return pixel + edges[0] + edges[1]


def texture_loss(output: torch.Tensor, target: torch.Tensor, side: int = 8) -> torch.Tensor:
    """L1 of how strong the fine detail is in each square of ``side`` pixels, (N, C, H, W) in model range -> (N,).

    Strength is the root mean square of what a mean over 3 x 3 pixels takes away, and of what four such means more take
    away beyond that. It says how much texture there is and not where its grains lie: a decoder that cannot know
    the grains is not taught to blur them, and one that invents texture in a smooth region is stopped.
    """
    from torch.nn import functional

    def strengths(images: torch.Tensor) -> list[torch.Tensor]:
        found: list[torch.Tensor] = []
        rest = images
        for _ in range(2):
            smooth = functional.avg_pool2d(rest, 3, 1, 1, count_include_pad=False)
            if found:
                for _ in range(3):
                    smooth = functional.avg_pool2d(smooth, 3, 1, 1, count_include_pad=False)
            # The root has no slope at 0; 1e-6 is the square of an eighth of a grey level.
            found.append((functional.avg_pool2d((rest - smooth).square(), side) + 1e-6).sqrt())
            rest = smooth
        return found

    fine, coarse = ((a - b).abs().mean((1, 2, 3)) for a, b in zip(strengths(output), strengths(target), strict=True))
    return fine + coarse


def window_distance(output: torch.Tensor, target: torch.Tensor, side: int = 4) -> torch.Tensor:
    """Root mean square difference in squares of ``side`` pixels, (N, C, H, W) in model range -> (N,).

    The squares overlap by half. That of the two differences between neighbours is added, as in `reconstruction_loss`.
    """
    from torch.nn import functional

    difference = output - target
    # The root has no slope at 0; 1e-6 is the square of an eighth of a grey level.
    norms = [
        (functional.avg_pool2d(part.square(), side, side // 2) + 1e-6).sqrt().mean((1, 2, 3))
        for part in (difference, *gradients(difference))
    ]
    return norms[0] + norms[1] + norms[2]


def energy_score(first: torch.Tensor, second: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """How wrong two independent draws are about what they foretell, (N, C, H, W) in model range -> (N,).

    Their mean `window_distance` from the target, less half of the one between them: of all ways to draw, its mean is
    least for those that draw each window as the target's is distributed (Gneiting and Raftery 2007, section 4.3); how
    windows that do not overlap go together it does not see. A plain distance is least for one image in the middle of
    them, which is blurred or, taught to be sharp, patterned.
    """
    wrong = (window_distance(first, target) + window_distance(second, target)) / 2
    return wrong - window_distance(first, second) / 2


def gradient_penalty(scores: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """How steeply a critic's ``scores`` (N, 1, h, w) of real ``images`` (N, C, H, W) rise, squared, scalar.

    R1 of Mescheder et al. 2018 (arXiv:1801.04406), by the sum of the scores of an image and over their number.
    """
    import torch

    (slope,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return slope.square().sum() / scores.numel()


def psnr(output: torch.Tensor, target: torch.Tensor, data_range: float) -> torch.Tensor:
    """Peak signal-to-noise ratio in dB of each image, (N, C, H, W) -> (N,); ``data_range`` is the full scale."""
    error = (output.float() - target.float()).square().mean((1, 2, 3))
    return 10 * (data_range**2 / error).log10()


def gradient_energy_ratio(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Energy of the differences of ``output`` over those of ``target``, (N, C, H, W) -> (N,): 1 is as sharp."""
    top, bottom = (
        down.float().square().sum((1, 2, 3)) + across.float().square().sum((1, 2, 3))
        for down, across in (gradients(output), gradients(target))
    )
    return top / bottom


def masked_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, positive_weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean binary cross-entropy over the entries whose target is not NaN; 0, with a gradient of 0, where none is.

    ``positive_weights`` (F,), if given, multiply the loss of the positives of each column of (N, F).
    """
    from torch.nn import functional

    known = ~targets.isnan()
    each = functional.binary_cross_entropy_with_logits(
        logits, targets.nan_to_num(), reduction="none", pos_weight=positive_weights
    )
    return (each * known).sum() / known.sum().clamp(min=1)
