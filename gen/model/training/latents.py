"""Latents: the patch PCA that an encoder can hold exactly, posterior moments, and whitening folded into the weights.

Model range is [-1, 1]; "diffusion range" is what the denoiser sees, raw latents times the folder's ``scaling_factor``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from gen.core.errors import BadInput

if TYPE_CHECKING:
    import torch

# Of AutoencoderTiny's latents: its decoder squashes by 3 tanh(z / 3), which is nearly z up to 3 sigma then.
RAW_STD = 0.5


def patch_pca(pixels_u8: np.ndarray, patch: int, channels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Principal components of the ``patch`` x ``patch`` blocks of ``pixels_u8`` (N, H, W), in units of [0, 1].

    Returns basis (channels, patch**2), mean (patch**2,), and the standard deviation (channels,) along each component.
    """
    blocks = as_blocks(np.asarray(pixels_u8, np.float32) / 255, patch).reshape(-1, patch * patch)
    mean = blocks.mean(0, dtype=np.float64)
    values, vectors = np.linalg.eigh(np.cov(blocks - mean.astype(np.float32), rowvar=False))
    order = np.argsort(values)[::-1][:channels]
    basis = vectors[:, order].T
    # The first component becomes positive. Others may sum to nearly 0, and then their sign is the solver's.
    basis *= np.sign(basis.sum(1, keepdims=True) + 1e-12)
    return basis, mean, np.sqrt(values[order])


