"""The network: tiles make the image that the whole makes, and what it is made of comes back from its folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.suppress.folder import FACTS, WEIGHTS, load_suppressor, write_network
from augment.suppress.network import SuppressNetwork, SuppressShape
from augment.suppress.tiles import bone_of
from gen.core.errors import BadInput
from tests.augment.suppress.conftest import drawn_image, drawn_network


@settings(max_examples=25)
@given(
    st.integers(40, 260),
    st.integers(40, 260),
    st.integers(1, 120),
    st.sampled_from([((4,), 4), ((4, 6), 2), ((4, 6, 8), 1), ((4, 4, 4, 4), 2)]),
    st.integers(0, 3),
)
def test_tiles_of_any_size_make_the_image_that_the_whole_makes(
    height: int, width: int, tile: int, kind: tuple[tuple[int, ...], int], seed: int
) -> None:
    network, image = drawn_network(seed, *kind), drawn_image((height, width), seed)
    whole = bone_of(network, image, tile=10_000)
    assert whole.shape == image.shape
    assert np.ptp(whole) > 1e-3
    np.testing.assert_allclose(bone_of(network, image, tile), whole, atol=1e-4)


@pytest.mark.parametrize("kind", [((4,), 4), ((4, 6), 2), ((4, 6, 8), 1), ((4, 4, 4, 4), 2)])
def test_a_pixel_acts_no_farther_than_the_reach(kind: tuple[tuple[int, ...], int]) -> None:
    network = drawn_network(1, *kind).double()
    side = 2 * network.reach + 2 * network.multiple
    image = torch.zeros(1, 1, side, side, dtype=torch.float64)
    before = network(image)
    middle = side // 2
    image[..., middle, middle] = 1
    _, _, rows, columns = torch.nonzero(network(image) - before, as_tuple=True)
    farthest = max(int((places - middle).abs().max()) for places in (rows, columns))
    assert 0 < farthest <= network.reach


def test_the_shipped_shape_is_small() -> None:
    network = SuppressNetwork(SuppressShape())
    assert 2 * sum(weights.numel() for weights in network.parameters()) <= 4_000_000  # bytes in half precision


def test_an_untrained_network_finds_no_bone() -> None:
    assert not bone_of(SuppressNetwork(SuppressShape(channels=[4, 4])), drawn_image((64, 64))).any()


def test_a_network_comes_back_from_its_folder(tmp_path: Path) -> None:
    network, image = drawn_network(), drawn_image((96, 80))
    write_network(tmp_path, network, 200)
    back = load_suppressor(tmp_path)
    assert back.side == 200
    np.testing.assert_array_equal(back.find_bone(image), bone_of(network, image))


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda folder: (folder / WEIGHTS).write_bytes(b"nothing"), "not a whole"),
        (lambda folder: (folder / WEIGHTS).unlink(), "not a whole"),
        (lambda folder: (folder / FACTS).write_text('{"side": 200}'), "not a whole"),
        (lambda folder: (folder / FACTS).write_text('{"side": 200, "shape": {"channels": [4, 4]}}'), "not a whole"),
        (lambda folder: (folder / FACTS).unlink(), FACTS),
    ],
)
def test_a_damaged_folder_is_refused_in_one_line(tmp_path: Path, damage: object, what: str) -> None:
    write_network(tmp_path, drawn_network(), 200)
    assert callable(damage)
    damage(tmp_path)
    with pytest.raises(BadInput, match=what) as raised:
        load_suppressor(tmp_path)
    assert "\n" not in str(raised.value)
