"""Fakes for the judge: real images through a generator's autoencoder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from gen.judge.fakes import reconstruct


def test_what_is_rebuilt_is_decoded_as_samples_are(toy_model: Path, tmp_path: Path) -> None:
    model = shutil.copytree(toy_model, tmp_path / "model")
    path = model / "capabilities.json"
    shown = json.loads(path.read_text())
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32)).astype(np.uint8)
    plain = reconstruct(model, pixels)
    path.write_text(json.dumps({**shown, "decoder_noise": [0.0, 1.0, 0.0, 1.0]}))
    drawn = reconstruct(model, pixels)
    assert (drawn != plain).any((1, 2)).all()
    assert np.array_equal(reconstruct(model, pixels[:3], batch_size=2), drawn[:3]), "each image has noise of its own"
    same = reconstruct(model, np.repeat(pixels[:1], 2, 0))
    assert not np.array_equal(*same)