def as_blocks(images: np.ndarray, patch: int) -> np.ndarray:
    """(N, H, W) -> (N, H / patch, W / patch, patch, patch)."""
    count, height, width = images.shape
    grid = images.reshape(count, height // patch, patch, width // patch, patch)
    return grid.transpose(0, 1, 3, 2, 4)


def set_patch_encoder(vae: Any, basis: np.ndarray, mean: np.ndarray, std: np.ndarray, whitening: float = 1.0) -> None:
    """Make the encoder of an `AutoencoderTiny` without blocks the patch transform, its first channel of size RAW_STD.

    ``whitening`` 1 makes all channels as large, 0 leaves them as they are, between them channel k is
    (std[k] / std[0]) ** (1 - whitening) of the first. Stride-2 convolutions gather 2 x 2 pixels each, so k of them hold
    a 2**k patch in 4**k channels.
    """
    import torch

    first, *downs, last = [layer for layer in vae.encoder.layers if hasattr(layer, "weight")]
    patch = 2 ** len(downs)
    if last.in_channels < patch * patch:
        raise BadInput(f"an encoder of {last.in_channels} channels cannot hold patches of {patch} x {patch} pixels")
    with torch.no_grad():
        for layer in (first, *downs, last):
            layer.weight.zero_()
            if layer.bias is not None:
                layer.bias.zero_()
        first.weight[0, 0, 1, 1] = 1
        for level, layer in enumerate(downs):
            for channel in range(4**level):
                for tap in range(4):  # with padding 1, taps 1 and 2 of the kernel are the pixels 2i and 2i + 1
                    layer.weight[4 * channel + tap, channel, 1 + tap // 2, 1 + tap % 2] = 1
        pixel = torch.as_tensor(_pixel_of_channel(len(downs)))
        sizes = (std / std[0]) ** (1 - whitening) * RAW_STD
        scaled = torch.as_tensor(basis * (sizes / std)[:, None], dtype=torch.float32)
        last.weight[:, : patch * patch, 1, 1] = scaled[:, pixel]
        last.bias.copy_(-scaled @ torch.as_tensor(mean, dtype=torch.float32))
    vae.register_to_config(scaling_factor=1 / RAW_STD)


def _pixel_of_channel(levels: int) -> list[int]:
    """Which pixel of the patch (row-major) each channel holds after ``levels`` 2 x 2 gathers, coarsest digit last."""
    side = 2**levels
    pixels = []
    for channel in range(4**levels):
        row = column = 0
        for level in range(levels):  # digit `level` from the top was gathered at resolution 2**level
            tap = channel // 4 ** (levels - 1 - level) % 4
            row, column = row + (tap // 2) * 2**level, column + (tap % 2) * 2**level
        pixels.append(row * side + column)
    return pixels


def is_linear(vae: Any) -> bool:
    """Whether the encoder of ``vae`` has no nonlinearity (an `AutoencoderTiny` without encoder blocks)."""
    return type(vae).__name__ == "AutoencoderTiny" and not any(vae.config.num_encoder_blocks)


def freeze_linear_encoder(vae: Any) -> bool:
    """Freeze the encoder if it is a linear one."""
    if is_linear(vae):
        vae.encoder.requires_grad_(False)
    return is_linear(vae)


def linear_encoder(vae: Any) -> Any:
    """The encoder of ``vae`` as one convolution of images (N, 1, H, W) in [-1, 1], where `set_patch_encoder` made it.

    None for any other. It gives the same numbers to rounding, in a small part of the time.
    """
    import torch

    patch = shrink_factor(vae)
    if not is_linear(vae) or vae.config.in_channels != 1:
        return None
    device = next(vae.parameters()).device
    pixels = torch.eye(patch * patch, device=device).view(-1, 1, patch, patch)
    with torch.no_grad():  # -1 is black, where ReLU passes what the others add
        level = vae.encode(torch.full((1, 1, patch, patch), -1.0, device=device)).latents
        slopes = vae.encode(2 * pixels - 1).latents - level
        probe = torch.linspace(-1, 1, 9 * patch * patch, device=device).view(1, 1, 3 * patch, 3 * patch)
    kernel = slopes[:, :, 0, 0].T.reshape(-1, 1, patch, patch)

    def encode(images: torch.Tensor) -> torch.Tensor:
        found = torch.nn.functional.conv2d((images + 1) / 2, kernel, stride=patch)
        return found + level[:, :, :1, :1]

    with torch.no_grad():
        same = torch.allclose(encode(probe), vae.encode(probe).latents, atol=1e-4)
    return encode if same else None


def refit_patch_encoder(vae: Any, basis: np.ndarray, mean: np.ndarray, std: np.ndarray, whitening: float) -> None:
    """`set_patch_encoder` anew for other images, the decoder carried along by the linear map between the latents.

    Raises BadInput for an encoder that is not linear, or of another number of channels.
    """
    import torch

    old = linear_encoder(vae)
    if old is None or vae.config.latent_channels != len(basis):
        raise BadInput("refit_encoder needs an init whose encoder is a patch transform of as many channels")
    patch = shrink_factor(vae)
    set_patch_encoder(vae, basis, mean, std, whitening)
    new = linear_encoder(vae)
    corners = torch.cat([torch.zeros(1, patch * patch), torch.eye(patch * patch)]).view(-1, 1, patch, patch) * 2 - 1
    before, after = old(corners)[:, :, 0, 0].double(), new(corners)[:, :, 0, 0].double()
    # Least squares over patches as the images have them: their covariance is that of the leading components.
    weights = torch.as_tensor(basis * std[:, None], dtype=torch.float64)  # (C, patch**2), one row a component
    slopes_old, slopes_new = weights @ (before[1:] - before[0]), weights @ (after[1:] - after[0])
    turn = torch.linalg.lstsq(slopes_new, slopes_old).solution  # new latents @ turn = old latents, up to a shift
    middle = torch.as_tensor(mean, dtype=torch.float64)
    shift = before[0] + middle @ (before[1:] - before[0]) - (after[0] + middle @ (after[1:] - after[0])) @ turn
    first = next(layer for layer in vae.decoder.layers if hasattr(layer, "weight"))
    with torch.no_grad():
        kernel = first.weight.double()
        first.bias += (kernel.sum((2, 3)) @ shift).float()
        first.weight.copy_(torch.einsum("ochw,nc->onhw", kernel, turn).float())


def moments(vae: Any, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Mean and standard deviation (None where it is 0) of the raw latents of ``images`` (N, C, H, W) in [-1, 1]."""
    encoded = vae.encode(images)
    if hasattr(encoded, "latents"):
        return encoded.latents, None
    return encoded.latent_dist.mean, encoded.latent_dist.std


def shrink_factor(vae: Any) -> int:
    """How many pixels a side one latent stands for."""
    return int(2 ** (len(vae.config.block_out_channels) - 1))


def whiten(vae: Any, mean: torch.Tensor, std: torch.Tensor) -> None:
    """Fold (z - mean) / std per channel into an `AutoencoderKL`'s 1 x 1 convolutions; its scaling factor becomes 1.

    ``mean`` and ``std`` (C,) are of the raw latents. The stock pipeline, which knows one factor only, then decodes the
    whitened latents to the same pixels as before. BadInput for an autoencoder without these convolutions.
    """
    import torch

    before, after = getattr(vae, "quant_conv", None), getattr(vae, "post_quant_conv", None)
    if before is None or after is None:
        raise BadInput(f"{type(vae).__name__} has no quant_conv to fold the whitening into")
    channels = len(mean)
    with torch.no_grad():
        before.weight[:channels] /= std[:, None, None, None]
        before.bias[:channels] = (before.bias[:channels] - mean) / std
        before.bias[channels:] -= 2 * std.log()  # the second half is the log variance
        after.bias += after.weight[:, :, 0, 0] @ mean
        after.weight *= std[None, :, None, None]
    vae.register_to_config(scaling_factor=1.0)


def linear_rebuild(pixels_u8: np.ndarray, basis: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """``pixels_u8`` (N, H, W) through the patch PCA and back, float32 in [0, 1]: what an autoencoder has to beat."""
    patch = math.isqrt(len(mean))
    blocks = as_blocks(np.asarray(pixels_u8, np.float32) / 255, patch)
    flat = blocks.reshape(*blocks.shape[:3], -1) - mean
    rebuilt = (flat @ basis.T) @ basis + mean
    grid = rebuilt.reshape(blocks.shape).transpose(0, 1, 3, 2, 4)
    return np.clip(grid.reshape(pixels_u8.shape), 0, 1).astype(np.float32)


def whiten_to(vae: Any, pixels_u8: np.ndarray, images: int = 256) -> None:
    """`whiten` an `AutoencoderKL` by the latents of up to ``images`` of ``pixels_u8`` (N, H, W), spread evenly.

    Other classes stay as they are: an `AutoencoderTiny` of ours is white by construction.
    """
    import torch

    from gen.data.loader import to_model_range

    if type(vae).__name__ != "AutoencoderKL":
        return
    device = next(vae.parameters()).device
    chosen = pixels_u8[:: -(-len(pixels_u8) // images)]
    with torch.no_grad():
        parts = [vae.encode(to_model_range(part).to(device)) for part in np.array_split(chosen, 16) if len(part)]
        mean = torch.cat([part.latent_dist.mean for part in parts])
        spread = torch.cat([part.latent_dist.std for part in parts])
        variance = mean.var((0, 2, 3)) + spread.square().mean((0, 2, 3))
    whiten(vae, mean.mean((0, 2, 3)), variance.sqrt())
