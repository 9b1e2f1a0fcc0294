"""An anatomy network's folder, and the network ready for use: images of any size in, probabilities out."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from gen.anatomy.network import ORGANS, AnatomyNetwork, AnatomyShape
from gen.core.bundled import bundled_anatomy
from gen.core.errors import BadInput
from gen.core.files import read_json, sha256_file, write_json

ANATOMY, UNET, WEIGHTS = "anatomy.json", "unet", "diffusion_pytorch_model.safetensors"
BATCH = 8  # images that are in the network at once


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A network ready for use, for images of ``size`` pixels a side; others are resampled."""

    name: str
    fingerprint: str
    network: AnatomyNetwork
    size: int

    @torch.inference_mode()
    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """The probability of each organ at each pixel: float32 (N, 10, H, W) in the order of ORGANS.

        ``images`` float32 (N, H, W) in [0, 1], bone bright, of any size: they are padded to a square with black and
        resampled, and the result is resampled back.
        """
        if images.ndim != 3 or not np.issubdtype(images.dtype, np.floating):
            raise BadInput(f"images for the anatomy are float (N, H, W), not {images.dtype} {images.shape}")
        place = next(self.network.parameters()).device
        parts = [np.empty((0, len(ORGANS), *images.shape[1:]), np.float32)]
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH], np.float32))[:, None]
            parts.append(self._probabilities(batch.to(place)).cpu().numpy())
        return np.concatenate(parts)

    def _probabilities(self, images: torch.Tensor) -> torch.Tensor:
        """Of float (N, 1, H, W): in one go."""
        height, width = images.shape[-2:]
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        square = functional.pad(images, (left, side - width - left, top, side - height - top))
        if side != self.size:
            square = functional.interpolate(square, size=(self.size,) * 2, mode="bilinear", antialias=True)
        found = self.network(square.clamp(0, 1)).sigmoid()
        if side != self.size:
            found = functional.interpolate(found, size=(side, side), mode="bilinear", antialias=True)
        return found[..., top : top + height, left : left + width]


def load_anatomy(folder: str | Path | None = None, device: str = "cpu") -> Anatomy:
    """The network in ``folder``, or the bundled one, in float32 on ``device``; BadInput names what is amiss."""
    folder = Path(folder) if folder is not None else bundled_anatomy()
    network, size = read_network(folder)
    files = [folder / ANATOMY, folder / UNET / "config.json", folder / UNET / WEIGHTS]
    listed = "\n".join(f"{path.relative_to(folder).as_posix()} {sha256_file(path)}" for path in files)
    fingerprint = hashlib.sha256(listed.encode()).hexdigest()[:16]
    return Anatomy(folder.resolve().name, fingerprint, network.to(torch.device(device)), size)


def write_network(folder: Path, network: AnatomyNetwork, size: int, dtype: torch.dtype | None = None) -> None:
    """Fill the new ``folder`` with ``network``, its weights in ``dtype`` if given, for images of ``size`` pixels."""
    from safetensors.torch import save_file

    (folder / UNET).mkdir(parents=True, exist_ok=True)
    network.unet.save_config(folder / UNET)
    # Training may have put the channels last.
    weights = {name: value.cpu().to(dtype).contiguous() for name, value in network.unet.state_dict().items()}
    save_file(weights, folder / UNET / WEIGHTS, metadata={"format": "pt"})
    facts = {"shape": dataclasses.asdict(network.shape), "organs": list(ORGANS), "size": size}
    write_json(folder / ANATOMY, facts)


def read_network(folder: Path) -> tuple[AnatomyNetwork, int]:
    """The network in ``folder``, float32 and frozen, and the size of its images; BadInput names what is amiss."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder, so there is no anatomy network in it")
    facts = read_json(folder / ANATOMY)
    try:
        if facts["organs"] != list(ORGANS):
            raise BadInput(f"{folder / ANATOMY} names other organs than {', '.join(ORGANS)}")
        network = AnatomyNetwork(AnatomyShape(**facts["shape"]))
        weights = {name: value.float() for name, value in load_file(folder / UNET / WEIGHTS).items()}
        network.unet.load_state_dict(weights)  # refuses what is missing and what is too much
        return network.eval().requires_grad_(False), int(facts["size"])
    except (KeyError, TypeError, ValueError, RuntimeError, OSError, SafetensorError) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise BadInput(f"{folder} is not a whole anatomy network: {what}", hint="copy it again, whole") from error
