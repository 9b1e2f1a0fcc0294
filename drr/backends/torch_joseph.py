"""Joseph's projection in torch, on CPU and CUDA, differentiable in voxels and pose: for 2-D/3-D registration.

The same sampling as the oracle in numpy: slab by slab along the main axis, bilinear within a slab (P. M. Joseph, An
improved algorithm for reprojecting rays through pixel images, IEEE Trans Med Imaging 1982;1(3):192-196).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample
from torch.utils.checkpoint import checkpoint

from drr.geometry import Geometry
from gen.core.errors import BadInput

SAMPLES = 1 << 25
"""Numbers held at a time, some 300 MB in float32 with what it takes to get them; the backward pass computes them anew.
Much smaller pieces fragment the C library's heap: the process then grows by gigabytes."""


def pose_of(
    geometry: Geometry,
    direction: np.ndarray,
    origin_mm: Sequence[float] | np.ndarray,
    offset: Tensor | None = None,
    centre_mm: Sequence[float] | np.ndarray = (0.0, 0.0, 0.0),
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``geometry`` in the frame of a volume: source, corner, row and column, float64 (3,) in mm, in order x, y, z.

    In that frame voxel [0, 0, 0] is at 0 and the axes are those of the grid. ``offset`` (6,) moves the patient under
    the beam before the exposure: a rotation vector in radians about ``centre_mm``, then a translation in mm, all in
    patient coordinates. What is returned is differentiable in it and lies on its device.
    """
    device = None if offset is None else offset.device

    def tensor(values: Sequence[float] | np.ndarray) -> Tensor:
        return torch.as_tensor(np.asarray(values, np.float64), device=device)

    points = torch.stack([tensor(geometry.source_mm), tensor(geometry.corner_mm)])
    steps = torch.stack([tensor(geometry.row_mm), tensor(geometry.column_mm)])
    if offset is not None:
        # The patient's motion p -> R (p - c) + c + t, undone for what stands still.
        x, y, z, *_ = moved = offset.to(torch.float64)
        nought = torch.zeros_like(x)
        generator = torch.stack([nought, -z, y, z, nought, -x, -y, x, nought]).reshape(3, 3)
        rotation = torch.linalg.matrix_exp(generator)
        points = (points - tensor(centre_mm) - moved[3:]) @ rotation + tensor(centre_mm)
        steps = steps @ rotation
    axes = tensor(direction)
    source, corner = (points - tensor(origin_mm)) @ axes
    row, column = steps @ axes
    return source, corner, row, column


def project_torch(
    numbers: Tensor,
    spacing_mm: Sequence[float],
    source_mm: Tensor,
    corner_mm: Tensor,
    row_mm: Tensor,
    column_mm: Tensor,
    shape: tuple[int, int],
) -> Tensor:
    """Water-equivalent path in mm through ``numbers`` (HU + 1000): (z, y, x) -> (H, W), or (M, z, y, x) -> (M, H, W).

    ``spacing_mm`` is (z, y, x); the pose is in the volume's frame, as `pose_of` gives it. Gradients flow to the
    numbers, where they are floating, and to the four pose tensors. The result has the numbers' type, float32 for
    integers; the rays are float64, and whole lines: the volume is to lie between source and detector. Voxels outside
    the grid are 0. BadInput where a ray runs along the slabs.
    """
    stacks = numbers if numbers.ndim == 4 else numbers[None]
    dtype = numbers.dtype if numbers.is_floating_point() else torch.float32
    source, corner, row, column = (
        part.to(numbers.device, torch.float64) for part in (source_mm, corner_mm, row_mm, column_mm)
    )
    i, j = (torch.arange(n, dtype=torch.float64, device=numbers.device) for n in shape)
    rays = corner - source + i[:, None, None] * row + j[:, None] * column  # (H, W, 3)

    # x, y, z are the last three dimensions, backwards: the slabs lie across `main`, `across` and `down` within a slab.
    central = (rays[0, 0] + rays[-1, -1]).detach()
    spacing = tuple(reversed(spacing_mm))
    main = int((central.abs() / central.new_tensor(spacing)).argmax())
    across, down = (axis for axis in range(3) if axis != main)
    along = rays[..., main]
    if (along * central[main].sign() <= 0).any():
        raise BadInput("a ray runs along the slabs of the volume", hint="the cone of the beam is too wide")
    slabs = stacks.movedim(3 - main, 0)  # (slabs, M, down, across)

    # Index of a ray in slab k: start + k step, then to grid_sample's -1..1 between the outer edges of the grid.
    starts, steps = [], []
    for axis in (across, down):
        size = stacks.shape[3 - axis]
        slope = rays[..., axis] / along
        at_zero = (source[axis] - source[main] * slope) / spacing[axis]
        starts.append((2 * at_zero + 1) / size - 1)
        steps.append(2 * slope * spacing[main] / spacing[axis] / size)
    start, step = (torch.stack(parts, -1).to(dtype) for parts in (starts, steps))

    def add_up(chunk: Tensor, start: Tensor, step: Tensor, first: int) -> Tensor:
        k = torch.arange(first, first + len(chunk), dtype=dtype, device=chunk.device)[:, None, None, None]
        return grid_sample(chunk.to(dtype), torch.addcmul(start, k, step), align_corners=False).sum(0)

    total = torch.zeros(len(stacks), *shape, dtype=dtype, device=numbers.device)
    count = max(1, SAMPLES // (shape[0] * shape[1] * (len(stacks) + 2)))
    for first, chunk in zip(range(0, len(slabs), count), slabs.split(count), strict=True):
        total = total + checkpoint(add_up, chunk, start, step, first, use_reentrant=False, preserve_rng_state=False)
    weight = spacing[main] / 1000 * torch.linalg.vector_norm(rays, dim=-1) / along.abs()
    image = total * weight.to(dtype)
    return image if numbers.ndim == 4 else image[0]
