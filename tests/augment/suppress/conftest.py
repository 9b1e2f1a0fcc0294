"""A toy network with drawn weights in a folder, and a radiograph of drawn grey levels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from augment.suppress.folder import Suppressor, load_suppressor, write_network
from augment.suppress.network import SuppressNetwork, SuppressShape


def drawn_network(seed: int = 0, channels: tuple[int, ...] = (4, 6, 8), shuffle: int = 2) -> SuppressNetwork:
    """No weight of it is 0, so that everything within its reach acts."""
    torch.manual_seed(seed)
    network = SuppressNetwork(SuppressShape(channels=list(channels), shuffle=shuffle, blocks=1))
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.normal_(part.weight, std=0.15)
    return network.eval().requires_grad_(False)


def drawn_image(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """float32 (H, W) in [0, 1], smooth and with detail."""
    rng = np.random.default_rng(seed)
    rough = ndimage.gaussian_filter(rng.standard_normal(shape), 6) * 3 + 0.05 * rng.standard_normal(shape)
    return np.clip(0.5 + rough, 0, 1).astype(np.float32)


@pytest.fixture(scope="session")
def toy_suppressor_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suppressor")
    write_network(folder, drawn_network(), 144)
    return folder


@pytest.fixture(scope="session")
def toy_suppressor(toy_suppressor_folder: Path) -> Suppressor:
    return load_suppressor(toy_suppressor_folder)
