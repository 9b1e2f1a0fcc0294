"""The canonical frame: chests brought to one place and size by joint alignment, without a segmenter.

Congealing (Learned-Miller 2006, IEEE TPAMI 28:236): each small image is moved by a nearly isotropic affine until it
looks like the span of the first principal components of all. Five numbers an image: log scale, log anisotropy, shift
(x, y) in half sides, turn in radians. A pose maps canonical coordinates to those of the image, both in [-1, 1], x to
the right.
"""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gen.core.errors import BadInput
from gen.core.files import atomic_file

if TYPE_CHECKING:
    import torch

SIDE = 48  # pixels of the small images
COMPONENTS = 12
# Limits of a pose, in its own units. Anisotropy stays small, or emphysema, habitus and a child's look would vanish.
LIMITS = (0.45, 0.08, 0.35, 0.35, 0.2)
ZOOM = -0.15  # log scale of the canonical frame against the mean image: lungs fill some four fifths of its width
# Correlation with the mean image: below the first no fit is right, above the second nearly all are, by eye on 191
# images whose misfit was above the residual.
UNLIKE, LIKE = 0.3, 0.55
RESTART = 0.6  # of the residual of a frame: a worse fit is tried from other starts
STARTS = ((-0.25, 0.0), (0.2, 0.0), (-0.15, 0.2), (-0.15, -0.2))  # log scale and shift down
_RIM = SIDE // 12  # the outer pixels, where letters and collimators stand, decide nothing


@dataclass(frozen=True)
class Frame:
    """What images are aligned to: ``mean`` (SIDE, SIDE) and ``basis`` (COMPONENTS, SIDE, SIDE), float32, orthonormal.

    ``residual`` is the 95th percentile of the misfit of the images that it was fitted to.
    """

    mean: np.ndarray
    basis: np.ndarray
    residual: float

    def save(self, path: str | Path) -> None:
        """Write a NumPy archive, atomically."""
        with atomic_file(path) as stream:
            np.savez(stream, mean=self.mean, basis=self.basis, residual=np.float32(self.residual))

    @classmethod
    def load(cls, path: str | Path) -> Frame:
        """Read what `save` wrote. Raises BadInput for anything else."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                frame = cls(stored["mean"], stored["basis"], float(stored["residual"]))
            if (frame.mean.shape, frame.basis.shape) != ((SIDE, SIDE), (COMPONENTS, SIDE, SIDE)):
                raise ValueError(f"its arrays are {frame.mean.shape} and {frame.basis.shape}")
            return frame
        except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise BadInput(
                f"{path} is no canonical frame ({error})", hint="use the frame.npz of `gen data prepare`"
            ) from error


def fit_frame(images: np.ndarray, inside: np.ndarray, rounds: int = 4) -> tuple[Frame, np.ndarray]:
    """Align ``images`` with each other; the frame that results, and the poses (N, 5) float32.

    ``images`` (N, SIDE, SIDE) float32 in [0, 1] have their exposure normalised, ``inside`` is 1 where they show
    something. The mean pose is 0, so that the frame is as large as the images on average.
    """
    import torch

    pixels, seen = torch.from_numpy(images)[:, None], torch.from_numpy(inside)[:, None]
    poses = torch.zeros(len(images), 5)
    frame = Frame(images.mean(0), np.zeros((COMPONENTS, SIDE, SIDE), np.float32), math.inf)
    for round_ in range(rounds):
        # Against the mean first, then against the components, so that kinds of image keep their look.
        poses, _ = _descend(pixels, seen, poses, frame, centred=True)
        frame = _frame_of(warp(pixels, poses)[:, 0].numpy(), COMPONENTS if round_ >= 1 else 0)
    poses, misfit = _descend(pixels, seen, poses, frame, centred=True)
    again = _restarted(pixels, seen, frame, misfit > misfit.quantile(0.7))
    poses, misfit = _better(poses, misfit, again)
    sound = misfit <= misfit.quantile(0.95)
    frame = _frame_of(warp(pixels[sound], poses[sound])[:, 0].numpy(), COMPONENTS)
    return Frame(frame.mean, frame.basis, float(misfit.quantile(0.95))), poses.numpy()


def align(images: np.ndarray, inside: np.ndarray, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Poses (N, 5) of ``images`` (N, SIDE, SIDE) in ``frame``, and whether each of them fits (N,); each image alone.

    A wrong fit has a large misfit and looks unlike the mean. A large misfit alone also means an unusual chest.
    """
    poses, fits = np.zeros((len(images), 5), np.float32), np.zeros(len(images), bool)
    for start in range(0, len(images), 256):  # the memory of a descent, not its result, grows with the number
        part = slice(start, start + 256)
        poses[part], fits[part] = _align(images[part], inside[part], frame)
    return poses, fits


