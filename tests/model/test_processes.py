"""Several processes: two of them with half a batch each learn what one learns with the whole batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from .conftest import CONFIGS, denoiser_overrides

TWO = "torch.distributed.run --nproc_per_node 2 -m"


def train(launcher: str, arguments: list[str], folder: Path) -> str:
    """Train, and return what was written to stderr."""
    command = [sys.executable, "-m", *launcher.split(), "gen.cli", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr


def test_two_processes_learn_what_one_does(toy_data: Path, toy_autoencoder: Path, tmp_path: Path) -> None:
    for kind in ("autoencoder", "denoiser"):
        states = []
        for name, launcher, batch in (("one", "", 4), ("two", TWO, 2)):
            out = tmp_path / f"{kind}-{name}"
            overrides = denoiser_overrides(out, toy_data, toy_autoencoder)
            overrides = [word for word in overrides if kind == "denoiser" or not word.startswith("autoencoder=")]
            overrides += [f"batch_size={batch}", "images=32", "checkpoint_every=32"]
            if kind == "autoencoder":
                overrides += ["adversarial_weight=0.01"]
            said = train(launcher, ["train", kind, str(CONFIGS / f"{kind}_toy.yaml"), *overrides], tmp_path)
            assert said.count("device cpu") == 1, "the main process speaks, and no other"
            processes = json.loads((out / "run.json").read_text())["inputs"]["processes"]
            assert processes == (2 if launcher else 1)
            state = out / "checkpoints" / "images-000000032" / "state"
            states.append(load_file(state / f"{kind}.safetensors"))
        one, two = states
        for key in one:
            torch.testing.assert_close(two[key], one[key], rtol=1e-3, atol=1e-4)
