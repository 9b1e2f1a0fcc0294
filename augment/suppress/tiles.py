"""The network on an image of any size: tiles with a margin as wide as its reach, so that no seam can be seen."""

from __future__ import annotations

import numpy as np
import torch

from augment.suppress.network import SuppressNetwork

TILE = 1024  # pixels: the memory of a tile with its margins is about 1 GB at the most


def bone_of(network: SuppressNetwork, display: np.ndarray, tile: int = TILE) -> np.ndarray:
    """What bone adds to ``display`` float32 (H, W) in [0, 1], of its shape; the tile changes it by rounding alone."""
    multiple, reach = network.multiple, network.reach
    tile = max(-(-tile // multiple), 1) * multiple
    height, width = display.shape
    padded = np.pad(display, ((0, -height % multiple), (0, -width % multiple)), mode="edge")
    bone = np.empty(padded.shape, np.float32)
    device = next(network.parameters()).device
    rows, columns = padded.shape
    for top in range(0, rows, tile):
        for left in range(0, columns, tile):
            first, start = max(0, top - reach), max(0, left - reach)
            part = padded[first : top + tile + reach, start : left + tile + reach]
            tensor = torch.from_numpy(np.ascontiguousarray(part, np.float32))[None, None].to(device)
            with torch.inference_mode():
                found = network(tensor)[0, 0].float().cpu().numpy()
            inside = found[top - first :, left - start :][:tile, :tile]
            bone[top : top + tile, left : left + tile] = inside
    return bone[:height, :width]