def _align(images: np.ndarray, inside: np.ndarray, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    import torch

    pixels, seen = torch.from_numpy(images)[:, None], torch.from_numpy(inside)[:, None]
    poses, misfit = _descend(pixels, seen, torch.zeros(len(images), 5), frame, steps=60)
    again = _restarted(pixels, seen, frame, misfit > RESTART * frame.residual)
    poses, misfit = _better(poses, misfit, again)
    moved, weight = warp(pixels, poses), warp(seen, poses, outside="zeros") * _middle()
    likeness = _correlation(moved, torch.from_numpy(frame.mean)[None, None], weight)
    fits = (likeness > UNLIKE) & ((misfit <= frame.residual) | (likeness > LIKE))
    return poses.numpy(), fits.numpy()


def to_canonical(pixels: np.ndarray, pose: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """An image (H, W), taken on the square around it, in the canonical frame: float32 (side, side), and where it shows
    something, bool (side, side).
    """
    import torch
    from torch.nn import functional

    height, width = pixels.shape
    matrix = matrices(torch.from_numpy(pose[None] + np.array([ZOOM, 0, 0, 0, 0], np.float32)))[0]
    # Coordinates of the square around the image become those of the image itself.
    matrix = matrix * torch.tensor([[max(pixels.shape) / width], [max(pixels.shape) / height]])
    fine = 2 * side  # sampled twice as fine and averaged, against aliasing
    grid = functional.affine_grid(matrix[None], [1, 1, fine, fine], align_corners=False)
    source = torch.from_numpy(np.ascontiguousarray(pixels))[None, None]
    if (shrink := 2 * fine / max(pixels.shape)) < 1:  # a detector's full resolution would alias
        source = functional.interpolate(source, scale_factor=shrink, mode="bilinear", antialias=True)
    moved = functional.grid_sample(source, grid, mode="bicubic", padding_mode="border", align_corners=False)
    halved = functional.avg_pool2d(moved, 2)[0, 0].clamp(0, 1)
    inside = (grid[0, ::2, ::2].abs() < 0.99).all(-1)
    return halved.numpy(), inside.numpy()


def matrices(poses: torch.Tensor) -> torch.Tensor:
    """Poses (N, 5) -> affine matrices (N, 2, 3), canonical coordinates to those of the image."""
    import torch

    scale, stretch, x, y, turn = poses.unbind(1)
    wide, high = (scale + stretch).exp(), (scale - stretch).exp()
    top = torch.stack([wide * turn.cos(), -high * turn.sin(), x], 1)
    return torch.stack([top, torch.stack([wide * turn.sin(), high * turn.cos(), y], 1)], 1)


def warp(images: torch.Tensor, poses: torch.Tensor, outside: str = "border") -> torch.Tensor:
    """Small square ``images`` (N, C, S, S) moved by ``poses``, before the zoom of the canonical frame."""
    from torch.nn import functional

    grid = functional.affine_grid(matrices(poses), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode=outside, align_corners=False)


def _middle() -> torch.Tensor:
    import torch

    middle = torch.zeros(1, 1, SIDE, SIDE)
    middle[..., _RIM:-_RIM, _RIM:-_RIM] = 1
    return middle


def _correlation(images: torch.Tensor, other: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weighted correlation (N,) of each of ``images`` (N, 1, S, S) with ``other``."""
    share = weight / weight.sum((1, 2, 3), keepdim=True).clamp(min=1)
    a, b = (x - (x * share).sum((1, 2, 3), keepdim=True) for x in (images, other))
    spread = ((a * a * share).sum((1, 2, 3)) * (b * b * share).sum((1, 2, 3))).sqrt()
    return (a * b * share).sum((1, 2, 3)) / spread.clamp(min=1e-6)


def _frame_of(aligned: np.ndarray, components: int) -> Frame:
    mean = aligned.mean(0)
    basis = np.zeros((COMPONENTS, SIDE * SIDE), np.float32)
    if components:
        from scipy.sparse.linalg import svds

        flat = (aligned - mean).reshape(len(aligned), -1)
        basis[:components] = svds(flat, k=components, v0=np.ones(min(flat.shape), np.float32))[2]
    return Frame(mean, basis.reshape(COMPONENTS, SIDE, SIDE).astype(np.float32), math.inf)


def _descend(
    pixels: torch.Tensor, seen: torch.Tensor, start: torch.Tensor, frame: Frame, centred: bool = False, steps: int = 30
) -> tuple[torch.Tensor, torch.Tensor]:
    """Poses and misfits after gradient descent from ``start``; with ``centred`` the mean pose stays 0."""
    import torch

    limits, poses = torch.tensor(LIMITS), start.clone().requires_grad_(True)
    mean, basis = torch.from_numpy(frame.mean)[None, None], torch.from_numpy(frame.basis).flatten(1)
    middle = _middle()
    optimiser = torch.optim.Adam([poses], lr=0.02)
    for _ in range(steps):
        moved, weight = warp(pixels, poses), warp(seen, poses, outside="zeros") * middle
        with torch.no_grad():  # the part of it that the components explain, where there is something to see
            rest = ((moved - mean) * weight).flatten(1)
            target = mean + ((rest @ basis.T) @ basis).view_as(moved)
        misfit = ((moved - target).square() * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp(min=100)
        optimiser.zero_grad()
        (misfit + 2e-3 * poses.square().sum(1)).sum().backward()
        optimiser.step()
        with torch.no_grad():
            if centred:
                poses -= poses.mean(0)
            poses.copy_(torch.maximum(torch.minimum(poses, limits), -limits))
    return poses.detach(), misfit.detach()


def _restarted(
    pixels: torch.Tensor, seen: torch.Tensor, frame: Frame, chosen: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The best of several starts for the ``chosen`` (N,) images: which they are, poses, misfits."""
    import torch

    places = chosen.nonzero()[:, 0]
    if not len(places):
        return places, torch.zeros(0, 5), torch.zeros(0)
    tries = []
    for scale, down in STARTS:
        start = torch.zeros(len(places), 5)
        start[:, 0], start[:, 3] = scale, down
        tries.append(_descend(pixels[places], seen[places], start, frame, steps=60))
    misfits = torch.stack([misfit for _, misfit in tries])
    best = misfits.argmin(0)
    poses = torch.stack([poses for poses, _ in tries])[best, torch.arange(len(places))]
    return places, poses, misfits.amin(0)


def _better(
    poses: torch.Tensor, misfit: torch.Tensor, again: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    places, others, misfits = again
    wins = misfits < misfit[places]
    poses, misfit = poses.clone(), misfit.clone()
    poses[places[wins]], misfit[places[wins]] = others[wins], misfits[wins]
    return poses, misfit
