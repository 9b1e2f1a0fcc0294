"""Several processes: two of them with half a batch each learn what one learns with the whole batch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.model.conftest import CONFIGS, Ended, denoiser_overrides

TWO = "torch.distributed.run --nproc_per_node 2 -m gen.cli"


def in_two(*arguments: str) -> Ended:
    command = [sys.executable, "-m", *TWO.split(), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    return Ended(done.returncode, done.stdout, done.stderr)


def test_two_processes_learn_what_one_does(
    gen: Callable[..., Ended], toy_data: Path, toy_autoencoder: Path, tmp_path: Path
) -> None:
    for kind in ("autoencoder", "denoiser"):
        states = []
        for count, call in ((1, gen), (2, in_two)):
            out = tmp_path / f"{kind}-{count}"
            overrides = denoiser_overrides(out, toy_data, toy_autoencoder)
            overrides = [word for word in overrides if kind == "denoiser" or not word.startswith("autoencoder=")]
            overrides += [f"batch_size={4 // count}", "images=32", "checkpoint_every=32"]
            if kind == "autoencoder":
                overrides += ["adversarial_weight=0.01"]
            ended = call("train", kind, str(CONFIGS / f"{kind}_toy.yaml"), *overrides)
            assert ended.code == 0, ended.err[-2000:]
            assert ended.err.count("device cpu") == 1, "the main process speaks, and no other"
            assert json.loads((out / "run.json").read_text())["inputs"]["processes"] == count
            state = out / "checkpoints" / "images-000000032" / "state"
            states.append(load_file(state / f"{kind}.safetensors"))
        one, two = states
        for key in one:
            # Muon multiplies in bfloat16, whose rounding shows in single weights.
            torch.testing.assert_close(two[key], one[key], rtol=1e-2, atol=5e-3)
