"""A small autoencoder of the class of Gusarev et al. (2017, doi:10.1109/CIBCB.2017.8058543), on the same pairs.

Three levels of 16, 32 and 64 filters of 5 x 5, pooled and unpooled, without connections across, which say the soft
image itself; the mean squared error is the loss. It learns from the pairs and the examples of `gen train suppress`.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from augment.suppress.evaluate import Method
from augment.suppress.examples import Drawing, draw_example
from benchmarks import common
from gen.core.files import read_json, write_json

CROP, BATCH, SIDE = 192, 8, 512
FILTERS = (16, 32, 64)
WEIGHTS = "autoencoder.safetensors"


def autoencoder() -> nn.Sequential:
    """Float (N, 1, H, W), sides multiples of 8, to the same shape."""
    parts: list[nn.Module] = []
    before = 1
    for count in FILTERS:
        parts += [nn.Conv2d(before, count, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
        before = count
    for count in reversed(FILTERS):
        parts += [nn.Conv2d(before, count, 5, padding=2), nn.ReLU(), nn.Upsample(scale_factor=2)]
        before = count
    return nn.Sequential(*parts, nn.Conv2d(before, 1, 5, padding=2))


def load_peer(folder: Path) -> Method:
    """The autoencoder in ``folder``, on images whose shorter side is brought to SIDE pixels."""
    from safetensors.torch import load_file

    network = autoencoder().eval()
    network.load_state_dict(load_file(folder / WEIGHTS))

    def apply(pixels: np.ndarray) -> np.ndarray:
        scale = SIDE / min(pixels.shape)
        height, width = (round(n * scale) for n in pixels.shape)
        small = np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))
        padded = functional.pad(torch.from_numpy(small)[None, None], (0, -width % 8, 0, -height % 8), mode="replicate")
        with torch.inference_mode():
            soft = network(padded)[0, 0, :height, :width].numpy()
        return np.asarray(Image.fromarray(soft).resize(pixels.shape[::-1], Image.Resampling.BICUBIC)).clip(0, 1)

    return apply


@click.command()
@click.argument("pairs", type=click.Path(path_type=Path, exists=True))
@click.option("--without", multiple=True, default=("qin-lsc-0028", "qin-lsc-0049"), show_default=True)
@click.option("--minutes", type=click.FloatRange(0.01), default=60.0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=common.WORK / "suppress-peer", show_default=True)
def main(pairs: Path, without: tuple[str, ...], minutes: float, out: Path) -> None:
    """Train the autoencoder on PAIRS, the folder pairs/ of a run of gen train suppress, for some minutes."""
    from safetensors.torch import save_file

    paths = [path for path in sorted(pairs.glob("*.npy")) if not path.name.startswith(without)]
    torch.manual_seed(0)
    network = autoencoder()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    started, images, errors = time.perf_counter(), 0, []
    while time.perf_counter() - started < 60 * minutes:
        examples = [draw_example(paths, images + k, 1, CROP, Drawing()) for k in range(BATCH)]
        display, bone = (torch.from_numpy(np.stack([getattr(e, name) for e in examples]))[:, None] for name in KEYS)
        with torch.autocast("cpu", torch.bfloat16):
            soft = network(display)
        loss = functional.mse_loss(soft.float(), display - bone)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        images += BATCH
        errors.append(float(loss.detach()))
    out.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), out / WEIGHTS)
    write_json(out / "training.json", {"images": images, "minutes": minutes, "loss": float(np.mean(errors[-50:]))})
    print(read_json(out / "training.json"))


KEYS = ("display", "bone")

if __name__ == "__main__":
    common.launch(main)
