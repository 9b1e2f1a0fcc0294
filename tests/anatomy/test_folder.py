"""The anatomy network's folder: what is written is what is read, whatever the size of the images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gen.anatomy.folder import UNET, WEIGHTS, Anatomy, load_anatomy, write_network
from gen.anatomy.network import ORGANS, AnatomyNetwork, AnatomyShape
from gen.core.errors import BadInput
from gen.core.files import read_json, write_json

SMALL = AnatomyShape(widths=[8, 8], groups=4)


def _network(seed: int = 0, shape: AnatomyShape = SMALL) -> AnatomyNetwork:
    torch.manual_seed(seed)
    return AnatomyNetwork(shape)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("anatomy") / "network"
    write_network(made, _network(), 32)
    return made


@pytest.fixture(scope="module")
def anatomy(folder: Path) -> Anatomy:
    return load_anatomy(folder)


def test_the_network_of_the_config_takes_at_most_2_mb_in_half_precision() -> None:
    assert 2 * sum(weights.numel() for weights in _network(shape=AnatomyShape()).parameters()) <= 2_000_000


def test_a_folder_gives_back_its_network(folder: Path, anatomy: Anatomy) -> None:
    images = torch.rand(2, 1, 32, 32)
    with torch.inference_mode():
        assert torch.equal(anatomy.network(images), _network().eval()(images))
    assert load_anatomy(folder).fingerprint == anatomy.fingerprint


def test_other_weights_have_another_fingerprint(anatomy: Anatomy, tmp_path: Path) -> None:
    write_network(tmp_path / "other", _network(1), 32)
    assert load_anatomy(tmp_path / "other").fingerprint != anatomy.fingerprint


@settings(max_examples=20, deadline=None)
@given(count=st.integers(0, 9), height=st.integers(8, 70), width=st.integers(8, 70))
def test_masks_have_the_size_of_the_image_and_do_not_depend_on_the_batch(
    anatomy: Anatomy, count: int, height: int, width: int
) -> None:
    images = np.random.default_rng(height).random((count, height, width), np.float32)
    found = anatomy.probabilities(images)
    assert found.shape == (count, len(ORGANS), height, width)
    assert ((found >= 0) & (found <= 1)).all()
    for image, masks in zip(images[:2], found, strict=False):
        np.testing.assert_allclose(anatomy.probabilities(image[None])[0], masks, atol=1e-5)


def test_a_strip_is_seen_as_the_square_that_it_is_padded_to(anatomy: Anatomy) -> None:
    strip = np.random.default_rng(0).random((1, 32, 16), np.float32)
    square = np.pad(strip, ((0, 0), (0, 0), (8, 8)))
    np.testing.assert_allclose(anatomy.probabilities(strip), anatomy.probabilities(square)[..., 8:24], atol=1e-6)


@pytest.mark.parametrize("images", [np.zeros((32, 32), np.float32), np.zeros((1, 32, 32), np.uint8)])
def test_what_is_no_stack_of_images_in_0_to_1_is_refused(anatomy: Anatomy, images: np.ndarray) -> None:
    with pytest.raises(BadInput, match="float"):
        anatomy.probabilities(images)


def _cut(folder: Path) -> None:
    weights = folder / UNET / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-100])


def _rename_an_organ(folder: Path) -> None:
    facts = read_json(folder / "anatomy.json")
    write_json(folder / "anatomy.json", facts | {"organs": ["tail", *facts["organs"][1:]]})


def _widen(folder: Path) -> None:
    facts = read_json(folder / "anatomy.json")
    write_json(folder / "anatomy.json", facts | {"shape": {**facts["shape"], "widths": [16, 16]}})


@pytest.mark.parametrize("damage", [_cut, _rename_an_organ, _widen, lambda folder: (folder / "anatomy.json").unlink()])
def test_a_damaged_folder_is_refused_by_name(tmp_path: Path, damage: object) -> None:
    write_network(tmp_path / "network", _network(), 32)
    damage(tmp_path / "network")  # type: ignore[operator]  # parametrised
    with pytest.raises(BadInput, match="network"):
        load_anatomy(tmp_path / "network")
